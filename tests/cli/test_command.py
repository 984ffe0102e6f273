"""The command as a whole: what it teaches, how fast it says so, and how it puts an error."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import esxcore
from esxcore.cli import COMMANDS, main
from esxcore.datafile import packaged
from esxcore.scenario import Scenario


def esx(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "esxcore", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], []])
def test_help_shows_the_first_steps(arguments: list[str]) -> None:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0
    for line in ("esxcore run  ", "esxcore init > my.toml", "esxcore run my.toml"):
        assert line in done.output
    for name in COMMANDS:
        assert re.search(rf"^  {name}\s+\w", done.output, re.MULTILINE)
    assert "\b" not in done.output
    assert "\\b" not in done.output


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself_with_an_example(name: str) -> None:
    done = CliRunner().invoke(main, [name, "--help"])
    assert done.exit_code == 0
    assert f"  esxcore {name}" in done.output
    assert "\\b" not in done.output


def test_help_loads_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "esxcore", "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "Run a scenario" in done.stdout  # so it has loaded the sub-commands
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert {"click", "esxcore.cli", "esxcore.errors"} <= loaded
    heavy = {"numpy", "pydantic", "rich", "matplotlib", "esxcore._core", "esxcore.experiment"}
    assert loaded & heavy == set()


def test_version() -> None:
    done = esx("--version")
    assert (done.returncode, done.stdout) == (0, f"esxcore {esxcore.__version__}\n")


def test_init_prints_a_scenario_that_runs_from_anywhere(tmp_path: Path) -> None:
    done = esx("init", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    path = tmp_path / "my.toml"
    path.write_text(done.stdout)
    scenario = Scenario.from_toml(path)
    assert scenario == Scenario.builtin()
    for vm in scenario.vms:
        assert vm.contents is not None
        assert scenario.data_path(vm.contents.trace) == packaged("fleet_a.npz")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rum"], "No such command 'rum'. See 'esxcore --help'."),
        (["--nothing"], "--nothing"),
        (["run", "--sed", "1"], "--sed"),
        (["run", "--seed", "x"], "'x' is not a valid integer"),
        (["run", "--seed", "-1"], "-1 is not in the range x>=0"),
        (["run", "--seed", str(2**128), "--out", "/tmp"], "expected 0 to 2**128 - 1"),
        (["run", "a.toml", "b.toml"], "(b.toml)"),
        (["run", "--out"], "'--out' requires an argument"),
        (["run", "--out", ""], "'--out': '' is empty; expected a path."),
        (["run", ""], "'' is empty; expected a path."),
        (["init", "x"], "(x)"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("esxcore: error: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_module_is_the_command() -> None:
    done = esx("rum")
    assert done.returncode == 2
    assert done.stderr == "esxcore: error: No such command 'rum'. See 'esxcore --help'.\n"
