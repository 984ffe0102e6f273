"""The idle memory tax from 0 to 99 %: beyond figure 7."""

from __future__ import annotations

import dataclasses

import pytest

from esxcore.paper import Laboratory, Reproduction, tax
from mechanisms import mechanism, mechanisms
from moved import fitted, moved

FEW = (0, 40, 75, 99)
"""Taxes of the everyday run."""

CLAIMS = (
    "at every tax, targets are the closed form",  # targets are whole pages
    "at every tax, what both have follows",  # within what rests free, as in figure 7
    "the more tax, the less",  # back by four deviations of an estimate at most
)
"""Beginning of each mechanism; the reason of its tolerance."""


def few(parameters: tax.Parameters) -> tax.Parameters:
    return dataclasses.replace(parameters, taxes=FEW)


@pytest.fixture(scope="module")
def made() -> Reproduction:
    return tax.reproduce(Laboratory(), few(tax.Parameters()))


@pytest.mark.parametrize("text", CLAIMS)
def test_mechanisms(made: Reproduction, text: str) -> None:
    assert mechanism(made, text).verdict == "holds"


def test_there_are_no_others(made: Reproduction) -> None:
    assert len(mechanisms(made)) == len(CLAIMS)


def test_each_tax_has_a_point(made: Reproduction) -> None:
    assert [point["tax"] for point in made.numbers["points"]] == list(FEW)
    for panel in made.chart.panels:
        assert all(line.x == list(FEW) for line in panel.series)


def test_without_a_tax_the_idle_one_wakes_unhindered(made: Reproduction) -> None:
    """It has 179 MiB and needs 140: nothing but first touches and page-ins, within a second."""
    point = made.numbers["points"][0]
    assert point["target_mib"] == [179, 179]
    assert point["woken_stall_s"][0] < 1
    assert point["woken_operations"][0] > 0.98 * 60_000


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_for_any_seed(seed: int) -> None:
    assert tax.reproduce(Laboratory(seed), tax.Parameters()).failed == ()


@pytest.mark.slow
@pytest.mark.parametrize("factor", [0.8, 1.2])
@pytest.mark.parametrize("name", fitted(tax.Parameters))
def test_no_mechanism_is_fitted(name: str, factor: float) -> None:
    """What was fitted may move by a fifth."""
    parameters = moved(few(tax.Parameters()), name, factor)
    assert tax.reproduce(Laboratory(), parameters).failed == ()
