"""Scenarios that divide memory: policy, reclamation, virtual machines that come and go, events."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from esxcore.errors import ScenarioError
from esxcore.scenario import Scenario

GOOD = """
[host]
memory = "1GiB"
swap = "2GiB"

[policy]
name = "esx2002"
tax_rate = 0.5

[reclaim]
balance_period = "10s"
thresholds = [0.08, 0.05, 0.03, 0]
state_margin = 0.5
shared_charge = "fraction"
share_before_swap = false
balloon_cap = 0.4
balloon_host_cap = 0.6
balloon_guest_caps = { linux = 0.65, "odd one" = 1 }
swap_out_rate = 1000
ledger_records = 0

[[vms]]
name = "web"
max = "256MiB"
min = "0MiB"
shares = "high"
balloon_limit = "64MiB"
overhead = "16MiB"
driver = { start = "1min", max_rate = 100, limit = "32MiB", stuck_at = "2min" }
count = 2

[[vms]]
name = "db"
max = "128MiB"
shares = 4000
driver = { start = "never" }
start = "2min"
stop = "8min"

[[events]]
at = "3min"
vm = "db"
max = "100MiB"
min = "50MiB"
shares = "low"
balloon_limit = "0MiB"

[[events]]
at = "5min"
tax_rate = 0

[[events]]
at = "6min"
policy = { name = "mine:Half", part = 0.5, "odd key" = [1, 2.5, "x"] }

[run]
duration = "10min"
"""


def checked(text: str) -> Scenario:
    return Scenario.from_mapping(tomllib.loads(text), "my.toml")


def test_a_file_means_what_it_says() -> None:
    scenario = checked(GOOD)
    assert scenario.host.swap == "2GiB"
    assert (scenario.policy.name, scenario.policy.parameters) == ("esx2002", {"tax_rate": 0.5})
    assert scenario.reclaim.model_dump() == {
        "balance_period": "10s",
        "thresholds": (0.08, 0.05, 0.03, 0),
        "state_margin": 0.5,
        "shared_charge": "fraction",
        "share_before_swap": False,
        "balloon_cap": 0.4,
        "balloon_host_cap": 0.6,
        "balloon_guest_caps": {"linux": 0.65, "odd one": 1},
        "swap_out_rate": 1000,
        "ledger_records": 0,
    }
    web, db = scenario.vms
    assert (web.min, web.shares, web.balloon_limit, web.overhead) == (
        "0MiB",
        "high",
        "64MiB",
        "16MiB",
    )
    assert web.driver is not None
    assert web.driver.model_dump() == {
        "start": "1min",
        "max_rate": 100,
        "limit": "32MiB",
        "stuck_at": "2min",
    }
    assert (web.start_s, web.stop_s, db.shares, db.start_s, db.stop_s) == (0, None, 4000, 120, 480)
    assert [second for second in (0, 119, 120, 479, 480) if db.is_on(second)] == [120, 479]
    first, tax, own = scenario.events
    assert first.at_s == 180
    assert first.changes == {
        "max": "100MiB",
        "min": "50MiB",
        "shares": "low",
        "balloon_limit": "0MiB",
    }
    assert first.policy_change is None
    assert tax.policy_change is not None
    assert (tax.policy_change.name, tax.policy_change.parameters) == (None, {"tax_rate": 0.0})
    assert own.policy_change is not None
    assert own.policy_change.parameters == {"part": 0.5, "odd key": [1, 2.5, "x"]}


def test_defaults_are_the_papers() -> None:
    scenario = checked(
        '[host]\nmemory="1GiB"\n[[vms]]\nname="a"\nmax="16MiB"\n[run]\nduration="9s"\n'
    )
    assert (scenario.policy.name, scenario.policy.parameters) == ("esx2002", {})
    reclaim = scenario.reclaim
    assert (reclaim.balance_period, reclaim.thresholds) == ("15s", (0.06, 0.04, 0.02, 0.01))
    assert (reclaim.balloon_cap, reclaim.balloon_host_cap) == (0.5, 0.65)


def test_a_change_of_policy_keeps_parameters_or_begins_anew() -> None:
    scenario = checked(GOOD)
    _, tax, own = (event.policy_change for event in scenario.events)
    assert tax is not None
    assert own is not None
    taxed = scenario.policy.changed(tax)
    assert (taxed.name, taxed.parameters) == ("esx2002", {"tax_rate": 0.0})
    mine = taxed.changed(own)
    assert (mine.name, mine.parameters) == ("mine:Half", own.parameters)


BARE = """
[host]
memory = "1GiB"
[policy]
name = "none"
[[vms]]
name = "web"
max = "256MiB"
start = "1min"
[run]
duration = "10min"
"""


@pytest.mark.parametrize("text", [GOOD, BARE])
def test_what_is_written_reads_back_the_same(text: str) -> None:
    scenario = checked(text)
    again = checked(scenario.to_toml())
    assert again == scenario
    assert again.to_toml() == scenario.to_toml()


SIZE = 'expected a size with its unit (KiB, MiB, GiB, TiB) in whole 4 KiB pages, such as "'
TIME = "whole seconds, at most 2**31, with a unit (s, min, h), such as"
SHARES = 'expected "low", "normal" or "high", or a whole number from 0 to 2**32 - 1'
CAPS = '"odd one" = 1 }; expected fractions from 0 to 1 by guest type, such as { linux = 0.65 }'
FALLING = "expected four fractions of machine memory, each below the one before"
MISTAKES = [
    ('swap = "2GiB"', "swap = 2", f"host.swap is 2; {SIZE}4GiB"),
    ('name = "esx2002"', "name = 7", "policy.name is 7; expected the name of a policy such as"),
    ("tax_rate = 0.5", "tax_rate = 1979-05-27", "expected numbers, texts, true or false"),
    # reclaim
    ("[reclaim]", "[reclame]", 'unknown key reclame; did you mean "reclaim"?'),
    ("balance_period", "balance_perod", 'unknown key reclaim.balance_perod; did you mean "bal'),
    ('"10s"', '"0s"', f'reclaim.balance_period is "0s"; expected {TIME}'),
    ("0.03, 0]", "0.03]", f"reclaim.thresholds[3] is missing; {FALLING}"),
    ("0.08, 0.05", "0.05, 0.05", f"reclaim.thresholds is [0.05, 0.05, 0.03, 0]; {FALLING}"),
    ("0.08, 0.05", "1.0, 0.05", f"reclaim.thresholds is [1.0, 0.05, 0.03, 0]; {FALLING}"),
    ("0.08, 0.05", "nan, 0.05", f"reclaim.thresholds is [nan, 0.05, 0.03, 0]; {FALLING}"),
    ("0.03, 0]", "0.03, -0.1]", f"reclaim.thresholds is [0.08, 0.05, 0.03, -0.1]; {FALLING}"),
    ("0.08, 0.05", '"x", 0.05', f'reclaim.thresholds[0] is "x"; {FALLING}'),
    ("state_margin = 0.5", "state_margin = nan", "reclaim.state_margin is nan; expected a number"),
    ("state_margin = 0.5", "state_margin = inf", "reclaim.state_margin is inf; expected a number"),
    ('"fraction"', '"half"', 'reclaim.shared_charge is "half"; expected "full" or "fraction"'),
    ("balloon_cap = 0.4", "balloon_cap = 1.1", "reclaim.balloon_cap is 1.1; expected a fraction"),
    ("balloon_cap = 0.4", "balloon_cap = nan", "reclaim.balloon_cap is nan; expected a fraction"),
    ("swap_out_rate = 1000", "swap_out_rate = -1", "reclaim.swap_out_rate is -1; expected pages"),
    ("swap_out_rate = 1000", "swap_out_rate = 0", "reclaim.swap_out_rate is 0; expected pages a s"),
    ("linux = 0.65", "linux = 1.65", f"reclaim.balloon_guest_caps is {{ linux = 1.65, {CAPS}"),
    ("linux = 0.65", "linux = nan", f"reclaim.balloon_guest_caps is {{ linux = nan, {CAPS}"),
    ("linux = 0.65", "linux = true", f"reclaim.balloon_guest_caps is {{ linux = true, {CAPS}"),
    ("linux = 0.65", '"" = 0.65', f'reclaim.balloon_guest_caps is {{ "" = 0.65, {CAPS}'),
    ('{ linux = 0.65, "odd one" = 1 }', "0.65", "reclaim.balloon_guest_caps is 0.65; expected fr"),
    ("ledger_records = 0", "ledger_records = 0.5", "reclaim.ledger_records is 0.5; expected a"),
    # virtual machines
    ('min = "0MiB"', "min = 0", f'vms[0].min (VM "web") is 0; {SIZE}128MiB"'),
    ('min = "0MiB"', 'min = "-1MiB"', f'vms[0].min (VM "web") is "-1MiB"; {SIZE}128MiB"'),
    ('shares = "high"', 'shares = "hi"', f'vms[0].shares (VM "web") is "hi"; {SHARES}'),
    ('shares = "high"', "shares = -1", f'vms[0].shares (VM "web") is -1; {SHARES}'),
    ('shares = "high"', "shares = true", f'vms[0].shares (VM "web") is true; {SHARES}'),
    ('shares = "high"', "shares = 4294967296", f"is 4294967296; {SHARES}"),
    ('shares = "high"', "shares = [1]", f'vms[0].shares (VM "web") is [1]; {SHARES}'),
    ('"never"', '"nevr"', f'vms[1].driver.start (VM "db") is "nevr"; expected "never", or {TIME}'),
    ("max_rate = 100", "max_rat = 100", 'vms[0].driver.max_rat (VM "web"); did you mean "max_rate'),
    ("max_rate = 100", "max_rate = 0", 'vms[0].driver.max_rate (VM "web") is 0; expected pages a'),
    ('stop = "8min"', 'stop = "2min"', 'vms[1] (VM "db"): stop is "2min"; expected later than its'),
    ('stop = "8min"', "stop = 8", f'vms[1].stop (VM "db") is 8; expected {TIME} "8min"'),
    # events
    ('at = "3min"', "", f'events[0].at (VM "db") is missing; expected {TIME} "5min"'),
    ('at = "3min"', 'at = "3min"\nmxa = 1', 'events[0].mxa (VM "db"); did you mean "max"?'),
    ('at = "3min"', 'at = "1min"', 'events[0].at is "1min"; expected a time at which VM "db" is'),
    ('at = "3min"', 'at = "8min"', 'events[0].at is "8min"; expected a time at which VM "db" is'),
    ('vm = "db"', 'vm = "dbx"', 'events[0].vm is "dbx"; did you mean "db"?'),
    ('vm = "db"', 'vm = "web"', 'events[0].vm is "web"; did you mean "web-'),
    ('vm = "db"', "", "events[0]: max is given without vm; expected vm, the VM to change"),
    ('vm = "db"', 'vm = "db"\ntax_rate = 0.1', 'events[0] (VM "db"): vm and tax_rate are given; '),
    ("tax_rate = 0\n", "", "events[1]: nothing to do is given; expected one of vm, tax_rate and"),
    ("tax_rate = 0\n", 'vm = "web-1"', "nothing about the VM is given; expected one of max, min"),
    ("tax_rate = 0\n", "tax_rate = 1", "events[1].tax_rate is 1; expected a fraction of at least"),
    ("tax_rate = 0\n", "tax_rate = nan", "events[1].tax_rate is nan; expected a fraction of at"),
    ("tax_rate = 0\n", "tax_rate = true", "events[1].tax_rate is true; expected a fraction of at"),
    ("tax_rate = 0\n", "policy = {}", "events[1]: policy is empty; expected the name of a policy"),
    ("tax_rate = 0\n", 'policy = "x"', 'events[1].policy is "x"; expected a table like'),
    ('name = "mine:Half"', 'name = "none"', 'events[2].policy.name is "none"; expected a policy'),
    # a bare host
    ('name = "esx2002"\ntax_rate = 0.5', 'name = "none"', "host.swap is given, but memory is not"),
    ('name = "esx2002"', 'name = "none"', 'policy: tax_rate is given; expected no parameters of'),
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
    assert " more error" not in text
    assert len(text) < 350


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"reclaim": {}}, "reclaim is given"),
        ({"vms": [{"name": "a", "max": "1MiB", "min": "1MiB"}]}, "vms[0].min is given"),
        ({"vms": [{"name": "a", "max": "1MiB", "driver": {}}]}, "vms[0].driver is given"),
        ({"events": [{"at": "1s", "tax_rate": 0.5}]}, "events[0] is given"),
    ],
)
def test_where_memory_is_not_divided_nothing_about_it_can_be_set(
    more: dict[str, Any], said: str
) -> None:
    with pytest.raises(ScenarioError) as error:
        Scenario.from_mapping(tomllib.loads(BARE) | more, "my.toml")
    assert str(error.value) == (
        f'my.toml: {said}, but memory is not divided; expected a policy other than "none"'
    )
