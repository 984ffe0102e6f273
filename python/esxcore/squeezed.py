"""xapi's squeezed, from a description of how it behaves: a policy in Python to compare with.

Every guest has a range, from min to max. One fraction *gamma* holds for the whole host, and every
guest should have ``min + gamma * (max - min)``: there are no shares, and idleness does not count.
Gamma is as large as memory allows, at most 1, with 9 MiB and what is reserved left free.

A guest may not do as it is told. One that made no progress toward its target for 5 s is *inactive*:
it counts with what it has, gamma is for the others, and its own target is pinned to the smaller of
what it should have and what it has. So it is still asked for memory, and gets none that others
could use in the meantime. It is active again as soon as it moves.

Memory is freed before it is given, which is not for a policy to do: hosts do it for all of them.

Where the description leaves a choice: what a guest *has* is its max less its balloon. One whose
driver does not answer is inactive at once. One that is too small makes no progress through no fault
of its own while there is nothing free to give; that time does not count. One that was pinned to
less than it should have is asked again after as long as it took to find it inactive, because
nothing that it could do would show. Where all are inactive, gamma is for all of them. Targets are
rounded down, so up to a page a guest stays free.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from esxcore.arguments import in_range, real_number
from esxcore.config import PAGE_SIZE
from esxcore.errors import ConfigError

KEPT_FREE_PAGES = 9 * 2**20 // PAGE_SIZE
"""Pages that stay free in any case: 9 MiB."""
PATIENCE_S = 5.0
"""Seconds without progress after which a guest is inactive."""

Column = NDArray[Any]


class View(Protocol):
    """What this policy reads of a host's view: columns with a row for each VM, and numbers."""

    @property
    def names(self) -> Sequence[str]:
        """Names of the VMs."""

    @property
    def min_pages(self) -> Column:
        """What each gets in any case."""

    @property
    def max_pages(self) -> Column:
        """What each gets while there is enough."""

    @property
    def balloon_pages(self) -> Column:
        """Pages given up to the balloon."""

    @property
    def driver_ok(self) -> Column:
        """Whether the balloon driver answers."""

    @property
    def available_pages(self) -> int:
        """Pages there are for all VMs together."""

    @property
    def free_pages(self) -> int:
        """Free machine pages."""

    @property
    def now_s(self) -> float:
        """Virtual time."""


@dataclass
class _Guest:
    """A row of the view."""

    name: str
    least: int
    room: int
    has: int
    active: bool = True


@dataclass
class _Watched:
    """What is remembered of a guest."""

    has: int
    target: int
    since_s: float  # last progress, or the last time that none could be expected
    pinned_s: float | None = None  # since when it is inactive


class Squeezed:
    """The policy; it remembers by name what it asked of each guest and when that last moved.

    Parameters
    ----------
    reserved_pages : int
        Pages that stay free for guests yet to come, on top of 9 MiB.
    patience_s : float
        Seconds without progress after which a guest is inactive, above 0.

    Examples
    --------
    >>> from esxcore.squeezed import Squeezed
    >>> Squeezed(reserved_pages=1024).name
    'squeezed'
    """

    name = "squeezed"

    def __init__(self, reserved_pages: SupportsIndex = 0, patience_s: float = PATIENCE_S) -> None:
        self.reserved_pages = in_range(reserved_pages, "reserved_pages", 0, 2**32 - 1)
        self.patience_s = real_number(patience_s, "patience_s")
        if not 0 < self.patience_s < float("inf"):
            raise ConfigError(f"patience_s: {patience_s!r}; expected a number above 0")
        self._watched: dict[str, _Watched] = {}

    def fork(self) -> Squeezed:
        """A copy that remembers the same and goes its own way, for a host that is forked."""
        return copy.deepcopy(self)

    def targets(self, view: View) -> NDArray[np.int64]:
        """The target of each VM in pages, shape (VMs,).

        Asked twice about the same view it gives the same answer. Of views that differ, the later
        one must come later: progress is what has changed between them.
        """
        guests = _guests(view)
        # A guest whose driver does not answer starts anew when it does.
        watched = {guest.name: self._look(guest, view) for guest in guests if guest.active}
        targets = _squeeze(guests, view.available_pages - KEPT_FREE_PAGES - self.reserved_pages)
        for guest, target in zip(guests, targets, strict=True):
            if guest.name in watched:
                watched[guest.name].target = target
        self._watched = watched
        return np.array(targets, dtype=np.int64)

    def _look(self, guest: _Guest, view: View) -> _Watched:
        """What is now known of a guest; says in it whether it is active."""
        before = self._watched.get(guest.name)
        if before is None:
            return _Watched(guest.has, guest.has, view.now_s)
        if self._is_well(guest, before, view):
            return _Watched(guest.has, before.target, view.now_s)
        if view.now_s - before.since_s < self.patience_s:
            return _Watched(guest.has, before.target, before.since_s)
        guest.active = False
        pinned_s = view.now_s if before.pinned_s is None else before.pinned_s
        return _Watched(guest.has, before.target, before.since_s, pinned_s)

    def _is_well(self, guest: _Guest, before: _Watched, view: View) -> bool:
        """Whether a guest moves, need not, or cannot; or is to be asked again."""
        if abs(before.target - guest.has) < abs(before.target - before.has):
            return True
        if guest.has == before.target:
            return before.pinned_s is None or view.now_s - before.pinned_s >= self.patience_s
        return (
            guest.has < before.target and view.free_pages <= KEPT_FREE_PAGES + self.reserved_pages
        )


def _guests(view: View) -> list[_Guest]:
    columns = (view.min_pages, view.max_pages, view.balloon_pages, view.driver_ok)
    rows = zip(view.names, *(column.tolist() for column in columns), strict=True)
    return [
        _Guest(name, least, most - least, max(least, most - balloon), driver_ok)
        for name, least, most, balloon, driver_ok in rows
    ]


def _squeeze(guests: Sequence[_Guest], pages: int) -> list[int]:
    """Targets: one gamma for those who are active, out of what the others do not hold."""
    squeezed = [guest for guest in guests if guest.active] or guests
    rooms = sum(guest.room for guest in squeezed)
    held = sum(guest.has for guest in guests) - sum(guest.has for guest in squeezed)
    spare = min(max(pages - held - sum(guest.least for guest in squeezed), 0), rooms)

    def target(guest: _Guest) -> int:
        should_have = guest.least + (guest.room * spare // rooms if rooms else 0)
        return should_have if guest.active else min(should_have, guest.has)

    return [target(guest) for guest in guests]
