"""Identical guests at work (paper, section 4.4): what their pages hold, and a run of some of them.

Real guests with SPEC95 are replaced by a model of contents. Of a guest's pages some are zero, some
have equal ones in the same guest, some are equal in all guests, and the rest is like no other. The
guest computes on the rest. Now and then it writes one of the other pages anew with what it held, as
when a buffer is filled again: that breaks sharing, and the scanner has to find the page once more.

Key types: `IdenticalGuests`, `Run`, `Found`. Neighbours: `esxcore.paper.fig4` and
`esxcore.paper.disco` are made of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from esxcore.config import PAGE_SIZE
from esxcore.host import Host
from esxcore.paper.reproduction import chosen
from esxcore.simulation import Simulation
from esxcore.workload import Batch, zipf

PAGES_PER_MB = 2**20 // PAGE_SIZE
_COMMON = 2**40
_OWN = 2**41
_ROOM = 2**32  # contents that a guest may have for itself
TURNOVER_S = 10
_MACHINE = 1.3  # memory of the machine for that of all guests: there is enough of it


@dataclass(frozen=True)
class IdenticalGuests:
    """So many identical guests, their contents and what they do."""

    vms: int = chosen(10, "the figure's")
    vm_pages: int = chosen(10_240, "40 MB, the figure's (secondary)")
    minutes: int = chosen(30, "the figure's (secondary)")
    vm_rate: int = chosen(50, "pages a second, the product's default (manual)")
    host_rate: int = chosen(200, "pages a second, the product's default (manual)")
    zero_fraction: float = chosen(
        0.0689, "fitted: 55 % of the 5 MB that one guest alone gives back", is_calibrated=True
    )
    own_fraction: float = chosen(
        0.0712,
        "pages with equal ones in the same guest, fitted: the rest of those 5 MB, and the single"
        " copies of ten guests, 28 MB. In five real guests, fleet_a, 5.6 % of all memory comes back"
        " in this way; here 5.7 %",
        is_calibrated=True,
    )
    own_copies: int = chosen(
        5, "how many of them are equal, fitted together with them", is_calibrated=True
    )
    common_fraction: float = chosen(
        0.57,
        "pages that are equal in all guests: kernel, programs, libraries, files, equal data of"
        " equal programs. Fitted: ten guests share 268 MB",
        is_calibrated=True,
    )
    turnover_per_s: float = chosen(
        0.5,
        "pages a second that a guest writes anew with what they held; the paper is silent. It is"
        " 900 in the run, an eighth of what can be shared",
        is_calibrated=True,
    )
    op_time: float = chosen(
        0.002, "seconds of an operation of the work; much less than a slice of ten milliseconds"
    )

    @property
    def seconds(self) -> int:
        """Length of a run."""
        return 60 * self.minutes

    @property
    def parts(self) -> Parts:
        """How many pages of a guest are what."""
        zero, own, common = (
            round(fraction * self.vm_pages)
            for fraction in (self.zero_fraction, self.own_fraction, self.common_fraction)
        )
        own -= own % self.own_copies_whole
        return Parts(self.vm_pages - zero - own - common, own, common, zero)

    @property
    def own_copies_whole(self) -> int:
        """Equal pages in a guest, whole also where the number was moved."""
        return max(2, round(self.own_copies))

    def contents(self, vm: int) -> NDArray[np.int64]:
        """Tokens of a guest's pages, in the order of `Parts`."""
        parts = self.parts
        first = _OWN + vm * _ROOM
        repeated = first + self.vm_pages + np.arange(parts.own) // self.own_copies_whole
        return np.concatenate(
            [
                first + np.arange(parts.private),
                repeated,
                _COMMON + np.arange(parts.common),
                np.zeros(parts.zero, np.int64),
            ]
        )

    def rate(self, vms: int) -> float:
        """Pages a second scanned of each of so many guests."""
        return min(self.vm_rate, self.host_rate / vms)


class Parts(NamedTuple):
    """Pages of a guest, in this order."""

    private: int
    own: int
    common: int
    zero: int

    @property
    def shareable(self) -> int:
        """Pages that have equal ones somewhere."""
        return self.own + self.common + self.zero


class Found(NamedTuple):
    """What the scanner found, in pages."""

    shared: float
    reclaimed: float
    zero: float

    def megabytes(self) -> Found:
        """In MB, the paper's of 2**20 bytes."""
        return Found(*(pages / PAGES_PER_MB for pages in self))


class Run(NamedTuple):
    """What a run came to.

    Attributes
    ----------
    found : Found
        At its end.
    operations : int
        What all guests did together.
    cost_s : float
        Processor time of sharing: pages hashed, compared and copied for writers, at the run's
        costs.
    breaks : int
        Writes to shared pages.
    """

    found: Found
    operations: int
    cost_s: float
    breaks: int


class Turnover:
    """A process that writes some of the shareable pages anew every ten seconds."""

    def __init__(self, parameters: IdenticalGuests, seed: int, vm: int) -> None:
        self._random = np.random.default_rng([seed, vm, 4])
        self._first, self._pages = parameters.parts.private, parameters.parts.shareable
        self._mean = parameters.turnover_per_s * TURNOVER_S
        self._turns = 0

    def batch(self, now: float) -> Batch:
        """The next ones, and then sleep."""
        self._turns += 1
        pages = self._first + self._random.integers(
            self._pages, size=self._random.poisson(self._mean)
        )
        return Batch(pages, writes=True, sleep_until=float(self._turns * TURNOVER_S))


def powered_on(parameters: IdenticalGuests, vms: int, seed: int, *, sharing: bool = True) -> Host:
    """A machine with so many of them, all memory full."""
    host = Host(
        memory=round(_MACHINE * vms * parameters.vm_pages),
        content="tokens",
        seed=seed,
        policy=None,
        sharing=sharing,
        scan_order="draws",
        scan_vm_rate=parameters.vm_rate,
        scan_host_rate=parameters.host_rate,
    )
    for vm in range(vms):
        host.power_on(f"vm{vm + 1}", contents=parameters.contents(vm))
    return host


def at_work(host: Host, parameters: IdenticalGuests, seed: int) -> Simulation:
    """Starts what each guest does; its costs are those of 2002."""
    simulation = Simulation(host, costs="2002")
    work = zipf(parameters.parts.private, op_refs=2, write_fraction=0.5, op_time=parameters.op_time)
    for number, vm in enumerate(host.vms()["name"].tolist()):
        simulation.start(vm, work)
        if parameters.turnover_per_s:
            simulation.start(vm, Turnover(parameters, seed, number), writes="same")
    return simulation


def run(parameters: IdenticalGuests, vms: int, seed: int, *, sharing: bool = True) -> Run:
    """Some of them at work for all the time."""
    host = powered_on(parameters, vms, seed, sharing=sharing)
    simulation = at_work(host, parameters, seed)
    simulation.advance(parameters.seconds)
    stats, costs = host.stats(), simulation.costs
    cost_ns = (
        stats["hashed_pages"] * costs.scan_page_ns
        + stats["merged_pages"] * costs.compare_ns
        + stats["cow_breaks"] * costs.cow_break_ns
    )
    operations = sum(simulation.report(vm).operations for vm in host.vms()["name"].tolist())
    return Run(found(host), operations, cost_ns / 1e9, stats["cow_breaks"])


def found(host: Host) -> Found:
    """What the scanner has found by now."""
    stats = host.stats()
    return Found(stats["shared_pages"], stats["reclaimed_pages"], stats["zero_pages"])


def quiet(parameters: IdenticalGuests, vms: int, seed: int) -> Found:
    """Some of them that do nothing, scanned for all the time."""
    host = powered_on(parameters, vms, seed)
    host.advance(parameters.seconds)
    return found(host)


def seen(parameters: IdenticalGuests, vms: int) -> float:
    """The part of a guest's pages that independent draws meet at least once in the time."""
    draws = parameters.rate(vms) * parameters.seconds
    return float(-np.expm1(draws * np.log1p(-1 / parameters.vm_pages)))


def seen_since_written(parameters: IdenticalGuests, vms: int) -> float:
    """The part of the shareable pages that were scanned after they were last written.

    A page is found at the rate of scanning and lost at that of writing; this is the solution of
    the equation that says so, from nothing found at the start.
    """
    scans = parameters.rate(vms) / parameters.vm_pages
    losses = parameters.turnover_per_s / parameters.parts.shareable
    both = scans + losses
    return float(scans / both * -np.expm1(-both * parameters.seconds))


def expected(parameters: IdenticalGuests, vms: int, part: float) -> Found:
    """What is found if each page was seen with that probability, on average.

    Of c equal pages those that were seen are on one machine page, so with s of them seen s are
    shared if s is at least 2, and s - 1 are reclaimed if s is at least 1.
    """
    parts = parameters.parts
    own = parts.own // parameters.own_copies_whole * vms
    groups = [
        (own, parameters.own_copies_whole),
        (parts.common, vms),
        (1, parts.zero * vms),
    ]
    shared = sum(many * c * part * (1 - (1 - part) ** (c - 1)) for many, c in groups)
    reclaimed = sum(many * (c * part - 1 + (1 - part) ** c) for many, c in groups)
    return Found(shared, reclaimed, parts.zero * vms * part)


def spread(parameters: IdenticalGuests, vms: int, part: float) -> float:
    """At least the standard deviation of what is found, in pages: that of the pages seen."""
    pages = vms * parameters.parts.shareable
    return float(np.sqrt(pages * part * (1 - part)))
