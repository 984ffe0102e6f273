"""What a policy sees of a host: a value, made by `Host.view` and whenever a policy is asked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from esxcore import _core
from esxcore.arguments import choice, column, in_range, real_number
from esxcore.errors import ArgumentTypeError, ConfigError

_PAGES, _COUNT = 2**32 - 1, 2**63 - 1
_COLUMNS: Mapping[str, tuple[type[np.generic], int, int]] = {
    "shares": (np.int64, 0, _COUNT),
    "min_pages": (np.int64, 0, _PAGES),
    "max_pages": (np.int64, 0, _PAGES),
    "allocated_pages": (np.int64, 0, _PAGES),
    "active_pages": (np.int64, 0, _PAGES),
    "balloon_pages": (np.int64, 0, _PAGES),
    "swapped_pages": (np.int64, 0, _PAGES),
    "shared_pages": (np.int64, 0, _PAGES),
    "guest_free_pages": (np.int64, -1, _PAGES),
    "guest_available_pages": (np.int64, -1, _PAGES),
    "swap_in_pages": (np.int64, 0, _COUNT),
    "stall_fraction": (np.float64, 0, 1),
    "driver_ok": (np.bool_, 0, 1),
}
"""Columns of a view: dtype, least and most."""
_NUMBERS = (("machine_pages", _PAGES), ("free_pages", _PAGES), ("available_pages", _COUNT))


def _names(names: object) -> tuple[str, ...]:
    if not isinstance(names, tuple | list):
        raise ConfigError(f"names: {names!r}; expected a tuple of texts")
    for name in names:
        if not (isinstance(name, str) and name.isprintable()):
            raise ConfigError(f"names: {name!r}; expected printable text")
    return tuple(names)


def _checked(values: object, key: str, vms: int) -> NDArray[Any]:
    """A column that nobody can write to, of the right dtype and length, its values in range."""
    dtype, least, most = _COLUMNS[key]
    array = values if isinstance(values, np.ndarray) and values.dtype == dtype else None
    array = _converted(values, key, dtype) if array is None else array
    if array.shape != (vms,):
        raise ConfigError(f"{key}: shape {array.shape}; expected ({vms},), one for each VM")
    if dtype is not np.bool_ and vms and not (least <= array.min() and array.max() <= most):
        row = int(np.argmin((array >= least) & (array <= most)))
        raise ConfigError(f"{key} of VM {row} is {array[row]}; expected {least} to {most}")
    if array.flags.writeable:
        array = array.copy()
        array.setflags(write=False)
    return array


def _converted(values: object, key: str, dtype: type[np.generic]) -> NDArray[Any]:
    """A list, or an array of another dtype, with nothing lost."""
    if dtype is np.int64:
        return column(values, key)
    kinds, expected = ("b", "truths") if dtype is np.bool_ else ("iuf", "numbers")
    try:
        array = np.asarray(values)
    except ValueError:
        raise ConfigError(f"{key}: {values!r}; expected {expected}") from None
    if array.size and array.dtype.kind not in kinds:
        raise ConfigError(f"{key}: dtype {array.dtype}; expected {expected}")
    return array.astype(dtype)


@dataclass(frozen=True, slots=True, eq=False)
class HostView:
    """A host as a policy sees it: columns with a row a virtual machine in power-on order.

    A value: nothing in it changes later, and its arrays cannot be written to. One can be made of
    another by ``dataclasses.replace``, to ask a policy what it would do if; columns may then be
    lists. What no host can have is refused as a `ConfigError`.

    Attributes
    ----------
    names : tuple of str
        Names of the virtual machines.
    shares : array of int64
        Entitlement relative to others (paper, section 5.1).
    min_pages, max_pages : array of int64
        What each gets in any case, and what it gets while there is enough (section 6.1).
    allocated_pages : array of int64
        Resident pages; shared ones in full, or in part if the host charges so.
    active_pages : array of int64
        Pages in use by sampling (section 5.3); all resident ones if sampling is off.
    balloon_pages, swapped_pages : array of int64
        Pages in the balloon (section 3.2) and in the server's swap file (section 3.3).
    shared_pages : array of int64
        Resident pages that stand on shared frames (section 4).
    guest_free_pages, guest_available_pages : array of int64
        What the guest says is free, and what it could free without harm; -1 if it says nothing.
    swap_in_pages : array of int64
        Pages brought back from the swap file since the policy was asked last.
    stall_fraction : array of float64
        Part of the time since then that the guest stood still for want of memory.
    driver_ok : array of bool
        Whether the balloon driver does what it is told.
    machine_pages, free_pages : int
        Machine memory, and what of it is free.
    available_pages : int
        Pages there are for all virtual machines together; targets add up to no more.
    free_state : str
        ``"high"``, ``"soft"``, ``"hard"`` or ``"low"`` (section 6.3).
    now_s : float
        Virtual time.
    """

    names: tuple[str, ...]
    shares: NDArray[np.int64]
    min_pages: NDArray[np.int64]
    max_pages: NDArray[np.int64]
    allocated_pages: NDArray[np.int64]
    active_pages: NDArray[np.int64]
    balloon_pages: NDArray[np.int64]
    swapped_pages: NDArray[np.int64]
    shared_pages: NDArray[np.int64]
    guest_free_pages: NDArray[np.int64]
    guest_available_pages: NDArray[np.int64]
    swap_in_pages: NDArray[np.int64]
    stall_fraction: NDArray[np.float64]
    driver_ok: NDArray[np.bool_]
    machine_pages: int
    available_pages: int
    free_pages: int
    free_state: str
    now_s: float

    def __post_init__(self) -> None:
        try:
            names = _names(self.names)
            columns = {key: _checked(getattr(self, key), key, len(names)) for key in _COLUMNS}
            numbers = {key: in_range(getattr(self, key), key, 0, most) for key, most in _NUMBERS}
            now_s = real_number(self.now_s, "now_s")
        except ArgumentTypeError as error:
            raise ConfigError(str(error)) from None
        choice(self.free_state, "free_state", ("high", "soft", "hard", "low"))
        if not 0 <= now_s < math.inf:  # nor is NaN
            raise ConfigError(f"now_s: {now_s}; expected a finite number of at least 0")
        for key, value in ({"names": names, "now_s": now_s} | columns | numbers).items():
            object.__setattr__(self, key, value)

    def __len__(self) -> int:
        return len(self.names)

    def apportion(self, weights: ArrayLike) -> NDArray[np.int64]:
        """Whole pages in proportion to any weights, as far as min and max allow.

        They add up to exactly what is available, or to everyone's max if that is less. Rows
        without weight get what the others leave, the last row first; if there is no weight at all,
        all rows weigh the same.

        Parameters
        ----------
        weights : array of shape (VMs,)
            Finite numbers of at least 0, of whatever real dtype.

        Raises
        ------
        ConfigError
            If a weight is negative, infinite or not a number, or there is not one for each.
        ArgumentTypeError
            If they are not numbers.

        Examples
        --------
        >>> import esxcore
        >>> host = esxcore.Host(memory="512MiB", content="tokens")
        >>> _ = host.power_on("web", "256MiB"), host.power_on("db", "256MiB")
        >>> host.view().apportion([1, 3]).tolist()
        [41287, 65536]
        """
        if isinstance(weights, np.ma.MaskedArray):
            raise ArgumentTypeError(
                "weights: a masked array; expected numbers, none of them masked"
            )
        try:
            array = np.asarray(weights)
        except ValueError:
            raise ArgumentTypeError(f"weights: {weights!r}; expected numbers") from None
        if array.dtype.kind not in "iuf":
            raise ArgumentTypeError(f"weights: dtype {array.dtype}; expected numbers")
        if array.shape != (len(self),):
            raise ConfigError(
                f"weights: shape {array.shape}; expected ({len(self)},), one for each VM"
            )
        flat = np.ascontiguousarray(array, dtype=np.float64)
        return _core.apportion(flat, self.min_pages, self.max_pages, self.available_pages)
