"""Pictures of recordings of guests with devices: transfers and copies a second.

A picture for each virtual machine whose devices transferred something. The scale is logarithmic,
because copies fall by orders of magnitude where hot pages move to low memory (paper, section 7).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from esxcore.plot.style import (
    RECLAIMED,
    SHARED,
    ZERO,
    add_legend,
    draw_each,
    new_axes,
    over_time,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from esxcore.recording import Recording

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
    places = {name: place for place, name in enumerate(recording.vm_names)}
    names = [row.name for row in recording.io()]
    return draw_each(names, lambda name, ax: _io(recording, places[name], ax), title, (1.4, 2.6))


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
    over_time(ax, minutes, recording.vm_names[position])
    return drawn
