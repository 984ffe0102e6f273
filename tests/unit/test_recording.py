"""Recordings: what goes in comes out, on disk and in tables; what is no recording is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esxcore.errors import DataError
from esxcore.recording import DivisionRow, Recording, SharingPeak
from recordings import MIB, divided_recording, small_recording


def test_the_table_has_a_row_for_each_vm_and_the_host() -> None:
    web, db, host = small_recording().memory()
    assert [row.name for row in (web, db, host)] == ["web", "db", "host"]
    assert web[1:] == (16 * MIB, 16 * MIB, 6 * MIB, 12.5 * MIB, 3.5 * MIB, MIB, 0)
    assert db[1:] == (16 * MIB, 16 * MIB, 3 * MIB, 14.5 * MIB, 1.5 * MIB, 0, 768)
    assert host[1:] == (64 * MIB, 32 * MIB, 9 * MIB, 27 * MIB, 5 * MIB, MIB, 768)
    assert web.consumed_pages + db.consumed_pages == host.consumed_pages
    assert small_recording().memory(1)[2].reclaimed_pages == 8 * MIB


def test_the_peak_is_where_sharing_was_nearest_not_where_it_was_most() -> None:
    recording = small_recording()
    assert recording.sharing_fraction.tolist() == [0.0, 0.8, 5 / 6]
    assert recording.sharing_peak() == SharingPeak(5 / 6, 120.0, 5 * MIB, 6 * MIB)


def test_the_first_of_equal_peaks_counts() -> None:
    recording = small_recording(census={"reclaimed_pages": np.array([0, 2048, 1280])})
    assert recording.sharing_peak() == SharingPeak(1.0, 60.0, 8 * MIB, 8 * MIB)


def test_where_nothing_can_be_shared_there_is_no_peak() -> None:
    recording = small_recording(census={"reclaimed_pages": np.zeros(3, np.int64)})
    assert np.isnan(recording.sharing_fraction).all()
    assert recording.sharing_peak() is None


def test_a_recording_survives_the_disk(tmp_path: Path) -> None:
    recording = small_recording(seed=2**100)
    recording.save(tmp_path / "r.npz")
    again = Recording.load(tmp_path / "r.npz")
    assert (again.seed, again.version, again.scenario) == (2**100, "1.2.3", recording.scenario)
    assert tuple(again.vm_names) == ("web", "db")
    assert again.time_s.tolist() == recording.time_s.tolist()
    for group in ("host", "census", "vms"):
        before, after = getattr(recording, group), getattr(again, group)
        assert set(after) == set(before)
        for name, column in before.items():
            assert after[name].dtype == column.dtype
            assert (after[name] == column).all()
    assert again.to_bytes() == recording.to_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["r.npz"]


def test_numpy_alone_reads_it(tmp_path: Path) -> None:
    small_recording().save(tmp_path / "r.npz")
    with np.load(tmp_path / "r.npz", allow_pickle=False) as file:
        assert int(file["format"]) == 1
        assert str(file["scenario"]).startswith("[host]")
        assert file["vm.cow_breaks"].shape == (3, 2)
        assert file["host.reclaimed_pages"].tolist() == [0, 8 * MIB, 5 * MIB]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": np.array(2)}, "array 'format' is not 1"),
        ({"format": None}, "array 'format' is missing"),
        ({"time_s": np.arange(4.0)}, r"array 'host\.\w+' is \(3,\); expected \(4,\)"),
        ({"time_s": np.empty(0)}, r"array 'time_s' is \(0,\)"),
        ({"vm_names": np.array(["web"])}, r"array 'vm\.\w+' is \(3, 2\); expected \(3, 1\)"),
        ({"host.zero_pages": None}, r"array 'host\.zero_pages' is missing"),
        ({"census.reclaimed_pages": None}, r"array 'census\.reclaimed_pages' is missing"),
        ({"vm.consumed": np.array([["x"]])}, r"array 'vm\.consumed' is <U1 with 2 axes"),
        ({"seed": np.array("seven")}, "array 'seed' is 'seven'; expected a whole number"),
        ({"version": np.array(1)}, "array 'version' is int64"),
    ],
)
def test_a_file_that_is_no_recording(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = tmp_path / "r.npz"
    small_recording().save(path)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file} | change
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(DataError, match=said) as error:
        Recording.load(path)
    assert str(error.value).startswith(f"{path}: ")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        small_recording().save(tmp_path / "none" / "r.npz")


def test_who_should_have_what_and_has() -> None:
    web, db, host = divided_recording().division()
    assert web == DivisionRow(
        "web", 16 * MIB, 8 * MIB, 160, 10 * MIB, 10 * MIB, 2 * MIB, 4 * MIB, 2 * MIB
    )
    assert db == DivisionRow("db", 16 * MIB, 4 * MIB, 100, 14 * MIB, 14 * MIB, 8 * MIB, 0, MIB)
    assert host == DivisionRow(
        "host", 32 * MIB, 12 * MIB, 260, 24 * MIB, 24 * MIB, 10 * MIB, 4 * MIB, 3 * MIB
    )
    assert divided_recording().state_s() == {"high": 60.0, "soft": 60.0}


def test_who_is_powered_off_has_nothing() -> None:
    recording = divided_recording()
    assert recording.is_on(0).tolist() == [True, False]
    web, db, host = recording.division(0)
    assert db[1:] == (0,) * 8
    assert host[1:] == web[1:]
    assert recording.memory(0)[1][1:] == (0,) * 7


def test_without_sampling_nobody_knows_what_is_active() -> None:
    vms = dict(divided_recording().vms) | {"active_pages": np.full((3, 2), -1)}
    assert [row.active_pages for row in divided_recording(vms=vms).division()] == [-1, -1, -1]


def test_overhead_is_consumed_by_no_vm() -> None:
    assert divided_recording().memory()[-1].consumed_pages == (27 - 2) * MIB


@pytest.mark.parametrize(
    ("shortage", "is_divided"),
    [({}, False), ({"target_pages": 1}, True), ({"balloon_pages": -1}, True)],
)
def test_memory_is_divided_where_it_is_short(shortage: dict[str, int], is_divided: bool) -> None:
    whole = divided_recording()
    none = np.zeros((3, 2), np.int64)
    vms = dict(whole.vms) | {
        "target_pages": whole.vms["max_pages"],
        "balloon_pages": none,
        "swapped_pages": none,
    }
    for name, pages in shortage.items():
        vms[name] = vms[name] - pages
    host = dict(whole.host) | {"free_state": np.zeros(3, np.int64)}
    assert divided_recording(vms=vms, host=host).is_divided == is_divided


def test_a_bare_host_divides_nothing() -> None:
    assert not small_recording().is_divided
    host = dict(divided_recording().host) | {"free_state": np.full(3, -1)}
    vms = dict(small_recording().vms) | {
        name: small_recording().vms["max_pages"] * (name == "target_pages")
        for name in ("target_pages", "balloon_pages", "swapped_pages")
    }
    assert small_recording(host=host, vms=vms).division() == ()
