"""What a census finds, piece by piece: plain values, sizes in whole pages.

`esxcore.counting` fills them in and puts them together; names are those of the glossary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Counts:
    """Pages by content; in whole pages.

    Attributes
    ----------
    pages, zero_pages : int
        All pages, and those that read zero.
    distinct_pages : int
        Different contents, zero among them.
    shared_pages : int
        Pages whose content occurs at least twice.
    reclaimed_pages : int
        Pages that sharing would save: ``pages - distinct_pages``.
    """

    pages: int
    zero_pages: int
    distinct_pages: int
    shared_pages: int
    reclaimed_pages: int


@dataclass(frozen=True)
class ImageCounts(Counts):
    """One image as if it were alone, and what it has in common with the others.

    Attributes
    ----------
    path : str
        What it was called.
    zero_reclaimed_pages, intra_reclaimed_pages, inter_reclaimed_pages : int
        Parts of `reclaimed_pages`; alone, nothing is saved across images.
    common_pages : int
        Its pages, zero not among them, whose content another image has too.
    facts : dict
        ``format``; of a process also ``absent_pages``, ``swapped_pages``, ``lost_pages`` and
        ``zero_mapped_pages``, those of its zero pages that cost nothing already.
    """

    path: str
    zero_reclaimed_pages: int
    intra_reclaimed_pages: int
    inter_reclaimed_pages: int
    common_pages: int
    facts: dict[str, Any]


@dataclass(frozen=True)
class Content:
    """A content that many pages have.

    Attributes
    ----------
    pages, reclaimed_pages : int
        Pages that have it, and those that need not be kept.
    images : int
        Images that have it.
    path, page : str, int
        Where it is first met.
    begins_with : str or None
        Its first 16 bytes, hexadecimal; None if they are not known.
    is_uniform : bool or None
        Whether all its bytes are the same.
    """

    pages: int
    reclaimed_pages: int
    images: int
    path: str
    page: int
    begins_with: str | None
    is_uniform: bool | None


@dataclass(frozen=True)
class Kind:
    """Pages that guests use alike; of each content the page met first is the one kept."""

    kind: str
    pages: int
    zero_pages: int
    reclaimed_pages: int


@dataclass(frozen=True)
class Balloon:
    """Pages that guests have free, which a balloon would return without anything being shared.

    Attributes
    ----------
    free_pages : int
        Free pages of all guests.
    rest : Counts
        All other pages: what sharing saves after the balloon.
    """

    free_pages: int
    rest: Counts


@dataclass(frozen=True)
class Compression:
    """What LZ4 would save of the contents that are left, in slots of a half or a quarter page.

    An estimate from a random sample of the different contents other than zero, each compressed by
    itself: at most 1024 bytes take a quarter of a page, at most 2048 a half, others a whole one.

    Attributes
    ----------
    contents : int
        Contents that are left after sharing, and whose bytes are known.
    sampled_contents : int
        Of these, how many were compressed.
    half_fraction, quarter_fraction : float
        Parts of the sample that fit into a half, and into a quarter but not more.
    saved_pages : float
        Estimate of the pages saved.
    saved_low_pages, saved_high_pages : float
        Its 95 % interval: normal approximation of the mean of a sample without replacement, with
        one more content at each extreme; the estimate itself if all were compressed.
    """

    contents: int
    sampled_contents: int
    half_fraction: float
    quarter_fraction: float
    saved_pages: float
    saved_low_pages: float
    saved_high_pages: float


@dataclass(frozen=True)
class LargePages:
    """What is left of sharing if aligned large pages of 2 MiB are kept whole.

    Attributes
    ----------
    pages : int
        Pages that are part of a large page.
    reclaimed_pages : int
        Saved by sharing large pages as wholes and the pages outside of them one by one.
    lost_pages : int
        What that is less than sharing every page.
    """

    pages: int
    reclaimed_pages: int
    lost_pages: int
