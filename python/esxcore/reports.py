"""What a host reports: the codes in its tables, and what a batch of accesses or a scan did."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal


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
        Why the next one was not served: ``"out-of-memory"``; None if all were.
    zero_fills, cow_breaks, page_ins : int
        What the served ones met: first touches, writes to shared pages, pages in the swap file.
    """

    done: int
    stopped: Literal["out-of-memory"] | None
    zero_fills: int
    cow_breaks: int
    page_ins: int


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
