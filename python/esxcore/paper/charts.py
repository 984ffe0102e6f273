"""Charts as values: what to draw, in the paper's own form, without saying by which library.

`esxcore.paper.drawing` makes pictures of them and `esxcore.paper.interactive` figures for a page.
Tones are names; whoever draws has a colour for each on light and on dark ground.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self, get_args

Style = Literal["line", "dashed", "dotted", "steps", "points", "bars", "area"]
Tone = Literal["ink", "grey", "blue", "sky", "orange", "red", "green", "purple"]
TONES: tuple[Tone, ...] = get_args(Tone)
Scale = Literal["linear", "log"]


@dataclass(frozen=True, slots=True)
class Series:
    """One thing drawn over x.

    Attributes
    ----------
    label : str
        What it is called in the legend; nothing leaves it out there.
    x, y : list of float
        Its points; of bars x may be words.
    style : str
        ``area`` is stacked on the areas before it; ``bars`` stand side by side.
    tone : str
        One of `TONES`.
    """

    label: str
    x: list[Any]
    y: list[float]
    style: Style = "line"
    tone: Tone = "ink"


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment at which something happens: a thin line across, with a word."""

    x: float
    text: str


@dataclass(frozen=True, slots=True)
class Box:
    """A box with text in a diagram; a diagram is 100 wide and high, from the lower left."""

    x: float
    y: float
    width: float
    height: float
    text: str
    tone: Tone = "ink"


@dataclass(frozen=True, slots=True)
class Arrow:
    """An arrow in a diagram, with a word beside its middle."""

    x: float
    y: float
    to_x: float
    to_y: float
    text: str = ""
    tone: Tone = "ink"


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes, or a diagram if it has boxes."""

    title: str
    x_label: str = ""
    y_label: str = ""
    series: tuple[Series, ...] = ()
    marks: tuple[Mark, ...] = ()
    boxes: tuple[Box, ...] = ()
    arrows: tuple[Arrow, ...] = ()
    y_scale: Scale = "linear"
    y_from: float | None = 0.0
    y_to: float | None = None
    has_legend: bool = True
    """Whether its series are named in it; not where another panel has the same."""
    y_words: tuple[str, ...] = ()
    """Words in place of the numbers 0, 1 and so on beside the y axis."""

    @property
    def is_diagram(self) -> bool:
        """Whether it has no axes."""
        return bool(self.boxes)


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure: panels in rows of so many columns."""

    panels: tuple[Panel, ...]
    columns: int = 1
    height: float = field(default=3.0)
    """Of a row of panels, in inches of a picture 9 inches wide."""

    @property
    def rows(self) -> int:
        """Rows of panels."""
        return -(-len(self.panels) // self.columns)

    def table(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)

    @classmethod
    def of(cls, table: dict[str, Any]) -> Self:
        """From what `table` gives."""
        panels = tuple(_panel(panel) for panel in table["panels"])
        return cls(panels, table["columns"], table["height"])


_PARTS: dict[str, Any] = {"series": Series, "marks": Mark, "boxes": Box, "arrows": Arrow}


def _panel(table: dict[str, Any]) -> Panel:
    parts = {name: tuple(part(**row) for row in table[name]) for name, part in _PARTS.items()}
    return Panel(**(table | parts | {"y_words": tuple(table["y_words"])}))


def numbers(values: Iterable[Any], digits: int = 6) -> list[float]:
    """Numbers of an array as plain ones with so many digits, enough to draw."""
    return [float(f"{float(value):.{digits}g}") for value in values]


def series(
    label: str, x: Iterable[Any], y: Iterable[Any], style: Style = "line", tone: Tone = "ink"
) -> Series:
    """A series of arrays of numbers."""
    return Series(label, numbers(x), numbers(y), style, tone)


def thinned(count: int, most: int = 600) -> Sequence[int]:
    """Positions of at most about so many of `count` samples, evenly, the last one among them."""
    step = max(1, -(-count // most))
    kept = list(range(0, count, step))
    return kept if kept and kept[-1] == count - 1 else [*kept, *([count - 1] if count else [])]
