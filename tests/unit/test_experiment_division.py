"""Runs on hosts that divide memory: policies found and made, events at their second, who comes."""

from __future__ import annotations

import math
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esxcore.errors import NotAdmittedError, PolicyError, ScenarioError
from esxcore.experiment import build_host, policy_failure, run
from esxcore.policy import MinFunding, Proportional
from esxcore.recording import Recording
from esxcore.scenario import Scenario
from esxcore.workload import Accesses

MIB = 256
NOTHING = np.empty(0, np.int64)


def scenario_in(folder: Path, **sections: Any) -> Scenario:
    """Two VMs of 32 MiB with 1 MiB of overhead on 40 MiB: 35.6 MiB are there for them."""
    data: dict[str, Any] = {
        "host": {"memory": "40MiB", "swap": "64MiB", "seed": 5},
        "sharing": {"enabled": False},
        "vms": [vm("left"), vm("right")],
        "run": {"duration": "8s"},
    }
    return Scenario.from_mapping(data | sections, "my.toml", folder)


def vm(name: str, **keys: Any) -> dict[str, Any]:
    return {"name": name, "max": "32MiB", "min": "4MiB", "overhead": "1MiB"} | keys


class Sweep:
    """Writes 4 MiB a second, one page after the other, up to so many MiB."""

    def __init__(self, mib: int) -> None:
        self.pages = mib * MIB

    def accesses(self, second: int) -> Accesses:
        pages = np.arange(self.pages)
        return Accesses(NOTHING, pages[second * 1024 : (second + 1) * 1024])


def test_two_that_want_all_get_their_targets(tmp_path: Path) -> None:
    both = {"left": Sweep(32), "right": Sweep(32)}
    scenario = scenario_in(tmp_path, run={"duration": "40s"})
    recording = run(scenario, workloads=both)
    assert recording.is_divided
    targets, resident = (recording.vms[name] for name in ("target_pages", "allocated_pages"))
    available = 40 * MIB - math.ceil(0.06 * 40 * MIB) - 2 * MIB
    assert targets[-1].sum() == pytest.approx(available, abs=1)
    assert (np.abs(targets[-1] - targets[-1].mean()) <= 1).all()
    assert (resident[-1] <= targets[-1] + MIB).all()
    taken = recording.vms["balloon_pages"] + recording.vms["swapped_pages"]
    assert (taken[-1] > 0).all()
    assert (resident + recording.vms["swapped_pages"] <= 32 * MIB).all()
    assert sum(recording.state_s().values()) == 40
    left, right, host = recording.division()
    assert left.target_pages + right.target_pages == host.target_pages == targets[-1].sum()
    assert host.max_pages == 64 * MIB
    assert run(scenario, workloads=both).to_bytes() == recording.to_bytes()


def test_who_is_off_has_no_numbers(tmp_path: Path) -> None:
    vms = [vm("first"), vm("late", start="3s", stop="6s")]
    recording = run(scenario_in(tmp_path, vms=vms), workloads={"late": Sweep(32)})
    on = [False] * 3 + [True] * 3 + [False] * 3
    assert [bool(recording.is_on(sample)[1]) for sample in range(9)] == on
    for name, column in recording.vms.items():
        if name not in ("stalled_s", "blocked_s"):
            late = column[:, 1]
            absent = np.isnan(late) if late.dtype.kind == "f" else late == -1
            # active pages are -1 as well until the first period has begun
            assert absent[:3].all() and absent[6:].all(), name
    assert recording.vms["max_pages"][:, 1].tolist() == [-1] * 3 + [32 * MIB] * 3 + [-1] * 3
    # its own second 0 is that in which it came
    assert recording.vms["allocated_pages"][3:6, 1].tolist() == [0, 4 * MIB, 8 * MIB]
    assert recording.host["vms"].tolist() == [1] * 3 + [2] * 3 + [1] * 3
    assert recording.memory()[1][1:] == (0,) * 7
    assert recording.vms["max_pages"][:, 0].tolist() == [32 * MIB] * 9


def test_events_happen_at_their_second(tmp_path: Path) -> None:
    events = [
        {"at": "5s", "vm": "left", "shares": "high", "min": "0MiB", "max": "24MiB"},
        {"at": "3s", "vm": "right", "shares": 77},
    ]
    recording = run(scenario_in(tmp_path, events=events))
    assert recording.vms["shares"][:, 0].tolist() == [320] * 5 + [480] * 4
    assert recording.vms["shares"][:, 1].tolist() == [320] * 3 + [77] * 6
    assert recording.vms["min_pages"][:, 0].tolist() == [4 * MIB] * 5 + [0] * 4
    assert recording.vms["max_pages"][:, 0].tolist() == [32 * MIB] * 5 + [24 * MIB] * 4


def test_the_tax_can_change(tmp_path: Path) -> None:
    events = [{"at": "20s", "tax_rate": 0}, {"at": "40s", "policy": {"name": "equal"}}]
    vms = [vm("busy", shares=300), vm("idle", shares=100)]
    watched = {"pages": 8192, "period": "2s"}
    scenario = scenario_in(
        tmp_path, vms=vms, events=events, sampling=watched, run={"duration": "60s"}
    )

    class Busy:
        def accesses(self, second: int) -> Accesses:
            return Accesses(NOTHING, np.arange(8 * MIB))

    recording = run(scenario, workloads={"busy": Busy()})
    taxed, untaxed, equal = recording.vms["target_pages"][[19, 39, 59]].tolist()
    assert untaxed == [6835, 2278]  # 9113 pages by shares of 3 to 1
    assert taxed[0] > untaxed[0]
    assert taxed[1] < untaxed[1]
    assert sorted(equal) == [4556, 4557]
    taken = tomllib.loads(recording.scenario)["events"]
    assert taken[0] == {"at": "20s", "tax_rate": 0.0}


OWN = """
class Part:
    def __init__(self, part=0.5, *, fails_at=None):
        self.part, self.fails_at = part, fails_at

    def targets(self, view):
        if self.fails_at is not None and view.now_s >= self.fails_at:
            return 1 // 0
        return view.min_pages + (self.part * (view.max_pages - view.min_pages)).astype(int)

class Needs:
    def __init__(self, what): self.what = what
    def targets(self, view): return view.min_pages

class Refuses:
    def __init__(self): raise ValueError("not today")
    def targets(self, view): return view.min_pages

class Leaves(Refuses):
    def __init__(self): raise SystemExit("bye")

class Exits:
    def targets(self, view): raise SystemExit(3)

class ExitsSilently:
    def targets(self, view): raise SystemExit

class Interrupts:
    def targets(self, view): raise KeyboardInterrupt

def effects():
    raise AssertionError("called")

class Floats:
    def targets(self, view): return view.min_pages * 1.0

class Nothing: pass

made = Floats()

number = 7
"""


def test_a_policy_of_ones_own_is_found_beside_the_scenario(tmp_path: Path) -> None:
    (tmp_path / "own_policy_here.py").write_text(OWN)
    scenario = scenario_in(tmp_path, policy={"name": "own_policy_here:Part", "part": 0.25})
    recording = run(scenario)
    assert recording.vms["target_pages"][-1].tolist() == [11 * MIB, 11 * MIB]
    assert str(tmp_path) not in sys.path


def test_each_folder_has_its_own_module(tmp_path: Path) -> None:
    hosts = []
    for number, name in enumerate(("one", "other")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "same_name.py").write_text(OWN.replace("0.5", str(number)))
        hosts.append(build_host(scenario_in(folder, policy={"name": "same_name:Part"})))
    assert [host.policy.part for host in hosts] == [0, 1]  # type: ignore[union-attr]


def test_a_module_from_elsewhere_stays_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "tomllib.py").write_text(OWN)
    build_host(scenario_in(tmp_path, policy={"name": "tomllib:Part"}))
    assert sys.modules["tomllib"] is tomllib


def test_built_in_policies_are_made_with_their_parameters(tmp_path: Path) -> None:
    taxed = scenario_in(tmp_path, policy={"name": "esx2002", "tax_rate": 0.25})
    assert build_host(taxed).policy == MinFunding(tax_rate=0.25)
    assert build_host(scenario_in(tmp_path, policy={"name": "proportional"})).policy == (
        Proportional()
    )
    assert (
        build_host(
            scenario_in(tmp_path, policy={"name": "none"}, host={"memory": "40MiB"}, vms=[BARE_VM])
        ).policy
        is None
    )


BARE_VM = {"name": "left", "max": "32MiB"}
A_CLASS = "expected a class with a method targets(view)"
MISTAKES = [
    ({"name": "esx2020"}, 'policy.name is "esx2020"; did you mean "esx2002"?'),
    ({"name": "zzz"}, 'policy.name is "zzz"; expected esx2002, proportional, equal, static,'),
    ({"tax_rat": 0.5}, 'unknown key policy.tax_rat of policy "esx2002"; did you mean "tax_rate"?'),
    ({"name": "equal", "x": 1}, 'unknown key policy.x of policy "equal"; expected no parameters'),
    ({"tax_rate": 1.5}, 'policy: policy "esx2002" cannot be made: tax_rate'),
    ({"tax_rate": "x"}, 'policy: policy "esx2002" cannot be made: tax_rate'),
    ({"name": "static", "pags": []}, 'unknown key policy.pags of policy "static"; did you mean'),
    ({"name": "own:Parts"}, '.py has no Parts; did you mean "Part"?'),
    ({"name": "own:Part", "prt": 1}, 'unknown key policy.prt of policy "own:Part"; did you mean'),
    ({"name": "own:Needs"}, 'policy.what is missing; policy "own:Needs" cannot be without it'),
    ({"name": "own:Refuses"}, '"own:Refuses" cannot be made: ValueError: not today'),
    ({"name": "own:Leaves"}, '"own:Leaves" cannot be made: SystemExit: bye'),
    ({"name": "own:Nothing"}, f'"own:Nothing", which is a class without it; {A_CLASS}'),
    ({"name": "own:number"}, f'policy.name is "own:number", which is of type int; {A_CLASS}'),
    ({"name": "own:effects"}, f'"own:effects", which is a function; {A_CLASS}'),
    ({"name": "own:made"}, f"which is a policy made already, of class Floats; {A_CLASS}"),
    ({"name": "own:"}, 'policy.name is "own:"; expected module:Class, both names of Python'),
    ({"name": "../own:Part"}, 'policy.name is "../own:Part"; expected module:Class'),
    ({"name": "no_such_module:X"}, "the module cannot be imported: ModuleNotFoundError: No module"),
    ({"name": "broken:X"}, "the module cannot be imported: SyntaxError"),
    ({"name": "leaves:X"}, "the module cannot be imported: SystemExit: 5"),
]


@pytest.mark.parametrize(("policy", "said"), MISTAKES)
def test_a_policy_that_is_none_is_one_line(
    tmp_path: Path, policy: dict[str, Any], said: str
) -> None:
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "broken.py").write_text("def\n")
    (tmp_path / "leaves.py").write_text("raise SystemExit(5)\n")
    with pytest.raises(ScenarioError) as error:
        run(scenario_in(tmp_path, policy=policy))
    assert str(error.value).startswith("my.toml: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_policy_of_an_event_is_refused_before_the_run(tmp_path: Path) -> None:
    told: list[int] = []
    for event, said in [
        ({"policy": {"name": "equl"}}, 'events[0].policy.name is "equl"; did you mean "equal"?'),
        ({"policy": {"tax": 0}}, "unknown key events[0].policy.tax of policy"),
    ]:
        with pytest.raises(ScenarioError) as error:
            run(
                scenario_in(tmp_path, events=[{"at": "5s"} | event]),
                progress=lambda done, _: told.append(done),
            )
        assert said in str(error.value)
    untaxed = scenario_in(
        tmp_path, policy={"name": "equal"}, events=[{"at": "5s", "tax_rate": 0.5}]
    )
    with pytest.raises(ScenarioError, match=r'unknown key events\[0\].tax_rate of policy "equal"'):
        run(untaxed)
    assert told == []


def test_what_a_policy_raises_comes_out_whole(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    policy = {"name": "own:Part", "part": 0.1, "fails_at": 20}
    with pytest.raises(ZeroDivisionError) as error:
        run(scenario_in(tmp_path, policy=policy, run={"duration": "1min"}))
    line = OWN.splitlines().index("            return 1 // 0") + 1
    assert policy_failure(error.value) == (
        'policy "own:Part" at 30 s of virtual time: ZeroDivisionError: integer division or modulo'
        f" by zero ({tmp_path / 'own.py'}, line {line})"
    )
    assert policy_failure(ZeroDivisionError()) is None


def test_even_what_ends_programs_is_blamed_on_its_policy(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    for name, said in (("Exits", "SystemExit: 3 ("), ("ExitsSilently", "SystemExit (")):
        with pytest.raises(SystemExit) as error:
            run(scenario_in(tmp_path, policy={"name": f"own:{name}"}))
        failure = policy_failure(error.value)
        assert failure is not None
        assert failure.startswith(f'policy "own:{name}" at 1 s of virtual time: {said}')
    with pytest.raises(KeyboardInterrupt) as interrupt:
        run(scenario_in(tmp_path, policy={"name": "own:Interrupts"}))
    assert policy_failure(interrupt.value) is None


def test_balloon_caps_by_guest_type_reach_the_host(tmp_path: Path) -> None:
    both = {"left": Sweep(32), "right": Sweep(32)}
    peaks = []
    for caps in ({"linux": 0.1}, {"default": 0.03125}):
        scenario = scenario_in(
            tmp_path, run={"duration": "40s"}, reclaim={"balloon_guest_caps": caps}
        )
        peaks.append(int(run(scenario, workloads=both).vms["balloon_pages"].max()))
    assert peaks[0] > MIB
    assert peaks[1] == MIB


def test_a_wrong_answer_of_a_policy_is_a_policy_error(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    with pytest.raises(PolicyError) as error:
        run(scenario_in(tmp_path, policy={"name": "own:Floats"}))
    failure = policy_failure(error.value)
    assert failure is not None
    assert failure.startswith('policy "own:Floats" at ')
    assert "expected whole pages" in failure


REFUSALS = [
    (
        {"vms": [vm("a", min="32MiB"), vm("b", min="16MiB", start="3s")]},
        'my.toml: vms[1].min is "16MiB"; expected what the host can promise at 3s (VM "b" wants',
    ),
    (
        {"vms": [vm("a"), vm("b", overhead="32MiB")]},
        'my.toml: vms[1].min is "4MiB"; expected what the host can promise at 0s (VM "b" wants',
    ),
    (
        {"vms": [vm("a"), vm("b")], "host": {"memory": "40MiB", "swap": "48MiB"}},
        'my.toml: host.swap is "48MiB"; expected room for what is promised (VM "b" wants 7168 pages'
        " of swap space reserved (size 8192 - min 1024) but 5120 are unreserved; host.swap sets how"
        " much there is)",
    ),
    (
        {
            "host": {"memory": "40MiB", "swap": "56MiB"},
            "events": [{"at": "2s", "vm": "left", "min": "0MiB"}],
        },
        'my.toml: events[0] (VM "left") at 2s: VM "left" wants 8192 pages of swap space reserved'
        " (size 8192 - min 0) but 7168 are unreserved; host.swap sets how much there is",
    ),
    (
        {"reclaim": {"state_margin": 1e9}},
        "my.toml: reclaim.state_margin is 1000000000; expected so little that less than all memory",
    ),
    (
        {"reclaim": {"thresholds": [1 - 1e-12, 0.5, 0.4, 0.3], "state_margin": 1e-9}},
        "my.toml: reclaim.state_margin is 0.000000001; expected so little",
    ),
    (
        {"vms": [vm("a", min="64MiB")]},
        'my.toml: vms[0] (VM "a"): min is "64MiB"; expected at most its max, "32MiB"',
    ),
    (
        {"events": [{"at": "2s", "vm": "left", "min": "32MiB"}]},
        'my.toml: events[0] (VM "left") at 2s: VM "left" wants',
    ),
    (
        {"events": [{"at": "2s", "vm": "left", "max": "64MiB"}]},
        'my.toml: events[0].max is "64MiB"; expected at most "32MiB", the size of VM "left" since',
    ),
]


@pytest.mark.parametrize(("sections", "said"), REFUSALS)
def test_a_refusal_of_the_host_names_the_field(
    tmp_path: Path, sections: dict[str, Any], said: str
) -> None:
    with pytest.raises(ScenarioError) as error:
        run(scenario_in(tmp_path, **sections))
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


def test_the_cause_of_a_refusal_has_the_numbers(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError) as error:
        run(scenario_in(tmp_path, vms=[vm("a", min="32MiB"), vm("b", min="16MiB")]))
    cause = error.value.__cause__
    assert isinstance(cause, NotAdmittedError)
    assert cause.wanted_pages == 17 * MIB
    assert cause.unreserved_pages == 40 * MIB - math.ceil(0.06 * 40 * MIB) - 33 * MIB


def test_drivers_are_what_the_scenario_says(tmp_path: Path) -> None:
    both = {"left": Sweep(32), "right": Sweep(32)}
    vms = [vm("left", driver={"start": "never"}), vm("right", driver={"limit": "0MiB"})]
    recording = run(scenario_in(tmp_path, vms=vms, run={"duration": "30s"}), workloads=both)
    assert (recording.vms["balloon_pages"] == 0).all()
    assert (recording.vms["swapped_pages"][-1] > 0).all()


def test_settings_of_reclamation_reach_the_host(tmp_path: Path) -> None:
    both = {"left": Sweep(32), "right": Sweep(32)}

    def with_settings(**reclaim: Any) -> Recording:
        return run(scenario_in(tmp_path, reclaim=reclaim, run={"duration": "30s"}), workloads=both)

    capped = with_settings(balloon_cap=0.125)
    assert capped.vms["balloon_pages"].max() <= 4 * MIB
    generous = with_settings(thresholds=[0.3, 0.2, 0.1, 0.05])
    assert generous.vms["target_pages"][-1].sum() == 38 * MIB - math.ceil(0.3 * 40 * MIB)


def test_a_scenario_with_room_for_all_is_not_divided(tmp_path: Path) -> None:
    recording = run(scenario_in(tmp_path, host={"memory": "128MiB"}))
    assert not recording.is_divided
    assert recording.division() == ()
    assert (recording.vms["target_pages"] == 32 * MIB).all()
