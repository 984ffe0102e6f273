"""Words of the report: sizes, times, and why a target is what it is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from esxcore.decisions import CAUSES, Change, Decisions

PAGES_PER_MIB = 256


class Told(NamedTuple):
    """A decision in words: those whose targets fell, those whose rose, and why.

    Attributes
    ----------
    time, cause, state, policy : str
        When, why the policy was asked, how short of memory the host was, who decided.
    gave, got : list of (name, MiB)
        By how much targets fell and rose.
    why : list of (name, text)
        The reasons of each.
    next : str
        Who would have lost the next page.
    """

    time: str
    cause: str
    state: str
    policy: str
    gave: list[tuple[str, str]]
    got: list[tuple[str, str]]
    why: list[tuple[str, str]]
    next: str


def drawable(text: str) -> str:
    """The text with a mark for each character that no font can show, such as a stray byte."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def mib(pages: float) -> str:
    """A number of pages in MiB, with one digit."""
    return f"{pages / PAGES_PER_MIB:,.1f}\N{NO-BREAK SPACE}MiB"


def percent(fraction: float) -> str:
    """A fraction in percent, cut and not rounded: 100 % is said of all and nothing less."""
    return f"{math.floor(fraction * 1000) / 10:.1f} %"


def time_text(seconds: float) -> str:
    """Virtual time as ``1 h 2 min 5 s``; parts of nothing are left out."""
    whole, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(whole), 60)
    parts = (f"{hours:,} h" if hours else "", f"{minutes} min" if minutes else "")
    last = f"{round(rest, 1):g} s" if rest or not (hours or minutes) else ""
    return " ".join(part for part in (*parts, last) if part)


def reasons(change: Change) -> str:
    """Why a target is what it is, in sentences."""
    return " ".join(_sentences(change))


def _sentences(change: Change) -> Iterator[str]:
    active = ""
    if change.active_pages is not None:
        active = f", {mib(change.active_pages)} of its memory active"
    yield f"It had {mib(change.allocated_pages)}{active}."
    if change.price is not None:
        price = f"{change.price:#.3g}".removesuffix(".")
        yield f"It pays {price} shares a page (adjusted)."
    if change.taxed_pages > 0:
        yield f"The tax on idle memory takes {mib(change.taxed_pages)}."
    if change.taxed_pages < 0:
        yield f"The tax on idle memory of others adds {mib(-change.taxed_pages)}."
    if change.bound == "min":
        yield "Its min holds the target up."
    if change.bound == "max":
        yield "Its max holds the target down."


def next_to_lose(change: Change, names: Sequence[str]) -> str:
    """Who would have lost the next page; nothing if the policy cannot tell."""
    return (
        "" if change.cheapest is None else f"The next page is {names[change.cheapest]}'s to lose."
    )


def set_by(change: Change) -> str:
    """Who set a target, when, and what it was before."""
    cause = CAUSES[change.cause]
    before = "" if change.before_pages is None else f"; was {mib(change.before_pages)}"
    return f"set at {time_text(change.time_s)} by {change.policy} because {cause}{before}"


def told(decisions: Decisions, names: Sequence[str], most: int) -> tuple[list[Told], int]:
    """The newest decisions in words, the oldest of them first, and how many are left out."""
    by_time: dict[float, list[Change]] = {}
    for change in decisions:
        by_time.setdefault(change.time_s, []).append(change)
    newest = list(by_time.values())[-most:]
    return [_told(changes, names) for changes in newest], len(by_time) - len(newest)


def _told(changes: list[Change], names: Sequence[str]) -> Told:
    first = changes[0]
    moved = [
        (names[change.vm], change.target_pages - (change.before_pages or 0), change)
        for change in changes
    ]
    return Told(
        time_text(first.time_s),
        CAUSES[first.cause],
        first.free_state,
        first.policy,
        [(name, mib(-pages)) for name, pages, _ in moved if pages < 0],
        [(name, mib(pages)) for name, pages, _ in moved if pages >= 0],
        [(name, reasons(change)) for name, _, change in moved],
        next_to_lose(first, names),
    )
