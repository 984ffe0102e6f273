"""Pictures of memory divided: layers and lines in MiB, bands of the free state, gaps where off."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from esxcore.plot import draw_division, plot_cow_breaks, plot_free_memory, plot_vm_memory, png_bytes
from recordings import divided_recording


def lines(ax: Axes) -> dict[str, list[float]]:
    return {str(line.get_label()): list(line.get_ydata()) for line in ax.get_lines()}  # type: ignore[arg-type]


def layers(ax: Axes) -> dict[str, tuple[float, float]]:
    """Bottom and top of each layer over all time, in MiB."""
    found = {}
    for layer in ax.collections:
        box = layer.get_paths()[0].get_extents()
        found[str(layer.get_label())] = (float(box.y0), float(box.y1))
    return found


def legend_texts(ax: Axes) -> list[str]:
    legend = ax.get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def test_a_vm_is_drawn_in_layers_with_target_and_activity() -> None:
    ax = plot_vm_memory(divided_recording(), 0)
    assert lines(ax) == {"target": [16, 12, 10], "active": [4, 4, 2]}
    assert layers(ax) == {"resident": (0, 16), "balloon": (10, 16), "swapped": (14, 16)}
    assert legend_texts(ax) == ["resident", "balloon", "swapped", "target", "active"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("virtual time (minutes)", "memory (MiB)")
    assert ax.get_title(loc="left") == "web"


def test_nothing_is_drawn_where_a_vm_is_off() -> None:
    ax = plot_vm_memory(divided_recording(), 1)
    assert np.isnan(lines(ax)["target"]).tolist() == [True, False, False]
    assert np.isnan(lines(ax)["active"]).tolist() == [True, False, False]
    resident = ax.collections[0].get_paths()[0].get_extents()
    assert (resident.x0, resident.x1) == (1, 2)


def test_bands_show_the_free_state_before_each_sample() -> None:
    ax = plot_free_memory(divided_recording())
    assert lines(ax) == {"free": [8, 2, 6]}
    assert legend_texts(ax) == ["free", "high", "soft"]
    spans = [
        (patch.get_x(), patch.get_x() + patch.get_width(), to_hex(patch.get_facecolor()))
        for patch in ax.patches
    ]
    high, soft, again = spans
    assert [span[:2] for span in spans] == [(0, 0), (0, 1), (1, 2)]
    assert high[2] == again[2] != soft[2]


def test_a_picture_has_an_axes_for_each_vm_and_one_for_the_host() -> None:
    figure = draw_division(divided_recording(), "a title")
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["", "web", "db"]
    assert figure.get_suptitle() == "a title"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "resident", "balloon", "swapped", "target", "active",
    ]  # fmt: skip
    assert png_bytes(figure, dpi=30).startswith(b"\x89PNG")


def test_many_vms_are_cut_and_counted() -> None:
    whole = divided_recording()
    vms = {name: np.repeat(column[:, :1], 20, axis=1) for name, column in whole.vms.items()}
    many = divided_recording(vms=vms, vm_names=tuple(f"vm{number}" for number in range(20)))
    figure = draw_division(many, "many")
    assert len(figure.axes) == 13
    assert figure.get_suptitle() == "many; 8 more not shown"


@pytest.mark.parametrize("name", ["$\\frac{$", "_hidden", "東京", "\udcff"])
def test_a_name_is_text_whatever_it_looks_like(name: str) -> None:
    figure = draw_division(divided_recording(vm_names=(name, name)), name)
    assert png_bytes(figure, dpi=30).startswith(b"\x89PNG")
    assert figure.axes[1].get_title(loc="left") == name.replace("\udcff", "\ufffd")


def test_the_users_style_does_not_matter() -> None:
    plain = png_bytes(draw_division(divided_recording()), dpi=30)
    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"text.usetex": True, "lines.marker": "o", "font.size": 30}):
        assert png_bytes(draw_division(divided_recording()), dpi=30) == plain
    assert dict(matplotlib.rcParams) == before


def test_a_single_sample_can_be_drawn() -> None:
    whole = divided_recording()
    first = divided_recording(
        time_s=whole.time_s[:1],
        host={name: column[:1] for name, column in whole.host.items()},
        census={name: column[:1] for name, column in whole.census.items()},
        vms={name: column[:1] for name, column in whole.vms.items()},
    )
    assert png_bytes(draw_division(first), dpi=30).startswith(b"\x89PNG")


def test_given_axes_are_drawn_on() -> None:
    upper, lower = Figure().subplots(2, 1)
    assert plot_free_memory(divided_recording(), upper) is upper
    assert plot_vm_memory(divided_recording(), 0, lower) is lower


def test_breaks_of_one_that_is_gone_are_drawn_up_to_then() -> None:
    vms = dict(divided_recording().vms) | {"cow_breaks": np.array([[0, 0], [5, 9], [6, -1]])}
    drawn = lines(plot_cow_breaks(divided_recording(vms=vms)))
    assert list(drawn) == ["db", "web"]
    assert drawn["db"][:2] == [0, 9]
    assert np.isnan(drawn["db"][2])
