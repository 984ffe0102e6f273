"""The graphs of figure 8: states, totals, two of the servers, and what is written to the swap file.

Neighbours: `esxcore.paper.five_servers` makes the runs, `esxcore.paper.fig8` the claims.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from esxcore.decisions import STATES
from esxcore.paper.charts import Chart, Mark, Panel, Series, series, thinned
from esxcore.paper.five_servers import (
    METAFRAME,
    PAGES_PER_MB,
    SQL_SERVER,
    VARIANTS,
    Course,
    FiveServers,
)

_MINUTE = 60


def chart(courses: Sequence[Course], parameters: FiveServers) -> Chart:
    """The four graphs of the paper, and what is written with one mechanism missing."""
    course = courses[0]
    kept = list(thinned(len(course.time_s)))
    minutes = (course.time_s / _MINUTE)[kept]
    host = {
        name: course.mb(name)[kept]
        for name in ("allocated_pages", "reclaimed_pages", "balloon_pages", "swapped_pages")
    }
    few = course.vm_time_s / _MINUTE
    active = course.vms["active_pages"].sum(axis=1) / PAGES_PER_MB
    totals = (
        series("allocation", minutes, host["allocated_pages"]),
        series("active", few, active, "dotted"),
        series("balloon", minutes, host["balloon_pages"], "dashed", "grey"),
        series("shared (saved)", minutes, host["reclaimed_pages"], "line", "grey"),
        series("swapped", minutes, host["swapped_pages"], "dotted", "red"),
    )
    names = [variant.name for variant in VARIANTS]
    bars = [round(float(each.mb("page_outs")[-1]), 1) for each in courses]
    x = "minutes"
    return Chart(
        (
            Panel("(a) state", x, "", _states(course), y_to=3.2, y_words=STATES[::-1]),
            Panel("(b) all five", x, "MB", totals, _marks(parameters), y_to=1500),
            Panel("(c) MetaFrame server", x, "MB", _one(course, METAFRAME), y_to=320),
            Panel("(d) SQL Server", x, "MB", _one(course, SQL_SERVER), y_to=320),
            Panel(
                "one mechanism missing: written to the swap file",
                "",
                "MB",
                (Series("", [_short(name) for name in names], bars, "bars", "grey"),),
            ),
        ),
        height=2.3,
    )


def _short(name: str) -> str:
    """A name in lines of two words, for below a bar."""
    words = name.split()
    return "\n".join(" ".join(words[at : at + 2]) for at in range(0, len(words), 2))


def _states(course: Course) -> tuple[Series, ...]:
    """Steps at each change, high on top."""
    states = len(STATES) - 1 - course.host["free_state"]
    changes = np.flatnonzero(np.diff(states, prepend=-1))
    at = [*changes.tolist(), len(states) - 1]
    return (series("", course.time_s[at] / _MINUTE, states[at], "steps"),)


def _one(course: Course, name: str) -> tuple[Series, ...]:
    minutes = course.vm_time_s / _MINUTE
    allocated, active = (
        course.vm(column, name) / PAGES_PER_MB for column in ("allocated_pages", "active_pages")
    )
    return (
        series("allocation", minutes, allocated),
        series("active", minutes, active, "dotted"),
    )


def _marks(parameters: FiveServers) -> tuple[Mark, ...]:
    return (
        Mark(parameters.benchmarks_s / _MINUTE, "benchmarks"),
        Mark(parameters.queries_until_s / _MINUTE, "SQL Server idle"),
        Mark(parameters.long_query_s / _MINUTE, "long query"),
    )
