"""Pictures of recordings: sharing over time, what the contents would allow, and COW breaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from esxcore.plot.style import (
    LINE,
    MIB_PER_PAGE,
    ORANGE,
    POSSIBLE,
    PURPLE,
    RECLAIMED,
    SHARED,
    SKY,
    ZERO,
    drawable,
    finish,
    new_axes,
    own_style,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from esxcore.recording import Recording

# Those the upper picture has given no meaning to come first.
_VM_COLOURS = (PURPLE, SKY, ORANGE, POSSIBLE, ZERO, SHARED, RECLAIMED)
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
        The axes drawn on: MiB against minutes of virtual time. What the contents allow is drawn
        from census to census, and not at all if there was none.
    """
    ax = new_axes(ax)
    minutes = recording.time_s / 60
    host, possible = recording.host, recording.census["reclaimed_pages"]
    counted, all_samples = recording.counted, np.arange(len(minutes))
    lines: tuple[tuple[str, NDArray[Any], NDArray[np.intp], str, dict[str, Any]], ...] = (
        ("shared", host["shared_pages"], all_samples, SHARED, {}),
        ("what the contents allow to reclaim", possible, counted, POSSIBLE, _ON_TOP),
        ("reclaimed", host["reclaimed_pages"], all_samples, RECLAIMED, {"linewidth": 3.2}),
        ("zero pages among the shared", host["zero_pages"], all_samples, ZERO, {}),
    )
    drawn: list[Artist] = []
    for label, pages, at, colour, style in lines:
        if at.size:
            sizes = pages[at] * MIB_PER_PAGE
            drawn += ax.plot(minutes[at], sizes, color=colour, label=label, **LINE | style)
    ax.set_ylabel("memory (MiB)")
    ax.set_ylim(bottom=0)
    finish(ax, minutes, drawn, "best")
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
    ax = new_axes(ax)
    minutes = recording.time_s / 60
    counted = recording.vms["cow_breaks"]
    breaks = np.where(counted < 0, np.nan, counted)  # nothing is drawn while a VM is off
    most = np.maximum(counted, 0).max(axis=0)
    most_first = np.argsort(-most, kind="stable")
    drawn: list[Artist] = []
    for position, colour in zip(most_first, _VM_COLOURS, strict=False):
        if most[position]:
            name = recording.vm_names[position]
            drawn += ax.plot(minutes, breaks[:, position], color=colour, label=name, **LINE)
    ax.set_ylabel("COW breaks\n(pages)")
    ax.set_ylim(bottom=0)
    finish(ax, minutes, drawn, "upper left")  # rising curves leave that corner free
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
    with own_style():
        figure = Figure(figsize=(9, 5.6), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        plot_sharing(recording, upper)
        plot_cow_breaks(recording, lower)
        text = drawable(title)
        upper.set_title(text, loc="left", fontsize=12, fontweight="bold", parse_math=False)
        upper.set_xlabel("")
    return figure
