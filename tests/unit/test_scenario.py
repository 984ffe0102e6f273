"""Scenarios: read, checked, written back; a mistake is one line with field and expectation."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from esxcore.datafile import packaged
from esxcore.errors import ConfigError, DataError, ScenarioError
from esxcore.scenario import Scenario, ScenarioModel
from esxcore.scenario.guests import GuestSection, WorkloadSection
from esxcore.workload import KINDS

GOOD = """
[host]
memory = "1GiB"
content = "bytes"
seed = 3

[sharing]
enabled = false
order = "draws"
vm_rate = 10
host_rate = 20
salt = "per-vm"

[sampling]
pages = 500
period = "1min"

[[vms]]
name = "web"
max = "16MiB"
salt = "tenant"
count = 3

[[vms]]
name = "db"
contents = { trace = "traces/db.npz", vm = 1 }
workload = { activity = "builtin:active_phases", start = "1min", offset = "20s", repeat = true }

[run]
duration = "0.5h"
sample = "10s"
"""


def checked(text: str) -> Scenario:
    return Scenario.from_mapping(tomllib.loads(text), "my.toml")


def test_a_file_means_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text(GOOD)
    scenario = Scenario.from_toml(path)
    assert (scenario.host.memory, scenario.host.content, scenario.host.seed) == ("1GiB", "bytes", 3)
    assert scenario.sharing.model_dump() == {
        "enabled": False,
        "order": "draws",
        "vm_rate": 10,
        "host_rate": 20,
        "salt": "per-vm",
    }
    assert scenario.sampling.model_dump() == {"pages": 500, "period": "1min"}
    assert scenario.vm_names() == ("web-1", "web-2", "web-3", "db")
    web, db = scenario.vms
    assert (web.max, web.salt, web.contents, web.workload) == ("16MiB", "tenant", None, None)
    assert db.contents is not None
    assert db.workload is not None
    assert (db.max, db.contents.vm, db.workload.repeat) == (None, 1, True)
    assert (db.workload.start_s, db.workload.offset_s) == (60, 20)
    assert (scenario.run.duration_s, scenario.run.sample_s) == (1800, 10)
    assert scenario.data_path(db.contents.trace) == tmp_path / "traces" / "db.npz"
    assert scenario.data_path(db.workload.activity) == packaged("active_phases.npz")


def test_defaults_are_the_papers() -> None:
    scenario = checked(
        '[host]\nmemory="1GiB"\n[[vms]]\nname="a"\nmax="16MiB"\n[run]\nduration="9s"\n'
    )
    assert scenario.host.model_dump(exclude_none=True) == {
        "memory": "1GiB",
        "content": "tokens",
        "seed": 0,
    }
    assert (scenario.host.swap, scenario.policy.name, scenario.events) == (None, "esx2002", ())
    assert (scenario.sharing.vm_rate, scenario.sharing.host_rate) == (50, 200)
    assert (scenario.sharing.enabled, scenario.sharing.order) == (True, "permutation")
    assert scenario.sampling.model_dump() == {"pages": 100, "period": "30s"}
    assert scenario.run.sample_s == 1


GUESTS = """
[host]
memory = "1GiB"

[[vms]]
name = "web"
max = "64MiB"
guest = { kind = "windows", image = "nt", swap = "0MiB", boot_time = "3s", zero_rate = 5 }
driver = { max_rate = 9 }
workload = { kind = "toucher", sizes = [["0s", "1MiB"], ["1min", "2MiB"]], writes = { pool = 3 } }

[[vms]]
name = "db"
max = "64MiB"
guest = "linux"
workload = { trace = "a.csv", refs_per_s = 50, repeat = true, processes = 2, start = "1s" }

[[vms]]
name = "own"
max = "64MiB"
workload = { kind = "mine:Mine", steps = [1, 2.5, { deep = true }], "odd key" = "x" }

[run]
duration = "9s"
costs = { preset = "2002", disk_position_ns = 5000000 }
"""
TEXTS = [GOOD, GUESTS, packaged("fleet_a.toml").read_text()]


@pytest.mark.parametrize("text", TEXTS, ids=["own", "guests", "a"])
def test_what_is_written_reads_back_the_same(text: str) -> None:
    scenario = checked(text)
    again = checked(scenario.to_toml())
    assert again == scenario
    assert again.to_toml() == scenario.to_toml()


def test_names_that_need_quoting_survive() -> None:
    name = 'a "quoted" \\ päge 页'
    scenario = Scenario.from_mapping(
        {
            "host": {"memory": "1GiB"},
            "vms": [{"name": name, "max": "16MiB"}],
            "run": {"duration": "1s"},
        }
    )
    assert checked(scenario.to_toml()).vm_names() == (name,)


def test_the_packaged_scenario_is_the_default_one() -> None:
    scenario = Scenario.builtin()
    assert scenario.vm_names() == ("py1", "py2", "redis", "sqlite", "nginx")
    assert [vm.name for vm in scenario.vms if vm.workload] == ["redis", "nginx"]
    with pytest.raises(DataError, match=r"fleet_b: .* did you mean builtin:fleet_a\?"):
        Scenario.builtin("fleet_b")


SIZE = 'expected a size with its unit (KiB, MiB, GiB, TiB) in whole 4 KiB pages, such as "'
TIME = "expected whole seconds, at most 2**31, with a unit (s, min, h), such as"
ACTIVITY = '{ activity = "builtin:active_phases", start = "1min", offset = "20s", repeat = true }'
MISTAKES = [
    # sizes and durations need their units
    ('memory = "1GiB"', "memory = 512", f"host.memory is 512; {SIZE}4GiB"),
    ('memory = "1GiB"', 'memory = "512"', f'host.memory is "512"; {SIZE}4GiB"'),
    ('memory = "1GiB"', 'memory = "1GB"', f'host.memory is "1GB"; {SIZE}4GiB"'),
    ('memory = "1GiB"', 'memory = "6KiB"', f'host.memory is "6KiB"; {SIZE}4GiB"'),
    ('memory = "1GiB"', 'memory = "-1GiB"', f'host.memory is "-1GiB"; {SIZE}4GiB"'),
    ('max = "16MiB"', "max = 16", f'vms[0].max (VM "web") is 16; {SIZE}256MiB"'),
    ('duration = "0.5h"', "duration = 300", f"run.duration is 300; {TIME}"),
    ('duration = "0.5h"', 'duration = "999999999h"', f'run.duration is "999999999h"; {TIME}'),
    ('duration = "0.5h"', 'duration = "0s"', f'run.duration is "0s"; {TIME}'),
    ('duration = "0.5h"', 'duration = "5 minutes"', f'run.duration is "5 minutes"; {TIME}'),
    ('sample = "10s"', 'sample = "100ms"', f'run.sample is "100ms"; {TIME}'),
    ('start = "1min"', 'start = "1.5s"', f'vms[1].workload.start (VM "db") is "1.5s"; {TIME}'),
    # unknown keys name the nearest
    ("memory =", "memry =", 'unknown key host.memry; did you mean "memory"? (and 1 more error)'),
    ("[sharing]", "[shareing]", 'unknown key shareing; did you mean "sharing"?'),
    ("vm_rate", "vm_rat", 'unknown key sharing.vm_rat; did you mean "vm_rate"?'),
    ("repeat = true", "processes = 2", 'unknown key vms[1].workload.processes (VM "db"); did you'),
    ("activity =", "what =", 'unknown key vms[1].workload.what (VM "db"); expected one of kind'),
    (ACTIVITY, "{ }", 'vms[1].workload (VM "db"): none of them is given; expected one of kind, a'),
    (
        ACTIVITY,
        '{ kind = "zipf", trace = "a.csv" }',
        'vms[1].workload (VM "db"): kind and trace are given; expected one of kind, activity, tra',
    ),
    (ACTIVITY, "3", 'vms[1].workload (VM "db") is 3; expected a table like { kind = "zipf", memo'),
    (
        ACTIVITY,
        '{ kind = "zipf", writes = { pool = 0 } }',
        'vms[1].workload.writes (VM "db") is { pool = 0 }; expected "unique", "same" or a table',
    ),
    (
        ACTIVITY,
        '{ kind = "zipf", processes = 0 }',
        'vms[1].workload.processes (VM "db") is 0; expected a whole number from 1 to 65536',
    ),
    (
        ACTIVITY,
        '{ kind = "zipf", memory = 1979-05-27 }',
        'vms[1].workload (VM "db"): memory is datetime.date(1979, 5, 27); expected numbers, text',
    ),
    (
        'salt = "tenant"',
        'guest = "lnux"',
        'vms[0].guest.kind (VM "web") is "lnux"; expected "default", "linux" or "windows"',
    ),
    (
        'salt = "tenant"',
        "guest = { kernal = 1 }",
        'unknown key vms[0].guest.kernal (VM "web"); did you mean "kernel"?',
    ),
    (
        'salt = "tenant"',
        'guest = { boot_time = "fast" }',
        f'vms[0].guest.boot_time (VM "web") is "fast"; {TIME}',
    ),
    (
        'sample = "10s"',
        'costs = "2003"',
        'run.costs.preset is "2003"; expected "nvme" or "2002"',
    ),
    (
        'sample = "10s"',
        "costs = { disk_page_ns = -1 }",
        "run.costs.disk_page_ns is -1; expected whole nanoseconds from 0 to 10**12",
    ),
    ('sample = "10s"', "costs = { disc = 1 }", "unknown key run.costs.disc; "),
    ("repeat = true", "repaet = true", 'workload.repaet (VM "db"); did you mean "repeat"?'),
    ("vm = 1", "vm = 1, zzz = 1", 'vms[1].contents.zzz (VM "db"); expected one of trace, image'),
    # missing ones say what belongs there
    ('memory = "1GiB"', "", f'host.memory is missing; {SIZE}4GiB"'),
    ('name = "db"', "", "vms[1].name is missing; expected a name in quotes"),
    ("[run]", "[runs]", 'unknown key runs; did you mean "run"?'),
    ('max = "16MiB"', "", 'vms[0] (VM "web"): neither max nor contents is given; expected one'),
    (", vm = 1", "", 'vms[1].contents.vm (VM "db") is missing; expected the position of a VM'),
    # wrong types and values
    ('content = "bytes"', 'content = "byte"', 'host.content is "byte"; expected "tokens" or "b'),
    ("seed = 3", "seed = -3", "host.seed is -3; expected a whole number from 0"),
    ("seed = 3", "seed = 3.0", "host.seed is 3.0; expected a whole number from 0"),
    ("seed = 3", "seed = true", "host.seed is true; expected a whole number from 0"),
    ("seed = 3", f"seed = 0x{'f' * 9000}", "host.seed is too long a number; expected a whole"),
    ("seed = 3", "seed = 1979-05-27", "host.seed is datetime.date(1979, 5, 27); expected a"),
    ("vm_rate = 10", "vm_rate = 0", "sharing.vm_rate is 0; expected pages a second"),
    ("enabled = false", "enabled = 0", "sharing.enabled is 0; expected true or false"),
    ('order = "draws"', 'order = "random"', 'sharing.order is "random"; expected "permutation"'),
    ("pages = 500", "pages = -1", "sampling.pages is -1; expected pages of each VM, a whole"),
    ("pages = 500", "pages = 1048577", "expected pages of each VM, a whole number from 0 (off)"),
    ('period = "1min"', 'period = "0s"', f'sampling.period is "0s"; {TIME}'),
    ('period = "1min"', "period = 60", f"sampling.period is 60; {TIME}"),
    ("count = 3", "count = 0", 'vms[0].count (VM "web") is 0; expected a whole number from 1'),
    ("count = 3", "count = 1000000000", "expected a whole number from 1 to 65536"),
    ("vm = 1", "vm = -1", 'vms[1].contents.vm (VM "db") is -1; expected the position'),
    ('name = "web"', 'name = ""', 'is ""; expected a name in quotes, not empty'),
    ('name = "web"', r'name = "a\nb"', r'is "a\nb"; expected a name in quotes, not empty'),
    ("[[vms]]\nname = \"db\"", "[[vms]]\nname = 7", "vms[1].name is 7; expected a name in quotes"),
    ('salt = "tenant"', 'salt = ""', 'vms[0].salt (VM "web") is ""; expected the name of a'),
    ("repeat = true", "repeat = 1", 'vms[1].workload.repeat (VM "db") is 1; expected true or'),
    ('contents = { trace = "traces/db.npz", vm = 1 }', 'contents = "x.npz"', 'is "x.npz"; expect'),
    # names
    ('name = "db"', 'name = "web-2"', 'vms: 2 of them are named "web-2"; expected a name of its'),
]  # fmt: skip


@pytest.mark.parametrize(("right", "wrong", "said"), MISTAKES)
def test_a_mistake_is_one_line_that_teaches(
    tmp_path: Path, right: str, wrong: str, said: str
) -> None:
    assert GOOD.count(right) == 1
    path = tmp_path / "my.toml"
    path.write_text(GOOD.replace(right, wrong))
    with pytest.raises(ScenarioError) as error:
        Scenario.from_toml(path)
    text = str(error.value)
    assert text.startswith(f"{path}: ")
    assert said in text
    assert "\n" not in text
    assert len(text.removeprefix(f"{path}: ")) < 250


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, "host is missing; expected a table [host] (and 2 more errors)"),
        ({"vms": []}, "vms is []; expected one table [[vms]] or more"),
        ({"vms": {"name": "a"}}, 'vms is { name = "a" }; expected one table [[vms]] or more'),
        ({"vms": [7]}, "vms[0] is 7; expected one table [[vms]] or more"),
        ({"host": "1GiB"}, 'host is "1GiB"; expected a table [host]'),
    ],
)
def test_a_mistake_of_shape(data: dict[str, Any], said: str) -> None:
    whole = tomllib.loads(GOOD) | data if data else data
    with pytest.raises(ScenarioError) as error:
        Scenario.from_mapping(whole, "my.toml")
    assert str(error.value) == f"my.toml: {said}"


def test_several_mistakes_are_counted() -> None:
    text = GOOD.replace("vm_rate = 10", "vm_rate = 0").replace("seed = 3", 'seed = "3"')
    with pytest.raises(ScenarioError, match=r'host\.seed is "3"; .* \(and 1 more error\)$'):
        checked(text)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[host\n", "not valid TOML: "),
        (b'[host]\nmemory = "1GiB\n', "(at line 2, column"),
        (b"a = \xff", "not UTF-8 text (byte 4)"),
        (b"a = " + b"9" * 5000, "not valid TOML: "),
        (b"a = " + b"[" * 100_000, "not valid TOML: "),
    ],
)
def test_a_file_that_is_no_toml(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "my.toml"
    path.write_bytes(content)
    with pytest.raises(ScenarioError) as error:
        Scenario.from_toml(path)
    assert str(error.value).startswith(f"{path}: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path, why in [(tmp_path / "no.toml", "No such file"), (tmp_path, "Is a directory")]:
        with pytest.raises(ScenarioError, match=f"{path}: cannot be read \\({why}"):
            Scenario.from_toml(path)


def test_a_scenario_error_is_a_config_error() -> None:
    error = checked(GOOD).error("vms[0].max", "4KiB", "more")
    assert isinstance(error, ConfigError)
    assert str(error) == 'my.toml: vms[0].max is "4KiB"; expected more'


def test_a_scenario_does_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        checked(GOOD).host.memory = "2GiB"  # type: ignore[misc]


def test_every_key_of_the_models_is_explained_in_the_packaged_file() -> None:
    text = packaged("fleet_a.toml").read_text()
    sections = [field.annotation for field in ScenarioModel.model_fields.values()]
    keys = {key for section in sections for key in getattr(section, "model_fields", {})}
    keys |= {"name", "max", "contents", "workload", "salt", "count"}
    keys |= {"trace", "vm", "activity", "start", "offset", "repeat"}
    keys |= set(GuestSection.model_fields) | set(WorkloadSection.model_fields) | {"pool"}
    keys |= {kind for kind in KINDS if kind != "replay"}
    assert {key for key in keys if key not in text} == set()


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "marked.toml"
    path.write_text(GOOD, "utf-8-sig")
    assert Scenario.from_toml(path).host.seed == 3
