"""Policies: who should have how much memory (paper, sections 5 and 6).

A policy is an object with one method, ``targets(view)``: in goes a `HostView`, a value with a row a
virtual machine, out come whole pages, a number for each. What else it may have, `Policy` says.
Those built in and those written in Python work alike wherever a policy is taken: `Host`,
`Host.policy`, scenarios. A package can have policies that are known by name wherever it is
installed: entry points of the group ``esxcore.policies``, each the name of a class.

A policy that thinks in weights rather than in pages ends in ``view.apportion(weights)``, which
makes valid targets of any weights.

Neighbours: `esxcore.squeezed` is one written in Python; hosts ask them in `Host.advance`.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, Protocol, SupportsIndex, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from esxcore import _core
from esxcore.arguments import column, in_range, real_number
from esxcore.errors import ArgumentTypeError, ConfigError, PolicyError
from esxcore.extras import loaded, named, plug_ins
from esxcore.hints import did_you_mean
from esxcore.squeezed import Squeezed
from esxcore.view import HostView

WholeNumbers: TypeAlias = Sequence[int] | NDArray[np.integer[Any]]
"""A column: a list of integers or a 1-D array of an integer dtype, a number for each VM."""

CoreForm: TypeAlias = (
    "_core.Policy | tuple[str, Callable[[dict[str, Any]], NDArray[np.int64]], bool]"
)
"""A policy as the core takes it: its own, or a name, a function and whether it overcommits."""


@runtime_checkable
class Policy(Protocol):
    """Whatever says how much memory each virtual machine should have.

    ``targets`` is all it needs. What else it may have, the host asks for by name:

    - ``name``, a text, instead of the name of its class;
    - ``may_overcommit = True`` if its targets may add up to more than there is, so that paging
      follows. `Proxmox` is such a one, and a class that passes on what it answers has to say so
      too;
    - ``fork()`` if it remembers anything: what a host gets that is forked from one that has it.
    """

    def targets(self, view: HostView) -> Any:
        """The target of each virtual machine in pages: integers, a row each as in the view.

        From min to max, and together no more than `HostView.available_pages`.
        """


class _BuiltIn:
    """A policy of the core: a dataclass whose fields are its settings."""

    name: str

    def _is_of_core(self) -> bool:
        return True

    def _core(self) -> _core.Policy:
        settings = [(each.name, getattr(self, each.name)) for each in fields(self)]  # type: ignore[arg-type]
        return _core.Policy(self.name, settings)

    def targets(self, view: HostView) -> NDArray[np.int64]:
        """The targets for a view, as a host that asks this policy gets them."""
        return self._core().targets({name: getattr(view, name) for name in HostView.__slots__})


@dataclass(frozen=True)
class MinFunding(_BuiltIn):
    """The paper's policy: min-funding revocation with the idle memory tax (section 5.2).

    Attributes
    ----------
    tax_rate : float
        Most of a virtual machine's idle pages that may be taken, at least 0 and below 1.
    """

    tax_rate: float = 0.75
    name = "esx2002"

    def __post_init__(self) -> None:
        object.__setattr__(self, "tax_rate", real_number(self.tax_rate, "tax_rate"))
        self._core()


@dataclass(frozen=True)
class Proportional(_BuiltIn):
    """Memory in proportion to shares (section 5.1): min-funding revocation without the tax."""

    name = "proportional"


@dataclass(frozen=True)
class Equal(_BuiltIn):
    """The same for everyone, as far as min and max allow."""

    name = "equal"


@dataclass(frozen=True)
class Static(_BuiltIn):
    """No policy worth the name, the baseline: what there is is divided once and for all.

    Without `pages` it is divided by size: every virtual machine gets memory in proportion to its
    max, as far as min allows, whatever its shares and whatever it does. It is divided anew only
    when virtual machines come, go or are changed, or when so much is not there any more; what
    sharing saves is nobody's. That is remembered, so an object is for one host.

    With `pages` the targets stay as they are, and who comes later makes them invalid.

    Attributes
    ----------
    pages : tuple of int, optional
        Pages for each virtual machine in power-on order.
    """

    pages: tuple[int, ...] | None
    _last: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    name = "static"

    def __init__(self, pages: WholeNumbers | None = None) -> None:
        fixed = None if pages is None else tuple(column(pages, "targets").tolist())
        object.__setattr__(self, "pages", fixed)
        object.__setattr__(self, "_last", {})

    def fork(self) -> Static:
        """A copy that remembers the same, for a host that is forked."""
        return copy.deepcopy(self)

    def _is_of_core(self) -> bool:
        return self.pages is not None

    def _core(self) -> _core.Policy:
        return _core.Policy(self.name, [("targets", list(self.pages or ()))])

    def targets(self, view: HostView) -> NDArray[np.int64]:
        """The targets for a view."""
        if self.pages is not None:
            return super().targets(view)
        among = (view.names, view.min_pages.tolist(), view.max_pages.tolist())
        if self._last.get("among") != among or self._last["sum"] > view.available_pages:
            targets = view.apportion(view.max_pages)
            self._last.update(among=among, targets=targets, sum=int(targets.sum()))
        last: NDArray[np.int64] = self._last["targets"].copy()
        return last


@dataclass(frozen=True)
class Proxmox(_BuiltIn):
    """Proxmox VE's auto-balloon: steers the use of the machine to a fraction.

    Attributes
    ----------
    target_fraction : float
        The part of the machine that should be in use, 0 to 1.
    round_pages : int
        Pages that a virtual machine gains or loses at most each time.
    """

    target_fraction: float = 0.8
    round_pages: int = 25_600
    name = "proxmox"

    def __post_init__(self) -> None:
        fraction = real_number(self.target_fraction, "target_fraction")
        object.__setattr__(self, "target_fraction", fraction)
        object.__setattr__(
            self, "round_pages", in_range(self.round_pages, "round_pages", 0, 2**32 - 1)
        )
        self._core()


POLICIES: Mapping[str, Callable[..., Policy]] = {
    "esx2002": MinFunding,
    "proportional": Proportional,
    "equal": Equal,
    "static": Static,
    "proxmox": Proxmox,
    "squeezed": Squeezed,
}
"""Policies by name; what each takes are its settings."""

ENTRY_POINTS = "esxcore.policies"
"""The group of entry points by which other packages have policies of a name."""


def policy_names() -> tuple[str, ...]:
    """Names of all policies: those built in, and those of other packages that are installed."""
    return tuple(dict.fromkeys([*POLICIES, *plug_ins(ENTRY_POINTS)]))


def found_policy(name: str) -> Callable[..., Policy] | None:
    """The class of the policy of that name, built in or another package's; None if there is none.

    Other packages are only looked through where nothing that is built in has the name.

    Raises
    ------
    ConfigError
        If the package that has it cannot be imported, or has no class with a method ``targets``
        there.
    """
    if name in POLICIES:
        return POLICIES[name]
    point = plug_ins(ENTRY_POINTS).get(name)
    if point is None:
        return None
    found = loaded(point)
    if isinstance(found, type) and callable(getattr(found, "targets", None)):
        return found
    raise ConfigError(f"{named(point)} is {found!r}; expected a class with a method targets(view)")


def resolve_policy(policy: object, what: str = "policy", **settings: Any) -> Policy:
    """The policy that a name, or an object with a method ``targets(view)``, stands for.

    Raises
    ------
    ConfigError
        If there is no policy of that name (the nearest is told), or it has no such setting.
    ArgumentTypeError
        If the object has no method ``targets``.
    """
    if isinstance(policy, str):
        try:
            make = found_policy(policy)
        except ConfigError as error:
            raise ConfigError(f"{what}: {policy!r}: {error}") from error
        if make is None:
            known = policy_names()
            hint = did_you_mean(policy, known, otherwise=f"expected one of {_list(known)}")
            raise ConfigError(f"{what}: no policy is named {policy!r}; {hint}")
        taken = inspect.signature(make).parameters
        for name in settings:
            if name not in taken:
                raise ConfigError(
                    f"{what}: {policy} has no setting {name!r}; expected {_list(taken) or 'none'}"
                )
        for name, parameter in taken.items():
            if parameter.default is parameter.empty and name not in settings:
                raise ConfigError(f"{what}: {policy} needs its setting {name!r}")
        return make(**settings)
    if isinstance(policy, type) and callable(getattr(policy, "targets", None)):
        raise ArgumentTypeError(
            f"{what}: {policy!r}; expected an instance, {policy.__name__}({_needed(policy)})"
        )
    if isinstance(policy, type) or not callable(getattr(policy, "targets", None)):
        raise ArgumentTypeError(
            f"{what}: {policy!r}; expected a name or an object with a method targets(view)"
        )
    return policy  # type: ignore[return-value]


def _needed(policy: type) -> str:
    """What a class of policies must be given to make one."""
    try:
        parameters = inspect.signature(policy).parameters.values()
    except (ValueError, TypeError):  # classes of C need not tell
        return ""
    needed = (each for each in parameters if each.default is each.empty)
    return ", ".join(each.name for each in needed if each.kind not in _REST)


_REST = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def core_form(policy: Policy) -> CoreForm:
    """A policy as the core takes it."""
    if isinstance(policy, _BuiltIn) and policy._is_of_core():
        return policy._core()
    name = getattr(policy, "name", None)
    name = name if isinstance(name, str) else type(policy).__name__
    may_overcommit = getattr(policy, "may_overcommit", False) is True
    return name, partial(_ask, policy, name), may_overcommit


def _ask(policy: Policy, name: str, columns: dict[str, Any]) -> NDArray[np.int64]:
    """Asks a policy and checks the form of its answer; the core checks the numbers."""
    view = HostView(**columns)
    answer = policy.targets(view)
    if isinstance(answer, np.ma.MaskedArray):
        raise PolicyError(f"policy {name!r}: its targets are a masked array; none may be masked")
    try:
        array = np.asarray(answer)
    except ValueError:
        raise PolicyError(
            f"policy {name!r}: its targets are no column; expected {len(view)} whole numbers"
        ) from None
    if array.ndim == 0:
        raise PolicyError(
            f"policy {name!r}: its targets are of type {type(answer).__name__};"
            f" expected a list or an array of {len(view)} whole numbers, one for each VM"
        )
    if array.shape != (len(view),):
        raise PolicyError(
            f"policy {name!r}: its targets have shape {array.shape};"
            f" expected ({len(view)},), one for each VM"
        )
    if array.dtype.kind not in "iu" and array.size:
        raise PolicyError(
            f"policy {name!r}: its targets are {array.dtype}; expected whole pages of an integer"
            " dtype: view.apportion(weights) makes them of any weights"
        )
    if array.dtype == np.uint64 and array.size and int(array.max()) >= 2**63:
        raise PolicyError(f"policy {name!r}: the target {array.max()} is no number of pages")
    return np.ascontiguousarray(array, dtype=np.int64)


def _list(names: Any) -> str:
    return ", ".join(map(repr, names))


def min_funding_targets(
    *,
    shares: WholeNumbers,
    min_pages: WholeNumbers,
    max_pages: WholeNumbers,
    active_pages: WholeNumbers,
    available_pages: SupportsIndex,
    tax_rate: float = 0.75,
) -> NDArray[np.int64]:
    """Targets by min-funding revocation with the idle memory tax (paper, sections 5.1 and 5.2).

    Everyone starts at its max. While that is more than there is, one page is taken from the virtual
    machine that pays least for its memory: the one with the smallest ``S / (P * (f + k * (1 -
    f)))`` among those above their min, with its shares S, its pages P, its active fraction f =
    min(1, active / P) and the idle page cost k = 1 / (1 - tax_rate). In a tie the lower index loses
    the page. The answer is exactly that, in whole pages, without taking them one by one.

    A virtual machine without shares loses first, but keeps its max while memory is free.

    Parameters
    ----------
    shares : array of int, shape (VMs,)
        Entitlement relative to others, 0 or more.
    min_pages, max_pages : array of int, shape (VMs,)
        What each gets in any case, and what it gets while there is enough; from 0 to 2**32 - 1.
    active_pages : array of int, shape (VMs,)
        Pages in use, by estimate. More than a virtual machine holds counts as all it holds.
    available_pages : int
        Pages there are for all of them.
    tax_rate : float
        Most of a virtual machine's idle pages that may be taken, as a fraction of at least 0 and
        below 1, to the nearest millionth below 1. With 0 memory is divided by shares alone.

    Returns
    -------
    array of int64, shape (VMs,)
        Pages for each, from min to max. They add up to `available_pages`, or to all max if that is
        less.

    Raises
    ------
    MinOvercommittedError
        If all min together are more than available.
    ConfigError
        If a number or the tax rate is out of range, a min is above its max, or columns differ in
        length.
    ArgumentTypeError
        If a column is not of an integer dtype or not one-dimensional.

    Examples
    --------
    Two guests of 256 MiB with equal shares on 358 MiB, as in figure 7. Without the tax each gets
    half; with it the idle one, 20 MiB active, makes room for the busy one, 150 MiB active.

    >>> import esxcore
    >>> guests = dict(shares=[1, 1], min_pages=[0, 0], max_pages=[65536, 65536],
    ...               active_pages=[20 * 256, 150 * 256], available_pages=358 * 256)
    >>> esxcore.min_funding_targets(**guests, tax_rate=0) / 256
    array([179., 179.])
    >>> esxcore.min_funding_targets(**guests) / 256
    array([130.25, 227.75])
    """
    return _core.min_funding_targets(
        shares=column(shares, "shares"),
        min_pages=column(min_pages, "min_pages"),
        max_pages=column(max_pages, "max_pages"),
        active_pages=column(active_pages, "active_pages"),
        available_pages=in_range(available_pages, "available_pages", 0, 2**63 - 1),
        tax_rate=real_number(tax_rate, "tax_rate"),
    )
