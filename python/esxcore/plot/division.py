"""Pictures of recordings in which memory was short: free states, and each VM's part of memory.

Above all else the free machine memory, on bands that show the free state. Below, a picture for each
virtual machine: its "physical" memory as layers, resident, ballooned and swapped out, with the
target that the policy has set and the estimate of what is active.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from esxcore.plot.style import (
    MIB_PER_PAGE,
    ORANGE,
    POSSIBLE,
    RECLAIMED,
    SKY,
    add_heading,
    add_legend,
    new_axes,
    over_time,
    own_style,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from esxcore.recording import Recording

# By the numbers of the states in a recording; each darker than the one before, in grey as well.
_STATES = (("high", "#E8F3EC"), ("soft", "#FBE7A1"), ("hard", "#F2A65A"), ("low", "#B5484B"))
_LAYERS = (
    ("resident", "allocated_pages", SKY),
    ("balloon", "balloon_pages", ORANGE),
    ("swapped", "swapped_pages", RECLAIMED),
)
_MOST_VMS = 12


def draw_division(recording: Recording, title: str = "Memory divided") -> Figure:
    """The picture of who had how much: `plot_free_memory` above a `plot_vm_memory` for each VM.

    Parameters
    ----------
    recording : Recording
        What to draw; it must have the columns of a host that divides its memory.
    title : str
        Heading of the figure.

    Returns
    -------
    Figure
        With as many virtual machines as find room, twelve, in power-on order.
    """
    shown = min(len(recording.vm_names), _MOST_VMS)
    columns = 1 if shown == 1 else 2 if shown in (2, 4) else 3
    rows = math.ceil(shown / columns)
    with own_style():
        figure = Figure(figsize=(10, 2.4 + 2.1 * rows), layout="constrained")
        grid = figure.add_gridspec(rows + 1, columns, height_ratios=[0.8, *[1] * rows])
        top = plot_free_memory(recording, figure.add_subplot(grid[0, :]))
        top.set_xlabel("")
        drawn: list[Artist] = []
        for place in range(shown):
            row, column = divmod(place, columns)
            ax = figure.add_subplot(grid[row + 1, column], sharex=top)
            drawn = _vm_memory(recording, place, ax)
            if place + columns < shown:
                ax.set_xlabel("")
            if column:
                ax.set_ylabel("")
        add_heading(figure, title, len(recording.vm_names) - shown)
        figure.legend(handles=drawn, loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    return figure


def plot_free_memory(recording: Recording, ax: Axes | None = None) -> Axes:
    """Draws free machine memory over time on bands of the free state (paper, section 6.3).

    Parameters
    ----------
    recording : Recording
        What to draw.
    ax : matplotlib Axes, optional
        Where to draw; a new figure if not given (``ax.figure``).

    Returns
    -------
    Axes
        MiB against minutes of virtual time.
    """
    ax = new_axes(ax)
    minutes = recording.time_s / 60
    states = recording.host["free_state"]
    handles: list[Artist] = []
    free = recording.host["free_pages"] * MIB_PER_PAGE
    handles += ax.plot(minutes, free, color=POSSIBLE, label="free", linewidth=1.4)
    for start, stop in _runs(states):
        colour = _STATES[int(states[start])][1]
        # A sample tells of the time before it.
        left, right = minutes[max(start - 1, 0)], minutes[stop - 1]
        ax.axvspan(left, right, color=colour, linewidth=0, zorder=0, antialiased=False)
    seen = sorted(set(states.tolist()))
    handles += [
        Patch(facecolor=_STATES[int(number)][1], edgecolor="0.6", label=_STATES[int(number)][0])
        for number in seen
    ]
    ax.set_ylabel("free memory\n(MiB)")
    ax.set_ylim(bottom=0)
    over_time(ax, minutes)
    ax.grid(visible=False)  # its lines would look like short states
    add_legend(ax, handles, loc="upper left", bbox_to_anchor=(1.0, 1.05))
    return ax


def plot_vm_memory(recording: Recording, position: int, ax: Axes | None = None) -> Axes:
    """Draws the parts of a virtual machine's memory over time: resident, ballooned, swapped.

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
        MiB against minutes of virtual time; nothing where it is powered off.
    """
    ax = new_axes(ax)
    drawn = _vm_memory(recording, position, ax)
    add_legend(ax, drawn, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax


def _vm_memory(recording: Recording, position: int, ax: Axes) -> list[Artist]:
    minutes = recording.time_s / 60
    drawn: list[Artist] = []
    below = np.zeros(len(minutes))
    on = recording.vms["max_pages"][:, position] >= 0
    for label, name, colour in _LAYERS:
        above = below + np.where(on, recording.vms[name][:, position], 0) * MIB_PER_PAGE
        drawn.append(
            ax.fill_between(minutes, below, above, where=on, color=colour, lw=0, label=label)
        )
        below = above
    lines: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("target", "target_pages", {"color": POSSIBLE, "linewidth": 1.6}),
        (
            "active",
            "active_pages",
            {"color": "#004D40", "linewidth": 1.4, "linestyle": (0, (3, 2))},
        ),
    )
    for label, name, style in lines:
        pages = recording.vms[name][:, position]
        drawn += ax.plot(
            minutes, np.where(pages < 0, np.nan, pages * MIB_PER_PAGE), label=label, **style
        )
    ax.set_ylabel("memory (MiB)")
    most = max(float(below.max()), float(recording.vms["max_pages"][:, position].max()) / 256)
    ax.set_ylim(0, max(most, 1 / 256) * 1.04)
    over_time(ax, minutes, recording.vm_names[position])
    return drawn


def _runs(values: Any) -> list[tuple[int, int]]:
    """Beginning and end, one past the last, of each stretch of equal values."""
    cuts = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    return list(itertools.pairwise(cuts))
