"""The idle memory tax from nothing to nearly all: beyond figure 7 (section 5.2).

The pair of figure 7 under each tax: what both have, what the busy one gets done, and what the idle
one pays for it when it wakes up and needs more than it was left.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esxcore.paper.charts import Chart, Panel, Series, series
from esxcore.paper.claims import Claim, Confidence, calibrated, mechanism
from esxcore.paper.reproduction import Laboratory, Reproduction, chosen
from esxcore.paper.two_vms import Pair, Settings, slack_mib
from esxcore.simulation import WorkReport
from esxcore.workload import zipf

OP_TIME = "1ms"
"""Processor time of an operation of ten references: a thousand operations a second at most."""
_BACK_MIB = 6.0

TITLE = "The whole curve of the idle memory tax"


@dataclass(frozen=True)
class Parameters:
    """The pair of figure 7 with a low min, and how the idle one wakes up."""

    taxes: tuple[int, ...] = chosen(
        (0, 10, 20, 30, 40, 50, 60, 70, 75, 80, 90, 99), "in percent; 75 is the paper's"
    )
    size_mib: int = chosen(256, "as in figure 7")
    min_mib: int = chosen(32, "so low that the tax alone decides")
    available_mib: int = chosen(358, "as in figure 7")
    overhead_mib: int = chosen(32, "as in figure 7")
    balloon_cap: float = chosen(0.65, "as in figure 7")
    wakes_s: int = chosen(1200, "the idle one's estimate has fallen to a fiftieth by then")
    level_s: int = chosen(300, "over which allocations and rates are taken, before it wakes")
    after_s: int = chosen(180, "the first minute tells the price, the third what is left of it")
    costs: str = chosen(
        "nvme", "on a disk of 2002 who wakes waits for the busy one's reads, which the tax spares"
    )
    sample_s: int = chosen(5, "three samples for each decision")
    busy_mib: int = chosen(
        240, "what the busy one refers to: more than it gets without a tax", is_calibrated=True
    )
    busy_exponent: float = chosen(
        0.8, "how uneven: so that it uses nearly all of that in a period", is_calibrated=True
    )
    woken_mib: int = chosen(
        140, "what the idle one needs as it wakes; below its full share", is_calibrated=True
    )

    def settings(self) -> Settings:
        """Of the two machines."""
        names = Settings.__dataclass_fields__
        return Settings(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True)
class Point:
    """What came of one tax. Sizes in MiB, the idle one's first."""

    tax: int
    target: NDArray[Any]
    allocated: NDArray[Any]
    off_mib: float
    off_by: float
    rate: float
    woken_operations: tuple[int, ...]
    woken_stall_s: tuple[float, ...]
    woken_allocated: float


def reproduce(laboratory: Laboratory, parameters: Parameters) -> Reproduction:
    """Lives through each tax."""
    points = laboratory.map(lambda tax: _live(tax, parameters, laboratory.seed), parameters.taxes)
    numbers = {"points": [_row(point) for point in points]}
    claims = (*_claims(points, parameters), *_fitted(parameters))
    return Reproduction(TITLE, claims, _chart(points), _notes(points, parameters), numbers)


def _live(tax: int, parameters: Parameters, seed: int) -> Point:
    memory = f"{parameters.busy_mib}MiB"
    busy = zipf(memory, exponent=parameters.busy_exponent, op_time=OP_TIME)
    pair = Pair(parameters.settings(), busy, tax / 100, seed)
    rows, wakes_s = pair.rows, parameters.wakes_s
    pair.live(wakes_s)
    level = rows.between(wakes_s - parameters.level_s, wakes_s)
    target, allocated, granted = (
        np.mean(column[level], axis=0) for column in (rows.target, rows.allocated, rows.granted)
    )
    # What the busy one may have and does not use, nobody takes from the idle one.
    idle_off = granted[0] - target[0] - (granted[1] - allocated[1])
    off_by = pair.policy.off_by()
    reports = _wake(pair, parameters)
    return Point(
        tax=tax,
        target=target,
        allocated=allocated,
        off_mib=float(max(idle_off, abs(granted[1] - target[1]))),
        off_by=off_by,
        rate=rows.rate(wakes_s - parameters.level_s, wakes_s),
        woken_operations=tuple(b.operations - a.operations for a, b in pairwise(reports)),
        woken_stall_s=tuple(b.stall_some_s - a.stall_some_s for a, b in pairwise(reports)),
        woken_allocated=float(rows.allocated[-1][0]),
    )


def _wake(pair: Pair, parameters: Parameters) -> list[WorkReport]:
    """Has the idle one need memory; what it had done each minute from then on."""
    memory = f"{parameters.woken_mib}MiB"
    pair.simulation.start("idle", zipf(memory, exponent=0.5, op_time=OP_TIME, base="16MiB"))
    reports = [pair.simulation.report("idle")]
    for after_s in range(60, parameters.after_s + 1, 60):
        pair.live(parameters.wakes_s + after_s)
        reports.append(pair.simulation.report("idle"))
    return reports


def _row(point: Point) -> dict[str, Any]:
    return {
        "tax": point.tax,
        "target_mib": [round(float(mib), 1) for mib in point.target],
        "allocated_mib": [round(float(mib), 1) for mib in point.allocated],
        "busy_per_s": round(point.rate, 1),
        "woken_operations": list(point.woken_operations),
        "woken_stall_s": [round(seconds, 1) for seconds in point.woken_stall_s],
        "woken_allocated_mib": round(point.woken_allocated, 1),
    }


def _claims(points: list[Point], parameters: Parameters) -> list[Claim]:
    slack = slack_mib(parameters.settings())
    first, last = (_both(point.allocated) for point in (points[0], points[-1]))
    lost, gained = (points[0].allocated - points[-1].allocated) * (1, -1)
    # What one is entitled to more, the other is less.
    back = max(float(b.target[0] - a.target[0]) for a, b in pairwise(points))
    furthest = max(points, key=lambda point: point.off_mib)
    return [
        mechanism(
            "at every tax, targets are the closed form of what is active",
            all(point.off_by <= 1 for point in points),
            f"within {max(point.off_by for point in points):.2f} pages",
            paper="equal prices (formula in section 5.2)",
            confidence=Confidence.DERIVED,
            why="within a page: targets are whole pages",
        ),
        mechanism(
            "at every tax, what both have follows",
            all(point.off_mib <= slack for point in points),
            f"at most {furthest.off_mib:.1f} MiB off, at {furthest.tax} %",
            why=f"within {slack:.1f} MiB, as in figure 7",
        ),
        mechanism(
            "the more tax, the less the idle one gets, and the more the busy one",
            back <= _BACK_MIB and min(lost, gained) > slack,
            f"from {first} to {last}; targets never go back by more than {max(back, 0):.1f}",
            paper="the tax rate bounds what of the idle may be taken",
            confidence=Confidence.CONFIRMED,
            why=f"targets go back by at most {_BACK_MIB:g} MiB, half of the error of an estimate of"
            " 100 samples averaged over ten periods, four times over; what both have, by more than"
            f" the {slack:.1f} MiB by which it may be off",
        ),
    ]


def _both(pair: NDArray[Any]) -> str:
    idle, busy = pair
    return f"{idle:.0f} / {busy:.0f} MiB"


def _fitted(parameters: Parameters) -> list[Claim]:
    return [
        calibrated(
            "the busy guest's load",
            f"Zipf's law over {parameters.busy_mib} MiB, exponent {parameters.busy_exponent:g}",
            why="chosen so that it can use all it may have",
        ),
        calibrated(
            "what the idle one needs as it wakes",
            f"{parameters.woken_mib} MiB",
            why="chosen below its full share, so that nothing but the tax is in its way",
        ),
    ]


def _notes(points: list[Point], parameters: Parameters) -> tuple[str, ...]:
    first, last = points[0], points[-1]
    span = last.tax - first.tax
    gained = 100 * (last.rate / first.rate - 1)
    lost = 100 * (1 - last.woken_operations[0] / first.woken_operations[0])
    told = "; ".join(
        f"{point.tax} %: {_both(point.allocated)},"
        f" {point.rate:,.0f} operations a second, {point.woken_operations[0]:,} in the first minute"
        f" awake ({point.woken_stall_s[0]:.1f} s stalled) and {point.woken_operations[-1]:,} in the"
        " last"
        for point in points
    )
    return (
        "The pair of figure 7 with another load, and a tax that is the same from the beginning.",
        f"Each percent of tax gives the busy one {gained / span:.2f} % more throughput on average,"
        f" and costs the idle one {lost / span:.2f} % of its first minute awake. Memory comes back"
        " as fast as the busy one's estimate falls, which is slowly.",
        f"Tax; memory of both; the busy one's rate; the idle one awake. {told}.",
        f"Costs: {parameters.costs}, a drive of today. On a disk of 2002 all wait in one queue, and"
        " whoever wakes gains from a tax that keeps the busy one off it.",
    )


def _chart(points: list[Point]) -> Chart:
    taxes = [point.tax for point in points]

    def drawn(label: str, values: list[float], *form: Any) -> Series:
        return series(label, taxes, values, *form)

    memory = (
        drawn("idle", [point.allocated[0] for point in points], "line", "grey"),
        drawn("busy", [point.allocated[1] for point in points]),
        drawn("entitled to", [point.target[0] for point in points], "dotted", "grey"),
        drawn("", [point.target[1] for point in points], "dotted"),
    )
    rate = (drawn("", [point.rate for point in points]),)
    minutes = len(points[0].woken_operations)
    awake = tuple(
        drawn(f"minute {at + 1}", [point.woken_operations[at] / 60 for point in points], style)
        for at, style in zip((0, minutes - 1), ("line", "dashed"), strict=True)
    )
    stalled = (drawn("", [point.woken_stall_s[0] for point in points]),)
    per_s, most = "operations a second", 1100.0  # of the thousand that can be
    panels = (
        Panel("what both have", "tax, %", "MiB", memory),
        Panel("what the busy one gets done", "tax, %", per_s, rate, y_to=most),
        Panel("what the idle one gets done as it wakes", "tax, %", per_s, awake, y_to=most),
        Panel("how long it stands in its first minute awake", "tax, %", "seconds", stalled),
    )
    return Chart(panels, columns=2, height=3.0)
