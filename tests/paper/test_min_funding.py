"""Sections 5.1, 5.2 and figure 7: shares, the idle memory tax, and what they give in numbers.

Sizes are in MB of 256 pages. The closed form of equal prices, for VMs with more pages than active
ones that neither min nor max decides for, is P_i = tau * A_i + S_i / sum(S) * (M - tau * sum(A)).
"""

from __future__ import annotations

import numpy as np
import pytest

import esxcore
from policies import Guest, targets

MB = 256


def in_mb(guests: list[Guest], available: int, tax_rate: float) -> list[float]:
    """Targets in MB of guests in MB."""
    sizes = [
        Guest(vm.shares, vm.min_pages * MB, vm.max_pages * MB, vm.active_pages * MB)
        for vm in guests
    ]
    return [pages / MB for pages in targets(sizes, available * MB, tax_rate)]


def test_the_default_tax_is_the_papers() -> None:
    paper = next(row for row in esxcore.paper_parameters() if row.name == "tax_rate")
    assert paper.value == 0.75
    default = esxcore.min_funding_targets(
        shares=[3, 2],
        min_pages=[0, 5],
        max_pages=[90, 90],
        active_pages=[9, 60],
        available_pages=100,
    )
    assert default.tolist() == targets([Guest(3, 0, 90, 9), Guest(2, 5, 90, 60)], 100, paper.value)
    assert default.tolist() == [36, 64]


def test_twice_the_shares_twice_the_memory() -> None:
    """Section 5.1: entitlements are relative, and shrink together as memory gets scarce."""
    vms = [Guest(1, 0, 1024, 1024), Guest(2, 0, 1024, 1024), Guest(4, 0, 1024, 1024)]
    assert in_mb(vms, 700, 0.0) == [100, 200, 400]
    assert in_mb(vms, 350, 0.0) == [50, 100, 200]
    assert in_mb(vms, 2 * 1024 + 512, 0.0) == [512, 1024, 1024]


def test_figure_7_without_a_tax() -> None:
    """Two VMs of 256 MB with equal shares on 358 MB: 179 MB each, whatever they use."""
    assert in_mb([Guest(2560, 0, 256, 20), Guest(2560, 0, 256, 150)], 358, 0.0) == [179, 179]


# Active MB of both, and what they get at a tax of 75 % by the closed form.
FIGURE_7 = [
    ((20, 150), (130.25, 227.75)),
    ((20, 200), (111.5, 246.5)),
    ((15, 220), (102.125, 255.875)),
]


@pytest.mark.parametrize(("active", "expected"), FIGURE_7)
def test_figure_7_with_the_tax(active: tuple[int, int], expected: tuple[float, float]) -> None:
    vms = [Guest(2560, 0, 256, active[0]), Guest(2560, 0, 256, active[1])]
    found = in_mb(vms, 358, 0.75)
    assert found == pytest.approx(expected, abs=1 / MB)  # whole pages
    assert sum(found) == 358


@pytest.mark.parametrize("active", [(20, 200), (15, 220)])
def test_figure_7_ends_at_min(active: tuple[int, int]) -> None:
    """With min at half of max the idle VM stops there."""
    vms = [Guest(2560, 128, 256, active[0]), Guest(2560, 128, 256, active[1])]
    assert in_mb(vms, 358, 0.75) == [128, 230]


@pytest.mark.parametrize("tax_rate", [0.0, 0.25, 0.5, 0.75, 0.9, 0.99])
def test_the_closed_form(tax_rate: float) -> None:
    shares, active = np.array([10, 25, 40, 5]), np.array([1000, 9000, 4000, 200])
    available = 90_000
    exact = tax_rate * active + shares / shares.sum() * (available - tax_rate * active.sum())
    vms = [Guest(int(s), 0, 10**6, int(a)) for s, a in zip(shares, active, strict=True)]
    assert np.abs(targets(vms, available, tax_rate) - exact).max() <= 1.5


def test_the_tax_rate_bounds_what_the_idle_lose() -> None:
    """Section 5.2: the rate is the most of a client's idle pages that may be reclaimed.

    An idle VM beside one that uses everything and has as many shares: the busy one pays as little
    for each page only when it has k = 4 times as many.
    """
    idle, busy = in_mb([Guest(1, 0, 1000, 0), Guest(1, 0, 1000, 1000)], 1000, 0.75)
    assert (idle, busy) == (200, 800)
    assert in_mb([Guest(1, 0, 1000, 1000), Guest(1, 0, 1000, 1000)], 1000, 0.75) == [500, 500]


def test_activity_gives_memory_back() -> None:
    """Section 5.2: as an idle client becomes active its allocation rises, up to its full share."""
    found = [
        in_mb([Guest(1, 0, 400, active), Guest(1, 0, 400, 400)], 400, 0.75)[0]
        for active in (0, 50, 100, 150, 200, 300, 400)
    ]
    assert found == sorted(found)
    assert found[0] == 80
    assert found[-1] == found[-3] == 200


def test_no_shares() -> None:
    """A VM without shares loses first, and keeps its max while memory is free (our choice)."""
    vms = [Guest(1, 0, 100, 0), Guest(0, 10, 100, 100)]
    assert [in_mb(vms, available, 0.75)[1] for available in (200, 150, 110, 50)] == [
        100,
        50,
        10,
        10,
    ]


def test_five_servers_of_figure_8() -> None:
    """1472 MB of guests, min at half of max, shares by size: an idle one of 320 MB ends at 160."""
    sizes, active = [256, 256, 320, 320, 320], [200, 30, 300, 60, 10]
    vms = [
        Guest(10 * size, size // 2, size, used) for size, used in zip(sizes, active, strict=True)
    ]
    found = in_mb(vms, 1024, 0.75)
    assert sum(found) == 1024
    assert found[4] == 160
    assert found[1] == 128
    assert found[0] > 200
