"""Decisions of a run: what a host tells becomes columns, survives the disk, and stays bounded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import esxcore
from esxcore.decisions import CAUSES, NO_DECISIONS, Change, Gathering
from esxcore.errors import ConfigError, DataError
from esxcore.experiment import run
from esxcore.recording import Recording
from esxcore.scenario import Scenario
from recordings import divided_recording, some_decisions
from worlds import dividing_host, size

WORDS = Path(__file__).parents[2] / "rust/core/src/ledger/words.rs"


def test_every_cause_of_the_core_is_known_in_its_words() -> None:
    causes = WORDS.read_text().partition("for Cause {")[2].partition("impl Mechanism")[0]
    assert dict(re.findall(r'Self::(\w+) => "(.*)",', causes)) == CAUSES


SHORT: dict[str, Any] = {
    "host": {"memory": "64MiB", "swap": "512MiB"},
    "policy": {"name": "esx2002"},
    "sharing": {"enabled": False},
    "vms": [
        {
            "name": name,
            "max": "256MiB",
            "min": "8MiB",
            "overhead": "1MiB",
            "workload": {"activity": "builtin:active_phases", "offset": "30s", "repeat": True},
        }
        | more
        for name, more in (("early", {"stop": "40s"}), ("late", {"start": "20s"}))
    ],
    "events": [{"at": "30s", "vm": "late", "shares": "high"}],
    "run": {"duration": "50s"},
}


def decision(time_s: float, before: int | None, after: int, **more: Any) -> dict[str, Any]:
    row = {
        "before_pages": before,
        "target_pages": after,
        "allocated_pages": 7,
        "active_pages": None,
        "price": None,
        "taxed_pages": 0,
        "bound": "none",
    }
    facts = {
        "time_s": time_s,
        "policy": "own",
        "cause": "Period",
        "free_state": "soft",
        "available_pages": 99,
        "cheapest": None,
        "vms": {"web": row},
    }
    return facts | more


def test_what_a_host_tells_becomes_a_row_of_words() -> None:
    gathering = Gathering(("db", "web"))
    gathering.add([decision(15.0, None, 5), decision(30.0, 5, 5), decision(45.0, 5, 4)])
    first, second = gathering.decisions()
    assert first == Change(
        15.0, 1, "Period", "own", "soft", 99, None, None, 5, 7, None, None, 0, "none"
    )
    assert (second.time_s, second.before_pages, second.target_pages) == (45.0, 5, 4)


def test_the_newest_are_kept_and_the_rest_is_counted() -> None:
    gathering = Gathering(("web",), limit=4)
    for second in range(23):
        gathering.add([decision(float(second), second, second + 1)])
    kept = gathering.decisions()
    assert [change.time_s for change in kept] == [19.0, 20.0, 21.0, 22.0]
    assert kept.forgotten == 19


def test_a_stranger_is_refused() -> None:
    with pytest.raises(DataError, match="'web', which is none of the run"):
        Gathering(("db",)).add([decision(1.0, None, 5)])


def test_each_cause_of_the_engine_has_words() -> None:
    """Those that a host can be brought to; the names are those of the engine."""
    host = dividing_host(balance_period=3)
    host.advance(4)
    late = host.power_on("late", max=size(40), overhead=2)
    host.advance(1)
    host.configure(late, shares=1)
    host.advance(1)
    late.power_off()
    host.advance(2)
    host.policy = "equal"
    host.advance(1)
    seen = {told["cause"] for told in host.decisions()}
    assert seen <= set(CAUSES)
    assert {"Period", "PowerOn", "PowerOff", "PolicySet"} <= seen


def test_a_host_tells_what_comes_after_a_time_even_of_who_has_gone() -> None:
    host = dividing_host(balance_period=3)
    late = host.power_on("late", max=size(40), overhead=2)
    host.advance(4)
    late.power_off()
    host.advance(3)
    every = host.decisions()
    times = [told["time_s"] for told in every]
    assert times == sorted(times) and times[0] == 1.0
    assert "late" in every[0]["vms"]
    for place, time in enumerate(times):
        assert host.decisions(time) == every[place + 1 :]
    assert host.decisions(f"{int(times[-1])}s") == []
    row = every[0]["vms"]["late"]
    assert row["before_pages"] is None
    assert row["target_pages"] == host.replay()[-1]["vms"].get("late", row)["target_pages"]


def test_who_has_no_ledger_has_no_decisions() -> None:
    with pytest.raises(ConfigError):
        esxcore.Host(memory="16MiB", policy=None).decisions()
    with pytest.raises(ConfigError):
        dividing_host(ledger_records=0).decisions()
    with pytest.raises(ConfigError, match="after: -1"):
        dividing_host().decisions(-1)


def test_a_run_records_each_change_of_a_target() -> None:
    """Replayed, the decisions give the targets that the samples saw."""
    recording = run(Scenario.from_mapping(SHORT))
    assert recording.decisions.forgotten == 0
    targets = np.full((51, 2), -1)
    for change in recording.decisions:
        targets[int(change.time_s) :, change.vm] = change.target_pages
    on = recording.vms["max_pages"] >= 0
    decided = on & (targets >= 0) & (np.arange(51)[:, None] != 20)  # the second it comes
    assert decided.sum() > 60
    assert (recording.vms["target_pages"][decided] == targets[decided]).all()
    causes = {change.cause for change in recording.decisions}
    assert {"PowerOff", "Reconfigured"} <= causes


BARE = {
    "host": {"memory": "1GiB"},
    "policy": {"name": "none"},
    "vms": [{"name": "web", "max": "16MiB"}],
    "run": {"duration": "20s"},
}


@pytest.mark.parametrize("scenario", [SHORT | {"reclaim": {"ledger_records": 0}}, BARE])
def test_a_run_without_a_ledger_records_none(scenario: dict[str, Any]) -> None:
    assert len(run(Scenario.from_mapping(scenario)).decisions) == 0


def test_decisions_survive_the_disk(tmp_path: Path) -> None:
    recording = divided_recording(decisions=some_decisions())
    recording.save(tmp_path / "r.npz")
    again = Recording.load(tmp_path / "r.npz")
    assert list(again.decisions) == list(recording.decisions)
    assert again.decisions.forgotten == recording.decisions.forgotten == 3
    assert again.to_bytes() == recording.to_bytes()


def test_a_file_from_before_there_were_decisions_is_read(tmp_path: Path) -> None:
    divided_recording().save(tmp_path / "r.npz")
    with np.load(tmp_path / "r.npz") as file:
        assert not [name for name in file if name.startswith("decision")]
    assert list(Recording.load(tmp_path / "r.npz").decisions) == list(NO_DECISIONS) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"decision.vm": np.array([0, 1, 2])}, "'decision.vm' holds 2; expected 0 to 1"),
        ({"decision.cause": np.array([0, 1, 9])}, "'decision.cause' holds 9; expected 0 to 6"),
        ({"decision.policy": np.array([0, 1, 0])}, "'decision.policy' holds 1; expected 0 to 0"),
        ({"decision.cheapest": np.array([0, -2, 0])}, "holds -2; expected -1 to 1"),
        ({"decision.price": None}, "array 'decision.price' is missing"),
        ({"decision.price": np.array([1, 2, 3])}, "'decision.price' is int64 with 1 axes"),
        ({"decision.bound": np.array([0])}, r"'decision.bound' is \(1,\); expected \(3,\)"),
        ({"decision_policies": None}, "array 'decision_policies' is missing"),
    ],
)
def test_decisions_that_stand_for_nothing(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    path = tmp_path / "r.npz"
    divided_recording(decisions=some_decisions()).save(path)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file} | change
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(DataError, match=said):
        Recording.load(path)
