"""Every public name is there, documented, and costs nothing until it is used."""

from __future__ import annotations

import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import esxcore

NAMES = {
    "PAGE_SIZE", "__version__", "paper_parameters",
    "Host", "Vm", "BalloonDriver", "TouchReport", "IoReport", "ScanReport", "SamplingReport",
    "Explanation", "PageState", "FrameKind",
    "Policy", "HostView", "MinFunding", "Proportional", "Equal", "Static", "Proxmox", "Squeezed",
    "min_funding_targets", "plan_samples", "sampling_error", "wilson_interval",
    "Scenario", "Recording", "RunInterrupted", "build_host", "run",
    "Workload", "PacedWorkload", "Batch", "Program", "zipf", "toucher", "scan", "phases", "idle",
    "files", "replay", "dbench", "Simulation", "WorkReport", "Costs", "Guest", "Nic", "Disk",
    "competitive_threshold", "Accesses",
    "Activity", "ActivityRecord", "ContentTrace",
    "Census", "census", "fleet_census",
    "compare", "Comparison", "PolicyRuns", "Estimate", "measure", "METRICS", "Metric",
    "EsxError", "ConfigError", "ScenarioError", "DataError", "ContentError", "ArgumentTypeError",
    "EngineError", "PageRangeError", "OutOfMachineMemoryError", "RealMemoryError", "UnknownVmError",
    "DuplicateVmError", "HostBusyError", "InvariantError", "MinOvercommittedError",
    "NotAdmittedError", "PolicyError", "VmBlockedError", "WorkloadError", "MissingLibraryError",
    "SweepError", "SweepInterrupted", "SweepResult", "sweep",
    "SizeWarning", "PageTrace", "miss_ratios",
}  # fmt: skip
HOST_MEMBERS = {
    "power_on", "power_off", "configure", "touch", "io", "write", "read", "peek", "scan", "advance",
    "fork", "audit", "state_digest", "census", "stats", "vms", "pmap", "frames", "vm", "now",
    "sampling", "policy", "set_targets", "view", "free_state", "explain", "replay", "decisions",
}  # fmt: skip
VM_MEMBERS = {
    "host", "name", "max_pages", "touch", "io", "write", "read", "peek", "pmap", "sampling",
    "configure", "explain", "power_off",
}  # fmt: skip
MEMBERS = {esxcore.Host: HOST_MEMBERS, esxcore.Vm: VM_MEMBERS}
CLASSES = [
    value
    for name in sorted(NAMES)
    if inspect.isclass(value := getattr(esxcore, name)) and not issubclass(value, Exception)
]


def test_every_public_name_is_listed_here() -> None:
    """So that a new one is written down with the others, and asked for its test below."""
    assert set(esxcore.__all__) == NAMES
    assert set(dir(esxcore)) >= NAMES
    assert len(esxcore.__all__) == len(NAMES)
    for owner, members in MEMBERS.items():
        assert {name for name in dir(owner) if not name.startswith("_")} == members


def test_every_public_name_is_in_another_test() -> None:
    here = Path(__file__)
    tests = here.parents[1].rglob("*.py")
    text = "\n".join(path.read_text() for path in tests if path.name != here.name)
    members = sorted(set().union(*MEMBERS.values()))
    named = [rf"\b{name}\b" for name in sorted(NAMES)] + [rf"\.{name}\b" for name in members]
    assert [name for name in named if not re.search(name, text)] == []


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_name_can_be_had_and_is_documented(name: str) -> None:
    value = getattr(esxcore, name)
    if inspect.isclass(value) or callable(value):
        assert value.__doc__, f"{name} has no docstring"
        assert value.__module__.split(".")[0] == "esxcore"


def test_no_name_is_that_of_a_module() -> None:
    """Importing a module makes it an attribute of the package, in place of what had its name."""
    modules = {module.name for module in pkgutil.iter_modules(esxcore.__path__)}
    assert "errors" in modules
    assert modules & set(esxcore.__all__) == set()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        esxcore.nothing_of_that_name  # noqa: B018


@pytest.mark.parametrize(
    ("owner", "name"),
    [(owner, name) for owner, members in MEMBERS.items() for name in sorted(members)],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_each_method_is_documented(owner: type, name: str) -> None:
    member = inspect.getattr_static(owner, name)
    in_class = f"\n{name} : " in (inspect.getdoc(owner) or "")
    assert inspect.getdoc(member) or in_class, f"{owner.__name__}.{name} has no docstring"


def test_no_public_method_is_left_undocumented() -> None:
    for owner in CLASSES:
        for name, member in vars(owner).items():
            is_code = inspect.isfunction(member) or isinstance(member, property | classmethod)
            if not name.startswith("_") and is_code:
                assert inspect.getdoc(member), f"{owner.__name__}.{name}"


def test_every_error_is_an_esx_error_and_a_builtin() -> None:
    kinds = {
        "ConfigError": ValueError,
        "ScenarioError": ValueError,
        "MinOvercommittedError": ValueError,
        "DataError": ValueError,
        "ContentError": ValueError,
        "ArgumentTypeError": TypeError,
        "PageRangeError": IndexError,
        "OutOfMachineMemoryError": MemoryError,
        "RealMemoryError": MemoryError,
        "UnknownVmError": LookupError,
        "DuplicateVmError": ValueError,
        "NotAdmittedError": ValueError,
        "PolicyError": ValueError,
        "VmBlockedError": RuntimeError,
        "EngineError": RuntimeError,
        "WorkloadError": ValueError,
        "HostBusyError": RuntimeError,
        "InvariantError": AssertionError,
        "MissingLibraryError": ImportError,
        "SweepError": RuntimeError,
    }
    named = {name for name in NAMES if name.endswith("Error") and name != "EsxError"}
    assert set(kinds) == named
    for name, builtin in kinds.items():
        assert issubclass(getattr(esxcore, name), esxcore.EsxError)
        assert issubclass(getattr(esxcore, name), builtin)
    for name in ("ScenarioError", "NotAdmittedError", "MinOvercommittedError"):
        assert issubclass(getattr(esxcore, name), esxcore.ConfigError)
    assert issubclass(esxcore.SizeWarning, UserWarning)


IMPORTS_NOTHING = """
import sys
before = set(sys.modules)
import esxcore
new = {name.split(".")[0] for name in set(sys.modules) - before}
foreign = sorted(new - set(sys.stdlib_module_names) - {"esxcore"})
assert not foreign, foreign
assert "__version__" in dir(esxcore)
"""

STAR = """
from esxcore import *
host = Host(memory="4MiB", policy=None, seed=1, content="tokens")
assert isinstance(host, Host)
"""


@pytest.mark.parametrize("code", [IMPORTS_NOTHING, STAR], ids=["import", "star"])
def test_import_brings_in_nothing_of_others(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
