"""Pieces of work of a census of a fleet, as workers do them: count an image, merge a share.

All of them take and give plain values. Contents are rows of an array: a keyed hash of 16 bytes, how
many pages of the image have it, and the first of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from esxcore import _core
from esxcore.contents import DIGEST_BYTES, TraceKey
from esxcore.errors import EsxError
from esxcore.images import open_image

_MOST = 10
_HASH_BATCH = 4096
_PAIRS = 2**20  # of images at a time, as numbers of eight bytes
_ROW = np.dtype([("digest", f"V{DIGEST_BYTES}"), ("pages", np.int64), ("first", np.int64)])

Hashes: TypeAlias = "tuple[list[NDArray[Any]], dict[str, int], dict[str, Any]] | str"
"""Rows of an image by share, its counts and facts; or a line about what is wrong with it."""


class Image(NamedTuple):
    """An image that was counted: its hashes as they lie on the cluster, its counts and facts."""

    hashes: Any
    counts: dict[str, int]
    facts: dict[str, Any]


class Row(NamedTuple):
    """A content that saves much; sorted, the one that saves most comes first.

    Of those that save as much, zero comes first, and then the one that is met first.
    """

    minus_reclaimed: int
    is_not_zero: bool
    image: int
    page: int
    pages: int
    images: int

    @property
    def reclaimed(self) -> int:
        """Pages that need not be kept."""
        return -self.minus_reclaimed

    @property
    def is_zero(self) -> bool:
        """Whether it is the zero page."""
        return not self.is_not_zero


class Merged(NamedTuple):
    """What contents of all images come to, in a share or in all of them."""

    distinct: int
    shared_pages: int
    zero_pages: int
    zero_reclaimed: int
    common_pages: list[int]
    common_contents: list[list[int]]
    top: list[Row]


def count(path: str, format: str | None, secret: bytes, shares: int) -> Hashes:
    """Counts an image, every match compared byte by byte, and hashes its contents.

    Returns
    -------
    Hashes
        Zero is a content like others; its rows are in share 0, under its hash of zero bytes.
    """
    try:
        source = open_image_in(path, format)
        contents = _core.Contents.take([source], [0], False, 1, None)
        rows = _rows(contents, source, TraceKey(secret))
    except EsxError as error:
        return str(error)
    tally = contents.tally()
    counts = dict(tally["images"][0])
    counts["zero_reclaimed_pages"] = tally["zero_reclaimed_pages"]
    counts["intra_reclaimed_pages"] = tally["intra_reclaimed_pages"]
    share = _share_of(rows["digest"], shares)
    order = np.argsort(share, kind="stable")
    ends = np.searchsorted(share[order], np.arange(1, shares))
    return np.split(rows[order], ends), counts, source.facts()


def open_image_in(path: str, format: str | None) -> _core.PageSource:
    """The image at a path, opened; traces are refused."""
    if format is not None:
        return _core.PageSource.open(Path(path), format)
    return open_image(Path(path)).source


def _rows(contents: _core.Contents, source: _core.PageSource, key: TraceKey) -> NDArray[Any]:
    ids = contents.ids()
    numbers = int(contents.numbers)
    rows = np.zeros(numbers, _ROW)
    rows["pages"] = np.bincount(ids, minlength=numbers)
    firsts = contents.firsts()
    rows["first"][1:] = firsts
    zero = np.flatnonzero(ids == 0)[:1]
    if zero.size:
        rows["first"][0] = zero[0]
    hashed = np.zeros((numbers, DIGEST_BYTES), np.uint8)
    for start in range(0, firsts.size, _HASH_BATCH):
        batch = firsts[start : start + _HASH_BATCH]
        for place, page in enumerate(contents.read_pages([source], batch), start + 1):
            hashed[place] = np.frombuffer(key.digest(page.data), np.uint8)
    rows["digest"] = hashed.view(f"V{DIGEST_BYTES}").ravel()
    return rows[rows["pages"] > 0]


def _share_of(digests: NDArray[Any], shares: int) -> NDArray[np.int64]:
    first = np.ascontiguousarray(digests).view(np.uint8).reshape(-1, DIGEST_BYTES)[:, :4]
    numbers = np.ascontiguousarray(first).view(">u4").ravel().astype(np.int64)
    return numbers * shares >> 32


def facts(hashes: Hashes) -> Any:
    """Counts and facts of an image, or what is wrong with it."""
    return hashes if isinstance(hashes, str) else hashes[1:]


def part(hashes: Hashes, share: int) -> NDArray[Any]:
    """An image's rows of a share."""
    if isinstance(hashes, str):
        raise AssertionError("an image that cannot be read is told before")
    return hashes[0][share]


def beginning(path: str, format: str | None, page: int) -> tuple[str, bool]:
    """The first 16 bytes of a page, hexadecimal, and whether all its bytes are the same."""
    [content] = open_image_in(path, format).read_page(page)
    return content[:16].tobytes().hex(), bool((content == content[0]).all())


def merge(parts: Sequence[NDArray[Any]], domains: Sequence[int]) -> Merged:
    """What the contents of a share come to; a content that two domains have is two contents."""
    images = len(parts)
    sizes = [rows.size for rows in parts]
    image = np.repeat(np.arange(images), sizes)
    rows = np.concatenate(parts) if parts else np.zeros(0, _ROW)
    keys = np.empty(rows.size, [("domain", ">i8"), ("digest", f"V{DIGEST_BYTES}")])
    keys["domain"], keys["digest"] = np.asarray(domains, np.int64)[image], rows["digest"]
    flat = keys.view(f"V{keys.dtype.itemsize}")
    _, content = np.unique(flat, return_inverse=True)
    content = content.ravel()
    number = int(content.max()) + 1 if content.size else 0
    pages = np.bincount(content, rows["pages"], number).astype(np.int64)
    holders = np.bincount(content, minlength=number)
    is_zero = np.zeros(number, bool)
    zero_rows = rows["digest"] == np.zeros(1, f"V{DIGEST_BYTES}")[0]
    is_zero[content[zero_rows]] = True
    is_common = (holders > 1) & ~is_zero
    common = is_common[content]
    common_pages = np.bincount(image[common], rows["pages"][common], images).astype(np.int64)
    return Merged(
        distinct=number,
        shared_pages=int(pages[pages > 1].sum()),
        zero_pages=int(pages[is_zero].sum()),
        zero_reclaimed=int((pages[is_zero] - 1).sum()),
        common_pages=common_pages.tolist(),
        common_contents=_matrix(image[~zero_rows], content[~zero_rows], images, number),
        top=_top(rows, image, content, pages, holders, is_zero),
    )


def _matrix(
    image: NDArray[np.int64], content: NDArray[np.int64], images: int, number: int
) -> list[list[int]]:
    """Contents that two images both have."""
    common = np.zeros((images, images), np.int64)
    order = np.argsort(content, kind="stable")
    content, image = content[order], image[order]
    ends = np.searchsorted(content, np.arange(number + 1))
    lengths = np.diff(ends)
    for holders in np.unique(lengths[lengths > 0]).tolist():
        starts = ends[:-1][lengths == holders]
        some = max(_PAIRS // holders**2, 1)
        for first in range(0, starts.size, some):
            rows = image[starts[first : first + some, None] + np.arange(holders)]
            pairs = rows[:, :, None] * images + rows[:, None, :]
            common += np.bincount(pairs.ravel(), minlength=images**2).reshape(images, images)
    return common.tolist()


def _top(
    rows: NDArray[Any],
    image: NDArray[np.int64],
    content: NDArray[np.int64],
    pages: NDArray[np.int64],
    holders: NDArray[np.int64],
    is_zero: NDArray[np.bool_],
) -> list[Row]:
    """The contents that save most; zero is one, whatever domains it is in."""
    found = []
    # The first image that has a content comes first, as rows are in the order of images.
    _, first_rows = np.unique(content, return_index=True)
    saved = np.where(is_zero, 0, pages - 1)
    best = np.flatnonzero(saved >= _least(saved))
    for number in best.tolist():
        row = int(first_rows[number])
        where = int(image[row]), int(rows["first"][row])
        found.append(
            Row(-int(saved[number]), True, *where, int(pages[number]), int(holders[number]))
        )
    zero = np.flatnonzero(is_zero)
    if zero.size and int((pages[zero] - 1).sum()) > 0:
        row = int(first_rows[zero].min())
        where = int(image[row]), int(rows["first"][row])
        together = int(pages[zero].sum())
        found.append(Row(zero.size - together, False, *where, together, int(holders[zero].sum())))
    return sorted(found)[:_MOST]


def _least(saved: NDArray[np.int64]) -> int:
    """What a content has to save to be among those that save most, and at least one page."""
    if saved.size <= _MOST:
        return 1
    return max(int(np.partition(saved, -_MOST)[-_MOST]), 1)


def add(merged: Sequence[Merged]) -> Merged:
    """The sum of all shares."""
    return Merged(
        distinct=sum(each.distinct for each in merged),
        shared_pages=sum(each.shared_pages for each in merged),
        zero_pages=sum(each.zero_pages for each in merged),
        zero_reclaimed=sum(each.zero_reclaimed for each in merged),
        common_pages=np.sum([each.common_pages for each in merged], axis=0).tolist(),
        common_contents=np.sum([each.common_contents for each in merged], axis=0).tolist(),
        top=sorted(row for each in merged for row in each.top)[:_MOST],
    )
