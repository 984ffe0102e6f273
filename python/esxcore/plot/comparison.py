"""Pictures of comparisons: for each metric a panel with a point and an interval for each policy.

Policies stand below each other in the order in which they were given, and keep their colours in all
panels. Behind the interval of a mean its runs are drawn, a small point each.

Neighbours: `esxcore.compare` draws its results with it.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from esxcore.errors import ConfigError
from esxcore.plot.style import (
    ORANGE,
    POSSIBLE,
    PURPLE,
    RECLAIMED,
    SHARED,
    SKY,
    ZERO,
    add_heading,
    drawable,
    own_style,
    png_bytes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PICTURES = ("png", "svg", "pdf")
"""Kinds of pictures, as their names end."""

_COLOURS = (POSSIBLE, SHARED, RECLAIMED, ZERO, PURPLE, ORANGE, SKY)
_TITLES = {
    "ops_per_s": "throughput",
    "op_p50_ms": "latency, median",
    "op_p95_ms": "latency, 95 %",
    "op_p99_ms": "latency, 99 %",
    "stall_s": "stall time",
    "full_stall_s": "full stall time",
    "fairness": "fairness",
    "swapped_mib": "swapped by the host",
    "guest_swapped_mib": "swapped by guests",
    "churn": "churn",
    "relief_s": "time to relief",
    "worst_slowdown": "worst slowdown",
}
_UNITS = {"1/s": "operations/s", "fraction": "Jain's index", "ratio": "times slower"}


class Interval(Protocol):
    """A mean and half its interval; NaN if nobody knows."""

    @property
    def mean(self) -> float:
        """The mean."""

    @property
    def half(self) -> float:
        """Half the width of its interval."""


class Panel(NamedTuple):
    """One metric of all policies.

    Attributes
    ----------
    name, unit, better
        As the metric says.
    found : tuple of Interval
        Mean and interval of each policy.
    values : float64, shape (policies, runs)
        What the runs gave.
    """

    name: str
    unit: str
    better: str
    found: tuple[Interval, ...]
    values: NDArray[np.float64]


def draw_comparison(
    panels: Sequence[Panel], policies: Sequence[str], title: str, ax: Axes | None = None
) -> Figure:
    """Draws panels side by side, three in a row.

    Parameters
    ----------
    panels : sequence of Panel
        What to draw, one or more.
    policies : sequence of str
        What the policies are called.
    title : str
        Heading of the figure.
    ax : matplotlib Axes, optional
        Where to draw the first panel alone; a new figure if not given.

    Returns
    -------
    Figure
    """
    if ax is not None:
        _draw(panels[0], policies, ax)
        figure = ax.get_figure(root=True)
        assert figure is not None, "axes are in a figure"
        return figure
    columns = min(len(panels), 3)
    rows = math.ceil(len(panels) / columns)
    height = 1.1 + 0.32 * len(policies)
    with own_style():
        figure = Figure(figsize=(1.5 + 3.3 * columns, 0.8 + height * rows), layout="constrained")
        for place, panel in enumerate(panels):
            axes = figure.add_subplot(rows, columns, place + 1)
            _draw(panel, policies, axes)
            if place % columns:
                axes.set_yticklabels([])
        add_heading(figure, f"{title}: means with 95 % intervals, and runs", 0)
    return figure


def picture_kind(path: Path) -> str:
    """The kind of picture that the name of a file asks for.

    Raises
    ------
    ConfigError
        If it is none of `PICTURES`.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in PICTURES:
        raise ConfigError(f"picture {path}: expected a name that ends in .{', .'.join(PICTURES)}")
    return kind


def picture_bytes(figure: Figure, kind: str) -> bytes:
    """The figure as the bytes of a file of one of `PICTURES`."""
    if kind == "png":
        return png_bytes(figure)
    stream = io.BytesIO()
    with own_style():
        figure.savefig(stream, format=kind)
    return stream.getvalue()


def _draw(panel: Panel, policies: Sequence[str], ax: Axes) -> None:
    for place, (found, runs) in enumerate(zip(panel.found, panel.values, strict=True)):
        colour = _COLOURS[place % len(_COLOURS)]
        known = runs[np.isfinite(runs)]
        ax.plot(known, np.full(len(known), place + 0.22), ".", color=colour, alpha=0.35, ms=4)
        if math.isfinite(found.mean):
            half = found.half if math.isfinite(found.half) else 0.0
            ax.errorbar(
                found.mean, place, xerr=half, fmt="o", color=colour, ms=5, capsize=3, lw=1.6
            )
    ax.set_yticks(range(len(policies)), [drawable(label) for label in policies], fontsize=9)
    for label in ax.get_yticklabels():
        label.set_parse_math(False)
    ax.set_ylim(len(policies) - 0.4, -0.6)
    ax.margins(x=0.08)
    ax.ticklabel_format(axis="x", useOffset=False)
    ax.tick_params(axis="x", labelsize=8)
    ax.locator_params(axis="x", nbins=5)
    ax.grid(visible=True, axis="x", color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    name, _, vm = panel.name.partition(":")
    title = _TITLES.get(name, name) + (f" of {drawable(vm)}" if vm else "")
    ax.set_title(title, loc="left", fontsize=10, parse_math=False)
    way = "right" if panel.better == "more" else "left"
    arrow = {"right": "better →", "left": "← better"}[way]
    ax.set_title(arrow, loc="right", fontsize=8, color="0.4")
    ax.set_xlabel(_UNITS.get(panel.unit, panel.unit), fontsize=9)
