"""Pictures: the numbers of the recording, in MiB and minutes, on whatever axes they are given."""

from __future__ import annotations

import io
import subprocess
import sys

import matplotlib
import matplotlib.image
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from esxcore.plot import draw, plot_cow_breaks, plot_sharing, png_bytes
from recordings import small_recording


def lines(ax: Axes) -> dict[str, list[float]]:
    return {str(line.get_label()): list(line.get_ydata()) for line in ax.get_lines()}  # type: ignore[arg-type]


def test_sharing_is_drawn_in_mib_against_minutes() -> None:
    ax = plot_sharing(small_recording())
    assert lines(ax) == {
        "shared": [0, 12, 9],
        "what the contents allow to reclaim": [10, 10, 6],
        "reclaimed": [0, 8, 5],
        "zero pages among the shared": [0, 2, 1],
    }
    assert all(list(line.get_xdata()) == [0, 1, 2] for line in ax.get_lines())  # type: ignore[arg-type]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("virtual time (minutes)", "memory (MiB)")
    assert ax.get_legend() is not None
    assert ax.get_ylim()[0] == 0
    assert ax.get_xlim() == (0, 2)


def test_cow_breaks_are_drawn_for_the_vms_that_have_any() -> None:
    ax = plot_cow_breaks(small_recording())
    assert lines(ax) == {"db": [0, 0, 768]}
    assert ax.get_ylabel().startswith("COW breaks")


def test_only_as_many_vms_are_drawn_as_there_are_colours() -> None:
    vms = {name: np.repeat(column[:, :1], 20, 1) for name, column in small_recording().vms.items()}
    vms["cow_breaks"] = np.arange(20) * np.array([[0], [0], [1]])
    names = tuple(f"vm{number}" for number in range(20))
    ax = plot_cow_breaks(small_recording(vms=vms, vm_names=names))
    assert list(lines(ax)) == [f"vm{number}" for number in range(19, 12, -1)]
    assert len({line.get_color() for line in ax.get_lines()}) == 7


def test_given_axes_are_drawn_on() -> None:
    upper, lower = Figure().subplots(2, 1)
    assert plot_sharing(small_recording(), upper) is upper
    assert plot_cow_breaks(small_recording(), lower) is lower
    assert len(upper.get_lines()) == 4
    assert len(lower.get_lines()) == 1


def test_a_single_sample_can_be_drawn() -> None:
    whole = small_recording()
    first = small_recording(
        time_s=whole.time_s[:1],
        host={name: column[:1] for name, column in whole.host.items()},
        census={name: column[:1] for name, column in whole.census.items()},
        vms={name: column[:1] for name, column in whole.vms.items()},
    )
    assert png_bytes(draw(first), dpi=30).startswith(b"\x89PNG")


def test_a_picture_is_a_png_of_the_size_asked_for() -> None:
    figure = draw(small_recording(), "a title")
    upper, lower = figure.axes
    assert upper.get_title(loc="left") == "a title"
    assert lower.get_xlabel() == "virtual time (minutes)"
    pixels = matplotlib.image.imread(io.BytesIO(png_bytes(figure, dpi=50)))
    assert pixels.shape[:2] == tuple(int(side * 50) for side in figure.get_size_inches()[::-1])
    assert pixels[..., :3].std() > 0.05  # not an empty page


def test_equal_recordings_make_equal_pictures() -> None:
    assert png_bytes(draw(small_recording())) == png_bytes(draw(small_recording()))


def test_global_state_of_matplotlib_is_left_alone() -> None:
    before = dict(matplotlib.rcParams)
    png_bytes(draw(small_recording()), dpi=30)
    assert dict(matplotlib.rcParams) == before


NO_PYPLOT = """
import sys
import esxcore.plot
assert "matplotlib.pyplot" not in sys.modules
assert "esxcore.recording" not in sys.modules, "the picture is a leaf"
"""


def test_pyplot_is_not_imported() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_PYPLOT], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "name", ["$\\frac{$", "a$b$", "_hidden", "\u6771\u4eac", "\U0001f600", "\udcff"]
)
def test_a_name_is_text_whatever_it_looks_like(name: str) -> None:
    figure = draw(small_recording(vm_names=(name, name)), name)
    assert png_bytes(figure, dpi=30).startswith(b"\x89PNG")
    legend = figure.axes[1].get_legend()
    assert legend is not None
    shown = [*legend.get_texts(), figure.axes[0]._left_title]  # type: ignore[attr-defined]
    assert {text.get_text() for text in shown} == {name.replace("\udcff", "\ufffd")}
    assert not any(text.get_parse_math() for text in shown)


def test_the_users_style_does_not_matter() -> None:
    plain = png_bytes(draw(small_recording()), dpi=30)
    with matplotlib.rc_context({"text.usetex": True, "lines.marker": "o", "font.size": 30}):
        assert png_bytes(draw(small_recording()), dpi=30) == plain
