"""Pictures of sweeps: a metric over a swept field, a line for each policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from esxcore.config import parse_duration, parse_size_text
from esxcore.errors import ConfigError
from esxcore.plot.style import (
    LINE,
    ORANGE,
    POSSIBLE,
    PURPLE,
    RECLAIMED,
    SHARED,
    SKY,
    ZERO,
    add_heading,
    add_legend,
    drawable,
    new_axes,
    own_style,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

Values = Sequence[Any]
Lines = Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]

_COLOURS = (SHARED, RECLAIMED, ZERO, PURPLE, ORANGE, SKY, POSSIBLE)
_DASHES = ("-", "--", ":")
MOST_LINES = len(_COLOURS) * len(_DASHES)
_MARKER: dict[str, Any] = {"marker": "o", "markersize": 4}


def draw_sweep(field: str, values: Values, panels: Mapping[str, Lines], title: str) -> Figure:
    """The picture of a sweep: a `plot_sweep` for each of some metrics, one above the other.

    Parameters
    ----------
    field : str
        What the metrics are drawn over.
    values : sequence
        Its values.
    panels : mapping of str to lines
        The lines of each metric by its name and unit.
    title : str
        Heading of the figure.
    """
    with own_style():
        figure = Figure(figsize=(9, 1.0 + 2.8 * len(panels)), layout="constrained")
        axes = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
        for (label, lines), ax in zip(panels.items(), axes, strict=True):
            drawn = _draw(field, values, lines, label, ax)
            if ax is axes[0]:  # the others have the same lines
                add_legend(ax, drawn, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        for ax in axes[:-1]:
            ax.set_xlabel("")
        add_heading(figure, title, 0)
    return figure


def plot_sweep(
    field: str, values: Values, lines: Lines, label: str, ax: Axes | None = None
) -> Axes:
    """Draws a metric over a field: means over seeds, and 95 % intervals as bands.

    Parameters
    ----------
    field : str
        What the metric is drawn over.
    values : sequence
        Its values: numbers, sizes and times stand on a scale, others one beside the other.
    lines : mapping of str to (means, half intervals)
        What to draw.
    label : str
        Name and unit of the metric.
    ax : matplotlib Axes, optional
        Where to draw; a new figure if not given (``ax.figure``).

    Raises
    ------
    ConfigError
        If there are more lines than can be told apart.
    """
    ax = new_axes(ax)
    drawn = _draw(field, values, lines, label, ax)
    add_legend(ax, drawn, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax


def _draw(field: str, values: Values, lines: Lines, label: str, ax: Axes) -> list[Artist]:
    if len(lines) > MOST_LINES:
        raise ConfigError(
            f"{len(lines)} lines are more than can be told apart ({MOST_LINES}); draw part of the"
            " rows, from to_pandas() or to_xarray()"
        )
    places, names, named = _scale(field, values)
    drawn: list[Artist] = []
    for number, (name, (mean, half)) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        style = _DASHES[number // len(_COLOURS)]
        (line,) = ax.plot(places, mean, style, color=colour, label=name, **LINE, **_MARKER)
        if np.isfinite(half).any():
            ax.fill_between(places, mean - half, mean + half, color=colour, alpha=0.15, lw=0)
        drawn.append(line)
    if names is not None:
        ax.set_xticks(places, names, parse_math=False)
    ax.set_xlabel(drawable(named), parse_math=False)
    ax.set_ylabel(drawable(label), parse_math=False)
    ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))
    ax.grid(visible=True, color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    return drawn


def _scale(field: str, values: Values) -> tuple[list[float], list[str] | None, str]:
    """Where values stand on an axis, what is written there if it is no number, and its label."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return [float(value) for value in values], None, field
    if all(isinstance(value, str) for value in values):
        try:
            return [parse_size_text(value) / 256 for value in values], None, f"{field} (MiB)"
        except ConfigError:
            pass
        try:
            return [parse_duration(value) for value in values], None, f"{field} (s)"
        except ConfigError:
            pass
    return [*map(float, range(len(values)))], [drawable(str(value)) for value in values], field
