"""Scenarios and their text: what is written reads back the same, whatever it says."""

from __future__ import annotations

import dataclasses
import pickle
import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import esxcore as esx
from esxcore.errors import ScenarioError

numbers = st.integers(0, 2**16)
pages = st.integers(1, 2**20)
# What is at least so large goes with what is small: a min with a max, a machine with a host.
small = st.integers(1, 2**10).map(lambda n: f"{4 * n}KiB")
sizes = st.one_of(
    st.integers(2**10, 2**20).map(lambda n: f"{4 * n}KiB"),
    st.integers(1, 99).map(lambda n: f" {n}.50 GiB "),
)
capacities = st.integers(400, 999).map(lambda n: f"{n} GiB")
times = st.one_of(st.integers(1, 10**6).map(lambda n: f"{n}s"), st.just("0.5h"), st.just("2 min"))
durations = st.one_of(st.integers(10**6, 10**7).map(lambda n: f"{n}s"), st.just("277.8h"))
# All that a TOML text can hold: no surrogates.
words = st.text(st.characters(exclude_categories=("Cs",)))
names = words.filter(lambda word: word and word.isprintable())
values = st.recursive(
    st.one_of(
        words, st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, width=64)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=3)),
    max_leaves=5,
)
parameters = st.dictionaries(words.map(lambda word: f"p{word}"), values, max_size=3)


def some(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Tables with any of these keys."""
    return st.fixed_dictionaries({}, optional=keys)


programs = st.one_of(
    st.builds(esx.zipf, pages, exponent=st.floats(0, 10)),
    st.builds(esx.toucher, st.lists(pages, min_size=1, max_size=3).map(
        lambda sizes: list(enumerate(sizes)))),
    st.builds(esx.idle, processes=st.integers(1, 9)),
)  # fmt: skip
own_classes = parameters.map(lambda given: {"kind": "mine.deep:Class"} | given)
activities = some(
    start=times, offset=times, repeat=st.booleans(), writes=st.sampled_from(["unique", {"pool": 3}])
).map(lambda given: {"activity": "builtin:active_phases"} | given)
guests = st.one_of(
    st.sampled_from(["default", "linux", "windows"]),
    some(kind=st.sampled_from(["linux", "windows"]), image=names, swap=sizes, zero_rate=numbers),
    st.builds(
        esx.Guest,
        st.sampled_from(["linux", "windows"]),
        swap=st.none() | numbers,
        boot_time=numbers,
    ),
)
drivers = st.one_of(
    some(start=st.one_of(times, st.just("never")), limit=sizes),
    st.builds(esx.BalloonDriver, st.sampled_from([None, "guest", 5]), limit=st.none() | numbers),
)
policies = st.one_of(
    st.sampled_from(["esx2002", "proportional", "squeezed", "mine:Class"]),
    st.builds(esx.MinFunding, st.floats(0, 0.99)),
    st.builds(esx.Static, st.lists(pages, max_size=3)),
    st.builds(esx.Squeezed, numbers),
    parameters.map(lambda given: {"name": "mine:Class"} | given),
)
shares = st.sampled_from(["low", "normal", "high"]) | numbers
machines = some(
    min=small | st.just("0 MiB"), shares=shares, balloon_limit=sizes, overhead=sizes, salt=names,
    guest=guests, driver=drivers, workload=st.one_of(programs, own_classes, activities),
    contents=st.just({"trace": "a.npz", "vm": 3}) | names.map(lambda path: {"image": path}),
    start=times, count=st.integers(1, 4), max=sizes,
).map(lambda keys: {"max": "8MiB"} | keys)  # fmt: skip
events = st.one_of(
    some(shares=shares, max=small).filter(bool).map(lambda keys: {"vm": "first"} | keys),
    st.floats(0, 0.99).map(lambda rate: {"policy": {"name": "esx2002", "tax_rate": rate}}),
    parameters.map(lambda given: {"policy": {"name": "mine:Class"} | given}),
)
tables = some(
    swap=capacities, content=st.sampled_from(["tokens", "bytes"]), seed=st.integers(0, 2**128 - 1),
    sample=times, processors=st.integers(1, 9), policy=policies,
    costs=st.one_of(
        st.sampled_from(["nvme", "2002"]), some(access_ns=st.integers(1, 10**12)),
        numbers.map(lambda ns: dataclasses.replace(esx.Costs.preset("nvme"), fault_ns=ns)),
    ),
    sharing=some(vm_rate=st.integers(1, 9), salt=st.sampled_from(["none", "per-vm"])),
    sampling=some(pages=numbers, period=times),
    reclaim=some(
        thresholds=st.just((0.5, 0.25, 0.1, 0)), state_margin=st.floats(0, 1e300),
        balloon_guest_caps=st.dictionaries(names, st.floats(0, 1), max_size=2),
    ),
)  # fmt: skip


@st.composite
def scenarios(draw: st.DrawFn) -> esx.Scenario:
    """Scenarios built of everything a file can say, step by step."""
    lab = esx.Scenario(memory=draw(capacities), duration=draw(durations), **draw(tables))
    lab.vm("first", max=draw(sizes), min="0 MiB")
    for number, table in enumerate(draw(st.lists(machines, max_size=3))):
        lab.vm(f"{number} {draw(names)}", **table)
    for table in draw(st.lists(events, max_size=2)):
        lab.event(draw(times), **table)
    return lab


def read(text: str) -> esx.Scenario:
    """A scenario from its text."""
    return esx.Scenario.from_mapping(tomllib.loads(text))


@settings(max_examples=150, deadline=None)
@given(scenarios())
def test_what_is_written_reads_back_the_same(lab: esx.Scenario) -> None:
    again = read(lab.to_toml())
    assert again == lab
    assert again.to_toml() == lab.to_toml() == lab.described()
    assert pickle.loads(pickle.dumps(lab)) == lab


@settings(max_examples=60, deadline=None)
@given(scenarios(), sizes, durations, st.floats(0, 0.99))
def test_a_change_and_the_text_commute(
    lab: esx.Scenario, size: str, time: str, rate: float
) -> None:
    changes = {"vms.first.max": size, "run.duration": time, "policy": esx.MinFunding(rate)}
    assert read(lab.to_toml()).changed(changes) == read(lab.changed(changes).to_toml())


@settings(max_examples=60, deadline=None)
@given(scenarios())
def test_one_line_is_one_line(lab: esx.Scenario) -> None:
    assert "\n" not in repr(lab)
    assert lab._repr_html_().count("<tr>") == 1 + len(lab.vms)


def test_every_character_survives() -> None:
    text = "".join(map(chr, range(0x100))) + "\u2028\ufeff\U0001f4a9"
    lab = esx.Scenario(memory="64MiB", duration="1s", policy={"name": "mine:Class", text: text})
    lab.vm("web", max="8MiB")
    assert read(lab.to_toml()).policy.parameters == {text: text}


@pytest.mark.parametrize("value", [float("nan"), "\ud800", {"\udfff": 1}, {1: 2}, None, [object()]])
def test_what_no_text_can_hold_is_refused(value: Any) -> None:
    with pytest.raises(ScenarioError, match=r"policy: it is .*; expected numbers, texts, true or"):
        esx.Scenario(memory="64MiB", duration="1s", policy={"name": "mine:Class", "it": value})
