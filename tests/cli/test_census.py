"""``esxcore census``: what it prints, what its options do, and the files it leaves."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import esxcore
from census_images import DB, PNG, WEB, esxcore_census, in_process, write_image
from esxcore.cli.census import command
from esxcore.contents import ContentTrace
from guests import PARTS, ZERO, Guest, count_all

GUESTS = [Guest([token or ZERO for token in tokens]) for tokens in (WEB, DB)]


def as_json(*arguments: str) -> dict[str, Any]:
    done = esxcore_census(*arguments, "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    result = json.loads(done.stdout)
    assert isinstance(result, dict)
    return result


def counts(result: dict[str, Any]) -> dict[str, int]:
    return {name: result[name] for name in count_all(GUESTS)}


def test_the_table_has_a_row_an_image_and_savings_that_add_up(images: Path) -> None:
    write_image("web.raw", [1] * 256 + [0] * 512)
    write_image("db.raw", [1] * 256 + list(range(2, 258)))
    done = esxcore_census("web.raw", "db.raw")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("2 images, every match compared byte by byte; sizes in MiB\n")
    rows = [line.split() for line in done.stdout.splitlines() if "(raw)" in line]
    assert rows == [
        ["web.raw", "(raw)", "3.0", "2.0", "0.0", "3.0", "2.0", "1.0"],
        ["db.raw", "(raw)", "2.0", "0.0", "1.0", "1.0", "0.0", "1.0"],
    ]
    saved = {
        name.strip(): (float(mib), float(share))
        for name, mib, share in re.findall(
            r"^(\w[\w ]+?) {2,}([\d.]+) MiB +([\d.]+)%$", done.stdout, re.MULTILINE
        )
    }
    assert saved == {
        "zero pages": (2.0, 39.9),
        "equal within an image": (2.0, 39.8),
        "equal across images": (0.0, 0.1),
        "sharing saves": (4.0, 79.8),
    }
    parts = [sizes for name, sizes in saved.items() if name != "sharing saves"]
    assert [round(sum(column), 1) for column in zip(*parts, strict=True)] == [4.0, 79.8]
    assert re.search(r"^ 1 web\.raw +1 +1 *$", done.stdout, re.MULTILINE)
    assert re.search(r"^ 2 db\.raw +1 +257 *$", done.stdout, re.MULTILINE)
    assert "all 0x00, first at web.raw page 256, 1 image" in done.stdout


def test_json_is_the_census_and_the_files(images: Path) -> None:
    result = as_json("web.raw", "db.raw", "--export", "x.npz", "--picture", "x.png")
    found = esxcore.census(["web.raw", "db.raw"])
    public = {field.name for field in fields(found) if not field.name.startswith("_")}
    assert set(result) == public | {"files"}
    assert result == found.to_dict() | {"files": {"export": "x.npz", "picture": "x.png"}}
    assert counts(result) == count_all(GUESTS)
    assert sum(result[part] for part in PARTS) == result["reclaimed_pages"]
    assert as_json("web.raw")["files"] == {}


@pytest.mark.parametrize(
    ("salt", "domains"), [("none", (0, 0, 0)), ("per-vm", (0, 1, 2)), ("a,b,a", (0, 1, 0))]
)
def test_salt_says_who_shares(images: Path, salt: str, domains: tuple[int, ...]) -> None:
    result = as_json("web.raw", "db.raw", "web.raw", "--salt", salt)
    guests = [
        Guest(guest.pages, domain)
        for guest, domain in zip([*GUESTS, GUESTS[0]], domains, strict=True)
    ]
    assert counts(result) == count_all(guests)
    assert result["salt"] == (salt.split(",") if "," in salt else salt)
    said = f"; salt {salt};" in esxcore_census("web.raw", "db.raw", "db.raw", "--salt", salt).stdout
    assert said == (salt != "none")


@pytest.mark.parametrize("verify", ["bytes", "hash128"])
def test_both_ways_to_verify_find_the_same(images: Path, verify: str) -> None:
    result = as_json("web.raw", "db.raw", "--verify", verify)
    assert (result["verify"], counts(result)) == (verify, count_all(GUESTS))


@pytest.mark.parametrize("threads", ["1", "3", "1024"])
def test_threads_do_not_change_the_result(images: Path, threads: str) -> None:
    plain = as_json("web.raw", "db.raw")
    assert as_json("web.raw", "db.raw", "--threads", threads) == plain


def test_a_format_takes_the_place_of_what_the_bytes_say(images: Path) -> None:
    Path("odd.raw").write_bytes(b"\x7fELF" + bytes(4092))
    assert esxcore_census("odd.raw").exit_code == 2
    result = as_json("odd.raw", "--format", "raw")
    assert (result["pages"], result["images"][0]["facts"]) == (1, {"format": "raw"})


def test_a_census_of_the_export_counts_the_same(images: Path) -> None:
    first = as_json("web.raw", "db.raw", "--export", "site.npz")
    again = as_json("site.npz")
    assert counts(again) == counts(first)
    assert again["common_contents"] == first["common_contents"]
    assert [image["path"] for image in again["images"]] == ["site.npz[0]", "site.npz[1]"]
    assert (again["verify"], again["compression"]) == ("given", None)
    assert ContentTrace.load("site.npz").digests is None


def test_a_key_is_text_a_file_or_from_the_environment(images: Path) -> None:
    Path("secret").write_bytes(b"sesame\n")
    for name, key in (("a", "sesame"), ("b", "@secret"), ("c", "other")):
        as_json("web.raw", "--export", f"{name}.npz", "--key", key)
    done = in_process("web.raw", "--export", "d.npz", ESXCORE_KEY="sesame")
    assert done.returncode == 0
    text, file, other, variable = (Path(f"{name}.npz").read_bytes() for name in "abcd")
    assert text == file == variable != other
    esxcore.census(["web.raw"]).export("e.npz", key="sesame")
    assert Path("e.npz").read_bytes() == text


def test_traces_of_one_key_are_counted_together(images: Path) -> None:
    for name in ("web", "db"):
        as_json(f"{name}.raw", "--export", f"{name}.npz", "--key", "sesame")
    together = as_json("web.npz", "db.npz")
    assert counts(together) == count_all(GUESTS)


@pytest.mark.parametrize("key", [b"\xff\xfe", b"k" * 100_000, "\u9375".encode()])
def test_a_key_may_be_any_bytes(images: Path, key: bytes) -> None:
    done = in_process("web.raw", "--export", "a.npz", "--key", key)
    assert (done.returncode, done.stderr) == (0, b"")
    esxcore.census(["web.raw"]).export("b.npz", key=key)
    assert Path("a.npz").read_bytes() == Path("b.npz").read_bytes()


def test_the_variable_alone_asks_for_nothing(images: Path) -> None:
    done = in_process("web.raw", ESXCORE_KEY="sesame")
    assert (done.returncode, done.stderr) == (0, b"")
    assert set(os.listdir()) == {"web.raw", "db.raw"}


def test_the_picture_is_a_png(images: Path) -> None:
    done = in_process("web.raw", "db.raw", "--picture", "x.png", MPLBACKEND="nonsense")
    assert (done.returncode, done.stderr) == (0, b"")
    assert Path("x.png").read_bytes().startswith(PNG)
    assert done.stdout.endswith(b"picture:   x.png\n")


def test_a_running_process_is_counted(images: Path) -> None:
    sleeper = subprocess.Popen(
        [sys.executable, "-c", "block = bytes([7]) * 2**22; print(1, flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert sleeper.stdout is not None
        sleeper.stdout.readline()
        result = as_json("--pid", str(sleeper.pid), "web.raw")
        printed = esxcore_census("--pid", str(sleeper.pid)).stdout
    finally:
        sleeper.communicate(b"\n")
    web, process = result["images"]
    assert (web["path"], process["path"]) == ("web.raw", f"pid {sleeper.pid}")
    assert process["facts"]["format"] == "process"
    assert process["facts"]["absent_pages"] > 0
    sevens = [content for content in result["top"] if content["begins_with"] == "07" * 16]
    assert [content["is_uniform"] for content in sevens] == [True]
    assert 1000 <= sevens[0]["pages"] <= 1024 + 8
    assert f"pid {sleeper.pid}: present pages; left out " in printed


def test_names_are_shown_on_one_line_and_as_text(images: Path) -> None:
    odd = [b"new\nline", b"\xff\xfe", b"\x1b[31mred", b"[red]x"]
    for name in odd:
        write_image(os.fsdecode(name), WEB)
    done = in_process(*odd, "--picture", "x.png", "--export", "x.npz")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\x1b" not in done.stdout
    shown = done.stdout.decode()
    for name in ("new\\nline", "\\udcff\\udcfe", "\\x1b[31mred", "[red]x"):
        assert re.search(rf"^ {re.escape(name)} \(raw\) +0\.0 ", shown, re.MULTILINE), name
    result = json.loads(in_process(*odd, "--json").stdout)
    assert [os.fsencode(image["path"]) for image in result["images"]] == odd


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii"},
        {"COLUMNS": "20", "TERM": "dumb"},
        {"PYTHONOPTIMIZE": "2"},
    ],
)
def test_the_numbers_do_not_depend_on_the_surroundings(
    images: Path, environment: dict[str, str]
) -> None:
    plain = in_process("web.raw", "db.raw").stdout.decode()
    done = in_process("web.raw", "db.raw", **environment)
    assert (done.returncode, done.stderr) == (0, b"")
    numbers = re.compile(r"[\d.]+%?")
    assert numbers.findall(done.stdout.decode()) == numbers.findall(plain)


def test_many_images_have_no_matrix_of_numbers(images: Path) -> None:
    done = esxcore_census(*["web.raw"] * 13)
    assert "Contents in common: 13 images; see --json or --picture." in done.stdout
    assert len(as_json(*["web.raw"] * 13)["common_contents"]) == 13


def test_more_images_than_files_may_be_open(images: Path) -> None:
    few = "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (64, 4096)); "
    script = few + "from esxcore.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "census", "--json", *["web.raw"] * 200],
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["pages"] == 200 * len(WEB)


def test_holes_cost_nothing_and_count_as_zero(images: Path) -> None:
    with Path("holes.raw").open("wb") as file:
        file.truncate(2**36)
    result = as_json("holes.raw")
    assert (result["pages"], result["zero_pages"]) == (2**24, 2**24)
    assert result["distinct_pages"] == 1


def test_a_trace_says_what_a_balloon_would_return(images: Path) -> None:
    np.savez("x.npz", id=[0, 1, 1, 2], vm_pages=[4], kind=np.array([3, 8, 8, 3], np.uint8))
    printed = esxcore_census("x.npz").stdout
    assert "A balloon would return 0.0 MiB that guests have free" in printed
    assert re.search(r"^ file +0\.0 +0\.0 +0\.0", printed, re.MULTILINE)
    assert as_json("x.npz")["balloon"]["free_pages"] == 2


def test_progress_is_shown_on_a_terminal_only(images: Path) -> None:
    shown, terminal = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "esxcore", "census", "web.raw", "--json"],
        stdout=subprocess.PIPE,
        stderr=terminal,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
        check=True,
    )
    os.close(terminal)
    progress = os.read(shown, 65_536).decode()
    os.close(shown)
    assert "24.0/24.0 KiB" in progress
    assert json.loads(done.stdout)["pages"] == len(WEB)
    assert in_process("web.raw", TERM="xterm").stderr == b""


def test_help_shows_examples_and_every_option(images: Path) -> None:
    text = esxcore_census("--help").stdout
    assert "  esxcore census *.raw --salt web,web,db --json" in text
    assert "ESXCORE_KEY" in text
    for option in command.params:
        assert all(name in text for name in option.opts if name.startswith("--"))
