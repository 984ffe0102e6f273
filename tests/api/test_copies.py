"""What goes in and comes out is a copy; reports and errors are values that pickle."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest

import esxcore
from worlds import KINDS, pages, same, small_host


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def host(kind: str) -> esxcore.Host:
    host = small_host(64, kind)
    host.power_on("web", max="64KiB", contents=pages(kind, [0, 0, 1, 1, 2, 3]))
    host.scan(8)
    return host


def arrays(host: esxcore.Host) -> dict[str, np.ndarray[Any, Any]]:
    found: dict[str, Any] = {"peek": host.peek("web", np.arange(8))}
    for name, columns in (
        ("pmap", host.pmap("web")),
        ("frames", host.frames()),
        ("vms", host.vms()),
    ):
        found |= {f"{name}.{key}": column for key, column in columns.items()}
    return {key: value for key, value in found.items() if isinstance(value, np.ndarray)}


def test_returned_arrays_are_owned_copies(host: esxcore.Host) -> None:
    first = arrays(host) | {"read": host.read("web", np.arange(6))}
    kept = {key: column.copy() for key, column in first.items()}
    assert len(first) >= 2 + 5 + 6 + 10
    assert all(column.flags.c_contiguous for column in first.values())
    host.touch("web", np.arange(16), write=True)
    host.scan(40)
    assert all(same(first[key], kept[key]) for key in first)
    host.power_off("web")
    del host
    assert all(same(first[key], kept[key]) for key in first)


def test_writing_into_an_answer_does_not_reach_the_host(host: esxcore.Host) -> None:
    digest = host.state_digest()
    for column in arrays(host).values():
        if column.flags.writeable and column.dtype.kind in "uifb":
            column[...] = 1
    assert host.state_digest() == digest
    host.audit()


def test_an_argument_is_copied(kind: str) -> None:
    host = small_host(64, kind)
    contents, data = pages(kind, [1, 2, 3]), pages(kind, [4, 5])
    ppns = np.array([3, 4])
    host.power_on("web", max="64KiB", contents=contents)
    host.write("web", ppns, data)
    contents[...], data[...], ppns[...] = 0, 0, 0
    assert np.array_equal(host.peek("web", np.arange(5)), pages(kind, [1, 2, 3, 4, 5]))


def test_any_layout_of_an_argument_will_do(kind: str) -> None:
    numbers = [1, 2, 3, 4]
    wide = np.repeat(pages(kind, numbers), 2, axis=0)[::2]
    backwards = pages(kind, numbers[::-1])[::-1]
    frozen = pages(kind, numbers)
    frozen.flags.writeable = False
    columns = np.asfortranarray(pages(kind, numbers))
    for i, contents in enumerate((wide, backwards, frozen, columns)):
        host = small_host(64, kind, seed=i)
        host.power_on("web", contents=contents)
        host.write("web", np.arange(8, dtype=np.int16)[::2][:2], contents[2:])
        assert np.array_equal(host.peek("web", np.arange(4)), pages(kind, [3, 2, 4, 4]))


INTEGERS = ["i1", "u1", "<i2", ">i2", "u2", "i4", ">u4", "u4", "i8", "u8", ">i8"]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_any_integer_dtype_will_do(dtype: str) -> None:
    host = small_host(64)
    ppns = np.array([3, 1, 3], dtype=dtype)
    host.power_on("web", max="64KiB", contents=np.array([9, 8, 7, 6], dtype=dtype))
    assert host.touch("web", ppns).done == 3
    assert host.read("web", ppns).tolist() == [6, 8, 6]
    host.write("web", ppns, np.array([1, 2, 3], dtype=dtype))
    assert host.peek("web", np.arange(4)).tolist() == [9, 2, 7, 3]


@pytest.mark.parametrize("ppns", [[3, 1], (3, 1), range(1, 4, 2), np.array([3, 1])])
def test_any_sequence_of_integers_will_do(ppns: Any) -> None:
    host = small_host(64)
    host.power_on("web", max="64KiB", contents=[9, 8, 7, 6])
    assert sorted(host.read("web", ppns).tolist()) == [6, 8]


@pytest.mark.parametrize("ppn", [3, np.int64(3), np.uint8(3), np.array(3)])
def test_one_page(kind: str, ppn: Any) -> None:
    host = small_host(64, kind)
    vm = host.power_on("web", max="64KiB", contents=pages(kind, [9, 8, 7, 6]))
    for value in (host.read("web", ppn), host.peek(vm, ppn), vm.read(ppn), vm.peek(ppn)):
        if kind == "tokens":
            assert type(value) is int
            assert value == 6
        else:
            assert value.shape == (4096,)
            assert np.array_equal(value, pages(kind, [6])[0])
    assert host.touch(vm, ppn).done == 1
    one = 5 if kind == "tokens" else pages(kind, [5])[0]
    assert host.write(vm, ppn, one).done == 1
    assert np.array_equal(host.peek(vm, [3]), pages(kind, [5]))


def test_an_empty_batch(kind: str) -> None:
    host = small_host(64, kind)
    host.power_on("web", max="64KiB")
    for empty in ([], np.array([], dtype=np.int64), np.array([], dtype=np.uint32), range(0)):
        report = host.touch("web", empty, write=True)
        assert (report.done, report.stopped) == (0, None)
        assert len(host.read("web", empty)) == len(host.peek("web", empty)) == 0
        assert host.write("web", empty, pages(kind, [])).done == 0
    assert host.stats()["references"] == 0


def reports(host: esxcore.Host) -> list[Any]:
    return [
        host.touch("web", [0, 9], write=True),
        host.write("web", [1], host.peek("web", [1])),
        host.scan(20),
        host.advance(1),
    ]


def test_reports_are_frozen_values_that_pickle(host: esxcore.Host) -> None:
    for report in reports(host):
        assert dataclasses.is_dataclass(report)
        field = dataclasses.fields(report)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(report, field, 5)
        for twin in (pickle.loads(pickle.dumps(report)), copy.deepcopy(report)):
            assert twin == report
            assert type(twin) is type(report)
        assert all(type(value) in (int, str, type(None)) for value in dataclasses.astuple(report))
        assert hash(report) == hash(copy.copy(report))


def test_fields_of_the_reports() -> None:
    touch = [field.name for field in dataclasses.fields(esxcore.TouchReport)]
    scan = [field.name for field in dataclasses.fields(esxcore.ScanReport)]
    assert touch[:5] == ["done", "stopped", "zero_fills", "cow_breaks", "page_ins"]
    assert set(scan) >= {
        "picked", "skipped", "hashed", "hints", "published", "merged", "false_matches",
        "stale_hints",
    }  # fmt: skip


def test_errors_pickle_with_their_numbers() -> None:
    host = small_host(4)
    host.power_on("web", max="64KiB")
    raised = []
    for call in (
        lambda: host.write("web", np.arange(6), np.arange(6)),
        lambda: host.power_on("db", contents=np.arange(9)),
        lambda: host.power_on("web", max="4MiB"),
        lambda: host.touch("web", 99),
        lambda: host.touch("web", 0.5),
        lambda: host.touch("db", 1),
        lambda: host.write("web", 0, -1),
        lambda: host.power_on("db", max="nine"),
    ):
        with pytest.raises(esxcore.EsxError) as caught:
            call()
        raised.append(caught.value)
    raised += [esxcore.HostBusyError("busy"), esxcore.InvariantError("I2: two owners", "I2")]
    raised += [esxcore.DataError("no array"), esxcore.ScenarioError("a.toml: x")]
    for error in raised:
        twin = pickle.loads(pickle.dumps(error))
        assert type(twin) is type(error)
        assert (str(twin), vars(twin)) == (str(error), vars(error))
    assert (raised[0].done, raised[0].free_pages) == (4, 0)
    assert raised[-3].invariant == "I2"


def test_page_states_and_frame_kinds_are_the_papers_words() -> None:
    states = {state.name: int(state) for state in esxcore.PageState}
    assert states == {"EMPTY": 0, "PRIVATE": 1, "SHARED": 2, "SWAPPED": 3, "BALLOONED": 4}
    assert {kind.name: int(kind) for kind in esxcore.FrameKind} == {"HINT": 1, "SHARED": 2}


DTYPES = {
    "pmap": {"state": "u1", "mpn": "i8", "shared": "?", "hint": "?", "traced": "?", "leaving": "?"},
    "frames": {"kind": "u1", "hash": "u8", "mpn": "i8", "vm": "i8", "ppn": "i8", "count": "i8"},
    "vms": {
        "max_pages": "i8", "allocated_pages": "i8", "shared_pages": "i8", "zero_pages": "i8",
        "consumed": "f8", "reclaimed": "f8", "cow_breaks": "i8", "zero_fills": "i8",
        "references": "i8", "scanned_pages": "i8", "scan_passes": "i8",
        "active_pages": "i8", "active_fraction": "f8", "min_pages": "i8", "shares": "i8",
        "target_pages": "i8", "overhead_pages": "i8", "balloon_pages": "i8",
        "balloon_freed_pages": "i8", "balloon_target_pages": "i8", "swapped_pages": "i8",
        "leaving_pages": "i8", "blocked": "?", "stalled_s": "i8", "page_outs": "i8",
        "emergency_page_outs": "i8", "merges": "i8", "shared_before_swap_pages": "i8",
        "io_pages": "i8", "io_copies": "i8", "io_remaps": "i8", "io_private_copies": "i8",
        "hot_pages": "i8",
    },
}  # fmt: skip


def test_columns_have_their_dtypes(host: esxcore.Host) -> None:
    tables = {"pmap": host.pmap("web"), "frames": host.frames(), "vms": host.vms()}
    for table, dtypes in DTYPES.items():
        for name, dtype in dtypes.items():
            assert tables[table][name].dtype == np.dtype(dtype), f"{table}.{name}"
    assert list(tables["pmap"]) == list(DTYPES["pmap"])
    assert list(tables["frames"]) == list(DTYPES["frames"])
    assert {"name", "salt"} <= tables["vms"].keys()
    assert all(len(column) == 1 for column in tables["vms"].values())


def test_columns_keep_their_dtypes_without_rows() -> None:
    host = small_host(64)
    for name, dtype in DTYPES["vms"].items():
        assert host.vms()[name].dtype == np.dtype(dtype), name
    for name, dtype in DTYPES["frames"].items():
        assert host.frames()[name].dtype == np.dtype(dtype), name
    assert host.vms()["name"].dtype.kind == host.vms()["salt"].dtype.kind == "U"


STATS = {
    "machine_pages", "free_pages", "used_pages", "allocated_pages", "shared_pages",
    "reclaimed_pages", "zero_pages", "cow_breaks", "zero_fills", "page_ins", "references",
    "hint_frames", "shared_frames", "false_matches", "stale_hints", "scanned_pages", "hashed_pages",
    "merged_pages", "ineligible_pages", "sharing_metadata_bytes", "real_bytes", "vms", "now_ns",
    "io_pages", "io_copies", "io_remaps", "io_private_copies", "io_evictions", "io_refused",
    "io_cache_hits", "io_cache_misses", "low_free_pages",
}  # fmt: skip


def test_stats_are_plain_integers(host: esxcore.Host) -> None:
    stats = host.stats()
    assert stats.keys() >= STATS
    assert all(type(value) is int for value in stats.values())
    assert stats.pop("free_state") == -1, "memory is not divided"
    assert all(value >= 0 for value in stats.values())
    assert all(type(value) is int for value in host.census().values())
