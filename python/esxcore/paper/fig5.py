"""Figure 5, a table: what page sharing found in three deployments that were in production.

Paper, section 4.4. Nobody has those memories, so their contents are constructed: sizes are the
table's, and how much is equal is fitted to its percentages. What is checked is the scanner: at the
default rates it has to find exactly what was put there, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from esxcore.config import PAGE_SIZE
from esxcore.host import Host
from esxcore.paper.charts import Chart, Panel, Series, Style, Tone, series
from esxcore.paper.claims import Claim, Confidence, calibrated, mechanism
from esxcore.paper.reproduction import Laboratory, Reproduction, chosen

TITLE = "Figure 5: page sharing, production workloads"

_PAGES_PER_MB = 2**20 // PAGE_SIZE
_COMMON, _OWN = 2**40, 2**41
_MACHINE = 1.05  # memory of the machine for that of the guests
_STEPS_AN_HOUR = 20
_LONGEST_H = 48


class Row(NamedTuple):
    """What is recalled of a row of the table, in MB."""

    guests: str
    shared: int
    reclaimed: int
    zero: int | None


_PAPER = {
    "A": Row("10 Windows NT", 880, 673, None),
    "B": Row("9 Linux", 539, 345, 70),
    "C": Row("5 Linux", 165, 120, 25),
}
_COPIES = (
    "copies of a content that several may have, on average, fitted: the mean is {} where there are"
    " at least two, as shared against shared − reclaimed has it"
)
_COMMON_WHY = (
    "part of memory that holds contents of which others may have copies, fitted: {} MB shared"
)


@dataclass(frozen=True)
class Parameters:
    """Sizes of the virtual machines in MB, and what their pages hold."""

    sizes_a: tuple[int, ...] = chosen(
        (512, 256, 256, 256, *6 * (128,)), "ten of 2048 MB together (recalled); each is chosen"
    )
    sizes_b: tuple[int, ...] = chosen(
        (768, 256, 192, 128, 128, 128, 96, 86, 64),
        "nine of 64 to 768 MB, 1846 MB together (recalled); each is chosen",
    )
    sizes_c: tuple[int, ...] = chosen(
        (512, 512, 384, 218, 32),
        "five of 32 to 512 MB, 1658 MB together (recalled); each is chosen",
    )
    zero_a: float = chosen(
        0.05, "part of memory that is zero; nothing is known of it", is_calibrated=True
    )
    zero_b: float = chosen(0.0379, "as for A, fitted: 70 MB", is_calibrated=True)
    zero_c: float = chosen(0.0151, "as for A, fitted: 25 MB", is_calibrated=True)
    common_a: float = chosen(0.3945, _COMMON_WHY.format(880), is_calibrated=True)
    common_b: float = chosen(0.3897, _COMMON_WHY.format(539), is_calibrated=True)
    common_c: float = chosen(0.0935, _COMMON_WHY.format(165), is_calibrated=True)
    copies_a: float = chosen(3.27, _COPIES.format("3.8"), is_calibrated=True)
    copies_b: float = chosen(1.055, _COPIES.format("2.4"), is_calibrated=True)
    copies_c: float = chosen(2.33, _COPIES.format("3.1"), is_calibrated=True)
    vm_rate: int = chosen(50, "pages a second, the product's default (manual)")
    host_rate: int = chosen(200, "pages a second, the product's default (manual)")

    def sizes(self, name: str) -> tuple[int, ...]:
        """Of a workload's virtual machines, in MB."""
        found: tuple[int, ...] = getattr(self, f"sizes_{name.lower()}")
        return found

    def contents(self, name: str, seed: int) -> list[NDArray[np.int64]]:
        """Tokens of the pages of each virtual machine of a workload.

        Part of the pages is zero, another holds contents drawn from a pool, each equally often, and
        what is left is like no other.
        """
        random = np.random.default_rng([seed, ord(name), 5])
        zero, common, copies = (
            getattr(self, f"{part}_{name.lower()}") for part in ("zero", "common", "copies")
        )
        pages = [size * _PAGES_PER_MB for size in self.sizes(name)]
        pool = max(1, round(common * sum(pages) / copies))
        every, first = [], _OWN
        for count in pages:
            zeros, drawn = round(zero * count), round(common * count)
            own = count - zeros - drawn
            kinds = (
                np.zeros(zeros, np.int64),
                _COMMON + random.integers(pool, size=drawn),
                first + np.arange(own),
            )
            every.append(np.concatenate(kinds))
            first += own
        return every


class Counted(NamedTuple):
    """Pages that are shared, reclaimed and zero."""

    shared: int
    reclaimed: int
    zero: int


class Workload(NamedTuple):
    """What became of one of the three."""

    name: str
    pages: int
    known: Counted
    census: Counted
    scanned: Counted
    hours: list[float]
    course: list[float]
    """Reclaimed by then, in percent of all its memory."""
    metadata: float
    """Space of the hash table, in parts of machine memory."""

    def percent(self, pages: float) -> float:
        """Of all its memory."""
        return 100 * pages / self.pages


def reproduce(laboratory: Laboratory, parameters: Parameters) -> Reproduction:
    """Constructs the three, and scans each until every page has been looked at."""
    made = laboratory.map(lambda name: _scanned(parameters, name, laboratory.seed), _PAPER)
    claims = [*(_exact(each) for each in made), *_whole(made)]
    for each in made:
        claims += _fitted(each)
    notes = (
        "Deployments are replaced by constructed contents that nobody writes to; the percentages"
        " were put in. That the scanner finds them, page by page, was not.",
        "At the default rates each page has been looked at once after "
        + ", ".join(f"{each.hours[-1]:.1f} h ({each.name})" for each in made)
        + f": {parameters.host_rate} pages a second are few for so much memory.",
    )
    numbers = {
        each.name: {
            "total_mb": each.pages / _PAGES_PER_MB,
            "shared_mb": each.scanned.shared / _PAGES_PER_MB,
            "reclaimed_mb": each.scanned.reclaimed / _PAGES_PER_MB,
            "zero_mb": each.scanned.zero / _PAGES_PER_MB,
            "hours": each.hours[-1],
        }
        for each in made
    }
    return Reproduction(TITLE, tuple(claims), _chart(made), notes, numbers)


def _scanned(parameters: Parameters, name: str, seed: int) -> Workload:
    contents = parameters.contents(name, seed)
    pages = sum(map(len, contents))
    host = Host(
        memory=round(_MACHINE * pages),
        content="tokens",
        seed=seed,
        policy=None,
        scan_vm_rate=parameters.vm_rate,
        scan_host_rate=parameters.host_rate,
    )
    for number, tokens in enumerate(contents):
        host.power_on(f"{name}{number + 1}", contents=tokens)
    hours, course = [0.0], [0.0]
    while host.vms()["scan_passes"].min() < 1 and host.now < _LONGEST_H * 3600:
        host.advance(3600 / _STEPS_AN_HOUR)
        hours.append(host.now / 3600)
        course.append(100 * host.stats()["reclaimed_pages"] / pages)
    stats = host.stats()
    share = stats["sharing_metadata_bytes"] / (stats["machine_pages"] * PAGE_SIZE)
    return Workload(
        name, pages, counted(contents), _of(host.census()), _of(stats), hours, course, share
    )


def _of(table: dict[str, int]) -> Counted:
    return Counted(*(table[f"{name}_pages"] for name in Counted._fields))


def counted(contents: Sequence[NDArray[np.int64]]) -> Counted:
    """The known answer: what could be shared of these pages, counted without the engine."""
    tokens = np.concatenate(contents)
    counts = np.unique(tokens, return_counts=True)[1]
    return Counted(
        int(counts[counts > 1].sum()), tokens.size - counts.size, int(np.count_nonzero(tokens == 0))
    )


def _exact(each: Workload) -> Claim:
    return mechanism(
        f"{each.name}: the scanner finds exactly what was constructed",
        each.scanned == each.known == each.census,
        f"{each.scanned.reclaimed:,} pages reclaimed and {each.scanned.shared:,} shared of"
        f" {each.pages:,}; {each.known.reclaimed:,} and {each.known.shared:,} were constructed",
        why="each page has been scanned once, and nobody writes: no tolerance",
    )


def _whole(made: Sequence[Workload]) -> list[Claim]:
    parts = [each.percent(each.scanned.reclaimed) for each in made]
    most = max(each.metadata for each in made)
    return [
        mechanism(
            "the more alike the guests are the more is reclaimed: A > B > C",
            parts == sorted(parts, reverse=True),
            " > ".join(f"{part:.1f} %" for part in parts),
            paper="32.9 > 18.7 > 7.2 %",
            confidence=Confidence.RECALLED,
            why="holds wherever a fitted number is moved by a fifth",
        ),
        mechanism(
            "the hash table takes less than half a percent of memory",
            most < 0.005,
            f"{100 * most:.2f} %",
            paper="below 0.5 %",
            confidence=Confidence.CONFIRMED,
            why="16 bytes a frame and at most one frame a page are 0.39 %",
        ),
    ]


def _fitted(each: Workload) -> list[Claim]:
    row, total = _PAPER[each.name], each.pages / _PAGES_PER_MB
    pairs = [("shared", row.shared, each.scanned.shared)]
    pairs.append(("reclaimed", row.reclaimed, each.scanned.reclaimed))
    claims = [
        calibrated(
            f"{each.name}, {row.guests}, {total:.0f} MB: {what}",
            f"{pages / _PAGES_PER_MB:.0f} MB, {each.percent(pages):.1f} %",
            paper=f"{paper} MB, {100 * paper / total:.1f} %",
            confidence=Confidence.RECALLED,
            why="the constructed contents were fitted to the table",
        )
        for what, paper, pages in pairs
    ]
    if row.zero is not None:
        claims.append(
            calibrated(
                f"{each.name}: zero pages of what is reclaimed",
                f"{each.scanned.zero / _PAGES_PER_MB:.0f} MB",
                paper=f"{row.zero} MB",
                confidence=Confidence.RECALLED,
                why="the constructed contents were fitted to the table",
            )
        )
    return claims


def _chart(made: Sequence[Workload]) -> Chart:
    words = [f"{each.name}: {_PAPER[each.name].guests}" for each in made]

    def bars(label: str, values: Sequence[int], tone: Tone) -> Series:
        megabytes = [round(pages / _PAGES_PER_MB, 1) for pages in values]
        return Series(label, words, megabytes, "bars", tone)

    table = Panel(
        "what is found",
        "",
        "MB",
        (
            bars("total", [each.pages for each in made], "grey"),
            bars("shared", [each.scanned.shared for each in made], "blue"),
            bars("reclaimed", [each.scanned.reclaimed for each in made], "red"),
        ),
    )
    styles: tuple[Style, ...] = ("line", "dashed", "dotted")
    lines = tuple(
        series(each.name, each.hours, each.course, style)
        for each, style in zip(made, styles, strict=True)
    )
    course = Panel("and how long that takes", "hours at default rates", "% reclaimed", lines)
    return Chart((table, course), columns=2, height=3.4)
