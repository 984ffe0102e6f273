"""A scenario in words: values as TOML writes them, and pydantic's errors as one line.

An error names the field as a reader finds it in the file, the value, and what was expected; the
expectation is the ``description`` of the model's field, so that there is one place for it.

Neighbours: `esxcore.scenario` has the models and calls this; nothing here knows which models they
are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from esxcore.hints import LIKE_FOR_KEYS, did_you_mean, in_quotes

RULE = "scenario_rule"
"""Error type of rules between fields: their message is the whole truth and goes out as it is."""

_LONGEST = 60
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def toml_key(key: object) -> str:
    """A key as TOML writes it: in quotes if it is no plain word."""
    key = key if isinstance(key, str) else repr(key)
    return key if _BARE_KEY.fullmatch(key) else _text(key)


def _text(text: str) -> str:
    """A string in quotes; TOML wants one more character escaped than JSON."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def toml_value(value: object) -> str:
    """A value as TOML writes it; a JSON string is nearly a TOML string."""
    if isinstance(value, dict):
        pairs = (f"{toml_key(key)} = {toml_value(item)}" for key, item in value.items())
        return f"{{ {', '.join(pairs)} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return _text(value) if isinstance(value, str) else repr(value)


def abridged(value: object) -> str:
    """A value as TOML writes it, cut to what fits into a message."""
    try:
        text = toml_value(value)
    except ValueError:  # Python does not print integers of thousands of digits
        return "too long a number"
    # What is no value of TOML comes in Python's words: on one line, of letters that can be written.
    text = " ".join(text.splitlines()).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def first_problem(model: type[BaseModel], data: Mapping[str, Any], error: ValidationError) -> str:
    """The most telling of the errors as one line, and how many more there are.

    Parameters
    ----------
    model : type of BaseModel
        What `data` was checked against.
    data : mapping
        What was checked.
    error : ValidationError
        What came of it. An unknown key goes first, as it often explains a missing one.
    """
    problems = error.errors(include_url=False)
    first = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
    more = len(problems) - 1
    rest = f" (and {more} more error{'s' * (more > 1)})" if more else ""
    return _worded(model, data, first) + rest


def _worded(model: type[BaseModel], data: Mapping[str, Any], problem: ErrorDetails) -> str:
    place = _place(problem["loc"], data)
    if problem["type"] == RULE:
        return f"{place}: {problem['msg']}" if place else problem["msg"]
    *_, inner = _models_along(model, problem["loc"])
    key = str(problem["loc"][-1]) if problem["loc"] else ""
    if problem["type"] == "extra_forbidden":
        hint = did_you_mean(key, inner.model_fields, in_quotes, like=LIKE_FOR_KEYS)
        return f"unknown key {place}; {hint}"
    expected = _expected(model, problem["loc"])
    if problem["type"] == "missing":
        return f"{place} is missing; expected {expected}"
    return f"{place} is {abridged(problem['input'])}; expected {expected}"


def _expected(model: type[BaseModel], loc: tuple[int | str, ...]) -> str | None:
    """Description of the innermost field that a location passes through."""
    expected = None
    for holder, part in zip(_models_along(model, loc), _names(loc), strict=False):
        expected = holder.model_fields[part].description
    return expected


def _place(loc: tuple[int | str, ...], data: Mapping[str, Any]) -> str:
    """A location as a reader finds it in the file: ``vms[1].max (VM "web")``."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    path = path.removeprefix(".")
    try:
        name = data[loc[0]][loc[1]][{"vms": "name", "events": "vm"}[loc[0]]]  # type: ignore[index]
    except (IndexError, KeyError, TypeError):  # neither need be there, nor be what it should be
        name = None
    return f"{path} (VM {abridged(name)})" if isinstance(name, str) else path


def _names(loc: tuple[int | str, ...]) -> list[str]:
    return [part for part in loc if isinstance(part, str)]


def _models_along(model: type[BaseModel], loc: tuple[int | str, ...]) -> Iterator[type[BaseModel]]:
    """The models a location passes through, the outermost first."""
    yield model
    for part in _names(loc):
        field = model.model_fields.get(part)
        inner = field and next(_models_in(field.annotation), None)
        if not inner:
            return
        model = inner
        yield model


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
