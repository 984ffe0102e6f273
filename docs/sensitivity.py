"""Writes docs/sensitivity.md: what is chosen in each figure, and what moves with what is fitted.

    python docs/sensitivity.py [TARGET ...] [--out FILE] [--seed N]

Sections of targets that are not asked for stay as they are in FILE.
Each target is made anew for each move, about ten minutes of processor time for all. What was made
before by the same code is not made again.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from esxcore.paper import TARGETS, Laboratory, Reproduction, cache, reproduce, targets
from esxcore.paper.sensitivity import FACTORS, Choice, Move, Sensitivity, sensitivity

CLEAR = 0.01  # lines that move by less are said to stay
LINES = 4  # of a move, those that move most

HEAD = """\
# What is chosen, and what hangs on it

Written by `python docs/sensitivity.py` from the fields of each target's `Parameters` and from runs.
Do not edit it.

A reproduction has inputs that the paper does not give. Each is said to be *chosen*, with the
reason, or *fitted*: moved until a figure could be drawn. What was fitted proves nothing by coming
out as it should, and it must not carry a mechanism either. So each fitted number is moved down and
up by a fifth, one at a time, and the target is made again.

The middle column says which mechanisms of the target then fail. The last one says what becomes of
lines that are fitted or recalled and of plain numbers: those that move most come first, and none
that moves by less than one part in a hundred. Values are those of the seed 2002. How to read a line
is told in [the paper, figure by figure](paper.md).
"""


def kept(name: str, laboratory: Laboratory, parameters: Any) -> Reproduction:
    """As `reproduce`, but not made again by the same code."""
    digest = cache.key(name, parameters, laboratory.seed)
    made = cache.kept(digest)
    if made is None:
        made = reproduce(name, laboratory, parameters)
        cache.keep(digest, made)
    return made


def page(found: Iterable[Sensitivity], before: str = "") -> str:
    """All of them, as Markdown; of targets that are not among them what there was before."""
    sections = dict(_sections(before))
    for each in found:
        title = f"{each.name}: {_cell(each.title)}\n"
        sections[each.name] = "\n".join([title, *_of(each)]).rstrip()
    text = "\n\n".join(f"## {sections[name]}" for name in TARGETS if name in sections)
    return f"{HEAD}\n{_sum(text)}\n\n{text}\n"


def _sections(text: str) -> Iterator[tuple[str, str]]:
    for section in text.split("\n## ")[1:]:
        yield section.partition(":")[0], section.rstrip()


def _sum(text: str) -> str:
    rows = re.findall(r"^\| `(\w+)` .* \| (all hold|\*\*fails\*\*.*?) \|", text, re.MULTILINE)
    bad = ", ".join(f"`{name}`" for name, said in rows if said != "all hold")
    said = f"these break a mechanism: {bad}" if bad else "none breaks a mechanism"
    return f"**{len(rows)} moves of {len(rows) // len(FACTORS)} fitted numbers: {said}.**"


def _of(each: Sensitivity) -> Iterator[str]:
    if each.moves:
        yield "| moved | mechanisms | what moves with it |\n|---|---|---|"
        yield from (_row(move) for move in each.moves)
        yield ""
    else:
        yield "Nothing is fitted here.\n"
    yield "| chosen | value | why |\n|---|---|---|"
    yield from (_chosen(choice) for choice in each.choices)
    yield ""


def _row(move: Move) -> str:
    name = f"`{move.choice.name}` {_value(move.choice.value)} → {_value(move.value)}"
    failed = "; ".join(f"**fails**: {text}" for text in move.failed) or "all hold"
    clear = [shift for shift in move.shifts if shift.part >= CLEAR]
    lines = [f"{shift.text}: {shift.before} → {shift.after}" for shift in clear[:LINES]]
    if len(clear) > LINES:
        lines.append(f"and {len(clear) - LINES} more")
    return f"| {name} | {_cell(failed)} | {'<br>'.join(map(_cell, lines)) or 'nothing'} |"


def _chosen(choice: Choice) -> str:
    fitted = "*fitted*: " if choice.is_calibrated else ""
    return f"| `{choice.name}` | {_value(choice.value)} | {fitted}{_cell(choice.why)} |"


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_value, value))
    return f"{value:.4g}" if isinstance(value, float) else _cell(str(value))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def main() -> None:
    """Makes what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="TARGET")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "sensitivity.md")
    parser.add_argument("--seed", type=int, default=2002)
    given = parser.parse_args()
    names = targets(given.names)
    found = [sensitivity(name, Laboratory(given.seed), kept) for name in names]
    before = given.out.read_text() if given.out.exists() else ""
    given.out.write_text(page(found, before))


if __name__ == "__main__":
    main()
