"""What is chosen in a figure, and what changes when a fitted number moves by a fifth.

Every field of a target's ``Parameters`` says why it is what it is. A fitted one is moved down and
up, the target is made again, and what comes out stands beside what came out before: mechanisms that
no longer emerge (there should be none, or something was fitted in disguise), and how the other
lines move.

Neighbours: `esxcore.paper.reproduction`, whose ``chosen`` marks the fields; docs/sensitivity.py
writes the tables of the documentation from what is found here.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from esxcore.paper import Claim, Kind, Laboratory, Reproduction, reproduce, target

FACTORS = (0.8, 1.2)
_SHORT = 5  # numbers of a list that are shown
_LARGE = 10_000  # shown without decimals from here on
_NUMBER = re.compile(r"-?\d[\d,]*\.?\d*(?:e[+-]?\d+)?")
Make = Callable[[str, Laboratory, Any], Reproduction]


@dataclass(frozen=True)
class Choice:
    """A field of a target's parameters."""

    name: str
    value: Any
    why: str
    is_calibrated: bool

    @property
    def can_move(self) -> bool:
        """Whether it was fitted and is a number."""
        return self.is_calibrated and type(self.value) in (int, float)

    def moved(self, factor: float) -> int | float:
        """So many times the default; whole where that is."""
        return round(factor * self.value) if isinstance(self.value, int) else factor * self.value


@dataclass(frozen=True)
class Shift:
    """A line before and after, and by which part of it its numbers moved at most."""

    text: str
    before: str
    after: str
    part: float


@dataclass(frozen=True)
class Move:
    """A fitted number at another value, and what that changed."""

    choice: Choice
    factor: float
    value: int | float
    failed: tuple[str, ...]
    """Mechanisms that did not emerge."""
    shifts: tuple[Shift, ...]
    """Lines that are not mechanisms, and plain numbers; what moved most comes first."""


@dataclass(frozen=True)
class Sensitivity:
    """Of a target: all that was chosen, and each move of what was fitted."""

    name: str
    title: str
    choices: tuple[Choice, ...]
    moves: tuple[Move, ...]


def choices(name: str) -> tuple[Choice, ...]:
    """All that was chosen for a target, with the reasons.

    Examples
    --------
    >>> [choice.name for choice in choices("disco") if choice.can_move][-1]
    'from_disk'
    """
    default = target(name).Parameters()
    return tuple(
        Choice(
            field.name,
            getattr(default, field.name),
            field.metadata["why"],
            field.metadata["calibrated"],
        )
        for field in dataclasses.fields(default)
    )


def sensitivity(
    name: str, laboratory: Laboratory | None = None, make: Make = reproduce
) -> Sensitivity:
    """Moves each fitted number of a target down and up by a fifth, one at a time.

    Parameters
    ----------
    name : str
        One of `esxcore.paper.TARGETS`.
    laboratory : Laboratory, optional
        Seed and threads.
    make : callable, optional
        In place of `esxcore.paper.reproduce`, for one that keeps what it made.

    Examples
    --------
    >>> len(sensitivity("fig3").moves)  # nothing is fitted there
    0
    """
    laboratory = laboratory or Laboratory()
    default = target(name).Parameters()
    made = make(name, laboratory, default)
    every = choices(name)
    moves = []
    for choice in every:
        for factor in FACTORS if choice.can_move else ():
            value = choice.moved(factor)
            parameters = dataclasses.replace(default, **{choice.name: value})
            other = make(name, laboratory, parameters)
            failed = tuple(claim.text for claim in other.failed)
            moves.append(Move(choice, factor, value, failed, _shifts(made, other, choice, value)))
    return Sensitivity(name, made.title, every, tuple(moves))


def _shifts(
    before: Reproduction, after: Reproduction, choice: Choice, value: float
) -> tuple[Shift, ...]:
    """Lines of both; those that only state the input that was moved are left out."""
    others = dict(_lines(after))
    found = []
    stated = {claim.text for claim in _stated(before)}
    for text, old in _lines(before):
        if text not in stated and _is_told(old, before):
            continue
        new = others.get(text, "–")
        if not (_names(old, choice.value) and _names(new, value)):
            found.append(Shift(text, old, new, _part(old, new)))
    return tuple(sorted(found, key=lambda shift: -shift.part))


def _lines(made: Reproduction) -> Iterator[tuple[str, str]]:
    """What is fitted or recalled, and plain numbers, by what they are called."""
    yield from ((claim.text, claim.here) for claim in _stated(made))
    yield from _plain("", made.numbers)


def _stated(made: Reproduction) -> list[Claim]:
    return [claim for claim in made.claims if claim.kind is not Kind.MECHANISM]


def _is_told(text: str, made: Reproduction) -> bool:
    """Whether plain numbers stand in a line that has words for them."""
    return any(
        all(_names(claim.here, number) for number in _numbers(text)) for claim in _stated(made)
    )


def _plain(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Numbers with the names that lead to them; of a list its last, unless it is short."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _plain(f"{name}, {key}" if name else key, part)
    elif isinstance(value, list) and value:
        if len(value) > _SHORT or not all(type(part) in (int, float) for part in value):
            yield from _plain(f"{name}, the last", value[-1])
        else:
            yield name.replace("_", " "), ", ".join(map(_said, value))
    elif type(value) in (int, float):
        yield name.replace("_", " "), _said(value)


def _said(value: float) -> str:
    return f"{value:.4g}" if abs(value) < _LARGE else f"{value:.0f}"


def _numbers(text: str) -> list[float]:
    return [float(found.replace(",", "")) for found in _NUMBER.findall(text)]


def _names(text: str, value: float) -> bool:
    return any(math.isclose(found, value, rel_tol=0.01) for found in _numbers(text))


def _part(old: str, new: str) -> float:
    """The largest change of a number, in parts of the larger; words that differ are all of it."""
    pairs = _numbers(old), _numbers(new)
    if len(pairs[0]) != len(pairs[1]):
        return 1.0
    parts = [abs(a - b) / max(abs(a), abs(b)) for a, b in zip(*pairs, strict=True) if a != b]
    return max(parts, default=0.0)
