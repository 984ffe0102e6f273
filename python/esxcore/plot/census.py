"""Pictures of censuses: what would be saved, and who shares with whom."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from esxcore.plot.style import (
    MIB_PER_PAGE,
    RECLAIMED,
    SHARED,
    ZERO,
    drawable,
    new_axes,
    own_style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from esxcore.counting import Census

_UNSAVED = "0.82"
_PARTS: tuple[tuple[str, str, Callable[[Any], int]], ...] = (
    ("zero pages saved", ZERO, lambda row: row.zero_reclaimed_pages),
    ("saved within images", SHARED, lambda row: row.intra_reclaimed_pages),
    ("saved across images", RECLAIMED, lambda row: row.inter_reclaimed_pages),
    ("to be kept", _UNSAVED, lambda row: row.distinct_pages),
)
_CELLS_WITH_NUMBERS = 12
_ROWS_WITH_NAMES = 40
_LONGEST_NAME = 32


def draw_census(census: Census) -> Figure:
    """A census at a glance: what each image holds and what would be saved, and who shares.

    Parameters
    ----------
    census : Census
        What to draw.

    Returns
    -------
    Figure
        Bars above, and below the matrix of contents in common if there are several images.
    """
    several = len(census.images) > 1
    with own_style():
        rows = min(len(census.images), _ROWS_WITH_NAMES)
        height = 2.2 + 0.32 * rows + (min(2.4 + 0.42 * rows, 11) if several else 0)
        figure = Figure(figsize=(9, height), layout="constrained")
        ratios = [1.6 + 0.32 * rows, min(2.4 + 0.42 * rows, 11)] if several else [1]
        axes = figure.subplots(len(ratios), 1, gridspec_kw={"height_ratios": ratios}, squeeze=False)
        plot_savings(census, axes[0, 0])
        if several:
            plot_common_contents(census, axes[1, 0])
    return figure


def plot_savings(census: Census, ax: Axes | None = None) -> Axes:
    """Draws what sharing would save, in its three parts, and what has to be kept.

    Parameters
    ----------
    census : Census
        What to draw.
    ax : matplotlib Axes, optional
        Where to draw; a new figure if not given (``ax.figure``).

    Returns
    -------
    Axes
        A bar for all images together and one for each alone: MiB by part.
    """
    ax = new_axes(ax)
    bars = [("all together", census), *((image.path, image) for image in census.images)]
    if len(bars) == 2:
        bars = [(census.images[0].path, census)]
    places = np.arange(len(bars))
    left = np.zeros(len(bars))
    for label, colour, part in _PARTS:
        sizes = np.array([part(row) for _, row in bars]) * MIB_PER_PAGE
        ax.barh(places, sizes, left=left, color=colour, label=label, height=0.72)
        left += sizes
    if len(census.images) <= _ROWS_WITH_NAMES:
        ax.set_yticks(places, [_short(name) for name, _ in bars], parse_math=False)
    else:
        ax.set_ylabel("image; 0 is all together")
        ax.set_ylim(-0.5, len(bars) - 0.5)
    ax.invert_yaxis()
    ax.set_xlabel("memory (MiB)")
    ax.set_xlim(0, max(float(left.max()), MIB_PER_PAGE))
    ax.grid(visible=True, axis="x", color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    saved = census.reclaimed_pages * MIB_PER_PAGE
    share = f", {census.reclaimed_pages / census.pages:.0%} of all" if census.pages else ""
    ax.set_title(
        f"Sharing would save {saved:,.0f} MiB{share}", loc="left", fontsize=12, fontweight="bold"
    )
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.24), ncols=4, frameon=False, fontsize=9)
    return ax


def plot_common_contents(census: Census, ax: Axes | None = None) -> Axes:
    """Draws which images share: contents in common, of those of the smaller of each pair.

    Parameters
    ----------
    census : Census
        What to draw.
    ax : matplotlib Axes, optional
        Where to draw; a new figure if not given (``ax.figure``).

    Returns
    -------
    Axes
        A heat map with an image a row and a column, in the order of the census.
    """
    ax = new_axes(ax)
    common = census.common_contents.astype(float)
    own = np.diag(common)
    smaller = np.minimum.outer(own, own)
    part = np.divide(common, smaller, out=np.zeros_like(common), where=smaller > 0)
    shown = np.where(np.eye(len(own), dtype=bool), np.nan, part)
    highest = max(float(np.nanmax(shown, initial=0.0)), 0.01)
    drawn = ax.imshow(shown, cmap="Blues", vmin=0, vmax=highest, aspect="auto")
    names = [f"{number}  {_short(image.path)}" for number, image in enumerate(census.images, 1)]
    if len(names) <= _ROWS_WITH_NAMES:
        ax.set_xticks(range(len(names)), [str(number) for number in range(1, len(names) + 1)])
        ax.set_yticks(range(len(names)), names, parse_math=False)
        ax.tick_params(length=0)
    else:
        drawn.set_extent((0.5, len(names) + 0.5, len(names) + 0.5, 0.5))
        ax.set_ylabel("image")
    if len(names) <= _CELLS_WITH_NUMBERS:
        for row, column in np.ndindex(*common.shape):
            is_dark = row != column and part[row, column] > 0.6 * highest
            ax.text(
                column,
                row,
                f"{common[row, column] * MIB_PER_PAGE:,.1f}",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if is_dark else "0.45" if row == column else "black",
            )
    ax.set_title(
        "Contents in common, MiB of one copy each; zero pages left out",
        loc="left",
        fontsize=12,
        fontweight="bold",
    )
    bar = ax.figure.colorbar(drawn, ax=ax, shrink=0.9)
    bar.set_label("part of the smaller image's contents", fontsize=9)
    bar.outline.set_visible(False)
    return ax


def _short(name: str) -> str:
    """The end of a name, where images of one folder differ."""
    name = drawable(name)
    return name if len(name) <= _LONGEST_NAME else f"\N{HORIZONTAL ELLIPSIS}{name[-_LONGEST_NAME:]}"
