"""``esxcore run``: the packaged example, its options, and what it leaves behind."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from esxcore.datafile import packaged
from esxcore.recording import Recording
from esxcore.scenario import Scenario
from esxcore.tables import FILE_KINDS
from runs import TWINS, esxcore_run, names

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Where the packaged example ran as a user runs it, and what it printed."""
    folder = tmp_path_factory.mktemp("example")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "esxcore", "run"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder, done.stdout


def test_the_example_leaves_a_recording_and_a_picture(example: tuple[Path, str]) -> None:
    folder, printed = example
    assert names(folder) == {
        "esxcore-run",
        "esxcore-run/recording.npz",
        "esxcore-run/sharing.png",
    }
    assert (folder / "esxcore-run/sharing.png").read_bytes().startswith(PNG)
    assert re.search(r"^recording: +esxcore-run/recording\.npz$", printed, re.MULTILINE)
    assert re.search(r"^picture: +esxcore-run/sharing\.png$", printed, re.MULTILINE)


def test_the_example_is_the_packaged_scenario(example: tuple[Path, str]) -> None:
    recording = Recording.load(example[0] / "esxcore-run/recording.npz")
    scenario = Scenario.builtin()
    assert recording.scenario == scenario.to_toml()
    assert recording.seed == scenario.host.seed
    assert tuple(recording.vm_names) == scenario.vm_names()
    assert recording.time_s[-1] == scenario.run.duration_s


def test_the_example_finds_what_the_contents_allow(
    example: tuple[Path, str], fleet_truth: dict[str, Any]
) -> None:
    recording = Recording.load(example[0] / "esxcore-run/recording.npz")
    assert recording.census["reclaimed_pages"][0] == fleet_truth["all"]["reclaimed"]
    assert (recording.host["reclaimed_pages"] <= recording.census["reclaimed_pages"]).all()
    peak = recording.sharing_peak()
    assert peak is not None
    assert peak.fraction > 0.999
    assert 60 < peak.time_s < 300  # a pass takes minutes
    assert (recording.vms["scan_passes"][-1] >= 1).all()


def test_the_example_shows_two_guests_at_work(example: tuple[Path, str]) -> None:
    recording = Recording.load(example[0] / "esxcore-run/recording.npz")
    references = dict(zip(recording.vm_names, recording.vms["references"][-1], strict=True))
    assert {name for name, count in references.items() if count} == {"redis", "nginx"}
    breaks = dict(zip(recording.vm_names, recording.vms["cow_breaks"][-1], strict=True))
    assert breaks["redis"] > 1000
    assert breaks["nginx"] > 1000
    assert breaks["py1"] == 0


def test_the_example_prints_the_recorded_numbers(example: tuple[Path, str]) -> None:
    folder, printed = example
    recording = Recording.load(folder / "esxcore-run/recording.npz")
    for row in recording.memory():
        found = re.search(rf"^ {row.name} +(.*\d)\s*$", printed, re.MULTILINE)
        assert found, row.name
        shown = found.group(1).replace(",", "").split()
        assert shown[:-1] == [f"{pages / 256:.1f}" for pages in row[1:-1]]
        assert shown[-1] == str(row.cow_breaks)
    assert "the resident contents allow" in printed
    assert "It came nearest after 2 min" in printed


def test_json_is_one_object_and_nothing_else(folder: Path) -> None:
    done = esxcore_run("../in/twins.toml", "--json", "--out", "deep/er")
    assert (done.exit_code, done.stderr) == (0, "")
    result = json.loads(done.stdout)
    recording = Recording.load(result["files"]["recording"])
    assert Path(result["files"]["picture"]).read_bytes().startswith(PNG)
    assert names(folder) == {"deep", "deep/er", "deep/er/recording.npz", "deep/er/sharing.png"}
    *vms, host = recording.memory()
    assert result["host"] == host._asdict()
    assert result["vms"] == [row._asdict() | {"stalled_s": 0} for row in vms]
    assert result["host"]["reclaimed_pages"] == result["sharing"]["possible_pages"] == 1024
    assert result["sharing"]["peak_fraction"] == result["sharing"]["fraction"] == 1
    assert result["sharing"]["peak_time_s"] == 4
    assert (result["scenario"], result["seed"], result["duration_s"]) == ("twins", 0, 6)
    assert result["samples"] == 7


def test_json_has_null_where_nothing_could_be_shared(folder: Path) -> None:
    alone = TWINS.replace("count = 2", "count = 1")
    (folder.parent / "in/alone.toml").write_text(alone)
    result = json.loads(esxcore_run("../in/alone.toml", "--json").stdout)
    assert result["sharing"]["fraction"] is None
    assert result["sharing"]["peak_fraction"] is None
    assert "nothing to share" in esxcore_run("../in/alone.toml").stdout


def test_a_seed_takes_the_place_of_the_scenarios(folder: Path) -> None:
    for seed, out in (("1", "a"), ("1", "b"), ("2", "c")):
        assert esxcore_run("../in/twins.toml", "--seed", seed, "--out", out).exit_code == 0
    first, again, other = (Path(out, "recording.npz").read_bytes() for out in "abc")
    assert first == again != other
    assert Recording.load("c/recording.npz").seed == 2


def test_files_of_an_earlier_run_are_replaced(folder: Path) -> None:
    (folder / "esxcore-run").mkdir()
    (folder / "esxcore-run/recording.npz").write_bytes(b"old")
    (folder / "esxcore-run/mine.txt").write_bytes(b"kept")
    assert esxcore_run("../in/twins.toml").exit_code == 0
    assert Recording.load("esxcore-run/recording.npz").seed == 0
    assert names(folder / "esxcore-run") == {"recording.npz", "sharing.png", "mine.txt"}


@pytest.mark.parametrize("kind", FILE_KINDS)
def test_tables_are_saved_where_asked_for(folder: Path, kind: str) -> None:
    done = esxcore_run("../in/twins.toml", "--tables", kind, "--out", "a")
    assert (done.exit_code, done.stderr) == (0, "")
    tables = {name: f"a/{name}.{kind}" for name in ("vms", "host", "census")}
    assert names(folder) == {"a", "a/recording.npz", "a/sharing.png", *tables.values()}
    recording = Recording.load("a/recording.npz")
    for name, path in tables.items():
        assert re.search(rf"^{name}: +{path}$", done.stdout, re.MULTILINE)
        read = {"csv": pl.read_csv, "arrow": pl.read_ipc, "parquet": pl.read_parquet}[kind]
        wanted = recording.table(name).to_polars()
        # What is all missing has no type in CSV.
        assert read(path).to_dict(as_series=False) == wanted.to_dict(as_series=False)


def test_tables_that_cannot_be_written_are_refused_before_the_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "arro3.io", None)
    monkeypatch.setattr("esxcore.experiment.run", None)
    done = esxcore_run("../in/twins.toml", "--tables", "parquet")
    assert done.exit_code == 2
    assert done.stderr.startswith("esxcore: error: a table as parquet file needs arro3-io, ")
    assert done.stderr.endswith(": pip install 'esxcore[arrow]'\n")
    assert names(folder) == set()


def test_a_starved_guest_is_spoken_of(folder: Path) -> None:
    starved = """
[host]
memory = "8MiB"
[policy]
name = "none"
[[vms]]
name = "guest"
max = "256MiB"
workload = { activity = "builtin:active_phases" }
[run]
duration = "90s"
"""
    (folder / "starved.toml").write_text(starved)
    done = esxcore_run("starved.toml")
    assert done.exit_code == 0
    assert re.search(
        r"^guest stood still for 1 min .*: no machine page was free$", done.stdout, re.M
    )


def test_names_of_many_vms_are_not_broken_in_a_pipe(folder: Path) -> None:
    many = TWINS.replace("16MiB", "64MiB").replace("count = 2", "count = 12")
    (folder.parent / "in/many.toml").write_text(many)
    printed = esxcore_run("../in/many.toml").stdout
    assert re.search(r"^ twin-12 +4\.0 ", printed, re.MULTILINE)


def test_a_name_is_printed_as_it_is(folder: Path) -> None:
    odd = TWINS.replace('"twin"', '"[red]päge[/red]"')
    (folder.parent / "in/odd.toml").write_text(odd)
    assert " [red]päge[/red]-1 " in esxcore_run("../in/odd.toml").stdout


def test_progress_is_shown_on_a_terminal_only(folder: Path) -> None:
    shown, terminal = pty.openpty()
    command = [sys.executable, "-m", "esxcore", "run", "../in/twins.toml", "--json"]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=terminal, env=environment, check=True
    )
    os.close(terminal)
    progress = os.read(shown, 65_536).decode()
    os.close(shown)
    assert "6 of 6 virtual seconds" in progress
    assert json.loads(done.stdout)["samples"] == 7


def test_the_packaged_scenario_file_runs_like_no_argument(folder: Path) -> None:
    quick = packaged("fleet_a.toml").read_text().replace('"6min"', '"2s"')
    (folder / "my.toml").write_text(quick)
    result = json.loads(esxcore_run("my.toml", "--json").stdout)
    assert [vm["name"] for vm in result["vms"]] == list(Scenario.builtin().vm_names())


def in_shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m esxcore run {command}"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_closed_streams_do_not_matter(folder: Path, closed: str) -> None:
    done = in_shell(f"../in/twins.toml {closed}")
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / "esxcore-run/sharing.png").read_bytes().startswith(PNG)


def test_a_name_that_stdout_cannot_encode_is_escaped(folder: Path) -> None:
    (folder / "odd.toml").write_text(
        TWINS.replace('"twin"', '"w\u00e9b"').replace("twins.npz", "../in/twins.npz")
    )
    for arguments in ("odd.toml", "odd.toml --json"):
        done = in_shell(arguments, PYTHONIOENCODING="ascii")
        assert (done.returncode, done.stderr) == (0, "")
    assert r"w\xe9b-1 " in in_shell("odd.toml", PYTHONIOENCODING="ascii").stdout


def test_settings_of_matplotlib_do_not_matter(folder: Path) -> None:
    (folder / "matplotlibrc").write_text("text.usetex: True\n")
    done = in_shell("../in/twins.toml", MPLBACKEND="foo")
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / "esxcore-run/sharing.png").read_bytes().startswith(PNG)


def test_names_are_shown_on_a_narrow_terminal(folder: Path) -> None:
    shown, terminal = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "40"}
    command = [sys.executable, "-m", "esxcore", "run", "../in/twins.toml"]
    subprocess.run(command, stdout=terminal, stderr=subprocess.PIPE, env=environment, check=True)
    os.close(terminal)
    printed = os.read(shown, 65_536).decode()
    os.close(shown)
    assert re.search(r"^ twin-1 +4\.0 .* \d+\s*$", printed, re.MULTILINE)
