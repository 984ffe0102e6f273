"""Prints the miss ratios that libCacheSim finds in the traces of the tests, as JSON.

::

    pip install libcachesim==0.3.5
    python bench/libcachesim_ratios.py > tests/data/libcachesim_ratios.json

libCacheSim is an outside tool here: the package never imports it, and the tests only read what this
prints.
"""

from __future__ import annotations

import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import libcachesim
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import esxcore
from page_traces import mixed, oracle_general, references

SIZES = {
    "builtin:trace_sort": [4, 8, 16, 32, 64, 128, 256, 1024, 2768],
    "mixed": [1, 10, 100, 700, 1499, 1500, 4000, 12_000, 20_000],
}


def ratios(pages: NDArray[np.generic], sizes: list[int]) -> dict[str, list[float]]:
    """Misses a reference, by policy, for each size."""
    found: dict[str, list[float]] = {"lru": [], "clock": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.oracleGeneral"
        path.write_bytes(oracle_general(pages))
        for policy, cache in (("lru", libcachesim.LRU), ("clock", libcachesim.Clock)):
            for size in sizes:
                reader = libcachesim.TraceReader(
                    str(path), libcachesim.TraceType.ORACLE_GENERAL_TRACE
                )
                missed, _ = cache(cache_size=size).process_trace(reader)
                found[policy].append(round(missed, 9))
    return found


def main() -> None:
    """Prints all of it."""
    traces = {
        "builtin:trace_sort": references(esxcore.PageTrace.load("builtin:trace_sort")),
        "mixed": mixed(),
    }
    about = f"libcachesim {version('libcachesim')}; python bench/libcachesim_ratios.py"
    rows = {name: {"sizes": SIZES[name], **ratios(traces[name], SIZES[name])} for name in traces}
    print(json.dumps({"about": about, "ratios": rows}, indent=1))


if __name__ == "__main__":
    main()
