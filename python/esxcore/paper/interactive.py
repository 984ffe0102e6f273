"""Charts of the paper's figures as plotly's figures, without colours: the page gives them its own.

Each trace names its tone in ``meta``; the script of the page takes the colour from the palette of
the ground it is on.
"""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from esxcore.paper.charts import Chart, Panel, Series

_ROW_PX_PER_INCH = 95
_MARGIN_PX = 70
_LEGEND_PX = 66  # below the last axis: its numbers and its name are in between
_DASHES = {"dashed": "dash", "dotted": "dot"}


def interactive(chart: Chart) -> go.Figure:
    """The figure of a chart, to zoom and to point at."""
    titles = [panel.title for panel in chart.panels]
    figure = make_subplots(
        rows=chart.rows, cols=chart.columns, subplot_titles=titles,
        vertical_spacing=min(0.24, 0.44 / chart.rows), horizontal_spacing=0.09,
    )  # fmt: skip
    named: set[tuple[str, bool, str]] = set()
    for place, panel in enumerate(chart.panels):
        at = {"row": place // chart.columns + 1, "col": place % chart.columns + 1}
        if panel.is_diagram:
            _diagram(figure, panel, at)
            continue
        for series in panel.series:
            trace = _trace(series)
            look = (series.label, series.style == "bars", series.tone)
            trace.update(showlegend=bool(series.label) and look not in named)
            trace.update(legendgroup=" ".join(map(str, look)))
            named.add(look)
            figure.add_trace(trace, **at)
        _axes(figure, panel, at)
    height = round(chart.height * _ROW_PX_PER_INCH * chart.rows) + _MARGIN_PX
    figure.update_layout(
        template="none", height=height, barmode="group", hovermode="x unified",
        margin={"l": 60, "r": 16, "t": 40, "b": 60},
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)",
        legend={"orientation": "h", "y": -_LEGEND_PX / (height - 100), "yanchor": "top"},
    )  # fmt: skip
    return figure


def _trace(series: Series) -> Any:
    common: dict[str, Any] = {
        "x": series.x,
        "y": series.y,
        "name": series.label,
        "meta": {"tone": series.tone, "fill": series.style == "area"},
        "hovertemplate": "%{y:,.4~g}<extra>%{fullData.name}</extra>",
    }
    if series.style == "bars":
        return go.Bar(**common | {"x": [str(x).replace("\n", "<br>") for x in series.x]})
    if series.style == "points":
        return go.Scatter(mode="markers", **common)
    if series.style == "area":
        return go.Scatter(mode="lines", line={"width": 0}, stackgroup="one", **common)
    shape = "hv" if series.style == "steps" else "linear"
    line = {"width": 1.8, "dash": _DASHES.get(series.style, "solid"), "shape": shape}
    return go.Scatter(mode="lines", line=line, **common)


def _axes(figure: go.Figure, panel: Panel, at: dict[str, int]) -> None:
    figure.update_xaxes(title_text=panel.x_label, zeroline=False, **at)
    if any(series.style == "bars" for series in panel.series):
        figure.update_xaxes(type="category", **at)  # words, though they may be numbers
    figure.update_yaxes(title_text=panel.y_label, zeroline=False, type=panel.y_scale, **at)
    if panel.y_scale == "linear" and panel.y_from is not None:
        most = [panel.y_to, None][panel.y_to is None]
        figure.update_yaxes(range=[panel.y_from, most], **at)
        if most is None:
            figure.update_yaxes(rangemode="tozero", range=None, **at)
    if panel.y_words:
        places = list(range(len(panel.y_words)))
        figure.update_yaxes(tickvals=places, ticktext=list(panel.y_words), **at)
    for mark in panel.marks:
        figure.add_vline(
            x=mark.x, line_width=1, line_color="#8a8f98", annotation_text=mark.text,
            annotation_position="top right", annotation_font_size=11, **at,
        )  # fmt: skip


def _diagram(figure: go.Figure, panel: Panel, at: dict[str, int]) -> None:
    hidden = {"visible": False, "range": [0, 100], "fixedrange": True}
    figure.update_xaxes(**hidden, **at)
    figure.update_yaxes(**hidden, **at)
    figure.add_trace(
        go.Scatter(x=[0, 100], y=[0, 100], mode="markers", opacity=0, hoverinfo="skip",
                   showlegend=False, meta={"tone": "ink", "fill": False}),
        **at,
    )  # fmt: skip
    for box in panel.boxes:
        corners = {"x0": box.x, "y0": box.y, "x1": box.x + box.width, "y1": box.y + box.height}
        figure.add_shape(type="rect", name=box.tone, line_width=1.5, opacity=0.9, **corners, **at)
        figure.add_annotation(
            x=box.x + box.width / 2, y=box.y + box.height / 2, showarrow=False,
            text=box.text.replace("\n", "<br>"), **at,
        )  # fmt: skip
    for arrow in panel.arrows:
        # The tail is in the units of the axes, which an annotation takes only if it is told so.
        axis = "" if at["row"] == at["col"] == 1 else str(len(figure.data))
        figure.add_annotation(
            x=arrow.to_x, y=arrow.to_y, ax=arrow.x, ay=arrow.y, axref=f"x{axis}",
            ayref=f"y{axis}", showarrow=True, arrowhead=2, arrowwidth=1.4, text="", **at,
        )  # fmt: skip
        if arrow.text:
            middle = {"x": (arrow.x + arrow.to_x) / 2 + 1, "y": (arrow.y + arrow.to_y) / 2 + 3}
            figure.add_annotation(
                showarrow=False, xanchor="left", text=arrow.text, font_size=11, **middle, **at
            )
