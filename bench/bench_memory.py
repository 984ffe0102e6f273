"""First touch, copy-on-write break and free.

One guest's pages, 4096 to a call, in random order. The host's memory is real since power-on, and so
are the peers' arrays: nobody waits for the kernel here but the kernel itself. Peers:

``np.fill``
    Zero-fill of as many pages in order, by batch, as a host gives its lowest free pages in order
    (with tokens, of words).
``page copy``
    ``np.take`` of scattered pages into pages in order, by batch, for the same reason (with tokens,
    of words).
``bookkeeping``
    What freeing comes to in arrays, without a hash table to keep up: ``pmap[:] = 0`` and
    ``free[mpn] = True``.
``kernel``
    The running kernel's fault for the same thing, on 4 KiB pages: zero-fill of anonymous memory,
    copy of a private mapping's page; for free, the unmapping of pages that were written. It also
    traps, locks and keeps page tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Literal

import numpy as np
import pytest
from kernel_pages import KernelPages
from measure import BATCH, PAGE_BYTES, Race, Ratio, require_memory, scale
from numpy.typing import NDArray

import esxcore

SCALE = scale()
Kind = Literal["bytes", "tokens"]
SIZES: dict[Kind, int] = {"bytes": SCALE.memory_bytes, "tokens": SCALE.memory_tokens}
KINDS = pytest.mark.parametrize("kind", SIZES)


def page_array(kind: Kind, *, random: bool) -> NDArray[np.uint64]:
    """Words of real memory, every one written: shape (pages, 512), or (pages,) with tokens."""
    shape = (SIZES[kind], PAGE_BYTES // 8) if kind == "bytes" else (SIZES[kind],)
    pages = np.full(shape, 7, dtype=np.uint64)
    if random:
        pages.reshape(SIZES[kind], -1)[:, 0] = np.arange(1, SIZES[kind] + 1)
    return pages


def as_contents(pages: NDArray[np.uint64]) -> NDArray[np.uint64] | NDArray[np.uint8]:
    """The array as a host takes it."""
    return pages.view(np.uint8) if pages.ndim == 2 else pages


def batches(pages: int, seed: int = 3) -> list[NDArray[np.int64]]:
    """All pages in random order, cut into batches."""
    order = np.random.default_rng(seed).permutation(pages)
    return np.array_split(order, max(1, pages // BATCH))


def touch_all(vm: esxcore.Vm, parts: list[NDArray[np.int64]], *, write: bool) -> dict[str, int]:
    """Touches batch after batch; returns what happened in total."""
    reports = [vm.touch(part, write=write) for part in parts]
    names = ("done", "zero_fills", "cow_breaks")
    return {name: sum(getattr(report, name) for report in reports) for name in names}


def power_off_all(host: esxcore.Host) -> None:
    """Frees everything."""
    for name in host.vms()["name"]:
        host.power_off(str(name))


@pytest.fixture
def zeroed() -> Iterator[KernelPages]:
    """Pages that the kernel fills with zeros."""
    with closing(KernelPages(SCALE.kernel_pages, copied=False)) as pages:
        yield pages


@pytest.fixture
def copied() -> Iterator[KernelPages]:
    """Pages that the kernel copies."""
    with closing(KernelPages(SCALE.kernel_pages, copied=True)) as pages:
        yield pages


@KINDS
def test_first_touch(kind: Kind, zeroed: KernelPages, ratio: Ratio) -> None:
    """Each page is read once after power-on: a zeroed page is allocated for it."""
    pages = SIZES[kind]
    require_memory(2 * pages * PAGE_BYTES if kind == "bytes" else 100 * pages)
    host = esxcore.Host(pages, content=kind, policy=None)
    array, parts = page_array(kind, random=False), batches(pages)

    def prepare() -> None:
        power_off_all(host)
        host.power_on("guest", max=pages)
        zeroed.prepare()

    def fill() -> None:
        for start in range(0, pages, BATCH):
            array[start : start + BATCH].fill(0)

    results = ratio(
        Race(
            case=f"first touch, {kind}",
            units=pages,
            ours={"touch": lambda: touch_all(host.vm("guest"), parts, write=False)},
            peers={"np.fill": fill, "kernel": zeroed.write},
            prepare=prepare,
            peer_units={"kernel": SCALE.kernel_pages},
        )
    )
    for happened in results["touch"]:
        assert happened == {"done": pages, "zero_fills": pages, "cow_breaks": 0}
    assert host.stats()["free_pages"] == 0


@KINDS
def test_cow_break(kind: Kind, copied: KernelPages, ratio: Ratio) -> None:
    """Each page of a guest, shared with another guest's, is written once: it is copied."""
    pages = SIZES[kind]
    require_memory(5 * pages * PAGE_BYTES if kind == "bytes" else 200 * pages)
    host = esxcore.Host(2 * pages, content=kind, policy=None)
    source, target = page_array(kind, random=True), page_array(kind, random=False)
    parts, places = batches(pages), np.array_split(np.arange(pages), max(1, pages // BATCH))
    kept = as_contents(source)

    def prepare() -> None:
        power_off_all(host)
        for name in ("writer", "reader"):
            host.power_on(name, contents=kept)
        assert host.scan(2 * pages).merged == pages
        copied.prepare()

    def copy() -> None:
        for part, place in zip(parts, places, strict=True):
            np.take(source, part, axis=0, out=target[place[0] : place[-1] + 1], mode="clip")

    results = ratio(
        Race(
            case=f"COW break, {kind}",
            units=pages,
            ours={"touch": lambda: touch_all(host.vm("writer"), parts, write=True)},
            peers={"page copy": copy, "kernel": copied.write},
            prepare=prepare,
            peer_units={"kernel": SCALE.kernel_pages},
        )
    )
    for happened in results["touch"]:
        assert happened == {"done": pages, "zero_fills": 0, "cow_breaks": pages}
    assert host.stats()["reclaimed_pages"] == 0
    assert np.array_equal(host.peek("reader", [5, 9]), kept[[5, 9]])
    assert not np.array_equal(host.peek("writer", 5), kept[5])


@pytest.mark.parametrize("state", ["never scanned", "with hints", "shared"])
def test_free(state: str, zeroed: KernelPages, ratio: Ratio) -> None:
    """A guest is powered off: all its pages are freed, on a host with tokens."""
    pages = SIZES["tokens"]
    require_memory(200 * pages)
    host = esxcore.Host(pages, content="tokens", policy=None)
    contents = np.arange(1, pages + 1) // (2 if state == "shared" else 1)
    mpns = np.random.default_rng(3).permutation(pages)
    pmap, free = np.full(pages, 7, dtype=np.uint64), np.full(pages, True)

    def prepare() -> None:
        power_off_all(host)
        host.power_on("guest", contents=contents)
        if state != "never scanned":
            host.scan(pages)
        zeroed.prepare()
        zeroed.write()

    def book() -> None:
        free[mpns] = True
        pmap[:] = 0

    ratio(
        Race(
            case=f"free, {state}",
            units=pages,
            ours={"power_off": lambda: host.power_off("guest")},
            peers={"bookkeeping": book, "kernel": zeroed.drop},
            prepare=prepare,
            peer_units={"kernel": SCALE.kernel_pages},
        )
    )
    stats = host.stats()
    assert stats["free_pages"] == pages
    assert stats["hint_frames"] == stats["shared_frames"] == 0
