"""Policies of other packages, known by name through entry points; none is installed for it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import esxcore
from esxcore.errors import ConfigError, ScenarioError
from esxcore.policy import POLICIES, policy_names

MODULE = """
class Favour:
    name = "favour"

    def __init__(self, which=0):
        self.which = which

    def targets(self, view):
        weights = [1] * len(view)
        weights[self.which] = 5
        return view.apportion(weights)


class Needs(Favour):
    def __init__(self, what):
        super().__init__(what)


def function(view):
    raise SystemExit("called")
"""
POINTS = """
[esxcore.policies]
favour = theirs_for_a_test:Favour
needs = theirs_for_a_test:Needs
function = theirs_for_a_test:function
gone = theirs_for_a_test:Gone
broken = theirs_broken_for_a_test:Policy
leaves = theirs_leaving_for_a_test:Policy
equal = theirs_for_a_test:Needs
"""

Scene = Callable[..., esxcore.Scenario]


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package as pip would have installed it."""
    (tmp_path / "theirs_for_a_test.py").write_text(MODULE)
    (tmp_path / "theirs_broken_for_a_test.py").write_text("import nothing_of_that_name\n")
    (tmp_path / "theirs_leaving_for_a_test.py").write_text("raise SystemExit('no')\n")
    info = tmp_path / "theirs-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield
    for name in [name for name in sys.modules if name.startswith("theirs_")]:
        del sys.modules[name]


def lab(**settings: object) -> esxcore.Scenario:
    scenario = esxcore.Scenario(memory="128MiB", duration="20s", **settings)
    for name in ("one", "two"):
        scenario.vm(name, max="48MiB", min="4MiB")
    return scenario


def test_the_name_is_enough_everywhere() -> None:
    recording = esxcore.run(lab(policy={"name": "favour", "which": 1}))
    assert recording.decisions.policies == ("favour",)
    one, two = recording.vms["target_pages"][-1]
    assert two > one
    assert (
        esxcore.Scenario.from_mapping(
            {
                "host": {"memory": "128MiB"},
                "policy": {"name": "favour"},
                "vms": [{"name": "one", "max": "48MiB"}],
                "run": {"duration": "2s"},
            }
        ).policy.name
        == "favour"
    )
    host = esxcore.Host(memory="128MiB", content="tokens", policy="favour")
    assert type(host.policy).__name__ == "Favour"
    assert set(policy_names()) > {*POLICIES, "favour", "broken"}


def test_a_name_that_is_built_in_is_not_theirs() -> None:
    host = esxcore.Host(memory="128MiB", content="tokens", policy="equal")
    assert type(host.policy) is esxcore.Equal


def test_only_an_unknown_name_has_packages_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise AssertionError("looked through")

    monkeypatch.setattr("importlib.metadata.entry_points", fail)
    esxcore.Host(memory="128MiB", content="tokens", policy="proxmox")
    lab(policy="squeezed").changed({"policy.patience_s": 3})
    with pytest.raises(AssertionError, match="looked through"):
        lab(policy="favour")


BROKEN = [
    ("favor", "did you mean {quote}favour{quote}?"),
    ("gone", "the entry point theirs_for_a_test:Gone of package theirs cannot be loaded: Attribu"),
    ("broken", "cannot be loaded: ModuleNotFoundError: No module named 'nothing_of_that_name'"),
    ("leaves", "of package theirs cannot be loaded: SystemExit: no"),
    ("function", "expected a class with a method targets(view)"),
]


@pytest.mark.parametrize(("name", "said"), BROKEN)
def test_a_broken_entry_point_is_one_line(name: str, said: str) -> None:
    with pytest.raises(ScenarioError) as error:
        lab(policy=name)
    assert str(error.value).startswith(f'scenario: policy.name is "{name}"; ')
    assert said.format(quote='"') in str(error.value)
    with pytest.raises(ConfigError) as refused:
        esxcore.Host(memory="128MiB", content="tokens", policy=name)
    assert said.format(quote="'") in str(refused.value)
    assert "\n" not in str(error.value) + str(refused.value)


def test_what_it_takes_is_asked_of_its_class() -> None:
    with pytest.raises(
        ScenarioError, match=r'policy.what is missing; policy "needs" cannot be with'
    ):
        lab(policy="needs")
    with pytest.raises(ScenarioError, match=r'unknown key policy.wich of policy "favour"; did you'):
        lab(policy={"name": "favour", "wich": 1})
    with pytest.raises(ConfigError, match=r"^policy: needs needs its setting 'what'$"):
        esxcore.Host(memory="128MiB", content="tokens", policy="needs")
