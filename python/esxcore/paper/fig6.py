"""Figure 6: memory that a program touches, and what sampling makes of it (section 5.3).

A toucher in a Windows guest touches so much memory, then more, then less, and keeps all that it
ever had until it ends. Then Windows' zero-page thread clears what was freed, which looks like use.
The same program in Linux, and in a Windows without that thread, ends without a spike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esxcore.datafile import data_path
from esxcore.guest import Guest
from esxcore.host import Host
from esxcore.paper.charts import Chart, Mark, Panel, Style, Tone, series, thinned
from esxcore.paper.claims import Claim, Confidence, calibrated, mechanism, recalled
from esxcore.paper.reproduction import Laboratory, Reproduction, chosen
from esxcore.simulation import Simulation
from esxcore.workload import Activity, ActivityRecord, Batch, toucher

TITLE = "Figure 6: active memory, sampled"

_PAGES_A_MIB = 256
_TOUCHES = 1024  # a batch of the toucher
_LABELS = ("slow average", "fast average", "memory touched", "estimate (maximum)")
_ABOVE = ("",) * len(_LABELS)  # named in the panel above
_AVERAGES = ("slow", "fast", "current")


@dataclass(frozen=True)
class Parameters:
    """The machine, the program, and how it is watched."""

    size_mib: int = chosen(320, "all of the toucher, Windows and its tables fit; at least 256 MB")
    levels_mib: tuple[int, ...] = chosen(
        (100, 200, 50, 250, 150, 50), "50 to 250 MB; steps of 100 MB and more are clear of noise"
    )
    level_s: int = chosen(600, "20 periods, in which the slow average covers 88 % of a step")
    settle_s: int = chosen(910, "memory cleared at boot is forgotten by then; no whole period")
    after_s: int = chosen(900, "to see the end of the spike")
    touch_us: int = chosen(200, "it passes over 250 MB in 13 s, and is never idle")
    background_refs: int = chosen(400, "touches a second: all of the background in ten seconds")
    record_s: int = chosen(1200, "ten times the real record of two minutes")
    background_mib: int = chosen(
        15,
        "Windows' own activity, 10 to 20 MB in the paper, as a small process",
        is_calibrated=True,
    )
    slow_gain: float = chosen(
        0.1, "weight of a new period in the slow average; not published", is_calibrated=True
    )
    fast_gain: float = chosen(
        0.7, "weight of a new period in the fast average; not published", is_calibrated=True
    )
    zero_rate: int = chosen(
        32_768, "pages that Windows clears in an idle second; not published", is_calibrated=True
    )

    @property
    def end_s(self) -> int:
        """When the toucher ends, from its beginning."""
        return self.level_s * len(self.levels_mib)


class Toucher:
    """Touches its first pages over and over, as many as the level of the time says."""

    def __init__(self, parameters: Parameters, seed: int) -> None:
        random = np.random.default_rng(seed)
        levels = parameters.levels_mib
        self._orders = [random.permutation(mib * _PAGES_A_MIB) for mib in levels]
        self._level_s, self._op_time = parameters.level_s, parameters.touch_us / 1e6
        self._place = 0

    def batch(self, now: float) -> Batch | None:
        """The next touches; none when all levels are over."""
        level = int(now // self._level_s)
        if level >= len(self._orders):
            return None
        order = self._orders[level]
        pages = np.take(order, range(self._place, self._place + _TOUCHES), mode="wrap")
        self._place = (self._place + _TOUCHES) % len(order)
        return Batch(pages, writes=True, op_time=self._op_time)


@dataclass
class Course:
    """What sampling said after each second, in MiB; a row a second."""

    slow: NDArray[Any]
    fast: NDArray[Any]
    current: NDArray[Any]
    estimate: NDArray[Any]
    cleared_mib: float = 0.0

    @property
    def is_maximum(self) -> bool:
        """Whether the estimate is the maximum of the three at every instant, to the bit."""
        columns = [getattr(self, name) for name in _AVERAGES]
        return bool((np.maximum.reduce(columns) == self.estimate).all())


def reproduce(laboratory: Laboratory, parameters: Parameters) -> Reproduction:
    """Lives through the figure in three guests, and through the real record in a fourth."""
    windows = Guest("windows", zero_rate=parameters.zero_rate)
    pieces: list[Callable[[], Course]] = [
        lambda: _live(windows, parameters, laboratory.seed),
        lambda: _live(Guest("linux"), parameters, laboratory.seed),
        lambda: _live(Guest("windows", zero_rate=0), parameters, laboratory.seed),
        lambda: _relive(parameters, laboratory.seed),
    ]
    courses = laboratory.map(lambda piece: piece(), pieces)
    figure, linux, silent, real = courses
    steps = Steps(figure, parameters)
    used = _used(parameters.record_s)
    claims = (
        mechanism(
            "the estimate is the maximum of the three averages at every instant",
            all(course.is_maximum for course in courses),
            f"in all {sum(len(course.estimate) for course in courses):,} seconds, to the bit",
            paper="the maximum of slow, fast and current",
            confidence=Confidence.SECONDARY,
        ),
        *steps.claims(),
        *_spikes(figure, linux, silent, parameters),
        *_background(figure, parameters),
        *_fitted(parameters),
    )
    numbers = {
        "rise_s": steps.rises,
        "fall_s": steps.falls,
        "spike_mib": round(_spike(figure, parameters), 1),
        "spike_linux_mib": round(_spike(linux, parameters), 1),
        "spike_without_thread_mib": round(_spike(silent, parameters), 1),
    } | _agreement(real, used)
    chart = _chart(figure, linux, real, used, parameters)
    return Reproduction(TITLE, claims, chart, _notes(figure, numbers), numbers)


def _host(parameters: Parameters, seed: int) -> Host:
    return Host(
        f"{2 * parameters.size_mib}MiB",
        content="tokens",
        seed=seed,
        sharing=False,
        policy=None,
        sample_slow_keep=1 - parameters.slow_gain,
        sample_fast_keep=1 - parameters.fast_gain,
    )


def _live(guest: Guest, parameters: Parameters, seed: int) -> Course:
    """The toucher's life in a guest, and what follows."""
    host = _host(parameters, seed)
    vm = host.power_on("vm", f"{parameters.size_mib}MiB", guest=guest)
    simulation = Simulation(host)
    peak = f"{max(parameters.levels_mib)}MiB"
    background = toucher(
        f"{parameters.background_mib}MiB",
        refs_per_s=parameters.background_refs,
        base="512MiB",
    )
    simulation.start(vm, background, after=15)
    simulation.start(vm, Toucher(parameters, seed), after=parameters.settle_s)
    # A process that is through keeps its memory; this one has the same pages and gives them back.
    leaves = toucher([("0s", peak), ("1s", 0)], refs_per_s=1)
    simulation.start(vm, leaves, after=parameters.settle_s + parameters.end_s)
    simulation.advance(parameters.settle_s)
    before = int(host.vms()["guest_zeroed"][0])
    course = _watch(simulation, "vm", parameters.end_s + parameters.after_s)
    course.cleared_mib = (int(host.vms()["guest_zeroed"][0]) - before) / _PAGES_A_MIB
    return course


def _watch(simulation: Simulation, name: str, seconds: int) -> Course:
    vm = simulation.host.vm(name)
    rows = []
    for _ in range(seconds):
        simulation.advance(1)
        report = vm.sampling()
        rows.append([getattr(report, column) for column in (*_AVERAGES, "estimate")])
    return Course(*(np.array(rows).T * (vm.max_pages / _PAGES_A_MIB)))


def _record() -> ActivityRecord:
    return ActivityRecord.load(data_path("builtin:active_phases", Path()))


def _relive(parameters: Parameters, seed: int) -> Course:
    """The real record, over and over."""
    host, record = _host(parameters, seed), _record()
    host.power_on("real", record.pages)
    simulation = Simulation(host)
    simulation.start("real", Activity(record, repeat=True))
    return _watch(simulation, "real", parameters.record_s)


def _used(seconds: int) -> NDArray[Any]:
    """What was really touched in each period of 30 s, in MiB, a row a second."""
    record = _record()
    bits = np.unpackbits(record.read | record.write, axis=1, count=record.pages).astype(bool)
    starts = range(0, seconds, 30)
    windows = [bits[np.arange(at, at + 30) % len(bits)].any(axis=0).sum() for at in starts]
    return np.repeat(np.array(windows) / _PAGES_A_MIB, 30)[:seconds]


class Steps:
    """How long the estimate takes for half of each rise and of each fall, in seconds."""

    def __init__(self, course: Course, parameters: Parameters) -> None:
        self.rises: list[int] = []
        self.falls: list[int] = []
        self.period_s = 30
        levels = (0, *parameters.levels_mib)
        for number, (old, new) in enumerate(pairwise(levels)):
            after = course.estimate[number * parameters.level_s :][: parameters.level_s]
            half = (old + new) / 2 + parameters.background_mib
            is_there = after >= half if new > old else after <= half
            seconds = int(np.argmax(is_there)) + 1 if is_there.any() else 2 * len(after)
            (self.rises if new > old else self.falls).append(seconds)

    def claims(self) -> list[Claim]:
        """That rises are followed at once, and falls slowly."""
        return [
            mechanism(
                "half of every rise is followed within two periods",
                max(self.rises) <= 2 * self.period_s,
                f"after {_listed(self.rises)} s",
                paper="rises follow the fast average",
                confidence=Confidence.CONFIRMED,
                why="two periods bring 91 % of a rise; half of one of 100 MB is 3.5 standard"
                " deviations of the sampling below that",
            ),
            mechanism(
                "half of any fall takes longer than half of any rise",
                min(self.falls) > max(self.rises),
                f"after {_listed(self.falls)} s",
                paper="falls follow the slow average",
                confidence=Confidence.CONFIRMED,
            ),
        ]


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))


def _spike(course: Course, parameters: Parameters) -> float:
    """How far the estimate rises in the two periods after the end, above its mean before."""
    end = parameters.end_s
    return float(course.estimate[end : end + 60].max() - course.estimate[end - 60 : end].mean())


def _noise_mib(parameters: Parameters) -> float:
    """Four standard deviations of a fast average near the end, of 100 samples a period."""
    part = (parameters.levels_mib[-1] + parameters.background_mib) / parameters.size_mib
    return 4 * parameters.fast_gain * float(np.sqrt(part * (1 - part) / 100)) * parameters.size_mib


def _spikes(figure: Course, linux: Course, silent: Course, parameters: Parameters) -> list[Claim]:
    kept = max(parameters.levels_mib) - parameters.levels_mib[-1]
    noise = _noise_mib(parameters)
    least = kept / 3
    found = [_spike(course, parameters) for course in (figure, linux, silent)]
    return [
        mechanism(
            "when the toucher ends, Windows' zero-page thread makes a spike (ZPT)",
            found[0] >= least,
            f"{found[0]:+.0f} MiB; it cleared {figure.cleared_mib:.0f} MiB",
            paper="a spike labelled ZPT right after the toucher ends",
            confidence=Confidence.CONFIRMED,
            why=f"at least a third of the {kept} MiB that were freed and not being touched; the"
            f" running period weighs {100 * parameters.fast_gain:.0f} % at once",
        ),
        mechanism(
            "with Linux there is none",
            found[1] < noise,
            f"{found[1]:+.0f} MiB",
            paper="none with Linux",
            confidence=Confidence.RECALLED,
            why=f"below {noise:.0f} MiB, four standard deviations of the sampling",
        ),
        mechanism(
            "nor with a Windows that clears nothing",
            found[2] < noise,
            f"{found[2]:+.0f} MiB; it cleared {silent.cleared_mib:.0f} MiB",
            why=f"below {noise:.0f} MiB, as above",
        ),
    ]


def _background(course: Course, parameters: Parameters) -> list[Claim]:
    """What the fast average finds beyond the toucher, in the second half of each level."""
    level_s, found = parameters.level_s, []
    for number, mib in enumerate(parameters.levels_mib):
        settled = course.fast[number * level_s + level_s // 2 : (number + 1) * level_s]
        found.append(float(settled.mean()) - mib)
    return [
        recalled(
            "what Windows adds to the toucher, by the fast average",
            15.0,
            float(np.mean(found)),
            "MiB",
            confidence=Confidence.CONFIRMED,
            why="the paper has 10 to 20 MB; it was put in, and is found again by sampling",
        )
    ]


def _fitted(parameters: Parameters) -> list[Claim]:
    return [
        calibrated(
            "weights of a new period in the slow and the fast average",
            f"{parameters.slow_gain:g} and {parameters.fast_gain:g}",
            why="not published; such that rises take a period and falls some",
        ),
        calibrated(
            "Windows' own activity",
            f"{parameters.background_mib} MiB",
            paper="10–20 MB",
            confidence=Confidence.CONFIRMED,
            why="a small process that touches so much",
        ),
        calibrated(
            "pages that the zero-page thread clears in an idle second",
            f"{parameters.zero_rate:,}",
            why="not published; so fast that all is cleared within a few seconds",
        ),
    ]


def _agreement(real: Course, used: NDArray[Any]) -> dict[str, Any]:
    """How the averages lie to what was really touched, in the last second of each period."""
    ends = slice(10 * 30 - 1, None, 30)  # the first cycles are left out: averages begin at 0
    off = {name: getattr(real, name)[ends] - used[ends] for name in ("estimate", "fast", "slow")}
    return {
        "real_mean_mib": round(float(used[ends].mean()), 1),
        "real_lean_mib": round(float(off["estimate"].mean()), 1),
        "real_below_mib": round(float(-off["estimate"].min()), 1),
        "real_fast_off_mib": round(float(np.abs(off["fast"]).mean()), 1),
        "real_slow_off_mib": round(float(np.abs(off["slow"]).mean()), 1),
    }


def _notes(figure: Course, numbers: dict[str, Any]) -> tuple[str, ...]:
    return (
        "The levels and the length of the figure are not recovered; these are our own. The toucher"
        " keeps what it has touched until it ends, as one that allocates all it will need does:"
        " only so can the thread touch more than the toucher did in its last minutes.",
        "The real record is of a guest whose hot set changes about every half minute, faster than"
        f" any average follows. In a period it touches {numbers['real_mean_mib']:g} MiB on average."
        f" The estimate is {numbers['real_lean_mib']:g} MiB above that on average, and never more"
        f" than {numbers['real_below_mib']:g} MiB below; the fast average is off by"
        f" {numbers['real_fast_off_mib']:g} MiB either way, the slow one by"
        f" {numbers['real_slow_off_mib']:g} MiB.",
    )


def _chart(
    figure: Course, linux: Course, real: Course, used: NDArray[Any], parameters: Parameters
) -> Chart:
    levels = np.repeat((*parameters.levels_mib, 0), parameters.level_s)[: len(figure.estimate)]
    levels = np.pad(levels, (0, len(figure.estimate) - len(levels)))
    end = parameters.end_s / 60
    panels = (
        _panel("a toucher in Windows", figure, levels, _LABELS, Mark(end, "ZPT")),
        _panel("the same in Linux: no spike", linux, levels, _ABOVE, Mark(end, "it ends")),
        _panel("a real guest whose hot set changes (lines as above)", real, used, _ABOVE),
    )
    return Chart(panels, height=3.0)


def _panel(
    title: str, course: Course, touched: NDArray[Any], labels: tuple[str, ...], *marks: Mark
) -> Panel:
    kept = np.array(thinned(len(touched), 900))
    forms: tuple[tuple[NDArray[Any], Style, Tone], ...] = (
        (course.slow, "dotted", "grey"),
        (course.fast, "dashed", "grey"),
        (touched, "steps", "ink"),
        (course.estimate, "dotted", "ink"),
    )
    lines = tuple(
        series(label, kept / 60, values[kept], style, tone)
        for label, (values, style, tone) in zip(labels, forms, strict=True)
    )
    return Panel(title, "minutes", "MiB", lines, marks)
