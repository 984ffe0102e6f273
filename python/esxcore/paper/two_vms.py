"""Two virtual machines under a tax: the host of figure 7, and the closed form it must end at.

One runs Windows and idles after boot, the other runs Linux and wants all it can get. `Pair` lives
through time with them and keeps a row a sample; `equal_prices` says what both should have.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from esxcore.host import Host
from esxcore.policy import MinFunding
from esxcore.simulation import Simulation
from esxcore.view import HostView
from esxcore.workload import Program, idle

PAGES_A_MIB = 256
BUSY_FROM_S = 75
"""When the busy one has booted. It is powered on a minute after the idle one, whose balloon driver
works by then, so that little need be paged."""
_BEGINS, _KEPT_FREE, _ENDS = 0.04, 0.06, 0.065
_UNUSED_MIB = 3.0


@dataclass(frozen=True)
class Settings:
    """What such a pair is made of."""

    size_mib: int
    min_mib: int
    available_mib: int
    overhead_mib: int
    balloon_cap: float
    costs: str
    sample_s: int


@dataclass
class Rows:
    """Samples, a row a time; of columns with two places the idle one's is first. In MiB.

    What is granted is what a guest has for itself, its size less its balloon and what is paged out;
    what is allocated is what it has touched of that.
    """

    time_s: list[float] = field(default_factory=list)
    target: list[NDArray[Any]] = field(default_factory=list)
    allocated: list[NDArray[Any]] = field(default_factory=list)
    granted: list[NDArray[Any]] = field(default_factory=list)
    active: list[NDArray[Any]] = field(default_factory=list)
    operations: list[int] = field(default_factory=list)

    def between(self, from_s: float, to_s: float) -> slice:
        """Samples after one time and up to another."""
        times = np.asarray(self.time_s)
        return slice(*np.searchsorted(times, [from_s, to_s], side="right").tolist())

    def rate(self, from_s: float, to_s: float) -> float:
        """The busy one's operations a second between two times that are sampled."""
        at = [self.time_s.index(time) for time in (from_s, to_s)]
        first, last = (self.operations[place] for place in at)
        return (last - first) / (to_s - from_s)


class Witnessed:
    """The paper's policy, and what it saw and said last."""

    name = "esx2002"

    def __init__(self, tax_rate: float) -> None:
        self.tax_rate = tax_rate
        self.view: HostView | None = None
        self.said: NDArray[np.int64] = np.zeros(0, np.int64)

    def targets(self, view: HostView) -> NDArray[np.int64]:
        """As `MinFunding`."""
        self.view, self.said = view, MinFunding(self.tax_rate).targets(view)
        return self.said

    def closed_form(self) -> NDArray[np.float64]:
        """What it should have said, in pages."""
        view = self.view
        if view is None:
            raise AssertionError("nobody has asked yet; hosts ask within a second of a power-on")
        return equal_prices(
            view.shares,
            view.min_pages,
            view.max_pages,
            view.active_pages,
            view.available_pages,
            self.tax_rate,
        )

    def off_by(self) -> float:
        """The furthest that a target is from the closed form, in pages."""
        return float(np.abs(self.closed_form() - self.said).max())


class Pair:
    """Both at work on one host, second by second."""

    def __init__(self, settings: Settings, busy: Program, tax_rate: float, seed: int) -> None:
        self.settings, self.rows = settings, Rows()
        self.policy = Witnessed(tax_rate)
        self.host = Host(
            machine_pages(settings.available_mib + 2 * settings.overhead_mib),
            content="tokens",
            seed=seed,
            policy=self.policy,
            sharing=False,
            share_before_swap=False,
            balloon_cap=settings.balloon_cap,
        )
        self.simulation = Simulation(self.host, costs=settings.costs)
        self._power_on("idle", "windows")
        self.simulation.start("idle", idle(), after=15)
        self.simulation.advance(60)
        self._power_on("busy", "linux")
        self.simulation.start("busy", busy, after=BUSY_FROM_S - 60)
        self.live(BUSY_FROM_S)

    def _power_on(self, name: str, guest: str) -> None:
        size, low, overhead = (
            f"{mib}MiB"
            for mib in (self.settings.size_mib, self.settings.min_mib, self.settings.overhead_mib)
        )
        self.host.power_on(name, size, min=low, overhead=overhead, guest=guest)

    def tax(self, rate: float) -> None:
        """Changes the tax."""
        self.host.policy = self.policy = Witnessed(rate)

    def live(self, until_s: float) -> None:
        """Lets time pass until then, with samples on the way."""
        while self.host.now < until_s:
            step = min(self.settings.sample_s, until_s - self.host.now)
            self.simulation.advance(step)
            self._sample()

    def _sample(self) -> None:
        view, vms, rows = self.host.view(), self.host.vms(), self.rows
        rows.time_s.append(self.host.now)
        rows.target.append(vms["target_pages"] / PAGES_A_MIB)
        rows.allocated.append(view.allocated_pages / PAGES_A_MIB)
        taken = vms["balloon_pages"] + vms["swapped_pages"]
        rows.granted.append((vms["max_pages"] - taken) / PAGES_A_MIB)
        rows.active.append(view.active_pages / PAGES_A_MIB)
        rows.operations.append(self.simulation.report("busy").operations)


def slack_mib(settings: Settings) -> float:
    """How far what is granted may be from a target, when everything has come to rest.

    Reclaiming begins when free memory is below 4 % of the machine and ends when it is above 6.5 %:
    what lies between may stay with whoever has it. And a guest keeps up to 3 MiB on its free list
    (three times 255 pages) that it does not touch.
    """
    machine = machine_pages(settings.available_mib + 2 * settings.overhead_mib) / PAGES_A_MIB
    return (_ENDS - _BEGINS) * machine + _UNUSED_MIB


def machine_pages(usable_mib: int) -> int:
    """Memory of a machine of which so much is left when the high threshold, 6 %, is kept free."""
    usable = usable_mib * PAGES_A_MIB
    kept = round(100 * _KEPT_FREE)
    pages = usable * 100 // (100 - kept)
    while pages - -(-pages * kept // 100) < usable:
        pages += 1
    return pages


def equal_prices(
    shares: ArrayLike,
    least: ArrayLike,
    most: ArrayLike,
    active: ArrayLike,
    available: float,
    tax_rate: float,
) -> NDArray[np.float64]:
    """What each should have: where none is held by its min or max, all pay the same for a page.

    With A of its P pages active it has ``S / (P (f + k (1 - f)))`` shares for each, f = A / P and
    k = 1 / (1 - tax). At the price p that is ``P = tax A + (1 - tax) S / p``, or ``S / p`` if it
    uses more than that. The price at which everything is given away is found by halving.
    """
    weight, active = np.asarray(shares, float), np.asarray(active, float)
    low, high = np.asarray(least, float), np.asarray(most, float)

    def given(price: float) -> NDArray[np.float64]:
        taxed = tax_rate * active + (1 - tax_rate) * weight / price
        part = np.where(weight / price <= active, weight / price, taxed)
        return np.asarray(np.clip(part, low, high))

    cheap, dear = 1e-12, 1e12
    for _ in range(200):
        price = float(np.sqrt(cheap * dear))
        cheap, dear = (price, dear) if given(price).sum() > available else (cheap, price)
    return given(dear)
