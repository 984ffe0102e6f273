"""Memory contents with a known answer: which pages are equal, and how many copies are one too many.

=========  =========================================================================================
distinct   no two pages are equal
shared     67 % of the pages have a twin: 33 % are unique, the others are drawn from contents for
           7 %, all shuffled; about 60 % can be reclaimed, the shape of the paper's section 4.4
zero       every page is zero
mixed      15 % zero, 35 % ten copies of each content, 5 % copies of 16 popular contents, 5 % that
           differ from each other only in the eight bytes at 4000, 40 % unique, all shuffled
=========  =========================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.uint64]
Pages = NDArray[np.uint8]

NEAR_WORD = 4000 // 8
"""Where near-duplicates differ, in words of eight bytes."""

_POPULAR = 16
_CHUNK = 1 << 12


@dataclass(frozen=True)
class Dataset:
    """Contents of pages, as labels.

    Attributes
    ----------
    tokens : uint64 array of shape (pages,)
        Equal labels for equal pages, 0 for a zero page.
    near : bool array of shape (pages,)
        Which pages differ from each other in one place only.
    """

    name: str
    tokens: Tokens
    near: NDArray[np.bool_]

    @cached_property
    def reclaimed(self) -> int:
        """Pages that sharing saves: all but one of each content."""
        ordered = np.sort(self.tokens)
        return int(np.count_nonzero(ordered[1:] == ordered[:-1]))


def _distinct(pages: int, _: np.random.Generator) -> Tokens:
    return np.arange(1, pages + 1, dtype=np.uint64)


def _shared(pages: int, rng: np.random.Generator) -> Tokens:
    unique, pool = pages * 33 // 100, pages * 7 // 100
    copies = rng.integers(unique, unique + pool, pages - unique, dtype=np.uint64)
    return np.concatenate([np.arange(unique, dtype=np.uint64), copies]) + np.uint64(1)


def _zero(pages: int, _: np.random.Generator) -> Tokens:
    return np.zeros(pages, dtype=np.uint64)


def _mixed(pages: int, rng: np.random.Generator) -> Tokens:
    zero, copied, popular = pages * 15 // 100, pages * 35 // 100, pages * 5 // 100
    contents = copied // 10 + 1
    parts = [
        np.zeros(zero, dtype=np.uint64),
        1 + np.arange(copied, dtype=np.uint64) // np.uint64(10),
        rng.integers(contents + 1, contents + 1 + _POPULAR, popular, dtype=np.uint64),
    ]
    rest = pages - sum(part.size for part in parts)
    start = contents + 1 + _POPULAR
    return np.concatenate([*parts, np.arange(start, start + rest, dtype=np.uint64)])


_MAKERS: dict[str, Callable[[int, np.random.Generator], Tokens]] = {
    "distinct": _distinct,
    "shared": _shared,
    "zero": _zero,
    "mixed": _mixed,
}
NAMES = tuple(_MAKERS)


def make(name: str, pages: int) -> Dataset:
    """The dataset of that name with so many pages, the same each time."""
    rng = np.random.default_rng(5)
    tokens = _MAKERS[name](pages, rng)
    near = np.zeros(pages, dtype=np.bool_)
    if name == "mixed":
        near[-(pages * 45 // 100) :][: pages * 5 // 100] = True
    order = rng.permutation(pages)
    return Dataset(name, tokens[order], near[order])


def fill(pages: Pages, dataset: Dataset) -> None:
    """Writes the dataset's contents into an array of shape (pages, 4096): every byte is written."""
    words = pages.view(np.uint64)
    _randomise(words)
    labels, first, inverse = np.unique(dataset.tokens, return_index=True, return_inverse=True)
    copies = np.flatnonzero(first[inverse] != np.arange(len(pages)))
    for start in range(0, copies.size, _CHUNK):
        rows = copies[start : start + _CHUNK]
        words[rows] = words[first[inverse[rows]]]
    if labels[0] == 0:
        words[dataset.tokens == 0] = 0
    if dataset.near.any():
        words[dataset.near] = words[np.argmax(dataset.near)]
        words[dataset.near, NEAR_WORD] = dataset.tokens[dataset.near]


def _randomise(words: Tokens) -> None:
    source = np.random.SFC64(7)
    for rows in np.array_split(words, max(1, len(words) // _CHUNK)):
        rows[:] = source.random_raw(rows.size).reshape(rows.shape)
