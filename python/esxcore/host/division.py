"""How a host's memory is divided: what virtual machines may claim, who decides, and why."""

from __future__ import annotations

from typing import Any, Literal

from esxcore.arguments import Shares, Size, column, entitlement, page_count, real_number
from esxcore.config import parse_duration
from esxcore.errors import ConfigError
from esxcore.host.tables import VmLike
from esxcore.host.transfers import HostTransfers
from esxcore.policy import Policy, Static, WholeNumbers, core_form, resolve_policy
from esxcore.reports import Explanation
from esxcore.view import HostView


class HostDivision(HostTransfers):
    """The part of `esxcore.Host` that divides memory (paper, sections 5 and 6)."""

    _policy: Policy | None

    def configure(
        self,
        vm: VmLike,
        *,
        max: Size | None = None,
        min: Size | None = None,
        shares: Shares | None = None,
        balloon_limit: Size | None = None,
    ) -> None:
        """Changes what a virtual machine is entitled to; what is not given stays as it is.

        Parameters
        ----------
        vm : Vm or str
            Which one.
        max : str or int, optional
            Most that it gets, at most the size it was powered on with. What it has above is paged
            out at once.
        min, shares, balloon_limit
            As in `power_on`.

        Raises
        ------
        NotAdmittedError
            If what it is to be promised does not fit; nothing has changed.
        ConfigError
            If the numbers contradict each other; nothing has changed.
        """
        changes = {
            "max_pages": None if max is None else page_count(max, "max"),
            "min_pages": None if min is None else page_count(min, "min"),
            "shares": None if shares is None else entitlement(shares),
            "balloon_limit": None
            if balloon_limit is None
            else page_count(balloon_limit, "balloon_limit"),
        }
        self._core.configure(self._ref(vm), changes)

    @property
    def policy(self) -> Policy | None:
        """Who decides how much memory each virtual machine should have; None if nobody does.

        Set it to a name or to an object with a method ``targets(view)``; it decides from the next
        second on. What it raises comes out of `advance` whole; the targets before stay in force.
        """
        return self._policy

    @policy.setter
    def policy(self, policy: str | Policy) -> None:
        resolved = resolve_policy(policy)
        self._core.set_policy(core_form(resolved))
        self._policy = resolved

    def set_targets(self, targets: WholeNumbers) -> None:
        """Fixes the targets, pages for each virtual machine in power-on order (policy `Static`).

        Raises
        ------
        PolicyError
            If there is not one for each, one is out of bounds, or they are together more than is
            available; nothing has changed.
        ArgumentTypeError
            If they are no integers.
        """
        fixed = column(targets, "targets").tolist()
        self._core.check_targets(fixed)
        self.policy = Static(fixed)

    def view(self) -> HostView:
        """What a policy would see now (paper, section 5).

        Raises
        ------
        ConfigError
            If memory is not divided.
        """
        return HostView(**self._core.view())

    @property
    def free_state(self) -> Literal["high", "soft", "hard", "low"] | None:
        """How short of memory the host is (section 6.3); None if memory is not divided."""
        return self._core.free_state()

    def explain(self, vm: VmLike, at: str | float | None = None) -> Explanation:
        """Why a virtual machine has its target, or had it at a time: in words and numbers.

        Parameters
        ----------
        vm : Vm or str
            Which one. With `at` it may be powered off by now; a name is then that of the virtual
            machine which had it at that time.
        at : str or float, optional
            Virtual time, as ``"12min"`` or in seconds; now if left out.

        Raises
        ------
        ConfigError
            If memory is not divided, the ledger is off, or it does not reach back so far.
        UnknownVmError
            If the virtual machine is not powered on, or was not at that time.

        Examples
        --------
        >>> import esxcore
        >>> host = esxcore.Host(memory="512MiB", content="tokens")
        >>> web = host.power_on("web", "256MiB")
        >>> _ = host.advance(20)
        >>> host.explain("web").facts["target_pages"]
        65536
        """
        row = self._core.explain(self._ref(vm), None if at is None else _moment(at))
        return Explanation(row.pop("text"), row)

    def replay(self) -> list[dict[str, Any]]:
        """The host's past as its ledger tells it, from the oldest that is kept on.

        Returns
        -------
        list of dict
            For each moment at which something was decided or moved: ``time_s``, ``free_state`` and
            for each virtual machine in ``vms`` its ``target_pages``, ``balloon_target_pages``,
            whether it was ``blocked``, and pages ``moved`` since power-on, by mechanism.

        Raises
        ------
        ConfigError
            If memory is not divided, or the ledger is off.
        """
        return self._core.replay()

    def decisions(self, after: str | float | None = None) -> list[dict[str, Any]]:
        """What the policy has decided after a time, as the ledger tells it, oldest first.

        Parameters
        ----------
        after : str or float, optional
            Virtual time, as ``"12min"`` or in seconds; a decision at that very moment is left out.
            From the oldest that is kept on if left out.

        Returns
        -------
        list of dict
            For each decision ``time_s``, ``policy``, ``cause``, ``free_state``,
            ``available_pages``, ``free_pages``, ``cheapest`` (who would lose the next page, if the
            policy can tell) and in ``vms``, for each virtual machine of which it said something
            new: ``before_pages`` and ``target_pages``, ``allocated_pages``, ``active_pages``,
            ``price``, ``taxed_pages`` and ``bound``. Cost: what was recorded after that time.

        Raises
        ------
        ConfigError
            If memory is not divided, or the ledger is off.

        Examples
        --------
        >>> import esxcore
        >>> host = esxcore.Host(memory="512MiB", content="tokens")
        >>> web = host.power_on("web", "256MiB")
        >>> _ = host.advance(20)
        >>> [(decision["time_s"], decision["cause"]) for decision in host.decisions()]
        [(1.0, 'PowerOn'), (15.0, 'Period')]
        """
        return self._core.decisions(None if after is None else _moment(after, "after"))


def _moment(at: str | float, what: str = "at") -> int:
    """Virtual time in nanoseconds."""
    seconds = parse_duration(at, what) if isinstance(at, str) else real_number(at, what)
    if not 0 <= seconds <= 2**33:
        raise ConfigError(f"{what}: {at!r}; expected a time from 0 to 2**33 seconds")
    return round(seconds * 1e9)
