"""Student's t against printed tables, intervals and paired differences by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from esxcore import Estimate
from esxcore.comparing.statistics import difference, estimate, t_probability, t_quantile

# Two-sided quantiles as tables of Student's t have them, to four digits.
TABLE = {
    0.95: {1: 12.7062, 2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 9: 2.2622, 10: 2.2281,
           19: 2.0930, 29: 2.0452, 30: 2.0423, 60: 2.0003, 120: 1.9799, 1000: 1.9623},
    0.99: {1: 63.6567, 2: 9.9248, 9: 3.2498, 30: 2.7500},
    0.5: {1: 1.0, 2: 0.8165, 9: 0.7027},
}  # fmt: skip


@pytest.mark.parametrize(
    ("level", "freedom", "quantile"),
    [(level, freedom, t) for level, row in TABLE.items() for freedom, t in row.items()],
)
def test_quantiles_are_those_of_the_tables(level: float, freedom: int, quantile: float) -> None:
    assert t_quantile(freedom, level) == pytest.approx(quantile, abs=5e-5)
    assert t_probability(t_quantile(freedom, level), freedom) == pytest.approx(level, abs=1e-13)


def test_probability_agrees_with_the_integral_of_the_density() -> None:
    for freedom in (1, 2, 3, 4, 7, 12):
        norm = math.gamma((freedom + 1) / 2) / (
            math.sqrt(freedom * math.pi) * math.gamma(freedom / 2)
        )
        x = np.linspace(0, 1.7, 20001)
        density = norm * (1 + x**2 / freedom) ** (-(freedom + 1) / 2)
        assert t_probability(1.7, freedom) == pytest.approx(2 * np.trapezoid(density, x), abs=1e-8)


def test_an_interval_is_the_mean_and_t_times_the_error_of_it() -> None:
    found = estimate(np.array([1.0, 2.0, 3.0, 4.0]))
    error = math.sqrt((1.5**2 + 0.5**2 + 0.5**2 + 1.5**2) / 3 / 4)
    assert found == Estimate(2.5, pytest.approx(3.18244630528 * error, rel=1e-10))
    assert (found.low, found.high) == (2.5 - found.half, 2.5 + found.half)
    assert found.is_significant is False or found.low > 0


def test_what_is_unknown_does_not_count() -> None:
    assert estimate(np.array([1.0, np.nan, 3.0])).mean == 2.0
    assert math.isnan(estimate(np.array([np.nan])).mean)
    assert math.isnan(estimate(np.array([5.0])).half)
    assert not estimate(np.array([5.0])).is_significant
    assert t_quantile(0) != t_quantile(0)  # NaN


def test_equal_values_have_an_interval_of_nothing() -> None:
    third = estimate(np.full(3, 1 / 3))
    assert third == Estimate(1 / 3, 0.0)
    assert third.is_significant
    assert not estimate(np.zeros(3)).is_significant


def test_infinite_values_have_no_interval() -> None:
    found = estimate(np.array([1.0, np.inf]))
    assert found.mean == math.inf
    assert math.isnan(found.half)
    assert math.isnan(difference(np.array([np.inf]), np.array([np.inf])).mean)


def test_paired_differences_are_sharper_than_the_means() -> None:
    noise = np.array([0.0, 10.0, 20.0, 30.0])
    base, better = noise, noise + np.array([1.0, 1.1, 0.9, 1.0])
    apart = difference(better, base)
    assert apart.mean == pytest.approx(1.0)
    assert apart.is_significant
    assert estimate(better).low < estimate(base).high
