"""``esxcore run`` when it fails or is interrupted: one line, an exit code, nothing left behind."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import esxcore
from esxcore.host import Host
from runs import TWINS, esxcore_run, names


def bad_scenario(change: Callable[[str], str]) -> Callable[[Path], list[str]]:
    def make(source: Path) -> list[str]:
        (source / "bad.toml").write_text(change(TWINS))
        return ["../in/bad.toml"]

    return make


def bad_trace(**arrays: Any) -> Callable[[Path], list[str]]:
    def make(source: Path) -> list[str]:
        good = {"id": np.arange(1024), "vm_pages": np.array([1024])}
        np.savez(source / "twins.npz", **(good | arrays))
        return ["../in/twins.toml"]

    return make


def corrupt_trace(source: Path) -> list[str]:
    whole = (source / "twins.npz").read_bytes()
    (source / "twins.npz").write_bytes(whole[: len(whole) // 2])
    return ["../in/twins.toml"]


def out_is_a_file(source: Path) -> list[str]:
    return ["../in/twins.toml", "--out", "../in/twins.npz/deeper"]


FAILURES: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    "no such scenario": (lambda source: ["none.toml"], "none.toml: cannot be read (No such file"),
    "no TOML": (bad_scenario(lambda text: "[host\n"), "in/bad.toml: not valid TOML"),
    "unknown key": (
        bad_scenario(lambda text: text.replace("memory", "memroy")),
        'in/bad.toml: unknown key host.memroy; did you mean "memory"? (and 1 more error)',
    ),
    "no unit": (
        bad_scenario(lambda text: text.replace('"16MiB"', "4096")),
        "in/bad.toml: host.memory is 4096; expected a size with its unit",
    ),
    "two of one name": (
        bad_scenario(lambda text: text + '[[vms]]\nname = "twin-1"\nmax = "4MiB"\n'),
        'in/bad.toml: vms: 2 of them are named "twin-1"',
    ),
    "missing data": (
        bad_scenario(lambda text: text.replace("twins.npz", "none.npz")),
        "in/none.npz: no such file; expected an npz archive",
    ),
    "unknown packaged data": (
        bad_scenario(lambda text: text.replace("twins.npz", "builtin:fleet_b")),
        "builtin:fleet_b: no such data in the package; did you mean builtin:fleet_a?",
    ),
    "corrupt data": (corrupt_trace, "in/twins.npz: not a readable npz archive"),
    "wrong dtype": (
        bad_trace(id=np.linspace(0, 1, 1024)),
        "in/twins.npz: array 'id' is float64 with 1 axes; expected integer with 1 axes",
    ),
    "wrong shape": (
        bad_trace(vm_pages=np.array([1000])),
        "in/twins.npz: array 'id' has 1024 pages; expected 1000",
    ),
    "token too large": (
        bad_trace(id=np.full(1024, 2**63, np.uint64)),
        "in/twins.npz: array 'id' holds 9223372036854775808; expected 0 to 2**63 - 1",
    ),
    "record of a larger VM": (
        bad_scenario(
            lambda text: text.replace(
                "count = 2", 'workload = { activity = "builtin:active_phases" }'
            )
        ),
        "in/bad.toml: vms[0].workload.activity is",
    ),
    "too little memory": (
        bad_scenario(lambda text: text.replace('"16MiB"', '"6MiB"')),
        'in/bad.toml: host.memory is "6MiB"; expected room for the contents of vms[0] (VM "twin-2"',
    ),
    "ids are spans of time": (
        bad_trace(id=np.arange(1024).astype("m8[s]")),
        "in/twins.npz: array 'id' is timedelta64[s] with 1 axes; expected integer",
    ),
    "out is a file": (out_is_a_file, "--out ../in/twins.npz/deeper: "),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_one_line_and_leaves_nothing(folder: Path, name: str) -> None:
    make, said = FAILURES[name]
    arguments = make(folder.parent / "in")
    before = names(folder.parent)
    done = esxcore_run(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("esxcore: error: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert names(folder.parent) == before


def test_a_failure_has_no_traceback_in_the_shell_either(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "esxcore", "run", "none.toml"],
        capture_output=True,
        text=True,
        check=False,
    )
    said = "esxcore: error: none.toml: cannot be read (No such file or directory)\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    monkeypatch.setattr(Host, "advance", None)
    done = esxcore_run("../in/twins.toml", "--out", "new")
    assert done.exit_code == 2
    assert done.stderr == f"esxcore: error: --out new: {folder} cannot be written to\n"


def test_a_full_disk_is_one_line_and_leaves_no_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    done = esxcore_run("../in/twins.toml", "--out", "new/er")
    assert done.exit_code == 2
    said = "esxcore: error: new/er/recording.npz: No space left on device\n"
    assert done.stderr == said
    assert names(folder) == set()


def test_a_folder_in_the_way_of_a_file_is_named(folder: Path) -> None:
    (folder / "esxcore-run/recording.npz").mkdir(parents=True)
    done = esxcore_run("../in/twins.toml")
    assert done.exit_code == 2
    assert done.stderr == "esxcore: error: esxcore-run/recording.npz: Is a directory\n"
    assert names(folder) == {"esxcore-run", "esxcore-run/recording.npz"}


INTERRUPTED = """
import os, signal, sys
from esxcore.simulation import Simulation
from esxcore.cli import main

advance = Simulation.advance

def interrupted(simulation, seconds):
    if simulation.host.now == 3:
        os.kill(os.getpid(), signal.SIGINT)
    return advance(simulation, seconds)

Simulation.advance = interrupted
# more
main(sys.argv[1:], prog_name="esxcore")
"""


def interrupted_run(at: int, more: str = "") -> subprocess.CompletedProcess[str]:
    """A run that gets Ctrl-C at a second of virtual time."""
    script = INTERRUPTED.replace("== 3", f"== {at}").replace("# more", more)
    return subprocess.run(
        [sys.executable, "-c", script, "run", "../in/twins.toml"],
        capture_output=True,
        text=True,
        check=False,
    )


def test_ctrl_c_ends_with_one_line_and_saves_what_there_is(folder: Path) -> None:
    done = interrupted_run(3)
    assert done.returncode == 130
    assert re.fullmatch(r"esxcore: interrupted after 3 s of \d+ s, which are saved\n", done.stderr)
    saved = esxcore.Recording.load(folder / "esxcore-run/recording.npz")
    assert saved.time_s.tolist() == [0, 1, 2, 3]
    assert "recording.npz" in done.stdout


AGAIN = """
fsync = os.fsync

def impatient(descriptor):
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
    return fsync(descriptor)

os.fsync = impatient
"""
SAVING = "esxcore: saving what was recorded; Ctrl-C is answered when that is done"


@pytest.mark.parametrize(
    ("at", "samples", "said"),
    [
        (3, 4, r"esxcore: interrupted after 3 s of \d+ s, which are saved"),
        (-1, 7, "esxcore: interrupted; the whole run is saved"),
    ],
    ids=["twice", "only then"],
)
def test_ctrl_c_while_saving_is_answered_when_that_is_done(
    folder: Path, at: int, samples: int, said: str
) -> None:
    done = interrupted_run(at, AGAIN)
    assert done.returncode == 130
    assert re.fullmatch(f"{re.escape(SAVING)}\n{said}\n", done.stderr)
    saved = esxcore.Recording.load(folder / "esxcore-run/recording.npz")
    assert len(saved.time_s) == samples
    assert (folder / "esxcore-run/sharing.png").exists()
    assert "recording.npz" in done.stdout


def test_ctrl_c_before_anything_is_recorded_leaves_no_file(folder: Path) -> None:
    done = interrupted_run(0)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "esxcore: interrupted\n")
    assert names(folder) == set()


def test_ctrl_c_while_writing_leaves_no_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupted)
    done = esxcore_run("../in/twins.toml")
    assert (done.exit_code, done.stdout, done.stderr) == (130, "", "esxcore: interrupted\n")
    assert names(folder) == set()
