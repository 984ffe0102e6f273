"""Bad input of page-reference traces: one line that names file, record and what was expected."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import esxcore
from page_traces import oracle_general

GOOD = oracle_general(np.array([1, 2, 1]))


def refused(kind: type[Exception], message: str, call: Callable[[], object]) -> None:
    """A call fails with exactly this message, of one line."""
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind
    assert str(caught.value) == message
    assert "\n" not in message


BAD_FILES: dict[str, tuple[str, bytes, str]] = {
    "empty": ("a.bin", b"", "the file is empty"),
    "cut": ("a.bin", GOOD[:-1], "truncated: record 2 has 23 bytes; expected 24"),
    "other": (
        "a.bin",
        GOOD[:24] + b"\xf0" * 24,
        "record 1 names -1085102592571150096 as its next access; expected -1 or more: it is no"
        " oracleGeneral file",
    ),
    "cut zstd": (
        "a.zst",
        b"\x28\xb5\x2f\xfd\x04",
        "truncated: the packed data end at byte 5 in the middle of a zstd frame; 0 records were"
        " read",
    ),
    "negative": (
        "a.csv",
        b"1\n-1\n",
        'line 2: page is "-1"; expected a page number from 0 to 2**64 - 1',
    ),
    "no column": (
        "a.csv",
        b"address\n1\n",
        'line 1 names the columns "address"; expected one of them to be "page"',
    ),
    "no zip": (
        "a.npz",
        b"PK\x03\x04" + GOOD,
        "not a readable npz archive (File is not a zip file); expected an npz archive, as"
        " numpy.savez writes it",
    ),
}


@pytest.mark.parametrize(("name", "data", "said"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_is_named(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    refused(esxcore.DataError, f"{path}: {said}", lambda: esxcore.PageTrace.load(path))
    refused(esxcore.DataError, f"{path}: {said}", lambda: esxcore.miss_ratios(str(path), [1]))


NO_FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing": (lambda _: None, "there is no such file"),
    "folder": (lambda path: path.mkdir(), "it is a directory; expected a regular file"),
    "pipe": (os.mkfifo, "it is a pipe; expected a regular file"),
    "endless": (
        lambda path: path.symlink_to("/dev/zero"),
        "it is a device; expected a regular file",
    ),
}


@pytest.mark.parametrize(("make", "said"), NO_FILES.values(), ids=NO_FILES)
@pytest.mark.parametrize("name", ["trace", "trace.csv", "trace.oracleGeneral.zst"])
def test_what_is_no_file_is_not_waited_for(
    tmp_path: Path, make: Callable[[Path], None], said: str, name: str
) -> None:
    path = tmp_path / name
    make(path)
    refused(esxcore.DataError, f"{path}: {said}", lambda: esxcore.PageTrace.load(path))
    refused(esxcore.DataError, f"{path}: {said}", lambda: esxcore.miss_ratios(path, [1]))


def test_a_pipe_called_an_archive_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "trace.npz"
    os.mkfifo(path)
    said = f"{path}: not a regular file; expected an npz archive"
    refused(esxcore.DataError, said, lambda: esxcore.PageTrace.load(path))


PAGE = np.array([0, 1])
BAD_COLUMNS: dict[str, tuple[dict[str, Any], str]] = {
    "float": (
        {"pages": PAGE / 2},
        "array 'page' is float64 with 1 axes; expected integers with 1 axis",
    ),
    "bool": (
        {"pages": PAGE > 0},
        "array 'page' is bool with 1 axes; expected integers with 1 axis",
    ),
    "axes": (
        {"pages": PAGE[:, None]},
        "array 'page' is int64 with 2 axes; expected integers with 1 axis",
    ),
    "span of time": (
        {"pages": PAGE.astype("m8[s]")},
        "array 'page' is timedelta64[s] with 1 axes; expected integers with 1 axis",
    ),
    "too large": (
        {"pages": [1, 2**64]},
        "record 1: page is 18446744073709551616; expected 0 to 18446744073709551615",
    ),
    "objects": (
        {"pages": np.array([1, "a"], object)},
        "array 'page' is object with 1 axes; expected integers with 1 axis",
    ),
    "ragged": ({"pages": [[1], [2, 3]]}, "'page' is no array; expected one with 1 axis"),
    "masked": (
        {"pages": np.ma.masked_equal(PAGE, 1)},
        "array 'page' is masked; expected one without a mask",
    ),
    "negative": (
        {"pages": [5, 6, -7, -8]},
        "record 2: page is -7; expected 0 to 18446744073709551615",
    ),
    "empty": ({"pages": []}, "array 'page' has no records; expected one or more"),
    "no run": (
        {"pages": PAGE, "runs": [1, 0]},
        "record 1: run is 0; expected 1 to 4294967295",
    ),
    "long run": (
        {"pages": PAGE, "runs": [2**32, 1]},
        "record 0: run is 4294967296; expected 1 to 4294967295",
    ),
    "few runs": (
        {"pages": PAGE, "runs": [1]},
        "array 'run' has 1 records; expected 2, as in 'page'",
    ),
    "writes": (
        {"pages": PAGE, "writes": [0, 1]},
        "array 'write' is int64 of shape (2,); expected bool of shape (2,), as in 'page'",
    ),
    "few writes": (
        {"pages": PAGE, "writes": [True]},
        "array 'write' is bool of shape (1,); expected bool of shape (2,), as in 'page'",
    ),
}


@pytest.mark.parametrize(("columns", "said"), BAD_COLUMNS.values(), ids=BAD_COLUMNS)
def test_bad_columns_are_named(columns: dict[str, Any], said: str) -> None:
    refused(esxcore.DataError, f"page trace: {said}", lambda: esxcore.PageTrace(**columns))
    refused(esxcore.DataError, f"mine: {said}", lambda: esxcore.PageTrace(**columns, source="mine"))


BAD_ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "no pages": ({"pages": PAGE}, "array 'page' is missing; the file has pages"),
    "float": (
        {"page": PAGE / 2},
        "array 'page' is float64 with 1 axes; expected integer with 1 axes",
    ),
    "kind": ({"page": PAGE, "kind": [0, 4]}, "record 1: kind is 4; expected 0 to 3"),
    "negative": ({"page": -PAGE}, "record 1: page is -1; expected 0 to 18446744073709551615"),
    "few kinds": (
        {"page": PAGE, "kind": [1]},
        "array 'write' is bool of shape (1,); expected bool of shape (2,), as in 'page'",
    ),
}


@pytest.mark.parametrize(("arrays", "said"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_bad_arrays_of_a_file_are_named(tmp_path: Path, arrays: dict[str, Any], said: str) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **arrays)
    refused(esxcore.DataError, f"{path}: {said}", lambda: esxcore.PageTrace.load(path))


TRACE = esxcore.PageTrace([1, 2, 1])
CALLS: dict[str, tuple[type[Exception], str, Callable[[], object]]] = {
    "no memory": (
        esxcore.ConfigError,
        "memory: 0; expected 1 to 4294967295",
        lambda: TRACE.miss_ratio(0),
    ),
    "less": (
        esxcore.ConfigError,
        "memory: -1; expected 1 to 4294967295",
        lambda: TRACE.miss_ratios([4, -1]),
    ),
    "half a page": (
        esxcore.ArgumentTypeError,
        "memory: 1.5 is float; expected a whole number",
        lambda: TRACE.miss_ratio(1.5),  # type: ignore[arg-type]
    ),
    "unit": (
        esxcore.ConfigError,
        "memory: '4' has no unit; expected one of KiB, MiB, GiB, TiB like '256MiB'",
        lambda: TRACE.miss_ratio("4"),
    ),
    "one size": (
        esxcore.ArgumentTypeError,
        "sizes: 4; expected a list of sizes",
        lambda: TRACE.miss_ratios(4),  # type: ignore[arg-type]
    ),
    "text": (
        esxcore.ArgumentTypeError,
        "sizes: '4MiB'; expected a list of sizes",
        lambda: esxcore.miss_ratios(TRACE, "4MiB"),
    ),
    "policy": (
        esxcore.ConfigError,
        "policy: 'fifo'; expected one of 'lru', 'clock', 'two-list'",
        lambda: TRACE.miss_ratio(1, "fifo"),  # type: ignore[arg-type]
    ),
    "format": (
        esxcore.ConfigError,
        "format: 'lcs'; expected one of 'npz', 'oracleGeneral', 'csv'",
        lambda: esxcore.PageTrace.load("a", "lcs"),  # type: ignore[arg-type]
    ),
    "path": (
        esxcore.ArgumentTypeError,
        "path: int; expected the path of a trace",
        lambda: esxcore.miss_ratios(7, [1]),  # type: ignore[arg-type]
    ),
    "builtin": (
        esxcore.DataError,
        "builtin:trace_srt: no such data in the package; did you mean builtin:trace_sort?",
        lambda: esxcore.PageTrace.load("builtin:trace_srt"),
    ),
    "no such builtin": (
        esxcore.DataError,
        "builtin:fleet_a2: no such data in the package; expected one of trace_sort",
        lambda: esxcore.replay("builtin:fleet_a2"),
    ),
}


@pytest.mark.parametrize(("kind", "said", "call"), CALLS.values(), ids=CALLS)
def test_bad_arguments_are_named(
    kind: type[Exception], said: str, call: Callable[[], object]
) -> None:
    refused(kind, said, call)


def test_bytes_and_nul_in_names() -> None:
    with pytest.raises(esxcore.DataError):
        esxcore.PageTrace.load("a\0b")
    with pytest.raises(esxcore.ArgumentTypeError):
        esxcore.PageTrace.load(b"a")  # type: ignore[arg-type]
