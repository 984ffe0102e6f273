"""Section 4.1: what hooks as in Disco would have shared, and what they miss.

Disco shares what it sees being copied: blocks that guests read from one disk. Sharing by content
needs no hooks and finds equal pages wherever they came from, but has to look for them. Here both
are applied to the guests of figure 4 at work, of whose pages it is known where they are from, and
to five real guests.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from esxcore.host import Host
from esxcore.paper import real_guests
from esxcore.paper.charts import Chart, Mark, Panel, Series, Style, Tone, series
from esxcore.paper.claims import Claim, Confidence, calibrated, mechanism
from esxcore.paper.identical import (
    PAGES_PER_MB,
    TURNOVER_S,
    IdenticalGuests,
    Turnover,
    at_work,
    found,
    powered_on,
)
from esxcore.paper.real_guests import Growth
from esxcore.paper.reproduction import Laboratory, Reproduction, chosen

TITLE = "Section 4.1: hooks as in Disco, and content"


@dataclass(frozen=True)
class Parameters(IdenticalGuests):
    """The guests of figure 4, and where their common pages are from."""

    from_disk: float = chosen(
        0.7,
        "part of the pages equal in all guests that was read from the disk of their image, and not"
        " computed alike by equal programs; nothing is known of it",
        is_calibrated=True,
    )
    looks: int = chosen(
        25,
        "how often each page is looked at, on average, until all is taken for found: independent"
        " draws then miss one of a hundred thousand pages once in a million runs",
    )

    @property
    def disk_pages(self) -> int:
        """Pages of a guest that were read from the disk of its image."""
        return round(self.from_disk * self.parts.common)

    def hooked(self, vms: int) -> int:
        """Pages that hooks reclaim in so many guests, each of which has read each block once."""
        return self.disk_pages * (vms - 1)

    def missed(self, vms: int) -> dict[str, int]:
        """Pages reclaimed by content alone, by what they are."""
        parts, copies = self.parts, self.own_copies_whole
        return {
            "equal data": (parts.common - self.disk_pages) * (vms - 1),
            "own repeats": vms * parts.own * (copies - 1) // copies,
            "zero pages": parts.zero * vms - 1,
        }


class Course(NamedTuple):
    """A run of all the guests at work: reclaimed by content minute by minute, in pages."""

    minutes: list[int]
    reclaimed: list[int]
    final: int
    """After nobody has written any more and every page was looked at."""
    strays: int
    """Pages from disk that are then on another machine page than those of the same block."""
    written: int
    """Pages from disk that were written since they were read: to hooks they are private."""

    def overtakes(self, pages: int) -> int | None:
        """The minute in which more than so many are reclaimed."""
        later = [m for m, r in zip(self.minutes, self.reclaimed, strict=True) if r > pages]
        return later[0] if later else None


def reproduce(laboratory: Laboratory, parameters: Parameters) -> Reproduction:
    """Both ways, on one to ten guests, on ten at work, and on real ones."""
    seed, counts = laboratory.seed, range(1, parameters.vms + 1)
    (course,) = laboratory.map(lambda vms: _at_work(parameters, vms, seed), [parameters.vms])
    content = laboratory.map(lambda vms: _quiet(parameters, vms, seed), counts)
    contents = real_guests.trace()
    grown = laboratory.map(
        lambda guests: real_guests.growth(contents, guests, seed), range(1, contents.vms + 1)
    )
    hooks = [parameters.hooked(vms) for vms in counts]
    return Reproduction(
        TITLE,
        tuple(_claims(parameters, course, content, grown)),
        _chart(parameters, course, content, grown),
        _notes(parameters, course, grown),
        {
            "vms": list(counts),
            "content_mb": [pages / PAGES_PER_MB for pages in content],
            "hooks_mb": [pages / PAGES_PER_MB for pages in hooks],
            "at_work_mb": [pages / PAGES_PER_MB for pages in course.reclaimed],
            "real_content_mb": [each.reclaimed / PAGES_PER_MB for each in grown],
            "real_files_mb": [each.by_files / PAGES_PER_MB for each in grown],
        },
    )


def _at_work(parameters: Parameters, vms: int, seed: int) -> Course:
    """The run of figure 4, watched; then everything is looked at while the guests rest."""
    host = powered_on(parameters, vms, seed)
    simulation = at_work(host, parameters, seed)
    minutes, reclaimed = [0], [0]
    for minute in range(1, parameters.minutes + 1):
        simulation.advance(60)
        minutes.append(minute)
        reclaimed.append(round(found(host).reclaimed))
    _look(host, parameters)
    blocks = np.tile(np.arange(parameters.disk_pages), vms)
    strays = real_guests.strays(blocks, _disk_mpns(host, parameters))
    written = sum(_written(parameters, seed, vm) for vm in range(vms))
    return Course(minutes, reclaimed, round(found(host).reclaimed), strays, written)


def _quiet(parameters: Parameters, vms: int, seed: int) -> int:
    host = powered_on(parameters, vms, seed)
    _look(host, parameters)
    return round(found(host).reclaimed)


def _look(host: Host, parameters: Parameters) -> None:
    host.scan(parameters.looks * int(host.vms()["max_pages"].sum()))


def _disk(parameters: Parameters) -> slice:
    """Where in a guest the pages are that were read from the disk of its image."""
    first = parameters.parts.private + parameters.parts.own
    return slice(first, first + parameters.disk_pages)


def _disk_mpns(host: Host, parameters: Parameters) -> NDArray[np.int64]:
    """Machine pages of the blocks, guest after guest."""
    names = host.vms()["name"].tolist()
    mpns = [host.pmap(name)["mpn"][_disk(parameters)].astype(np.int64) for name in names]
    return np.concatenate(mpns)


def _written(parameters: Parameters, seed: int, vm: int) -> int:
    """Pages of a guest, read from disk, that its turnover writes in the run."""
    turnover, where = Turnover(parameters, seed, vm), _disk(parameters)
    turns = range(0, parameters.seconds, TURNOVER_S)
    pages = np.unique(np.concatenate([turnover.batch(turn).pages for turn in turns]))
    return int(np.count_nonzero((pages >= where.start) & (pages < where.stop)))


def _claims(
    parameters: Parameters, course: Course, content: Sequence[int], grown: Sequence[Growth]
) -> list[Claim]:
    vms, last = parameters.vms, grown[-1]
    hooked, missed = parameters.hooked(vms), parameters.missed(vms)
    known = [parameters.hooked(n) + sum(parameters.missed(n).values()) for n in range(1, vms + 1)]
    overtakes = course.overtakes(hooked)
    said = ", ".join(f"{pages / PAGES_PER_MB:.1f} MB {word}" for word, pages in missed.items())
    superset: dict[str, Any] = {
        "paper": "finds every page that can be shared, whatever its origin",
        "confidence": Confidence.SECONDARY,
    }
    return [
        mechanism(
            "what hooks share is shared by content too: pages of one block are on one machine page",
            course.strays == 0,
            f"{vms * parameters.disk_pages:,} pages of {parameters.disk_pages:,} blocks in {vms}"
            f" VMs; {course.strays} elsewhere",
            why="after the guests' last write every page was looked at: no tolerance",
            **superset,
        ),
        mechanism(
            "content finds the rest too, exactly as much as was put there, with each number of VMs",
            list(content) == known and course.final == known[-1],
            f"with {vms}: {known[-1] / PAGES_PER_MB:.1f} MB, of which hooks miss {said}",
            why="as before",
            **superset,
        ),
        mechanism(
            "hooks share at once; scanning at the default rates overtakes them within the run",
            overtakes is not None,
            f"{hooked / PAGES_PER_MB:.1f} MB by hooks, overtaken after {overtakes} minutes"
            if overtakes
            else f"{hooked / PAGES_PER_MB:.1f} MB by hooks, not overtaken",
            why="what hooks miss is more than what scanning has not found by then",
        ),
        mechanism(
            "in five real guests equal pages of files are on one machine page, and much else",
            all(each.strays == 0 and each.reclaimed >= each.by_files for each in grown),
            f"{last.reclaimed / PAGES_PER_MB:.0f} MB by content, {last.by_files / PAGES_PER_MB:.0f}"
            f" MB of it in files, {last.zero / PAGES_PER_MB:.0f} MB zero pages",
            why="half an hour is one pass, and nobody writes: no tolerance",
            **superset,
        ),
        calibrated(
            f"what hooks would have reclaimed of {vms} VMs",
            f"{hooked / PAGES_PER_MB:.0f} of {known[-1] / PAGES_PER_MB:.0f} MB",
            why="follows from the part of common pages that is from disk, which was chosen",
        ),
    ]


def _chart(
    parameters: Parameters, course: Course, content: Sequence[int], grown: Sequence[Growth]
) -> Chart:
    counts, vms = range(1, parameters.vms + 1), parameters.vms
    hooked, missed = parameters.hooked(vms), parameters.missed(vms)
    origins = {"from disk": hooked, **missed}
    guests = [str(each.guests) for each in grown]
    return Chart(
        (
            Panel(
                "identical VMs, every page looked at",
                "number of virtual machines",
                "MB reclaimed",
                (
                    _line("by content", counts, content),
                    _line("by hooks", counts, [parameters.hooked(n) for n in counts], "dashed"),
                ),
            ),
            Panel(
                f"{vms} of them at work, default rates",
                "minutes",
                "MB reclaimed",
                (
                    _line("by content", course.minutes, course.reclaimed),
                    _line("by hooks", course.minutes, [hooked] * len(course.minutes), "dashed"),
                ),
                _overtaking(course, hooked),
                has_legend=False,
            ),
            Panel(
                f"{vms} of them, by what the pages are",
                "",
                "MB reclaimed",
                (
                    _bars("by content", list(origins), list(origins.values()), "ink"),
                    _bars("by hooks", list(origins), [hooked, 0, 0, 0], "grey"),
                ),
            ),
            Panel(
                "real Linux guests of 256 MB",
                "number of guests",
                "MB reclaimed",
                (
                    _bars("by content", guests, [each.reclaimed for each in grown], "ink"),
                    _bars("by hooks", guests, [each.by_files for each in grown], "grey"),
                ),
            ),
        ),
        columns=2,
    )


def _overtaking(course: Course, hooked: int) -> tuple[Mark, ...]:
    minute = course.overtakes(hooked)
    return () if minute is None else (Mark(minute, "overtaken"),)


def _line(label: str, x: Iterable[float], pages: Sequence[float], style: Style = "line") -> Series:
    return series(label, x, np.asarray(pages) / PAGES_PER_MB, style)


def _bars(label: str, words: list[str], pages: Sequence[int], tone: Tone) -> Series:
    return Series(label, words, [round(each / PAGES_PER_MB, 1) for each in pages], "bars", tone)


def _notes(parameters: Parameters, course: Course, grown: Sequence[Growth]) -> tuple[str, ...]:
    lost = course.written / (parameters.vms * parameters.disk_pages)
    last = grown[-1]
    return (
        "Hooks are given the best case: each guest has read each block once, through an interface"
        f" that is watched, and a page is shared as long as its content is. {100 * lost:.0f} % of"
        " these pages were written in the run, with what they held; hooks would not have shared"
        " those again, the scanner did.",
        f"Of the real guests it is known which pages are of files: {last.by_files:,} of"
        f" {last.reclaimed:,} pages reclaimed of five. Their kernels, and what freed pages still"
        " hold, came from a disk as well; the record does not say from which block.",
    )
