"""What cannot be in a scenario whatever comes of it: refused as it is read or built."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

import esxcore as esx
from esxcore import Scenario, ScenarioError

Tables = dict[str, Any]


def scenario(
    *, vm: Tables | None = None, event: Tables | None = None, **sections: Tables
) -> Scenario:
    tables: Tables = {
        "host": {"memory": "64MiB"} | sections.pop("host", {}),
        "vms": [{"name": "web", "max": "16MiB"} | (vm or {})],
        "events": [] if event is None else [event],
        "run": {"duration": "5s"} | sections.pop("run", {}),
    }
    return Scenario.from_mapping(tables | sections, "my.toml")


REFUSED: dict[str, tuple[Tables, str]] = {
    "a late event": (
        {"event": {"at": "6s", "vm": "web", "shares": 5}},
        'events[0].at is "6s"; expected at most "5s", which is run.duration',
    ),
    "a late start": (
        {"vm": {"start": "1min"}},
        'vms[0].start is "1min"; expected at most "5s", which is run.duration',
    ),
    "min above max": (
        {"vm": {"min": "17MiB"}},
        'vms[0] (VM "web"): min is "17MiB"; expected at most its max, "16MiB"',
    ),
    "half of max above memory": (
        {"vm": {"max": "96MiB"}},
        'vms[0].max is "96MiB"; expected half of it and an overhead of 32 MiB within "64MiB", which'
        " is host.memory",
    ),
    "min above memory": (
        {"vm": {"max": "96MiB", "min": "65MiB", "overhead": "0MiB"}},
        'vms[0].min is "65MiB"; expected it and an overhead of nothing within "64MiB", which is'
        " host.memory",
    ),
    "overhead above memory": (
        {"vm": {"overhead": "65MiB"}},
        'vms[0].overhead is "65MiB"; expected at most "64MiB", which is host.memory',
    ),
    "too little to swap to": (
        {"host": {"swap": "4MiB"}},
        'vms[0].max is "16MiB"; expected what is above its min, 8 MiB, within "4MiB", which is'
        " host.swap",
    ),
    "low memory above memory": (
        {"host": {"low_memory": "65MiB"}},
        'host.low_memory is "65MiB"; expected at most "64MiB", which is host.memory',
    ),
    "max grows": (
        {"event": {"at": "1s", "vm": "web", "max": "17MiB"}},
        'events[0].max is "17MiB"; expected at most "16MiB", the size of VM "web" since power-on',
    ),
    "max below min": (
        {"event": {"at": "1s", "vm": "web", "max": "7MiB"}},
        'events[0].max is "7MiB"; expected at least its min, 8 MiB by then',
    ),
    "min above max in an event": (
        {"event": {"at": "1s", "vm": "web", "max": "8MiB", "min": "12MiB"}},
        'events[0].min is "12MiB"; expected at most its max, 8 MiB by then',
    ),
    "io without effect": (
        {"io": {"decay": "2s"}},
        'io.decay is "2s", but every device reaches all of host.memory, "64MiB"; expected'
        " host.low_memory, which is less",
    ),
    "io without effect, said": (
        {"io": {"mode": "copy"}, "host": {"low_memory": "64MiB"}},
        'io.mode is "copy", but every device reaches all of host.memory, "64MiB"',
    ),
    "a disk without files": (
        {"vm": {"disk": "low"}},
        'vms[0] (VM "web"): disk is given; expected guest = "linux" or "windows", who have files',
    ),
    "a card without packets": (
        {"vm": {"nic": {}}},
        'vms[0].nic (VM "web"): neither tx nor rx is given; expected packets a second',
    ),
    "few of fewer": (
        {"vm": {"nic": {"tx": 1, "reuse": "few", "few": 9, "rx_ring": 8}}},
        'vms[0].nic (VM "web"): few is 9; expected at most 8, the buffers of the smaller ring',
    ),
}


@pytest.mark.parametrize(("tables", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused_with_its_key(tables: Tables, said: str) -> None:
    with pytest.raises(ScenarioError) as error:
        scenario(**tables)
    assert str(error.value).startswith(f"my.toml: {said}")
    assert "\n" not in str(error.value)


FINE: dict[str, Tables] = {
    "an event at the end": {"event": {"at": "5s", "vm": "web", "shares": 5}},
    "a stop after the end": {"vm": {"stop": "6s"}},
    "idle to the end": {"vm": {"workload": {"kind": "idle", "start": "9s"}}},
    "a start at the end": {"vm": {"start": "5s"}},
    "all is promised": {"vm": {"max": "24MiB", "min": "24MiB"}},
    "more than memory, little promised": {"vm": {"max": "65MiB", "min": "1MiB"}},
    "nobody divides": {"vm": {"max": "128MiB"}, "policy": {"name": "none"}},
    "nothing is promised": {"vm": {"min": "0MiB", "overhead": "0MiB"}},
    "io as ever": {"io": {"threshold": 16}},
    "much memory": {"io": {"threshold": 4}, "host": {"memory": "8GiB"}},
    "no packets, said": {"vm": {"nic": {"tx": 0}}},
    "few of as many": {"vm": {"nic": {"tx": 1, "reuse": "few", "few": 8, "rx_ring": 8}}},
    "back to its max": {"event": {"at": "1s", "vm": "web", "max": "16MiB", "min": "16MiB"}},
}


@pytest.mark.parametrize("tables", FINE.values(), ids=FINE)
def test_what_can_be_is_not(tables: Tables) -> None:
    made = scenario(**tables)
    assert Scenario.from_mapping(esx_toml(made)) == made


def esx_toml(made: Scenario) -> Any:
    return tomllib.loads(made.to_toml())


def test_events_follow_one_another_in_time() -> None:
    lab = esx.Scenario(memory="64MiB", duration="9s")
    lab.vm("web", max="16MiB", count=2)
    lab.event("6s", vm="web-2", max="5MiB", min="4MiB")
    lab.event("3s", vm="web-2", max="8MiB")
    with pytest.raises(ScenarioError, match=r'events\[2\].min is "6MiB"; .* its max, 5 MiB by'):
        lab.event("7s", vm="web-2", min="6MiB")
    lab.event("7s", vm="web-1", min="6MiB")
    assert len(lab.events) == 3


def test_a_step_that_cannot_be_changes_nothing() -> None:
    lab = esx.Scenario(memory="64MiB", duration="9s")
    for keys in ({"max": "8MiB", "min": "9MiB"}, {"max": "8MiB", "start": "10s"}):
        with pytest.raises(ScenarioError, match=r"vms\[0\]"):
            lab.vm("web", **keys)
    lab.vm("web", max="8MiB")
    with pytest.raises(ScenarioError, match=r'events\[0\].at is "10s"; .* "9s"'):
        lab.event("10s", vm="web", shares=1)
    assert (len(lab.vms), len(lab.events)) == (1, 0)


def test_a_shorter_run_or_a_smaller_host_names_what_no_longer_fits() -> None:
    lab = esx.Scenario(memory="64MiB", duration="9s")
    lab.vm("web", max="16MiB")
    lab.event("5s", vm="web", shares=1)
    with pytest.raises(ScenarioError, match=r'events\[0\].at is "5s"; expected at most "4s", wh'):
        lab.changed({"run.duration": "4s"})
    with pytest.raises(ScenarioError, match=r'vms\[0\].max is "16MiB"; .* "32MiB", which is host'):
        lab.changed({"host.memory": "32MiB"})
    with pytest.raises(ScenarioError, match=r'events\[0\].at is "5s"; expected at most "4s", wh'):
        esx.sweep(lab, {"run.duration": ["9s", "4s"]}, jobs=1)


def test_room_for_all_leaves_out_what_has_no_effect_there() -> None:
    lab = esx.Scenario(
        memory="64MiB", low_memory="48MiB", duration="9s", io={"threshold": 4}, policy="none"
    )
    lab.vm("web", max="16MiB", nic={"tx": 5})
    roomy = lab.undivided("16MiB")
    assert (roomy.host.low_memory, roomy.io.threshold) == (None, 16)
    assert lab.undivided("64MiB").io.threshold == 4


def test_a_card_has_no_more_few_buffers_than_its_smaller_ring() -> None:
    host = esx.Host("64MiB", content="tokens", policy=None)
    with pytest.raises(esx.ConfigError, match="nic few: 9; expected at most 8, the buffers of the"):
        host.power_on("web", "16MiB", nic=esx.Nic(tx=1, reuse="few", few=9, tx_ring=8))
    host.power_on("web", "16MiB", nic=esx.Nic(tx=1, reuse="few", tx_ring=8))
