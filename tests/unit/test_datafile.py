"""Data files: what is wrong with one is one line; what is written is whole or not there."""

from __future__ import annotations

import io
import os
import random
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esxcore.datafile import data_path, open_arrays, packaged, write_whole, written_whole
from esxcore.errors import DataError


def one_line(error: pytest.ExceptionInfo[DataError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, counts=np.arange(5, dtype=np.int32), name=np.array("x"))
    return path


def test_arrays_come_out_as_they_went_in(archive: Path) -> None:
    with open_arrays(archive) as file:
        assert set(file.names()) == {"counts", "name"}
        assert file.take("counts", np.integer, 1).tolist() == [0, 1, 2, 3, 4]
        assert str(file.take("name", np.str_, 0)) == "x"


@pytest.mark.parametrize(
    ("name", "dtype", "ndim", "said"),
    [
        ("other", np.integer, 1, "array 'other' is missing; the file has counts, name"),
        ("counts", np.floating, 1, "array 'counts' is int32 with 1 axes; expected floating"),
        ("counts", np.uint8, 1, "array 'counts' is int32 with 1 axes; expected uint8"),
        ("counts", np.integer, 2, "expected integer with 2 axes"),
    ],
)
def test_a_wrong_array_is_named(archive: Path, name: str, dtype: Any, ndim: int, said: str) -> None:
    with open_arrays(archive) as file, pytest.raises(DataError) as error:
        file.take(name, dtype, ndim)
    assert one_line(error).startswith(f"{archive}: ")
    assert said in one_line(error)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "objects.npz"
    np.savez(path, counts=np.array([{}, None], dtype=object))
    with open_arrays(path) as file, pytest.raises(DataError, match=r"'counts' cannot be read"):
        file.take("counts", np.integer, 1)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive at all", b"\x80\x04N."])
def test_a_file_that_is_no_archive(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    with pytest.raises(DataError) as error, open_arrays(path):
        pass
    assert one_line(error).startswith(f"{path}: not a readable npz archive")


def test_a_missing_file_a_folder_and_a_single_array(tmp_path: Path) -> None:
    single = tmp_path / "single.npy"
    np.save(single, np.arange(3))
    missing = tmp_path / "missing.npz"
    for path, said in [
        (missing, "no such file; expected an npz archive"),
        (tmp_path, "cannot be opened (Is a directory)"),
        (single, "a single array; expected an npz archive"),
    ]:
        with pytest.raises(DataError) as error, open_arrays(path):
            pass
        assert one_line(error).startswith(f"{path}: {said}")


def test_damage_anywhere_is_a_data_error_or_harmless(archive: Path, tmp_path: Path) -> None:
    whole = archive.read_bytes()
    damaged = tmp_path / "damaged.npz"
    dice = random.Random(4)
    refused = 0
    for _ in range(300):
        content = bytearray(whole)
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        damaged.write_bytes(content[: dice.choice([len(content), dice.randrange(len(content))])])
        try:
            with open_arrays(damaged) as file:
                file.take("counts", np.integer, 1)
        except DataError:
            refused += 1
    assert refused > 150


def test_packaged_data_is_found_by_name() -> None:
    assert data_path("builtin:fleet_a", Path("/elsewhere")) == packaged("fleet_a.npz")
    with pytest.raises(DataError, match=r"builtin:fleet_b: .* did you mean builtin:fleet_a\?"):
        data_path("builtin:fleet_b", Path())
    with pytest.raises(DataError, match="expected one of active_phases, fleet_a"):
        data_path("builtin:zzz", Path())
    # Only what is of any use is proposed.
    for array, useful in (("page", "trace_sort"), ("id", "fleet_a"), ("read", "active_phases")):
        with pytest.raises(DataError, match=f"; expected one of {useful}$"):
            data_path("builtin:zzz", Path(), array)


def test_other_data_is_found_from_the_folder(tmp_path: Path) -> None:
    assert data_path("traces/x.npz", tmp_path) == tmp_path / "traces" / "x.npz"
    assert data_path("/traces/x.npz", tmp_path) == Path("/traces/x.npz")


def test_files_are_written_together(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"old")
    write_whole({first: b"new", second: b"also"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "first": b"new",
        "second": b"also",
    }


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError(28, "No space left")])
def test_an_interrupted_write_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interruption: Any
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"old")
    synced = []

    def fsync(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) == 2:
            raise interruption

    monkeypatch.setattr("os.fsync", fsync)
    with pytest.raises((KeyboardInterrupt, OSError)):
        write_whole({first: b"new", second: b"also"})
    assert len(synced) == 2
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"first": b"old"}


def test_the_folder_must_exist(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_whole({tmp_path / "none" / "file": b""})


def test_a_claim_of_more_than_any_memory_is_refused(tmp_path: Path) -> None:
    import zipfile

    header = io.BytesIO()
    shape = {"descr": "<i8", "fortran_order": False, "shape": (2**60,)}
    np.lib.format.write_array_header_1_0(header, shape)
    path = tmp_path / "huge.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("counts.npy", header.getvalue())
    with open_arrays(path) as file, pytest.raises(DataError, match="'counts' cannot be read"):
        file.take("counts", np.integer, 1)


@pytest.mark.parametrize("content", [b"hello", b""])
def test_a_member_that_is_no_array(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("id.npy", content)
    with open_arrays(path) as file, pytest.raises(DataError) as error:
        file.take("id", np.integer, 1)
    assert one_line(error).startswith(f"{path}: array 'id' cannot be read (")


def test_spans_of_time_are_no_integers(tmp_path: Path) -> None:
    path = tmp_path / "spans.npz"
    np.savez(path, id=np.arange(3).astype("m8[s]"))
    with open_arrays(path) as file, pytest.raises(DataError, match=r"'id' is timedelta64\[s\]"):
        file.take("id", np.integer, 1)


def test_nobody_is_advised_to_unpickle(tmp_path: Path) -> None:
    path = tmp_path / "junk.npz"
    path.write_bytes(b"no archive at all")
    with pytest.raises(DataError) as error, open_arrays(path):
        pass
    assert "expected an npz archive" in one_line(error)
    assert "pickle" not in one_line(error)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "pipe.npz"
    os.mkfifo(path)
    with pytest.raises(DataError, match="not a regular file; expected an npz"), open_arrays(path):
        pass


def test_a_builtin_without_a_name_lists_each_name_once() -> None:
    with pytest.raises(DataError, match=r"^builtin:: no such data") as error:
        data_path("builtin:", Path())
    assert one_line(error).count("fleet_a") == 1


def test_an_error_of_writing_names_the_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left") as error:
        write_whole({tmp_path / "a.txt": b"a"})
    assert error.value.filename == str(tmp_path / "a.txt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_only_a_regular_file_is_replaced(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "target"
    make = {
        "folder": target.mkdir,
        "pipe": lambda: os.mkfifo(target),
        "device": lambda: target.symlink_to(os.devnull),
    }
    make[kind]()
    mode = target.lstat().st_mode
    with pytest.raises(OSError, match=re.escape(str(target))):
        write_whole({tmp_path / "first": b"1", target: b"2"})
    assert target.lstat().st_mode == mode
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_nothing_is_in_place_until_the_block_is_done(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with written_whole({target: b"new"}):
        assert not target.exists()
    assert target.read_bytes() == b"new"


def test_a_block_that_fails_leaves_everything_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"old")
    with pytest.raises(TypeError), written_whole({target: b"new"}):
        len(1)  # type: ignore[arg-type]
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_threads_may_write_into_one_folder_at_a_time(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    with written_whole({one: b"1"}), written_whole({other: b"2"}):
        pass
    assert (one.read_bytes(), other.read_bytes()) == (b"1", b"2")
