"""What fields of a scenario have in common: their types, and the words that say what they expect.

Sizes and durations stay the text that was written; `seconds` turns a duration into a number.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, WithJsonSchema

from esxcore.config import parse_duration, parse_size_text
from esxcore.errors import ConfigError

SIZE = "a size with its unit (KiB, MiB, GiB, TiB) in whole 4 KiB pages, such as"
DATA = "an npz file, or packaged data such as"
MOMENT = "whole seconds, at most 2**31, with a unit (s, min, h), such as"
NEVER = "never"
FRACTION = "a fraction from 0 to 1, such as"

_MAX_SECONDS = 2**31
_NOTHING = re.compile(r"\s*0+(\.0+)?\s*(KiB|MiB|GiB|TiB)\s*")


class Section(BaseModel):
    """A table of the file: unknown keys are refused, and nothing changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def seconds(text: str) -> int:
    """Virtual seconds of a checked duration."""
    return int(parse_duration(text))


def is_nothing(text: str) -> bool:
    """Whether a size is none at all, such as ``"0MiB"``."""
    return _NOTHING.fullmatch(text) is not None


def _size(text: str) -> str:
    parse_size_text(text)
    return text


def _size_or_nothing(text: str) -> str:
    return text if is_nothing(text) else _size(text)


def _whole_seconds(text: str) -> str:
    value = parse_duration(text)
    if not value.is_integer() or value > _MAX_SECONDS:
        raise ConfigError(f"{text!r} is not a whole number of seconds up to {_MAX_SECONDS}")
    return text


def _seconds_or_never(text: str) -> str:
    return text if text == NEVER else _whole_seconds(text)


def _time_or_never(text: str) -> str:
    return text if text == NEVER else _positive(_whole_seconds(text))


def _positive(text: str) -> str:
    if parse_duration(text) <= 0:
        raise ConfigError(f"{text!r} is no time at all")
    return text


def _name(text: str) -> str:
    if not text or not text.isprintable():
        raise ConfigError(f"{text!r} is no name")
    return text


_NUMBER = r"^\s*[0-9]+(\.[0-9]+)?\s*"
_SIZE_SHAPE = WithJsonSchema({"type": "string", "pattern": _NUMBER + r"(KiB|MiB|GiB|TiB)\s*$"})
_TIME = {"type": "string", "pattern": _NUMBER + r"(us|ms|s|min|h)\s*$"}
_TIME_SHAPE = WithJsonSchema(_TIME)
_TIME_OR_NEVER_SHAPE = WithJsonSchema({"anyOf": [{"const": NEVER}, _TIME]})

Size = Annotated[str, AfterValidator(_size), _SIZE_SHAPE]
SizeOrNothing = Annotated[str, AfterValidator(_size_or_nothing), _SIZE_SHAPE]
Moment = Annotated[str, AfterValidator(_whole_seconds), _TIME_SHAPE]
MomentOrNever = Annotated[str, AfterValidator(_seconds_or_never), _TIME_OR_NEVER_SHAPE]
Duration = Annotated[str, AfterValidator(_whole_seconds), AfterValidator(_positive), _TIME_SHAPE]
DurationOrNever = Annotated[str, AfterValidator(_time_or_never), _TIME_OR_NEVER_SHAPE]
Name = Annotated[str, AfterValidator(_name), WithJsonSchema({"type": "string", "minLength": 1})]
