"""``esxcore compare``: a table, JSON, a picture, tables, grades; one line where it fails."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from esxcore import Scenario, compare
from esxcore.cli import main
from esxcore.comparing.grading import MEASURED_BY, Check, Grade, grade

LAB = """
[host]
memory = "30MiB"
swap = "64MiB"
seed = 7
[sampling]
period = "2s"
[reclaim]
balance_period = "2s"
[[vms]]
name = "calm"
max = "24MiB"
min = "4MiB"
overhead = "1MiB"
workload = { kind = "zipf", memory = "6MiB", exponent = 0.5, op_time = "1ms" }
[[vms]]
name = "busy"
max = "24MiB"
min = "4MiB"
overhead = "1MiB"
workload = { kind = "zipf", memory = "22MiB", exponent = 0.5, op_time = "1ms" }
[run]
duration = "20s"
"""
OWN = """
class ByActivity:
    def targets(self, view):
        return view.apportion(view.active_pages + 1)

class Floats:
    def targets(self, view):
        return view.max_pages * 0.1
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run in, with lab.toml and a module of policies beside it."""
    (tmp_path / "lab.toml").write_text(LAB)
    (tmp_path / "mine_to_compare.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def esxcore_compare(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["compare", *arguments])


def test_it_prints_what_compare_prints() -> None:
    done = esxcore_compare("lab.toml", "--seeds", "2")
    assert done.exit_code == 0, done.output
    runs = compare(Scenario.from_toml("lab.toml"), ["static", "esx2002", "proxmox"], seeds=2)
    assert done.stdout == f"lab: {runs!r}\n"
    assert done.stderr == ""


def test_json_has_the_numbers_of_each_policy() -> None:
    own = "mine_to_compare:ByActivity"
    arguments = ["lab.toml", "--seeds", "3", "--jobs", "2", "--json"]
    done = esxcore_compare(*arguments, "--policy", "static", "--policy", own)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    runs = compare(Scenario.from_toml("lab.toml"), ["static", own], seeds=3)
    assert (told["scenario"], told["seeds"], told["baseline"]) == ("lab", [7, 8, 9], "static")
    assert [row["policy"] for row in told["policies"]] == list(runs.ranked)
    assert [row["rank"] for row in told["policies"]] == [1, 2]
    row = next(row for row in told["policies"] if row["policy"] == own)
    throughput = row["metrics"]["ops_per_s"]
    assert throughput["values"] == runs[own].values("ops_per_s").tolist()
    assert throughput["mean"] == runs.estimate("ops_per_s", own).mean
    assert throughput["difference"]["low"] == runs.difference("ops_per_s", own).low
    assert "ops_per_s:busy" in row["metrics"]
    assert told["files"] == {}


def test_pictures_and_tables_are_saved(folder: Path) -> None:
    arguments = ["--picture", "c.png", "--tables", "csv", "--out", "results/deep"]
    done = esxcore_compare("lab.toml", "--seeds", "2", *arguments)
    assert done.exit_code == 0, done.output
    assert (folder / "c.png").read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader((folder / "results/deep/comparison.csv").read_text().splitlines()))
    assert [(row["policy"], row["seed"]) for row in rows[:3]] == [
        ("static", "7"),
        ("static", "8"),
        ("esx2002", "7"),
    ]
    summary = list(csv.DictReader((folder / "results/deep/summary.csv").read_text().splitlines()))
    assert {row["policy"] for row in summary} == {"static", "esx2002", "proxmox"}
    assert "results/deep/summary.csv" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument 'SCENARIO.toml' or option '--grade'. See 'esxcore compare --help'."),
        (["none.toml"], "none.toml: cannot be read"),
        (["lab.toml", "--policy", "esx2003"], 'did you mean "esx2002"'),
        (["lab.toml", "--policy", "nowhere_at_all:X"], "cannot be imported"),
        (["lab.toml", "--policy", "mine_to_compare:Nothing"], "has no Nothing"),
        (["lab.toml", "--policy", "mine_to_compare:Floats"], "view.apportion(weights)"),
        (["lab.toml", "--policy", "static", "--policy", "static"], "two are called 'static'"),
        (["lab.toml", "--seeds", "0"], "Invalid value for '--seeds'"),
        (["lab.toml", "--picture", "c.gif"], "expected a name that ends in .png, .svg, .pdf"),
        (["lab.toml", "--picture", "no/c.png"], "there is no folder no"),
        (["lab.toml", "--picture", "lab.toml"], "it is a source"),
        (["lab.toml", "--tables", "csv", "--out", "lab.toml/x"], "lab.toml is not a folder"),
        (["lab.toml", "--grade"], "takes no SCENARIO.toml"),
        (["--grade", "--picture", "c.png"], "takes no --picture"),
        (["--grade", "--policy", "esx2003"], 'did you mean "esx2002"'),
        (["--grade", "--policy", "esx2003"], 'error: --policy esx2003: policy.name is "esx2003"'),
        (["lab.toml", "--policy", "equal", "--policy", "x:Y"], "error: --policy x:Y: policy.name"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_one_line(folder: Path, arguments: list[str], message: str) -> None:
    before = {path.name for path in folder.iterdir()}
    done = esxcore_compare(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("esxcore: error: ")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert {path.name for path in folder.iterdir()} - {"__pycache__"} == before - {"__pycache__"}


def test_help_teaches_a_policy_and_every_option() -> None:
    text = esxcore_compare("--help").stdout
    assert "return view.apportion(view.active_pages + 1)" in text
    for option in ("--policy", "--seeds", "--jobs", "--json", "--picture", "--tables", "--grade"):
        assert option in text
    assert "compare" in CliRunner().invoke(main, ["--help"]).stdout


# -- grades ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def grades() -> dict[str, Grade]:
    return {name: grade(name) for name in ("static", "esx2002")}


def test_all_checks_are_worth_a_hundred_points(grades: dict[str, Grade]) -> None:
    for one in grades.values():
        assert sum(check.out_of for check in one.checks) == 100
        assert one.points == sum(check.points for check in one.checks)
        assert all(0 <= check.points <= check.out_of for check in one.checks)
        assert {check.scenario for check in one.checks} == {"grows", "together", "parting"}


def test_the_paper_is_better_than_no_policy(grades: dict[str, Grade]) -> None:
    assert grades["static"].points < grades["esx2002"].points < 100
    assert MEASURED_BY == ("static", "esx2002")


class FirstTakesAll:
    def targets(self, view):  # type: ignore[no-untyped-def]
        return view.apportion([1] + [0] * (len(view) - 1))


def test_who_gives_all_to_one_is_graded_for_it(grades: dict[str, Grade]) -> None:
    greedy = grade(FirstTakesAll())
    assert greedy.points < grades["static"].points
    fair = [check for check in greedy.checks if "equal parts" in check.expected]
    assert [check.points for check in fair] == [0]
    assert grade(FirstTakesAll(), jobs=1) == greedy


def test_the_report_says_what_was_expected_and_what_happened(grades: dict[str, Grade]) -> None:
    report = str(grades["esx2002"])
    assert report.startswith(f"Policy esx2002: {grades['esx2002'].points} of 100 points\n")
    for check in grades["esx2002"].checks:
        assert isinstance(check, Check)
        assert f"expected  {check.expected}" in report
        assert f"happened  {check.happened}" in report


def test_the_command_grades_policies_of_ones_own(grades: dict[str, Grade]) -> None:
    own = "mine_to_compare:ByActivity"
    done = esxcore_compare("--grade", "--policy", own, "--json")
    assert done.exit_code == 0, done.output
    (told,) = json.loads(done.stdout)["grades"]
    assert told["policy"] == own
    assert told["points"] > grades["static"].points
    assert set(told["checks"][0]) == {"scenario", "expected", "happened", "points", "out_of"}
    text = esxcore_compare("--grade", "--policy", "esx2002").stdout
    assert text == f"{grades['esx2002']}\n"


def test_what_a_policy_prints_is_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "talks.py").write_text(
        "class Talks:\n"
        "    def targets(self, view):\n"
        "        print('so many:', len(view))\n"
        "        return view.apportion(view.max_pages)\n"
    )
    (tmp_path / "lab.toml").write_text(
        '[host]\nmemory = "96MiB"\n[[vms]]\nname = "a"\nmax = "32MiB"\n[run]\nduration = "3s"\n'
    )
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(
        main, ["compare", "lab.toml", "--policy", "talks:Talks", "--seeds", "2", "--json"]
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)
    assert "so many: 1" in result.stderr


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--grade", "--seeds", "3"], "takes no --seeds"),
        (["--grade", "--out", "x"], "takes no --out"),
        (["lab.toml", "--out", "x"], "--out needs --tables"),
    ],
)
def test_what_would_be_ignored_is_refused(options: list[str], problem: str) -> None:
    result = CliRunner().invoke(main, ["compare", *options])
    assert result.exit_code == 2
    assert problem in result.stderr
