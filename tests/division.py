"""What can be said of a host that divides its memory, without dividing it a second time.

Who has how much is the policy's business, and which pages go is drawn at random; neither is
predicted here. The model knows what every guest page holds, what each virtual machine was promised,
and the laws that hold whatever was decided: pages are lost to the balloon and to nothing else,
nobody has more than its max, all of memory is accounted for, targets are within bounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import esxcore
from esxcore import PageState
from oracle import Content, Fresh, Oracle

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


class Model:
    """The whole host, as far as it can be foretold."""

    def __init__(self, kind: str, machine_pages: int, swap_pages: int, kept_free: int) -> None:
        self.zero: int | bytes = 0 if kind == "tokens" else bytes(4096)
        self.machine_pages, self.swap_pages = machine_pages, swap_pages
        self.kept_free = kept_free
        self.charges_parts = False  # of shared pages
        self.guests: dict[str, Guest] = {}
        self.learned: set[int | bytes] = set()

    # -- admission (section 6.2) ---------------------------------------------------------------

    def refusal(self, guest: Guest, instead_of: str | None = None) -> tuple[int, int] | None:
        """What is wanted and what is unreserved, if it does not fit; memory comes first."""
        others = [other for name, other in self.guests.items() if name != instead_of]
        memory = self.machine_pages - self.kept_free
        memory -= sum(other.min_pages + other.overhead_pages for other in others)
        if guest.min_pages + guest.overhead_pages > max(memory, 0):
            return guest.min_pages + guest.overhead_pages, max(memory, 0)
        swap = self.swap_pages - sum(other.pages - other.min_pages for other in others)
        if guest.pages - guest.min_pages > max(swap, 0):
            return guest.pages - guest.min_pages, max(swap, 0)
        return None

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

    def look(self, name: str, ppns: Iterable[int], seen: Iterable[int | bytes]) -> None:
        """Compares what is read, and learns what the engine made up (I9)."""
        guest = self.guests[name]
        for ppn, value in zip(ppns, seen, strict=True):
            content = guest.content.get(ppn, self.zero)
            if isinstance(content, Fresh) and content.value is None:
                self._learn(content, value)
            assert value == Oracle.value(content), f"I9: {name} page {ppn}"

    def _learn(self, fresh: Fresh, value: int | bytes) -> None:
        held = [content for guest in self.guests.values() for content in guest.content.values()]
        assert value not in map(Oracle.value, held), "fresh content equals some other page's"
        assert value not in self.learned, "fresh content was seen before"
        if isinstance(value, bytes):
            assert value[16:] == fresh.tail, "more than the stamp has changed"
        else:
            assert value >> 63 == 1, "an engine token without its top bit"
        self.learned.add(value)
        fresh.value = value

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
        assert guest.min_pages <= row["target_pages"] <= guest.max_pages
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
