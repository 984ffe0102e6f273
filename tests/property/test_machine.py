"""Random histories of whole hosts, compared with ``oracle``'s naive manager after every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import esxcore
from oracle import Oracle
from worlds import FULL_MASK, page, pages, quiet_pass, same, seen, small_host

NAMES = ["alpha", "beta", "gamma", "delta"]
MACHINE_PAGES = [5, 24, 64]
MAX_PAGES = 24
SAMPLE_PAGES = 5
SAMPLE_PERIOD_S = 2
# The palette is small so that pages meet; masks leave no hash, a few bits at either end, too few
# bits for the truncated hash of a hint, or enough.
PALETTE = st.sampled_from([0, 1, 2, 255, 256, 2**63 - 1])
EXACT_MASKS = [FULL_MASK, FULL_MASK >> 8, FULL_MASK << 16 & FULL_MASK]
WEAK_MASKS = [0, 0xF, 0xFFF, (1 << 24) - 1, 0b11 << 38, 0xF << 60]
FEW = st.sampled_from([0, 1, 2])
PPNS = st.lists(st.integers(0, MAX_PAGES - 1), max_size=12)
CONTENTS = st.lists(PALETTE, max_size=MAX_PAGES)
FIRST_CONTENTS = st.lists(st.lists(PALETTE, min_size=4, max_size=8), min_size=1, max_size=3)
SCARCE = ["coldest", "fair", "refuse"]
BUDGETS = st.sampled_from([0, 1, 2, 5, 13, 30, 80])


class Machine(RuleBasedStateMachine):
    """One host and its oracle; sometimes a twin that lives the same life, and a fork laid aside."""

    kind = "tokens"

    @initialize(
        machine_pages=st.sampled_from(MACHINE_PAGES),
        mask=st.sampled_from(EXACT_MASKS + WEAK_MASKS),
        per_vm=st.booleans(),
        draws=st.sampled_from([False, False, False, True]),
        born=FIRST_CONTENTS,
        reach=st.tuples(
            st.integers(1, 64), st.sampled_from([1, 2, 3]), st.sampled_from(SCARCE), st.booleans()
        ),
    )
    def build(
        self,
        machine_pages: int,
        mask: int,
        per_vm: bool,
        draws: bool,
        born: list[list[int]],
        reach: tuple[int, int, Any, bool],
    ) -> None:
        low, threshold, scarce, at_once = reach
        self.low_pages = min(low, machine_pages)
        self.exact, self.draws, self.per_vm = mask in EXACT_MASKS, draws, per_vm
        self.host = small_host(
            machine_pages,
            self.kind,
            hash_mask=mask,
            salt="per-vm" if per_vm else "none",
            scan_order="draws" if draws else "permutation",
            scan_vm_rate=3,
            scan_host_rate=7,
            sample_pages=SAMPLE_PAGES,
            sample_period=SAMPLE_PERIOD_S,
            low_memory=f"{4 * self.low_pages}KiB",
            io_threshold=threshold,
            io_decay=3,
            io_scarce=scarce,
            io_mode="first-use" if at_once else "remap",
        )
        self.oracle = Oracle(self.kind, machine_pages, SAMPLE_PAGES, SAMPLE_PERIOD_S)
        self.twin: esxcore.Host | None = None
        self.aside: tuple[esxcore.Host, Oracle, str] | None = None
        self.ineligible = 0
        self.now = 0.0
        for name, contents in zip(NAMES, born, strict=False):
            self.power_on_vm(name, contents, 2, None)

    # -- every operation goes to the twin too ---------------------------------------------------

    def both(self, operation: Callable[[esxcore.Host], Any]) -> Any:
        answer = self._try(operation, self.host)
        if self.twin is not None:
            assert same(_plain(self._try(operation, self.twin)), _plain(answer))
        return answer

    @staticmethod
    def _try(operation: Callable[[esxcore.Host], Any], host: esxcore.Host) -> Any:
        try:
            return operation(host)
        except esxcore.OutOfMachineMemoryError as error:
            return error

    def some_vm(self, data: st.DataObject) -> tuple[str, int]:
        name = data.draw(st.sampled_from(list(self.oracle.guests)))
        return name, self.oracle.guests[name].max_pages

    def some_ppns(self, data: st.DataObject) -> tuple[str, list[int]]:
        name, max_pages = self.some_vm(data)
        return name, [ppn % max_pages for ppn in data.draw(PPNS)]

    def expect(self, served: Any, answer: Any) -> None:
        """What one batch of guest accesses must have answered."""
        if served.starved and isinstance(answer, esxcore.OutOfMachineMemoryError):
            assert (answer.done, answer.free_pages) == (served.done, 0)
            assert answer.wanted_pages >= 1
            return
        assert answer.done == served.done
        assert answer.stopped == ("out-of-memory" if served.starved else None)
        assert (answer.zero_fills, answer.cow_breaks) == (served.zero_fills, served.cow_breaks)
        assert answer.page_ins == 0

    # -- VMs come and go ------------------------------------------------------------------------

    @rule(
        name=st.sampled_from(NAMES),
        contents=st.none() | CONTENTS,
        extra=st.integers(0, 6),
        salt=st.sampled_from([None, None, None, "none", "per-vm", "red", "alpha"]),
    )
    def power_on(self, name: str, contents: list[int] | None, extra: int, salt: str | None) -> None:
        if name not in self.oracle.guests:
            self.power_on_vm(name, contents, extra, salt)

    def power_on_vm(
        self, name: str, contents: list[int] | None, extra: int, salt: str | None
    ) -> None:
        numbers = contents or []
        max_pages = max(1, len(numbers) + extra)
        given = None if contents is None else pages(self.kind, contents)
        rule_of_host = "per-vm" if self.per_vm else "none"
        domain = salt or rule_of_host
        domain = f"own {name}" if domain == "per-vm" else f"group {domain}"
        fits = self.oracle.power_on(name, max_pages, [page(self.kind, n) for n in numbers], domain)
        free = self.host.stats()["free_pages"]
        answer = self.both(
            lambda host: host.power_on(name, max=f"{4 * max_pages}KiB", contents=given, salt=salt)
        )
        if fits:
            assert (answer.name, answer.max_pages) == (name, max_pages)
        else:
            assert isinstance(answer, esxcore.OutOfMachineMemoryError)
            assert (answer.wanted_pages, answer.free_pages) == (len(numbers), free)

    @precondition(lambda self: self.oracle.guests)
    @rule(data=st.data())
    def power_off(self, data: st.DataObject) -> None:
        name, _ = self.some_vm(data)
        self.oracle.power_off(name)
        self.both(lambda host: host.power_off(name))
        left = self.host.stats()["ineligible_pages"]
        assert left <= self.ineligible
        self.ineligible = left

    # -- guests work ----------------------------------------------------------------------------

    @precondition(lambda self: self.oracle.guests)
    @rule(data=st.data(), is_write=st.booleans())
    def touch(self, data: st.DataObject, is_write: bool) -> None:
        name, ppns = self.some_ppns(data)
        served = self.oracle.touch(name, ppns, is_write)
        batch = np.array(ppns, dtype=np.int64)
        self.expect(served, self.both(lambda host: host.touch(name, batch, write=is_write)))

    @precondition(lambda self: self.oracle.guests)
    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        name, ppns = self.some_ppns(data)
        numbers = data.draw(st.lists(FEW, min_size=len(ppns), max_size=len(ppns)))
        served = self.oracle.write(name, ppns, [page(self.kind, n) for n in numbers])
        batch, given = np.array(ppns, dtype=np.uint32), pages(self.kind, numbers)
        self.expect(served, self.both(lambda host: host.write(name, batch, given)))

    @precondition(lambda self: self.oracle.guests)
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        name, ppns = self.some_ppns(data)
        served = self.oracle.touch(name, ppns, False)
        batch = np.array(ppns, dtype=np.int64)
        answer = self.both(lambda host: host.read(name, batch))
        if served.starved:
            self.expect(served, answer)
        else:
            self.oracle.look(name, ppns, seen(self.kind, answer))

    @precondition(lambda self: self.oracle.guests)
    @rule(data=st.data())
    def peek(self, data: st.DataObject) -> None:
        name, ppns = self.some_ppns(data)
        batch = np.array(ppns, dtype=np.int64)
        self.oracle.look(
            name, ppns, seen(self.kind, self.both(lambda host: host.peek(name, batch)))
        )

    @precondition(lambda self: self.kind == "bytes" and self.oracle.guests)
    @rule(data=st.data())
    def copy_page(self, data: st.DataObject) -> None:
        """A guest copies a page, engine-made content included, to another page or another VM."""
        source, from_ppns = self.some_ppns(data)
        name, to_ppns = self.some_ppns(data)
        if not from_ppns or not to_ppns:
            return
        value = self.host.peek(source, from_ppns[0])
        self.oracle.look(source, from_ppns[:1], [value.tobytes()])
        served = self.oracle.write(name, to_ppns[:1], [value.tobytes()])
        self.expect(served, self.both(lambda host: host.write(name, to_ppns[0], value)))

    @precondition(lambda self: self.oracle.guests)
    @rule(data=st.data(), receives=st.booleans())
    def io(self, data: st.DataObject, receives: bool) -> None:
        """Transfers, one a call: each may move pages, which is then looked at."""
        name, ppns = self.some_ppns(data)
        for ppn in ppns:
            served = self.oracle.touch(name, [ppn], receives)
            answer = self.both(lambda host: host.io(name, ppn, "rx" if receives else "tx"))  # noqa: B023
            self.expect(served, answer)
            assert answer.hits + answer.misses == answer.done
            self.oracle.learn_transfer(self.host, name, ppn, answer)
            mpn = int(self.host.pmap(name)["mpn"][ppn])
            assert answer.copies == (answer.done and mpn >= self.low_pages)
            left = self.host.stats()["ineligible_pages"]
            assert left <= self.ineligible, "only pages that moved are eligible again"
            self.ineligible = left

    # -- the scanner ----------------------------------------------------------------------------

    @rule(budget=BUDGETS)
    def scan(self, budget: int) -> None:
        report = self._scan(lambda host: host.scan(budget))
        assert report.picked == (budget if self.oracle.guests else 0)

    @rule(quarters=st.sampled_from([1, 2, 3, 4, 8, 9, 20]))
    def advance(self, quarters: int) -> None:
        seconds = quarters / 4
        ticks = int(self.now + seconds) - int(self.now)
        report = self._scan(lambda host: host.advance(seconds))
        self.now += seconds
        self.oracle.pass_time(ticks)
        assert report.picked <= ticks * min(7, 3 * len(self.oracle.guests))
        assert self.host.now == self.now

    def _scan(self, operation: Callable[[esxcore.Host], Any]) -> Any:
        before = self.host.stats()
        report = self.both(operation)
        after = self.host.stats()
        self.oracle.learn_scan(self.host, report)
        assert report.picked == report.skipped + report.hashed
        assert after["free_pages"] - before["free_pages"] == report.merged
        for key, gained in {
            "scanned_pages": report.picked,
            "hashed_pages": report.hashed,
            "merged_pages": report.merged,
            "false_matches": report.false_matches,
            "stale_hints": report.stale_hints,
            "ineligible_pages": report.false_matches,
        }.items():
            assert after[key] - before[key] == gained, key
        # True and stale hints are gone; new ones may have taken the places of old ones.
        gone = report.published + report.stale_hints
        assert after["hint_frames"] - before["hint_frames"] <= report.hints - gone
        self.ineligible = after["ineligible_pages"]
        assert not self.exact or report.false_matches == 0
        return report

    @precondition(lambda self: self.oracle.guests)
    @rule()
    def quiet(self) -> None:
        """A whole pass while nobody writes finds all there is, unless false matches hid some."""
        spare, picked = self.host.fork(), self.host.stats()["scanned_pages"]
        if self.draws:
            return
        quiet_pass(spare)
        picked = spare.stats()["scanned_pages"] - picked
        self._scan(lambda host: host.scan(picked))
        assert self.host.state_digest() == spare.state_digest()
        if self.ineligible == 0:
            assert self.host.stats()["reclaimed_pages"] == self.oracle.census()["reclaimed_pages"]

    # -- forks ----------------------------------------------------------------------------------

    @rule()
    def fork_twin(self) -> None:
        self.twin = self.host.fork()
        assert self.twin.state_digest() == self.host.state_digest()

    @rule()
    def fork_aside(self) -> None:
        digest = self.host.state_digest()
        self.aside = self.host.fork(), self.oracle.copy(), digest
        assert self.aside[0].state_digest() == digest

    @precondition(lambda self: self.aside is not None)
    @rule()
    def swap_with_aside(self) -> None:
        """Goes on with the fork: whatever the original did since must not have reached it."""
        host, oracle, digest = self.aside
        assert host.state_digest() == digest
        oracle.check(host)
        self.aside = self.host, self.oracle, self.host.state_digest()
        self.host, self.oracle, self.twin = host, oracle, None
        self.ineligible = host.stats()["ineligible_pages"]
        self.now = host.now

    # -- always ---------------------------------------------------------------------------------

    @invariant()
    def agrees_with_the_oracle(self) -> None:
        self.oracle.check(self.host)
        stats = self.host.stats()
        assert stats["ineligible_pages"] == self.ineligible
        census = self.host.census()
        assert {key: census[key] for key in self.oracle.census()} == self.oracle.census()
        assert stats["reclaimed_pages"] <= census["reclaimed_pages"]
        if self.twin is not None:
            assert self.twin.state_digest() == self.host.state_digest()

    def teardown(self) -> None:
        """Looks at every page of every host, the one laid aside included."""
        if not hasattr(self, "host"):
            return
        worlds = [(self.host, self.oracle)] + ([self.aside[:2]] if self.aside else [])
        for host, oracle in worlds:
            digest = host.state_digest()
            for name, guest in oracle.guests.items():
                everything = np.arange(guest.max_pages)
                oracle.look(name, everything.tolist(), seen(self.kind, host.peek(name, everything)))
            assert host.state_digest() == digest
            oracle.check(host)


def _plain(answer: Any) -> Any:
    """Answers of two hosts in a form that compares."""
    if isinstance(answer, esxcore.OutOfMachineMemoryError):
        return str(answer), answer.wanted_pages, answer.free_pages, answer.done
    if isinstance(answer, esxcore.Vm):
        return answer.name, answer.max_pages
    return answer


class ByteMachine(Machine):
    """The same host on real bytes."""

    kind = "bytes"


@pytest.mark.timeout(600)  # a failure takes minutes to shrink
@pytest.mark.parametrize("machine", [Machine, ByteMachine], ids=["tokens", "bytes"])
def test_random_histories(machine: type[Machine]) -> None:
    run_state_machine_as_test(machine)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("machine", [Machine, ByteMachine], ids=["tokens", "bytes"])
def test_random_histories_long(machine: type[Machine]) -> None:
    run_state_machine_as_test(machine, settings=settings.get_profile("slow"))
