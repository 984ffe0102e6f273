"""Bad input of a census: one line that names the image, the value and what was expected."""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import esxcore

PAGE = np.full((2, 4096), 7, np.uint8)
GOOD = PAGE.tobytes()
NOBODY = 65534

ELF = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
    "<HHIQQQIHHHHHH", 4, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0
)
SEGMENT = struct.pack("<IIQQQQQQ", 1, 7, 120, 0, 0, 8192, 8192, 0)
LIME = b"EMiL" + struct.pack("<IQQQ", 1, 0, 8191, 0)


def refused(kind: type[Exception], message: str, *args: Any, **options: Any) -> None:
    """A census fails with exactly this message, of one line."""
    with pytest.raises(kind) as caught:
        esxcore.census(*args, **options)
    assert type(caught.value) is kind
    assert str(caught.value) == message
    assert "\n" not in message


BAD_FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "the file is empty"),
    "odd": (GOOD[:5000], "the size is 5000 bytes; expected a multiple of 4096"),
    "elf header": (
        ELF[:40],
        "truncated: an ELF header at byte 20 needs 38 bytes, but the file has 40",
    ),
    "elf table": (
        ELF + SEGMENT[:20],
        "truncated: the ELF program headers at byte 64 needs 56 bytes, but the file has 84",
    ),
    "elf data": (
        ELF + SEGMENT + GOOD[:5000],
        "truncated: a segment at byte 120 needs 8192 bytes, but the file has 5120",
    ),
    "lime header": (
        LIME[:20],
        "truncated: a LiME header at byte 0 needs 32 bytes, but the file has 20",
    ),
    "lime data": (
        LIME + GOOD[:5000],
        "truncated: the memory of a LiME header at byte 32 needs 8192 bytes, but the file has 5032",
    ),
    "gzip": (
        b"\x1f\x8b\x08" + GOOD[3:],
        "it is compressed by gzip, which is not read; unpack it first",
    ),
    "zip": (
        b"PK\x03\x04" + GOOD[4:],
        "not a readable npz archive (File is not a zip file); expected an npz archive, as"
        " numpy.savez writes it",
    ),
}


@pytest.mark.parametrize(("data", "said"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_is_named_among_good_ones(tmp_path: Path, data: bytes, said: str) -> None:
    good, bad = tmp_path / "good.raw", tmp_path / "bad"
    good.write_bytes(GOOD)
    bad.write_bytes(data)
    refused(esxcore.DataError, f"{bad}: {said}", [bad])
    refused(esxcore.DataError, f"{bad}: {said}", [good, PAGE, bad, good])


@pytest.mark.parametrize("data", [ELF + SEGMENT + GOOD, LIME + GOOD], ids=["elf", "lime"])
def test_the_same_files_whole_are_read(tmp_path: Path, data: bytes) -> None:
    """Or else the tests above would refuse for another reason."""
    (tmp_path / "whole").write_bytes(data)
    found = esxcore.census([tmp_path / "whole", PAGE])
    assert (found.pages, found.distinct_pages) == (4, 1)


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(path.name)
    finally:
        os.chdir(before)


NO_FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing": (lambda _: None, "there is no such file"),
    "dangling": (lambda path: path.symlink_to("nowhere"), "there is no such file"),
    "folder": (lambda path: path.mkdir(), "it is a directory; expected a memory image"),
    "pipe": (make_fifo, "it is a pipe; expected a regular file"),
    "socket": (make_socket, "it is a socket; expected a regular file"),
    "device": (
        lambda path: path.symlink_to("/dev/zero"),
        "it is a device; expected a regular file",
    ),
}


@pytest.mark.parametrize(("make", "said"), NO_FILES.values(), ids=NO_FILES)
@pytest.mark.parametrize("as_text", [False, True], ids=["path", "text"])
def test_what_is_no_file_is_not_waited_for(
    tmp_path: Path, make: Callable[[Path], None], said: str, as_text: bool
) -> None:
    path = tmp_path / "image"
    make(path)
    refused(esxcore.DataError, f"{path}: {said}", [str(path) if as_text else path])


def test_a_file_that_gets_shorter_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(GOOD * 100)

    def sources() -> Iterator[Path]:
        yield path
        os.truncate(path, 4096)  # after it was opened

    with pytest.raises(esxcore.DataError) as caught:
        esxcore.census(sources())
    assert re.fullmatch(
        rf"{re.escape(str(path))}: truncated while it was read: it had 819200 bytes when opened,"
        r" now it ends before byte \d+",
        str(caught.value),
    )


DROPPED = """
import os, sys
import esxcore
import numpy

esxcore.census([numpy.zeros((1, 4096), numpy.uint8)])  # everything is loaded as who we are
if os.geteuid() == 0:
    os.setegid(int(sys.argv[1]))
    os.seteuid(int(sys.argv[1]))
try:
    if sys.argv[2] == "file":
        esxcore.census([sys.argv[3]])
    else:
        esxcore.census(pids=[int(sys.argv[3])])
except esxcore.DataError as error:
    print(error)
"""


def said_to_nobody(what: str, target: str) -> str:
    """What a census by a user without rights says."""
    done = subprocess.run(
        [sys.executable, "-c", DROPPED, str(NOBODY), what, target],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_file_that_may_not_be_read() -> None:
    with tempfile.TemporaryDirectory() as folder:  # outside of pytest's, which is private
        path = Path(folder) / "image"
        path.write_bytes(GOOD)
        path.parent.chmod(0o755)
        path.chmod(0)
        assert said_to_nobody("file", str(path)) == f"{path}: no permission to read it\n"


@pytest.mark.skipif(not Path("/proc/1/smaps").exists(), reason="no processes to look at")
def test_a_process_that_may_not_be_read() -> None:
    if os.geteuid() != 0 and Path("/proc/1").stat().st_uid == os.geteuid():
        pytest.skip("process 1 is ours")
    said = "no permission to read its memory; be the same user, or have CAP_SYS_PTRACE"
    assert said_to_nobody("pid", "1").startswith(f"process 1: {said} (needed if ")


def save(path: Path, **change: Any) -> Path:
    """A keyed trace of three pages, with arrays changed or left out."""
    arrays: dict[str, Any] = {
        "id": np.arange(3),
        "vm_pages": np.array([3]),
        "digest": np.arange(48, dtype=np.uint8).reshape(3, 16),
        "key_check": np.zeros(16, np.uint8),
    }
    arrays |= change
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


BAD_TRACES: dict[str, tuple[dict[str, Any], str]] = {
    "no trace": ({"id": None}, "array 'id' is missing; the file has vm_pages, digest, key_check"),
    "few digests": (
        {"digest": np.zeros((2, 16), np.uint8)},
        "array 'digest' has shape (2, 16); expected (3, 16)",
    ),
    "short digests": (
        {"digest": np.zeros((3, 15), np.uint8)},
        "array 'digest' has shape (3, 15); expected (3, 16)",
    ),
    "floats": (
        {"digest": np.zeros((3, 16))},
        "array 'digest' is float64 with 2 axes; expected uint8 with 2 axes",
    ),
    "one axis": (
        {"digest": np.zeros(48, np.uint8)},
        "array 'digest' is uint8 with 1 axes; expected uint8 with 2 axes",
    ),
    "no check": (
        {"key_check": None},
        "array 'key_check' is missing; the file has id, vm_pages, digest",
    ),
    "short check": (
        {"key_check": np.zeros(15, np.uint8)},
        "array 'key_check' is missing or not of shape (16,)",
    ),
}


@pytest.mark.parametrize(("change", "said"), BAD_TRACES.values(), ids=BAD_TRACES)
def test_a_bad_trace(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    good = save(tmp_path / "good.npz")
    assert esxcore.census([good]).distinct_pages == 3
    path = save(tmp_path / "trace.npz", **change)
    refused(esxcore.DataError, f"{path}: {said}", [good, path])


def test_formats_are_names(tmp_path: Path) -> None:
    path = tmp_path / "zeros"
    path.write_bytes(bytes(8192))
    names = "raw, elf, lime, vmem, vmss, migration, libvirt-save, trace"
    refused(esxcore.ConfigError, f"format: 'vhd'; expected one of {names}", [path], format="vhd")
    said = "the ELF byte order at byte 5 is 0; expected 1 (little endian)"
    refused(esxcore.DataError, f"{path}: {said}", [path], format="elf")
    said = "not a readable npz archive (no zip file); expected an npz archive, as numpy.savez"
    refused(esxcore.DataError, f"{path}: {said} writes it", [path], format="trace")
    assert esxcore.census([path], format="raw").zero_pages == 2


def test_raw_is_read_of_any_bytes_if_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"\x1f\x8b\x08" + GOOD[3:])
    assert esxcore.census([path], format="raw").distinct_pages == 2


ARRAYS: list[tuple[Any, str]] = [
    (PAGE.astype(np.uint16), "uint16 of shape (2, 4096)"),
    (PAGE.astype(np.int8), "int8 of shape (2, 4096)"),
    (PAGE.astype(bool), "bool of shape (2, 4096)"),
    (PAGE.astype(float), "float64 of shape (2, 4096)"),
    (PAGE.ravel(), "uint8 of shape (8192,)"),
    (PAGE[:, :4095], "uint8 of shape (2, 4095)"),
    (PAGE[None], "uint8 of shape (1, 2, 4096)"),
    (PAGE[:0], "uint8 of shape (0, 4096)"),
    (np.array(7, np.uint8), "uint8 of shape ()"),
]


@pytest.mark.parametrize(("array", "found"), ARRAYS, ids=[found for _, found in ARRAYS])
def test_an_array_of_another_type_or_shape(array: Any, found: str) -> None:
    expected = "expected uint8 of shape (pages, 4096), at least one page"
    refused(esxcore.ContentError, f"array[1]: {found}; {expected}", [PAGE, array])


def test_arrays_need_not_lie_in_order() -> None:
    wide = np.zeros((4, 8192), np.uint8)
    wide[:, 4096:] = np.arange(4, dtype=np.uint8)[:, None]
    upward = esxcore.census([wide[:, 4096:], np.asfortranarray(wide[::-2, 4096:])])
    assert (upward.pages, upward.distinct_pages, upward.zero_pages) == (6, 4, 1)
    read_only = PAGE.copy()
    read_only.flags.writeable = False
    assert esxcore.census([read_only]).distinct_pages == 1


LISTS = "expected a list of images"
NAMES = "expected 'none', 'per-vm', or a list of names"
WRONG: dict[str, tuple[type[Exception], str, dict[str, Any]]] = {
    "none": (
        esxcore.ConfigError, "sources: none; expected at least one image", {"sources": []}
    ),
    "text": (esxcore.ArgumentTypeError, f"sources: str; {LISTS}", {"sources": "image"}),
    "bytes": (esxcore.ArgumentTypeError, f"sources: bytes; {LISTS}", {"sources": b"image"}),
    "path": (
        esxcore.ArgumentTypeError, f"sources: PosixPath; {LISTS}", {"sources": Path("image")}
    ),
    "array": (esxcore.ArgumentTypeError, f"sources: one array; {LISTS}", {"sources": PAGE}),
    "None": (esxcore.ArgumentTypeError, f"sources: NoneType; {LISTS}", {"sources": None}),
    "number in the list": (
        esxcore.ArgumentTypeError,
        "sources[1]: int; expected a path or a uint8 array",
        {"sources": [PAGE, 5]},
    ),
    "salt": (esxcore.ConfigError, f"salt: 'all'; {NAMES}", {"salt": "all"}),
    "salt None": (esxcore.ArgumentTypeError, f"salt: NoneType; {NAMES}", {"salt": None}),
    "salt of numbers": (esxcore.ArgumentTypeError, f"salt: 1 is int; {NAMES}", {"salt": [1]}),
    "salts": (
        esxcore.ConfigError,
        "salt: 2 names; expected 1, one for each source",
        {"salt": ["a", "b"]},
    ),
    "no salts": (
        esxcore.ConfigError, "salt: 0 names; expected 1, one for each source", {"salt": []}
    ),
    "verify": (
        esxcore.ConfigError, "verify: 'md5'; expected 'bytes' or 'hash128'", {"verify": "md5"}
    ),
    "threads": (esxcore.ConfigError, "threads: 0; expected 1 to 1024", {"threads": 0}),
    "many threads": (
        esxcore.ConfigError, f"threads: {2**70}; expected 1 to 1024", {"threads": 2**70}
    ),
    "half a thread": (
        esxcore.ArgumentTypeError,
        "threads: 0.5 is float; expected a whole number",
        {"threads": 0.5},
    ),
    "true threads": (
        esxcore.ArgumentTypeError,
        "threads: True is bool; expected a whole number",
        {"threads": True},
    ),
    "seed": (esxcore.ConfigError, f"seed: -1; expected 0 to {2**64 - 1}", {"seed": -1}),
    "large seed": (
        esxcore.ConfigError, f"seed: {2**64}; expected 0 to {2**64 - 1}", {"seed": 2**64}
    ),
    "no seed": (
        esxcore.ArgumentTypeError,
        "seed: None is NoneType; expected a whole number",
        {"seed": None},
    ),
    "progress": (
        esxcore.ArgumentTypeError, "progress: int; expected a function", {"progress": 5}
    ),
    "pid 0": (esxcore.ConfigError, "pid: 0; expected the number of a process", {"pids": [0]}),
    "pid below": (esxcore.ConfigError, "pid: -1; expected the number of a process", {"pids": [-1]}),
    "pid above": (
        esxcore.ConfigError, f"pid: {2**31}; expected the number of a process", {"pids": [2**31]}
    ),
    "pid of text": (
        esxcore.ArgumentTypeError, "pid: '1' is str; expected a whole number", {"pids": ["1"]}
    ),
    "one pid": (
        esxcore.ArgumentTypeError, "pids: int; expected a list of process numbers", {"pids": 1}
    ),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "message", "arguments"), WRONG.values(), ids=WRONG)
def test_a_wrong_argument(kind: type[Exception], message: str, arguments: dict[str, Any]) -> None:
    refused(kind, message, **({"sources": [PAGE]} | arguments))


def test_salts_are_for_sources_or_for_images(tmp_path: Path) -> None:
    two = tmp_path / "two.npz"
    np.savez(two, id=np.array([1, 1]), vm_pages=np.array([1, 1]))
    said = "salt: 1 name; expected 2, one for each source, or 3, one for each image"
    refused(esxcore.ConfigError, said, [two, PAGE], salt=["a"])
    by_source = esxcore.census([two, PAGE], salt=["a", "b"])
    by_image = esxcore.census([two, PAGE], salt=["a", "b", "a"])
    assert (by_source.inter_reclaimed_pages, by_image.inter_reclaimed_pages) == (1, 0)


EDGES: list[dict[str, Any]] = [
    {"threads": 1024},
    {"threads": np.int64(2)},
    {"seed": 2**64 - 1},
    {"seed": np.uint64(3)},
    {"salt": iter(["a"])},
    {"salt": np.array(["a"])},
    {"salt": ("none",)},
    {"sources": iter([PAGE])},
]


@pytest.mark.parametrize("arguments", EDGES, ids=[str(list(edge)) for edge in EDGES])
def test_what_is_just_right(arguments: dict[str, Any]) -> None:
    found = esxcore.census(**({"sources": [PAGE]} | arguments))
    assert found.reclaimed_pages == 1


def test_keys_and_exports(tmp_path: Path) -> None:
    found = esxcore.census([PAGE])
    with pytest.raises(esxcore.ConfigError, match=r"^key: empty; expected a secret$"):
        found.export(tmp_path / "trace.npz", key="")
    with pytest.raises(esxcore.ArgumentTypeError, match=r"^key: int; expected text or bytes$"):
        found.export(tmp_path / "trace.npz", key=5)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "no" / "trace.npz"))):
        found.export(tmp_path / "no" / "trace.npz")
    assert list(tmp_path.iterdir()) == []
