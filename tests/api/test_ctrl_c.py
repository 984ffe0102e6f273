"""Python's signal handlers run inside long calls, not only after them.

A timer interrupts a call many times. Python runs a handler at most once between two steps of its
own, so a handler that finds its caller at the same step again and again runs inside the one call
that this step makes.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import esxcore

PAGES = 2**20  # of the virtual machine that holds something
PERIOD = 0.0002  # seconds; calls take many of them
RUNS = 4  # inside one call; one more may be after it
RUNS_OF_COPIES = 2  # where tables are copied, in few large parts

Step = tuple[FrameType, int]
Call = Callable[[esxcore.Host], Any]

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "setitimer"), reason="the system has no interval timers"
)


class Stopped(KeyboardInterrupt):
    """What the handler raises; cannot be mistaken for a person stopping the tests."""


class Ticks:
    """Counts the runs of its handler by where the interrupted Python code stands."""

    def __init__(self, last: int | None = None) -> None:
        self.last = last
        self.steps: Counter[Step] = Counter()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        assert frame is not None
        step = (frame, frame.f_lasti)
        self.steps[step] += 1
        if self.steps[step] == self.last:
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise Stopped

    def inside(self) -> int:
        """Runs inside one call; the run after it is left out."""
        return max(self.steps.values(), default=0) - 1


@contextmanager
def ticking(ticks: Ticks) -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, ticks)
    try:
        signal.setitimer(signal.ITIMER_REAL, PERIOD, PERIOD)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def full() -> esxcore.Host:
    """A host of a million pages, each of which has a hint or a sharer."""
    host = esxcore.Host(memory="4GiB", content="tokens", seed=2, scan_vm_rate=200, policy=None)
    host.power_on("web", contents=np.arange(PAGES) // 2)
    host.scan(PAGES)
    return host


@pytest.fixture(scope="module")
def sparse() -> esxcore.Host:
    """A small host of a virtual machine that could use far more, and has a page twice."""
    host = esxcore.Host(memory="64MiB", content="tokens", seed=2, policy=None)
    web = host.power_on("web", max="12GiB", contents=[1, 2, 3, 3])
    host.scan(web.max_pages)
    return host


BATCH = np.tile(np.arange(2**14, dtype=np.uint32), 2**9)

CALLS: dict[str, tuple[str, Call]] = {
    "touch": ("sparse", lambda host: host.touch("web", BATCH % 2**13)),
    "touch-write": ("sparse", lambda host: host.touch("web", BATCH % 2**13, write=True)),
    "read": ("full", lambda host: host.read("web", BATCH[: 2 * PAGES])),
    "write": ("sparse", lambda host: host.write("web", BATCH[:PAGES] % 2**13, BATCH[:PAGES])),
    "peek": ("full", lambda host: host.peek("web", BATCH[: 2 * PAGES])),
    "scan": ("full", lambda host: host.scan(PAGES)),
    "advance": ("full", lambda host: host.advance(PAGES / 200)),
    "census": ("full", lambda host: host.census()),
    "audit": ("full", lambda host: host.audit()),
    "state_digest": ("full", lambda host: host.state_digest()),
    "fork": ("full", lambda host: host.fork()),
    "vms": ("sparse", lambda host: host.vms()),
    "pmap": ("sparse", lambda host: host.pmap("web")),
    "frames": ("full", lambda host: host.frames()),
}


@pytest.mark.parametrize("name", CALLS)
def test_handlers_run_inside_a_call(name: str, request: pytest.FixtureRequest) -> None:
    which, call = CALLS[name]
    host = request.getfixturevalue(which).fork()
    ticks = Ticks()
    with ticking(ticks):
        call(host)
    enough = RUNS_OF_COPIES if name == "fork" else RUNS
    assert ticks.inside() >= enough, sorted(ticks.steps.values())


def test_a_call_that_never_looks_is_told_apart() -> None:
    ticks = Ticks()
    with ticking(ticks):
        np.sort(BATCH[: 2 * PAGES])
    assert ticks.inside() <= 0


def test_handlers_run_while_contents_are_loaded() -> None:
    host = esxcore.Host(memory="4GiB", content="tokens", seed=2, policy=None)
    contents, ticks = np.arange(PAGES, dtype=np.uint64), Ticks()
    with ticking(ticks):
        host.power_on("web", contents=contents)
    assert ticks.inside() >= RUNS, sorted(ticks.steps.values())


def stop(call: Callable[[], Any]) -> None:
    """Runs a call with a handler that raises when it runs in it for the second time."""
    with pytest.raises(Stopped), ticking(Ticks(last=2)):
        call()


@pytest.mark.parametrize("is_write", [False, True], ids=["read", "write"])
def test_a_handler_that_raises_ends_touches(is_write: bool, sparse: esxcore.Host) -> None:
    host, batch = sparse.fork(), BATCH % 2**13
    stop(lambda: host.touch("web", batch, write=is_write))
    assert 0 < host.stats()["references"] < len(batch)
    host.audit()
    assert host.touch("web", batch[:100], write=is_write).done == 100


def test_a_handler_that_raises_ends_reads(full: esxcore.Host) -> None:
    host, batch = full.fork(), BATCH[: 2 * PAGES]
    stop(lambda: host.read("web", batch))
    assert 0 < host.stats()["references"] < len(batch)
    host.audit()


def test_a_handler_that_raises_ends_writes(full: esxcore.Host) -> None:
    """Those before the end are made, and no others."""
    host, ppns = full.fork(), np.arange(PAGES, dtype=np.uint32)
    data = np.full(PAGES, 2**40, dtype=np.uint64)
    stop(lambda: host.write("web", ppns, data))
    done = host.stats()["references"]
    assert 0 < done < PAGES
    made = host.peek("web", ppns) == 2**40
    assert made[:done].all()
    assert not made[done:].any()
    host.audit()


def test_a_handler_that_raises_ends_scans(full: esxcore.Host) -> None:
    host = full.fork()
    before = host.stats()["scanned_pages"]
    stop(lambda: host.scan(PAGES))
    assert 0 < host.stats()["scanned_pages"] - before < PAGES
    host.audit()


def test_a_handler_that_raises_ends_an_advance(full: esxcore.Host) -> None:
    host = full.fork()
    stop(lambda: host.advance(PAGES / 200))
    assert 0 < host.now < PAGES / 200
    host.audit()


def test_a_handler_that_raises_undoes_a_power_on() -> None:
    host = esxcore.Host(memory="4GiB", content="tokens", seed=2, policy=None)
    contents, before = np.arange(PAGES, dtype=np.uint64), host.state_digest()
    stop(lambda: host.power_on("web", contents=contents))
    assert host.vms()["name"].size == 0
    assert host.state_digest() == before
    host.audit()


@pytest.mark.parametrize(
    "name", ["peek", "census", "audit", "state_digest", "fork", "vms", "pmap", "frames"]
)
def test_a_handler_that_raises_ends_a_look(name: str, request: pytest.FixtureRequest) -> None:
    """And the host is as it was."""
    which, call = CALLS[name]
    host = request.getfixturevalue(which)
    before = host.state_digest()
    stop(lambda: call(host))
    assert host.state_digest() == before


PART = np.arange(2**12, dtype=np.uint32).repeat(4096).view(np.uint8).reshape(-1, 4096)  # 64 MiB
PARTS = [PART] * 256  # 16 GiB, more than one thread reads in a few looks at signals


def test_handlers_run_inside_a_census() -> None:
    ticks = Ticks(last=2 * RUNS)
    with pytest.raises(Stopped), ticking(ticks):
        esxcore.census(PARTS, threads=1)
    assert ticks.inside() >= RUNS, sorted(ticks.steps.values())


def test_a_handler_that_raises_ends_a_census() -> None:
    """And it is the handler's own exception that comes out, long before all is read."""
    done: list[int] = []
    stop(lambda: esxcore.census(PARTS, threads=1, progress=lambda pages, _: done.append(pages)))
    assert 0 <= done[-1] < len(PARTS) * len(PART)
    assert esxcore.census(PARTS[:2]).reclaimed_pages == 2 * len(PART) - 2**12


def test_a_handler_that_raises_ends_a_census_of_a_huge_file(tmp_path: Path) -> None:
    """Of holes only: nothing is read, but every page counts."""
    path = tmp_path / "holes.raw"
    with path.open("wb") as file:
        file.truncate(2**42)
    done: list[int] = []
    stop(lambda: esxcore.census([path], threads=1, progress=lambda pages, _: done.append(pages)))
    assert done[-1] < 2**30


class EnoughError(Exception):
    """What a progress function raises; esxcore knows nothing of it."""


@pytest.mark.parametrize("threads", [1, 2])
def test_what_a_progress_function_raises_ends_a_census(threads: int) -> None:
    calls: list[tuple[int, int]] = []

    def progress(done: int, pages: int) -> None:
        calls.append((done, pages))
        if len(calls) == 2:
            raise EnoughError("two looks are enough")

    with pytest.raises(EnoughError, match=r"^two looks are enough$") as caught:
        esxcore.census(PARTS, threads=threads, progress=progress)
    assert caught.traceback[-1].name == "progress"
    assert len(calls) == 2
    assert calls[0][0] <= calls[1][0] < calls[1][1] == len(PARTS) * len(PART)


def test_progress_never_goes_back_and_ends_at_the_end() -> None:
    calls: list[tuple[int, int]] = []
    esxcore.census(PARTS[:16], progress=lambda done, pages: calls.append((done, pages)))
    pages = 16 * len(PART)
    assert calls[-1] == (pages, pages)
    assert {of for _, of in calls} == {pages}
    assert calls == sorted(calls)


def test_progress_counts_pages_that_need_no_reading(tmp_path: Path) -> None:
    """Those of traces: the end is the end of all."""
    calls: list[tuple[int, int]] = []
    esxcore.census([PART[:100]]).export(tmp_path / "trace.npz")
    esxcore.census(
        [tmp_path / "trace.npz", PART[:10]],
        progress=lambda done, pages: calls.append((done, pages)),
    )
    assert calls[-1] == (110, 110)


@pytest.fixture(scope="module")
def long_trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of six million references to a million pages, each referred to again and again."""
    path: Path = tmp_path_factory.mktemp("trace") / "long.oracleGeneral"
    records = np.zeros(PAGES, [("time", "<u4"), ("id", "<u8"), ("size", "<u4"), ("next", "<i8")])
    records["id"] = np.arange(PAGES)
    with path.open("wb") as file:
        for _ in range(6):
            records.tofile(file)
    return path


TRACE_CALLS: dict[str, Callable[[Path], object]] = {
    "load": esxcore.PageTrace.load,
    "stream": lambda path: esxcore.miss_ratios(path, ["2GiB", "1GiB"]),
    "replay": lambda path: esxcore.PageTrace(np.arange(2**24) % 999_983).miss_ratio("2GiB"),
}


@pytest.mark.parametrize("name", TRACE_CALLS)
def test_handlers_run_inside_a_walk_over_a_trace(name: str, long_trace: Path) -> None:
    ticks = Ticks()
    with ticking(ticks):
        TRACE_CALLS[name](long_trace)
    assert ticks.inside() >= RUNS, sorted(ticks.steps.values())


@pytest.mark.parametrize("name", TRACE_CALLS)
def test_a_handler_that_raises_ends_a_walk_over_a_trace(name: str, long_trace: Path) -> None:
    stop(lambda: TRACE_CALLS[name](long_trace))
