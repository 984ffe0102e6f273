"""Figure 4: identical virtual machines, what the scanner finds in them and when."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import esxcore
from esxcore.paper import Kind, Laboratory, Reproduction, fig4, identical, real_guests, reproduce
from esxcore.paper.identical import IdenticalGuests, expected, seen, seen_since_written
from moved import fitted

CALIBRATED = fitted(fig4.Parameters)


@pytest.fixture(scope="module")
def made() -> Reproduction:
    return reproduce("fig4")


def test_every_mechanism_emerges(made: Reproduction) -> None:
    assert [claim.text for claim in made.failed] == []
    assert sum(claim.kind is Kind.MECHANISM for claim in made.claims) == 6


def test_growth_is_linear_and_single_copies_stay(made: Reproduction) -> None:
    vms = np.array(made.numbers["vms"][1:])
    shared, reclaimed = (np.array(made.numbers[f"{n}_mb"][1:]) for n in ("shared", "reclaimed"))
    # The line bends by what scanning misses of ten guests that divide its rate: 3 % of quiet ones.
    assert np.corrcoef(vms, reclaimed)[0, 1] ** 2 > 0.999
    # Single copies: nine tenths are common to all, so they grow by a hundredth of memory a guest.
    single = shared - reclaimed
    assert single[-1] - single[0] < 0.05 * 40 * (vms[-1] - vms[0])
    assert (np.diff(reclaimed) > 0).all()


def test_what_was_fitted_is_never_called_a_success(made: Reproduction) -> None:
    fitted = [claim for claim in made.claims if claim.kind is Kind.CALIBRATED]
    assert len(fitted) == 5
    assert {claim.verdict for claim in fitted} == {"fitted"}
    # As the fit was made, to a point: it would be no figure otherwise.
    assert made.numbers["reclaimed_mb"][0] == pytest.approx(5, abs=0.2)
    assert made.numbers["shared_mb"][-1] == pytest.approx(268, rel=0.01)
    assert made.numbers["reclaimed_mb"][-1] == pytest.approx(240, rel=0.01)


def test_real_guests_are_reported_as_they_are(
    made: Reproduction, fleet_truth: dict[str, Any]
) -> None:
    last = {name: made.numbers[f"real_{name}_mb"][-1] * 256 for name in ("shared", "reclaimed")}
    assert last == {name: fleet_truth["all"][name] for name in last}
    contents = real_guests.trace()
    first = real_guests.growth(contents, 1, 5)
    assert first.reclaimed == first.possible == fleet_truth["per_vm"]["py1"]["reclaimed"]


def test_the_figure_has_the_papers_two_graphs(made: Reproduction) -> None:
    top, _, bottom, _ = made.chart.panels
    words = ["shared (COW)", "reclaimed", "zero pages"]
    assert [series.label for series in top.series] == ["VM memory", *words]
    assert [series.label for series in bottom.series] == [
        *words[:2],
        "shared − reclaimed",
        words[2],
    ]
    assert top.series[0].y[-1] == 400
    assert all(series.x == [float(vms) for vms in range(1, 11)] for series in top.series)


def test_contents_are_what_they_are_said_to_be() -> None:
    guests = IdenticalGuests()
    one, other = guests.contents(0), guests.contents(1)
    parts = guests.parts
    assert len(one) == sum(parts) == guests.vm_pages
    assert np.count_nonzero(one == 0) == parts.zero
    common = np.intersect1d(one, other)
    assert len(common) == parts.common + 1  # and zero
    counts = np.unique(one[~np.isin(one, common)], return_counts=True)[1]
    assert set(counts.tolist()) == {1, guests.own_copies}
    assert np.count_nonzero(counts > 1) * guests.own_copies == parts.own


def test_expectation_is_the_census_where_all_is_seen() -> None:
    guests = dataclasses.replace(IdenticalGuests(), vm_pages=1000)
    tokens = np.concatenate([guests.contents(vm) for vm in range(3)])
    counts = np.unique(tokens, return_counts=True)[1]
    found = expected(guests, 3, 1.0)
    assert found.shared == counts[counts > 1].sum()
    assert found.reclaimed == tokens.size - counts.size
    assert expected(guests, 3, 0.0) == (0, 0, 0)
    assert 0 < seen_since_written(guests, 3) < seen(guests, 3) <= 1


def test_one_vm_that_is_barely_scanned_misses_what_the_formula_says() -> None:
    # A tenth of the rate: about half of the pages are seen, so a wrong formula would stand out.
    guests = dataclasses.replace(fig4.Parameters(), vm_rate=5, host_rate=10)
    part = seen(guests, 2)
    assert 0.5 < part < 0.7
    found = identical.quiet(guests, 2, 9)
    spread = identical.spread(guests, 2, part)
    assert found.reclaimed == pytest.approx(expected(guests, 2, part).reclaimed, abs=4 * spread)
    census = expected(guests, 2, 1.0).reclaimed
    assert found.reclaimed < census - 4 * spread


def test_sharing_that_is_off_finds_nothing() -> None:
    guests = dataclasses.replace(IdenticalGuests(), minutes=1)
    host = identical.powered_on(guests, 2, 1, sharing=False)
    esxcore.Simulation(host).advance(guests.seconds)
    assert identical.found(host) == (0, 0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_mechanisms_hold_for_other_seeds(seed: int) -> None:
    assert reproduce("fig4", Laboratory(seed)).failed == ()


@pytest.mark.slow
@pytest.mark.parametrize("factor", [0.8, 1.2])
@pytest.mark.parametrize("name", CALIBRATED)
def test_no_mechanism_is_fitted_in_disguise(name: str, factor: float) -> None:
    default = fig4.Parameters()
    moved = dataclasses.replace(default, **{name: factor * getattr(default, name)})
    assert reproduce("fig4", Laboratory(), moved).failed == ()
