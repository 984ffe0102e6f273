"""Page-reference traces for tests, and how libCacheSim has them in files."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import esxcore

RECORD = np.dtype([("time", "<u4"), ("id", "<u8"), ("size", "<u4"), ("next", "<i8")])
"""A record of oracleGeneral: 24 bytes."""


def oracle_general(pages: NDArray[Any]) -> bytes:
    """The file of some references: all of one size, their next accesses as they are."""
    records = np.zeros(pages.size, RECORD)
    records["time"] = np.arange(pages.size) // 1000
    records["id"] = pages
    records["size"] = 1
    order = np.argsort(pages, kind="stable")
    again = pages[order][1:] == pages[order][:-1]
    records["next"] = -1
    records["next"][order[:-1][again]] = order[1:][again]
    return records.tobytes()


def references(trace: esxcore.PageTrace) -> NDArray[np.uint32]:
    """The page of each reference: records as often as they are repeated."""
    return trace.pages if trace.runs is None else np.repeat(trace.pages, trace.runs)


def mixed() -> NDArray[np.int64]:
    """300 000 references to 20 000 pages: Zipf, with a scan and a loop in between.

    Of raw bits, which NumPy never changes for a seed, by operations that every machine rounds
    alike.
    """
    bits = np.random.PCG64(3).random_raw(300_000)
    part = (bits >> np.uint64(11)).astype(np.float64) / 2**53
    weights = np.cumsum(1 / np.arange(1, 20_001))
    pages = np.searchsorted(weights, part * weights[-1]) * 7919 % 20_000
    pages[100_000:120_000] = np.arange(20_000)
    pages[200_000:230_000] = np.arange(30_000) % 1500
    return pages * 2**33 + 5
