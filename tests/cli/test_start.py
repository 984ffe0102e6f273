"""The command before and while it is imported: Ctrl-C is one line at any time."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from click.testing import CliRunner

from esxcore.cli import main

AT_IMPORT = """
import os, signal, sys

awaited = sys.argv[1]

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == awaited:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupts())
from importlib.metadata import entry_points
[script] = entry_points(group="console_scripts", name="esxcore")
start = script.load()
assert not {"click", "esxcore.cli"} & set(sys.modules)
sys.argv[1:] = ["init"]
start()
"""


@pytest.mark.parametrize("module", ["esxcore.cli", "click", "esxcore.errors", "esxcore.cli.init"])
def test_ctrl_c_while_the_command_is_imported(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", AT_IMPORT, module], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "esxcore: interrupted\n")


def test_without_ctrl_c_the_command_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-c", AT_IMPORT, "nothing"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "[host]" in done.stdout


def test_the_installed_command_starts_there() -> None:
    [script] = entry_points(group="console_scripts", name="esxcore")
    assert script.value == "esxcore.__main__:main"


def test_ctrl_c_while_the_command_line_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "parse_args", interrupted)
    done = CliRunner().invoke(main, ["init"])
    assert (done.exit_code, done.stdout, done.stderr) == (130, "", "esxcore: interrupted\n")


NO_SPACE = Path("/dev/full")


@pytest.mark.skipif(not NO_SPACE.exists(), reason="the system has no device that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize(
    "line", ["--help", "--version", "init", "run ../in/twins.toml", "run ../in/twins.toml --json"]
)
def test_what_cannot_be_printed_is_one_line(line: str, unbuffered: str, folder: Path) -> None:
    with NO_SPACE.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "esxcore", *line.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
            check=False,
        )
    said = "esxcore: error: standard output: No space left on device\n"
    assert (done.returncode, done.stderr) == (2, said)
