"""Pictures of recordings and of censuses.

Of a recording: sharing over time, what the contents would allow, and COW breaks. Of a census: what
would be saved, and who shares with whom.

Each function draws on the axes it is given or makes a figure of its own, and leaves matplotlib's
global state alone: no pyplot, no backend, no lasting change of rcParams. Names are text, never
mathematics; a picture that `draw` makes is the same whatever the user's matplotlibrc says. Labels
use the words of `Recording` and of the paper's Figure 4.

A leaf: nothing in the package imports it but the command that was asked for a picture, and it
imports nothing of the package when it runs.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from esxcore.counting import Census
    from esxcore.recording import Recording

_Corner = Literal["best", "upper left"]
_MIB_PER_PAGE = 4096 / 2**20
# The palette of Okabe and Ito, which people with any kind of colour blindness can tell apart.
_SHARED, _RECLAIMED, _ZERO, _POSSIBLE = "#0072B2", "#D55E00", "#009E73", "#000000"
# Those the upper picture has given no meaning to come first.
_VM_COLOURS = ("#CC79A7", "#56B4E9", "#E69F00", _POSSIBLE, _ZERO, _SHARED, _RECLAIMED)
_UNSAVED = "0.82"
_PARTS: tuple[tuple[str, str, Callable[[Any], int]], ...] = (
    ("zero pages saved", _ZERO, lambda row: row.zero_reclaimed_pages),
    ("saved within images", _SHARED, lambda row: row.intra_reclaimed_pages),
    ("saved across images", _RECLAIMED, lambda row: row.inter_reclaimed_pages),
    ("to be kept", _UNSAVED, lambda row: row.distinct_pages),
)
_CELLS_WITH_NUMBERS = 12
_ROWS_WITH_NAMES = 40
_LONGEST_NAME = 32
_LINE: dict[str, Any] = {"linewidth": 1.8}
# Where sharing has found all there is the two lines are one: the dashes must show on the other.
_ON_TOP = {"linestyle": (0, (4, 3)), "linewidth": 1.3, "zorder": 3}


def plot_sharing(recording: Recording, ax: Axes | None = None) -> Axes:
    """Draws shared, reclaimed and zero memory over time, and what the contents allow to reclaim.

    Parameters
    ----------
    recording : Recording
        What to draw.
    ax : matplotlib Axes, optional
        Where to draw; a new figure if not given (``ax.figure``).

    Returns
    -------
    Axes
        The axes drawn on: MiB against minutes of virtual time.
    """
    ax = _axes(ax)
    minutes = recording.time_s / 60
    host, possible = recording.host, recording.census["reclaimed_pages"]
    lines: tuple[tuple[str, NDArray[Any], str, dict[str, Any]], ...] = (
        ("shared", host["shared_pages"], _SHARED, {}),
        ("what the contents allow to reclaim", possible, _POSSIBLE, _ON_TOP),
        ("reclaimed", host["reclaimed_pages"], _RECLAIMED, {"linewidth": 3.2}),
        ("zero pages among the shared", host["zero_pages"], _ZERO, {}),
    )
    drawn: list[Artist] = []
    for label, pages, colour, style in lines:
        sizes = pages * _MIB_PER_PAGE
        drawn += ax.plot(minutes, sizes, color=colour, label=label, **_LINE | style)
    ax.set_ylabel("memory (MiB)")
    ax.set_ylim(bottom=0)
    _finish(ax, minutes, drawn, "best")
    return ax


def plot_cow_breaks(recording: Recording, ax: Axes | None = None) -> Axes:
    """Draws how many private copies each virtual machine's writes to shared pages have cost.

    Parameters
    ----------
    recording : Recording
        What to draw.
    ax : matplotlib Axes, optional
        Where to draw; a new figure if not given (``ax.figure``).

    Returns
    -------
    Axes
        The axes drawn on: pages since power-on against minutes of virtual time, for the virtual
        machines with most breaks, as many as there are colours.
    """
    ax = _axes(ax)
    minutes = recording.time_s / 60
    breaks = recording.vms["cow_breaks"]
    most_first = np.argsort(-breaks[-1], kind="stable")
    drawn: list[Artist] = []
    for position, colour in zip(most_first, _VM_COLOURS, strict=False):
        if breaks[-1, position]:
            name = recording.vm_names[position]
            drawn += ax.plot(minutes, breaks[:, position], color=colour, label=name, **_LINE)
    ax.set_ylabel("COW breaks\n(pages)")
    ax.set_ylim(bottom=0)
    _finish(ax, minutes, drawn, "upper left")  # rising curves leave that corner free
    return ax


def draw(recording: Recording, title: str = "Page sharing") -> Figure:
    """The picture of a run: `plot_sharing` above `plot_cow_breaks`, on one time axis.

    Parameters
    ----------
    recording : Recording
        What to draw.
    title : str
        Heading of the figure.

    Returns
    -------
    Figure
        Not attached to any window; save it with ``figure.savefig`` or `png_bytes`.
    """
    with _own_style():
        figure = Figure(figsize=(9, 5.6), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        plot_sharing(recording, upper)
        plot_cow_breaks(recording, lower)
        text = _drawable(title)
        upper.set_title(text, loc="left", fontsize=12, fontweight="bold", parse_math=False)
        upper.set_xlabel("")
    return figure


def png_bytes(figure: Figure, dpi: int = 150) -> bytes:
    """The figure as the bytes of a PNG file."""
    stream = io.BytesIO()
    with _own_style(), warnings.catch_warnings():
        # The font lacks some scripts; a box stands for such a character, and that is enough said.
        warnings.filterwarnings("ignore", "(Glyph|Matplotlib currently does not support)")
        figure.savefig(stream, format="png", dpi=dpi, metadata={"Software": None})
    return stream.getvalue()


def _axes(ax: Axes | None) -> Axes:
    return Figure(figsize=(9, 4), layout="constrained").subplots() if ax is None else ax


@contextmanager
def _own_style() -> Iterator[None]:
    """Matplotlib's own defaults while the block runs, in place of the user's matplotlibrc."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", matplotlib.MatplotlibDeprecationWarning)
        defaults = dict(matplotlib.rcParamsDefault)
    defaults.pop("backend", None)  # the one setting that rc_context would not put back
    with matplotlib.rc_context(defaults):
        yield


def _drawable(text: str) -> str:
    """The text with a mark for each character that no font can show, such as a stray byte."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def _finish(ax: Axes, minutes: NDArray[np.float64], drawn: list[Artist], corner: _Corner) -> None:
    ax.set_xlabel("virtual time (minutes)")
    ax.set_xlim(0, max(float(minutes[-1]), 1 / 60))
    ax.grid(visible=True, color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    handles = [artist for artist in ax.get_legend_handles_labels()[0] if artist not in drawn]
    handles += drawn
    if not handles:
        return
    # Numbers first: matplotlib leaves out labels that begin with "_", and reads "$" as mathematics.
    places = [str(place) for place in range(len(handles))]
    legend = ax.legend(handles, places, frameon=False, fontsize=9, loc=corner)
    for text, artist in zip(legend.get_texts(), handles, strict=True):
        text.set_parse_math(False)
        text.set_text(_drawable(str(artist.get_label())))


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
    with _own_style():
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
    ax = _axes(ax)
    bars = [("all together", census), *((image.path, image) for image in census.images)]
    if len(bars) == 2:
        bars = [(census.images[0].path, census)]
    places = np.arange(len(bars))
    left = np.zeros(len(bars))
    for label, colour, part in _PARTS:
        sizes = np.array([part(row) for _, row in bars]) * _MIB_PER_PAGE
        ax.barh(places, sizes, left=left, color=colour, label=label, height=0.72)
        left += sizes
    if len(census.images) <= _ROWS_WITH_NAMES:
        ax.set_yticks(places, [_short(name) for name, _ in bars], parse_math=False)
    else:
        ax.set_ylabel("image; 0 is all together")
        ax.set_ylim(-0.5, len(bars) - 0.5)
    ax.invert_yaxis()
    ax.set_xlabel("memory (MiB)")
    ax.set_xlim(0, max(float(left.max()), _MIB_PER_PAGE))
    ax.grid(visible=True, axis="x", color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    saved = census.reclaimed_pages * _MIB_PER_PAGE
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
    ax = _axes(ax)
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
                f"{common[row, column] * _MIB_PER_PAGE:,.1f}",
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
    name = _drawable(name)
    return name if len(name) <= _LONGEST_NAME else f"\N{HORIZONTAL ELLIPSIS}{name[-_LONGEST_NAME:]}"
