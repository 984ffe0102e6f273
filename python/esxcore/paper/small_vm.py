"""A file server in less memory than it was made for: the runs of figure 2.

The same work is done in a virtual machine of some size, in a bigger one that a balloon has brought
down to that size, and in one without a balloon driver that the server pages down to it.

Key types: `Load`, `Way`, `Piece`, `Run`, `Measured`, `Curve`. Neighbour: `esxcore.paper.fig2` is
made of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from esxcore.guest import Guest
from esxcore.host import Host
from esxcore.reports import BalloonDriver
from esxcore.simulation import Simulation
from esxcore.workload import Program

PAGES_PER_MIB = 256
SHRINKS_S = 20
"""When a guest has booted, and is to come down to its size."""
BEGINS_S = 60
"""When the first process begins, balloons having grown."""
_MACHINE = "1GiB"  # enough for any of them: nobody else wants memory


class Way(StrEnum):
    """How a virtual machine comes to its size."""

    NATIVE = "native"
    BALLOONED = "ballooned"
    PAGED = "paged"


@dataclass(frozen=True)
class Load:
    """What is done in the virtual machine.

    Attributes
    ----------
    name : str
        What it is called.
    programs : tuple of Program
        What its processes do.
    spread_s : float
        Within what time they begin, one by one.
    starts : tuple of int
        How often it is done at each size, the smallest first, each time with another seed. All
        sizes have the first ones.
    warm, work : int
        Operations that are through before measuring begins, and those that are measured.
    paged_work : int
        Operations of which the second half is compared with what a paged one does.
    ahead : float
        By how many points a ballooned one is ahead if that is to count.
    """

    name: str
    programs: tuple[Program, ...]
    spread_s: float
    starts: tuple[int, ...]
    warm: int
    work: int
    paged_work: int
    ahead: float

    def starts_s(self, seed: Sequence[int]) -> list[float]:
        """When each program begins, drawn evenly."""
        drawn = np.random.default_rng([*seed]).uniform(0, self.spread_s, len(self.programs))
        return [float(start) for start in np.sort(drawn)]


@dataclass(frozen=True)
class Piece:
    """One run to be made."""

    load: Load
    way: Way
    mib: int
    whole_mib: int
    seed: tuple[int, ...]
    """Starts of programs and all else that is random come from it, whatever the way and size."""
    costs: str
    metadata_bytes: int


class Run(NamedTuple):
    """What a run came to.

    Attributes
    ----------
    early, rate : float
        Operations a second of those that a paged one is compared in, and of those that were
        measured; the same of a paged one, which ends early.
    balloon_pages : tuple of int
        Size of the balloon when the first process began, and in the end.
    page_outs : int
        Pages that the server paged out.
    """

    early: float
    rate: float
    balloon_pages: tuple[int, int]
    page_outs: int


def run(piece: Piece) -> Run:
    """Makes it."""
    simulation = _shrunk(piece)
    begin = _column(simulation, "balloon_pages")
    load = piece.load
    early, measured = (load.paged_work // 2, load.paged_work), (load.warm, load.warm + load.work)
    spans = [early] if piece.way is Way.PAGED else [early, measured]
    rates = _rates(simulation, spans)
    balloon = begin, _column(simulation, "balloon_pages")
    return Run(rates[0], rates[-1], balloon, _column(simulation, "page_outs"))


def _shrunk(piece: Piece) -> Simulation:
    """Boots it and brings it down to its size; programs are about to begin."""
    number = int(np.random.default_rng([*piece.seed, 1]).integers(2**31))
    host = Host(_MACHINE, content="tokens", seed=number, sharing=False, share_before_swap=False)
    simulation = Simulation(host, costs=piece.costs)
    driver = BalloonDriver(start=None) if piece.way is Way.PAGED else BalloonDriver()
    size = piece.mib if piece.way is Way.NATIVE else piece.whole_mib
    guest = Guest("linux", metadata_bytes=piece.metadata_bytes)
    host.power_on("vm", f"{size}MiB", min="4KiB", guest=guest, driver=driver)
    load = piece.load
    for program, start_s in zip(load.programs, load.starts_s(piece.seed), strict=True):
        simulation.start("vm", program, after=BEGINS_S + start_s)
    simulation.advance(SHRINKS_S)
    host.configure("vm", max=f"{piece.mib}MiB")
    simulation.advance(BEGINS_S - SHRINKS_S)
    return simulation


def _rates(simulation: Simulation, spans: Sequence[tuple[int, int]]) -> list[float]:
    """Operations a second from when so many are through until more are, to the second."""
    ends = sorted({end for span in spans for end in span})
    at = {end: _at(simulation, end) for end in ends}
    pairs = [(at[first], at[last]) for first, last in spans]
    return [(last[0] - first[0]) / (last[1] - first[1]) for first, last in pairs]


def _at(simulation: Simulation, least: int) -> tuple[int, float]:
    """What is through when at least so many operations are, and when that is."""
    while (operations := simulation.report("vm").operations) < least:
        simulation.advance(1)
    return operations, simulation.host.now


def _column(simulation: Simulation, name: str) -> int:
    column: Any = simulation.host.vms()[name]
    return int(column[0])


class Measured(NamedTuple):
    """A number and its standard error."""

    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ± {self.error:.2f}"

    @property
    def times(self) -> float:
        """How many times its error it is; nothing is no times no error."""
        if self.error == self.value == 0:
            return 0.0
        return self.value / self.error if self.error else float(np.copysign(np.inf, self.value))


class Point(NamedTuple):
    """Runs at one size, a pair of the same seed at the same place."""

    mib: int
    native: list[Run]
    ballooned: list[Run]
    paged: Run

    def rates(self, starts: int | None = None) -> tuple[float, float]:
        """Means of the native and the ballooned one in operations a second, of the first starts."""
        ways = self.native[:starts], self.ballooned[:starts]
        native, ballooned = (float(np.mean([run.rate for run in runs])) for runs in ways)
        return native, ballooned

    @property
    def gaps(self) -> list[float]:
        """What the balloon costs in each pair, in percent of the native one."""
        return gaps(self.native, self.ballooned)

    @property
    def pairs(self) -> list[tuple[Run, Run]]:
        """A native and a ballooned one of each seed."""
        return list(zip(self.native, self.ballooned, strict=True))

    @property
    def gap(self) -> float:
        """Their mean."""
        return float(np.mean(self.gaps))

    @property
    def measured(self) -> Measured:
        """Their mean and its error."""
        return Measured(self.gap, float(np.std(self.gaps, ddof=1) / np.sqrt(len(self.gaps))))

    @property
    def early(self) -> tuple[float, float, float]:
        """The first operations in three ways, all of the first seed."""
        return self.native[0].early, self.ballooned[0].early, self.paged.early


def gaps(native: Sequence[Run], ballooned: Sequence[Run]) -> list[float]:
    """What the ballooned one of each pair does less, in percent of the native one."""
    pairs = zip(native, ballooned, strict=True)
    return [100 * (1 - small.rate / plain.rate) for plain, small in pairs]


class Curve(NamedTuple):
    """Points of a load, the smallest size first; the last one is the whole machine."""

    name: str
    points: list[Point]
    ahead: float
    """By how many points one would have to be ahead, as `Load` has it."""

    @property
    def small(self) -> list[Point]:
        """Those with a balloon."""
        return self.points[:-1]

    @property
    def rates(self) -> tuple[list[float], list[float]]:
        """Means of native and ballooned ones at each size, of the starts that all sizes have."""
        starts = min(len(point.native) for point in self.points)
        native, ballooned = zip(*(point.rates(starts) for point in self.points), strict=True)
        return [*native], [*ballooned]

    @property
    def balloons(self) -> NDArray[np.float64]:
        """Their balloons, in parts of the largest."""
        taken = np.array([float(self.points[-1].mib - point.mib) for point in self.small])
        return np.asarray(taken / taken[0], np.float64)

    @property
    def slope(self) -> Measured:
        """Gap of the largest balloon on the line through zero that is nearest to all gaps."""
        return self._combined(self.balloons / float((self.balloons**2).sum()))

    @property
    def mean(self) -> Measured:
        """Of the gaps at all sizes."""
        return self._combined(np.full(len(self.small), 1 / len(self.small)))

    @property
    def growth(self) -> Measured:
        """By how much the mean gap of larger balloons exceeds that of others.

        The larger ones are half of them; the others include none at all, which has no gap.
        """
        large, small = len(self.small) // 2, len(self.small) - len(self.small) // 2
        return self._combined(np.array([1 / large] * large + [-1 / (small + 1)] * small))

    def _combined(self, weights: NDArray[np.float64]) -> Measured:
        """A weighted sum of gaps; sizes differ in how much chance there is in them."""
        each = [point.measured for point in self.small]
        errors = np.array([gap.error for gap in each])
        value = float(weights @ np.array([gap.value for gap in each]))
        return Measured(value, float(np.sqrt((weights * errors) @ (weights * errors))))
