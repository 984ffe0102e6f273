"""What is wrong with a policy in a comparison comes out once, names it, and ends the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

import esxcore
from esxcore import ArgumentTypeError, ConfigError, PolicyError, Scenario, compare
from esxcore.comparing.grading import grade


def lab(**keys: Any) -> Scenario:
    made = Scenario(**({"memory": "64MiB", "swap": "128MiB", "duration": "10s"} | keys))
    for name in ("web", "db"):
        made.vm(name, max="48MiB", min="1MiB", overhead="1MiB", workload="idle")
    return made


class Floats:
    def targets(self, view: esxcore.HostView) -> Any:
        return view.max_pages * 0.5


class OneTooMany:
    def targets(self, view: esxcore.HostView) -> Any:
        targets = view.apportion([1, 1])
        targets[1] += 1
        return targets


class Fails:
    def targets(self, view: esxcore.HostView) -> Any:
        raise ZeroDivisionError("of its own")


@pytest.mark.parametrize(
    ("policies", "message"),
    [
        (["static", "esx2003"], '^policies: policy.name is "esx2003"; did you mean "esx2002"'),
        ([{"name": "esx2002", "tax": 1}], "tax"),
        ([Floats], r"Floats\(\)"),
        ([42], "42"),
        (["nowhere_at_all:Policy"], "nowhere_at_all"),
        (["static", "static"], "two are called 'static'"),
        ({"a\nb": "static"}, "printable"),
        ([], "there are none"),
    ],
)
def test_what_is_no_policy_is_refused_before_anything_runs(policies: Any, message: str) -> None:
    started: list[int] = []
    with pytest.raises(ConfigError, match=message):
        compare(lab(), policies, progress=lambda *_: started.append(1))
    assert started == []


@pytest.mark.parametrize("policies", ["static", 3, esxcore.MinFunding()])
def test_one_policy_alone_is_refused_with_advice(policies: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="a list of policies"):
        compare(lab(), policies)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"seeds": 0}, "seeds"),
        ({"seeds": 2.0}, "seeds"),
        ({"jobs": 0}, "jobs"),
        ({"seeds": True}, "seeds"),
    ],
)
def test_wrong_numbers_are_refused(keys: Any, message: str) -> None:
    with pytest.raises(esxcore.EsxError, match=message):
        compare(lab(), ["static"], **keys)


def test_what_is_no_scenario_is_refused() -> None:
    with pytest.raises(ArgumentTypeError, match="expected a Scenario"):
        compare("lab.toml", ["static"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (Floats(), r"view\.apportion"),
        (OneTooMany(), r"add up to \d+ but \d+ pages are available.*view\.apportion"),
    ],
)
def test_wrong_answers_are_named_and_say_what_makes_right_ones(policy: Any, message: str) -> None:
    with pytest.raises(PolicyError, match=message) as raised:
        compare(lab(), ["static", policy], seeds=3)
    notes = raised.value.__notes__
    assert f"in the comparison: policy {type(policy).__name__}, seed 0" in notes
    assert any("at 1 s of virtual time" in note for note in notes)


def test_what_a_policy_raises_comes_out_whole() -> None:
    with pytest.raises(ZeroDivisionError, match="of its own") as raised:
        compare(lab(), ["static", Fails()], seeds=2, jobs=1)
    assert "in the comparison: policy Fails, seed 0" in raised.value.__notes__


def test_the_other_runs_end_when_one_has_failed() -> None:
    long = lab(duration="5000h")
    before = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        compare(long, [Fails(), "static"], seeds=4, jobs=3)
    assert time.monotonic() - before < 20  # the others would take hours


def test_unknown_names_are_told_the_nearest() -> None:
    runs = compare(lab(), ["static"], seeds=1)
    with pytest.raises(ConfigError, match="did you mean 'static'"):
        runs["statik"]
    with pytest.raises(ConfigError, match="did you mean 'ops_per_s'"):
        runs.values("ops_per_sec")
    with pytest.raises(ConfigError, match="from 0 to 10 s"):
        runs["static"].explain("web", at="11s")
    with pytest.raises(esxcore.UnknownVmError):
        runs["static"].explain("wep")
    with pytest.raises(ConfigError, match="seed_index"):
        runs["static"].recording(1)


LONG = """
import esxcore
lab = esxcore.Scenario(memory="64MiB", duration="5000h")
lab.vm("web", max="16MiB", workload="idle")
print("ready", flush=True)
try:
    esxcore.compare(lab, ["static", "equal"], seeds=5)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_stops_all_threads_soon() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LONG], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        sent = time.monotonic()
        told, _ = process.communicate(timeout=60)
        assert told == "interrupted\n"
        assert time.monotonic() - sent < 30


def test_a_grade_names_the_policy_and_no_file_of_the_package() -> None:
    with pytest.raises(ConfigError, match=r'^policy: policy.name is "nosuch"; expected esx2002'):
        grade("nosuch")
