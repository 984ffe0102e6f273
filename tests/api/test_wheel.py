"""What pip installed: complete, correctly tagged, and saying of itself what the project says."""

import json
import os
import tomllib
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest

import esxcore

ROOT = Path(__file__).parents[2]
REQUIRED = [
    "__init__.py",
    "_core.abi3.so",
    "_core.pyi",
    "py.typed",
    "data/active_phases.npz",
    "data/fleet_a.npz",
    "data/fleet_a.toml",
    "data/trace_sort.npz",
]


@pytest.fixture(scope="module")
def installed() -> Distribution:
    """Return the distribution; a tree linked in by `maturin develop` is not a wheel."""
    found = distribution("esxcore")
    origin = json.loads(found.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        pytest.skip("esxcore is installed in editable mode")
    return found


def files(installed: Distribution) -> set[str]:
    return {str(path) for path in installed.files or ()}


def test_package_is_complete(installed: Distribution) -> None:
    assert {f"esxcore/{name}" for name in REQUIRED} <= files(installed)


def test_every_source_file_is_installed(installed: Distribution) -> None:
    package = ROOT / "python" / "esxcore"
    sources = {
        f"esxcore/{path.relative_to(package).as_posix()}"
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".so"
    }
    assert sources - files(installed) == set()


def test_wheel_serves_every_python_from_3_11(installed: Distribution) -> None:
    wheel = installed.read_text("WHEEL") or ""
    tags = [line.removeprefix("Tag: ") for line in wheel.splitlines() if line.startswith("Tag: ")]
    assert tags
    assert all(tag.startswith("cp311-abi3-") for tag in tags)


def test_licence_texts_are_installed(installed: Distribution) -> None:
    names = {os.path.basename(name) for name in files(installed)}
    assert {"LICENSE", "LICENSE-MIT", "LICENSE-APACHE"} <= names


def test_version_is_the_crates(installed: Distribution) -> None:
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))["workspace"]
    assert esxcore.__version__ == installed.version == workspace["package"]["version"]


def test_least_rust_version_is_named() -> None:
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))["workspace"]
    least = workspace["package"]["rust-version"]
    assert f"Rust {least}" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"Rust {least}" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_console_script(installed: Distribution) -> None:
    scripts = {entry.name: entry.value for entry in installed.entry_points}
    assert scripts == {"esxcore": "esxcore.__main__:main"}
