"""Pictures of recordings of guests with devices: transfers and copies a second.

A picture for each virtual machine whose devices transferred something. The scale is logarithmic,
because copies fall by orders of magnitude where hot pages move to low memory (paper, section 7).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from esxcore.plot.style import (
    RECLAIMED,
    SHARED,
    ZERO,
    add_heading,
    add_legend,
    drawable,
    new_axes,
    over_time,
    own_style,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from esxcore.recording import Recording

_MOST_VMS = 12
_LINES = (
    ("io_pages", "transfers a second", SHARED, 1.2),
    ("io_copies", "copies a second", RECLAIMED, 1.8),
    ("io_remaps", "moves to low memory a second", ZERO, 1.2),
)
_LINEAR = 10.0
"""Below it the scale is linear, so that nothing at all can be drawn."""


def draw_io(recording: Recording, title: str = "I/O through low memory") -> Figure:
    """The picture of what devices did: a `plot_io` for each VM with transfers.

    Parameters
    ----------
    recording : Recording
        What to draw; `Recording.io` must have rows.
    title : str
        Heading of the figure.

    Returns
    -------
    Figure
        With as many virtual machines as find room, twelve, in power-on order.
    """
    names = [row.name for row in recording.io()]
    shown = min(len(names), _MOST_VMS)
    columns = 1 if shown == 1 else 2 if shown in (2, 4) else 3
    rows = math.ceil(shown / columns)
    with own_style():
        figure = Figure(figsize=(10, 1.4 + 2.6 * rows), layout="constrained")
        drawn: list[Artist] = []
        for place in range(shown):
            ax = figure.add_subplot(rows, columns, place + 1)
            drawn = _io(recording, list(recording.vm_names).index(names[place]), ax)
            if place + columns < shown:
                ax.set_xlabel("")
            if place % columns:
                ax.set_ylabel("")
        add_heading(figure, title, len(names) - shown)
        figure.legend(handles=drawn, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def plot_io(recording: Recording, position: int, ax: Axes | None = None) -> Axes:
    """Draws transfers, copies and moves a second of a virtual machine over time.

    Parameters
    ----------
    recording : Recording
        What to draw.
    position : int
        Which virtual machine, from 0 in the order of `Recording.vm_names`.
    ax : matplotlib Axes, optional
        Where to draw; a new figure if not given (``ax.figure``).

    Returns
    -------
    Axes
        Pages a second against minutes of virtual time, logarithmic above 10.
    """
    ax = new_axes(ax)
    drawn = _io(recording, position, ax)
    add_legend(ax, drawn, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax


def _io(recording: Recording, position: int, ax: Axes) -> list[Artist]:
    minutes = recording.time_s / 60
    drawn: list[Artist] = []
    most = _LINEAR
    for column, label, color, width in _LINES:
        rate = recording.io_per_s(position, column)
        most = max(most, float(np.nanmax(rate, initial=0.0)))
        drawn += ax.plot(minutes, rate, color=color, linewidth=width, label=label)
    ax.set_yscale("symlog", linthresh=_LINEAR)
    ax.set_ylabel("pages/s")
    ax.set_ylim(0, most * 2)
    over_time(ax, minutes)
    name = drawable(recording.vm_names[position])
    ax.set_title(name, loc="left", fontsize=10, parse_math=False)
    return drawn
