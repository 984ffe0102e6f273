"""The pictures of the report as plotly's figures, without colours: the page gives them its own.

Each trace says in ``meta`` what it is; the script of the page takes its colour by that name, from
the palette of the ground it is on, and shows or hides it with the legend. Numbers of a figure are
32-bit floats, which is finer than a screen and half the size.
"""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from esxcore.decisions import STATES, Change
from esxcore.report.series import Line, VmLines
from esxcore.report.thinning import thinned, worst
from esxcore.report.words import PAGES_PER_MIB, next_to_lose, reasons, set_by

if TYPE_CHECKING:
    from esxcore.recording import Recording

_MEMORY_PX, _HOST_PX, _MORE_PX, _GAP_PX = 190, 140, 72, 30
_TOP_PX, _BOTTOM_PX, _LEFT_PX = 24, 28, 50
_WRAP = 46  # letters of a line of hover text, which must fit on a phone
_MOST_BANDS = 1000
_LABELLED = 0.11  # of the width, from which a band has its name written into it
_MOST_TICKS = 4
_PATTERNS = {"hard": "/", "low": "x"}  # told apart without colour, too


class TimeAxis:
    """Virtual time in the unit that suits the length of the run."""

    def __init__(self, time_s: Line) -> None:
        self.end_s = max(float(time_s[-1]), 1.0)
        units = ((180.0, 1.0, "s"), (10_800.0, 60.0, "min"), (np.inf, 3600.0, "h"))
        self.unit_s, self.unit = next(
            (unit_s, name) for most, unit_s, name in units if self.end_s <= most
        )

    def of(self, time_s: Line) -> NDArray[np.float32]:
        """Times in the unit of the axis."""
        return (np.asarray(time_s) / self.unit_s).astype(np.float32)

    def settings(self) -> dict[str, Any]:
        """How plotly shows it."""
        return {
            "range": [0, self.end_s / self.unit_s],
            "ticksuffix": f" {self.unit}",
            "hoverformat": ",.3~f",
            "showspikes": True,
            "spikemode": "across",
            "spikesnap": "cursor",
            "spikethickness": 1,
            "spikedash": "solid",
            "zeroline": False,
            "nticks": 8,
        }


def vm_figure(
    time_s: Line, lines: VmLines, changes: list[Change], names: Sequence[str], limit: int
) -> go.Figure:
    """Memory of one virtual machine; below it the work it did, how it was held up, and its I/O.

    Parameters
    ----------
    time_s : array, shape (samples,)
        Virtual seconds.
    lines : VmLines
        What to draw.
    changes : list of Change
        Changes of its target, for its hover text.
    names : sequence of str
        Names of all virtual machines.
    limit : int
        Most samples to draw.
    """
    axis = TimeAxis(time_s)
    kept = thinned(lines.all(), limit)
    x = axis.of(time_s[kept])
    figure = go.Figure()
    for name, line in lines.layers.items():
        figure.add_trace(_layer(name, x, line[kept]))
    for name in ("active", "shared", "target"):
        if name in lines.lines:
            figure.add_trace(_line(name, x, lines.lines[name][kept], "MiB"))
    if changes and "target" in lines.lines:
        target = figure.data[-1]
        texts = ["", *(_hover_text(change, names) for change in changes)]
        target.update(
            customdata=_in_force(changes, time_s[kept]), meta={"role": "target", "texts": texts}
        )
        target.hovertemplate = "<b>target %{y:,.1f} MiB</b>%{text}<extra></extra>"
        figure.add_trace(_marks(axis, changes))
    parts = (_work(x, lines, kept), _stalled(x, lines, kept), _io(x, lines, kept))
    below = [traces for traces in parts if traces]
    for row, traces in enumerate(below, 2):
        figure.add_traces([trace.update(yaxis=f"y{row}") for trace in traces])
    rows = [_ROWS[traces[0].meta["role"]] for traces in below]
    _lay_out(figure, axis, [("MiB", None), *rows], _MEMORY_PX)
    if lines.io:
        _decades(figure, len(below) + 1, lines)
    return figure


def free_figure(recording: Recording, free: Line, limit: int) -> go.Figure:
    """Free machine memory on bands of the free state (paper, section 6.3)."""
    axis = TimeAxis(recording.time_s)
    states = recording.host["free_state"]
    figure = go.Figure()
    figure.add_traces(_bands(axis, recording.time_s, states))
    kept = thinned([free, states], limit)
    line = _line("free", axis.of(recording.time_s[kept]), free[kept], "MiB")
    line.update(yaxis="y2", customdata=states[kept].astype(np.int8))
    line.meta = {"role": "free", "texts": [f"<br>state <b>{state}</b>" for state in STATES]}
    line.hovertemplate = "<b>free %{y:,.1f} MiB</b>%{text}<extra></extra>"
    figure.add_trace(line)
    _lay_out(figure, axis, [("MiB", None)])
    own = figure.layout.yaxis.to_plotly_json()
    figure.update_layout(
        yaxis={"range": [0, 1], "visible": False, "fixedrange": True, "rangemode": "normal"},
        yaxis2=own | {"overlaying": "y", "side": "left", "showgrid": False, "tickmode": "auto"},
    )
    return figure


def sharing_figure(recording: Recording, lines: dict[str, Line], limit: int) -> go.Figure:
    """What sharing reclaims, and what the resident contents allow."""
    axis = TimeAxis(recording.time_s)
    kept = thinned([lines["reclaimed"], lines["possible"]], limit)
    x = axis.of(recording.time_s[kept])
    figure = go.Figure()
    for name in ("possible", "reclaimed"):
        figure.add_trace(_line(name, x, lines[name][kept], "MiB"))
    _lay_out(figure, axis, [("MiB", None)])
    return figure


def bands_of(
    time_s: Line, states: NDArray[Any], most: int = _MOST_BANDS
) -> list[tuple[str, float, float]]:
    """Stretches of one free state: its name, and from when to when in virtual seconds."""
    starts, numbers = worst(states, most)
    ends = np.append(starts[1:], len(states))
    # A sample tells of the time before it.
    return [
        (STATES[int(number)], float(time_s[max(start - 1, 0)]), float(time_s[end - 1]))
        for start, end, number in zip(starts, ends, numbers, strict=True)
        if time_s[end - 1] > time_s[max(start - 1, 0)]
    ]


def _bands(axis: TimeAxis, time_s: Line, states: NDArray[Any]) -> list[Any]:
    bands = bands_of(time_s, states)
    traces = []
    for state in STATES:
        spans = [(left, right) for name, left, right in bands if name == state]
        if spans:
            x = np.array([[left, left, right, right, np.nan] for left, right in spans]).ravel()
            y = np.array([[0, 1, 1, 0, np.nan]] * len(spans), np.float32).ravel()
            band = _area(state, axis.of(x), y, fill="tozeroy")
            band.hoverinfo = "skip"
            if state in _PATTERNS:
                band.fillpattern = {"shape": _PATTERNS[state], "size": 5}
            traces.append(band)
    for state in STATES:
        wide = [
            (left + right) / 2
            for name, left, right in bands
            if name == state and right - left > _LABELLED * axis.end_s
        ]
        if wide:
            traces.append(
                go.Scatter(
                    x=axis.of(np.array(wide)),
                    y=np.full(len(wide), 0.9, np.float32),
                    text=[state] * len(wide),
                    mode="text",
                    hoverinfo="skip",
                    meta={"role": f"{state}-label"},
                )
            )
    return traces


def _layer(name: str, x: NDArray[Any], y: Line) -> Any:
    layer = _area(name, x, y.astype(np.float32), stackgroup="memory")
    layer.hovertemplate = f"{name} %{{y:,.1f}} MiB<extra></extra>"
    if name == "swapped":
        layer.fillpattern = {"shape": "/", "size": 5}
    return layer


def _area(name: str, x: NDArray[Any], y: NDArray[Any], **fill: Any) -> Any:
    line = {"width": 0}
    return go.Scatter(x=x, y=y, mode="lines", line=line, meta={"role": name}, **fill)


def _line(name: str, x: NDArray[Any], y: Line, unit: str) -> Any:
    style: dict[str, Any] = {"width": 1.8}
    if name in ("active", "possible", "moved"):
        style["dash"] = "6px,3px"
    if name in ("shared", "dropped"):
        style["dash"] = "2px,2px"
    if name == "target":
        style |= {"shape": "hv", "width": 2}
    return go.Scatter(
        x=x,
        y=y.astype(np.float32),
        mode="lines",
        line=style,
        connectgaps=name == "possible",  # which is known wherever a census was taken
        meta={"role": name},
        hovertemplate=f"{name} %{{y:,.1f}} {unit}<extra></extra>",
    )


def _marks(axis: TimeAxis, changes: list[Change]) -> Any:
    """A mark on the target wherever it was changed."""
    return go.Scatter(
        x=axis.of(np.array([change.time_s for change in changes])),
        y=np.array([change.target_pages / PAGES_PER_MIB for change in changes], np.float32),
        mode="markers",
        marker={"size": 7, "symbol": "circle", "line": {"width": 1.6}},
        hoverinfo="skip",
        meta={"role": "decision"},
    )


# The unit of a row below the memory, and where its axis ends if it does not follow the data.
_ROWS: dict[str, tuple[str, float | None]] = {
    "ops": ("ops/s", None),
    "some": ("stalled", 1.0),
    "full": ("stalled", 1.0),
    "transfers": ("pages/s", None),
}
_DECADES = np.array([0, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7])


def _work(x: NDArray[Any], lines: VmLines, kept: NDArray[np.intp]) -> list[Any]:
    if "ops" not in lines.work:
        return []
    trace = _line("ops", x, lines.work["ops"][kept], "operations a second")
    trace.hovertemplate = "%{y:,.4~g} operations a second<extra></extra>"
    times = [lines.work[name][kept] for name in ("p50", "p99") if name in lines.work]
    if len(times) > 1:
        trace.customdata = np.stack(times, axis=1).astype(np.float32)
        took = "half within %{customdata[0]:.3~g} ms, 99 % within %{customdata[1]:.3~g} ms"
        trace.hovertemplate = f"%{{y:,.4~g}} operations a second<br>{took}<extra></extra>"
    return [trace]


def _stalled(x: NDArray[Any], lines: VmLines, kept: NDArray[np.intp]) -> list[Any]:
    words = {"some": "some work stood still", "full": "all work stood still"}
    traces = []
    for name, line in lines.stalls.items():
        trace = _area(name, x, line[kept].astype(np.float32), fill="tozeroy")
        trace.hovertemplate = f"{words[name]} %{{y:.1%}}<extra></extra>"
        traces.append(trace)
    return traces


def _io(x: NDArray[Any], lines: VmLines, kept: NDArray[np.intp]) -> list[Any]:
    words = {
        "transfers": "pages transferred a second",
        "copied": "of them copied",
        "moved": "moved to low memory",
        "dropped": "packets dropped",
    }
    traces = []
    for name, line in lines.io.items():
        trace = _line(name, x, np.log10(1 + line[kept]), "")
        trace.customdata = line[kept, None].astype(np.float32)
        trace.hovertemplate = f"%{{customdata[0]:,.4~g}} {words[name]}<extra></extra>"
        traces.append(trace)
    return traces


def _decades(figure: go.Figure, row: int, lines: VmLines) -> None:
    """A scale of I/O on which nothing at all has a place, and copies show beside transfers.

    They fall by orders of magnitude where hot pages move to low memory (paper, section 7).
    """
    most = max(float(np.nanmax(line, initial=1)) for line in lines.io.values())
    ticks = _DECADES[: 1 + int(np.searchsorted(_DECADES, most))]
    shown = ticks[:: 1 if len(ticks) <= _MOST_TICKS else 2]
    figure.update_layout(
        {
            f"yaxis{row}": {
                "tickmode": "array",
                "tickvals": np.log10(1 + shown).tolist(),
                "ticktext": [f"{tick:,.0f}" for tick in shown],
                "range": [0, 1.04 * float(np.log10(1 + max(most, 10)))],
            }
        }
    )


def _in_force(changes: list[Change], time_s: Line) -> NDArray[np.int32]:
    """Number of the change in force at each sample, from 1; 0 before the first."""
    made = np.array([change.time_s for change in changes])
    return np.searchsorted(made, time_s, side="right").astype(np.int32)


def _hover_text(change: Change, names: Sequence[str]) -> str:
    """Why a target was set, in short lines; plotly reads them as markup, so names are escaped."""
    told = f"{set_by(change)}. {reasons(change)} {next_to_lose(change, names)}"
    lines = textwrap.wrap(told, _WRAP, break_on_hyphens=False)
    return "".join(f"<br>{html.escape(line)}" for line in lines)


def _unit(text: str, top: float) -> dict[str, Any]:
    """The unit of a row above the numbers of its axis."""
    return {
        "text": text,
        "showarrow": False,
        "xref": "paper",
        "yref": "paper",
        "x": 0,
        "y": top,
        "xanchor": "right",
        "yanchor": "bottom",
        "yshift": 6,
    }


def _lay_out(
    figure: go.Figure,
    axis: TimeAxis,
    rows: list[tuple[str, float | None]],
    first_px: int = _HOST_PX,
) -> None:
    """Rows of one time axis, the first one for memory and higher than the others."""
    inner = first_px + (len(rows) - 1) * (_MORE_PX + _GAP_PX)
    figure.update_layout(
        template="none",
        height=inner + _TOP_PX + _BOTTOM_PX,
        margin={"l": _LEFT_PX, "r": 12, "t": _TOP_PX, "b": _BOTTOM_PX},
        showlegend=False,
        hovermode="x unified",
        hoversubplots="axis",
        hoverdistance=-1,  # wherever it is pointed at, the nearest sample answers
        hoverlabel={"align": "left"},
        xaxis=axis.settings() | {"anchor": f"y{len(rows)}" if len(rows) > 1 else "y"},
    )
    top = 1.0
    for row, (unit, end) in enumerate(rows, 1):
        height = (first_px if row == 1 else _MORE_PX) / inner
        settings: dict[str, Any] = {
            "domain": [max(top - height, 0), top],
            "rangemode": "tozero",
            "fixedrange": True,
            "nticks": 5 if row == 1 else 3,
            "zeroline": False,
        }
        if end is not None:
            settings |= {"range": [0, end], "tickformat": ".0%"}
        figure.update_layout({f"yaxis{'' if row == 1 else row}": settings})
        figure.add_annotation(_unit(unit, top))
        top -= height + _GAP_PX / inner
