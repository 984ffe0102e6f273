"""Section 7: hot I/O pages are moved to memory that the device reaches, and copies stop.

Paper, section 7. A device of 32 bits reaches low memory only; a page above is copied through a
bounce buffer at each transfer. Copies are counted page by page, and a page that was copied often is
moved to low memory, of which the guest sees nothing. The paper gives no numbers but that copies
fall by several orders of magnitude where few buffers are used; the rest follows by arithmetic.

Three kinds of traffic: a network card with few buffers, one with many that are unequally hot, and
pages that are transferred twice and then no more, as those of a file server.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from esxcore.costs import Costs, competitive_threshold
from esxcore.host import Host
from esxcore.paper.charts import Chart, Panel, Series, Style, Tone, numbers, series
from esxcore.paper.claims import Claim, Confidence, calibrated, mechanism, recalled
from esxcore.paper.reproduction import Laboratory, Reproduction, chosen
from esxcore.paper.transfers import (
    CLOSELY_S,
    GUEST_PAGES,
    LOW_PAGES,
    OFF,
    Batches,
    Course,
    Traffic,
    cold,
    few,
    machine,
    many,
    through,
)

TITLE = "Section 7: hot I/O page remapping"

PRESETS = ("2002", "nvme")


@dataclass(frozen=True)
class Parameters(Traffic):
    """Traffic, and the rules by which pages are moved."""

    threshold: int = chosen(16, "the engine's default; the paper gives none")
    thresholds: tuple[int, ...] = chosen((1, 4, 16, 64), "from at once to late, by factors of four")

    @property
    def rules(self) -> tuple[int, ...]:
        """All thresholds, and those at which copies have cost as much as a move would."""
        competitive = {competitive_threshold(preset) for preset in PRESETS}
        return (OFF, *sorted({*self.thresholds, self.threshold, *competitive}))


class Kind(NamedTuple):
    """A kind of traffic by all rules, and how often each page was transferred."""

    name: str
    courses: dict[int, Course]
    uses: NDArray[np.int64]

    def copied(self, rule: int) -> int:
        """Transfers that were copied by a rule."""
        return self.courses[rule].copied

    def best_ns(self, costs: Costs) -> int:
        """What the best course in hindsight costs: a page is moved at once, or never."""
        return int(np.minimum(self.uses * costs.io_copy_ns, costs.io_remap_ns).sum())

    def ratio(self, rule: int, costs: Costs) -> float:
        """What a rule costs in terms of the best."""
        return self.courses[rule].cost_ns(costs) / self.best_ns(costs)


def reproduce(laboratory: Laboratory, parameters: Parameters) -> Reproduction:
    """All traffic by all rules, and one that finds low memory full."""
    seed, rules = laboratory.seed, parameters.rules
    runs = laboratory.map(lambda rule: few(parameters, rule, seed), rules)
    each = np.full(parameters.buffers, runs[0].transfers // parameters.buffers)
    kinds = [
        Kind("few buffers", dict(zip(rules, runs, strict=True)), each),
        _kind(laboratory, parameters, "many, unequally hot", many),
        _kind(laboratory, parameters, "used twice", cold),
    ]
    (scarce,) = laboratory.map(lambda rule: _scarce(parameters, rule, seed), [parameters.threshold])
    claims = (*_few_claims(parameters, kinds[0]), *_other_claims(parameters, kinds), scarce)
    found = {
        "copies": {kind.name: [kind.courses[rule].copied for rule in rules] for kind in kinds},
        "moves": {kind.name: [kind.courses[rule].remaps for rule in rules] for kind in kinds},
    }
    chart = _chart(parameters, kinds)
    return Reproduction(TITLE, claims, chart, _NOTES, {"rules": list(rules)} | found)


def _kind(
    laboratory: Laboratory,
    parameters: Parameters,
    name: str,
    batches: Callable[[Traffic, int], Batches],
) -> Kind:
    """The same transfers by all rules."""
    seed, rules = laboratory.seed, parameters.rules

    def run(rule: int) -> tuple[Course, NDArray[np.int64]]:
        return through(machine(seed, rule), rule, batches(parameters, seed))

    courses, uses = zip(*laboratory.map(run, rules), strict=True)
    return Kind(name, dict(zip(rules, courses, strict=True)), uses[0])


_NOTES = (
    "Where the paper is silent: the threshold, and whether counts decay. Here they do not, so that"
    " the arithmetic holds; by default the engine halves them every minute.",
    "Low memory is free but for what moves there, except in the last claim. Transfers of the first"
    " kind are a network card's in a simulation, the others batches of a host.",
    "A line that ends at the foot of its graph means that nothing is copied any more.",
)


def _few_claims(parameters: Parameters, kind: Kind) -> list[Claim]:
    off, on = kind.courses[OFF], kind.courses[parameters.threshold]
    buffers = parameters.buffers
    ends = {rule: rule * buffers for rule in parameters.rules if rule != OFF}
    worst = max(abs(kind.courses[rule].copied / end - 1) for rule, end in ends.items())
    factor, derived = off.copied / on.copied, off.transfers / ends[parameters.threshold]
    quiet = all(kind.courses[rule].a_second()[-1] == 0 for rule in ends)
    used = [kind.courses[rule].low_used for rule in ends]
    return [
        mechanism(
            "without remapping each transfer is copied, for ever",
            off.copied == off.transfers and off.a_second()[-1] > 0.99 * parameters.rate,
            f"{off.copied:,} of {off.transfers:,}; {off.a_second()[-1]:,.0f} a second at the end",
            paper="copied through a bounce buffer",
            confidence=Confidence.CONFIRMED,
        ),
        mechanism(
            "with it copies stop at buffers times threshold, with every threshold",
            quiet and worst <= 0.01,
            ", ".join(f"{rule}: {kind.courses[rule].copied:,}" for rule in ends),
            paper=", ".join(f"{end:,}" for end in ends.values()),
            confidence=Confidence.DERIVED,
            why="within 1 %: each buffer is copied as often as the threshold says and then moved",
        ),
        mechanism(
            "the number of pages copied falls by several orders of magnitude",
            all(off.copied >= 100 * kind.courses[rule].copied for rule in ends),
            f"from {off.copied:,} to {on.copied:,} at {parameters.threshold}: by"
            f" {np.log10(factor):.1f} orders; {off.device_s:,.0f} s of the guest's processor for"
            f" the card become {on.device_s:,.0f} s",
            paper="by several orders of magnitude",
            confidence=Confidence.CONFIRMED,
            why="several: at least two, a factor of 100, with each of the thresholds",
        ),
        recalled(
            "the factor at that threshold, N / (B T)", derived, factor, "",
            confidence=Confidence.DERIVED,
            why=f"{off.transfers:,} transfers, {buffers} buffers; nothing in the paper",
        ),
        mechanism(
            "use of low memory rises by the number of hot pages",
            used == [buffers] * len(ends)
            and all(kind.courses[rule].remaps == buffers for rule in ends) and off.low_used == 0,
            f"{', '.join(map(str, used))} pages by threshold, none without",
            why="all buffers are hot, and each moves once: no tolerance",
        ),
    ]  # fmt: skip


def _other_claims(parameters: Parameters, kinds: list[Kind]) -> list[Claim]:
    _, zipf, once = kinds
    on, rules = zipf.courses[parameters.threshold], parameters.rules[1:]
    copies, tenth = on.a_second(), 9
    minute = copies[-60:].mean()
    late, at_once = [rule for rule in rules if rule >= parameters.uses], once.courses[min(rules)]
    dear = once.ratio(min(rules), Costs.preset("2002"))
    return [
        mechanism(
            "of buffers that are unequally hot a few move soon and take most copies with them",
            on.moves[tenth] < parameters.many / 4
            and copies[tenth] < parameters.rate / 2
            and minute < parameters.rate / 100,
            f"after {tenth + 1} s {on.moves[tenth]:,} of {parameters.many:,} buffers have moved and"
            f" {copies[tenth]:,.0f} of {parameters.rate:,} packets a second are copied, in the last"
            f" of {parameters.many_s // 60} minutes {minute:,.1f}",
            why="a quarter of the buffers, half of the copies; two orders of magnitude in the end",
        ),
        mechanism(
            "pages that are used too seldom never move: the bad case stays as it was",
            all(once.courses[rule].remaps == 0 for rule in late)
            and {once.copied(rule) for rule in late} == {once.copied(OFF)}
            and at_once.remaps == parameters.cold,
            f"{parameters.cold:,} pages {parameters.uses} times: {once.copied(OFF):,} copies with"
            f" thresholds {', '.join(map(str, late))} and without; at {min(rules)}"
            f" {at_once.remaps:,} are moved for nothing, at {dear:.1f} times the cost",
            why="no page is transferred more often than the threshold says",
        ),
        *(_competitive(parameters, kinds, preset) for preset in PRESETS),
        calibrated(
            "traffic through many buffers, and that of pages used twice",
            f"{parameters.many:,} buffers, exponent {parameters.exponent:g}; {parameters.cold:,}"
            " pages",
            why="chosen so that some are hot and most are not, and that it fits the guest",
        ),
    ]


def _competitive(parameters: Parameters, kinds: list[Kind], preset: str) -> Claim:
    """The rule that moves a page when its copies have cost as much as the move."""
    costs, rule = Costs.preset(preset), competitive_threshold(preset)
    worst = {each: max(kind.ratio(each, costs) for kind in kinds) for each in parameters.rules[1:]}
    others = ", ".join(f"{each}: {ratio:.1f}" for each, ratio in worst.items() if each != rule)
    return mechanism(
        f"the competitive threshold costs at most twice the best in hindsight ({preset}: {rule})",
        worst[rule] <= 2,
        f"{worst[rule]:.2f} times where it does worst; {others}",
        why=f"a copy costs {costs.io_copy_ns / 1000:g} us and a move {costs.io_remap_ns / 1000:g};"
        " the best moves a page at once or never, as its number of transfers tells",
    )


def _scarce(parameters: Parameters, rule: int, seed: int) -> Claim:
    """Sending where low memory is full: as many pages in which no device has any interest go up."""
    host = machine(seed, rule, is_low_full=True)
    before, free = _contents(host), host.stats()["low_free_pages"]
    sent = np.arange(parameters.buffers)
    course, _ = through(host, rule, ((sent[:0], sent) for _ in range(2 * rule)))
    same = bool((_contents(host) == before).all())
    return mechanism(
        "where low memory is full as many cold pages move up, and no guest sees anything of it",
        same and free == 0 and course.evictions == course.remaps == parameters.buffers
        and course.copied == rule * parameters.buffers,
        f"{course.remaps} moved down, {course.evictions} up; every page holds what it held",
        paper="it may pay to move low pages up",
        confidence=Confidence.RECALLED,
        why="the neighbour's pages are in no I/O, so there is one for each: no tolerance",
    )  # fmt: skip


def _contents(host: Host) -> NDArray[np.int64]:
    pages = (("neighbour", LOW_PAGES), ("guest", GUEST_PAGES))
    return np.concatenate([host.read(vm, range(count)) for vm, count in pages])


def _chart(parameters: Parameters, kinds: list[Kind]) -> Chart:
    buffers, zipf, _ = kinds
    costs = Costs.preset("2002")
    competitive = competitive_threshold("2002")
    drawn = list(zip(kinds, _TONES, strict=True))
    return Chart(
        (
            Panel(
                f"{parameters.buffers} buffers in turn",
                "seconds of traffic",
                "copies a second",
                _lines(parameters, buffers, 1, CLOSELY_S),
                y_scale="log",
            ),
            Panel(
                f"{parameters.many:,} buffers, unequally hot",
                "seconds of traffic",
                "copies a second",
                _lines(parameters, zipf, _MEAN_S, parameters.many_s),
                y_scale="log",
                has_legend=False,
            ),
            Panel(
                "copies in all",
                "threshold",
                "copies",
                tuple(_bars(parameters, kind, tone, kind.copied) for kind, tone in drawn),
                y_scale="log",
            ),
            Panel(
                f"their cost (2002: {competitive} is competitive)",
                "threshold",
                "times the best in hindsight",
                tuple(
                    _bars(parameters, kind, tone, partial(kind.ratio, costs=costs))
                    for kind, tone in drawn
                ),
                y_scale="log",
                has_legend=False,
            ),
        ),
        columns=2,
    )


_TONES: tuple[Tone, ...] = ("ink", "grey", "orange")
_LINES: tuple[Tone, ...] = ("grey", "blue", "green", "orange", "red", "purple")
_MEAN_S = 5


def _lines(parameters: Parameters, kind: Kind, mean: int, until: float) -> tuple[Series, ...]:
    """Copies a second, the mean of so many looks; a line ends where there are none any more."""
    shown = (OFF, *sorted({*parameters.thresholds, parameters.threshold}))
    lines = []
    for place, rule in enumerate(shown):
        course = kind.courses[rule]
        seen = np.count_nonzero(np.array(course.times) <= until) // mean * mean
        copies = course.a_second()[:seen].reshape(-1, mean).mean(axis=1)
        times = np.array(course.times)[:seen].reshape(-1, mean)[:, -1]
        (some,) = np.nonzero(copies)
        # One more, at the foot of the axis, so that its end is seen.
        end = slice(0, some[-1] + 2)
        style: Style = "dotted" if rule == OFF else "line"
        label = "off" if rule == OFF else f"threshold {rule}"
        floor = 1 / mean
        drawn = np.maximum(copies[end], floor)
        lines.append(series(label, times[end], drawn, style, _LINES[place % len(_LINES)]))
    return tuple(lines)


def _bars(parameters: Parameters, kind: Kind, tone: Tone, value: Callable[[int], float]) -> Series:
    words = ["off" if rule == OFF else str(rule) for rule in parameters.rules]
    return Series(kind.name, words, numbers(map(value, parameters.rules)), "bars", tone)
