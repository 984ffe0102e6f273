"""Rows of counters, gathered while a run goes on and turned into the columns of a recording."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esxcore import __version__
from esxcore.decisions import Gathering
from esxcore.experiment.course import Course
from esxcore.recording import Recording
from esxcore.scenario import RunSection, Scenario
from esxcore.simulation import WorkReport

_WORK = {
    "ops": "operations",
    "op_p50_ns": "p50_ns",
    "op_p95_ns": "p95_ns",
    "op_p99_ns": "p99_ns",
    "stall_some_s": "stall_some_s",
    "stall_full_s": "stall_full_s",
    "double_paged_pages": "double_paged_pages",
    "packets": "packets",
    "dropped_packets": "dropped_packets",
    "device_s": "device_s",
}
_WHOLE = {"run_p50_ns": "p50_ns", "run_p95_ns": "p95_ns", "run_p99_ns": "p99_ns"}
_LOST = {"stalled_s": "held_s", "blocked_s": "blocked_s"}
_NOTHING = WorkReport(-1, -1, -1, -1, math.nan, math.nan, 0, 0, -1, 0, 0, -1, -1, math.nan)
"""Of who is off."""

_CENSUS = ("pages", "zero_pages", "distinct_pages", "shared_pages", "reclaimed_pages")
_NOT_COUNTED = dict.fromkeys(_CENSUS, -1)


class Samples:
    """Everything that can be seen of a course, a row each time it is looked at."""

    def __init__(self, course: Course, run: RunSection) -> None:
        self._course = course
        self._run = run
        self._census_s = 0.0 if run.census_s < math.inf else math.inf  # when it is due again
        self._names = list(course.guests)
        self._absent: dict[str, NDArray[Any]] = {}
        self._rows: list[dict[str, Mapping[str, Any]]] = []
        self._times: list[float] = []
        self._decisions = Gathering(tuple(course.guests))
        self._heard_s: float | None = None

    def listen(self) -> None:
        """Takes down what was decided since the last time; call it before anybody goes."""
        self._decisions.add(self._course.decisions(self._heard_s))
        self._heard_s = self._course.host.now

    def take(self) -> None:
        """Adds a row of everything that can be seen now."""
        host = self._course.host
        vms = self._vms() | self._work()
        row: dict[str, Mapping[str, Any]] = {
            "host": host.stats(),
            "census": self._census(),
            "vms": vms,
        }
        # Ctrl-C may come at any time: what is taken is taken whole.
        self._rows.append(row)
        self._times.append(host.now)

    def __len__(self) -> int:
        return len(self._times)

    def recording(self, scenario: Scenario, seed: int) -> Recording:
        """All rows as columns."""
        return Recording(
            np.array(self._times),
            self._columns("host"),
            self._columns("census"),
            self._columns("vms"),
            scenario.vm_names(),
            scenario.described(),
            seed,
            __version__,
            decisions=self._decisions.decisions(),
        )

    def _census(self) -> Mapping[str, int]:
        """Equal contents counted, where that is due: it reads all resident pages. -1 elsewhere."""
        host, every = self._course.host, self._run.census_s
        if host.now < self._census_s and (host.now < self._run.duration_s or every == math.inf):
            return _NOT_COUNTED
        self._census_s = (host.now // every + 1) * every if every else 0.0
        return host.census()

    def _vms(self) -> dict[str, NDArray[Any]]:
        """Numeric columns with a row for each VM of the scenario, powered on or not."""
        columns = self._course.host.vms()
        names = columns.pop("name").tolist()
        numbers = {
            name: column.astype(np.int64) if column.dtype.kind == "b" else column
            for name, column in columns.items()
            if column.dtype.kind in "biuf"
        }
        if names == self._names:
            return numbers
        places = {name: place for place, name in enumerate(self._names)}
        rows = [places[name] for name in names]
        vms = {name: self._off(name, column).copy() for name, column in numbers.items()}
        for name, column in numbers.items():
            vms[name][rows] = column
        return vms

    def _off(self, name: str, column: NDArray[Any]) -> NDArray[Any]:
        """A column of which nobody is on."""
        if name not in self._absent:
            absent = np.nan if column.dtype.kind == "f" else -1
            self._absent[name] = np.full(len(self._names), absent, column.dtype)
        return self._absent[name]

    def _work(self) -> dict[str, NDArray[Any]]:
        """What became of the guests' processes; who is off has only its time that was lost."""
        guests, simulation = self._course.guests.values(), self._course.simulation
        whole = [simulation.report(guest.vm) if guest.vm else _NOTHING for guest in guests]
        for guest in guests:
            if guest.vm is not None:
                guest.report = simulation.look(guest.vm)
        lost = [guest.report or _NOTHING for guest in guests]
        now = [guest.report if guest.vm and guest.report else _NOTHING for guest in guests]
        columns = {
            name: [getattr(report, field) for report in now] for name, field in _WORK.items()
        }
        columns |= {
            name: [getattr(report, field) for report in whole] for name, field in _WHOLE.items()
        }
        columns |= {
            name: [getattr(report, field) for report in lost] for name, field in _LOST.items()
        }
        return {name: np.array(column) for name, column in columns.items()}

    def _columns(self, group: str) -> dict[str, NDArray[Any]]:
        rows = self._rows[: len(self)]
        return {name: np.array([row[group][name] for row in rows]) for name in rows[0][group]}
