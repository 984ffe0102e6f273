"""Which parameters of a figure are fitted, and the same with one of them moved."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

_Parameters = TypeVar("_Parameters")


def moved(parameters: _Parameters, name: str, factor: float) -> _Parameters:
    """The same with one number multiplied; whole numbers stay whole."""
    value = getattr(parameters, name)
    number = round(value * factor) if isinstance(value, int) else value * factor
    changed: _Parameters = dataclasses.replace(parameters, **{name: number})  # type: ignore[type-var]
    return changed


def fitted(parameters: type) -> list[str]:
    """Names of the parameters that are fitted so that a figure can be drawn."""
    return [field.name for field in dataclasses.fields(parameters) if field.metadata["calibrated"]]
