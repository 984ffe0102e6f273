"""Page-reference traces: what is read, how it is numbered, and how often it misses."""

from __future__ import annotations

import copy
import json
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import esxcore
from page_traces import mixed, oracle_general, references

RECORDED = json.loads((Path(__file__).parents[1] / "data" / "libcachesim_ratios.json").read_text())
POLICIES = ("lru", "clock", "two-list")


@pytest.fixture(scope="module")
def sort() -> esxcore.PageTrace:
    return esxcore.PageTrace.load("builtin:trace_sort")


def test_the_packaged_trace_is_what_its_source_says(sort: esxcore.PageTrace) -> None:
    assert (len(sort), sort.references, sort.distinct) == (3_805_096, 10_000_000, 2768)
    assert sort.runs is not None
    assert sort.writes is not None
    assert sort.runs.sum() == 10_000_000
    assert 0 < sort.writes.sum() < len(sort)
    assert repr(sort) == (
        "PageTrace('builtin:trace_sort', 3805096 records, 10000000 references to 2768 pages)"
    )
    firsts = np.unique(sort.pages, return_index=True)[1]
    assert (np.diff(firsts) > 0).all()


@pytest.mark.parametrize("policy", ["lru", "clock"])
def test_ratios_are_those_of_libcachesim_to_six_digits(
    policy: str, sort: esxcore.PageTrace, tmp_path: Path
) -> None:
    """With runs and without, by dense numbers and by any, in memory and from a file."""
    made = tmp_path / "mixed.oracleGeneral"
    made.write_bytes(oracle_general(mixed()))
    for name, ways in {
        "builtin:trace_sort": [sort, esxcore.PageTrace(references(sort))],
        "mixed": [esxcore.PageTrace(mixed()), made, esxcore.PageTrace.load(made)],
    }.items():
        wanted = RECORDED["ratios"][name]
        for way in ways:
            found = esxcore.miss_ratios(way, wanted["sizes"], policy=policy)  # type: ignore[arg-type]
            assert np.abs(found - wanted[policy]).max() < 5e-7, (name, way)


def slow_lru(pages: NDArray[Any], memory: int) -> float:
    """LRU in a dict."""
    resident: OrderedDict[int, None] = OrderedDict()
    misses = 0
    for page in pages.tolist():
        if page not in resident:
            misses += 1
            if len(resident) == memory:
                resident.popitem(last=False)
        resident[page] = None
        resident.move_to_end(page)
    return misses / pages.size


@given(
    pages=st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 9), min_size=1, max_size=200),
    memory=st.integers(1, 12),
)
def test_lru_misses_as_a_dict_does(pages: list[int], memory: int) -> None:
    array = np.array(pages, np.uint64)
    trace = esxcore.PageTrace(array)
    assert trace.miss_ratio(memory) == pytest.approx(slow_lru(array, memory), abs=1e-12)
    _, dense = np.unique(array, return_inverse=True)
    assert len(set(zip(trace.pages.tolist(), dense.tolist(), strict=True))) == trace.distinct
    for policy in POLICIES:
        assert trace.miss_ratio(2**20, policy) == trace.distinct / len(pages)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.uint32, np.int64, np.uint64])
def test_any_integers_are_pages(dtype: Any) -> None:
    trace = esxcore.PageTrace(np.array([9, 3, 9, 100], dtype)[::-1])
    assert trace.pages.tolist() == [0, 1, 2, 1]
    assert trace.runs is None
    assert trace.writes is None
    assert (trace.references, len(trace), trace.source) == (4, 4, "page trace")


def test_columns_come_back_and_cannot_be_written_to() -> None:
    writes, runs = np.array([True, False, True]), np.array([1, 2**32 - 1, 7])
    trace = esxcore.PageTrace([2**63, 5, 5], writes, runs, source="mine")
    assert trace.pages.tolist() == [0, 1, 1]
    assert trace.writes is not None
    assert trace.runs is not None
    assert trace.writes.tolist() == writes.tolist()
    assert trace.runs.tolist() == runs.tolist()
    assert trace.references == 2**32 + 7
    for column in (trace.pages, trace.writes, trace.runs):
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 0
    for other in (copy.deepcopy(trace), pickle.loads(pickle.dumps(trace))):
        assert repr(other) == repr(trace)
        assert other.runs.tolist() == runs.tolist()
        assert other.writes.tolist() == writes.tolist()


def test_repeated_references_hit_and_count() -> None:
    short = esxcore.PageTrace([0, 1, 2, 0, 3, 0], runs=[1, 3, 1, 2, 1, 1])
    long = esxcore.PageTrace([0, 1, 1, 1, 2, 0, 0, 3, 0])
    for policy in POLICIES:
        sizes = [1, 2, 3, 4]
        assert short.miss_ratios(sizes, policy).tolist() == long.miss_ratios(sizes, policy).tolist()  # type: ignore[arg-type]


def test_two_lists_keep_a_working_set_through_a_scan() -> None:
    hot = np.tile(np.arange(50), 4)
    scan = np.arange(1000, 3000)
    trace = esxcore.PageTrace(np.concatenate([hot, scan, hot]))
    missed = {policy: round(trace.miss_ratio(100, policy) * len(trace)) for policy in POLICIES}  # type: ignore[arg-type]
    assert missed == {"lru": 2100, "clock": 2100, "two-list": 2050}


def test_sizes_are_text_or_pages(sort: esxcore.PageTrace) -> None:
    as_text = sort.miss_ratios(["64KiB", "1MiB"], "two-list")
    assert as_text.tolist() == sort.miss_ratios([16, 256], "two-list").tolist()
    assert sort.miss_ratio("64KiB", "two-list") == as_text[0]
    assert sort.miss_ratios([]).shape == (0,)
    assert (as_text.dtype, as_text[0] > as_text[1]) == (np.float64, True)


def test_archives_are_read_by_their_names(tmp_path: Path) -> None:
    pages = np.array([4, 4, 1], np.int32)
    bare, kinds, writes = (tmp_path / f"{name}.npz" for name in ("bare", "kinds", "writes"))
    np.savez(bare, page=pages)
    np.savez(kinds, page=pages, kind=np.array([0, 2, 3], np.uint8), run=np.array([1, 2, 3]))
    np.savez(writes, page=pages, write=np.array([True, False, False]))
    assert esxcore.PageTrace.load(bare).writes is None
    found = esxcore.PageTrace.load(kinds)
    assert found.writes is not None
    assert (found.writes.tolist(), found.references) == ([False, True, True], 6)
    other = esxcore.PageTrace.load(str(writes), format="npz").writes
    assert other is not None
    assert other.tolist() == [True, False, False]
    renamed = bare.rename(tmp_path / "archive")
    assert esxcore.PageTrace.load(renamed).pages.tolist() == [0, 0, 1]
    assert esxcore.miss_ratios(renamed, [1]).tolist() == [2 / 3]


def test_text_is_read_by_its_name_its_content_or_as_told(tmp_path: Path) -> None:
    for name, format in [("a.csv", None), ("a.txt", None), ("a.bin", "csv")]:
        path = tmp_path / name
        path.write_text("time,page,write\n1,0xff,w\n2,255,r\n")
        trace = esxcore.PageTrace.load(path, format)  # type: ignore[arg-type]
        assert trace.writes is not None
        assert (trace.pages.tolist(), trace.writes.tolist()) == ([0, 0], [True, False])
        assert esxcore.miss_ratios(path, [1], format=format).tolist() == [0.5]  # type: ignore[arg-type]
