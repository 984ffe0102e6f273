"""The planner of samples: known numbers, and that it answers the question it was asked."""

from __future__ import annotations

import math
from fractions import Fraction
from statistics import NormalDist
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import esxcore


@pytest.mark.parametrize(
    ("touched", "sampled", "low", "high"),
    [
        (0, 100, 0.0, 0.0369935),
        (10, 100, 0.0552291, 0.1743657),
        (50, 100, 0.4038315, 0.5961685),
        (100, 100, 0.9630065, 1.0),
        (1, 3, 0.0614919, 0.7923404),
    ],
)
def test_known_intervals(touched: int, sampled: int, low: float, high: float) -> None:
    assert esxcore.wilson_interval(touched, sampled) == pytest.approx((low, high), abs=1e-7)


@given(st.integers(1, 10**6), st.floats(0, 1), st.floats(0.01, 0.999))
def test_an_end_is_where_a_score_test_is_on_its_limit(
    sampled: int, part: float, confidence: float
) -> None:
    touched = round(part * sampled)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    for end in esxcore.wilson_interval(touched, sampled, confidence):
        distance = abs(float(Fraction(touched, sampled)) - end)
        limit = z * math.sqrt(end * (1 - end) / sampled)
        assert distance == pytest.approx(limit, rel=1e-6, abs=1e-7)


def test_known_plans() -> None:
    assert esxcore.plan_samples() == 381  # 1.96 ** 2 * (1 / (4 * 0.05 ** 2) - 1), rounded up
    assert esxcore.plan_samples(0.1) == 93
    assert esxcore.plan_samples(0.05, 0.99) == 657
    assert esxcore.plan_samples(0.05, fraction=0.1) == 141
    assert esxcore.sampling_error(100) == pytest.approx(1.959964 / (2 * math.sqrt(103.841459)))


@given(st.floats(1e-4, 0.499), st.floats(0.01, 0.999), st.floats(0, 1))
def test_a_plan_is_enough_and_one_less_is_not(error: float, level: float, share: float) -> None:
    count = esxcore.plan_samples(error, level, fraction=share)
    assert esxcore.sampling_error(count, level, fraction=share) <= error
    if count > 1:
        assert esxcore.sampling_error(count - 1, level, fraction=share) > error * (1 - 1e-9)


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (lambda: esxcore.plan_samples(0), "error: 0; expected"),
        (lambda: esxcore.plan_samples(0.5), "error: 0.5; expected"),
        (lambda: esxcore.plan_samples(math.nan), "error: nan; expected"),
        (lambda: esxcore.plan_samples(0.05, 1), "confidence: 1; expected"),
        (lambda: esxcore.plan_samples(0.05, 0), "confidence: 0; expected"),
        (lambda: esxcore.plan_samples(0.05, 1 - 2**-53), "confidence: "),
        (lambda: esxcore.plan_samples(0.05, math.nan), "confidence: nan; expected"),
        (lambda: esxcore.plan_samples(0.05, fraction=math.inf), "fraction: inf; expected"),
        (lambda: esxcore.sampling_error(0), "samples: 0; expected 1 to 4294967295"),
        (lambda: esxcore.sampling_error(2**32), "samples: 4294967296; expected"),
        (lambda: esxcore.sampling_error(5, fraction=-0.1), "fraction: -0.1; expected"),
        (lambda: esxcore.wilson_interval(5, 4), "touched: 5; expected 0 to 4"),
        (lambda: esxcore.wilson_interval(-1, 4), "touched: -1; expected 0 to 4"),
        (lambda: esxcore.wilson_interval(0, 0), "sampled: 0; expected 1 to 4294967295"),
    ],
)
def test_numbers_out_of_range(call: Any, what: str) -> None:
    with pytest.raises(esxcore.ConfigError) as caught:
        call()
    assert str(caught.value).startswith(what)


@pytest.mark.parametrize("wrong", ["0.05", None, True, 1 + 0j, [0.05]])
def test_what_is_no_number(wrong: Any) -> None:
    for call in (
        lambda: esxcore.plan_samples(wrong),
        lambda: esxcore.plan_samples(0.05, wrong),
        lambda: esxcore.plan_samples(0.05, fraction=wrong),
        lambda: esxcore.sampling_error(wrong),
        lambda: esxcore.wilson_interval(wrong, 4),
    ):
        with pytest.raises(esxcore.ArgumentTypeError):
            call()
