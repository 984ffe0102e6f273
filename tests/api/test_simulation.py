"""`Simulation` from Python: processes live and are told of, and what is refused is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import esxcore
from esxcore import Batch, Costs, Guest, PacedWorkload, Program, Simulation, Workload, WorkReport


@pytest.fixture
def host() -> esxcore.Host:
    host = esxcore.Host(memory="64MiB", content="tokens", policy=None)
    host.power_on("a", "16MiB")
    return host


class Rounds:
    """Writes 16 pages in turn, over and over; an operation is one round of 1 ms."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    def batch(self, now: float) -> Batch:
        self.asked.append(now)
        return Batch(np.arange(16), writes=True, ops=16, op_time=1e-3)


def test_a_process_lives_as_fast_as_its_operations_allow(host: esxcore.Host) -> None:
    simulation, rounds = Simulation(host), Rounds()
    assert isinstance(rounds, Workload)
    assert not isinstance(rounds, PacedWorkload)
    simulation.start("a", rounds, after="2s")
    simulation.advance(1)
    assert simulation.report("a").operations == 0
    simulation.advance(3)
    report = simulation.report("a")
    assert isinstance(report, WorkReport)
    assert report.operations == pytest.approx(2000, abs=5)
    assert report.p50_ns == pytest.approx(1_000_000, rel=1 / 16)
    assert (report.living, report.stall_some_s) == (1, 0)
    assert rounds.asked[0] == 0  # the process's own time


def test_a_look_has_the_percentiles_since_the_last(host: esxcore.Host) -> None:
    simulation = Simulation(host)
    simulation.start("a", esxcore.scan("1MiB", op_time="1ms"))
    simulation.advance(1)
    first = simulation.look("a")
    simulation.start("a", esxcore.scan("1MiB", op_time="1ms", base="1MiB"))  # one processor
    simulation.advance(1)
    second, whole = simulation.look("a"), simulation.report("a")
    assert first.p50_ns < 1.1e6 < 1.9e6 < second.p50_ns
    assert whole.operations == second.operations > first.operations


def test_processors_are_shared(host: esxcore.Host) -> None:
    host.power_on("b", "16MiB")
    one, two = Simulation(host, processors=1), Simulation(host.fork(), processors=2)
    for simulation in (one, two):
        for vm in ("a", "b"):
            simulation.start(vm, esxcore.scan("1MiB", op_time="1ms"))
        simulation.advance(2)
    done = [simulation.report("a").operations for simulation in (one, two)]
    assert done[1] == pytest.approx(2 * done[0], rel=0.01)


def test_costs_are_those_given(host: esxcore.Host) -> None:
    with pytest.raises(esxcore.ConfigError, match="access_ns: 0; expected 1 to"):
        Costs(**(Costs.preset("nvme").as_dict() | {"access_ns": 0}))
    simulation = Simulation(host, costs=Costs(**(Costs.preset("2002").as_dict())))
    assert simulation.costs == Costs.preset("2002")


def test_a_guest_without_memory_for_a_process_kills_it() -> None:
    host = esxcore.Host(memory="256MiB", content="tokens", policy=None)
    vm = host.power_on("a", "64MiB", guest=Guest("linux", swap=0, boot_time=0))
    simulation = Simulation(host)
    simulation.start(vm, esxcore.scan("128MiB", access="write"))
    simulation.advance(5)
    report = simulation.report(vm)
    assert (report.living, report.killed) == (0, 1)


REFUSED: dict[str, tuple[Callable[[Simulation], Any], type[Exception], str]] = {
    "no workload": (
        lambda simulation: simulation.start("a", 5),  # type: ignore[arg-type]
        esxcore.ArgumentTypeError,
        "workload: int has no method batch(now) or accesses(second)",
    ),
    "a class": (
        lambda simulation: simulation.start("a", Rounds),  # type: ignore[arg-type]
        esxcore.ArgumentTypeError,
        "workload: the class Rounds; expected an instance, such as Rounds()",
    ),
    "nobody": (
        lambda simulation: simulation.start("b", esxcore.idle()),
        esxcore.UnknownVmError,
        'no VM "b" is powered on',
    ),
    "writes": (
        lambda simulation: simulation.start("a", Rounds(), writes="all"),
        esxcore.ConfigError,
        "writes: 'all'; expected 'unique', 'same' or ('pool', contents)",
    ),
    "after": (
        lambda simulation: simulation.start("a", Rounds(), after=-1),
        esxcore.ConfigError,
        "after: -1; expected a number from 0 to 2**33",
    ),
    "kind": (
        lambda simulation: simulation.start("a", Program("zipf", (("memory", 0),))),
        esxcore.ConfigError,
        "zipf: memory is 0; expected at least 1",
    ),
}


@pytest.mark.parametrize(("call", "kind", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_is_named_and_changes_nothing(
    host: esxcore.Host, call: Callable[[Simulation], Any], kind: type[Exception], said: str
) -> None:
    simulation = Simulation(host)
    with pytest.raises(kind) as caught:
        call(simulation)
    assert said in str(caught.value)
    assert simulation.report("a").living == 0


PAGES = np.arange(3000) * 7 % 4096
FORMS: dict[str, Any] = {
    "as the core has them": PAGES.astype(np.uint32),
    "one in two": np.repeat(PAGES, 2).astype(np.uint32)[::2],
    "backwards": PAGES[::-1].astype(np.uint32)[::-1],
    "in another order of bytes": PAGES.astype(">u4"),
    "not aligned": np.frombuffer(b"-" + PAGES.astype(np.uint32).tobytes(), np.uint32, offset=1),
    "short": PAGES.astype(np.int16),
    "long": PAGES.astype(np.uint64),
    "a list": PAGES.tolist(),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("files", [None, PAGES % 5 - 1])
@pytest.mark.parametrize("writes", [True, PAGES % 3 == 0, np.repeat(PAGES % 3 == 0, 2)[::2]])
def test_references_are_the_same_in_any_form(form: Any, files: Any, writes: Any) -> None:
    def lived(given: Batch) -> tuple[str, int]:
        class Once:
            def __init__(self) -> None:
                self.left = [given]

            def batch(self, _now: float) -> Batch | None:
                return self.left.pop() if self.left else None

        host = esxcore.Host(memory="64MiB", content="tokens", policy=None)
        simulation = Simulation(host)
        vm = host.power_on("linux", "48MiB", guest=Guest("linux", boot=0))
        simulation.start(vm, Once())
        simulation.advance(5)
        return host.state_digest(), simulation.report(vm).operations

    one_by_one = [int(page) for page in PAGES]
    each = np.broadcast_to(writes, PAGES.shape).copy()
    none = np.full(PAGES.shape, -1) if files is None else files
    plain = Batch(np.array(one_by_one), writes=each, files=none)
    assert lived(Batch(form, writes=writes, files=files)) == lived(plain)
    assert lived(plain)[1] == len(PAGES)


def test_a_workload_that_yields_nothing_is_a_workload_error(host: esxcore.Host) -> None:
    class Nothing:
        def batch(self, now: float) -> Batch:
            return Batch([])

    class Bad:
        def batch(self, now: float) -> Batch:
            return Batch([0, 1], ops=[2, 1])

    for workload, said in ((Nothing(), "time would stand"), (Bad(), "places that descend")):
        simulation = Simulation(host.fork())
        simulation.start("a", workload)
        with pytest.raises(esxcore.WorkloadError, match=said):
            simulation.advance(1)


@pytest.mark.parametrize("kind", ["linux", "windows", "default"])
def test_a_process_that_ends_gives_its_memory_back_to_a_guest_that_manages_it(kind: str) -> None:
    """What it had in memory and on the guest's swap device; its thread goes on with what it has."""

    class Short:
        """Writes pages 0 to 19999 and ends."""

        done = False

        def batch(self, now: float) -> Batch | None:
            if self.done:
                return None
            self.done = True
            return Batch(np.arange(20_000), writes=True, ops=100, sleep_until=5.0)

    class Thread:
        """Has its last 500 in common."""

        def batch(self, now: float) -> Batch:
            return Batch(np.arange(19_500, 20_500), writes=True, ops=100, sleep_until=now + 1)

    host = esxcore.Host(memory="256MiB", content="tokens", policy=None)
    vm = host.power_on("a", "64MiB" if kind != "default" else "128MiB", guest=kind)
    simulation = Simulation(host)
    simulation.start(vm, Short(), after=12)
    simulation.start(vm, Thread(), after=12)

    def pages() -> int:
        names = ("guest_anonymous_pages", "guest_swapped_pages")
        return sum(int(host.vms()[name][0]) for name in names)

    simulation.advance(16)
    assert simulation.report(vm).living == 2
    if kind == "default":
        simulation.advance(14)
        assert simulation.report(vm).living == 1
        assert host.vms()["allocated_pages"][0] == 20_500
        return
    assert (pages(), host.vms()["guest_swapped_pages"][0] > 0) == (20_500, True)
    cached = host.vms()["guest_cache_pages"][0]
    simulation.advance(14)
    assert (simulation.report(vm).living, pages()) == (1, 1000)
    assert host.vms()["guest_cache_pages"][0] >= cached
    host.audit()


def test_a_machine_powered_on_in_place_of_another_has_done_nothing() -> None:
    host = esxcore.Host(memory="256MiB", content="tokens")
    simulation = esxcore.Simulation(host)
    host.power_on("web", "64MiB")
    simulation.start("web", esxcore.zipf("20MiB", refs_per_s=1000))
    simulation.advance(5)
    assert simulation.look("web").operations == 500
    host.power_off("web")
    host.power_on("web", "32MiB")
    for look in (simulation.report, simulation.look, simulation.fork().report):
        fresh = look("web")
        assert (fresh.operations, fresh.living, fresh.p50_ns) == (0, 0, -1)
    simulation.advance(1)
    assert simulation.look("web").p50_ns == -1


@pytest.mark.parametrize(
    ("batch", "error", "said"),
    [
        (esxcore.Batch([2**31], op_time=0.01), esxcore.PageRangeError, "page 2147483648; expected"),
        (esxcore.Batch([1], files=[3]), esxcore.WorkloadError, "file 3, but a guest without"),
    ],
)
def test_what_a_guest_without_management_cannot_have_is_told(
    batch: esxcore.Batch, error: type[Exception], said: str
) -> None:
    class Refers:
        def batch(self, _now: float) -> esxcore.Batch:
            return batch

    host = esxcore.Host(memory="256MiB", content="tokens")
    host.power_on("web", "64MiB")
    simulation = esxcore.Simulation(host)
    simulation.start("web", Refers())
    with pytest.raises(error, match=said):
        simulation.advance(2)
    assert simulation.report("web").killed == 1


def test_whose_fault_an_exit_was() -> None:
    class Exits:
        def batch(self, _now: float) -> esxcore.Batch:
            raise SystemExit(5)

    host = esxcore.Host(memory="256MiB", content="tokens")
    host.power_on("web", "64MiB")
    simulation = esxcore.Simulation(host)
    simulation.start("web", Exits())
    with pytest.raises(SystemExit) as raised:
        simulation.advance(1)
    assert raised.value.__notes__ == ["in workload Exits, 0 s after it began"]
