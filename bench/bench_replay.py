"""Replays of a page-reference trace, decoding included, against libCacheSim on the same file.

10 million references, Zipf with exponent 1 over 4 million pages, through a memory of 400 000. Both
read the file from the page cache and find the very same misses. libCacheSim gets as many buckets
as suit it best.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from measure import Race, Ratio, scale

import esxcore

RECORD = np.dtype([("time", "<u4"), ("id", "<u8"), ("size", "<u4"), ("next", "<i8")])
PIECE = 2**20


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An oracleGeneral file; next accesses, which neither reader uses here, are left out."""
    path: Path = tmp_path_factory.mktemp("replay") / "zipf.oracleGeneral"
    rng = np.random.default_rng(5)
    pages = scale().replay_pages
    weights = np.cumsum(1 / np.arange(1, pages + 1))
    ids = rng.permutation(pages).astype(np.uint64) + np.uint64(1)
    with path.open("wb") as file:
        for first in range(0, scale().replay_references, PIECE):
            records = np.zeros(min(PIECE, scale().replay_references - first), RECORD)
            records["id"] = ids[np.searchsorted(weights, rng.random(records.size) * weights[-1])]
            records["size"] = 1
            records["next"] = -1
            file.write(records.tobytes())
    return path


def peer(trace: Path, policy: str, memory: int) -> Callable[[], float]:
    """A replay by libCacheSim."""
    theirs = pytest.importorskip(
        "libcachesim", reason="the peer is missing: pip install libcachesim==0.3.5"
    )
    cache: Any = {"lru": theirs.LRU, "clock": theirs.Clock}[policy]
    kind = theirs.TraceType.ORACLE_GENERAL_TRACE
    power = max(10, (2 * memory).bit_length())

    def replay() -> float:
        reader = theirs.TraceReader(str(trace), kind)
        missed, _ = cache(cache_size=memory, hashpower=power).process_trace(reader)
        return float(missed)

    return replay


@pytest.mark.parametrize("policy", ["lru", "clock"])
def test_replay(ratio: Ratio, trace: Path, policy: Any) -> None:
    memory = scale().replay_pages // 10
    theirs = peer(trace, policy, memory)

    def streamed() -> float:
        return float(esxcore.miss_ratios(trace, [memory], policy=policy)[0])

    def loaded() -> float:
        return esxcore.PageTrace.load(trace).miss_ratio(memory, policy)

    found = ratio(
        Race(
            case=f"{policy}, {scale().replay_references / 1e6:g} M references",
            units=scale().replay_references,
            unit="references",
            ours={"miss_ratios": streamed, "PageTrace.load and miss_ratio": loaded},
            peers={"libCacheSim": theirs},
        )
    )
    (wanted,) = {round(missed, 6) for missed in found.pop("libCacheSim")}
    assert {round(missed, 6) for rounds in found.values() for missed in rounds} == {wanted}
