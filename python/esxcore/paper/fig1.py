"""Figure 1: a balloon inflates and deflates, and the guest makes room by its own rules.

Paper, section 3.2. The figure is a diagram: as the balloon inflates, the guest takes what it needs
from its free list, then, short of memory, chooses victims by itself and writes them to its own
disk if it must; as the balloon deflates, memory is the guest's again. Here a Linux guest with a job
and a page cache lives through that, watched second by second.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from esxcore.guest import Guest
from esxcore.host import Host
from esxcore.paper.charts import Chart, Mark, Panel, Series, Style, Tone, series
from esxcore.paper.claims import Claim, Confidence, calibrated, mechanism
from esxcore.paper.reproduction import Laboratory, Reproduction, chosen
from esxcore.simulation import Simulation
from esxcore.workload import Batch, Program, files

TITLE = "Figure 1: ballooning"

PAGES_PER_MB = 256
_CACHE_KEEPS = 16  # the cache keeps one in so many pages of it and anonymous memory; see `Guest`
_LEVELS = 64  # the free list is short below one in so many pages; the guest's levels are lower
_TURN_S = 0.1


@dataclass(frozen=True)
class Parameters:
    """A guest, what it does, and the balloon that it is asked for. Sizes in MB."""

    memory: int = chosen(256, "as the guest of figure 2; figure 1 has no numbers")
    balloon: int = chosen(128, "half of memory, the default cap, and figure 2's largest balloon")
    job: int = chosen(
        140,
        "memory of the job; fitted so that the free list and the cache together cannot fill the"
        " balloon, and the guest has to page",
        is_calibrated=True,
    )
    hot: int = chosen(
        48,
        "part of it that the job refers to all the time; fitted so that there are victims whose"
        " loss does not hurt at once",
        is_calibrated=True,
    )
    files: int = chosen(
        32, "files that are read and written; fitted as the job", is_calibrated=True
    )
    refs_per_s: int = chosen(2000, "of the job and of the files each; slow enough for a disk")
    written: float = chosen(0.1, "part of operations on files that write, so that there are dirty")
    step: int = chosen(
        8, "by so much the balloon grows at a time; what it can have asleep a second"
    )
    step_s: int = chosen(5, "time for each step: one that has to be written takes two seconds")
    before_s: int = chosen(60, "boot, the job's start, and every file read once")
    hold_s: int = chosen(40, "more than the time after which dirty blocks are written")
    after_s: int = chosen(60, "time to read back what was dropped and paged out")

    @property
    def targets(self) -> dict[int, int]:
        """What the balloon should have from which second on, in MB."""
        up = [min(at, self.balloon) for at in range(self.step, self.balloon + self.step, self.step)]
        down = [self.balloon * quarters // 4 for quarters in (3, 2, 1, 0)]
        moves = {self.before_s + self.step_s * i: size for i, size in enumerate(up)}
        deflates = self.before_s + self.step_s * len(up) + self.hold_s
        return moves | {deflates + 2 * self.step_s * i: size for i, size in enumerate(down)}

    @property
    def seconds(self) -> int:
        """Length of the run."""
        return max(self.targets) + self.step_s + self.after_s


class Job:
    """Writes all its pages once; then refers to random pages of its hot part, some a second.

    Parameters
    ----------
    pages, hot : int
        How many it has, and how many it goes on using.
    refs_per_s : int
        References a second.
    seed : int
        What is random in it.
    """

    def __init__(self, pages: int, hot: int, refs_per_s: int, seed: int) -> None:
        self.pages, self.hot = pages, hot
        self.references = max(1, round(refs_per_s * _TURN_S))
        self._random = np.random.default_rng(seed)
        self._has_started = False

    def batch(self, now: float) -> Batch:
        """The next tenth of a second."""
        if not self._has_started:
            self._has_started = True
            return Batch(np.arange(self.pages), writes=True)
        pages = self._random.integers(0, self.hot, self.references)
        writes = self._random.random(self.references) < 0.5
        return Batch(pages, writes=writes, sleep_until=now + _TURN_S)


class Trace(NamedTuple):
    """What was seen after each second: columns by name, and when the balloon was told to move."""

    columns: dict[str, NDArray[np.int64]]
    inflates: int
    deflates: int

    def of(self, name: str) -> NDArray[np.int64]:
        """A column."""
        return self.columns[name]

    def begins(self, name: str) -> int:
        """The second in which a count first grows after the balloon inflates; -1 if in none."""
        column = self.of(name)
        (later,) = np.nonzero(column[self.inflates :] > column[self.inflates - 1])
        return self.inflates + int(later[0]) if later.size else -1

    def each_second(self, name: str) -> NDArray[np.int64]:
        """By how much a count grew."""
        return np.diff(self.of(name), prepend=self.of(name)[:1])


def reproduce(laboratory: Laboratory, parameters: Parameters) -> Reproduction:
    """Lets the guest live and its balloon inflate and deflate."""
    (trace,) = laboratory.map(lambda seed: watched(parameters, seed), [laboratory.seed])
    moments = {
        "inflates": trace.inflates,
        "first_drop": trace.begins("guest_drops"),
        "first_page_out": trace.begins("guest_swap_outs"),
        "deflates": trace.deflates,
    }
    claims = (*_inflating(trace), *_deflating(trace), _fitted(parameters))
    return Reproduction(TITLE, claims, _chart(parameters, trace), _NOTES, moments)


_NOTES = (
    "The figure is a diagram, without numbers: what is claimed is an order of events. Sizes are"
    " chosen, and the three that bring each event about are marked as fitted.",
    "The host was short of memory before the guest came, and with a wide margin stays in its soft"
    " state, in which balloons follow targets; otherwise it would take no more than it needs.",
    "A memory test at power-on has touched all of the guest's pages, so each page in the balloon"
    " gives the host a machine page. A page never touched has none to give.",
)


def watched(parameters: Parameters, seed: int) -> Trace:
    """The run, looked at after each second."""
    host = _host(parameters, seed)
    guest = host.power_on("guest", f"{parameters.memory}MiB", guest=Guest())
    guest.touch(range(guest.max_pages), write=True)
    simulation = Simulation(host, costs="2002")
    pages, hot = parameters.job * PAGES_PER_MB, parameters.hot * PAGES_PER_MB
    job = Job(pages, hot, parameters.refs_per_s, seed)
    simulation.start(guest, job, after="11s")
    simulation.start(guest, _files(parameters), after="11s")
    host.set_targets([guest.max_pages])
    seen: list[dict[str, int]] = []
    for second in range(parameters.seconds):
        if second in parameters.targets:
            balloon = parameters.targets[second] * PAGES_PER_MB
            host.set_targets([guest.max_pages - balloon])
        simulation.advance(1)
        seen.append(_seen(host))
    host.audit()
    moves = list(parameters.targets.items())
    deflates = next(at for (_, one), (at, two) in pairwise(moves) if two < one)
    columns = {name: np.array([row[name] for row in seen]) for name in seen[0]}
    return Trace(columns, moves[0][0], deflates)


def _host(parameters: Parameters, seed: int) -> Host:
    """A host of twice the guest's memory, which a neighbour has brought to its soft state."""
    memory = 2 * parameters.memory
    host = Host(f"{memory}MiB", seed=seed, content="tokens", sharing=False, state_margin=46.0)
    overhead, left = 32, round(0.03 * memory)  # between 2 and 4 % free is soft
    pages = (memory - overhead - left) * PAGES_PER_MB
    host.power_on("neighbour", contents=np.arange(1, pages + 1), min="4MiB")
    host.power_off("neighbour")
    return host


def _files(parameters: Parameters) -> Program:
    return files(
        parameters.files, smallest="1MiB", largest="1MiB", exponent=0.0, run="256KiB",
        refs_per_s=parameters.refs_per_s, read_fraction=1 - parameters.written, flush_every=0,
    )  # fmt: skip


def _seen(host: Host) -> dict[str, int]:
    guest = {name: int(column[0]) for name, column in host.vms().items() if name in _GUEST}
    stats = host.stats()
    return guest | {name: stats[name] for name in _MACHINE}


_GUEST = (
    "balloon_pages", "balloon_freed_pages", "allocated_pages", "guest_free_pages",
    "guest_cache_pages", "guest_dirty_pages", "guest_anonymous_pages", "guest_kernel_pages",
    "guest_swapped_pages", "guest_swap_outs", "guest_swap_ins", "guest_drops",
    "guest_write_backs", "guest_refaults", "guest_kills",
)  # fmt: skip
_MACHINE = ("free_pages", "page_outs", "swap_writes", "page_ins", "balloon_pops")


def _inflating(trace: Trace) -> list[Claim]:
    start, held = trace.inflates, trace.deflates - 1
    free, cache = trace.of("guest_free_pages"), trace.of("guest_cache_pages")
    anonymous, balloon = trace.of("guest_anonymous_pages"), trace.of("balloon_pages")
    swapped = trace.of("guest_swapped_pages")
    drop, out = trace.begins("guest_drops"), trace.begins("guest_swap_outs")
    refault, back = trace.begins("guest_refaults"), trace.begins("guest_swap_ins")
    memory = sum(trace.of(f"guest_{each}_pages")[0] for each in ("free", "cache", "kernel"))
    level, floor = memory // _LEVELS, (cache[out] + anonymous[out]) // _CACHE_KEEPS
    freed = trace.of("free_pages") - trace.of("free_pages")[start - 1]
    own: dict[str, Any] = {
        "paper": "its free list, then its own victims",
        "confidence": Confidence.SECONDARY,
    }
    until = slice(start, trace.deflates)
    return [
        mechanism(
            "the free list gives first: until it is short nothing is dropped or paged out",
            start < drop and free[drop] <= level and (out < 0 or drop <= out),
            f"{_mb(balloon[drop - 1])} in the balloon, {_mb(free[drop - 1])} free in the second"
            f" before the first clean page is dropped, {_mb(free[drop])} after it",
            why="short: below a 64th of memory; the guest's own levels are a 128th to a 43rd, but"
            " at most 255 to 765 pages. Watched each second",
            **own,
        ),
        mechanism(
            "then clean cache: it is dropped before the guest pages anything out",
            start < drop < out and cache[out] <= floor + PAGES_PER_MB,
            f"{_mb(cache[start])} of cache before, {_mb(cache[out])} as paging begins,"
            f" {out - drop} s after the first drop",
            why="the cache keeps a 16th of what it and anonymous memory have, and 1 MB for what is"
            " read in that second",
            **own,
        ),
        mechanism(
            "then the guest's own victims go to its own swap device, and no process is killed",
            out > 0
            and swapped[held] > 0
            and (anonymous + swapped)[held] == anonymous[start - 1]
            and trace.of("guest_kills")[-1] == 0,
            f"{trace.of('guest_swap_outs')[-1]:,} pages written; {_mb(swapped[held])} out while the"
            " balloon is held, which are what the job has less what is resident, to the page",
            paper="writes victims to its virtual disk, if necessary",
            confidence=Confidence.SECONDARY,
        ),
        mechanism(
            "the guest feels it in the same order: files are read again, then pages of its own",
            start < drop <= refault and drop < out <= back and refault <= back,
            f"balloon at {start} s, first drop {drop}, file read again {refault}, page-out {out},"
            f" page-in {back} s",
        ),
        mechanism(
            "the host frees the machine page behind each page in the balloon",
            bool((freed[until] == balloon[until]).all() and balloon[held] == balloon.max() > 0),
            f"{_mb(balloon[held])} in the balloon, {_mb(freed[held])} more free, to the page in"
            " each second",
            paper="frees the MPN of each ballooned PPN",
            confidence=Confidence.SECONDARY,
            why="all pages had been touched, so no tolerance",
        ),
        mechanism(
            "the host itself pages nothing out, and the guest never touches its balloon",
            not any(trace.of(name).any() for name in _MACHINE[1:]),
            "no page-out, no write to the swap file, no pop",
        ),
    ]


def _deflating(trace: Trace) -> list[Claim]:
    start = trace.deflates
    free, cache = trace.of("guest_free_pages"), trace.of("guest_cache_pages")
    swapped, balloon = trace.of("guest_swapped_pages"), trace.of("balloon_pages")
    outs, drops = trace.of("guest_swap_outs"), trace.of("guest_drops")
    given = balloon[start - 1] - balloon[start]
    machine = trace.of("free_pages") - trace.of("free_pages")[trace.inflates - 1]
    lost = swapped[start - 1] - swapped[-1]
    resident = trace.of("allocated_pages")
    return [
        mechanism(
            "deflating reverses it: the free list grows at once, and nothing more has to go",
            bool(balloon[-1] == 0 and free[start] - free[start - 1] > given / 2)
            and outs[start] == outs[-1]
            and drops[start] == drops[-1],
            f"of the first {_mb(given)} given back {_mb(free[start] - free[start - 1])} are free"
            " within the second; no drop and no page-out afterwards",
            paper="frees pages that the balloon had",
            confidence=Confidence.SECONDARY,
            why="the guest reads back what it missed in the same second: half is left at least",
        ),
        mechanism(
            "then the cache fills again, and what is used comes back from the guest's swap device",
            bool(cache[-1] > 2 * cache[start - 1] and lost > 0),
            f"cache from {_mb(cache[start - 1])} to {_mb(cache[-1])}; {_mb(lost)} back, and"
            f" {_mb(swapped[-1])} stay out until somebody uses them",
        ),
        mechanism(
            "the host gives a machine page only when the guest touches what it got back",
            bool((machine == resident[trace.inflates - 1] - resident).all()) and machine[-1] > 0,
            f"balloon empty, {_mb(machine[-1])} of it not yet touched again",
        ),
    ]


def _fitted(parameters: Parameters) -> Claim:
    return calibrated(
        "the guest's memory in use: job, part of it that is hot, files",
        f"{parameters.job}, {parameters.hot} and {parameters.files} MB of {parameters.memory}",
        why="so that each event of the diagram comes before the balloon is full",
    )


def _mb(pages: float) -> str:
    return f"{pages / PAGES_PER_MB:.1f} MB"


def _chart(parameters: Parameters, trace: Trace) -> Chart:
    clean = trace.of("guest_cache_pages") - trace.of("guest_dirty_pages")
    areas: tuple[tuple[str, NDArray[np.int64], Tone], ...] = (
        ("kernel", trace.of("guest_kernel_pages"), "ink"),
        ("anonymous", trace.of("guest_anonymous_pages"), "blue"),
        ("dirty cache", trace.of("guest_dirty_pages"), "orange"),
        ("clean cache", clean, "sky"),
        ("free", trace.of("guest_free_pages"), "green"),
        ("balloon", trace.of("balloon_pages"), "grey"),
    )
    marks = (
        Mark(trace.inflates, "inflates"),
        Mark(trace.begins("guest_drops"), "drops cache"),
        Mark(trace.begins("guest_swap_outs"), "pages out"),
        Mark(trace.deflates, "deflates"),
    )
    lines = (
        _line(trace, "machine's free memory", "free_pages"),
        _line(trace, "balloon", "balloon_pages", "dashed"),
        _line(trace, "on the guest's swap device", "guest_swapped_pages", "dotted"),
    )
    rates: tuple[tuple[str, str, Tone], ...] = (
        ("clean pages dropped", "guest_drops", "sky"),
        ("pages written back", "guest_write_backs", "orange"),
        ("paged out by the guest", "guest_swap_outs", "red"),
        ("paged in by the guest", "guest_swap_ins", "blue"),
    )
    return Chart(
        (
            Panel("the guest's \"physical\" memory", "", "MB",
                  tuple(_area(trace, *area) for area in areas), marks,
                  y_to=1.15 * parameters.memory),
            Panel("the machine", "", "MB", lines, tuple(Mark(mark.x, "") for mark in marks)),
            Panel("what the guest does, a second", "seconds", "pages",
                  tuple(_rate(trace, *rate) for rate in rates),
                  tuple(Mark(mark.x, "") for mark in marks)),
        ),
        height=2.6,
    )  # fmt: skip


def _seconds(trace: Trace) -> range:
    """The ends of the seconds."""
    return range(1, len(trace.of("free_pages")) + 1)


def _area(trace: Trace, label: str, pages: NDArray[np.int64], tone: Tone) -> Series:
    return series(label, _seconds(trace), pages / PAGES_PER_MB, "area", tone)


def _line(trace: Trace, label: str, name: str, style: Style = "line") -> Series:
    return series(label, _seconds(trace), trace.of(name) / PAGES_PER_MB, style)


def _rate(trace: Trace, label: str, name: str, tone: Tone) -> Series:
    return series(label, _seconds(trace), trace.each_second(name), tone=tone)
