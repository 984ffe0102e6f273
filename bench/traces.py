"""Traces of page accesses, and the race between `Host.touch` and NumPy over one.

The page numbers are int64, NumPy's own, and both sides get the very same arrays, 4096 to a call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from measure import BATCH, Race
from numpy.typing import NDArray

import esxcore

Trace = Literal["sequential", "uniform", "zipf"]
TRACES: tuple[Trace, ...] = ("sequential", "uniform", "zipf")

Batches = list[NDArray[np.int64]]


def trace(kind: Trace, pages: int, batches: int) -> Batches:
    """Accesses to `pages` pages, in so many batches.

    ``sequential`` walks from page 0 on, again and again; ``uniform`` draws independently; ``zipf``
    draws with exponent 1 over all pages, hot pages scattered.
    """
    rng = np.random.default_rng(11)
    length = batches * BATCH
    if kind == "sequential":
        numbers = np.arange(length) % pages
    elif kind == "uniform":
        numbers = rng.integers(0, pages, length)
    else:
        weights = np.cumsum(1 / np.arange(1, pages + 1))
        ranks = np.searchsorted(weights, rng.random(length) * weights[-1])
        numbers = rng.permutation(pages)[ranks]
    return np.split(numbers.astype(np.int64), batches)


def touch_race(case: str, vm: esxcore.Vm, peer: NDArray[np.uint64], batches: Batches) -> Race:
    """Reads of all pages of a trace: `touch` against ``a[pages]``; `peer` is a word a page."""

    def indexed() -> None:
        for batch in batches:
            peer[batch]

    return _race(case, batches, lambda: _touch(vm, batches, write=False), {"a[pages]": indexed})


def write_race(case: str, vm: esxcore.Vm, peer: NDArray[np.uint64], batches: Batches) -> Race:
    """Writes to all pages of a trace: `touch` against ``a[pages] = new``, a new word each."""
    fresh = [np.arange(n * BATCH, (n + 1) * BATCH, dtype=np.uint64) for n in range(len(batches))]

    def assigned() -> None:
        for batch, new in zip(batches, fresh, strict=True):
            peer[batch] = new

    return _race(
        case, batches, lambda: _touch(vm, batches, write=True), {"a[pages] = new": assigned}
    )


def _race(
    case: str, batches: Batches, ours: Callable[[], int], peers: dict[str, Callable[[], None]]
) -> Race:
    units = len(batches) * BATCH
    return Race(case=case, units=units, ours={"touch": ours}, peers=peers, unit="references")


def _touch(vm: esxcore.Vm, batches: Batches, *, write: bool) -> int:
    """References served without a fault."""
    served = 0
    for batch in batches:
        report = vm.touch(batch, write=write)
        served += report.done - report.zero_fills - report.cow_breaks
    return served
