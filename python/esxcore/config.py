"""Sizes, durations and the paper's parameters: the words every other module uses.

Sizes are whole 4 KiB pages. Where a person writes them they may be text with a binary unit
(``"256MiB"``); files insist on the unit. Durations are seconds, as text ``"90s"``, ``"5min"``.
"""

from __future__ import annotations

import operator
import re
import warnings
from collections.abc import Mapping
from typing import NamedTuple, SupportsIndex

from esxcore import _core
from esxcore.errors import ArgumentTypeError, ConfigError, SizeWarning

PAGE_SIZE: int = _core.PAGE_SIZE
"""Bytes in a page (paper, footnote 3)."""

MAX_PAGES: int = _core.MAX_PAGES
"""Most pages a host or a virtual machine can have: page numbers are 32 bits wide."""

_SIZE_UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_DURATION_UNITS = {"us": 1e-6, "ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*")
_SMALL_PAGES = 4 * 2**20 // PAGE_SIZE


class Parameter(NamedTuple):
    """One number of the paper (or of its product) that the engine takes as a default."""

    name: str
    value: float
    unit: str
    section: str
    confidence: str


def paper_parameters() -> tuple[Parameter, ...]:
    """Every number of the paper that the engine knows, where it stands and how well it is known.

    Examples
    --------
    >>> from esxcore.config import paper_parameters
    >>> next(p for p in paper_parameters() if p.name == "tax_rate").value
    0.75
    """
    return tuple(Parameter(*row) for row in _core.paper_parameters())


def parse_size_text(text: str, what: str = "size") -> int:
    """Pages in a size written with its unit, such as ``"256MiB"``.

    Parameters
    ----------
    text : str
        A number and one of the units KiB, MiB, GiB, TiB.
    what : str
        What the size is of; begins the error message.

    Raises
    ------
    ConfigError
        If the unit is missing or unknown, or the size is not a positive whole number of 4 KiB
        pages.

    Examples
    --------
    >>> parse_size_text("256MiB")
    65536
    """
    number, factor = _quantity(text, _SIZE_UNITS, what, "'256MiB'")
    pages = number * factor / PAGE_SIZE
    if not pages.is_integer() or not 1 <= pages <= MAX_PAGES:
        raise ConfigError(
            f"{what}: {text!r} is {pages:g} pages of 4 KiB; expected 1 to {MAX_PAGES} whole pages"
        )
    return int(pages)


def parse_duration(text: str, what: str = "duration") -> float:
    """Seconds in a duration written with its unit, such as ``"5min"`` (us, ms, s, min, h).

    Raises
    ------
    ConfigError
        If the unit is missing or unknown.

    Examples
    --------
    >>> parse_duration("5min")
    300.0
    """
    number, factor = _quantity(text, _DURATION_UNITS, what, "'5min'")
    return number * factor


def size_text(pages: float) -> str:
    """A number of pages as a person reads it, in the largest unit that keeps it above one.

    Examples
    --------
    >>> size_text(65536), size_text(1)
    ('256 MiB', '4 KiB')
    """
    size = pages * PAGE_SIZE
    unit = next((unit for unit, bytes in reversed(_SIZE_UNITS.items()) if size >= bytes), "KiB")
    return f"{round(size / _SIZE_UNITS[unit], 1):g} {unit}"


def parse_pages(value: str | SupportsIndex, what: str = "size") -> int:
    """Pages in a size given as text with a unit or as a whole number of pages.

    Warns
    -----
    SizeWarning
        If a number is below 4 MiB worth of pages, where MiB were surely meant.

    Raises
    ------
    ArgumentTypeError
        If `value` is neither text nor an integer (floats and booleans are refused).
    ConfigError
        If the size is malformed or out of range.

    Examples
    --------
    >>> parse_pages("4GiB"), parse_pages(65536)
    (1048576, 65536)
    """
    if isinstance(value, str):
        return parse_size_text(value, what)
    pages = whole_number(value, what, "a size such as '256MiB' or a whole number of pages")
    if not 1 <= pages <= MAX_PAGES:
        raise ConfigError(f"{what}: {pages} pages; expected 1 to {MAX_PAGES}")
    if pages < _SMALL_PAGES:
        warnings.warn(
            f"{what}: {pages} means {pages} pages ({pages * 4} KiB);"
            f" write '{pages}MiB' if MiB were meant, or '{pages * 4}KiB' to keep it",
            SizeWarning,
            stacklevel=3,
        )
    return pages


def whole_number(value: object, what: str, expected: str = "a whole number") -> int:
    """The integer `value` stands for; booleans, floats and the rest raise `ArgumentTypeError`."""
    if not isinstance(value, bool) and hasattr(value, "__index__"):
        try:
            return operator.index(value)
        except TypeError:  # NumPy arrays have the method but not always the meaning
            pass
    raise ArgumentTypeError(f"{what}: {value!r} is {type(value).__name__}; expected {expected}")


def _quantity(
    text: str, units: Mapping[str, float], what: str, example: str
) -> tuple[float, float]:
    match = _QUANTITY.fullmatch(text)
    known = ", ".join(units)
    if match is None:
        raise ConfigError(
            f"{what}: {text!r}; expected a number and a unit ({known}) like {example}"
        )
    number, unit = match.groups()
    if not unit:
        raise ConfigError(f"{what}: {text!r} has no unit; expected one of {known} like {example}")
    if unit not in units:
        raise ConfigError(
            f"{what}: unit {unit!r} of {text!r} is not known; expected one of {known}"
        )
    return float(number), units[unit]
