"""Pictures of recordings: sharing over time, what the contents would allow, and COW breaks.

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
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from esxcore.recording import Recording

_Corner = Literal["best", "upper left"]
_MIB_PER_PAGE = 4096 / 2**20
# The palette of Okabe and Ito, which people with any kind of colour blindness can tell apart.
_SHARED, _RECLAIMED, _ZERO, _POSSIBLE = "#0072B2", "#D55E00", "#009E73", "#000000"
# Those the upper picture has given no meaning to come first.
_VM_COLOURS = ("#CC79A7", "#56B4E9", "#E69F00", _POSSIBLE, _ZERO, _SHARED, _RECLAIMED)
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
