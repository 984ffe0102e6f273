"""Figure 2: what a balloon costs against a machine that was made that small (section 3.2).

Clients of dbench work on files in a virtual machine of 128 to 256 MB, and in one of 256 MB that a
balloon has brought down to that size. More memory caches more, so throughput grows with it. The
ballooned one is a little behind: tables that its kernel sized at boot are those of 256 MB.

A run of dbench is measured whole, as dbench does it: from the first client's begin until so many
operations are through. Even so pairs of runs differ by more than the balloon costs, because clients
that wait for each other at the disk fall into step and out of it. What is claimed is said of many
pairs, with the error that remains. The built-in file workload, whose operations depend on each
other less, is shown beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

import numpy as np

from esxcore.errors import DataError
from esxcore.guest import Guest
from esxcore.paper.charts import Chart, Panel, Series, Tone, numbers, series
from esxcore.paper.claims import Claim, Confidence, calibrated, mechanism, recalled
from esxcore.paper.reproduction import Laboratory, Reproduction, chosen
from esxcore.paper.small_vm import PAGES_PER_MIB, Curve, Load, Piece, Point, Run, Way, gaps, run
from esxcore.workload import dbench, files

TITLE = "Figure 2: balloon performance"
PAPER_GAPS = {128: 4.4, 224: 1.4}
"""Percent at the smallest and at the largest size with a balloon, as they are recalled."""
_CLIENT_FILES = 1000  # numbers for the files of a client, which has 96 at a time at most
_ABOVE = 1.65
"""Standard errors: what is there is above so many; chance alone is so in one of twenty cases."""
_PAIR = (Way.NATIVE, Way.BALLOONED)
_X = "VM size (MB)"
_TITLES = {"dbench": "dbench, 40 clients", "files": "the built-in file workload"}


@dataclass(frozen=True)
class Parameters:
    """The virtual machine and its work."""

    sizes_mib: tuple[int, ...] = chosen((128, 160, 192, 224), "the figure's, as recalled")
    whole_mib: int = chosen(256, "the figure's: what is made smaller")
    costs: str = chosen("2002", "the paper's machine; on a drive of today dbench hardly ever waits")
    metadata_bytes: int = chosen(
        Guest().metadata_bytes,
        "tables of a kernel for each page: the default of guests, not fitted",
    )
    clients: int = chosen(40, "the paper's (secondary)")
    starts: tuple[int, ...] = chosen(
        (24, 18, 12, 12),
        "pairs of runs at each size, each with its own starts of clients; more where the balloon is"
        " larger, as these say most about what its size costs. The paper made three",
    )
    whole_starts: int = chosen(6, "of the same with no balloon, where nothing differs")
    work: int = chosen(
        400_000,
        "operations of a run: each client makes its files and goes twice through the 3,547 that"
        " its load then repeats. Longer ones say no more for the computing that they take",
    )
    paged_work: int = chosen(
        300_000, "operations; in the second half of them a paged machine is compared"
    )
    ahead: float = chosen(
        1.4, "points ahead that count: the smallest loss in the paper, three or four errors here"
    )
    op_time_us: int = chosen(
        200, "processor time of an operation, as in figure 7", is_calibrated=True
    )
    spread_s: float = chosen(
        120,
        "in which clients begin: on a real machine chance soon brings them out of step. In step"
        " all want memory at the same moment",
        is_calibrated=True,
    )
    file_starts: int = chosen(4, "pairs of runs of the built-in workload, each with another seed")
    file_warm: int = chosen(60_000, "operations until its cache is full")
    file_work: int = chosen(140_000, "operations measured")
    file_ahead: float = chosen(0.5, "points ahead that count: three errors of this workload")
    file_processes: int = chosen(4, "they wait for the disk most of the time")
    file_count: int = chosen(
        600, "files of up to 4 MiB, more than any of the machines can cache", is_calibrated=True
    )
    without_tables: float = chosen(
        0.25, "of the gap at most is left where there are no tables: balloons are not exact"
    )
    times_worse: float = chosen(2.0, "a paged machine at least, to be called far worse")


def reproduce(laboratory: Laboratory, parameters: Parameters) -> Reproduction:
    """Runs both workloads in three ways at each size."""
    clients, own = _dbench(parameters), _files(parameters)
    loads = [own] if clients is None else [clients, own]
    plan = [piece for load in loads for piece in _plan(load, parameters, laboratory.seed)]
    bare = _bare(own, parameters, laboratory.seed)
    pieces = [*plan, *bare]
    made = dict(zip(pieces, laboratory.map(run, pieces), strict=True))
    curves = [_curve(load, plan, made) for load in loads]
    left = gaps(*([made[piece] for piece in bare if piece.way is way] for way in _PAIR))
    claims = [
        *(claim for curve in curves for claim in _claims(curve, parameters)),
        _tables(curves[-1], left, parameters),
        *_beside(curves[0]),
        *_fitted(parameters),
    ]
    notes = _notes(clients, curves, parameters)
    return Reproduction(TITLE, tuple(claims), _chart(curves), notes, _numbers(curves, left))


def _dbench(parameters: Parameters) -> Load | None:
    """The paper's clients, if this system has their load file."""
    op_time = f"{parameters.op_time_us}us"
    try:
        programs = tuple(
            dbench(1, base=client * _CLIENT_FILES, op_time=op_time)
            for client in range(parameters.clients)
        )
    except DataError:
        return None
    each, starts = parameters, (*parameters.starts, parameters.whole_starts)
    return Load(
        "dbench", programs, each.spread_s, starts, 0, each.work, each.paged_work, each.ahead
    )


def _files(parameters: Parameters) -> Load:
    """The built-in workload, whose processes begin together: all of it is random."""
    program = files(parameters.file_count, processes=parameters.file_processes)
    warm, work = parameters.file_warm, parameters.file_work
    each, sizes = parameters.file_starts, len(parameters.sizes_mib)
    starts = (*(each,) * sizes, min(each, parameters.whole_starts))
    return Load("files", (program,), 0, starts, warm, work, 2 * warm, parameters.file_ahead)


def _plan(load: Load, parameters: Parameters, seed: int) -> list[Piece]:
    """A pair for each start and size, and a paged one for each size."""
    sizes = [*parameters.sizes_mib, parameters.whole_mib]
    pairs = [
        _piece(load, way, mib, parameters, (seed, start))
        for mib, starts in zip(sizes, load.starts, strict=True)
        for start in range(starts)
        for way in _PAIR
    ]
    return pairs + [_piece(load, Way.PAGED, mib, parameters, (seed, 0)) for mib in sizes]


def _piece(load: Load, way: Way, mib: int, parameters: Parameters, seed: tuple[int, int]) -> Piece:
    return Piece(
        load, way, mib, parameters.whole_mib, seed, parameters.costs, parameters.metadata_bytes
    )


def _bare(load: Load, parameters: Parameters, seed: int) -> list[Piece]:
    """Pairs at the smallest size with kernels that have no tables of their pages."""
    mib = min(parameters.sizes_mib)
    return [
        replace(_piece(load, way, mib, parameters, (seed, start)), metadata_bytes=0)
        for start in range(load.starts[0])
        for way in _PAIR
    ]


def _curve(load: Load, plan: Sequence[Piece], made: Mapping[Piece, Run]) -> Curve:
    own = [piece for piece in plan if piece.load is load]
    sizes = sorted({piece.mib for piece in own})
    runs = {
        (mib, way): [made[piece] for piece in own if (piece.mib, piece.way) == (mib, way)]
        for mib in sizes
        for way in Way
    }
    points = [
        Point(mib, runs[mib, Way.NATIVE], runs[mib, Way.BALLOONED], runs[mib, Way.PAGED][0])
        for mib in sizes
    ]
    return Curve(load.name, points, load.ahead)


def _claims(curve: Curve, parameters: Parameters) -> list[Claim]:
    """The same of either workload."""
    return [
        _rises(curve),
        *_costs(curve),
        _same(curve.name, curve.points[-1]),
        _balloons(curve),
        _paged(curve, parameters),
    ]


def _rises(curve: Curve) -> Claim:
    native, ballooned = curve.rates
    return mechanism(
        f"{curve.name}: throughput rises with size, native and ballooned",
        all(one < other for way in (native, ballooned) for one, other in pairwise(way)),
        " / ".join(f"{rate:,.0f}" for rate in native) + " operations a second native",
        paper="rises from 128 to 256 MB",
        confidence=Confidence.RECALLED,
        why="no tolerance: it rises by far more than chance, in the starts that all sizes have",
    )


def _costs(curve: Curve) -> list[Claim]:
    """What is lost to the balloon; how near is near does not grow with the chance there is."""
    name, small, near = curve.name, curve.small, curve.ahead
    listed = " / ".join(
        f"{gap.value:+.2f} ± {gap.error:.2f}" for gap in (point.measured for point in small)
    )
    slope, mean, growth = curve.slope, curve.mean, curve.growth
    steps = [one.gap - other.gap for one, other in pairwise(small)]
    above = f"more than {_ABOVE} times its error"
    return [
        mechanism(
            f"{name}: at no size is the ballooned one ahead of the native one, and on the whole it"
            " is behind",
            all(point.gap > -near for point in small) and mean.times > _ABOVE,
            f"{listed} % lost; {mean} % on the whole",
            paper="1.4 % to 4.4 % lost",
            confidence=Confidence.CONFIRMED,
            why=f"the mean {above}; {near:g} points ahead at any size would count. ± is the"
            " standard error from pairs of equal starts",
        ),
        mechanism(
            f"{name}: a balloon costs throughput, in proportion to its size",
            slope.times > _ABOVE,
            f"{slope} % for {curve.points[-1].mib - small[0].mib} MB",
            why=f"a line through zero fitted to all sizes, {above}",
        ),
        mechanism(
            f"{name}: the gap shrinks with the balloon",
            growth.value > 0 and all(step > -near for step in steps),
            f"{growth} points more with the larger half of balloons than with smaller or none",
            paper="4.4 % at 128 MB, falling to 1.4 % at 224 MB",
            confidence=Confidence.RECALLED,
            why=f"larger balloons cost more; from size to size the gap grows nowhere by {near:g}"
            " points",
        ),
    ]


def _same(name: str, whole: Point) -> Claim:
    return mechanism(
        f"{name}: with no balloon there is no gap",
        all(one.rate == other.rate for one, other in whole.pairs),
        f"{whole.gap:.2f} % at {whole.mib} MB",
        paper="the same bar",
        confidence=Confidence.RECALLED,
        why="no tolerance: nothing was taken, so all is the same",
    )


def _balloons(curve: Curve) -> Claim:
    whole = curve.points[-1].mib
    wanted = [(point, (whole - point.mib) * PAGES_PER_MIB) for point in curve.points]
    is_so = all(
        each.balloon_pages == (pages, pages) and each.page_outs == 0
        for point, pages in wanted
        for each in point.ballooned
    )
    outs = sum(each.page_outs for point in curve.points for each in point.ballooned)
    return mechanism(
        f"{curve.name}: the balloon has all that is missing, before the first operation and in the"
        " end, and the server pages nothing",
        is_so,
        " / ".join(f"{point.ballooned[0].balloon_pages[1] // PAGES_PER_MIB}" for point, _ in wanted)
        + f" MB, {outs} pages paged out",
        why="to the page, in every run",
    )


def _paged(curve: Curve, parameters: Parameters) -> Claim:
    times = [point.early[1] / point.early[2] for point in curve.small]
    return mechanism(
        f"{curve.name}: paged down to that size by the server, without a balloon, it is far worse",
        min(times) >= parameters.times_worse,
        " / ".join(f"{each:.0f}" for each in times) + " times slower than ballooned",
        why=f"at least {parameters.times_worse:g} times, in the same operations with the same"
        " starts, when memory is full",
    )


def _tables(curve: Curve, left: Sequence[float], parameters: Parameters) -> Claim:
    point, bare = curve.points[0], float(np.mean(left))
    return mechanism(
        f"{curve.name}: without tables sized at boot the gap at {point.mib} MB is gone",
        abs(bare) <= parameters.without_tables * point.gap,
        f"{bare:+.2f} % in place of {point.gap:+.2f} %",
        paper="kernel structures sized at boot are the cause",
        confidence=Confidence.CONFIRMED,
        why=f"at most {parameters.without_tables:g} of it: the guest also keeps a little more free",
    )


def _beside(curve: Curve) -> list[Claim]:
    return [
        recalled(f"lost at {point.mib} MB", PAPER_GAPS[point.mib], point.gap, "%", why=why)
        for point in curve.points
        if point.mib in PAPER_GAPS
        for why in [f"standard error {point.measured.error:.2f} points; of {curve.name}"]
    ]


def _fitted(parameters: Parameters) -> list[Claim]:
    return [
        calibrated(name, f"{getattr(parameters, name):g}", why=str(field.metadata["why"]))
        for field in fields(Parameters)
        if field.metadata["calibrated"]
        for name in [field.name]
    ]


def _notes(
    clients: Load | None, curves: Sequence[Curve], parameters: Parameters
) -> tuple[str, ...]:
    if clients is None:
        work = (
            "No load file of dbench is installed (Debian's package dbench has one): the built-in"
            " file workload stands for it, and the paper's numbers are of another load."
        )
    else:
        small = curves[0].small
        spread = sorted(float(np.std(point.gaps, ddof=1)) for point in small)
        starts = sorted(len(point.native) for point in small)
        work = (
            f"{parameters.clients} clients go through dbench's real load file. Native and ballooned"
            " runs are pairs with the same starts of clients, measured whole. Yet chance moves what"
            f" a pair differs by: its standard deviation is {spread[0]:.1f} to {spread[-1]:.1f}"
            " points, as a little earlier or later changes who meets whom at the disk. The means"
            f" of {starts[0]} to {starts[-1]} starts tell what is lost on the whole, and"
            " by size of the balloon, and that no size is ahead by as much as the paper's smallest"
            " loss. Near the full size, where all that clients work with fits, they do not tell a"
            " loss from none."
        )
    return (
        work,
        "The built-in file workload on the same disk has little chance in it.",
        f"Tables: {parameters.metadata_bytes} bytes a page of memory at boot, the guest's default,"
        f" so that {parameters.whole_mib} MB have"
        f" {parameters.whole_mib * parameters.metadata_bytes / 4096:.0f} MB of them. That is nearly"
        " all that distinguishes a ballooned guest from a native one.",
        f"Costs: {parameters.costs}. Sharing is off, nobody else wants memory. What is paged is"
        " compared when memory has just become full, with one start.",
    )


def _chart(curves: Sequence[Curve]) -> Chart:
    rate = "operations a second"
    bars = tuple(_roomy(Panel(_TITLES[curve.name], _X, rate, _bars(curve))) for curve in curves)
    tones: Mapping[str, Tone] = {"dbench": "ink", "files": "grey"}
    sizes = [point.mib for point in curves[0].points]
    lost = [
        series(curve.name, sizes, [point.gap for point in curve.points], tone=tones[curve.name])
        for curve in curves
    ]
    paper = series("the paper, as recalled", PAPER_GAPS, PAPER_GAPS.values(), "points", "red")
    low = min(0.0, *(y for line in lost for y in line.y))
    gap = _roomy(Panel("lost to the balloon", _X, "% of native", (*lost, paper), y_from=low))
    ways = Panel(f"{curves[0].name}, also paged by the server instead", _X, rate, _three(curves[0]))
    return Chart((*bars, gap, _roomy(ways)), columns=2 if len(curves) > 1 else 1)


def _roomy(panel: Panel) -> Panel:
    """With room for the names of its series above."""
    return replace(panel, y_to=1.35 * max(y for each in panel.series for y in each.y))


def _bars(curve: Curve) -> tuple[Series, ...]:
    sizes = [str(point.mib) for point in curve.points]
    native, ballooned = map(numbers, curve.rates)
    return (
        Series("configured with this size", sizes, native, "bars", "ink"),
        Series(f"ballooned from {sizes[-1]} MB", sizes, ballooned, "bars", "grey"),
    )


def _three(curve: Curve) -> tuple[Series, ...]:
    sizes = [str(point.mib) for point in curve.small]
    ways = [numbers(way) for way in zip(*(point.early for point in curve.small), strict=True)]
    looks: tuple[tuple[Way, Tone], ...] = (
        (Way.NATIVE, "ink"), (Way.BALLOONED, "grey"), (Way.PAGED, "red"),
    )  # fmt: skip
    return tuple(
        Series(str(way), sizes, rates, "bars", tone)
        for (way, tone), rates in zip(looks, ways, strict=True)
    )


def _numbers(curves: Sequence[Curve], left: Sequence[float]) -> dict[str, Any]:
    found: dict[str, Any] = {"gaps_without_tables": numbers(left)}
    for curve in curves:
        name, points = curve.name, curve.points
        found[f"{name}_mib"] = [point.mib for point in points]
        found[f"{name}_native"], found[f"{name}_ballooned"] = map(numbers, curve.rates)
        found[f"{name}_gaps"] = [numbers(point.gaps) for point in points]
        found[f"{name}_early"] = [numbers(point.early) for point in points]
    return found
