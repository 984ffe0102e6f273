"""Rows of counters, gathered while a run goes on and turned into the columns of a recording."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esxcore import __version__
from esxcore.experiment.course import Course
from esxcore.recording import Recording
from esxcore.scenario import Scenario


class Samples:
    """Everything that can be seen of a course, a row each time it is looked at."""

    def __init__(self, course: Course) -> None:
        self._course = course
        self._rows: list[dict[str, Mapping[str, Any]]] = []
        self._times: list[float] = []

    def take(self) -> None:
        """Adds a row of everything that can be seen now."""
        host, guests = self._course.host, self._course.guests.values()
        vms = self._vms()
        vms["stalled_s"] = np.array([guest.stalled_s for guest in guests])
        vms["blocked_s"] = np.array([guest.blocked_s for guest in guests])
        self._times.append(host.now)
        self._rows.append({"host": host.stats(), "census": host.census(), "vms": vms})

    def recording(self, scenario: Scenario, seed: int) -> Recording:
        """All rows as columns."""
        return Recording(
            np.array(self._times),
            self._columns("host"),
            self._columns("census"),
            self._columns("vms"),
            scenario.vm_names(),
            scenario.to_toml(),
            seed,
            __version__,
        )

    def _vms(self) -> dict[str, NDArray[Any]]:
        """Numeric columns with a row for each VM of the scenario, powered on or not."""
        columns = self._course.host.vms()
        places = {name: place for place, name in enumerate(self._course.guests)}
        rows = [places[name] for name in columns["name"].tolist()]
        vms = {}
        for name, column in columns.items():
            if column.dtype.kind in "biuf":
                number = column.astype(np.int64) if column.dtype.kind == "b" else column
                absent = np.nan if number.dtype.kind == "f" else -1
                vms[name] = np.full(len(places), absent, number.dtype)
                vms[name][rows] = number
        return vms

    def _columns(self, group: str) -> dict[str, NDArray[Any]]:
        first = self._rows[0][group]
        return {name: np.array([row[group][name] for row in self._rows]) for name in first}
