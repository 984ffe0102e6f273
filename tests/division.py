"""What can be said of a host that divides its memory, without dividing it a second time.

Who has how much is the policy's business, and which pages go is drawn at random; neither is
predicted here. The model knows what every guest page holds, what each virtual machine was promised,
and the laws that hold whatever was decided: pages are lost to the balloon and to nothing else,
nobody has more than its max, all of memory is accounted for, targets are within bounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import esxcore
from esxcore import PageState
from oracle import Content, Fresh, Known

GONE = (PageState.EMPTY, PageState.BALLOONED)
"""States of pages that hold nothing."""


@dataclass
class Guest:
    """One virtual machine: what it is promised, and what those of its pages hold that hold any."""

    pages: int
    min_pages: int
    max_pages: int
    overhead_pages: int
    shares: int
    content: dict[int, Content] = field(default_factory=dict)
    target_pages: int = field(init=False)  # its max until a policy decides; reconfiguring clamps it
    undecided_pages: int = field(init=False)  # what it would be if none ever did

    def __post_init__(self) -> None:
        self.target_pages = self.undecided_pages = self.max_pages

    def reconfigured(self, min_pages: int, max_pages: int, shares: int) -> Guest:
        """The same virtual machine, its target clamped to its new bounds until the next answer."""
        new = replace(self, min_pages=min_pages, max_pages=max_pages, shares=shares)
        for name in ("target_pages", "undecided_pages"):
            setattr(new, name, max(min_pages, min(max_pages, getattr(self, name))))
        return new

    def swap_pages(self, used: int) -> int:
        """Swap space for it: what it has beyond its min, or what it fills or is about to."""
        return max(self.pages - self.min_pages, used)


class Model(Known):
    """The whole host, as far as it can be foretold."""

    def __init__(self, kind: str, machine_pages: int, swap_pages: int, kept_free: int) -> None:
        super().__init__(kind)
        self.machine_pages, self.swap_pages = machine_pages, swap_pages
        self.kept_free = kept_free
        self.charges_parts = False  # of shared pages
        self.guests: dict[str, Guest] = {}

    # -- admission (section 6.2) ---------------------------------------------------------------

    def refusal(
        self, host: esxcore.Host, guest: Guest, instead_of: str | None = None
    ) -> tuple[int, int] | None:
        """What is wanted and what is unreserved, if it does not fit; memory comes first."""
        columns = host.vms()
        swapped = (columns["swapped_pages"] + columns["leaving_pages"]).tolist()
        used = dict(zip(self.guests, swapped, strict=True))
        others = {name: other for name, other in self.guests.items() if name != instead_of}
        memory = self.machine_pages - self.kept_free
        memory -= sum(other.min_pages + other.overhead_pages for other in others.values())
        if guest.min_pages + guest.overhead_pages > max(memory, 0):
            return guest.min_pages + guest.overhead_pages, max(memory, 0)
        swap = self.swap_pages - sum(o.swap_pages(used[name]) for name, o in others.items())
        if guest.swap_pages(used[instead_of] if instead_of else 0) > max(swap, 0):
            return guest.pages - guest.min_pages, max(swap, 0)
        return None

    # -- targets (section 6.3) -----------------------------------------------------------------

    def decided(self, host: esxcore.Host) -> None:
        """Time has passed, in which a policy may have been asked: nothing else sets targets."""
        targets = host.vms()["target_pages"].tolist()
        for guest, target in zip(self.guests.values(), targets, strict=True):
            guest.target_pages = target

    # -- contents ------------------------------------------------------------------------------

    def write(self, name: str, ppns: Sequence[int], contents: Iterable[Content | None]) -> None:
        """The guest wrote there; None is content of the engine's own making."""
        guest = self.guests[name]
        for ppn, content in zip(ppns, contents, strict=True):
            before = guest.content.get(ppn, self.zero)
            guest.content[ppn] = Fresh(before) if content is None else content

    def read(self, name: str, ppns: Iterable[int]) -> None:
        """The guest looked there; what was empty is a zero page of its own now (I10)."""
        for ppn in ppns:
            self.guests[name].content.setdefault(ppn, self.zero)

    def give_up(self, host: esxcore.Host) -> None:
        """After time has passed: what is empty or ballooned now holds nothing any more."""
        for name, guest in self.guests.items():
            state = host.pmap(name)["state"]
            for ppn in [ppn for ppn in guest.content if state[ppn] in GONE]:
                del guest.content[ppn]

    # -- laws ----------------------------------------------------------------------------------

    def check(self, host: esxcore.Host) -> None:
        """Everything that holds at any time."""
        host.audit()
        columns, stats = host.vms(), host.stats()
        assert columns["name"].tolist() == list(self.guests)
        for row, (name, guest) in enumerate(self.guests.items()):
            self._check_vm({key: column[row].item() for key, column in columns.items()}, guest)
            self._check_pmap(host.pmap(name), columns, row, guest)
        allocated = sum(columns["allocated_pages"].tolist())
        assert stats["allocated_pages"] == allocated
        assert stats["overhead_pages"] == sum(g.overhead_pages for g in self.guests.values())
        used = allocated - stats["reclaimed_pages"] + stats["overhead_pages"]
        assert used + stats["free_pages"] == self.machine_pages
        assert stats["swapped_pages"] == sum(columns["swapped_pages"].tolist()) <= self.swap_pages
        self._check_view(host.view(), columns, stats)

    def _check_vm(self, row: dict[str, Any], guest: Guest) -> None:
        promised = ("min_pages", "max_pages", "overhead_pages", "shares")
        assert {key: row[key] for key in promised} == {key: getattr(guest, key) for key in promised}
        assert guest.min_pages <= row["target_pages"] == guest.target_pages <= guest.max_pages
        assert row["allocated_pages"] <= guest.max_pages, "I8: above its max"
        assert row["balloon_freed_pages"] <= row["balloon_pages"]

    def _check_pmap(self, pmap: Any, columns: Any, row: int, guest: Guest) -> None:
        state = pmap["state"]
        resident = np.isin(state, (PageState.PRIVATE, PageState.SHARED))
        counts = {
            "allocated_pages": resident,
            "balloon_pages": state == PageState.BALLOONED,
            "swapped_pages": state == PageState.SWAPPED,
            "leaving_pages": pmap["leaving"],
        }
        assert len(state) == guest.pages
        for key, pages in counts.items():
            assert columns[key][row] == np.count_nonzero(pages), key
        assert ((pmap["mpn"] >= 0) == resident).all()
        holding = np.flatnonzero(~np.isin(state, GONE)).tolist()
        assert sorted(guest.content) == holding, "a page was lost, or came from nowhere"

    def _check_view(self, view: esxcore.HostView, columns: Any, stats: Any) -> None:
        check_view(view)
        assert view.names == tuple(self.guests)
        for key in ("shares", "min_pages", "max_pages", "balloon_pages", "swapped_pages"):
            assert (getattr(view, key) == columns[key]).all(), key
        assert (view.machine_pages, view.free_pages) == (self.machine_pages, stats["free_pages"])
        charged = int(view.allocated_pages.sum())
        if self.charges_parts:  # what is lost in rounding each is there all the same
            charged = self.machine_pages - view.free_pages - stats["overhead_pages"]
        assert view.available_pages == max(charged + view.free_pages - self.kept_free, 0)


def check_view(view: esxcore.HostView) -> None:
    """What holds of every view that a policy of an admitting host gets."""
    for key in type(view).__slots__:
        column = getattr(view, key)
        if isinstance(column, np.ndarray):
            assert column.shape == (len(view),) and not column.flags.writeable, key
    assert (view.min_pages <= view.max_pages).all()
    assert ((view.stall_fraction >= 0) & (view.stall_fraction <= 1)).all()
    assert view.free_state in ("high", "soft", "hard", "low")
