"""Section 7: hot I/O pages move to memory that the device reaches, and copies stop."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from esxcore import Costs
from esxcore.paper import Kind, Laboratory, Reproduction, remap, reproduce, transfers
from esxcore.paper.interactive import interactive
from moved import fitted

CALIBRATED = fitted(remap.Parameters)
SMALL = dataclasses.replace(
    remap.Parameters(), packets=100_000, many_s=12, cold=2000, cold_s=4, thresholds=(1, 16)
)


@pytest.fixture(scope="module")
def made() -> Reproduction:
    return reproduce("remap")


def failed(parameters: remap.Parameters) -> str:
    return " | ".join(claim.text for claim in reproduce("remap", Laboratory(), parameters).failed)


def test_every_mechanism_emerges(made: Reproduction) -> None:
    assert [claim.text for claim in made.failed] == []
    assert sum(claim.kind is Kind.MECHANISM for claim in made.claims) == 9


def test_copies_are_buffers_times_threshold_to_the_page(made: Reproduction) -> None:
    off, *rules = made.numbers["rules"]
    copies, moves = (made.numbers[name]["few buffers"] for name in ("copies", "moves"))
    assert off == 0
    assert copies == [10_000_000, *(256 * rule for rule in rules)]
    assert moves == [0, *([256] * len(rules))]
    derived = next(claim for claim in made.claims if claim.kind is Kind.RECALLED)
    assert (derived.paper, derived.here) == ("2,441", "2,441")


def test_fewer_copies_with_lower_thresholds(made: Reproduction) -> None:
    for copies in made.numbers["copies"].values():
        off, *on = copies
        assert on == sorted(on)
        assert on[-1] <= off
    assert made.numbers["moves"]["used twice"] == [0, 24_000, 0, 0, 0, 0]


def test_the_figure_shows_when_copies_end(made: Reproduction) -> None:
    few, many, copies, cost = made.chart.panels
    off, *lines = few.series
    assert off.style == "dotted"
    assert set(off.y) == {10_000.0}
    # 10,000 packets a second go through each of 256 buffers every 25.6 ms; looks are 10 ms apart.
    ends = [line.x[-1] for line in lines]
    assert ends == pytest.approx([0.0256 * rule for rule in (1, 4, 16, 64)], abs=0.02)
    assert len(many.series) == 5
    assert [bars.style for bars in (*copies.series, *cost.series)] == ["bars"] * 6
    assert {panel.y_scale for panel in made.chart.panels} == {"log"}


def test_thresholds_are_words_below_the_bars_of_the_page(made: Reproduction) -> None:
    layout = interactive(made.chart).layout
    assert layout.xaxis.type is None  # seconds
    assert [layout.xaxis3.type, layout.xaxis4.type] == ["category"] * 2


def test_the_best_moves_a_page_at_once_or_never() -> None:
    costs = Costs.preset("2002")
    kind = remap.Kind("some", {}, np.array([0, 1, 3, 4, 5, 1000]))
    assert kind.best_ns(costs) == 14_000 * (0 + 1 + 3 + 4 + 4 + 4)


def test_traffic_is_what_it_is_said_to_be() -> None:
    received, sent = (np.concatenate(part) for part in zip(*transfers.cold(SMALL, 3), strict=True))
    assert sorted(received) == sorted(sent) == list(range(2000))
    uses = np.bincount(np.concatenate([np.concatenate(pair) for pair in transfers.many(SMALL, 3)]))
    assert uses.sum() == 12 * SMALL.rate
    # By Zipf's law the first is used 2**1.2 times as often as the second: some 25,000 times.
    assert uses[0] / uses[1] == pytest.approx(2**1.2, rel=0.05)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"packets": 20_000, "rate": 2000}, "several orders"),  # too few for two orders
        ({"uses": 40}, "used too seldom"),  # not seldom: they get hot
        ({"exponent": 0.0}, "unequally hot"),  # all alike
        ({"threshold": 2000}, "stop at buffers times threshold"),  # not reached
    ],
)
def test_claims_fail_where_they_should(change: dict[str, Any], said: str) -> None:
    assert said in failed(dataclasses.replace(SMALL, **change))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_mechanisms_hold_for_other_seeds(seed: int) -> None:
    assert reproduce("remap", Laboratory(seed)).failed == ()


@pytest.mark.slow
@pytest.mark.parametrize("factor", [0.8, 1.2])
@pytest.mark.parametrize("name", CALIBRATED)
def test_no_mechanism_is_fitted_in_disguise(name: str, factor: float) -> None:
    default = remap.Parameters()
    value = factor * getattr(default, name)
    moved = dataclasses.replace(
        default, **{name: value if isinstance(getattr(default, name), float) else round(value)}
    )
    assert failed(moved) == ""
