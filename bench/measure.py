"""How the benches measure: ours and its peers in turn, round after round.

An absolute time says more about the machine's other tenants than about the code. So each `Race`
times everybody in every round, one after the other, and what is kept is the ratio inside a round:
its median over the rounds, and its range. ``best`` is the quickest round of ours against the
quickest round of the peer, which a disturbed peer cannot flatter.

Time is CPU time of this process, user and system: who runs on one thread and never waits needs as
much on the clock of an idle machine, and on a busy one it leaves out what other processes take.
That they also take cache and bandwidth shows in the range. CPU time of several threads adds up, so
a race on all cores asks for the time on the clock, which other processes lengthen.
"""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

PAGE_BYTES = 4096
BATCH = 4096
"""Page numbers in one call of `touch`."""

Run = Callable[[], object]
Record = dict[str, Any]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Scale:
    """Sizes, in pages unless named otherwise."""

    name: str
    rounds: int
    scan_bytes: int
    scan_tokens: int
    memory_bytes: int
    memory_tokens: int
    kernel_pages: int
    touch_sizes: tuple[int, ...]
    touch_batches: int
    large: int
    large_rounds: int
    policy_vms: tuple[int, ...]
    policy_heap_vms: int
    census_python: int
    census_file: int
    census_holes: int
    replay_pages: int
    replay_references: int
    guest_sizes: tuple[int, ...]
    guest_references: int
    idle_guests: int
    idle_seconds: int


_MIB = 2**20 // PAGE_BYTES
_GIB = 2**30 // PAGE_BYTES

_SCALES = {
    "smoke": Scale(
        name="smoke",
        rounds=2,
        scan_bytes=8 * _MIB,
        scan_tokens=64 * _MIB,
        memory_bytes=8 * _MIB,
        memory_tokens=64 * _MIB,
        kernel_pages=_MIB,
        touch_sizes=(64 * _MIB, 256 * _MIB),
        touch_batches=4,
        large=256 * _MIB,
        large_rounds=2,
        policy_vms=(10, 1000),
        policy_heap_vms=20,
        census_python=8 * _MIB,
        census_file=8 * _MIB,
        census_holes=256 * _MIB,
        replay_pages=20_000,
        replay_references=100_000,
        guest_sizes=(64 * _MIB,),
        guest_references=2**16,
        idle_guests=5,
        idle_seconds=120,
    ),
    "full": Scale(
        name="full",
        rounds=7,
        scan_bytes=2 * _GIB,
        scan_tokens=4 * _GIB,
        memory_bytes=512 * _MIB,
        memory_tokens=4 * _GIB,
        kernel_pages=64 * _MIB,
        touch_sizes=(256 * _MIB, 4 * _GIB, 16 * _GIB),
        touch_batches=256,
        large=64 * _GIB,
        large_rounds=3,
        policy_vms=(10, 1000, 100_000),
        policy_heap_vms=1000,
        census_python=256 * _MIB,
        census_file=_GIB,
        census_holes=64 * _GIB,
        replay_pages=4_000_000,
        replay_references=10_000_000,
        guest_sizes=(_GIB, 16 * _GIB),
        guest_references=2**22,
        idle_guests=100,
        idle_seconds=86_400,
    ),
}


@cache
def scale() -> Scale:
    """The sizes that the environment variable ESXCORE_BENCH_SCALE asks for."""
    name = os.environ.get("ESXCORE_BENCH_SCALE", "full")
    if name not in _SCALES:
        raise pytest.UsageError(f"ESXCORE_BENCH_SCALE={name!r}; expected smoke or full")
    return _SCALES[name]


def size_name(pages: int) -> str:
    """The size that so many pages have, as text."""
    mib = pages * PAGE_BYTES / 2**20
    return f"{mib / 1024:g} GiB" if mib >= 1024 else f"{mib:g} MiB"


def require_memory(needed: int) -> None:
    """Skips a bench for which so many bytes are not available."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) * 1024
            if available < needed * 1.2:
                gib = f"{needed / 2**30:.1f} GiB, {available / 2**30:.1f} GiB available"
                pytest.skip(f"needs {gib}; ESXCORE_BENCH_SCALE=smoke needs little")


def resident_bytes() -> int:
    """Real memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Clock(Enum):
    """What time is."""

    CPU = "CPU"
    """CPU time of the process: for one thread."""
    WALL = "wall"
    """Time that passes: for several threads."""


_READ: dict[Clock, Callable[[], float]] = {
    Clock.CPU: time.process_time,
    Clock.WALL: time.perf_counter,
}


@dataclass(frozen=True)
class Race:
    """Who runs against whom.

    Attributes
    ----------
    case : str
        What is measured.
    units : int
        Units of work in one run of anybody, except of those named in `peer_units`.
    ours, peers : mapping of str to callable
        By name; every pair is a ratio. The first of ours is what pytest-benchmark reports.
    prepare : callable, optional
        Runs before each round, untimed; makes sure that no timed part touches new memory.
    unit : str
        What a unit is.
    rounds : int, optional
        Rounds instead of the scale's.
    clock : Clock
        What is measured of everybody.
    """

    case: str
    units: int
    ours: Mapping[str, Run]
    peers: Mapping[str, Run]
    prepare: Run | None = None
    unit: str = "pages"
    rounds: int | None = None
    peer_units: Mapping[str, int] = field(default_factory=dict)
    clock: Clock = Clock.CPU


class _Stopwatch:
    """Seconds and results of each runner, a row a round."""

    def __init__(self, clock: Clock) -> None:
        self.seconds: dict[str, list[float]] = {}
        self.results: dict[str, list[Any]] = {}
        self._clock = clock
        self._total = dict.fromkeys(Clock, 0.0)

    def run(self, name: str, run: Run) -> object:
        begin = {clock: _READ[clock]() for clock in Clock}
        result = run()
        seconds = {clock: _READ[clock]() - begin[clock] for clock in Clock}
        for clock in Clock:
            self._total[clock] += seconds[clock]
        self.seconds.setdefault(name, []).append(seconds[self._clock])
        self.results.setdefault(name, []).append(result)
        return result

    def on_cpu(self) -> float:
        """CPU time by time on the clock: of one thread 1 if nobody disturbed."""
        return self._total[Clock.CPU] / self._total[Clock.WALL]


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Ratio:
    """The fixture `ratio`: runs a `Race` and keeps its ratios.

    They end up in ``benchmark.extra_info``, in the table at the end of the run and in a results
    file.
    """

    def __init__(self, benchmark: BenchmarkFixture, bench: str, records: list[Record]) -> None:
        self._benchmark = benchmark
        self._bench = bench
        self._records = records
        self._rates: dict[str, float] = {}

    def __call__(self, race: Race) -> dict[str, list[Any]]:
        """Runs a warm-up round and the rounds of a race.

        Returns
        -------
        dict
            What each runner returned, round by round, the warm-up first.
        """
        watch = _Stopwatch(race.clock)
        first, *others = race.ours
        in_setup = {**race.peers, **{name: race.ours[name] for name in others}}

        def before() -> None:
            if race.prepare is not None:
                race.prepare()
            for name, run in in_setup.items():
                watch.run(name, run)

        rounds = race.rounds or scale().rounds
        with _no_garbage_collection():
            self._benchmark.pedantic(  # type: ignore[no-untyped-call]
                lambda: watch.run(first, race.ours[first]),
                setup=before,
                rounds=rounds,
                warmup_rounds=1,
            )
        if not self._benchmark.disabled:
            self._keep(race, watch)
        return watch.results

    def once(self, run: Callable[[], Result]) -> Result:
        """Runs something once, for facts that it tells; what time it takes is not kept."""
        return self._benchmark.pedantic(run)  # type: ignore[no-untyped-call, no-any-return]

    def rates(self) -> Mapping[str, float]:
        """Units a second of each runner in the last race, median; none if nothing is timed."""
        return self._rates

    def fact(self, case: str, what: str, value: float, unit: str) -> None:
        """Keeps a number that is not a ratio of times."""
        self._benchmark.extra_info[what] = value
        if not self._benchmark.disabled:
            self._records.append(
                {"bench": self._bench, "case": case, "fact": what, "value": value, "unit": unit}
            )

    def _keep(self, race: Race, watch: _Stopwatch) -> None:
        each = {  # seconds a unit, without the warm-up round
            name: [seconds / race.peer_units.get(name, race.units) for seconds in rounds[1:]]
            for name, rounds in watch.seconds.items()
        }
        self._rates = {name: 1 / statistics.median(rounds) for name, rounds in each.items()}
        ratios = [_ratio(each, ours, peer) for ours in race.ours for peer in race.peers]
        self._benchmark.extra_info.update(
            {f"{ratio['ours']} / {ratio['peer']}": ratio["median"] for ratio in ratios}
        )
        self._records.append(
            {
                "bench": self._bench,
                "case": race.case,
                "unit": race.unit,
                "units": race.units,
                "clock": race.clock.value,
                "load": os.getloadavg()[0],
                "on_cpu": watch.on_cpu(),
                "per_second": self._rates,
                "ratios": ratios,
            }
        )


def _ratio(each: Mapping[str, list[float]], ours: str, peer: str) -> Record:
    """How many times as fast as the peer ours is, by round."""
    ratios = [theirs / own for own, theirs in zip(each[ours], each[peer], strict=True)]
    return {
        "ours": ours,
        "peer": peer,
        "median": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
        "best": min(each[peer]) / min(each[ours]),
    }
