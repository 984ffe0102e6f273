"""Pictures of a census: the parts of each bar add up, and the cells are what two images share."""

from __future__ import annotations

import io
from typing import Any

import matplotlib
import matplotlib.image
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure

import esxcore
from esxcore.contents import page_bytes
from esxcore.plot import draw_census, plot_common_contents, plot_savings, png_bytes

MIB = 256  # pages
WEB = [1] * MIB + [0] * MIB + list(range(2, 2 + 2 * MIB))
DB = [1] * MIB + list(range(2, 2 + MIB))


def of(*guests: list[int]) -> esxcore.Census:
    return esxcore.census([page_bytes(np.array(guest, np.uint64)) for guest in guests])


@pytest.fixture(scope="module")
def found() -> esxcore.Census:
    return of(WEB, DB)


def renamed(found: esxcore.Census, *paths: str) -> esxcore.Census:
    for image, path in zip(found.images, paths, strict=True):
        object.__setattr__(image, "path", path)
    return found


def bars(ax: Axes) -> dict[str, list[float]]:
    drawn = [held for held in ax.containers if isinstance(held, BarContainer)]
    return {str(held.get_label()): [bar.get_width() for bar in held] for held in drawn}


def tick_texts(axis: Any) -> list[str]:
    return [text.get_text() for text in axis.get_ticklabels()]


def test_savings_are_stacked_for_all_and_for_each(found: esxcore.Census) -> None:
    ax = plot_savings(found)
    drawn = bars(ax)
    rows = [found, *found.images]
    assert drawn == {
        "zero pages saved": [row.zero_reclaimed_pages / MIB for row in rows],
        "saved within images": [row.intra_reclaimed_pages / MIB for row in rows],
        "saved across images": [found.inter_reclaimed_pages / MIB, 0, 0],
        "to be kept": [row.distinct_pages / MIB for row in rows],
    }
    assert np.sum([*drawn.values()], axis=0).tolist() == [6, 4, 2]
    ends = np.array([[bar.get_x() + bar.get_width() for bar in held] for held in ax.containers])
    assert ends[-1] == pytest.approx([6, 4, 2])
    assert (np.diff(ends, axis=0) >= 0).all()
    assert tick_texts(ax.yaxis) == ["all together", "array[0]", "array[1]"]
    assert ax.get_xlabel() == "memory (MiB)"
    assert ax.get_title(loc="left") == "Sharing would save 4 MiB, 67% of all"
    assert ax.yaxis_inverted()


def test_a_single_image_is_one_bar_and_no_matrix() -> None:
    figure = draw_census(of(WEB))
    [ax] = figure.axes
    assert tick_texts(ax.yaxis) == ["array[0]"]
    assert [len(widths) for widths in bars(ax).values()] == [1] * 4


def test_the_matrix_is_the_part_of_the_smaller_image(found: esxcore.Census) -> None:
    ax = plot_common_contents(found)
    [drawn] = ax.get_images()
    shown = np.ma.filled(np.ma.masked_invalid(drawn.get_array()), -1)
    assert shown.tolist() == [[-1, 1], [1, -1]]  # all that the second has is in the first
    cells = [text.get_text() for text in ax.texts]
    assert cells == [f"{pages / MIB:,.1f}" for pages in found.common_contents.ravel()]
    assert tick_texts(ax.yaxis) == ["1  array[0]", "2  array[1]"]
    assert tick_texts(ax.xaxis) == ["1", "2"]


def test_given_axes_are_drawn_on(found: esxcore.Census) -> None:
    upper, lower = Figure().subplots(2, 1)
    assert plot_savings(found, upper) is upper
    assert plot_common_contents(found, lower) is lower
    assert len(upper.containers) == 4
    assert len(lower.get_images()) == 1


def test_a_picture_is_a_png_of_the_size_asked_for(found: esxcore.Census) -> None:
    figure = draw_census(found)
    pixels = matplotlib.image.imread(io.BytesIO(png_bytes(figure, dpi=50)))
    assert pixels.shape[:2] == tuple(int(side * 50) for side in figure.get_size_inches()[::-1])
    assert pixels[..., :3].std() > 0.05  # not an empty page
    again = png_bytes(draw_census(found), dpi=50)
    assert again == png_bytes(draw_census(found), dpi=50)


@pytest.mark.parametrize("guests", [([0],), ([0], [0, 0]), ([1], [2])])
def test_where_nothing_is_shared_there_is_a_picture_all_the_same(guests: Any) -> None:
    assert png_bytes(draw_census(of(*guests)), dpi=30).startswith(b"\x89PNG")


def test_of_hundreds_of_images_numbers_stand_for_names() -> None:
    figure = draw_census(of(*[[1, 2, number + 3] for number in range(300)]))
    upper, lower = figure.axes[:2]
    assert figure.get_size_inches()[1] < 40
    assert [len(widths) for widths in bars(upper).values()] == [301] * 4
    assert lower.get_images()[0].get_extent() == pytest.approx((0.5, 300.5, 300.5, 0.5))
    shown = [*tick_texts(upper.yaxis), *tick_texts(lower.yaxis)]
    assert not any("array" in text for text in shown)
    assert not lower.texts
    assert png_bytes(figure, dpi=30).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "name", ["$\\frac{$", "a$b$", "_hidden", "\u6771\u4eac", "\udcff", "new\nline", "/x" * 200]
)
def test_a_name_is_text_whatever_it_looks_like(name: str) -> None:
    figure = draw_census(renamed(of(WEB, DB), name, "other"))
    assert png_bytes(figure, dpi=30).startswith(b"\x89PNG")
    shown = name.replace("\udcff", "\ufffd").replace("\n", "\ufffd")
    shown = shown if len(shown) <= 32 else f"\u2026{shown[-32:]}"
    upper, lower = figure.axes[:2]
    assert tick_texts(upper.yaxis) == ["all together", shown, "other"]
    assert tick_texts(lower.yaxis) == [f"1  {shown}", "2  other"]
    labels = [*upper.yaxis.get_ticklabels(), *lower.yaxis.get_ticklabels()]
    assert not any(text.get_parse_math() for text in labels)


def test_global_state_and_the_users_style_do_not_matter(found: esxcore.Census) -> None:
    before = dict(matplotlib.rcParams)
    plain = png_bytes(draw_census(found), dpi=30)
    assert dict(matplotlib.rcParams) == before
    with matplotlib.rc_context({"text.usetex": True, "font.size": 30, "image.cmap": "gray"}):
        assert png_bytes(draw_census(found), dpi=30) == plain
