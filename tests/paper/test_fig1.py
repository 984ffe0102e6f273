"""Figure 1: a balloon inflates and deflates, and the guest makes room by its own rules."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest

from esxcore.paper import Kind, Laboratory, Reproduction, fig1, reproduce
from esxcore.paper.drawing import draw
from moved import fitted

CALIBRATED = fitted(fig1.Parameters)


@pytest.fixture(scope="module")
def made() -> Reproduction:
    return reproduce("fig1")


@pytest.fixture(scope="module")
def trace() -> fig1.Trace:
    return fig1.watched(fig1.Parameters(), 5)


def failed(parameters: fig1.Parameters) -> str:
    return " | ".join(claim.text for claim in reproduce("fig1", Laboratory(), parameters).failed)


def test_every_mechanism_emerges(made: Reproduction) -> None:
    assert [claim.text for claim in made.failed] == []
    assert sum(claim.kind is Kind.MECHANISM for claim in made.claims) == 9


def test_moments_come_in_the_order_of_the_diagram(made: Reproduction) -> None:
    moments = [made.numbers[name] for name in ("inflates", "first_drop", "first_page_out")]
    assert all(one < two for one, two in pairwise([*moments, made.numbers["deflates"]]))


def test_every_page_of_the_guest_is_accounted_for(trace: fig1.Trace) -> None:
    names = ("kernel", "anonymous", "cache", "free")
    pages = sum(trace.of(f"guest_{name}_pages") for name in names) + trace.of("balloon_pages")
    memory = 256 * fig1.PAGES_PER_MB
    # What is missing was written out for the driver and waits for its next poll: 2048 a second.
    assert (pages <= memory).all()
    assert (pages >= memory - 2048).all()
    assert (pages[: trace.inflates] == memory).all()
    assert pages[-1] == memory


def test_areas_of_the_figure_are_the_guests_memory(made: Reproduction) -> None:
    guest, machine, _ = made.chart.panels
    assert [area.label for area in guest.series] == [
        "kernel", "anonymous", "dirty cache", "clean cache", "free", "balloon",
    ]  # fmt: skip
    assert {area.style for area in guest.series} == {"area"}
    assert sum(area.y[-1] for area in guest.series) == pytest.approx(256, abs=1e-3)
    free, balloon, _ = (np.array(line.y) for line in machine.series)
    at = made.numbers["deflates"] - 1
    assert free[at] - free[0] == pytest.approx(balloon[at], abs=1e-3)


def test_areas_have_their_names_above_them(made: Reproduction) -> None:
    guest, machine, _ = draw(made.chart).axes
    above, within = (axes.get_legend() for axes in (guest, machine))
    assert [text.get_text() for text in above.get_texts()][-1] == "balloon"
    guest.figure.canvas.draw()
    assert above.get_window_extent().y0 >= guest.get_window_extent().y1
    assert within.get_window_extent().y1 <= machine.get_window_extent().y1


def test_the_balloon_is_asked_for_in_steps_up_and_down() -> None:
    targets = fig1.Parameters(balloon=50, step=20, step_s=3, before_s=10, hold_s=4).targets
    assert targets == {10: 20, 13: 40, 16: 50, 23: 37, 29: 25, 35: 12, 41: 0}


def test_a_guest_with_room_for_the_balloon_pages_nothing_out() -> None:
    parameters = dataclasses.replace(fig1.Parameters(), balloon=32)
    said = failed(parameters)
    assert "then clean cache" in said
    assert "then the guest's own victims" in said
    assert "the free list gives first" in said  # and nothing else did
    assert "the host" not in said


def test_a_guest_that_is_short_already_does_not_show_its_free_list() -> None:
    said = failed(dataclasses.replace(fig1.Parameters(), job=230))
    assert "the free list gives first" in said


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_mechanisms_hold_for_other_seeds(seed: int) -> None:
    assert reproduce("fig1", Laboratory(seed)).failed == ()


@pytest.mark.slow
@pytest.mark.parametrize("factor", [0.8, 1.2])
@pytest.mark.parametrize("name", CALIBRATED)
def test_no_mechanism_is_fitted_in_disguise(name: str, factor: float) -> None:
    default = fig1.Parameters()
    moved = dataclasses.replace(default, **{name: round(factor * getattr(default, name))})
    assert failed(moved) == ""
