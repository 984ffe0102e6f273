"""Runs of guests at work: workloads found and made, when they begin, what is wrong with them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esxcore.arguments import driver_settings, guest_settings
from esxcore.errors import DataError, PageRangeError, ScenarioError, WorkloadError
from esxcore.experiment import policy_failure, run
from esxcore.guest import Guest
from esxcore.reports import BalloonDriver
from esxcore.scenario import Scenario
from esxcore.workload import Batch, replay, scan, toucher, zipf

OWN = """
import numpy as np
from esxcore import Accesses, Batch

class Steps:
    '''Refers to its pages one after the other, an operation each.'''
    def __init__(self, pages, op_time=1e-3):
        self.pages, self.op_time = pages, op_time
    def batch(self, now):
        return Batch(np.arange(self.pages), writes=True, op_time=self.op_time)

class Seconds:
    def accesses(self, second):
        return Accesses(np.array([], int), np.array([second]))

class Ends:
    def batch(self, now):
        return None

class Nothing:
    def batch(self, now):
        return Batch([])

class Breaks:
    def batch(self, now):
        raise ZeroDivisionError("of mine")

class Wrong:
    def batch(self, now):
        return [1, 2]

class Deaf:
    pass

def function():
    pass
"""


LATE = {"start": "6s"}


def scenario_in(folder: Path, workload: Any, duration: str = "6s", **vm: Any) -> Scenario:
    section = {"name": "web", "max": "32MiB", "workload": workload} | vm
    return Scenario.from_mapping(
        {
            "host": {"memory": "256MiB", "seed": 3},
            "vms": [section],
            "run": {"duration": duration},
        },
        "my.toml",
        folder,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(OWN)
    (tmp_path / "a.csv").write_text("1\n2\n1\n")
    (tmp_path / "client.txt").write_text('Mkdir "/clients" NT_STATUS_OK\n')
    return tmp_path


@pytest.mark.parametrize(
    ("given", "table"),
    [
        ("idle", {"kind": "idle"}),
        (zipf("4MiB", op_time="1ms"), {"kind": "zipf", "memory": "4MiB", "op_time": "1ms"}),
        (
            replay("builtin:trace_sort", processes=2),
            {"trace": "builtin:trace_sort", "processes": 2},
        ),
        (toucher("1MiB"), {"kind": "toucher", "sizes": "1MiB"}),
    ],
)
def test_a_word_or_a_program_is_a_table(folder: Path, given: Any, table: Any) -> None:
    scenario = scenario_in(folder, given, "2s")
    assert Scenario.from_mapping(tomllib.loads(scenario.to_toml()), "my.toml", folder) == scenario
    one, other = run(scenario), run(scenario_in(folder, table, "2s"))
    for columns, same in ((one.host, other.host), (one.vms, other.vms)):
        assert all(np.array_equal(columns[name], same[name], equal_nan=True) for name in columns)


def operations(recording: Any) -> list[int]:
    column: list[int] = recording.vms["ops"][:, 0].tolist()
    return column


GOOD: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "zipf": ({"kind": "zipf", "memory": "8MiB", "exponent": 1}, {}),
    "toucher": ({"kind": "toucher", "sizes": [["0s", "1MiB"], ["3s", "8MiB"]]}, {}),
    "scan": ({"kind": "scan", "memory": "8MiB", "access": "write"}, {}),
    "phases": ({"kind": "phases", "calm": "1MiB", "burst": "8MiB", "calm_mean": "2s"}, {}),
    "idle": ({"kind": "idle", "period": "2s"}, {}),
    "files": ({"kind": "files", "files": 20}, {"guest": "linux"}),
    "dbench": ({"kind": "dbench", "clients": 3, "loadfile": "client.txt"}, {"guest": "windows"}),
    "trace": ({"trace": "a.csv", "refs_per_s": 500, "base": "1MiB", "repeat": True}, {}),
    "replay": ({"kind": "replay", "trace": "builtin:trace_sort"}, {}),
    "batches": ({"kind": "mine:Steps", "pages": 4, "processes": 2}, {}),
    "accesses": ({"kind": "mine:Seconds"}, {}),
}
FAST = {"boot_time": "1s"}


@pytest.mark.parametrize(("workload", "vm"), GOOD.values(), ids=GOOD)
def test_each_kind_runs_the_same_each_time(
    folder: Path, workload: dict[str, Any], vm: dict[str, Any]
) -> None:
    if "guest" in vm:
        vm = vm | {"guest": {"kind": vm["guest"], "boot_time": "1s"}}
    recording = run(scenario_in(folder, workload, **vm))
    assert operations(recording)[-1] > 0
    assert run(scenario_in(folder, workload, **vm)) == recording


def test_processes_of_a_class_are_objects_of_their_own(folder: Path) -> None:
    one, two = (
        operations(run(scenario_in(folder, {"kind": "mine:Seconds", "processes": number})))[-1]
        for number in (1, 2)
    )
    assert (one, two) == (6, 12)


@pytest.mark.parametrize(
    ("guest", "start", "begins"),
    [
        (None, None, 0),
        ("default", None, 0),
        ({"kind": "linux", "boot_time": "3s"}, None, 3),
        ({"kind": "linux", "boot_time": "3s"}, "1s", 1),
        ({"kind": "windows", "boot_time": "0s"}, None, 0),
        (None, "2s", 2),
    ],
)
@pytest.mark.parametrize("workload", [{"kind": "scan", "memory": "1MiB"}, {"trace": "a.csv"}])
def test_work_begins_after_boot_or_when_it_is_told_to(
    folder: Path, guest: Any, start: str | None, begins: int, workload: dict[str, Any]
) -> None:
    workload = workload | ({"start": start} if start else {})
    done = operations(run(scenario_in(folder, workload, guest=guest)))
    assert done[begins] == 0 < done[begins + 1]


@pytest.mark.parametrize(("kind", "begins"), [("linux", 5), ("windows", 15), ("default", 0)])
def test_a_driver_is_loaded_when_its_guest_does_that(kind: Any, begins: int) -> None:
    settings = guest_settings(Guest(kind, boot_time="10s"))
    for driver in (BalloonDriver(), BalloonDriver(max_rate=3)):
        assert driver_settings(driver, settings)[0] == begins
    assert driver_settings(BalloonDriver(start="1min"), settings)[0] == 60
    assert driver_settings(BalloonDriver(start=None), settings)[0] is None


@pytest.mark.parametrize(("driver", "begins"), [(None, 2), ({"max_rate": 500}, 2), (LATE, 6)])
def test_a_balloon_waits_for_its_driver(driver: Any, begins: int) -> None:
    sits = {"name": "sits", "max": "48MiB", "min": "0MiB", "overhead": "0MiB", "driver": driver}
    grows = {"name": "grows", "max": "60MiB", "min": "40MiB", "overhead": "0MiB"}
    scenario = Scenario.from_mapping(
        {
            "host": {"memory": "64MiB", "swap": "128MiB"},
            "sharing": {"enabled": False},
            "reclaim": {"balance_period": "1s"},
            "vms": [
                sits | {"guest": {"kind": "linux", "boot_time": "4s"}},
                grows | {"workload": {"kind": "scan", "memory": "60MiB", "access": "write"}},
            ],
            "run": {"duration": "14s"},
        }
    )
    balloon = run(scenario).vms["balloon_pages"][:, 0]
    assert not balloon[: begins + 1].any()
    assert balloon[begins + 2 :].any()


def test_what_writes_store_is_told(folder: Path) -> None:
    def shared(writes: Any) -> int:
        workload = {"kind": "scan", "memory": "4MiB", "access": "write", "writes": writes}
        workload |= {"refs_per_s": 4096}
        scenario = scenario_in(folder, workload, "40s")
        return int(run(scenario).host["shared_pages"].max())

    assert shared("unique") == 0 < shared({"pool": 2})


def test_costs_are_a_preset_and_what_is_changed(folder: Path) -> None:
    def done(costs: Any) -> int:
        scenario = scenario_in(folder, {"kind": "scan", "memory": "8MiB", "op_time": "0s"}, "1s")
        return operations(run(scenario.changed({"run.costs": costs})))[-1]

    assert done({"preset": "2002"}) == done("2002") != done("nvme")
    assert done({"access_ns": 10_000}) < 100_100


def test_programs_take_the_place_of_what_a_scenario_has(folder: Path) -> None:
    scenario = scenario_in(folder, {"kind": "idle"})
    recording = run(scenario, workloads={"web": zipf("4MiB")})
    assert operations(recording)[-1] > 5_000


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "kind": ({"kind": "zpif"}, 'workload.kind is "zpif"; did you mean "zipf"?'),
    "activity": (
        {"kind": "activity"},
        'workload.kind is "activity"; expected a table like { activity = "builtin:active_phases" }',
    ),
    "missing": (
        {"kind": "zipf"},
        "workload.memory is missing; expected memory it refers to: a size with its unit (KiB, MiB,"
        ' GiB, TiB) in whole 4 KiB pages, such as "64MiB"',
    ),
    "unknown": (
        {"kind": "zipf", "memory": "1MiB", "exponant": 1},
        "unknown key vms[0].workload.exponant of workload 'zipf'; did you mean \"exponent\"?",
    ),
    "no unit": (
        {"kind": "zipf", "memory": 200},
        "workload.memory is 200; expected a size with its unit (KiB, MiB, GiB, TiB) in whole 4 KiB"
        ' pages, such as "64MiB"',
    ),
    "bad unit": (
        {"kind": "zipf", "memory": "200MB"},
        'workload.memory is "200MB"; expected a size with its unit (KiB, MiB, GiB, TiB) in whole'
        ' 4 KiB pages, such as "64MiB"',
    ),
    "range": (
        {"kind": "zipf", "memory": "1MiB", "exponent": 11},
        "workload.exponent is 11; expected 0 to 10",
    ),
    "type": (
        {"kind": "zipf", "memory": "1MiB", "exponent": "steep"},
        'workload.exponent is "steep"; expected a number',
    ),
    "word": (
        {"kind": "scan", "memory": "1MiB", "access": "erase"},
        'workload.access is "erase"; expected "read" or "write"',
    ),
    "time": (
        {"kind": "scan", "memory": "1MiB", "op_time": 5},
        'workload.op_time is 5; expected a time with a unit (us, ms, s, min, h), such as "100us"',
    ),
    "sizes": (
        {"kind": "toucher", "sizes": [["0s", 5]]},
        'workload.sizes is [["0s", 5]]; expected a size such as "50MiB", or a list like'
        ' [["0s", "50MiB"], ["3min", "250MiB"]]',
    ),
    "order": (
        {"kind": "toucher", "sizes": [["2s", "1MiB"], ["1s", "1MiB"]]},
        'workload.sizes is [["2s", "1MiB"], ["1s", "1MiB"]]; expected ascending times',
    ),
    "flag": (
        {"trace": "a.csv", "repeat": True, "op_refs": 0},
        "workload.op_refs is 0; expected 1 to 65536",
    ),
    "no files": (
        {"kind": "files", "files": 3},
        'workload.kind is "files"; expected guest = "linux" or "windows", who have files',
    ),
    "no module": ({"kind": "yours:Steps"}, 'workload.kind is "yours:Steps"; the module cannot be'),
    "no class": (
        {"kind": "mine:Step"},
        'workload.kind is "mine:Step"; {folder}/mine.py has no Step; did you mean "Steps"?',
    ),
    "a function": (
        {"kind": "mine:function"},
        'workload.kind is "mine:function", which is a function; expected a class with a method'
        " batch(now) or accesses(second)",
    ),
    "no method": (
        {"kind": "mine:Deaf"},
        'workload.kind is "mine:Deaf", which is a class without it; expected a class with a method',
    ),
    "its parameter": (
        {"kind": "mine:Steps", "page": 4},
        'unknown key vms[0].workload.page of workload "mine:Steps"; did you mean "pages"?',
    ),
    "its need": (
        {"kind": "mine:Steps"},
        'workload.pages is missing; workload "mine:Steps" cannot be without it',
    ),
}


@pytest.mark.parametrize(("workload", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line(folder: Path, workload: dict[str, Any], said: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        run(scenario_in(folder, workload))
    prefix = "my.toml: " if said.startswith("unknown") else "my.toml: vms[0]."
    message = str(caught.value)
    assert message.startswith(prefix + said.replace("{folder}", str(folder)))
    assert "\n" not in message


@pytest.mark.parametrize(
    ("workload", "said"),
    [
        ({"trace": "none.csv"}, "none.csv: no such file; expected a trace of page references"),
        ({"trace": "mine.py"}, "mine.py"),
        ({"kind": "dbench", "loadfile": "mine.py"}, "mine.py:2: "),
        ({"kind": "dbench", "loadfile": "none"}, "none: no such file; expected a load file of"),
    ],
)
def test_a_bad_file_is_named_with_the_field(
    folder: Path, workload: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError) as caught:
        run(scenario_in(folder, workload, guest="linux"))
    assert str(caught.value).startswith(f"my.toml: vms[0].workload: {folder}/{said}")


def test_a_workload_that_yields_nothing_ends_the_run(folder: Path) -> None:
    with pytest.raises(WorkloadError, match="VM 'web': workload Nothing yields no reference"):
        run(scenario_in(folder, {"kind": "mine:Nothing"}))
    assert operations(run(scenario_in(folder, {"kind": "mine:Ends"})))[-1] == 0


def test_what_a_workload_raises_is_blamed_on_it(folder: Path) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run(scenario_in(folder, {"kind": "mine:Breaks"}))
    failure = policy_failure(caught.value)
    assert failure is not None
    assert failure.startswith("workload Breaks, 0 s after it began: ZeroDivisionError: of mine (")
    assert failure.endswith(f"{folder / 'mine.py'}, line 26)")


class Idle:
    """Sleeps, but never past now."""

    def batch(self, now: float) -> Batch:
        return Batch(np.empty(0, np.int64), sleep_until=now)


def test_a_workload_that_sleeps_until_now_stands(folder: Path) -> None:
    with pytest.raises(WorkloadError, match="time would stand"):
        run(scenario_in(folder, {"kind": "idle"}), workloads={"web": Idle()})


def test_a_guest_that_manages_nothing_has_no_more_pages_than_its_size(folder: Path) -> None:
    with pytest.raises(
        PageRangeError, match='VM "web": workload scan refers to page 8192; expected 0 to 8191'
    ):
        run(scenario_in(folder, {"kind": "idle"}), workloads={"web": scan("1GiB")})
