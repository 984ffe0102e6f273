"""`min_funding_targets` against NumPy and against taking page by page.

The virtual machines have 256 MiB to 4 GiB, shares of 5, 10 or 20 a MiB, and all together two thirds
of their max; the tax is the paper's. References, in virtual machines a second:

``one pass``
    NumPy reads the same columns once and adds up what everybody could pay for if the equilibrium
    were known. Whoever does not know it needs several passes.
``NumPy Newton``
    Newton's method on that sum, kept inside a bracket: the equilibrium without whole pages.
``heapq``
    On small virtual machines: one page after the other from whoever pays least, until the rest
    fits. Its answer is the same in every page, and asserted to be.

Ours checks and copies the columns and gives exact whole pages.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from measure import Race, Ratio, scale
from numpy.typing import NDArray

import esxcore

SCALE = scale()
TAX = 0.75
CALLS = 100_000
"""Virtual machines in one run, in as many calls as that takes."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass
class World:
    """Virtual machines as columns, and what there is for them."""

    shares: Ints
    min_pages: Ints
    max_pages: Ints
    active_pages: Ints
    available_pages: int

    def targets(self) -> Ints:
        """Ours."""
        return esxcore.min_funding_targets(
            shares=self.shares,
            min_pages=self.min_pages,
            max_pages=self.max_pages,
            active_pages=self.active_pages,
            available_pages=self.available_pages,
            tax_rate=TAX,
        )

    def affordable(self, level: float) -> tuple[Floats, Floats]:
        """Pages that everybody pays for where each share is worth `level`, and their slopes."""
        budget = self.shares * level
        all_active, some_idle = budget / (1 - TAX), budget + TAX * self.active_pages
        slope = np.where(all_active < some_idle, self.shares / (1 - TAX), self.shares)
        return np.minimum(all_active, some_idle), slope

    def one_pass(self, level: float) -> float:
        """What everybody pays for, within min and max, added up."""
        budget = self.shares * level
        pages = np.minimum(budget / (1 - TAX), budget + TAX * self.active_pages)
        return float(np.clip(pages, self.min_pages, self.max_pages).sum())

    def newton(self) -> float:
        """The level at which what is available is handed out."""
        low, high = 0.0, float(self.max_pages.max())
        level = self.available_pages / float(self.shares.sum())
        while True:
            pages, slope = self.affordable(level)
            inside = (self.min_pages < pages) & (pages < self.max_pages)
            held = np.clip(pages, self.min_pages, self.max_pages)
            missing = self.available_pages - float(held.sum())
            if abs(missing) < 0.5:
                return level
            low, high = (level, high) if missing > 0 else (low, level)
            rise = float(slope[inside].sum())
            level = level + missing / rise if rise else high
            if not low < level < high:
                level = (low + high) / 2

    def heap(self) -> list[int]:
        """Page by page."""
        shares, least = self.shares.tolist(), self.min_pages.tolist()
        active, pages = self.active_pages.tolist(), self.max_pages.tolist()

        def holder(vm: int) -> tuple[float, int]:
            held = pages[vm]
            cost = max(0.25 * held, held - 0.75 * active[vm])  # exact: quarters of a page
            return shares[vm] / cost, vm

        heap = [holder(vm) for vm in range(len(pages)) if pages[vm] > least[vm]]
        heapq.heapify(heap)
        for _ in range(sum(pages) - self.available_pages):
            vm = heap[0][1]
            pages[vm] -= 1
            if pages[vm] > least[vm]:
                heapq.heapreplace(heap, holder(vm))
            else:
                heapq.heappop(heap)
        return pages


def make(vms: int, smallest: int, largest: int) -> World:
    """Virtual machines of so many pages."""
    rng = np.random.default_rng(5)
    most = rng.integers(smallest, largest, vms)
    shares = most * rng.choice([1, 2, 4], vms) * 5 // 256 + 1
    active = (most * rng.random(vms)).astype(np.int64)
    least = (most * rng.uniform(0.25, 0.5, vms)).astype(np.int64)
    return World(shares, least, most, active, int(most.sum()) * 2 // 3)


def repeated(call: Callable[[], object], times: int) -> Callable[[], object]:
    """So many calls; returns what the last one did."""

    def run() -> object:
        for _ in range(times - 1):
            call()
        return call()

    return run


@pytest.mark.parametrize("vms", SCALE.policy_vms)
def test_targets(vms: int, ratio: Ratio) -> None:
    """Large virtual machines."""
    world = make(vms, 2**16, 2**20)
    calls = max(1, CALLS // vms)
    level = world.newton()
    results = ratio(
        Race(
            case=f"{vms} VMs",
            unit="VMs",
            units=vms * calls,
            ours={"min_funding_targets": repeated(world.targets, calls)},
            peers={
                "one pass": repeated(lambda: world.one_pass(level), calls),
                "NumPy Newton": repeated(world.newton, calls),
            },
        )
    )
    found = results["min_funding_targets"][-1]
    assert found.sum() == world.available_pages
    pages, _ = world.affordable(level)
    split = np.clip(pages, world.min_pages, world.max_pages)
    assert np.abs(found - split).max() <= 1 + 1e-5 * split.max()


def test_page_by_page(ratio: Ratio) -> None:
    """Virtual machines of up to 1 MiB, or it takes too long."""
    world = make(SCALE.policy_heap_vms, 64, 256)
    results = ratio(
        Race(
            case=f"{SCALE.policy_heap_vms} VMs of up to 1 MiB",
            unit="VMs",
            units=SCALE.policy_heap_vms,
            ours={"min_funding_targets": world.targets},
            peers={"heapq": world.heap},
        )
    )
    assert results["min_funding_targets"][-1].tolist() == results["heapq"][-1]
