"""What a host reports: the codes in its tables, and what a batch of accesses or a scan did."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal


class PageState(IntEnum):
    """Where a page of a virtual machine is (`Host.pmap`, column ``state``)."""

    EMPTY = 0
    PRIVATE = 1
    SHARED = 2
    SWAPPED = 3
    BALLOONED = 4


class FrameKind(IntEnum):
    """What a frame of the hash table is (`Host.frames`, column ``kind``)."""

    HINT = 1
    SHARED = 2


@dataclass(frozen=True, slots=True)
class TouchReport:
    """What a batch of guest accesses did.

    Attributes
    ----------
    done : int
        References served, from the first.
    stopped : str or None
        Why the next one was not served: ``"out-of-memory"``, or ``"blocked"`` for a virtual machine
        that is held up until it has come down to its target; None if all were.
    zero_fills, cow_breaks, page_ins : int
        What the served ones met: first touches, writes to shared pages, pages in the swap file.
    """

    done: int
    stopped: Literal["out-of-memory", "blocked"] | None
    zero_fills: int
    cow_breaks: int
    page_ins: int


@dataclass(frozen=True, slots=True)
class IoReport:
    """What a batch of transfers did (paper, section 7).

    Attributes
    ----------
    done : int
        Transfers done, from the first; each is of one page.
    stopped : str or None
        Why the next one was not, as in `TouchReport`; None if all were.
    zero_fills, cow_breaks, page_ins : int
        What their accesses met: first touches, writes to shared pages, pages in the swap file.
    copies : int
        Transfers that went through a bounce buffer, since their page is not in low memory.
    remaps : int
        Hot pages that were moved to low memory.
    private_copies : int
        Hot pages that others share, of which the virtual machine got a low copy of its own.
    evictions : int
        Pages of any virtual machine that moved up to make room.
    refused : int
        Hot pages for which there was no room, each time that it was tried.
    hits, misses : int
        Transfers whose page the translation cache knew, and others.
    """

    done: int
    stopped: Literal["out-of-memory", "blocked"] | None
    zero_fills: int
    cow_breaks: int
    page_ins: int
    copies: int
    remaps: int
    private_copies: int
    evictions: int
    refused: int
    hits: int
    misses: int


@dataclass(frozen=True, slots=True)
class BalloonDriver:
    """The balloon driver of a guest, described by numbers (paper, section 3.2).

    The default is a healthy one; other numbers make it absent, late, slow, stingy or stuck.

    Attributes
    ----------
    start : str, int or None
        Time after power-on at which it begins to poll: a duration such as ``"2min"`` or whole
        seconds; ``"guest"`` for when its guest loads it (`Guest` says when); None if the guest has
        no driver.
    max_rate : int or None
        Most pages that it moves in a poll, once a second; None for as many as its protocol allows.
    limit : str, int or None
        Largest balloon that it makes: a size, or pages; None for no limit of its own.
    stuck_at : str, int or None
        Time after power-on from which it is heard no more; None for never.
    """

    start: str | int | None = "guest"
    max_rate: int | None = None
    limit: str | int | None = None
    stuck_at: str | int | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a virtual machine has the target it has (`Host.explain`); ``str()`` tells it in words.

    Attributes
    ----------
    facts : dict
        The numbers behind the text: ``target_pages`` and ``before_pages``, ``set_at_s`` and
        ``policy`` and ``cause`` of the decision, ``free_state`` and ``available_pages`` then,
        ``price`` (adjusted shares-per-page), ``taxed_pages``, ``bound``, ``cheapest``, what the
        plan asks for, and in ``moved`` the pages moved since, by mechanism (``"zero fill"``,
        ``"page-out"`` and so on). If the virtual machine was reconfigured and no policy has been
        asked since, ``reconfigured_at_s`` says when, and ``decided_pages`` is the target before its
        new bounds clamped it; otherwise both are None.
    """

    text: str
    facts: dict[str, Any]

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What a scan did (paper, section 4.3); ``picked = skipped + hashed``.

    Attributes
    ----------
    picked : int
        Pages taken from the scan order.
    skipped : int
        Of these, pages that are shared already, not resident, or not eligible.
    hashed : int
        Of these, pages hashed and looked up.
    hints : int
        Hint frames left.
    published : int
        Hints that proved true; the page they name got a shared frame.
    merged : int
        Pages merged into a shared page, each of which freed a machine page.
    false_matches : int
        Pages with the hash of another and other content, ineligible from then on.
    stale_hints : int
        Hints removed because their page had changed.
    """

    picked: int
    skipped: int
    hashed: int
    hints: int
    published: int
    merged: int
    false_matches: int
    stale_hints: int


@dataclass(frozen=True, slots=True)
class SamplingReport:
    """What sampling knows of one virtual machine's activity (paper, section 5.3).

    Fractions are of all its pages, its max.

    Attributes
    ----------
    period_s : int
        Length of a period, in seconds of the virtual machine's own time: powered on, and not
        waiting for memory that the host does not have.
    periods : int
        Finished periods.
    elapsed_s : int
        Seconds of the running one.
    sampled : int
        Pages chosen in each period.
    touched : int
        Of these, pages touched in the running period so far.
    last_touched : int
        Of as many, pages touched in the last finished period; 0 before there is one.
    slow, fast : float
        Moving averages over the finished periods; 0 before there is one.
    current : float
        The fast average as if the running period ended now.
    estimate : float
        The maximum of the three. It leans upwards and lags behind a fall; no confidence is claimed
        for it.
    interval_low, interval_high : float
        Where the active fraction of the last finished period lies, with 95 % confidence; 0 and 1
        before there is one.
    """

    period_s: int
    periods: int
    elapsed_s: int
    sampled: int
    touched: int
    last_touched: int
    slow: float
    fast: float
    current: float
    estimate: float
    interval_low: float
    interval_high: float
