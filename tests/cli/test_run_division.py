"""``esxcore run`` where memory is short: the table, the second picture, policies that fail."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from esxcore.recording import Recording
from runs import esxcore_run, names

SHORT = """
[host]
memory = "96MiB"
swap = "512MiB"
[sharing]
enabled = false
[policy]
name = "esx2002"
[[vms]]
name = "busy"
max = "256MiB"
min = "16MiB"
overhead = "1MiB"
workload = { activity = "builtin:active_phases", offset = "30s", repeat = true }
[[vms]]
name = "gone"
max = "256MiB"
min = "16MiB"
overhead = "1MiB"
workload = { activity = "builtin:active_phases", offset = "30s", repeat = true }
stop = "50s"
[run]
duration = "1min"
"""
OWN = '''
class Part:
    """Everybody gets its min and a sixteenth of the rest, until it fails."""

    def __init__(self, fails_at=20):
        self.fails_at = fails_at

    def targets(self, view):
        if view.now_s >= self.fails_at:
            raise RuntimeError("out of ideas\\nfor good")
        return view.min_pages + (view.max_pages - view.min_pages) // 16
'''


@pytest.fixture
def short(folder: Path) -> Path:
    """The folder to run in, with short.toml beside it."""
    (folder.parent / "in/short.toml").write_text(SHORT)
    return folder


def test_shortage_is_printed_and_drawn(short: Path) -> None:
    done = esxcore_run("../in/short.toml")
    assert (done.exit_code, done.stderr) == (0, "")
    assert names(short / "esxcore-run") == {"recording.npz", "sharing.png", "division.png"}
    assert (short / "esxcore-run/division.png").read_bytes().startswith(b"\x89PNG")
    assert re.search(r"^division: +esxcore-run/division\.png$", done.stdout, re.MULTILINE)
    recording = Recording.load("esxcore-run/recording.npz")
    table = done.stdout[done.stdout.index("How memory is divided") :]
    busy, _, host = recording.division()
    for row in (busy, host):
        found = re.search(rf"^ {row.name} +(.*\d)\s*$", table, re.MULTILINE)
        assert found
        shown = found.group(1).replace(",", "").split()
        sizes = [f"{pages / 256:.1f}" for pages in (row.min_pages, row.max_pages, *row[4:])]
        assert shown == [*sizes[:2], str(row.shares), *sizes[2:]]
    assert re.search(r"^ gone +off( +off)+\s*$", table, re.MULTILINE)
    assert re.search(r"^Free memory was high for .*\.$", table, re.MULTILINE)


def test_shortage_in_json(short: Path) -> None:
    done = esxcore_run("../in/short.toml", "--json")
    result = json.loads(done.stdout)
    recording = Recording.load(result["files"]["recording"])
    *vms, host = recording.division()
    division = result["division"]
    assert division["vms"] == [row._asdict() for row in vms]
    assert division["host"] == host._asdict()
    assert division["state_s"] == recording.state_s()
    assert division["free_state"] == "high"
    assert sum(division["state_s"].values()) == 60
    assert Path(result["files"]["division"]).exists()


def test_where_there_is_enough_nothing_is_said_of_it(short: Path) -> None:
    text = SHORT.replace('"96MiB"', '"1GiB"')
    (short.parent / "in/short.toml").write_text(text)
    done = esxcore_run("../in/short.toml", "--json")
    assert json.loads(done.stdout)["division"] is None
    assert names(short / "esxcore-run") == {"recording.npz", "sharing.png"}
    assert "divided" not in esxcore_run("../in/short.toml").stdout


def test_a_policy_beside_the_scenario_is_found_from_anywhere(short: Path) -> None:
    source = short.parent / "in"
    (source / "cli_own.py").write_text(OWN)
    text = SHORT.replace('name = "esx2002"', 'name = "cli_own:Part"\nfails_at = 1000')
    (source / "short.toml").write_text(text)
    assert esxcore_run("../in/short.toml").exit_code == 0
    recording = Recording.load("esxcore-run/recording.npz")
    assert recording.division()[0].target_pages == 31 * 256


def test_a_policy_that_fails_is_one_line_and_leaves_nothing(short: Path) -> None:
    source = short.parent / "in"
    (source / "cli_fails.py").write_text(OWN)
    (source / "short.toml").write_text(SHORT.replace("esx2002", "cli_fails:Part"))
    before = names(short)
    done = esxcore_run("../in/short.toml", "--out", "new/er")
    assert (done.exit_code, done.stdout) == (2, "")
    line = OWN.splitlines().index('            raise RuntimeError("out of ideas\\nfor good")') + 1
    assert re.fullmatch(
        r'esxcore: error: policy "cli_fails:Part" at \d+ s of virtual time: RuntimeError: out of'
        rf" ideas for good \(.*cli_fails\.py, line {line}\)\n",
        done.stderr,
    )
    assert names(short) == before


ENDS = """
import sys

class Exits:
    def targets(self, view):
        sys.exit({what})

class Interrupts:
    def targets(self, view):
        raise KeyboardInterrupt
"""


@pytest.mark.parametrize("what", ["", "0", "7", "'good bye'"])
def test_a_policy_that_ends_the_program_is_one_line(short: Path, what: str) -> None:
    source = short.parent / "in"
    (source / "cli_ends.py").write_text(ENDS.format(what=what))
    (source / "short.toml").write_text(SHORT.replace("esx2002", "cli_ends:Exits"))
    done = esxcore_run("../in/short.toml")
    assert (done.exit_code, done.stdout) == (2, "")
    assert re.fullmatch(
        r'esxcore: error: policy "cli_ends:Exits" at 1 s of virtual time: SystemExit.*'
        r" \(.*cli_ends\.py, line 6\)\n",
        done.stderr,
    )
    assert names(short) == set()


def test_ctrl_c_in_a_policy_is_ctrl_c(short: Path) -> None:
    source = short.parent / "in"
    (source / "cli_ends.py").write_text(ENDS.format(what=""))
    (source / "short.toml").write_text(SHORT.replace("esx2002", "cli_ends:Interrupts"))
    done = esxcore_run("../in/short.toml")
    assert (done.exit_code, done.stdout, done.stderr) == (130, "", "esxcore: interrupted\n")


def test_a_function_is_refused_before_it_does_anything(short: Path) -> None:
    source = short.parent / "in"
    (source / "cli_calls.py").write_text(
        "import pathlib\ndef make():\n    pathlib.Path('called').touch()\n"
    )
    (source / "short.toml").write_text(SHORT.replace("esx2002", "cli_calls:make"))
    done = esxcore_run("../in/short.toml")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (
        'esxcore: error: ../in/short.toml: policy.name is "cli_calls:make", which is a function;'
        " expected a class with a method targets(view)\n"
    )
    assert names(short) == set()


FAILURES = {
    "unknown policy": ("esx2002", "esx2020", 'policy.name is "esx2020"; did you mean "esx2002"?'),
    "no such module": ("esx2002", "nothing_here:X", "the module cannot be imported: ModuleNotF"),
    "not admitted": (
        'min = "16MiB"\noverhead = "1MiB"\nworkload = { activity = "builtin:active_phases",'
        ' offset = "30s", repeat = true }\nstop',
        'min = "80MiB"\noverhead = "1MiB"\nstart = "5s"\nstop',
        'vms[1].min is "80MiB"; expected what the host can promise at 5s (VM "gone" wants',
    ),
    "unknown key": ("[policy]", "[policy]\ntax = 1", 'unknown key policy.tax of policy "esx2002"'),
    "no paging at all": (
        "[policy]",
        "[reclaim]\nswap_out_rate = 0\n[policy]",
        "reclaim.swap_out_rate is 0; expected pages a second, a whole number from 1",
    ),
    "margin too wide": (
        "[policy]",
        "[reclaim]\nstate_margin = 1e9\n[policy]",
        "reclaim.state_margin is 1000000000; expected so little",
    ),
    "event for nobody": (
        "[run]",
        '[[events]]\nat = "1s"\nvm = "buzy"\nshares = 1\n[run]',
        'events[0].vm is "buzy"; did you mean "busy"?',
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_one_line_and_leaves_nothing(short: Path, name: str) -> None:
    right, wrong, said = FAILURES[name]
    assert SHORT.count(right) == 1
    (short.parent / "in/short.toml").write_text(SHORT.replace(right, wrong))
    done = esxcore_run("../in/short.toml")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("esxcore: error: ../in/short.toml: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert names(short) == set()
