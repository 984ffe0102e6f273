"""Figure 7: what the idle memory tax does to an idle guest and a busy one (section 5.2).

Both have 256 MB and equal shares, and there is not enough for both. Without a tax each gets half.
Then the tax becomes 75 %, and memory leaves the idle one for the busy one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from esxcore.errors import DataError
from esxcore.paper.charts import Chart, Mark, Panel, series, thinned
from esxcore.paper.claims import Claim, Confidence, calibrated, mechanism, recalled
from esxcore.paper.reproduction import Laboratory, Reproduction, chosen
from esxcore.paper.two_vms import Pair, Settings, machine_pages, slack_mib
from esxcore.workload import Program, dbench, files

TITLE = "Figure 7: the effect of the idle memory tax"
PAPER_GAIN = 30.0
_LEVEL_S = 300  # over which rates are taken, before the change and at the end


@dataclass(frozen=True)
class Parameters:
    """What both are, and when the tax changes."""

    size_mib: int = chosen(256, "the paper's, as it is recalled")
    min_mib: int = chosen(128, "half of max, as in figure 8 and by default; the paper is silent")
    free_min_mib: int = chosen(32, "of a second run, so low that the price alone decides")
    available_mib: int = chosen(358, "twice 179 MB; the paper has about 360 MB, as it is recalled")
    overhead_mib: int = chosen(32, "the server's own for each (section 6.2)")
    balloon_cap: float = chosen(0.65, "so that balloons reach every target; later products' cap")
    tax_rate: float = chosen(0.75, "the paper's")
    change_s: int = chosen(900, "dbench has passed its beginning, and the idle guest seems idle")
    end_s: int = chosen(
        1800, "the estimate of an idle guest needs ten minutes to fall to a twentieth"
    )
    costs: str = chosen("2002", "the paper's machine; only on a disk of its day does dbench wait")
    sample_s: int = chosen(5, "three samples for each decision")
    clients: int = chosen(
        40,
        "their files need more than half of what there is, and less than all",
        is_calibrated=True,
    )
    op_time_us: int = chosen(
        200, "processor time of an operation; makes the processor the limit", is_calibrated=True
    )

    def settings(self) -> Settings:
        """Of the two machines."""
        names = Settings.__dataclass_fields__
        return Settings(**{name: getattr(self, name) for name in names})


def reproduce(laboratory: Laboratory, parameters: Parameters) -> Reproduction:
    """Lives through the figure, with the default min and with a low one."""
    settings = parameters.settings()

    def live(min_mib: int) -> Run:
        return Run(replace(settings, min_mib=min_mib), parameters, laboratory.seed)

    bounded, free = laboratory.map(live, (parameters.min_mib, parameters.free_min_mib))
    claims = [
        *_without(bounded, settings),
        *_with(bounded, settings, f"min {parameters.min_mib} MiB"),
        *_with(free, settings, f"min {parameters.free_min_mib} MiB"),
        *_effects(bounded, parameters),
        calibrated(
            "the busy guest's load",
            f"{parameters.clients} clients, {parameters.op_time_us} µs each operation",
            why="chosen so that its files do not fit half of the memory; the gain follows from it",
        ),
    ]
    numbers = {
        "rates": [round(bounded.rate_before, 1), round(bounded.rate_after, 1)],
        "active_mib": [round(mib, 2) for mib in bounded.active.tolist()],
        "allocated_mib": [round(mib, 2) for mib in bounded.allocated.tolist()],
        "closed_form_mib": [round(mib, 2) for mib in bounded.form.tolist()],
        "free_run_allocated_mib": [round(mib, 2) for mib in free.allocated.tolist()],
        "free_run_closed_form_mib": [round(mib, 2) for mib in free.form.tolist()],
    }
    chart = _chart(bounded, parameters)
    return Reproduction(TITLE, tuple(claims), chart, _notes(bounded, parameters), numbers)


class Run:
    """One life of the pair: what it had before the change, and what in the end."""

    def __init__(self, settings: Settings, parameters: Parameters, seed: int) -> None:
        change_s, end_s = parameters.change_s, parameters.end_s
        pair = Pair(settings, _load(parameters)[0], 0.0, seed)
        pair.live(change_s)
        self.said_before = pair.policy.said / 256
        self.granted_before = pair.rows.granted[-1]
        self.allocated_before = pair.rows.allocated[-1]
        pair.tax(parameters.tax_rate)
        pair.live(end_s)
        rows = self.rows = pair.rows
        self.off_by, self.form = pair.policy.off_by(), pair.policy.closed_form() / 256
        self.granted, self.allocated = rows.granted[-1], rows.allocated[-1]
        self.active = np.asarray(_seen(pair).active_pages) / 256
        self.available_mib = _seen(pair).available_pages / 256
        self.swapped_mib = float(pair.host.vms()["page_outs"].sum()) / 256
        self.rate_before = rows.rate(change_s - _LEVEL_S, change_s)
        self.rate_after = rows.rate(end_s - _LEVEL_S, end_s)
        self.gain = 100 * (self.rate_after / self.rate_before - 1)
        later = rows.between(change_s, end_s)
        slack = slack_mib(settings)
        there = [abs(row[0] - self.form[0]) <= slack for row in rows.granted[later]]
        self.reached_s = rows.time_s[later][there.index(True)] - change_s if any(there) else None


def _seen(pair: Pair) -> Any:
    return pair.policy.view


def _both(pair: Any) -> str:
    idle, busy = pair
    return f"{idle:.1f} / {busy:.1f} MiB"


def _without(run: Run, settings: Settings) -> list[Claim]:
    half = settings.available_mib / 2
    slack = slack_mib(settings)
    off = float(np.abs(run.granted_before - half).max())
    return [
        mechanism(
            "without a tax both are entitled to the same, whatever they use",
            bool(np.abs(run.said_before - half).max() <= 1 / 256),
            f"{_both(run.said_before)} of {run.available_mib:.1f}",
            paper="179 / 179 MB",
            confidence=Confidence.RECALLED,
            why="within a page",
        ),
        mechanism(
            "and that is what they have",
            off <= slack,
            f"granted {_both(run.granted_before)}, allocated {_both(run.allocated_before)}",
            paper="179 / 179 MB",
            confidence=Confidence.RECALLED,
            why=_slack_why(slack),
        ),
    ]


def _slack_why(slack: float) -> str:
    return (
        f"within {slack:.1f} MiB: reclaiming begins below 4 % of the machine free and ends above"
        " 6.5 %, and a guest leaves up to 3 MiB of its own untouched"
    )


def _with(run: Run, settings: Settings, where: str) -> list[Claim]:
    slack = slack_mib(settings)
    unused = float(run.granted[1] - run.allocated[1])
    off_idle, off_busy = (run.granted - run.form).tolist()
    return [
        mechanism(
            f"with the tax, targets are the closed form of what is active in the end ({where})",
            run.off_by <= 1,
            f"{_both(run.form)} for {_both(run.active)} active",
            paper="equal prices (formula in section 5.2)",
            confidence=Confidence.DERIVED,
            why="within a page: targets are whole pages",
        ),
        mechanism(
            f"and memory moves there ({where})",
            abs(off_busy) <= slack and -slack <= off_idle <= slack + unused,
            f"granted {_both(run.granted)}, allocated {_both(run.allocated)}",
            why=f"{_slack_why(slack)}; what the busy one may have and does not use,"
            f" {unused:.1f} MiB, nobody takes from the idle one",
        ),
    ]


def _effects(run: Run, parameters: Parameters) -> list[Claim]:
    moved = run.granted - run.granted_before
    reached = "never" if run.reached_s is None else f"after {run.reached_s:.0f} s"
    return [
        mechanism(
            "memory leaves the idle one for the busy one",
            bool(moved[0] < 0 < moved[1]),
            f"{moved[0]:+.1f} / {moved[1]:+.1f} MiB",
            paper="memory leaves VM 1, VM 2 gains",
            confidence=Confidence.RECALLED,
        ),
        mechanism(
            "within four balance periods",
            run.reached_s is not None and run.reached_s <= 60,
            reached,
            why="a period to decide, and balloons give half of a guest in a few seconds",
        ),
        mechanism(
            "the busy one gets more done",
            run.gain > 0,
            f"{run.rate_before:,.0f} to {run.rate_after:,.0f} operations a second",
            paper="performance rises",
            confidence=Confidence.RECALLED,
        ),
        recalled(
            "gain in throughput of the busy one",
            PAPER_GAIN,
            run.gain,
            "%",
            why="follows from how much its load exceeds its memory, which the paper does not say",
        ),
        recalled(
            "the idle one falls to its min",
            float(parameters.min_mib),
            float(run.allocated[0]),
            "MiB",
            why="its target does; what is above it is free memory that nobody needs",
        ),
    ]


def _load(parameters: Parameters) -> tuple[Program, str]:
    """What the busy one does, and what to call it."""
    op_time = f"{parameters.op_time_us}us"
    try:
        return dbench(parameters.clients, op_time=op_time), f"dbench, {parameters.clients} clients"
    except DataError:
        program = files(50 * parameters.clients, largest="1MiB", op_time=op_time)
        return program, "the built-in file workload, since no load file of dbench is installed"


def _notes(run: Run, parameters: Parameters) -> tuple[str, ...]:
    settings = parameters.settings()
    machine = machine_pages(settings.available_mib + 2 * settings.overhead_mib) / 256
    return (
        f"The busy guest runs {_load(parameters)[1]}.",
        f"The machine has {machine:.1f} MiB: {settings.available_mib} MiB available, twice"
        f" {settings.overhead_mib} MiB of overhead, and 6 % that are kept free. Sharing is off, or"
        " what is available would change with it.",
        f"{run.swapped_mib:.0f} MiB of the idle guest's cleared pages were paged out as the busy"
        " one began, faster than a balloon.",
        f"Costs: {settings.costs}. On a drive of today dbench hardly ever waits, and more memory"
        " gains nothing. A guest that waits for a disk of 2002 seems idle: the busy one's activity"
        " is underestimated while it is short of memory.",
    )


def _chart(run: Run, parameters: Parameters) -> Chart:
    rows = run.rows
    kept = thinned(len(rows.time_s))
    minutes = [rows.time_s[place] / 60 for place in kept]

    def column(name: str, vm: int) -> list[float]:
        return [float(getattr(rows, name)[place][vm]) for place in kept]

    change = Mark(parameters.change_s / 60, f"tax 0 → {100 * parameters.tax_rate:.0f} %")
    rate_at, rates = _rates(run, 30)
    memory = Panel(
        "allocation (solid) and estimated active memory (dotted)",
        "minutes",
        "MiB",
        (
            series("VM 1 allocation (idle, Windows)", minutes, column("allocated", 0), tone="grey"),
            series("VM 2 allocation (busy, Linux)", minutes, column("allocated", 1)),
            series("VM 1 active", minutes, column("active", 0), "dotted", "grey"),
            series("VM 2 active", minutes, column("active", 1), "dotted"),
        ),
        (change,),
        y_to=1.08 * parameters.size_mib,
    )
    done = Panel(
        "what the busy one gets done (not drawn in the paper)",
        "minutes",
        "operations a second",
        (series("", rate_at, rates, "steps"),),
        (change,),
    )
    return Chart((memory, done), height=3.4)


def _rates(run: Run, step_s: int) -> tuple[list[float], list[float]]:
    times = [time for time in run.rows.time_s if time % step_s == 0]
    ends = list(pairwise(times))
    return [first / 60 for first, _ in ends], [run.rows.rate(*pair) for pair in ends]
