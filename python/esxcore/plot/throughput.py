"""Pictures of recordings of guests at work: operations a second, and time lost for want of memory.

A picture for each virtual machine that got something done, with its operations a second as a line
and, behind it, the part of the time for which its processes stood.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from esxcore.plot.style import (
    ORANGE,
    SHARED,
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


def draw_throughput(recording: Recording, title: str = "Guests at work") -> Figure:
    """The picture of what got done: a `plot_throughput` for each VM that did something.

    Parameters
    ----------
    recording : Recording
        What to draw; `Recording.work` must have rows.
    title : str
        Heading of the figure.

    Returns
    -------
    Figure
        With as many virtual machines as find room, twelve, in power-on order.
    """
    places = {name: place for place, name in enumerate(recording.vm_names)}
    names = [row.name for row in recording.work()]
    return draw_each(
        names, lambda name, ax: _throughput(recording, places[name], ax), title, (1.0, 2.3)
    )


def plot_throughput(recording: Recording, position: int, ax: Axes | None = None) -> Axes:
    """Draws operations a second of a virtual machine over time, and the part of time it stood.

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
        Operations a second against minutes of virtual time. The part of time, 0 to 1, takes the
        whole height.
    """
    ax = new_axes(ax)
    drawn = _throughput(recording, position, ax)
    add_legend(ax, drawn, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax


def _throughput(recording: Recording, position: int, ax: Axes) -> list[Artist]:
    minutes = recording.time_s / 60
    rate = recording.ops_per_s(position)
    most = max(float(np.nanmax(rate, initial=0.0)), 1.0)
    stalled = np.diff(recording.vms["stall_some_s"][:, position]) / np.diff(recording.time_s)
    height = np.clip(np.nan_to_num(np.concatenate([[0.0], stalled])), 0, 1) * most
    layer: Any = ax.fill_between(
        minutes, 0, height, step="pre", color=ORANGE, alpha=0.55, lw=0, label="part of time stalled"
    )
    (line,) = ax.plot(minutes, rate, color=SHARED, linewidth=1.4, label="operations a second")
    ax.set_ylabel("operations/s")
    ax.set_ylim(0, most * 1.04)
    over_time(ax, minutes, recording.vm_names[position])
    return [line, layer]
