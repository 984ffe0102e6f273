"""`Host.scan` over four kinds of memory, cold (the first pass) and steady (a later one).

The memory belongs to four guests of equal size. References, in pages a second:

``read``
    One thread reads the same pages in order: NumPy's sum of an array of the same contents, as words
    of eight bytes (with tokens, of the tokens). No scan that looks at every page can beat it.
``scattered read``
    The same sum with single pages in random order: gathered page by page into a small buffer that
    stays in the cache, and summed there (with tokens, NumPy's
    ``tokens[order]``, 4096 at a time). The gather copies, so it is a reference and not a bound.
    The scanner takes clusters of neighbouring pages in random order, which is easier on memory.
``np.sort``
    With tokens: sorts a copy and counts the different ones, NumPy's fastest way to find out how
    much there is to share. It keeps nothing for the next pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import datasets
import numpy as np
import pytest
from measure import PAGE_BYTES, Race, Ratio, require_memory, scale
from numpy.typing import NDArray

import esxcore

SCALE = scale()
GUESTS = 4
GATHER = 256
"""Pages in the buffer of a scattered read: 1 MiB."""

HashPath = Literal["fastest", "portable"]
ScanReport = esxcore.ScanReport


@dataclass
class World:
    """Hosts that hold one dataset, and the same contents as an array."""

    dataset: datasets.Dataset
    contents: NDArray[Any]
    hosts: dict[str, esxcore.Host]
    guests: list[str] = field(default_factory=lambda: [f"guest{n}" for n in range(GUESTS)])

    def refill(self) -> None:
        """Powers all guests off and on, so that no page has been scanned."""
        parts = np.array_split(self.contents, GUESTS)
        for host in self.hosts.values():
            if host.stats()["vms"]:
                for name in self.guests:
                    host.power_off(name)
            for name, part in zip(self.guests, parts, strict=True):
                host.power_on(name, contents=part)

    def scans(self) -> dict[str, Callable[[], ScanReport]]:
        """One pass of each host."""
        pages = len(self.contents)
        return {name: partial(host.scan, pages) for name, host in self.hosts.items()}

    def check_cold(self, reports: list[ScanReport]) -> None:
        """A first pass over quiet guests finds exactly what there is."""
        for report in reports:
            assert report.picked == len(self.contents)
            assert report.merged == self.dataset.reclaimed
            assert report.false_matches == 0

    def check_steady(self, reports: list[ScanReport]) -> None:
        """A later pass finds nothing, and looks only at pages that are not shared."""
        for report in reports:
            assert report.merged == report.hints == report.false_matches == 0
        for host in self.hosts.values():
            stats = host.stats()
            assert stats["reclaimed_pages"] == self.dataset.reclaimed
            assert reports[-1].hashed == stats["allocated_pages"] - _on_shared_frames(stats)


def _on_shared_frames(stats: dict[str, int]) -> int:
    return stats["reclaimed_pages"] + stats["shared_frames"]


@pytest.fixture(scope="module")
def byte_memory() -> tuple[NDArray[np.uint8], dict[str, esxcore.Host]]:
    """An array and two hosts, all of the same size."""
    require_memory(3 * SCALE.scan_bytes * PAGE_BYTES)
    paths: dict[str, HashPath] = {"scan": "fastest", "scan, portable hash": "portable"}
    hosts = {
        name: esxcore.Host(SCALE.scan_bytes, content="bytes", hash_path=path, policy=None)
        for name, path in paths.items()
    }
    return np.empty((SCALE.scan_bytes, PAGE_BYTES), dtype=np.uint8), hosts


@pytest.fixture(scope="module", params=datasets.NAMES)
def byte_world(
    request: pytest.FixtureRequest,
    byte_memory: tuple[NDArray[np.uint8], dict[str, esxcore.Host]],
) -> World:
    """Pages of real bytes; the hosts differ in how they hash."""
    contents, hosts = byte_memory
    dataset = datasets.make(request.param, SCALE.scan_bytes)
    datasets.fill(contents, dataset)
    return World(dataset, contents, hosts)


@pytest.fixture(scope="module", params=datasets.NAMES)
def token_world(request: pytest.FixtureRequest) -> World:
    """Tokens."""
    dataset = datasets.make(request.param, SCALE.scan_tokens)
    host = esxcore.Host(SCALE.scan_tokens, content="tokens", policy=None)
    return World(dataset, dataset.tokens, {"scan": host})


def byte_reads(contents: NDArray[np.uint8]) -> dict[str, Callable[[], int]]:
    """Plain reads of all pages."""
    words = contents.view(np.uint64)
    flat = words.reshape(-1)
    order = np.random.default_rng(3).permutation(len(words))
    parts = np.array_split(order, max(1, len(words) // GATHER))
    buffer = np.full((GATHER, words.shape[1]), 7, dtype=np.uint64)

    def scattered() -> int:
        total = 0
        for part in parts:
            gathered = buffer[: part.size]
            np.take(words, part, axis=0, out=gathered, mode="clip")
            total += int(gathered.sum())
        return total % 2**64

    return {"read": lambda: int(flat.sum()), "scattered read": scattered}


def token_reads(tokens: datasets.Tokens) -> dict[str, Callable[[], int]]:
    """Plain reads of all tokens, and NumPy's way to count different ones."""
    order = np.random.default_rng(3).permutation(tokens.size)
    parts = np.array_split(order, max(1, tokens.size // 4096))

    def different() -> int:
        ordered = np.sort(tokens)
        return 1 + int(np.count_nonzero(ordered[1:] != ordered[:-1]))

    return {
        "read": lambda: int(tokens.sum()),
        "scattered read": lambda: sum(int(tokens[part].sum()) for part in parts),
        "np.sort": different,
    }


def check_reads(results: dict[str, list[Any]]) -> None:
    """Both orders read the same."""
    assert results["read"] == results["scattered read"]


def test_bytes_cold(byte_world: World, ratio: Ratio) -> None:
    """The first pass over pages of real bytes."""
    results = ratio(
        Race(
            case=f"bytes, {byte_world.dataset.name}, cold",
            units=SCALE.scan_bytes,
            ours=byte_world.scans(),
            peers=byte_reads(byte_world.contents),
            prepare=byte_world.refill,
        )
    )
    check_reads(results)
    for name in byte_world.hosts:
        byte_world.check_cold(results[name])


def test_bytes_steady(byte_world: World, ratio: Ratio) -> None:
    """Later passes over pages of real bytes that nobody has touched."""
    byte_world.refill()
    first = [scan() for scan in byte_world.scans().values()]
    byte_world.check_cold(first)
    results = ratio(
        Race(
            case=f"bytes, {byte_world.dataset.name}, steady",
            units=SCALE.scan_bytes,
            ours=byte_world.scans(),
            peers=byte_reads(byte_world.contents),
        )
    )
    for name in byte_world.hosts:
        byte_world.check_steady(results[name])


def test_tokens_cold(token_world: World, ratio: Ratio) -> None:
    """The first pass over tokens."""
    results = ratio(
        Race(
            case=f"tokens, {token_world.dataset.name}, cold",
            units=SCALE.scan_tokens,
            ours=token_world.scans(),
            peers=token_reads(token_world.dataset.tokens),
            prepare=token_world.refill,
        )
    )
    check_reads(results)
    token_world.check_cold(results["scan"])


def test_tokens_steady(token_world: World, ratio: Ratio) -> None:
    """Later passes over tokens that nobody has changed."""
    token_world.refill()
    token_world.check_cold([scan() for scan in token_world.scans().values()])
    results = ratio(
        Race(
            case=f"tokens, {token_world.dataset.name}, steady",
            units=SCALE.scan_tokens,
            ours=token_world.scans(),
            peers=token_reads(token_world.dataset.tokens),
        )
    )
    token_world.check_steady(results["scan"])
