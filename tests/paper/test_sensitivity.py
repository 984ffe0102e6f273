"""What is chosen in a figure, what moves with what is fitted, and the pages that tell it."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from esxcore.paper import TARGETS, Laboratory, Reproduction, fig5, target
from esxcore.paper.charts import Chart
from esxcore.paper.claims import mechanism, recalled
from esxcore.paper.sensitivity import FACTORS, choices, sensitivity

LARGEST = 200_000  # bytes of a picture on a page


def section(page: str, title: str) -> str:
    return page.partition(f"## {title}")[2].partition("\n## ")[0].rstrip()


def linear(name: str, _: Laboratory, parameters: Any) -> Reproduction:
    """A figure 5 in which one line follows a fitted number and a mechanism hangs on it."""
    zero, copies = parameters.zero_a, parameters.copies_a
    claims = (
        mechanism("more than a part is zero", zero > 0.045, f"{zero}"),
        recalled("zero pages", 100, 1000 * zero, "MB"),
        recalled("the copies that were put in", 3.27, copies, ""),
    )
    return Reproduction(name, claims, Chart(()), (), {"hours": {"a": 2.0, "b": [1, zero * 100]}})


def test_each_fitted_number_is_moved_down_and_up() -> None:
    found = sensitivity("fig5", Laboratory(1), linear)
    fitted = [field.name for field in dataclasses.fields(fig5.Parameters)]
    assert [choice.name for choice in found.choices] == fitted
    moved = [(move.choice.name, move.factor) for move in found.moves]
    names = [choice.name for choice in found.choices if choice.is_calibrated]
    assert moved == [(name, factor) for name in names for factor in FACTORS]


def test_what_breaks_and_what_moves_is_told() -> None:
    moves = {
        (move.choice.name, move.factor): move
        for move in sensitivity("fig5", Laboratory(1), linear).moves
    }
    down = moves["zero_a", 0.8]
    assert down.value == pytest.approx(0.04)
    assert down.failed == ("more than a part is zero",)
    first, second = down.shifts[:2]
    assert (first.text, first.before, first.after) == ("zero pages", "50 MB", "40 MB")
    assert first.part == pytest.approx(0.2)
    assert (second.text, second.before, second.after) == ("hours, b", "1, 5", "1, 4")
    assert moves["zero_a", 1.2].failed == ()
    assert all(shift.part == 0 for shift in moves["zero_b", 0.8].shifts)


def test_a_line_that_only_states_the_input_is_left_out() -> None:
    moves = sensitivity("fig5", Laboratory(1), linear).moves
    (down,) = [m for m in moves if (m.choice.name, m.factor) == ("copies_a", 0.8)]
    assert "the copies that were put in" not in [shift.text for shift in down.shifts]


def test_whole_numbers_stay_whole_and_what_is_no_number_stays() -> None:
    job = next(choice for choice in choices("fig1") if choice.name == "job")
    assert [job.moved(factor) for factor in FACTORS] == [112, 168]
    sizes = next(choice for choice in choices("fig5") if choice.name == "sizes_a")
    assert not sizes.can_move


@pytest.mark.parametrize("name", TARGETS)
def test_the_page_tells_of_everything_that_was_chosen(name: str, project_root: Path) -> None:
    page = (project_root / "docs" / "sensitivity.md").read_text()
    text = section(page, f"{name}: {target(name).TITLE}")
    missing = [choice.name for choice in choices(name) if f"| `{choice.name}` |" not in text]
    assert missing == [], "python docs/sensitivity.py writes it anew"
    moved = [choice for choice in choices(name) if choice.can_move]
    assert all(text.count(f"| `{choice.name}` ") == 3 for choice in moved)
    assert "**fails**" not in text


@pytest.mark.parametrize("name", TARGETS)
def test_the_walk_shows_every_figure_with_its_command(name: str, project_root: Path) -> None:
    docs = project_root / "docs"
    text = (docs / "paper.md").read_text()
    assert f"(paper/{name}.png)\n\n*`esxcore paper {name}`*" in text
    assert 0 < (docs / "paper" / f"{name}.png").stat().st_size < LARGEST
    assert f"`esxcore paper {name}`" in (docs / "paper-map.md").read_text()


@pytest.mark.slow
def test_the_page_is_written_from_runs(project_root: Path, tmp_path: Path) -> None:
    """End to end for the cheap ones, as the command beside the page does it."""
    page = tmp_path / "page.md"
    script = project_root / "docs" / "sensitivity.py"
    environment = os.environ | {"ESXCORE_CACHE_DIR": str(tmp_path / "cache")}
    names = ("fig3", "fig5", "remap")
    command = [sys.executable, str(script), *names, "--out", str(page)]
    subprocess.run(command, check=True, env=environment, capture_output=True)
    kept = (project_root / "docs" / "sensitivity.md").read_text()
    for name in names:
        title = f"## {name}: "
        section, old = (
            t.partition(title)[2].partition("\n## ")[0] for t in (page.read_text(), kept)
        )
        assert section.rstrip() == old.rstrip()
    assert "24 moves of 12 fitted numbers: none breaks a mechanism" in page.read_text()
