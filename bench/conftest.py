"""The fixture `ratio`, the table at the end of a run and the results file."""

from __future__ import annotations

import os
import platform
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the modules that the benches share

import compare
from measure import Ratio, Record, scale

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

HERE = Path(__file__).parent

_records = pytest.StashKey[list[Record]]()
_begin = pytest.StashKey[tuple[float, float]]()
_results = pytest.StashKey[dict[str, Any]]()


def pytest_configure(config: pytest.Config) -> None:
    """Where nothing is timed, small sizes do."""
    if config.getoption("benchmark_disable", default=False):
        os.environ.setdefault("ESXCORE_BENCH_SCALE", "smoke")
    scale()  # refuses a wrong one before anything runs
    config.stash[_records] = []
    config.stash[_begin] = (time.time(), os.getloadavg()[0])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Benches take longer than tests may."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture
def ratio(request: pytest.FixtureRequest, benchmark: BenchmarkFixture) -> Ratio:
    """Runs a race and keeps its ratios; see `measure.Ratio`."""
    bench = request.path.stem.removeprefix("bench_")
    benchmark.group = bench
    return Ratio(benchmark, bench, request.config.stash[_records])


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Writes what was measured: a whole full run as latest, anything else beside it."""
    config = session.config
    if not config.stash[_records]:
        return
    results = {"run": _about(config), "records": config.stash[_records]}
    config.stash[_results] = results
    name = scale().name if scale().name != "full" else "latest" if _is_whole(config) else "partial"
    path = HERE / "results" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    compare.save(results, path)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Prints the table of ratios."""
    if _results in config.stash:
        terminalreporter.section("ratios: how many times as fast as the peer")
        for line in compare.text(config.stash[_results]):
            terminalreporter.write_line(line)


def _is_whole(config: pytest.Config) -> bool:
    """Whether every bench there is has left something."""
    benches = {path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py")}
    measured = {record["bench"] for record in config.stash[_records]}
    chosen = config.getoption("keyword") or any("::" in arg for arg in config.args)
    return measured == benches and not chosen


def _about(config: pytest.Config) -> dict[str, Any]:
    begin, load = config.stash[_begin]
    return {
        "scale": scale().name,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "seconds": time.time() - begin,
        "load": [load, os.getloadavg()[0]],
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "esxcore": version("esxcore"),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
