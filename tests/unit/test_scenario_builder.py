"""Scenarios built in Python: one meaning with the file, each step checked, objects of one's own."""

from __future__ import annotations

import copy
import pickle
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import esxcore as esx
from esxcore.errors import ArgumentTypeError, ScenarioError

SIZE = "expected a size with its unit (KiB, MiB, GiB, TiB) in whole 4 KiB pages, such as"


class ByActivity:
    """A policy that remembers how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def targets(self, view: esx.HostView) -> Any:
        """More where more is in use, and less the more often it was asked."""
        self.asked += 1
        return view.apportion(view.active_pages + self.asked)


class Sweep:
    """A workload that remembers where it is."""

    def __init__(self) -> None:
        self.page = 0

    def accesses(self, second: int) -> esx.Accesses:
        """A hundred pages further."""
        self.page += 100
        return esx.Accesses(np.empty(0, np.int64), np.arange(self.page, self.page + 100))


def small(**settings: Any) -> esx.Scenario:
    lab = esx.Scenario(memory="512MiB", duration="20s", **settings)
    lab.vm("idle", max="64MiB")
    lab.vm("busy", max="64MiB", workload=esx.zipf("20MiB"))
    return lab


FILE = """
[host]
memory = "512MiB"
swap = "1GiB"
seed = 7
[sharing]
enabled = false
[policy]
name = "esx2002"
tax_rate = 0.5
[[vms]]
name = "idle"
max = "256MiB"
guest = "windows"
workload = "idle"
[[vms]]
name = "busy"
max = "256MiB"
guest = { kind = "linux", swap = "64MiB", boot_time = "5s" }
driver = { start = "never", limit = "8MiB" }
workload = { kind = "zipf", memory = "220MiB", start = "3s" }
count = 2
[[events]]
at = "5min"
vm = "busy-2"
shares = 2000
[run]
duration = "20min"
costs = { preset = "2002" }
"""


def test_what_is_built_is_what_the_file_says() -> None:
    lab = esx.Scenario(
        memory="512MiB",
        duration="20min",
        swap="1GiB",
        seed=np.int64(7),
        sharing={"enabled": False},
        policy=esx.MinFunding(0.5),
        costs=esx.Costs.preset("2002"),
    )
    lab.vm("idle", max="256MiB", guest="windows", workload="idle")
    lab.vm(
        "busy",
        max="256MiB",
        guest=esx.Guest("linux", swap=64 * 256, boot_time=5),
        driver=esx.BalloonDriver(start=None, limit="8MiB"),
        workload={"kind": esx.zipf("220MiB"), "start": "3s"},
        count=2,
    )
    lab.event("5min", vm="busy-2", shares=np.int64(2000))
    file = esx.Scenario.from_mapping(tomllib.loads(FILE), "my.toml")
    assert lab.vms[1].guest is not None
    assert lab.vms[1].guest.swap == "65536KiB"
    assert lab == file.changed({"vms.busy.guest.swap": "65536KiB"})
    assert file == esx.Scenario.from_mapping(tomllib.loads(lab.to_toml())).changed(
        {"vms.busy.guest.swap": "64MiB"}
    )


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"max": "256MB"}, f'vms[2].max (VM "new") is "256MB"; {SIZE} "256MiB"'),
        ({"max": "4MiB", "mxx": 1}, 'unknown key vms[2].mxx (VM "new"); did you mean "max"?'),
        ({}, 'vms[2] (VM "new"): neither max nor contents is given; expected one of them, such as'),
        ({"guest": "lnux"}, 'vms[2].guest.kind (VM "new") is "lnux"; expected "default", "linux"'),
        ({"workload": 5}, 'vms[2].workload (VM "new") is 5; expected a kind such as "zipf", a map'),
        (
            {"workload": np.zeros((9, 9))},
            'vms[2].workload (VM "new") is array([[0., 0., 0.',
        ),
        ({"workload": Sweep}, "is the class Sweep; expected an instance, such as Sweep()"),
        ({"workload": "zpf"}, 'vms[2].workload.kind is "zpf"; did you mean "zipf"?'),
        ({"workload": "nothing"}, 'vms[2].workload.kind is "nothing"; expected toucher, zipf'),
        (
            {"workload": {"kind": "zipf", "memry": "1MiB"}},
            "unknown key vms[2].workload.memry of workload 'zipf'; did you mean \"memory\"?",
        ),
        ({"workload": "files"}, 'vms[2].workload.kind is "files"; expected guest = "linux" or "w'),
        (
            {"workload": {"kind": Sweep(), "speed": 3}},
            "vms[2].workload: speed is given, but what it is of is an object that is made already",
        ),
        (
            {"name": "busy", "max": "4MiB"},
            'vms: 2 of them are named "busy"; expected a name of its',
        ),
    ],
)
def test_a_machine_is_checked_at_once_and_changes_nothing(keys: dict[str, Any], said: str) -> None:
    lab = small()
    before = copy.deepcopy(lab)
    usual = {"name": "new", "max": "64MiB"} if "max" not in keys and keys else {"name": "new"}
    with pytest.raises(ScenarioError) as error:
        lab.vm(**(usual | keys))
    assert f"scenario: {said}" in str(error.value) or said in str(error.value)
    assert "\n" not in str(error.value)
    assert lab == before
    lab.vm("new", max="64MiB")
    assert lab.vm_names() == ("idle", "busy", "new")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"at": "5s", "vm": "bsy", "shares": 3}, 'events[0].vm is "bsy"; did you mean "busy"?'),
        ({"at": 5, "vm": "busy", "shares": 3}, 'events[0].at (VM "busy") is 5; expected whole sec'),
        ({"at": "5s", "vm": "busy", "share": 3}, "unknown key events[0].share"),
        ({"at": "5s", "policy": "proxmx"}, 'events[0].policy.name is "proxmx"; did you mean "prox'),
        (
            {"at": "5s", "policy": {"tax_rat": 0.1}},
            "unknown key events[0].policy.tax_rat of policy",
        ),
        ({"at": "5s", "policy": ByActivity()}, "expected a name or a table of a policy"),
        ({"at": "5s", "policy": 7}, "events[0].policy is 7; expected the name of a policy"),
        ({"at": "5s"}, "events[0]: nothing to do is given; expected one of vm, tax_rate and poli"),
    ],
)
def test_an_event_is_checked_at_once_and_changes_nothing(keys: dict[str, Any], said: str) -> None:
    lab = small()
    with pytest.raises(ScenarioError) as error:
        lab.event(**keys)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert lab == small()
    lab.event("5s", policy="equal")
    assert lab.events[0].policy is not None
    assert lab.events[0].policy.name == "equal"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, f'host.memory is missing; {SIZE} "4GiB" (and 1 more error)'),
        ({"memory": "1GiB"}, "run.duration is missing; expected whole seconds"),
        ({"memory": 512, "duration": "1s"}, f'host.memory is 512; {SIZE} "4GiB"'),
        ({"memry": "1GiB"}, 'unknown keyword memry; did you mean "memory"?'),
        ({"vms": []}, 'unknown keyword vms; expected one of memory, swap, low_memory, content'),
        ({"policy": "esx2003"}, 'policy.name is "esx2003"; did you mean "esx2002"?'),
        ({"policy": ByActivity}, "policy is the class ByActivity; expected an instance, such as"),
        ({"policy": None}, 'policy is None; expected the name of a policy such as "esx2002"'),
        (
            {"policy": {"name": "esx2002", "tax_rate": 2.0}},
            'policy: policy "esx2002" cannot be made: tax_rate is 2; expected a number of at least',
        ),
        ({"sharing": {"vm_rat": 3}}, 'unknown key sharing.vm_rat; did you mean "vm_rate"?'),
        ({"sharing": "on"}, 'sharing is "on"; expected a table [sharing]'),
    ],
)  # fmt: skip
def test_a_scenario_is_checked_when_it_is_made(settings: dict[str, Any], said: str) -> None:
    usual = {"memory": "1GiB", "duration": "1s"} if {"policy", "sharing"} & set(settings) else {}
    with pytest.raises(ScenarioError) as error:
        esx.Scenario(**(usual | settings))
    assert str(error.value).startswith("scenario: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_an_empty_scenario_may_be_there_but_not_be_run() -> None:
    lab = esx.Scenario(memory="64MiB", duration="1s")
    assert (lab.vms, lab.vm_names()) == ((), ())
    assert "no VMs yet" in repr(lab)
    with pytest.raises(ScenarioError, match=r"nothing to run: expected one VM or more$"):
        esx.run(lab)


@pytest.mark.parametrize("wrong", [5, None, "fleet_a", {"host": {}}, esx.Scenario])
def test_only_scenarios_are_run(wrong: Any) -> None:
    with pytest.raises(ArgumentTypeError, match=r"^scenario: .*; expected a Scenario$"):
        esx.run(wrong)
    with pytest.raises(ArgumentTypeError, match="expected a Scenario"):
        esx.build_host(wrong)


# -- objects of one's own --------------------------------------------------------------------------


def test_objects_start_anew_in_each_run() -> None:
    policy, sweep = ByActivity(), Sweep()
    lab = small(policy=policy)
    lab.vm("own", max="64MiB", workload=sweep, count=2)
    first = esx.run(lab)
    assert first == esx.run(lab)
    assert (policy.asked, sweep.page) == (0, 0)
    touched = first.vms["allocated_pages"][-1].tolist()
    assert touched[2] == touched[3] == 2000  # each of the two began with a copy
    assert first.decisions.policies == ("ByActivity",)


class Remembering(ByActivity):
    """A policy that says how it is forked."""

    def fork(self) -> Remembering:
        """Another one, asked a thousand times."""
        other = Remembering()
        other.asked = 1000
        return other


def test_a_policy_that_can_fork_is_forked() -> None:
    fresh = small(policy=Remembering()).own_policy()
    assert isinstance(fresh, Remembering)
    assert fresh.asked == 1000


class Stubborn(ByActivity):
    """A policy that cannot be copied."""

    def __deepcopy__(self, memo: Any) -> Any:
        raise RuntimeError("I am unique")


def test_an_object_that_cannot_be_copied_is_named() -> None:
    with pytest.raises(ScenarioError) as error:
        esx.run(small(policy=Stubborn()))
    assert str(error.value) == (
        "scenario: policy is an object of class Stubborn, of which each run needs a copy, and it"
        " cannot be copied (RuntimeError: I am unique); expected one that can, or the name of its"
        " class"
    )


def test_a_text_cannot_hold_objects_and_the_provenance_names_them() -> None:
    lab = small(policy=ByActivity())
    with pytest.raises(
        ScenarioError, match=r"^scenario: policy is an object of class ByActivity, "
    ):
        lab.to_toml()
    own = small()
    own.vm("own", max="64MiB", workload=Sweep())
    with pytest.raises(
        ScenarioError, match=r'vms\[2\].workload \(VM "own"\) is an object of class'
    ):
        own.to_toml()
    told = esx.run(lab).scenario
    assert told == lab.described()
    assert told.startswith("# policy was an object of class ByActivity; here is only its name\n")
    assert tomllib.loads(told)["policy"]["name"] == f"{__name__}:ByActivity"


def test_a_trace_in_memory_is_an_object_too() -> None:
    lab = small()
    trace = esx.replay([1, 2, 3, 1], refs_per_s=10)
    lab.vm("own", max="64MiB", workload=trace)
    assert esx.run(lab) == esx.run(lab, workloads={"own": trace})
    with pytest.raises(ScenarioError, match="an object of class Program, which no file can hold"):
        lab.to_toml()


def test_files_of_a_program_are_those_that_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "refs.csv").write_text("1,r\n2,w\n")
    monkeypatch.chdir(tmp_path)
    lab = small()
    lab.vm("own", max="64MiB", workload=esx.replay("refs.csv", refs_per_s=10))
    assert f'trace = "{tmp_path / "refs.csv"}"' in lab.to_toml()


# -- values ----------------------------------------------------------------------------------------


def test_scenarios_are_values() -> None:
    lab = small(policy=ByActivity())
    lab.vm("own", max="64MiB", workload=Sweep())
    for other in (copy.deepcopy(lab), pickle.loads(pickle.dumps(lab)), copy.copy(lab)):
        assert other == lab
        other.vm("new", max="64MiB")
        other.event("2s", vm="new", shares=1)
        assert (other != lab, lab.vm_names()) == (True, ("idle", "busy", "own"))
        assert esx.run(other.changed({"run.duration": "2s"})).vm_names[-1] == "new"
    assert lab != small()
    assert lab.with_policy("equal") != lab
    assert lab.with_policy(Remembering()) != lab
    grown = ByActivity()
    grown.asked = 3
    assert lab.with_policy(grown) != lab
    assert lab != "scenario"
    with pytest.raises(TypeError, match="unhashable"):
        hash(lab)


def test_one_line_and_a_table_say_what_matters() -> None:
    lab = small(policy={"name": "esx2002", "tax_rate": 0.5}, seed=4)
    lab.vm("<b>", max="64MiB", count=3, stop="9s")
    lab.event("5s", tax_rate=0)
    assert repr(lab) == (
        "<Scenario: 512MiB for 20s; policy esx2002 (tax_rate 0.5); 5 VMs of 320 MiB in all:"
        " idle 64MiB, busy 64MiB, <b> x 3 64MiB; 1 event; seed 4>"
    )
    table = lab._repr_html_()
    assert table.startswith("<table>")
    assert "<td>zipf</td>" in table
    assert "&lt;b&gt; x 3" in table
    assert "<b>" not in table
    assert "script" not in table
    for number in range(60):
        lab.vm(f"more-{number}", max="4MiB")
    assert len(repr(lab)) < 300
    assert "and 23 more" in lab._repr_html_()


# -- changes ---------------------------------------------------------------------------------------


def test_fields_are_replaced_by_name() -> None:
    lab = small()
    lab.vm("a.b", max="64MiB", count=2)
    lab.event("5s", vm="busy", shares=3)
    changed = lab.changed(
        {
            "policy.tax_rate": 0.5,
            "vms.busy.max": "48MiB",
            "vms.busy.workload.memory": "10MiB",
            "vms.a.b.guest.kernel": "4MiB",
            "vms.*.min": "4MiB",
            "run.duration": "5min",
            "run.costs.disk_page_ns": 5,
            "events.0.shares": "high",
            "sharing": {"enabled": False},
        }
    )
    assert (changed.policy.name, changed.policy.parameters) == ("esx2002", {"tax_rate": 0.5})
    assert [vm.max for vm in changed.vms] == ["64MiB", "48MiB", "64MiB"]
    assert [vm.min for vm in changed.vms] == ["4MiB"] * 3
    assert changed.vms[1].workload is not None
    assert changed.vms[1].workload.parameters["memory"] == "10MiB"
    assert changed.vms[2].guest is not None
    assert (changed.vms[2].guest.kind, changed.vms[2].guest.kernel) == ("linux", "4MiB")
    assert changed.run.duration_s == 300
    assert changed.run.costs.changes == {"disk_page_ns": 5}
    assert changed.events[0].shares == "high"
    assert not changed.sharing.enabled
    assert lab.vms[1].max == "64MiB"
    assert lab.policy.parameters == {}


def test_another_policy_has_no_parameters_of_the_one_before() -> None:
    lab = small(policy={"name": "esx2002", "tax_rate": 0.5})
    assert lab.changed({"policy.name": "equal"}).policy.parameters == {}
    assert lab.with_policy("proxmox").policy.name == "proxmox"
    assert lab.with_policy({"name": "proxmox", "round_pages": 3}).policy.parameters == {
        "round_pages": 3
    }
    assert lab.with_policy(esx.Proxmox(round_pages=3)) == lab.with_policy(
        {"name": "proxmox", "round_pages": 3}
    )
    assert lab.with_policy(esx.Squeezed(7)).policy.parameters == {"reserved_pages": 7}
    own = ByActivity()
    assert lab.with_policy(own).has_own_policy
    assert not lab.with_policy(own).with_policy("equal").has_own_policy
    bare = esx.Scenario.from_mapping(tomllib.loads(small().to_toml())).with_policy("none")
    assert bare.policy.is_bare


def test_workloads_are_replaced_whole() -> None:
    lab = small()
    own = lab.changed({"vms.*.workload": Sweep()})
    assert esx.run(own).vms["allocated_pages"][-1].tolist() == [2000, 2000]
    for gone in ({"vms.idle.workload": None}, {"vms.idle.workload": "idle"}):
        with pytest.raises(ScenarioError, match=r'vms\[1\].workload \(VM "busy"\) is an object'):
            own.changed(gone).to_toml()
    again = own.changed({"vms.*.workload.start": "5s"})
    assert esx.run(again).vms["allocated_pages"][-1].tolist() == [1500, 1500]
    zipf = own.changed({"vms.*.workload.kind": "idle"})
    assert "idle" in zipf.to_toml()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"polcy.tax_rate": 0.5},
            'unknown field "polcy.tax_rate"; did you mean "policy.tax_rate"?',
        ),
        (
            {"policy.tax_rat": 0.5},
            'unknown key policy.tax_rat of policy "esx2002"; did you mean "t',
        ),
        ({"memory": "1GiB"}, 'unknown field "memory"; did you mean "host.memory"?'),
        ({"host.memry": "1GiB"}, 'unknown key host.memry; did you mean "memory"?'),
        (
            {"vms.bsy.max": "1GiB"},
            'unknown field "vms.bsy.max": no VM is named "bsy"; did you mean',
        ),
        ({"vms.x.max": "1GiB"}, 'no VM is named "x"; expected one of "idle", "busy"'),
        ({"vms.busy": {}}, '"vms.busy" is a whole VM; expected a field such as vms.busy.max'),
        ({"vms": []}, 'unknown field "vms"; expected one such as policy.tax_rate or vms.web.max'),
        ({"vms.busy.mx": "1GiB"}, 'unknown key vms[1].mx (VM "busy"); did you mean "max"?'),
        ({"vms.busy.max": "1GB"}, f'vms[1].max (VM "busy") is "1GB"; {SIZE}'),
        ({"vms.busy.workload.memry": 1}, "unknown key vms[1].workload.memry of workload 'zipf'"),
        ({"events.0.at": "1s"}, 'unknown field "events.0.at"; expected a field: no event is there'),
        ({"run.duration.x": 5}, 'unknown field "run.duration.x"; did you mean "run.duration"?'),
        ({"run.duration": 5}, "run.duration is 5; expected whole seconds, at most 2**31"),
        ({3: 4}, "3 is no field; expected a name such as vms.web.max"),
        ([], "changes are []; expected a mapping of fields to values"),
        ({"policy": "none", "vms.busy.min": "4MiB"}, "vms[1].min is given, but memory is not div"),
    ],
)
def test_a_wrong_change_is_one_line(changes: Any, said: str) -> None:
    with pytest.raises(ScenarioError) as error:
        small().changed(changes)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_an_object_takes_no_parameters_later_on() -> None:
    lab = small(policy=ByActivity())
    with pytest.raises(
        ScenarioError, match="policy: tax_rate is given, but what it is of is an obj"
    ):
        lab.changed({"policy.tax_rate": 0.5})
    with pytest.raises(
        ScenarioError, match="the event at 5s: tax_rate is given, but what it is of"
    ):
        lab.event("5s", tax_rate=0.5)
    lab.event("4s", policy="esx2002")
    lab.event("5s", tax_rate=0.5)
    short = lab.changed({"host.memory": "144MiB"})
    assert esx.run(short).decisions.policies == ("ByActivity", "esx2002")


def test_devices_may_be_objects() -> None:
    lab = esx.Scenario(memory="64MiB", duration="5s", low_memory="16MiB")
    nic = esx.Nic(tx=[("0s", 10), ("2s", 20)], reuse="few", few=4)
    lab.vm("web", max="32MiB", guest="linux", nic=nic, disk=esx.Disk("all"))
    (vm,) = esx.Scenario.from_mapping(tomllib.loads(lab.to_toml())).vms
    assert vm == lab.vms[0]
    assert vm.nic is not None
    assert (vm.nic.reuse, vm.nic.few, vm.nic.tx_ring) == ("few", 4, 256)
    assert vm.disk is not None
    assert vm.disk.dma == "all"


@pytest.mark.parametrize("name", ["memory", "duration", "polcy"])
def test_nothing_is_set_by_assignment(name: str) -> None:
    lab = esx.Scenario(memory="64MiB", duration="5s")
    with pytest.raises(AttributeError, match=r"cannot be set; scenario\.changed"):
        setattr(lab, name, "1GiB")
