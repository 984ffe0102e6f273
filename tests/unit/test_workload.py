"""Activity: the pages of each second come out of the bitmaps, moved in time as asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from esxcore.datafile import packaged
from esxcore.errors import ConfigError, DataError
from esxcore.workload import Accesses, Activity, ActivityRecord, PacedWorkload

PAGES = 20


def record_of(seconds: int) -> ActivityRecord:
    """A record in which second n reads page n and writes page n + 1."""
    bits = np.eye(seconds + 1, PAGES, dtype=bool)
    return ActivityRecord(np.packbits(bits[:-1], axis=1), np.packbits(bits[1:], axis=1), PAGES)


def reads(workload: PacedWorkload, seconds: range) -> list[list[int]]:
    return [workload.accesses(second).reads.tolist() for second in seconds]


@given(hnp.arrays(bool, (3, PAGES)), hnp.arrays(bool, (3, PAGES)), st.integers(0, 2))
def test_a_second_is_the_set_bits_of_its_row(read: Any, write: Any, second: int) -> None:
    record = ActivityRecord(np.packbits(read, axis=1), np.packbits(write, axis=1), PAGES)
    row = record.row(second)
    assert row.reads.dtype == row.writes.dtype == np.int64
    assert row.reads.tolist() == [page for page in range(PAGES) if read[second, page]]
    assert row.writes.tolist() == [page for page in range(PAGES) if write[second, page]]


def test_the_packaged_record_shows_its_phases() -> None:
    record = ActivityRecord.load(packaged("active_phases.npz"))
    assert (record.seconds, record.pages) == (120, 65_536)
    mib = [record.row(second).reads.size / 256 for second in (10, 30, 50, 70)]
    assert [round(size / 8) for size in mib] == [1, 8, 0, 3]  # hot sets of 8, 64, 0 and 24 MiB


def test_a_replay_begins_at_its_start_and_ends_with_the_record() -> None:
    activity = Activity(record_of(3), start_s=2)
    assert reads(activity, range(7)) == [[], [], [0], [1], [2], [], []]
    assert activity.accesses(3).writes.tolist() == [2]


def test_a_replay_from_the_middle_repeats_from_the_first_second() -> None:
    record = record_of(3)
    assert reads(Activity(record, offset_s=2), range(3)) == [[2], [], []]
    repeated = Activity(record, start_s=1, offset_s=2, repeat=True)
    assert reads(repeated, range(6)) == [[], [2], [0], [1], [2], [0]]


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ({"start_s": -1}, "start_s: -1 s; expected 0 or more"),
        ({"offset_s": 3}, "offset_s: 3 s; expected 0 to 2"),
        ({"offset_s": -1}, "offset_s: -1 s"),
    ],
)
def test_a_place_outside_the_record_is_refused(place: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Activity(record_of(3), **place)


def test_a_workload_is_anything_with_the_method() -> None:
    class Sweep:
        def accesses(self, second: int) -> Accesses:
            return Accesses(np.empty(0, np.int64), np.array([second]))

    assert isinstance(Sweep(), PacedWorkload)
    assert isinstance(Activity(record_of(1)), PacedWorkload)
    assert not isinstance(record_of(1), PacedWorkload)


BITS = np.zeros((2, 3), np.uint8)
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"read": BITS.astype(bool)}, r"array 'read' is bool with 2 axes; expected uint8"),
    ({"read": BITS[0]}, r"array 'read' is uint8 with 1 axes"),
    ({"read": BITS[:0], "write": BITS[:0]}, r"array 'read' is uint8 of shape \(0, 3\)"),
    ({"read": np.zeros((2, 4), np.uint8)}, r"array 'read' has rows of 4 bytes; expected 3 for 20"),
    ({"write": np.zeros((3, 3), np.uint8)}, r"array 'write' has 3 seconds; expected 2"),
    ({"write": BITS + np.uint8(8)}, r"array 'write' names a page past the last of 20"),
    ({"pages": np.array(0)}, r"array 'pages' is 0; expected 1 or more"),
    ({"pages": np.array([20])}, r"array 'pages' is int64 with 1 axes"),
    ({"pages": np.array(20.0)}, r"array 'pages' is float64"),
]


@pytest.mark.parametrize(("change", "said"), WRONG)
def test_a_wrong_file_is_one_line_that_names_file_and_array(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    path = tmp_path / "record.npz"
    np.savez(path, **({"read": BITS, "write": BITS, "pages": np.array(PAGES)} | change))
    with pytest.raises(DataError, match=said) as error:
        ActivityRecord.load(path)
    assert str(error.value).startswith(f"{path}: array '")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["read", "write", "pages"])
def test_a_missing_array_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / "record.npz"
    arrays: dict[str, Any] = {"read": BITS, "write": BITS, "pages": np.array(PAGES)}
    del arrays[name]
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=f"array '{name}' is missing"):
        ActivityRecord.load(path)
