"""A naive memory manager in dicts: slow, obvious, and what the engine is compared against.

It knows two things of every guest page: what the guest last wrote there (I9), and which machine
page it stands on. Which pages a scan brings together is not predicted but read from ``pmap``
afterwards and judged by its observable laws: equal content, one salt domain, nothing moved that
need not move, nothing lost. Which pages a period samples is read there too; what is counted of
them, and every estimate, is predicted. Everything else, faults included, is predicted exactly.

Content is an ``int`` (token hosts), ``bytes`` of one page (byte hosts), or a :class:`Fresh`:
content that the engine made up for ``touch(write=True)``, unknown until somebody looks.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

PAGE_SIZE = 4096
STAMP_SIZE = 16
EMPTY, PRIVATE, SHARED = 0, 1, 2
HINT_FRAME, SHARED_FRAME = 1, 2


class Fresh:
    """Content of the engine's own making; equal to nothing but itself until it is learned.

    On a byte host it is a stamp of 16 bytes at the head of what the page held before.
    """

    def __init__(self, before: Content) -> None:
        self.value: int | bytes | None = None
        self.tail: bytes | None = None
        if not isinstance(before, int):
            self.tail = before.tail if isinstance(before, Fresh) else before[STAMP_SIZE:]


Content = int | bytes | Fresh
Key = tuple[str, int]


@dataclass(eq=False)
class Home:
    """One machine page: how many guest pages stand on it, and its number once that was seen."""

    count: int = 1
    published: bool = False
    mpn: int | None = None


@dataclass
class Samples:
    """The sampling of one VM: what is left of the pages chosen, and what came of earlier ones.

    ``traced`` is None from the start of a period until the host was asked which pages it chose.
    """

    pages: int
    period_s: int
    slow_keep: float = 0.9
    fast_keep: float = 0.3
    traced: set[int] | None = None
    touched: int = 0
    elapsed_s: int = 0
    stalled: bool = False
    fractions: list[float] = field(default_factory=list)

    def tick(self) -> None:
        """One second of the host; the VM's own time stands still while it waits for memory."""
        if not self.stalled:
            self.elapsed_s += 1
        if self.elapsed_s == self.period_s:
            self.fractions.append(self.touched / self.pages)
            self.traced, self.touched, self.elapsed_s = None, 0, 0

    @staticmethod
    def average(fractions: Sequence[float], keep: float) -> float:
        """An exponentially weighted moving average, from the first value on."""
        result = fractions[0] if fractions else 0.0
        for fraction in fractions[1:]:
            result = result + (1 - keep) * (fraction - result)
        return result

    def expected(self) -> dict[str, float]:
        """What `Host.sampling` must say."""
        averages = {
            "slow": self.average(self.fractions, self.slow_keep),
            "fast": self.average(self.fractions, self.fast_keep),
            "current": self.average([*self.fractions, self.touched / self.pages], self.fast_keep),
        }
        last = self.fractions[-1] if self.fractions else 0.0
        return {
            **averages,
            "estimate": max(averages.values()),
            "period_s": self.period_s,
            "periods": len(self.fractions),
            "elapsed_s": self.elapsed_s,
            "sampled": self.pages,
            "touched": self.touched,
            "last_touched": round(last * self.pages),
        }


@dataclass
class Guest:
    """One VM: content and machine page of each resident page; an absent page is empty."""

    max_pages: int
    domain: str
    samples: Samples
    content: dict[int, Content] = field(default_factory=dict)
    homes: dict[int, Home] = field(default_factory=dict)
    tally: Counter[str] = field(default_factory=Counter)


@dataclass
class Served:
    """How far a batch of references gets, and what it costs."""

    done: int = 0
    starved: bool = False
    zero_fills: int = 0
    cow_breaks: int = 0


class Known:
    """What guests hold, as far as anybody has looked: the content of each page in ``guests``."""

    def __init__(self, kind: str) -> None:
        self.zero: int | bytes = 0 if kind == "tokens" else bytes(PAGE_SIZE)
        self.guests: dict[str, Any] = {}
        self.learned: set[int | bytes] = set()

    @staticmethod
    def value(content: Content) -> object:
        """What two contents are compared by: a look, or the identity of what nobody looked at."""
        if isinstance(content, Fresh) and content.value is not None:
            return content.value
        return content

    def look(self, name: str, ppns: Iterable[int], seen: Iterable[int | bytes]) -> None:
        """Compares what a guest or a peek sees (I9), and learns engine-made content."""
        guest = self.guests[name]
        for ppn, value in zip(ppns, seen, strict=True):
            content = guest.content.get(ppn, self.zero)
            if isinstance(content, Fresh) and content.value is None:
                self._learn(content, value)
            assert value == self.value(content), f"I9: {name} page {ppn}"

    def _learn(self, fresh: Fresh, value: int | bytes) -> None:
        contents = [content for guest in self.guests.values() for content in guest.content.values()]
        assert value not in map(self.value, contents), "fresh content equals some other page's"
        assert value not in self.learned, "fresh content was seen before"
        if isinstance(value, bytes):
            assert value[STAMP_SIZE:] == fresh.tail, "more than the stamp has changed"
        else:
            assert value >> 63 == 1, "an engine token without its top bit"
        self.learned.add(value)
        fresh.value = value


class Oracle(Known):
    """The whole host.  Every method takes VM names, as ``Host`` does."""

    def __init__(
        self, kind: str, machine_pages: int, sample_pages: int, sample_period_s: int
    ) -> None:
        super().__init__(kind)
        self.sample_pages, self.sample_period_s = sample_pages, sample_period_s
        self.machine_pages = machine_pages
        self.guests: dict[str, Guest] = {}
        self.hinted: set[Key] = set()
        self.totals: Counter[str] = Counter()

    def copy(self) -> Oracle:
        return copy.deepcopy(self)

    # -- what is -------------------------------------------------------------------------------

    def entries(self) -> Iterator[tuple[Key, Guest, Home]]:
        """Every resident guest page."""
        for name, guest in self.guests.items():
            for ppn, home in guest.homes.items():
                yield (name, ppn), guest, home

    def homes(self) -> list[Home]:
        """Every machine page in use, once."""
        return list({id(home): home for _, _, home in self.entries()}.values())

    @property
    def free_pages(self) -> int:
        return self.machine_pages - len(self.homes())

    def census(self) -> dict[str, int]:
        """What the resident contents allow, by content within each salt domain."""
        copies = Counter(
            (guest.domain, self.value(guest.content[ppn])) for (_, ppn), guest, _ in self.entries()
        )
        pages = sum(copies.values())
        return {
            "pages": pages,
            "zero_pages": sum(n for (_, value), n in copies.items() if value == self.zero),
            "distinct_pages": len(copies),
            "shared_pages": sum(n for n in copies.values() if n >= 2),
            "reclaimed_pages": pages - len(copies),
        }

    # -- what guests do ------------------------------------------------------------------------

    def power_on(self, name: str, max_pages: int, contents: Sequence[Content], domain: str) -> bool:
        """Adds a VM with all given contents allocated; False, and nothing done, without room."""
        if len(contents) > self.free_pages:
            return False
        samples = Samples(min(self.sample_pages, max_pages), self.sample_period_s)
        guest = Guest(max_pages, domain, samples, dict(enumerate(contents)))
        guest.homes = {ppn: Home() for ppn in guest.content}
        self.guests[name] = guest
        return True

    def power_off(self, name: str) -> None:
        for home in self.guests.pop(name).homes.values():
            home.count -= 1
        self.hinted = {key for key in self.hinted if key[0] != name}

    def touch(self, name: str, ppns: Sequence[int], write: bool) -> Served:
        """References in order, up to the first that no machine page can serve."""
        return self._access(name, ppns, write, lambda _, before: Fresh(before) if write else before)

    def write(self, name: str, ppns: Sequence[int], contents: Sequence[Content]) -> Served:
        return self._access(name, ppns, True, lambda position, _: contents[position])

    def _access(
        self, name: str, ppns: Sequence[int], is_write: bool, new: Callable[[int, Content], Content]
    ) -> Served:
        guest, served = self.guests[name], Served()
        for position, ppn in enumerate(ppns):
            if not self._fault(guest, ppn, is_write, served):
                served.starved = True
                break
            guest.content[ppn] = new(position, guest.content[ppn])
            served.done += 1
            assert guest.samples.traced is not None, "which pages are sampled was not looked at"
            if ppn in guest.samples.traced:
                guest.samples.traced.remove(ppn)
                guest.samples.touched += 1
        if ppns:
            guest.samples.stalled = served.starved
        counts = Counter(references=served.done, zero_fills=served.zero_fills)
        counts["cow_breaks"] = served.cow_breaks
        guest.tally += counts
        self.totals += counts
        return served

    def _fault(self, guest: Guest, ppn: int, is_write: bool, served: Served) -> bool:
        home = guest.homes.get(ppn)
        if home is None:
            if self.free_pages == 0:
                return False
            guest.homes[ppn], guest.content[ppn] = Home(), self.zero  # I10
            served.zero_fills += 1
        elif is_write and home.published:
            if home.count == 1:
                home.published = False  # the last sharer takes the page over
            elif self.free_pages == 0:
                return False
            else:
                home.count -= 1
                guest.homes[ppn] = Home()
            served.cow_breaks += 1
        return True

    def learn_transfer(self, host: Any, name: str, ppn: int, report: Any) -> None:
        """Judges which pages one transfer moved by what ``pmap`` shows, and takes it over."""
        maps = {name: host.pmap(name) for name in self.guests}
        moved = []
        own = self.guests[name].homes.get(ppn)
        is_new = own is not None and own.mpn is None  # where it was before is not known
        for key, guest, home in list(self.entries()):
            mpn, state = int(maps[key[0]]["mpn"][key[1]]), int(maps[key[0]]["state"][key[1]])
            home.mpn = mpn if home.mpn is None else home.mpn
            if home.mpn == mpn:
                continue
            assert state == PRIVATE, "a shared page moved"
            moved.append(key)
            self.hinted.discard(key)
            if home.published:
                assert key == (name, ppn), "a shared page made room"
                home.count -= 1
                guest.homes[key[1]] = Home()
            guest.homes[key[1]].mpn = mpn
        down, up = report.remaps + report.private_copies, report.evictions
        assert (down, up) in ((0, 0), (1, 0), (1, 1))
        assert len(moved) == up + (0 if is_new else down)
        assert all(key == (name, ppn) for key in moved) or up

    # -- what time did --------------------------------------------------------------------------

    def pass_time(self, ticks: int) -> None:
        """Whole seconds in which no guest touches anything."""
        for guest in self.guests.values():
            for _ in range(ticks):
                guest.samples.tick()

    def _check_samples(self, host: Any) -> None:
        columns = host.vms()
        for i, (name, guest) in enumerate(self.guests.items()):
            chosen = {int(ppn) for ppn in np.flatnonzero(host.pmap(name)["traced"])}
            if guest.samples.traced is None:
                assert len(chosen) == guest.samples.pages
                guest.samples.traced = chosen
            assert chosen == guest.samples.traced, "a mark was lost, or came from nowhere"
            report, expected = host.sampling(name), guest.samples.expected()
            assert {key: getattr(report, key) for key in expected} == expected
            assert columns["active_fraction"][i] == expected["estimate"]
            distance = abs(columns["active_pages"][i] - expected["estimate"] * guest.max_pages)
            assert distance <= 0.5

    # -- what a scan did -----------------------------------------------------------------------

    def learn_scan(self, host: Any, report: Any) -> None:
        """Judges what a scan shared by what ``pmap`` shows, and takes it over."""
        maps = {name: host.pmap(name) for name in self.guests}
        old = self.homes()
        new: dict[int, Home] = {}
        members: dict[int, list[tuple[Guest, int]]] = {}
        for (name, ppn), guest, home in list(self.entries()):
            mpn, state = int(maps[name]["mpn"][ppn]), int(maps[name]["state"][ppn])
            assert not home.published or mpn == home.mpn, "a shared page moved"
            assert state in (PRIVATE, SHARED), "a scan changed what is resident"
            members.setdefault(mpn, []).append((guest, ppn))
            after = new.setdefault(mpn, Home(0, state == SHARED, mpn))
            assert after.published == (state == SHARED)
            after.count += 1
        for mpn, group in members.items():
            self._judge_group(mpn, group)
        was = {home.mpn: home for home in old}
        assert new.keys() <= was.keys(), "a scan allocated a page"
        fresh = [mpn for mpn in new if new[mpn].published and not was[mpn].published]
        assert all(new[mpn].count >= 2 for mpn in fresh)
        assert report.merged == len(old) - len(new)
        assert report.published == len(fresh)
        for mpn, group in members.items():
            for guest, ppn in group:
                guest.homes[ppn] = new[mpn]
        self.hinted = {(name, int(p)) for name in maps for p in np.flatnonzero(maps[name]["hint"])}

    def _judge_group(self, mpn: int, group: list[tuple[Guest, int]]) -> None:
        values = {self.value(guest.content[ppn]) for guest, ppn in group}
        assert len(values) == 1, f"pages of different content share machine page {mpn}"
        assert len({guest.domain for guest, _ in group}) == 1, "pages of two salt domains share"

    # -- comparing -----------------------------------------------------------------------------

    def check(self, host: Any) -> None:
        """Compares everything that can be seen without looking at contents."""
        host.audit()
        assert [str(name) for name in host.vms()["name"]] == list(self.guests)
        for name, guest in self.guests.items():
            self._check_pmap(host.pmap(name), name, guest)
        numbers = [home.mpn for home in self.homes()]
        assert len(set(numbers)) == len(numbers), "I2: one machine page, two owners"
        self._check_frames(host.frames())
        self._check_stats(host.stats())
        self._check_vms(host.vms())
        self._check_samples(host)

    def _check_pmap(self, columns: Any, name: str, guest: Guest) -> None:
        assert all(len(column) == guest.max_pages for column in columns.values())
        for ppn in range(guest.max_pages):
            home = guest.homes.get(ppn)
            state, mpn = int(columns["state"][ppn]), int(columns["mpn"][ppn])
            if home is None:
                assert (state, mpn) == (EMPTY, -1)
            else:
                home.mpn = mpn if home.mpn is None else home.mpn
                assert (state, mpn) == (SHARED if home.published else PRIVATE, home.mpn)
                assert 0 <= mpn < self.machine_pages
            assert bool(columns["shared"][ppn]) == (home is not None and home.count >= 2)
            assert bool(columns["hint"][ppn]) == ((name, ppn) in self.hinted)

    def _check_frames(self, frames: Any) -> None:
        rows = [
            {key: int(column[i]) for key, column in frames.items()}
            for i in range(len(frames["mpn"]))
        ]
        assert [row["mpn"] for row in rows] == sorted({row["mpn"] for row in rows})
        names = list(self.guests)
        shared = {row["mpn"]: row for row in rows if row["kind"] == SHARED_FRAME}
        hints = {(names[row["vm"]], row["ppn"]): row for row in rows if row["kind"] == HINT_FRAME}
        assert len(shared) + len(hints) == len(rows)
        published = {home.mpn: home.count for home in self.homes() if home.published}
        assert {mpn: row["count"] for mpn, row in shared.items()} == published
        assert all((row["vm"], row["ppn"]) == (-1, -1) for row in shared.values())
        assert hints.keys() == self.hinted
        for (name, ppn), row in hints.items():
            home = self.guests[name].homes[ppn]
            assert not home.published and home.mpn == row["mpn"] and row["count"] == 0

    def _shares(self, guests: Iterable[Guest]) -> dict[str, int]:
        entries = [
            (g.content[p], home) for g in guests for p, home in g.homes.items() if home.count >= 2
        ]
        zero = sum(self.value(content) == self.zero for content, _ in entries)
        return {"shared_pages": len(entries), "zero_pages": zero}

    def _check_stats(self, stats: Any) -> None:
        homes = self.homes()
        expected = {
            "machine_pages": self.machine_pages,
            "free_pages": self.free_pages,
            "used_pages": len(homes),
            "allocated_pages": sum(home.count for home in homes),
            "reclaimed_pages": sum(home.count - 1 for home in homes),
            "hint_frames": len(self.hinted),
            "shared_frames": sum(home.published for home in homes),
            "vms": len(self.guests),
            "page_ins": 0,
            **self._shares(self.guests.values()),
            **{key: self.totals[key] for key in ("references", "zero_fills", "cow_breaks")},
        }
        assert {key: stats[key] for key in expected} == expected

    def _check_vms(self, columns: Any) -> None:
        for i, guest in enumerate(self.guests.values()):
            consumed = sum(1 / home.count for home in guest.homes.values())
            expected = {
                "max_pages": guest.max_pages,
                "allocated_pages": len(guest.homes),
                **self._shares([guest]),
                **{key: guest.tally[key] for key in ("references", "zero_fills", "cow_breaks")},
            }
            assert {key: int(columns[key][i]) for key in expected} == expected
            assert abs(float(columns["consumed"][i]) - consumed) < 1e-9
            assert abs(float(columns["reclaimed"][i]) - len(guest.homes) + consumed) < 1e-9
