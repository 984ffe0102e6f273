"""The ledger from Python: what it tells is what was live, second by second."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import esxcore
from worlds import dividing_host, size

COUNTS = {
    "zero fill": "zero_fills",
    "COW break": "cow_breaks",
    "page-in": "page_ins",
    "emergency page-out": "emergency_page_outs",
    "shared before swap": "shared_before_swap_pages",
}


def busy_host(**options: Any) -> esxcore.Host:
    host = dividing_host(balance_period=3, sample_period=2, **options)
    host.power_on("log", max=size(40), overhead=2, shares="high")
    return host


def snapshot(host: esxcore.Host) -> dict[str, dict[str, Any]]:
    columns = host.vms()
    rows = {}
    for row, name in enumerate(columns["name"].tolist()):
        facts = {key: columns[key][row].item() for key in ("target_pages", "blocked")}
        facts |= {word: columns[key][row].item() for word, key in COUNTS.items()}
        facts["page-out"] = (columns["page_outs"] - columns["emergency_page_outs"])[row].item()
        rows[name] = facts
    return rows


def live(host: esxcore.Host, seconds: int) -> dict[float, tuple[str | None, Any]]:
    """What was so at the end of each second; guests work in the middle of one."""
    seen = {}
    rng = np.random.default_rng(3)
    for second in range(seconds):
        host.advance(0.5)
        for name in ("web", "db", "log"):
            host.touch(name, rng.integers(0, 40, 30 if second % 20 < 12 else 3), write=True)
        if second == seconds // 2:
            host.configure("web", shares=50)
        host.advance(0.5)
        seen[host.now] = (host.free_state, snapshot(host))
    return seen


def told(moment: dict[str, Any]) -> tuple[str, Any]:
    rows = {}
    for name, vm in moment["vms"].items():
        facts = {key: vm[key] for key in ("target_pages", "blocked")}
        rows[name] = facts | {word: vm["moved"].get(word, 0) for word in [*COUNTS, "page-out"]}
    return moment["free_state"], rows


@pytest.mark.parametrize("records", [16_384, 200])
def test_replay_tells_what_was_live(records: int) -> None:
    host = busy_host(ledger_records=records)
    seen = live(host, 80)
    moments = host.replay()
    times = [moment["time_s"] for moment in moments]
    assert times == sorted(set(times))
    assert (times[0] == 0) == (records > 10_000)
    compared = 0
    for second, (state, rows) in seen.items():
        if second >= times[0]:
            last = max(place for place, time in enumerate(times) if time <= second)
            assert told(moments[last]) == (state, rows), second
            compared += 1
    assert compared >= (80 if records > 10_000 else 5)
    states = {state for state, _ in seen.values()}
    assert len(states) > 1 and host.stats()["page_outs"] > 0, "nothing has happened"


def test_text_and_facts_agree() -> None:
    host = busy_host()
    seen = live(host, 40)
    for second in (5.0, 20.0, 40.0):
        for name in ("web", "db", "log"):
            why = host.explain(name, at=second)
            facts = why.facts
            assert isinstance(why, esxcore.Explanation)
            assert str(why) == why.text
            assert f"({facts['target_pages']} pages)" in why.text or (
                f"target {facts['target_pages']} pages" in why.text
            )
            assert why.text.startswith(f"{name} at {second:g} s: target ")
            assert f"by {facts['policy']} because" in why.text
            assert f"{facts['shares']} shares" in why.text
            assert ("loses the next page" in why.text) == (facts["cheapest"] is not None)
            assert ("min holds" in why.text) == (facts["bound"] == "min")
            assert facts["target_pages"] == seen[second][1][name]["target_pages"]
            assert facts["free_state"] == seen[second][0]
            assert facts["set_at_s"] <= second == facts["at_s"]
    assert host.explain("web", at="40s").facts == host.explain("web").facts
    assert host.explain("web", at=40).facts == host.vm("web").explain().facts


def test_a_small_ledger_says_how_far_it_reaches() -> None:
    host = busy_host(ledger_records=20)
    live(host, 60)
    oldest = host.replay()[0]["time_s"]
    assert oldest > 5
    with pytest.raises(esxcore.ConfigError) as caught:
        host.explain("web", at=5)
    assert str(caught.value) == (
        f"of 5 s nothing is recorded any more: the ledger begins at {oldest:g} s"
    )
    assert host.explain("web", at=oldest).facts["at_s"] == oldest


def test_before_anything_was_decided() -> None:
    host = busy_host()
    why = host.explain("web")
    assert why.facts["target_pages"] is None
    assert why.text.startswith("web at 0 s: no target yet; state high.")
    host.advance(5)
    host.power_on("late", max=size(4), min=0, overhead=0)
    with pytest.raises(esxcore.UnknownVmError) as caught:
        host.explain("late", at=2)
    assert str(caught.value) == 'VM "late" was not powered on yet at 2 s'


def test_the_future_is_not_explained() -> None:
    host = dividing_host()
    host.advance(20)
    with pytest.raises(
        esxcore.ConfigError, match="at is 21 s; expected at most 20 s, which is now"
    ):
        host.explain("web", at=21)
    assert host.explain("web", at="20s").facts["at_s"] == 20


def test_causes_and_mechanisms_are_told_in_words() -> None:
    host = busy_host()
    host.advance(1)
    assert host.explain("web").facts["cause"] == "a VM was powered on"
    assert "Set at 1 s by esx2002 because a VM was powered on." in str(host.explain("web"))
    host.touch("web", np.arange(40), write=True)
    host.set_targets([20, 20, 20])
    host.advance(1)
    why = host.explain("web")
    assert why.facts["cause"] == "the policy was set"
    assert "by static because the policy was set" in why.text
    moved = host.replay()[-1]["vms"]["web"]["moved"]
    assert moved["zero fill"] == 40
    words = {why.facts["cause"], why.facts["bound"], *moved}
    assert not any(word != "COW break" and word != word.lower() for word in words)


def test_the_first_division_is_for_the_first_vm() -> None:
    """Making a host with a policy is no occasion to divide anything."""
    for policy in ("esx2002", esxcore.Equal()):
        host = esxcore.Host("4MiB", content="tokens", policy=policy)
        host.power_on("web", max=size(40), overhead=0)
        host.advance(1)
        assert host.explain("web").facts["cause"] == "a VM was powered on"


def test_a_vm_that_was_reconfigured_says_so() -> None:
    host = dividing_host()
    host.advance(3)
    host.configure("web", max=size(30))
    why = host.explain("web")
    assert why.facts["target_pages"] == host.vms()["target_pages"][0] == 30
    assert (why.facts["reconfigured_at_s"], why.facts["decided_pages"]) == (3.0, 40)
    assert why.facts["bound"] == "max"
    assert (
        "The VM was reconfigured at 3 s, which clamped the target from 0.2 MiB to 0.1 MiB;"
        " no policy has been asked since."
    ) in why.text
    assert host.explain("db").facts["reconfigured_at_s"] is None
    host.advance(1)
    why = host.explain("web")
    assert (why.facts["cause"], why.facts["set_at_s"]) == ("a VM was reconfigured", 4.0)
    assert (why.facts["target_pages"], why.facts["before_pages"]) == (30, 40)
    assert (why.facts["reconfigured_at_s"], why.facts["decided_pages"]) == (None, None)
    assert "reconfigured at" not in why.text
    host.configure("web", shares="high")
    assert "The VM was reconfigured at 4 s; no policy has been asked since." in str(
        host.explain("web")
    )


def test_a_vm_that_is_gone_is_explained_while_it_is_remembered() -> None:
    host = busy_host()
    live(host, 10)
    web, before = host.vm("web"), host.explain("web", at=8).facts
    web.power_off()
    host.advance(5)
    assert host.explain("web", at=8).facts == web.explain(at=8).facts == before
    for call in (lambda: host.explain("web", at=12), lambda: web.explain(at=12)):
        with pytest.raises(esxcore.UnknownVmError) as caught:
            call()
        assert str(caught.value) == 'no VM "web" was powered on at 12 s'
    with pytest.raises(esxcore.UnknownVmError, match='no VM "web" is powered on'):
        host.explain("web")
    with pytest.raises(esxcore.UnknownVmError, match="of this handle is powered off"):
        web.explain()
    again = host.power_on("web", max=size(20), overhead=0)
    host.advance(5)
    assert host.explain("web", at=8).facts == before, "the one that had the name then"
    assert host.explain("web", at=20).facts["max_pages"] == 20
    with pytest.raises(esxcore.UnknownVmError) as caught:
        again.explain(at=8)
    assert str(caught.value) == 'VM "web" was not powered on yet at 8 s'
    with pytest.raises(esxcore.UnknownVmError, match='no VM "mail" was powered on at 8 s'):
        host.explain("mail", at=8)
