"""``esxcore census`` on mistakes: one line, an exit code, nothing written and nothing lost."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from census_images import DB, WEB, esxcore_census, in_process, write_image
from runs import names

FILES = ("--export", "x.npz", "--picture", "x.png")


def lying_elf() -> None:
    """A core of 64 bits whose one segment would have more bytes than the file."""
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = ident + struct.pack("<HHIQQQIHHHHHH", 4, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 4, 4096, 0, 0, 2**40, 2**40, 4096)
    Path("bad").write_bytes((header + segment).ljust(8192, b"\0"))


def other_archive() -> None:
    with Path("bad").open("wb") as file:
        np.savez(file, a=[1])


BAD_SOURCES: dict[str, tuple[Callable[[], object], str]] = {
    "missing": (lambda: None, "bad: there is no such file"),
    "directory": (lambda: os.mkdir("bad"), "bad: it is a directory; expected a memory image"),
    "empty": (lambda: Path("bad").touch(), "bad: the file is empty"),
    "truncated": (
        lambda: Path("bad").write_bytes(bytes(5000)),
        "bad: the size is 5000 bytes; expected a multiple of 4096",
    ),
    "lying ELF": (lying_elf, "bad: truncated: a segment at byte 4096 needs 1099511627776 bytes"),
    "pipe": (lambda: os.mkfifo("bad"), "bad: it is a pipe; expected a regular file"),
    "device": (lambda: os.symlink("/dev/zero", "bad"), "bad: it is a device; expected a regular"),
    "process file": (lambda: os.symlink("/proc/self/maps", "bad"), "bad: the file is empty"),
    "links in a circle": (lambda: os.symlink("bad", "bad"), "bad: it cannot be opened: Too many"),
    "broken archive": (
        lambda: Path("bad").write_bytes(b"PK\x03\x04" + bytes(4092)),
        "bad: not a readable npz archive",
    ),
    "other archive": (
        other_archive,
        "bad: array 'id' is missing; the file has a",
    ),
}


def identities() -> dict[Path, tuple[int, ...]]:
    """What tells whether anything in the folder was made, replaced or changed."""
    found = ((path, path.lstat()) for path in Path().rglob("*"))
    return {path: (about.st_ino, about.st_mode, about.st_mtime_ns) for path, about in found}


def fails(said: str, *arguments: str) -> None:
    """Exit code 2, one line that says it, and everything in the folder as it was."""
    before = identities()
    done = esxcore_census(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("esxcore: error: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert identities() == before


@pytest.mark.parametrize("name", BAD_SOURCES)
def test_the_bad_one_of_many_is_named(images: Path, name: str) -> None:
    make, said = BAD_SOURCES[name]
    make()
    fails(f"error: {said}", "web.raw", "bad", "db.raw", *FILES)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing argument 'SOURCE...' or option '--pid'. See 'esxcore census --help'."),
        ([""], "'' is empty; expected a path."),
        (["web.raw", "--key", "k"], "--key needs --export: it hashes what is exported."),
        (["web.raw", "--format", "zip"], "format: 'zip'; expected one of raw, elf, "),
        (["web.raw", "--format", "elf"], "web.raw: "),
        (["web.raw", "--verify", "no"], "'no' is not one of 'bytes', 'hash128'"),
        (["web.raw", "db.raw", "--salt", "x"], "salt: 1 name; expected 2, one for each source"),
        (["web.raw", "--salt", "x,y"], "salt: 2 names; expected 1, one for each source"),
        (["web.raw", "--salt", ""], "salt: an empty name; expected 'none', 'per-vm', or a list"),
        (["web.raw", "db.raw", "--salt", "x,"], "salt: an empty name"),
        (["web.raw", "--threads", "0"], "0 is not in the range x>=1"),
        (["web.raw", "--threads", "nan"], "'nan' is not a valid integer"),
        (["web.raw", "--threads", "1000000"], "threads: 1000000; expected 1 to 1024"),
        (["web.raw", "--seed", str(2**64)], "expected 0 to 18446744073709551615"),
        (["--pid", "0"], "pid: 0; expected the number of a process"),
        (["--pid", "-1"], "pid: -1; expected the number of a process"),
        (["--pid", str(2**31 - 1)], "process 2147483647: there is no such process"),
        (["--pid", str(2**70)], f"pid: {2**70}; expected the number of a process"),
    ],
)
def test_a_wrong_argument_is_named(images: Path, arguments: list[str], said: str) -> None:
    fails(said, *arguments, *(FILES if arguments[1:2] != ["--key"] else ()))


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("", "key: empty; expected a secret"),
        ("@", "--key @: cannot be read (No such file or directory)"),
        ("@none", "--key @none: cannot be read (No such file or directory)"),
        ("@folder", "--key @folder: cannot be read (Is a directory)"),
        ("@blank", "key: empty; expected a secret"),
        ("@/dev/zero", "--key @/dev/zero: more than 1048576 bytes; not a secret"),
        ("@a\0b", "--key @a\\x00b: cannot be read (embedded null byte)"),
    ],
)
def test_a_key_that_is_none_is_said(images: Path, key: str, said: str) -> None:
    Path("folder").mkdir()
    Path("blank").write_bytes(b" \n")
    fails(said, "web.raw", *FILES, "--key", key)


def test_a_key_for_a_trace_is_refused(images: Path) -> None:
    np.savez("t.npz", id=[0, 1], vm_pages=[2])
    fails("key: an image is a trace, whose bytes are not known", "t.npz", *FILES, "--key", "k")


@pytest.mark.parametrize("option", ["--export", "--picture"])
@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("web.png", "it is a source, which would be lost"),
        ("link.png", "it is a source, which would be lost"),
        ("folder.png", "it is a folder; expected the name of a file"),
        ("device.png", "it is a device or pipe; expected the name of a file"),
        ("pipe.png", "it is a device or pipe; expected the name of a file"),
        ("none/x.png", "there is no folder none"),
        ("web.raw/x.png", "web.raw is not a folder"),
    ],
)
def test_what_must_not_be_replaced_is_kept(
    images: Path, option: str, target: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image("web.png", WEB)
    Path("link.png").hardlink_to("web.png")
    Path("folder.png").mkdir()
    Path("device.png").symlink_to("/dev/null")
    os.mkfifo("pipe.png")
    monkeypatch.setattr("esxcore.counting.census", None)  # it is said before the work
    other = {"--export": "--picture", "--picture": "--export"}[option]
    fails(f"{option} {target}: {said}", "web.png", option, target, other, "other.png")


def test_one_file_cannot_be_both(images: Path) -> None:
    said = "--export and --picture: the same file; expected two"
    fails(said, "web.raw", "--export", "x.png", "--picture", "./x.png")


def test_a_picture_is_called_what_it_is(images: Path) -> None:
    said = "--picture x.svg: expected a name that ends in .png"
    fails(said, "web.raw", "--picture", "x.svg", "--export", "x.npz")


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    monkeypatch.setattr("esxcore.counting.census", None)
    fails("--export x.npz: . cannot be written to", "web.raw", *FILES)


def test_a_name_as_long_as_the_system_allows_will_do(images: Path) -> None:
    assert esxcore_census("web.raw", "--export", "n" * 255).exit_code == 0
    fails(f"{'n' * 256}: File name too long", "web.raw", "--export", "n" * 256)


def test_a_full_disk_leaves_no_file(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    fails("x.npz: No space left on device", "web.raw", *FILES)


NO_SPACE = Path("/dev/full")


@pytest.mark.skipif(not NO_SPACE.exists(), reason="the system has no device that is always full")
@pytest.mark.parametrize("how", [(), ("--json",)])
def test_what_cannot_be_printed_leaves_no_file(images: Path, how: tuple[str, ...]) -> None:
    before = names(images)
    command = [sys.executable, "-m", "esxcore", "census", "web.raw", *FILES, *how]
    with NO_SPACE.open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
        mute = subprocess.run(command, stdout=full, stderr=full, check=False)
    assert done.returncode == mute.returncode == 2
    assert done.stderr == b"esxcore: error: standard output: No space left on device\n"
    assert names(images) == before


def test_a_reader_that_leaves_early_takes_no_file_with_it(images: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "esxcore", "census", "web.raw", *FILES]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")
    assert names(images) == {"web.raw", "db.raw", "x.npz", "x.png"}


CHANGES = """
import os, sys
from esxcore import _core, counting

class Contents:
    def __getattr__(self, name):
        return getattr(_core.Contents, name)

    def take(self, *arguments):
        os.truncate("web.raw", 4096)
        os.remove("db.raw")
        with open("more.raw", "ab") as file:
            file.write(bytes(4096))
        return _core.Contents.take(*arguments)

class Core:
    Contents = Contents()
    def __getattr__(self, name):
        return getattr(_core, name)

counting._core = Core()
from esxcore.cli import main
main(sys.argv[1:], prog_name="esxcore")
"""


def test_files_that_change_meanwhile(images: Path) -> None:
    """A shorter one is an error; a longer or removed one is counted as it was when opened."""
    write_image("more.raw", DB)
    command = [sys.executable, "-c", CHANGES, "census", "--json"]
    done = subprocess.run([*command, "more.raw", "db.raw"], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b'{"pages": 10,' in done.stdout
    write_image("db.raw", DB)
    write_image("web.raw", WEB)
    done = subprocess.run([*command, "db.raw", "web.raw", *FILES], capture_output=True, check=False)
    said = rb"esxcore: error: web\.raw: truncated while it was read: it had 24576 bytes[^\n]*\n"
    assert (done.returncode, done.stdout) == (2, b"")
    assert re.fullmatch(said, done.stderr)
    assert names(images) == {"web.raw", "more.raw"}


INTERRUPTED = """
import os, signal, sys
import esxcore.{module} as module

def interrupted(*_, **__):
    os.kill(os.getpid(), signal.SIGINT)
    raise AssertionError("Ctrl-C did nothing")

module.{name} = interrupted
from esxcore.cli import main
main(sys.argv[1:], prog_name="esxcore")
"""


@pytest.mark.parametrize(
    ("module", "name"),
    [("counting", "open_images"), ("counting", "_count"), ("plot", "draw_census")],
)
def test_ctrl_c_is_one_line_and_leaves_nothing(images: Path, module: str, name: str) -> None:
    script = INTERRUPTED.format(module=module, name=name)
    done = subprocess.run(
        [sys.executable, "-c", script, "census", "web.raw", *FILES],
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (130, b"")
    assert done.stderr == b"esxcore: interrupted\n"
    assert names(images) == {"web.raw", "db.raw"}


def test_ctrl_c_while_writing_leaves_no_file(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupted)
    done = esxcore_census("web.raw", *FILES)
    assert (done.exit_code, done.stdout, done.stderr) == (130, "", "esxcore: interrupted\n")
    assert names(images) == {"web.raw", "db.raw"}


def test_too_little_memory_is_one_line(images: Path) -> None:
    """10 TiB of holes need an index of 10 GiB."""
    with Path("holes.raw").open("wb") as file:
        try:
            file.truncate(10 * 2**40)
        except OSError:
            pytest.skip("the file system has no files of 10 TiB")
    limited = "import resource as r; r.setrlimit(r.RLIMIT_AS, (3 * 2**30,) * 2); "
    script = limited + "from esxcore.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "census", "holes.raw", *FILES],
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, b"")
    said = rb"esxcore: error: [^\n]*no room for the pages or their index[^\n]*\n"
    assert re.fullmatch(said, done.stderr)
    assert names(images) == {"web.raw", "db.raw", "holes.raw"}


def test_an_error_names_odd_files_on_one_line(images: Path) -> None:
    done = in_process(b"no\nne\x1b[31m\xff")
    assert done.returncode == 2
    assert done.stderr == "esxcore: error: no ne\\x1b[31m\ufffd: there is no such file\n".encode()
