"""`Simulation.fork`: a copy goes on as the original would, and neither knows of the other."""

from __future__ import annotations

import copy
import pickle
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import esxcore
from esxcore import Accesses, Batch, Host, Simulation, WorkloadError


class Walk:
    """Refers to pages at random, and remembers where it is."""

    def __init__(self, seed: int, pages: int = 4000) -> None:
        self.random, self.pages, self.asked = np.random.default_rng(seed), pages, 0

    def batch(self, now: float) -> Batch:
        self.asked += 1
        pages = self.random.integers(self.pages, size=200)
        return Batch(pages, self.random.random(200) < 0.5, ops=20, op_time=1e-3)


class Short(Walk):
    """Ends at some time."""

    def __init__(self, seed: int, ends: float) -> None:
        super().__init__(seed)
        self.ends = ends

    def batch(self, now: float) -> Batch | None:  # type: ignore[override]
        return None if now >= self.ends else super().batch(now)


class Steps:
    """Paced: one page more each second."""

    def accesses(self, second: int) -> Accesses:
        return Accesses(np.empty(0, np.int64), np.arange(10 * second, 10 * second + 20))


KINDS: tuple[Callable[[int], Any], ...] = (
    Walk,
    lambda seed: Short(seed, 6.5),
    lambda seed: Steps(),
    lambda seed: esxcore.zipf("12MiB", op_time="1ms", write_fraction=0.5),
    lambda seed: esxcore.files(200, smallest="16KiB", largest="64KiB", op_time="2ms"),
    lambda seed: esxcore.toucher("8MiB"),
)


def crowded(kinds: tuple[int, ...], seed: int) -> Simulation:
    """Two guests, one with an operating system, on less memory than they want."""
    host = Host(memory="40MiB", content="tokens", seed=seed, swap="128MiB")
    guest = esxcore.Guest("linux", kernel="2MiB", boot="1MiB", boot_time="1s")
    host.power_on("linux", "24MiB", min="4MiB", overhead=0, guest=guest)
    host.power_on("plain", "24MiB", min="4MiB", overhead=0)
    simulation = Simulation(host, costs="2002")
    for number, kind in enumerate(kinds):
        made = KINDS[kind](seed + number)
        in_linux = kind == 4 or number % 2 == 0
        simulation.start("linux" if in_linux else "plain", made, after=number % 3)
    return simulation


def outcome(simulation: Simulation) -> tuple[Any, ...]:
    names = ("linux", "plain")
    reports = [simulation.report(name) for name in names]
    host = simulation.host
    return simulation.now, host.state_digest(), reports, host.stats(), list(host.replay())


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(0, len(KINDS) - 1), min_size=1, max_size=4).map(tuple),
    st.integers(0, 99),
    st.floats(0, 9),
    st.floats(0.1, 9),
)
def test_a_fork_lives_the_same_life_to_the_bit(
    kinds: tuple[int, ...], seed: int, before: float, after: float
) -> None:
    simulation = crowded(kinds, seed)
    simulation.advance(before)
    simulation.look("linux")
    fork = simulation.fork()
    # One after the other, so that nothing of one can be what the other has done.
    fork.advance(after)
    simulation.advance(after)
    assert outcome(fork) == outcome(simulation)
    assert fork.look("linux") == simulation.look("linux")  # since a look before the fork
    fork.host.audit()
    # A process that is started later is the same one, too.
    for one in (simulation, fork):
        one.start("plain", esxcore.zipf("4MiB"))
        one.advance(1)
    assert outcome(fork) == outcome(simulation)


def test_what_is_done_to_one_does_not_reach_the_other() -> None:
    walk = Walk(1)
    simulation = crowded((), 1)
    simulation.start("plain", walk)
    simulation.advance(3)
    alone, asked = outcome(simulation), walk.asked
    fork = simulation.fork()
    fork.start("linux", Walk(7))
    fork.host.configure("plain", max="16MiB")
    fork.advance(5)
    assert (outcome(simulation), walk.asked) == (alone, asked)
    fork.host.power_off("plain")
    fork.advance(1)
    twin = simulation.fork()
    simulation.advance(4)
    assert outcome(twin) == alone
    twin.advance(4)
    assert outcome(twin) == outcome(simulation)


def test_processes_of_one_object_have_one_copy_that_knows_its_own_host() -> None:
    class Shared(Walk):
        """Two processes that take turns on one random stream."""

        simulation: Simulation | None = None

    simulation = crowded((), 1)
    shared = Shared(3)
    shared.simulation = simulation
    shared.host = simulation.host  # type: ignore[attr-defined]
    shared.vm = simulation.host.vm("plain")  # type: ignore[attr-defined]
    for name in ("linux", "plain"):
        simulation.start(name, shared, after=2)
    simulation.advance(3)
    forks: list[Any] = []

    class Forked(Shared):
        """With a method of its own."""

        def fork(self) -> Forked:
            one = Forked(5)
            forks.append(one)
            return one

    for name in ("linux", "plain"):
        simulation.start(name, Forked(4))
    own = Forked(4)
    for name in ("linux", "plain"):
        simulation.start(name, own)
    fork = simulation.fork()
    assert len(forks) == 3  # one of each object
    kept = {}

    class Spy(Walk):
        def __deepcopy__(self, memo: dict[int, Any]) -> Spy:
            kept.update({key: memo[key] for key in (id(simulation), id(simulation.host))})
            return self

    simulation.start("plain", Spy(1))
    again = simulation.fork()
    assert kept == {id(simulation): again, id(simulation.host): again.host}
    fork.advance(1)
    simulation.advance(1)


def _generator() -> Iterator[int]:
    yield 1


class Stuck(Walk):
    """What it has cannot be copied."""

    def __init__(self, what: Any) -> None:
        super().__init__(1)
        self.what = what


def _raises() -> Any:
    class Raises(Walk):
        def fork(self) -> Any:
            raise RuntimeError("not today")

    return Raises(1)


def _none() -> Any:
    class Nothing(Walk):
        def fork(self) -> None:
            return None

    return Nothing(1)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "generator": (lambda: Stuck(_generator()), "cannot pickle 'generator' object"),
    "lock": (lambda: Stuck(threading.Lock()), "cannot pickle '_thread.lock' object"),
    "queue": (lambda: Stuck(queue.Queue()), "cannot pickle '_thread.lock' object"),
    "raises": (_raises, "not today"),
    "none": (_none, "fork() gave NoneType; expected Nothing"),
}


@pytest.mark.parametrize(("workload", "said"), REFUSED.values(), ids=REFUSED)
def test_a_workload_that_cannot_be_copied_is_named_with_its_vm(
    workload: Callable[[], Any], said: str
) -> None:
    simulation = crowded((0, 1), 2)
    made = workload()
    simulation.start("plain", made, after="2s")
    before = outcome(simulation)
    with pytest.raises(WorkloadError) as caught:
        simulation.fork()
    text = str(caught.value)
    assert text.startswith(
        f"VM 'plain': workload {type(made).__name__} cannot be copied for a fork"
    )
    assert said in text
    assert "\n" not in text
    assert outcome(simulation) == before
    simulation.advance(1)


def test_only_workloads_of_living_processes_have_to_be_copied() -> None:
    class Ends(Stuck):
        def batch(self, now: float) -> Batch | None:  # type: ignore[override]
            return None

    simulation = crowded((), 2)
    simulation.start("plain", Ends(_generator()))
    simulation.start("linux", Stuck(_generator()))
    simulation.advance(1)
    simulation.host.power_off("linux")
    assert simulation.fork().report("plain").living == 0


def test_a_policy_is_shared_unless_it_forks() -> None:
    class Counts:
        def __init__(self) -> None:
            self.asked = 0

        def targets(self, view: esxcore.HostView) -> Any:
            self.asked += 1
            return view.apportion(view.shares)

    class Forks(Counts):
        def fork(self) -> Forks:
            one = Forks()
            one.asked = self.asked
            return one

    for kind, shared in ((Counts, True), (Forks, False)):
        policy = kind()
        host = Host(memory="64MiB", content="tokens", policy=policy)
        host.power_on("a", "16MiB", overhead=0)
        simulation = Simulation(host)
        simulation.advance(1)
        asked = policy.asked
        simulation.fork().advance(60)
        assert (policy.asked > asked) is shared


def test_copies_are_forks_and_pickles_are_refused() -> None:
    simulation = crowded((3,), 1)
    simulation.advance(2)
    for one in (copy.copy(simulation), copy.deepcopy(simulation)):
        assert one.host is not simulation.host
        one.advance(1)
    assert simulation.now == 2
    with pytest.raises(TypeError, match=r"Simulation\.fork"):
        pickle.dumps(simulation)


def test_a_workload_cannot_fork_what_asks_it() -> None:
    class Recursive(Walk):
        simulation: Simulation

        def batch(self, now: float) -> Batch:
            self.simulation.fork()
            return super().batch(now)

    simulation = crowded((), 1)
    recursive = Recursive(1)
    recursive.simulation = simulation
    simulation.start("plain", recursive)
    with pytest.raises(esxcore.HostBusyError):
        simulation.advance(1)


def test_now_is_the_moment_of_an_error() -> None:
    class Fails:
        def batch(self, now: float) -> Batch:
            if now >= 3.125:
                raise RuntimeError("no more")
            return Batch([], sleep_until=3.125)

    simulation = crowded((), 1)
    simulation.start("plain", Fails(), after="0.5s")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no more"):
            simulation.advance(10)
        assert simulation.now == simulation.host.now == 3.625
    simulation.host.power_off("plain")
    simulation.advance(0.375)
    assert simulation.now == 4


class Kept:
    """A policy that remembers what a workload tells it, and forks."""

    def __init__(self, boost: int = 0) -> None:
        self.boost = boost

    def targets(self, view: esxcore.HostView) -> Any:
        return view.apportion(view.active_pages + 1)

    def fork(self) -> Kept:
        return Kept(self.boost)


class Tells:
    """A workload that has the policy."""

    def __init__(self, policy: Kept) -> None:
        self.policy = policy

    def batch(self, now: float) -> esxcore.Batch:
        self.policy.boost += 1
        return esxcore.Batch([0], sleep_until=now + 1)


def test_a_workload_that_has_the_policy_has_that_of_the_copy() -> None:
    policy = Kept()
    host = esxcore.Host(memory="256MiB", content="tokens", policy=policy)
    host.power_on("web", "64MiB")
    simulation = esxcore.Simulation(host)
    simulation.start("web", Tells(policy))
    simulation.advance(3)
    told, other = policy.boost, simulation.fork()
    other.advance(5)
    assert policy.boost == told > 0
    assert other.host.policy.boost > told
