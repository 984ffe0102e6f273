"""Every public name is there, documented, and costs nothing until it is used."""

from __future__ import annotations

import inspect
import pkgutil
import subprocess
import sys

import pytest

import esxcore

WANTED = {
    "Host", "Vm", "TouchReport", "ScanReport", "PageState", "FrameKind", "PAGE_SIZE",
    "EsxError", "ConfigError", "ScenarioError", "DataError", "ContentError", "ArgumentTypeError",
    "PageRangeError", "OutOfMachineMemoryError", "UnknownVmError", "DuplicateVmError",
    "HostBusyError", "InvariantError", "SizeWarning", "min_funding_targets",
    "MinOvercommittedError", "SamplingReport", "plan_samples", "sampling_error", "wilson_interval",
    "Census", "census", "ContentTrace", "RealMemoryError",
}  # fmt: skip
HOST_METHODS = {
    "power_on", "power_off", "touch", "write", "read", "peek", "scan", "advance", "fork", "audit",
    "state_digest", "census", "stats", "vms", "pmap", "frames", "vm", "now",
    "sampling",
}  # fmt: skip
VM_METHODS = {
    "name", "max_pages", "touch", "write", "read", "peek", "pmap", "sampling", "power_off",
}  # fmt: skip


def test_the_names_that_stand_are_public() -> None:
    assert set(esxcore.__all__) >= WANTED
    assert set(dir(esxcore)) >= set(esxcore.__all__)
    assert len(set(esxcore.__all__)) == len(esxcore.__all__)


@pytest.mark.parametrize("name", sorted(set(esxcore.__all__) | WANTED))
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
    [(esxcore.Host, name) for name in sorted(HOST_METHODS)]
    + [(esxcore.Vm, name) for name in sorted(VM_METHODS)],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_each_method_is_documented(owner: type, name: str) -> None:
    member = inspect.getattr_static(owner, name)
    in_class = f"\n{name} : " in (inspect.getdoc(owner) or "")
    assert inspect.getdoc(member) or in_class, f"{owner.__name__}.{name} has no docstring"


def test_no_public_method_is_left_undocumented() -> None:
    for owner in (
        esxcore.Host, esxcore.Vm, esxcore.TouchReport, esxcore.ScanReport, esxcore.Census,
        esxcore.ContentTrace,
    ):  # fmt: skip
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
        "HostBusyError": RuntimeError,
        "InvariantError": AssertionError,
    }
    for name, builtin in kinds.items():
        assert issubclass(getattr(esxcore, name), esxcore.EsxError)
        assert issubclass(getattr(esxcore, name), builtin)
    assert issubclass(esxcore.ScenarioError, esxcore.ConfigError)
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
