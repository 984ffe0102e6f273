"""What all pictures have in common: colours, axes over virtual time, text that is only text."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

Corner = Literal["best", "upper left"]
MIB_PER_PAGE = 4096 / 2**20
_MOST_PANELS = 12
# The palette of Okabe and Ito, which people with any kind of colour blindness can tell apart.
SHARED, RECLAIMED, ZERO, POSSIBLE = "#0072B2", "#D55E00", "#009E73", "#000000"
SKY, ORANGE, PURPLE = "#56B4E9", "#E69F00", "#CC79A7"
LINE: dict[str, Any] = {"linewidth": 1.8}


def png_bytes(figure: Figure, dpi: int = 150) -> bytes:
    """The figure as the bytes of a PNG file."""
    stream = io.BytesIO()
    with own_style(), warnings.catch_warnings():
        # The font lacks some scripts; a box stands for such a character, and that is enough said.
        warnings.filterwarnings("ignore", "(Glyph|Matplotlib currently does not support)")
        figure.savefig(stream, format="png", dpi=dpi, metadata={"Software": None})
    return stream.getvalue()


def new_axes(ax: Axes | None) -> Axes:
    """The axes given, or those of a new figure."""
    return Figure(figsize=(9, 4), layout="constrained").subplots() if ax is None else ax


@contextmanager
def own_style() -> Iterator[None]:
    """Matplotlib's own defaults while the block runs, in place of the user's matplotlibrc."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", matplotlib.MatplotlibDeprecationWarning)
        defaults = dict(matplotlib.rcParamsDefault)
    defaults.pop("backend", None)  # the one setting that rc_context would not put back
    with matplotlib.rc_context(defaults):
        yield


def drawable(text: str) -> str:
    """The text with a mark for each character that no font can show, such as a stray byte."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def finish(ax: Axes, minutes: NDArray[np.float64], drawn: list[Artist], corner: Corner) -> None:
    """Gives axes over virtual time their labels and a legend of what was drawn."""
    over_time(ax, minutes)
    add_legend(ax, drawn, loc=corner)


def over_time(ax: Axes, minutes: NDArray[np.float64], name: str | None = None) -> None:
    """Gives axes over virtual time their label, limits and grid, and the name of what they show."""
    if name is not None:
        ax.set_title(drawable(name), loc="left", fontsize=10, parse_math=False)
    ax.set_xlabel("virtual time (minutes)")
    ax.set_xlim(0, max(float(minutes[-1]), 1 / 60))
    ax.grid(visible=True, color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def add_legend(ax: Axes, drawn: list[Artist], **where: Any) -> None:
    """A legend of what was on the axes before, and of what was drawn now."""
    handles = [artist for artist in ax.get_legend_handles_labels()[0] if artist not in drawn]
    handles += drawn
    if not handles:
        return
    # Numbers first: matplotlib leaves out labels that begin with "_", and reads "$" as mathematics.
    places = [str(place) for place in range(len(handles))]
    legend = ax.legend(handles, places, frameon=False, fontsize=9, **where)
    for text, artist in zip(legend.get_texts(), handles, strict=True):
        text.set_parse_math(False)
        text.set_text(drawable(str(artist.get_label())))


def draw_each(
    names: Sequence[str],
    draw: Callable[[str, Axes], list[Artist]],
    title: str,
    inches: tuple[float, float],
) -> Figure:
    """A figure with a panel for each virtual machine of those names, and one legend for all.

    Parameters
    ----------
    names : sequence of str
        As many as find room, twelve, are drawn.
    draw : callable
        Draws one of them on axes, and gives what stands in the legend.
    title : str
        Heading of the figure.
    inches : tuple of two floats
        Height of heading and legend, and of a row of panels.
    """
    shown = min(len(names), _MOST_PANELS)
    columns = 1 if shown == 1 else 2 if shown in (2, 4) else 3
    rows = math.ceil(shown / columns)
    with own_style():
        figure = Figure(figsize=(10, inches[0] + inches[1] * rows), layout="constrained")
        drawn: list[Artist] = []
        for place in range(shown):
            ax = figure.add_subplot(rows, columns, place + 1)
            drawn = draw(names[place], ax)
            if place + columns < shown:
                ax.set_xlabel("")
            if place % columns:
                ax.set_ylabel("")
        add_heading(figure, title, len(names) - shown)
        figure.legend(
            handles=drawn,
            loc="outside lower center",
            ncols=max(len(drawn), 1),
            frameon=False,
            fontsize=9,
        )
    return figure


def add_heading(figure: Figure, title: str, left_out: int) -> None:
    """The heading of a figure, and how many virtual machines found no room in it."""
    text = drawable(title) + (f"; {left_out} more not shown" if left_out else "")
    figure.suptitle(text, x=0.01, ha="left", fontsize=12, fontweight="bold", parse_math=False)
