"""Random histories of hosts that divide their memory, held against the laws of ``division``."""

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
from division import GONE, Guest, Model
from esxcore import BalloonDriver, PageState
from odd_policies import HOSTILE, Asked, Caller, Keeper, Trouble, Watched
from worlds import page, pages, same, seen, size

NAMES = ["alpha", "beta", "gamma", "delta"]
MAX_PAGES = 24
PALETTE = st.sampled_from([0, 0, 1, 2, 255, 2**63 - 1])
PPNS = st.lists(st.integers(0, MAX_PAGES - 1), max_size=24)
DRIVERS = [
    BalloonDriver(),
    BalloonDriver(),
    BalloonDriver(start=None),
    BalloonDriver(start=3),
    BalloonDriver(max_rate=1),
    BalloonDriver(limit=2),
    BalloonDriver(stuck_at=2),
]
RULES = {
    "balance_period": st.sampled_from([1, 2, 5]),
    "thresholds": st.sampled_from([(0.06, 0.04, 0.02, 0.01), (0.3, 0.2, 0.12, 0.08)]),
    "shared_charge": st.sampled_from(["full", "fraction"]),
    "share_before_swap": st.booleans(),
    "balloon_cap": st.sampled_from([0.5, 0.2, 1.0]),
    "balloon_host_cap": st.sampled_from([0.65, 1.0]),
    "swap_out_rate": st.sampled_from([1, 2, 4096]),
    "ledger_records": st.sampled_from([16_384, 16_384, 30, 0]),
    "sample_pages": st.sampled_from([5, 0]),
    "salt": st.sampled_from(["none", "per-vm"]),
}
LIMITS = st.none() | st.integers(0, MAX_PAGES)
SHARES = st.sampled_from(["low", "normal", "high", 0, 1, 3, 1000])
PER_MIB = {"low": 5, "normal": 10, "high": 20}


class Machine(RuleBasedStateMachine):
    """One host and its model; sometimes a twin that lives the same life in other pieces."""

    kind = "tokens"

    @initialize(
        machine_pages=st.sampled_from([30, 40, 100]),
        swap=st.sampled_from([4, 2, 1, 0.5]),
        rules=st.fixed_dictionaries(RULES),
        born=st.lists(st.lists(PALETTE, min_size=4, max_size=16), min_size=2, max_size=3),
    )
    def build(
        self, machine_pages: int, swap: float, rules: dict[str, Any], born: list[list[int]]
    ) -> None:
        self.host = esxcore.Host(
            size(machine_pages),
            content=self.kind,
            seed=1,
            swap=int(swap * machine_pages),
            scan_vm_rate=3,
            scan_host_rate=7,
            sample_period=2,
            **rules,
        )
        self.records = rules["ledger_records"]
        kept_free = -(-machine_pages * round(rules["thresholds"][0] * 10**6) // 10**6)
        self.model = Model(self.kind, machine_pages, int(swap * machine_pages), kept_free)
        self.model.charges_parts = rules["shared_charge"] == "fraction"
        self.twin: esxcore.Host | None = None
        self.sound = True
        self.given: list[int] | None = None  # targets set by hand
        for name, numbers in zip(NAMES, born, strict=False):
            self.come(name, numbers, 20 - len(numbers), {"min": 4, "overhead": 1})

    # -- the host and its twin ------------------------------------------------------------------

    def both(self, call: Callable[[esxcore.Host], Any], twins: Any = None) -> Any:
        """The answer of the host; a refused call has changed nothing, the twin's is the same."""
        digest = self.host.state_digest()
        answer = _try(call, self.host)
        if isinstance(answer, esxcore.ConfigError):
            assert self.host.state_digest() == digest
        if self.twin is not None:
            assert same(_plain(_try(twins or call, self.twin)), _plain(answer))
        return answer

    @rule()
    def fork(self) -> None:
        self.twin = self.host.fork()
        split = hasattr(self.host.policy, "fork")  # it remembers, so each has its own
        assert (self.twin.policy is self.host.policy) is not split
        assert type(self.twin.policy) is type(self.host.policy)

    # -- virtual machines come, change and go -----------------------------------------------------

    @rule(
        name=st.sampled_from(NAMES),
        numbers=st.lists(PALETTE, max_size=MAX_PAGES),
        extra=st.integers(0, 8),
        options=st.fixed_dictionaries(
            {},
            optional={
                "min": st.integers(0, MAX_PAGES),
                "shares": SHARES,
                "balloon_limit": LIMITS,
                "overhead": st.integers(0, 6),
                "driver": st.sampled_from(DRIVERS),
                "salt": st.sampled_from(["none", "per-vm", "red"]),
            },
        ),
    )
    def power_on(self, name: str, numbers: list[int], extra: int, options: dict[str, Any]) -> None:
        if name not in self.model.guests:
            self.come(name, numbers, extra, {"overhead": 2} | options)

    def come(self, name: str, numbers: list[int], extra: int, options: dict[str, Any]) -> None:
        count = max(1, len(numbers) + extra)
        guest = Guest(
            pages=count,
            min_pages=options.get("min", count // 2),
            max_pages=count,
            overhead_pages=options["overhead"],
            shares=shares(options.get("shares", "normal"), count),
            content={ppn: page(self.kind, n) for ppn, n in enumerate(numbers)},
        )
        given = pages(self.kind, numbers)
        answer = self.promised(
            lambda host: host.power_on(name, max=size(count), contents=given, **options), guest
        )
        if answer is not None:
            assert (answer.name, answer.max_pages) == (name, count)
            self.model.guests[name] = guest

    def promised(
        self, call: Callable[[esxcore.Host], Any], guest: Guest, instead_of: str | None = None
    ) -> Any:
        """The answer; None if it was refused, for the reason that the model has and its numbers."""
        refusal = self.model.refusal(self.host, guest, instead_of)
        answer = self.both(call)
        if guest.min_pages > guest.max_pages or guest.max_pages > guest.pages:
            assert type(answer) is esxcore.ConfigError
        elif refusal is not None:
            assert isinstance(answer, esxcore.NotAdmittedError)
            assert (answer.wanted_pages, answer.unreserved_pages) == refusal
            assert answer.wanted_pages > answer.unreserved_pages
        else:
            assert not isinstance(answer, Exception)
            return answer
        return None

    @precondition(lambda self: self.model.guests)
    @rule(data=st.data())
    def power_off(self, data: st.DataObject) -> None:
        name = self.some_vm(data)
        self.both(lambda host: host.power_off(name))
        del self.model.guests[name]

    @precondition(lambda self: self.model.guests)
    @rule(
        data=st.data(),
        changes=st.fixed_dictionaries(
            {},
            optional={
                "max": st.integers(1, MAX_PAGES + 2),
                "min": st.integers(0, MAX_PAGES),
                "shares": SHARES,
                "balloon_limit": st.integers(0, MAX_PAGES),
            },
        ),
    )
    def configure(self, data: st.DataObject, changes: dict[str, Any]) -> None:
        self.reconfigure(self.some_vm(data), changes)

    @precondition(lambda self: self.model.guests)
    @rule(data=st.data(), least=st.integers(0, MAX_PAGES))
    def squeeze(self, data: st.DataObject, least: int) -> None:
        """Down to its min and up again with another: the swap space it fills stays reserved."""
        name = self.some_vm(data)
        guest = self.model.guests[name]
        self.reconfigure(name, {"max": max(1, guest.min_pages)})
        self.reconfigure(name, {"max": guest.pages, "min": min(least, guest.pages)})

    def reconfigure(self, name: str, changes: dict[str, Any]) -> None:
        old = self.model.guests[name]
        most = changes.get("max", old.max_pages)
        share = shares(changes["shares"], most) if "shares" in changes else old.shares
        new = old.reconfigured(changes.get("min", old.min_pages), most, share)
        answer = self.promised(lambda host: host.configure(name, **changes) or name, new, name)
        if answer is not None:
            self.model.guests[name] = new

    # -- guests work ----------------------------------------------------------------------------

    def some_vm(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(list(self.model.guests)))

    def some_ppns(self, data: st.DataObject) -> tuple[str, Any]:
        name = self.some_vm(data)
        count = self.model.guests[name].pages
        return name, np.array([ppn % count for ppn in data.draw(PPNS)], dtype=np.int64)

    @precondition(lambda self: self.model.guests)
    @rule(data=st.data(), is_write=st.booleans(), cut=st.integers(0, 24))
    def touch(self, data: st.DataObject, is_write: bool, cut: int) -> None:
        self.accesses(*self.some_ppns(data), is_write, cut)

    @precondition(lambda self: self.model.guests)
    @rule(data=st.data(), is_write=st.booleans(), seconds=st.integers(1, 4))
    def live(self, data: st.DataObject, is_write: bool, seconds: int) -> None:
        """A guest that uses all it has, for a while."""
        name = self.some_vm(data)
        for _ in range(seconds):
            self.accesses(name, np.arange(self.model.guests[name].pages), is_write, 7)
            self.advance(1)

    def accesses(self, name: str, ppns: Any, is_write: bool, cut: int) -> None:
        blocked, before, swaps = self.before(name)
        report = self.both(
            lambda host: host.touch(name, ppns, write=is_write),
            lambda host: _add(host.touch(name, part, write=is_write) for part in _cut(ppns, cut)),
        )
        done = ppns.tolist()[: report.done]
        assert report.done == (0 if blocked else len(ppns)), "an admitted guest starves"
        assert report.stopped == ("blocked" if blocked and len(ppns) else None)
        assert report.zero_fills == sum(before[ppn] in GONE for ppn in set(done))
        swapped = sum(before[ppn] == PageState.SWAPPED for ppn in set(done))
        assert report.page_ins >= swapped
        assert report.page_ins == swapped or self.host.stats()["page_outs"] > swaps
        if is_write:
            self.model.write(name, done, [None] * len(done))
        else:
            self.model.read(name, done)

    def before(self, name: str) -> tuple[bool, Any, int]:
        columns = self.host.vms()
        row = columns["name"].tolist().index(name)
        return (
            bool(columns["blocked"][row]),
            self.host.pmap(name)["state"],
            self.host.stats()["page_outs"],
        )

    def held_up(self, name: str, answer: Any) -> bool:
        """Whether a call was refused because the virtual machine stands, with its numbers."""
        if not isinstance(answer, Exception):
            return False
        columns = self.host.vms()
        row = columns["name"].tolist().index(name)
        assert isinstance(answer, esxcore.VmBlockedError)
        assert (answer.done, answer.target_pages) == (0, columns["target_pages"][row])
        assert columns["blocked"][row]
        return True

    @precondition(lambda self: self.model.guests)
    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        name, ppns = self.some_ppns(data)
        numbers = data.draw(st.lists(PALETTE, min_size=len(ppns), max_size=len(ppns)))
        given = pages(self.kind, numbers)
        if not self.held_up(name, self.both(lambda host: host.write(name, ppns, given))):
            self.model.write(name, ppns.tolist(), [page(self.kind, n) for n in numbers])

    @precondition(lambda self: self.model.guests)
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        name, ppns = self.some_ppns(data)
        answer = self.both(lambda host: host.read(name, ppns))
        if not self.held_up(name, answer):
            self.model.look(name, ppns.tolist(), seen(self.kind, answer))
            self.model.read(name, ppns.tolist())

    @rule(budget=st.sampled_from([0, 1, 13, 80]))
    def scan(self, budget: int) -> None:
        report = self.both(lambda host: host.scan(budget))
        assert report.picked == (budget if self.model.guests else 0)

    # -- who decides ----------------------------------------------------------------------------

    @rule(
        policy=st.sampled_from(["esx2002", "proportional", "equal", "proxmox", "squeezed"])
        | st.sampled_from([0.0, 0.5, 0.99]).map(esxcore.MinFunding)
        | st.sampled_from([esxcore.MinFunding(), esxcore.Equal()]).map(Watched)
        | st.builds(Keeper)
    )
    def decide(self, policy: Any) -> None:
        self.set_policy(policy, sound=True)

    @rule()
    def decide_by_one_who_calls(self) -> None:
        self.set_policy(Caller(lambda: self.host), sound=True)

    @rule(what=st.sampled_from(list(HOSTILE)))
    def decide_wrongly(self, what: str) -> None:
        self.set_policy(Asked(HOSTILE[what], name=what), sound=False)

    def set_policy(self, policy: Any, sound: bool) -> None:
        self.sound, self.given = sound, None
        self.host.policy = policy
        if self.twin is not None:
            self.twin.policy = self.host.policy

    @precondition(lambda self: self.model.guests)
    @rule(
        weights=st.lists(st.integers(0, 9), min_size=4, max_size=4), off=st.sampled_from([0, 0, 1])
    )
    def set_targets(self, weights: list[int], off: int) -> None:
        """What is apportioned is accepted; what is out of bounds changes nothing."""
        targets = self.host.view().apportion(weights[: len(self.model.guests)])
        targets[0] += off * (MAX_PAGES + 2)
        before, digest = self.host.policy, self.host.state_digest()
        answer = self.both(lambda host: host.set_targets(targets))
        if off:
            assert isinstance(answer, esxcore.PolicyError)
            assert (self.host.policy, self.host.state_digest()) == (before, digest)
        else:
            assert answer is None
            # Time goes on, and they may no longer fit.
            self.sound, self.given = False, targets.tolist()

    # -- time -----------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.5, 1, 2, 3, 7]))
    def wait(self, seconds: float) -> None:
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        started = self.host.now
        halves = self.sound and seconds == int(seconds)
        answer = self.both(
            lambda host: host.advance(seconds),
            (lambda host: _add(host.advance(seconds / 2) for _ in range(2))) if halves else None,
        )
        self.model.give_up(self.host)
        if isinstance(answer, Exception):
            assert not self.sound
            assert isinstance(answer, esxcore.PolicyError | Trouble), answer
            assert "\n" not in str(answer)
            assert started < self.host.now <= started + seconds
            # Given ones may have been taken at one tick and refused at a later one.
            before = [guest.target_pages for guest in self.model.guests.values()]
            now = self.host.vms()["target_pages"].tolist()
            assert now in (before, self.given), "a refused answer moved a target"
            self.model.decided(self.host)
        else:
            assert self.host.now == started + seconds
            self.model.decided(self.host)

    # -- always ---------------------------------------------------------------------------------

    @invariant()
    def keeps_the_laws(self) -> None:
        self.model.check(self.host)
        for name, guest in self.model.guests.items():
            everything = np.arange(guest.pages)
            self.model.look(
                name, everything.tolist(), seen(self.kind, self.host.peek(name, everything))
            )
        if self.twin is not None:
            assert self.twin.state_digest() == self.host.state_digest()

    @invariant()
    def explains_itself(self) -> None:
        for name in self.model.guests:
            answer = _try(lambda host, name=name: host.explain(name), self.host)
            if self.records:
                self.check_explanation(name, answer.facts)
            else:
                assert isinstance(answer, esxcore.ConfigError)

    def check_explanation(self, name: str, facts: dict[str, Any]) -> None:
        guest, columns = self.model.guests[name], self.host.vms()
        row = list(self.model.guests).index(name)
        assert facts["blocked"] == columns["blocked"][row]
        assert facts["free_state"] == self.host.free_state
        assert (facts["min_pages"], facts["max_pages"]) == (guest.min_pages, guest.max_pages)
        if facts["target_pages"] is None:
            assert guest.target_pages == guest.undecided_pages
        else:
            assert guest.target_pages == facts["target_pages"]
            assert (facts["reconfigured_at_s"] is None) == (facts["decided_pages"] is None)


def shares(given: int | str, count: int) -> int:
    return given if isinstance(given, int) else max(1, (count * PER_MIB[given] + 128) // 256)


def _try(call: Callable[[esxcore.Host], Any], host: esxcore.Host) -> Any:
    try:
        return call(host)
    except (esxcore.EsxError, Trouble) as error:
        return error


def _plain(answer: Any) -> Any:
    """Answers of two hosts in a form that compares."""
    if isinstance(answer, Exception):
        return type(answer), str(answer), vars(answer)
    if isinstance(answer, esxcore.Vm):
        return answer.name, answer.max_pages
    return answer


def _cut(ppns: Any, at: int) -> list[Any]:
    return [ppns[:at], ppns[at:]]


def _add(reports: Any) -> Any:
    """Reports of parts as one; of parts that were refused the first reason."""
    first, second = reports
    sums = {
        name: value
        if isinstance(value := getattr(first, name), str)
        else value + getattr(second, name)
        for name in type(first).__slots__
        if name != "stopped"
    }
    if hasattr(first, "stopped"):
        sums["stopped"] = first.stopped or second.stopped
    return type(first)(**sums)


class ByteMachine(Machine):
    """The same host on real bytes."""

    kind = "bytes"


@pytest.mark.timeout(600)  # a failure takes minutes to shrink
@pytest.mark.parametrize("machine", [Machine, ByteMachine], ids=["tokens", "bytes"])
def test_random_histories(machine: type[Machine]) -> None:
    run_state_machine_as_test(machine, settings=settings(max_examples=200, stateful_step_count=60))


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("machine", [Machine, ByteMachine], ids=["tokens", "bytes"])
def test_random_histories_long(machine: type[Machine]) -> None:
    profile = settings.get_profile("slow")
    run_state_machine_as_test(machine, settings=settings(profile, max_examples=800))
