"""``esxcore sweep``: what it prints and writes, and what it refuses, in one line."""

from __future__ import annotations

import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import polars
import pytest

import sweeps
from esxcore import SweepResult
from esxcore.cli import main
from esxcore.cli.sweep import _summary, _time_left

STUDY = """
scenario = "lab.toml"
policies = ["esx2002", "equal"]
seeds = 2

[grid]
"policy.tax_rate" = [0, 0.9]
"""
SLOW = """
scenario = "lab.toml"
policies = ["harm:Slow"]
seeds = 6

[grid]
policy.tax_rate = [0, 0.9]
policy.pause = [0.1]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run in, with two studies."""
    for name, text in (
        ("lab.toml", sweeps.LAB),
        ("study.toml", STUDY),
        ("slow.toml", SLOW),
        ("harm.py", sweeps.HARM),
    ):
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Told(NamedTuple):
    """What the command said."""

    code: int
    out: str
    err: str


@pytest.fixture
def told(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Told]:
    """The command, called in this process."""

    def call(*arguments: str) -> Told:
        with pytest.raises(SystemExit) as caught:
            main.main(["sweep", *arguments])
        assert isinstance(caught.value.code, int)
        return Told(caught.value.code, *capsys.readouterr())

    return call


@pytest.fixture
def refused(told: Callable[..., Told]) -> Callable[..., str]:
    """The line with which the command refuses something."""

    def call(*arguments: str) -> str:
        done = told(*arguments)
        assert (done.code, done.out) == (2, "")
        *sizes, line = done.err.splitlines()
        assert all(" run" in size for size in sizes)
        assert line.startswith("esxcore: error: ")
        return line.removeprefix("esxcore: error: ")

    return call


def test_a_study_is_run_resumed_and_saved(
    folder: Path, told: Callable[..., Told], refused: Callable[..., str]
) -> None:
    done = told("study.toml", "--jobs", "1", "--tables", "parquet")
    assert done.code == 0
    assert done.err == ("study.toml: 8 runs: 2 of policy.tax_rate x 2 policies x 2 seeds\n")
    lines = done.out.splitlines()
    assert lines[0] == "study: 8 rows; means over 2 seeds, ± 95 %"
    assert "policy.tax_rate = 0.9, esx2002" in done.out
    assert [line.split()[0] for line in lines[-3:]] == ["rows:", "picture:", "ledger:"]
    out = folder / "esxcore-sweep"
    assert (out / "sweep.png").read_bytes().startswith(b"\x89PNG")
    rows = polars.read_parquet(out / "sweep.parquet")
    assert rows["policy"].to_list() == ["esx2002", "esx2002", "equal", "equal"] * 2
    with closing(sqlite3.connect(out / "sweep.sqlite")) as ledger:
        assert ledger.execute("SELECT count(*) FROM rows").fetchone() == (6,)  # equal has no tax
    before = (out / "sweep.sqlite").read_bytes()

    assert "has 6 rows of this study already; resume it" in refused("study.toml", "--jobs", "1")
    assert (out / "sweep.sqlite").read_bytes() == before
    again = told("study.toml", "--resume", "--json")  # which needs no engine
    assert again.code == 0
    said = json.loads(again.out)
    assert said["axes"] == {
        "policy.tax_rate": [0, 0.9],
        "policy": ["esx2002", "equal"],
        "seed": [0, 1],
    }
    assert [row["ops_per_s"] for row in said["rows"]] == rows["ops_per_s"].to_list()
    assert set(said["files"]) == {"rows", "picture", "ledger"}
    # Another version of the study is another study.
    (folder / "lab.toml").write_text(sweeps.LAB.replace("96MiB", "95MiB"))
    assert "of another study" in refused("study.toml", "--resume", "--jobs", "1")
    assert (out / "sweep.sqlite").read_bytes() == before


def test_a_study_may_hold_its_scenario_and_name_its_ledger(
    folder: Path, told: Callable[..., Told]
) -> None:
    (folder / "one.toml").write_text(
        "[scenario.host]\nmemory = '64MiB'\n[scenario.run]\nduration = '2s'\n"
        "[[scenario.vms]]\nname = 'web'\nmax = '16MiB'\n"
    )
    done = told("one.toml", "--jobs", "1", "--out", "out", "--ledger", "rows.db")
    assert done.code == 0
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["sweep.csv"]
    assert (folder / "rows.db").exists()
    assert "esx2002" in done.out


BAD = {
    "no file": ("nowhere.toml", None, "nowhere.toml: cannot be read"),
    "no TOML": ("bad.toml", "scenario = ", "bad.toml: not valid TOML"),
    "unknown key": (
        "bad.toml",
        'scenarios = "lab.toml"',
        'key scenarios; did you mean "scenario"?',
    ),
    "no scenario": ("bad.toml", "seeds = 2", "scenario is missing"),
    "scenario": ("bad.toml", "scenario = 3", "scenario is 3; expected a path or a table"),
    "scenario file": ("bad.toml", 'scenario = "no.toml"', "no.toml: cannot be read"),
    "grid": ("bad.toml", 'scenario = "lab.toml"\ngrid = 3', "bad.toml: grid is 3"),
    "values": ("bad.toml", 'scenario = "lab.toml"\ngrid.host.memory = 3', "host.memory is 3"),
    "field": ("bad.toml", 'scenario = "lab.toml"\ngrid.host.memry = ["1MiB"]', "memry"),
    "policy": ("bad.toml", 'scenario = "lab.toml"\npolicies = ["esx2003"]', "did you mean"),
    "policies": ("bad.toml", 'scenario = "lab.toml"\npolicies = "equal"', "bad.toml: policies"),
    "seeds": ("bad.toml", 'scenario = "lab.toml"\nseeds = "two"', "bad.toml: seeds"),
    "explodes": (
        "bad.toml",
        'scenario = "lab.toml"\nseeds = 10001',
        "10,001 runs: 1 policy x 10,001 seeds; that is above the limit of 10,000",
    ),
}


@pytest.mark.parametrize(("name", "text", "problem"), BAD.values(), ids=BAD)
def test_bad_studies_are_one_line(
    folder: Path, refused: Callable[..., str], name: str, text: str | None, problem: str
) -> None:
    if text is not None:
        (folder / name).write_text(text)
    assert problem in refused(name, "--jobs", "1")
    assert not (folder / "esxcore-sweep").exists()


def test_bad_options_are_one_line(folder: Path, refused: Callable[..., str]) -> None:
    assert "loky has none" in refused("study.toml", "--scheduler", "tcp://x:1")
    assert "--ledger" in refused("study.toml", "--jobs", "1", "--ledger", "study.toml")
    assert "no ledger" in refused("study.toml", "--jobs", "1", "--ledger", "lab.toml", "--resume")
    assert (folder / "lab.toml").read_text() == sweeps.LAB
    begin = time.monotonic()
    line = refused("study.toml", "--engine", "dask", "--scheduler", "tcp://127.0.0.1:9")
    assert line.startswith("scheduler tcp://127.0.0.1:9: cannot be reached")
    assert time.monotonic() - begin < 30  # six seconds to wait, the rest is importing


@pytest.mark.parametrize(
    ("engine", "times"),
    [
        (["--jobs", "1"], 1),
        (["--jobs", "2"], 1),
        (["--jobs", "2"], 3),
        (["--jobs", "2", "--engine", "dask"], 1),
        (["--jobs", "2", "--engine", "dask"], 3),
    ],
)
def test_ctrl_c_keeps_what_is_done(folder: Path, engine: list[str], times: int) -> None:
    """Sent to the whole group, workers and all, as a terminal does; once or impatiently."""
    path = folder / "esxcore-sweep" / "sweep.sqlite"
    command = [sys.executable, "-m", "esxcore", "sweep", "slow.toml", *engine]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        sweeps.wait_for_rows(path, 2, process)
        for _ in range(times):
            os.killpg(process.pid, signal.SIGINT)
            time.sleep(0.1 if times > 1 else 0)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert len(err.splitlines()) == 2, err
    line = err.splitlines()[1]
    done = int(line.split("; ")[1].split()[0])
    assert line == (
        f"esxcore: interrupted; {done} of 12 rows are in esxcore-sweep/sweep.sqlite:"
        " the same command with --resume goes on"
    )
    assert 2 <= done < 12
    with closing(sqlite3.connect(path)) as ledger:
        assert ledger.execute("SELECT count(*) FROM rows").fetchone() == (done,)


def test_time_left_is_told_by_what_was_done_now() -> None:
    assert _time_left(10, 0, 5) == ""
    assert _time_left(10, 5, 0) == ""
    assert _time_left(10, 2, 6) == "0:00:30 left"
    assert _time_left(60, 1, 61) == "1:01:00 left"


def test_json_has_no_word_for_what_is_no_number() -> None:
    axes = {"policy": ("equal",), "seed": (0, 1, 2)}
    rows = ({"a": math.inf}, {"a": math.nan}, {"a": 0.5})
    result = SweepResult(axes, rows, {"esxcore_version": "1", "study": "x", "seed": "0"})
    said = _summary(result, {"rows": Path("rows.csv")})
    assert [row["a"] for row in said["rows"]] == [None, None, 0.5]
    assert json.loads(json.dumps(said, allow_nan=False)) == said
