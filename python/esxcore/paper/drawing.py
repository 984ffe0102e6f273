"""Charts of the paper's figures as pictures, in its own form: black, grey, dotted, dashed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from esxcore.paper.charts import Chart, Panel, Series, Tone
from esxcore.plot.style import ORANGE, POSSIBLE, PURPLE, RECLAIMED, SHARED, SKY, ZERO, own_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS: dict[Tone, str] = {
    "ink": POSSIBLE,
    "grey": "#8A8F98",
    "blue": SHARED,
    "sky": SKY,
    "orange": ORANGE,
    "red": RECLAIMED,
    "green": ZERO,
    "purple": PURPLE,
}
_DASHES = {"line": "-", "dashed": "--", "dotted": ":", "steps": "-"}
_WIDTH = 9.0
_COUNTED = 12
_NAMES = 4  # series that may be named below each other in panels as wide as the picture
_BARS = 0.8  # of the room between two words


def draw(chart: Chart, title: str = "") -> Figure:
    """The picture of a chart."""
    with own_style():
        size = (_WIDTH, chart.height * chart.rows + (0.4 if title else 0))
        figure = Figure(figsize=size, layout="constrained")
        for place, panel in enumerate(chart.panels):
            ax = figure.add_subplot(chart.rows, chart.columns, place + 1)
            (_diagram if panel.is_diagram else _panel)(panel, ax)
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


def _panel(panel: Panel, ax: Axes) -> None:
    bars = [series for series in panel.series if series.style == "bars"]
    for place, series in enumerate(bars):
        _bars(series, place, len(bars), ax)
    stacked: Any = 0.0
    for series in panel.series:
        if series.style == "area":
            top = stacked + np.asarray(series.y)
            colour = COLOURS[series.tone]
            ax.fill_between(
                series.x, stacked, top, color=colour, alpha=0.6, lw=0, label=series.label
            )
            stacked = top
        elif series.style != "bars":
            _line(series, ax)
    for mark in panel.marks:
        ax.axvline(mark.x, color="0.6", linewidth=0.8)
        ax.annotate(
            mark.text, (mark.x, 1), (3, -3), xycoords=("data", "axes fraction"),
            textcoords="offset points", va="top", fontsize=8, color="0.35",
        )  # fmt: skip
    ax.set_title(panel.title, loc="left", fontsize=10)
    ax.set_xlabel(panel.x_label)
    ax.set_ylabel(panel.y_label)
    if panel.y_scale == "log":
        ax.set_yscale("log")
    else:
        ax.set_ylim(panel.y_from, panel.y_to)
    if panel.y_words:
        ax.set_yticks(range(len(panel.y_words)), panel.y_words)
    ax.grid(visible=True, color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    if not bars:
        _count(panel, ax)
    if panel.has_legend and any(series.label for series in panel.series):
        _legend(panel, ax)


def _legend(panel: Panel, ax: Axes) -> None:
    """Where there is room for it: beside the title where areas or many lines leave none below."""
    is_full = any(series.style == "area" for series in panel.series)
    place, names = ax.get_subplotspec(), len(panel.series)
    is_wide = place is None or place.get_gridspec().ncols == 1
    if is_full or (names > _NAMES and is_wide):
        ax.legend(
            frameon=False, fontsize=8, ncols=names, loc="lower right",
            bbox_to_anchor=(1, 1), borderaxespad=0.2, columnspacing=1.0, handlelength=1.6,
        )  # fmt: skip
    else:
        columns = 1 if is_wide or names < _NAMES else 2
        ax.legend(framealpha=0.85, edgecolor="none", fontsize=8, ncols=columns)


def _count(panel: Panel, ax: Axes) -> None:
    """Whole numbers below the axis where x counts a few things."""
    places = sorted({float(x) for series in panel.series for x in series.x})
    if 1 < len(places) <= _COUNTED and places == list(range(int(places[0]), int(places[-1]) + 1)):
        ax.set_xticks(places)


def _line(series: Series, ax: Axes) -> None:
    colour, label = COLOURS[series.tone], series.label or None
    if series.style == "points":
        ax.plot(series.x, series.y, "o", color=colour, markersize=4, label=label)
        return
    step: Any = "steps-post" if series.style == "steps" else "default"
    ax.plot(
        series.x, series.y, color=colour, linestyle=_DASHES[series.style], linewidth=1.6,
        drawstyle=step, label=label,
    )  # fmt: skip


def _bars(series: Series, place: int, count: int, ax: Axes) -> None:
    words = [str(x) for x in series.x]
    width = _BARS / count
    at = np.arange(len(words)) + (place - (count - 1) / 2) * width
    ax.bar(at, series.y, width, color=COLOURS[series.tone], label=series.label or None)
    ax.set_xticks(np.arange(len(words)), words)


def _diagram(panel: Panel, ax: Axes) -> None:
    ax.set_xlim(0, 100)
    ax.set_ylim(0, 100)
    ax.axis("off")
    ax.set_title(panel.title, loc="left", fontsize=10)
    for box in panel.boxes:
        colour = COLOURS[box.tone]
        corner = (box.x, box.y)
        shape = FancyBboxPatch(
            corner, box.width, box.height, boxstyle="round,pad=0,rounding_size=1.5",
            edgecolor=colour, facecolor=(*_rgb(colour), 0.12), linewidth=1.4,
        )  # fmt: skip
        ax.add_patch(shape)
        middle = box.x + box.width / 2, box.y + box.height / 2
        ax.text(*middle, box.text, ha="center", va="center", fontsize=9)
    for arrow in panel.arrows:
        ends = (arrow.x, arrow.y), (arrow.to_x, arrow.to_y)
        ax.add_patch(
            FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=12, color=COLOURS[arrow.tone])
        )
        middle = (arrow.x + arrow.to_x) / 2 + 1, (arrow.y + arrow.to_y) / 2 + 1.5
        ax.text(*middle, arrow.text, fontsize=8, color="0.35")


def _rgb(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return red, green, blue
