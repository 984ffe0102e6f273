"""The census of pages in memory and in files.

*identification* gives each page the number of its content, verified byte by byte; *census* is all
of `esxcore.census`, with its figures and the compression of a sample. References, in pages a
second:

``read``
    One thread reads the same pages in order: NumPy's sum as words of eight bytes. No census that
    reads every page can beat it. On all cores, also as many threads with a part each.
``xxhash + dict``
    Loops over the pages: xxhash of each, a dict with the page that first had it, and the bytes of
    both compared. Exact.
``xxhash + np.unique``
    Hashes in a loop, then NumPy: who has the hash of whom, and both compared, 256 KiB at a time.
``polars n_unique``
    Of a Binary column that was made before, untimed. Counts, and says nothing of who is equal.
``np.unique``
    Of rows as void, of a sixteenth of the pages; it sorts, so more would be slower still.
``readinto``, ``np.fromfile``
    Reads the file in the page cache: 1 MiB at a time into the same buffer, or as one new array.

All run on one thread and in CPU time, unless the case says *all cores*: then time is that on the
clock.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import footprint
import numpy as np
import pytest
from measure import PAGE_BYTES, Clock, Race, Ratio, require_memory, scale, size_name

import esxcore
from esxcore import _core

SCALE = scale()
CORES = len(os.sched_getaffinity(0))
READ_BYTES = 2**20
COMPARED_PAGES = 64
SORTED_PART = 16
"""One in so many pages goes to `np.unique`."""
MOST_FRACTION = 0.0025
THREAD_BYTES = 320 * 1024
"""Buffers and stack of a thread, whatever the size of the memory."""

Run = Callable[[], object]


@dataclass
class Memory:
    """An array that holds a dataset."""

    dataset: datasets.Dataset
    pages: datasets.Pages

    @classmethod
    def fill(cls, name: str, pages: datasets.Pages) -> Memory:
        """That dataset, written into `pages`."""
        memory = cls(datasets.make(name, len(pages)), pages)
        datasets.fill(pages, memory.dataset)
        return memory

    def ours(self, threads: int | None) -> dict[str, Run]:
        """What is measured."""
        return {
            "identification": partial(identify, self.pages, threads),
            "census": lambda: esxcore.census([self.pages], threads=threads),
        }

    def check(self, results: Mapping[str, list[Any]]) -> None:
        """Every round found what there is."""
        for contents in results["identification"]:
            assert contents.tally()["reclaimed_pages"] == self.dataset.reclaimed
        for found in results.get("census", ()):
            assert found.reclaimed_pages == self.dataset.reclaimed


def identify(image: datasets.Pages | _core.PageSource, threads: int | None) -> _core.Contents:
    """The numbers of the contents of one image."""
    return _core.Contents.take([image], [0], False, threads, None)


@pytest.fixture(scope="module")
def room() -> datasets.Pages:
    """An array for all datasets in turn."""
    require_memory(SCALE.scan_bytes * PAGE_BYTES)
    return np.empty((SCALE.scan_bytes, PAGE_BYTES), dtype=np.uint8)


@pytest.fixture(scope="module", params=datasets.NAMES)
def memory(request: pytest.FixtureRequest, room: datasets.Pages) -> Memory:
    """As much as `bench_scan` has."""
    return Memory.fill(request.param, room)


@pytest.fixture(scope="module", params=datasets.NAMES)
def piece(request: pytest.FixtureRequest) -> Memory:
    """So much that Python gets through it."""
    pages = np.empty((SCALE.census_python, PAGE_BYTES), dtype=np.uint8)
    return Memory.fill(request.param, pages)


def reads(pages: datasets.Pages, pool: ThreadPoolExecutor) -> dict[str, Run]:
    """Plain reads of all pages."""
    words = pages.view(np.uint64).reshape(-1)
    parts = np.array_split(words, CORES)

    def in_parts() -> int:
        return sum(pool.map(lambda part: int(part.sum()), parts)) % 2**64

    return {"read": lambda: int(words.sum()), "read, all cores": in_parts}


def test_one_core(memory: Memory, ratio: Ratio) -> None:
    """One thread."""
    words = memory.pages.view(np.uint64).reshape(-1)
    results = ratio(
        Race(
            case=f"{memory.dataset.name}, one core",
            units=SCALE.scan_bytes,
            ours=memory.ours(1),
            peers={"read": lambda: int(words.sum())},
        )
    )
    memory.check(results)


def test_all_cores(memory: Memory, ratio: Ratio) -> None:
    """As many threads as there are cores."""
    with ThreadPoolExecutor(CORES) as pool:
        results = ratio(
            Race(
                case=f"{memory.dataset.name}, all cores",
                units=SCALE.scan_bytes,
                ours=memory.ours(None),
                peers=reads(memory.pages, pool),
                clock=Clock.WALL,
            )
        )
    memory.check(results)
    assert results["read"] == results["read, all cores"]


def xxhash_dict(pages: datasets.Pages) -> Run:
    """A loop in Python, as one writes it."""
    xxhash = pytest.importorskip("xxhash", reason="a peer: pip install xxhash")

    def distinct() -> int:
        digest = xxhash.xxh3_64_intdigest
        firsts: dict[int, int] = {}
        collided: set[bytes] = set()
        for number, page in enumerate(pages):
            first = firsts.setdefault(digest(page), number)
            if first != number and page.tobytes() != pages[first].tobytes():
                collided.add(page.tobytes())
        return len(firsts) + len(collided)

    return distinct


def xxhash_unique(pages: datasets.Pages) -> Run:
    """As much of it in NumPy as there can be."""
    xxhash = pytest.importorskip("xxhash", reason="a peer: pip install xxhash")
    words = pages.view(np.uint64)

    def distinct() -> int:
        digests = np.fromiter(map(xxhash.xxh3_64_intdigest, pages), np.uint64, len(pages))
        _, first, inverse = np.unique(digests, return_index=True, return_inverse=True)
        equal_to = first[inverse]
        copies = np.flatnonzero(equal_to != np.arange(len(pages)))
        for start in range(0, copies.size, COMPARED_PAGES):
            some = copies[start : start + COMPARED_PAGES]
            assert np.array_equal(words[some], words[equal_to[some]]), "different, one hash"
        return int(first.size)

    return distinct


def polars_unique(pages: datasets.Pages) -> Run:
    """A count only."""
    os.environ.setdefault("POLARS_MAX_THREADS", "1")  # looked at when it is imported
    polars = pytest.importorskip("polars", reason="a peer: pip install polars")
    column = polars.Series([page.tobytes() for page in pages], dtype=polars.Binary)
    unique: Run = column.n_unique
    return unique


def sorted_rows(pages: datasets.Pages) -> Run:
    """NumPy alone, on fewer pages."""
    rows = pages[: len(pages) // SORTED_PART].view(f"V{PAGE_BYTES}")
    return lambda: np.unique(rows).size


PYTHON = {
    "xxhash + dict": xxhash_dict,
    "xxhash + np.unique": xxhash_unique,
    "polars n_unique": polars_unique,
    "np.unique": sorted_rows,
}


@pytest.mark.parametrize("peer", PYTHON)
def test_python(piece: Memory, peer: str, ratio: Ratio) -> None:
    """What a user of Python would write instead; all give the same answer."""
    part = SORTED_PART if peer == "np.unique" else 1
    pages = SCALE.census_python // part
    results = ratio(
        Race(
            case=f"{piece.dataset.name}, {size_name(SCALE.census_python)}",
            units=SCALE.census_python,
            ours={"identification": partial(identify, piece.pages, 1)},
            peers={peer: PYTHON[peer](piece.pages)},
            peer_units={peer: pages},
        )
    )
    piece.check(results)
    for found in results[peer]:
        assert found == np.unique(piece.dataset.tokens[:pages]).size


def test_memory(ratio: Ratio) -> None:
    """What a census needs besides the memory it counts: of different pages, which is the most."""
    require_memory(SCALE.scan_bytes * PAGE_BYTES)
    described = SCALE.scan_bytes * PAGE_BYTES
    found = ratio.once(lambda: footprint.measured(SCALE.scan_bytes))
    for name, needed in found.items():
        case = f"distinct, {size_name(SCALE.scan_bytes)}, {name}"
        ratio.fact(case, "peak besides the pages", needed / SCALE.scan_bytes, "bytes a page")
        ratio.fact(case, "of the memory described", 100 * needed / described, "%")
        assert 0 < needed <= MOST_FRACTION * described + CORES * THREAD_BYTES


@dataclass
class File:
    """A raw image."""

    path: Path
    distinct: int

    def identify(self, threads: int | None) -> _core.Contents:
        """Opens it, too."""
        return identify(_core.PageSource.open(self.path, "raw"), threads)

    def ours(self, threads: int | None) -> dict[str, Run]:
        """What is measured."""
        return {"identification": partial(self.identify, threads)}

    def check(self, results: Mapping[str, list[_core.Contents]]) -> None:
        """Every round found what there is."""
        for contents in results["identification"]:
            assert contents.tally()["distinct_pages"] == self.distinct

    def read(self, size: int) -> int:
        """The first `size` bytes, through a buffer that stays in the processor's cache."""
        buffer = bytearray(READ_BYTES)
        done = 0
        with self.path.open("rb", buffering=0) as file:
            while done < size:
                done += file.readinto(buffer)
        return done


@pytest.fixture
def raw_file(tmp_path: Path) -> Iterator[File]:
    """Different pages, in the page cache."""
    pages = SCALE.census_file
    require_memory(3 * pages * PAGE_BYTES)  # the file, the array, and what np.fromfile returns
    contents = np.empty((pages, PAGE_BYTES), dtype=np.uint8)
    datasets.fill(contents, datasets.make("distinct", pages))
    path = tmp_path / "image.raw"
    contents.tofile(path)
    yield File(path, pages)
    path.unlink()


@pytest.fixture
def sparse_file(tmp_path: Path) -> Iterator[File]:
    """Holes, and here and there a page that is different."""
    path = tmp_path / "sparse.raw"
    size = SCALE.census_holes * PAGE_BYTES
    parts = 8
    with path.open("wb") as file:
        file.truncate(size)
        for part in range(1, parts):
            file.seek(size // parts * part)
            file.write(bytes([part]) * PAGE_BYTES)
    yield File(path, parts)
    path.unlink()


@pytest.mark.parametrize("threads", [1, None], ids=["one core", "all cores"])
def test_file(raw_file: File, threads: int | None, ratio: Ratio) -> None:
    """An image on disk that the page cache has."""
    pages = SCALE.census_file
    size = pages * PAGE_BYTES
    case = f"file, {size_name(pages)}, {'one core' if threads else 'all cores'}"
    results = ratio(
        Race(
            case=case,
            units=pages,
            ours=raw_file.ours(threads),
            peers={
                "readinto": lambda: raw_file.read(size),
                "np.fromfile": lambda: np.fromfile(raw_file.path, dtype=np.uint8).size,
            },
            clock=Clock.CPU if threads else Clock.WALL,
        )
    )
    raw_file.check(results)
    assert set(results["readinto"]) == set(results["np.fromfile"]) == {size}
    for name, rate in ratio.rates().items():
        ratio.fact(case, name, rate * PAGE_BYTES / 1e9, "GB/s")


def test_holes(sparse_file: File, ratio: Ratio) -> None:
    """A sparse image: holes are neither read nor hashed. The peer reads a part of the file."""
    pages = SCALE.census_holes
    read = SCALE.census_file
    results = ratio(
        Race(
            case=f"sparse file, {size_name(pages)}, one core",
            units=pages,
            ours=sparse_file.ours(1),
            peers={"readinto": lambda: sparse_file.read(read * PAGE_BYTES)},
            peer_units={"readinto": read},
        )
    )
    sparse_file.check(results)
    assert set(results["readinto"]) == {read * PAGE_BYTES}
