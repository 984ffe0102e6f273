"""The house of docs/design.md section 2: who may name whom, and how long a file may get."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

import pytest

from rust_paths import GLOB, before_tests, named_paths, without_noise

MAX_LINES = 400


@dataclass(frozen=True)
class House:
    """A crate: its rooms by floor, and what is special about some of them."""

    floors: Mapping[int, str]
    corridors: frozenset[int]  # floors whose rooms may name each other
    only_words: frozenset[str] = frozenset()  # rooms that see floor 0 only

    def floor_of(self, room: str) -> int | None:
        found = (floor for floor, rooms in self.floors.items() if room in rooms.split())
        return next(found, None)


CORE = House(
    {
        0: "types reference config error rng arena page_set vm_table page_trace counts compare",
        1: "content machine pmap frame_table swapfile hash",
        2: "memory audit",
        3: "share balloon swap sample remap",
        4: "policy guest",
        5: "host touch reclaim admission ledger stats digest census",
        6: "workload simulate",
    },
    corridors=frozenset({0, 2, 5, 6}),  # 1 and 3 never, 4 no need
    only_words=frozenset({"policy"}),
)
IMAGE = House(
    {
        0: "error",
        1: "map source format pages",
        2: "formats",
        3: "image process",
        4: "census",
    },
    corridors=frozenset({1}),
)
TRACE = House(
    {
        0: "error",
        1: "bytes index",
        2: "formats",
        3: "reader",
        4: "load replay",
    },
    corridors=frozenset(),
)
HOUSES = {"core": CORE, "image": IMAGE, "trace": TRACE}


def breaches(
    sources: Mapping[PurePath, str], exported: Mapping[str, str], house: House = CORE
) -> list[str]:
    """What is wrong with a crate, a line each; ``exported`` maps names of lib.rs to rooms."""
    found: list[str] = []
    for file, source in sources.items():
        room = file.with_suffix("").parts[0]
        if file.name in ("lib.rs", "tests.rs"):
            continue
        if house.floor_of(room) is None:
            found.append(f"{file}: room {room} has no floor")
            continue
        for named in named_paths(source, file):
            complaint = judge(room, named.path, exported, house)
            if complaint:
                found.append(f"{file}:{named.line}: {named.text}: {complaint}")
    return found


def judge(
    room: str, path: tuple[str, ...], exported: Mapping[str, str], house: House
) -> str | None:
    """Why ``room`` may not name ``path``, or nothing."""
    if not path or path[0] == GLOB:
        return "names the whole crate"
    target = exported.get(path[0], path[0])
    if target == room:
        return None
    here, there = house.floor_of(room), house.floor_of(target)
    if here is None or there is None:
        return f"{target} has no floor"
    if room in house.only_words and there > 0:
        return f"{room} sees floor 0 only, {target} is on floor {there}"
    if there > here:
        return f"floor {here} names floor {there}"
    if there == here and here not in house.corridors:
        return f"floor {here} has no corridor"
    return None


def exports(lib: str) -> dict[str, str]:
    """Names that lib.rs re-exports from its rooms."""
    lib = lib.replace("pub use ", "pub use self::").replace("self::crate::", "crate::")
    lib = lib.replace("self::self::", "self::")
    names = named_paths(lib, PurePath("lib.rs"))
    return {named.path[-1]: named.path[0] for named in names if len(named.path) > 1}


def rust_sources(root: Path, crate: str = "core") -> dict[PurePath, str]:
    src = root / "rust" / crate / "src"
    return {file.relative_to(src): file.read_text() for file in sorted(src.rglob("*.rs"))}


# -- the real house --------------------------------------------------------------------------------


@pytest.mark.parametrize("crate", HOUSES)
def test_rust_files_name_lower_floors_only(project_root: Path, crate: str) -> None:
    sources = rust_sources(project_root, crate)
    assert len(sources) > 5
    assert breaches(sources, exports(sources[PurePath("lib.rs")]), HOUSES[crate]) == []


@pytest.mark.parametrize(
    ("crate", "rooms", "below"),
    [
        ("core", "memory share host", "types"),
        ("image", "map formats image process", "error"),
        ("trace", "bytes formats reader load replay", "error"),
    ],
)
def test_the_reader_sees_what_the_files_name(
    project_root: Path, crate: str, rooms: str, below: str
) -> None:
    """A reader that finds nothing would pass everything."""
    sources = rust_sources(project_root, crate)
    for room in rooms.split():
        files = [file for file in sources if file.with_suffix("").parts[0] == room]
        seen = {named.path[0] for file in files for named in named_paths(sources[file], file)}
        assert below in seen, room


def table_of(lib: str) -> dict[str, int]:
    """Floor of each room in the table at the head of lib.rs: ``//! | 1 | [`map`] ...``."""
    rows = re.findall(r"^//! \| (\d+) \| (.*) \|$", lib, re.MULTILINE)
    return {room: int(floor) for floor, rooms in rows for room in re.findall(r"\[`(\w+)`\]", rooms)}


@pytest.mark.parametrize("crate", ["image", "trace"])
def test_the_table_at_the_head_of_a_crate_is_true(project_root: Path, crate: str) -> None:
    sources = rust_sources(project_root, crate)
    table = table_of(sources[PurePath("lib.rs")])
    rooms = {file.with_suffix("").parts[0] for file in sources} - {"lib"}
    assert set(table) == rooms
    assert table == {room: HOUSES[crate].floor_of(room) for room in rooms}


def test_files_are_short(project_root: Path) -> None:
    lengths = {
        file: len(before_tests(without_noise(file.read_text())).splitlines())
        for file in sorted((project_root / "rust").rglob("src/**/*.rs"))
        if file.name != "tests.rs"
    }
    for file in sorted((project_root / "python").rglob("*.py")):
        lengths[file] = len(file.read_text().splitlines())
    assert len(lengths) > 30
    assert {str(file): lines for file, lines in lengths.items() if lines > MAX_LINES} == {}


def test_one_file_touches_numpy(project_root: Path) -> None:
    names = [
        file.name
        for file in sorted((project_root / "rust").rglob("src/**/*.rs"))
        if "numpy::" in without_noise(file.read_text())
    ]
    assert names == ["arrays.rs"]


def test_the_core_has_no_binding_clock_or_thread(project_root: Path) -> None:
    forbidden = (
        "pyo3",
        "numpy::",
        "std::thread",
        "std::time",
        "SystemTime",
        "static mut",
        "thread_local!",
    )
    for file, source in rust_sources(project_root).items():
        code = before_tests(without_noise(source))
        assert [word for word in forbidden if word in code] == [], file


# -- the Python side -------------------------------------------------------------------------------

STOREYS = {
    "_core": 0, "errors": 1, "hints": 1, "interrupts": 1, "reports": 1, "findings": 1, "guest": 1,
    "config": 2, "datafile": 2, "costs": 2, "extras": 2, "scenario_text": 2, "arguments": 3,
    "clusters": 3, "tables": 3, "decisions": 3, "vm": 4, "view": 4, "squeezed": 4, "contents": 4,
    "recording": 4, "sampling": 4, "traces": 4, "devices": 4, "policy": 5, "images": 5,
    "workload": 5, "host": 6, "scenario": 6, "counting": 6, "simulation": 7, "fleet": 7,
    "experiment": 8, "plot": 9, "report": 9, "comparing": 10, "study": 11, "paper": 11, "cli": 12,
    "__main__": 13, "__init__": 14,
}  # fmt: skip
# Rooms that only these name, and what they may draw.
DRAWING = ("comparing", "study", "paper", "cli", "__init__")
LEAVES = {
    "plot": {"recording", "counting", "findings", "config", "errors"},
    "report": {"recording", "decisions", "datafile", "errors"},
}


def python_names(source: str) -> Iterator[tuple[int, str]]:
    """Modules of the package that a Python file imports, at its head or anywhere else."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            if module in ("esxcore", "."):
                yield from ((node.lineno, f"esxcore.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, module


def python_breaches(sources: Mapping[PurePath, str]) -> list[str]:
    found = []
    for file, source in sources.items():
        here = file.with_suffix("").parts[0]
        if here not in STOREYS:
            found.append(f"{file}: module {here} has no storey")
            continue
        for line, name in python_names(source):
            if name == "esxcore":
                found.append(f"{file}:{line}: names the whole package")
            elif name.startswith("."):
                found.append(f"{file}:{line}: relative import {name}")
            elif name.startswith("esxcore."):
                found += [f"{file}:{line}: {c}" for c in python_judge(here, name.split(".")[1])]
    return found


def python_judge(here: str, there: str) -> list[str]:
    if there == here or there == "__version__":
        return []
    if there not in STOREYS:
        return [f"{here} names {there}, which has no storey"]
    if there in LEAVES and here not in DRAWING:
        return [f"{there} is a leaf, only results and the command line draw"]
    if here in LEAVES and there not in LEAVES[here]:
        return [f"{here} draws what was recorded or counted and knows no {there}"]
    if STOREYS[there] < STOREYS[here]:
        return []
    return [f"{here} names {there}"]


def python_sources(root: Path) -> dict[PurePath, str]:
    package = root / "python" / "esxcore"
    return {file.relative_to(package): file.read_text() for file in sorted(package.rglob("*.py"))}


def test_python_imports_go_one_way(project_root: Path) -> None:
    sources = python_sources(project_root)
    assert len(sources) > 5
    assert python_breaches(sources) == []


# -- the test is tested ----------------------------------------------------------------------------

RUST_BREACHES = {
    "use line up": ("share.rs", "use crate::host::Host;", "floor 3 names floor 5"),
    "inline path": (
        "memory.rs",
        "fn f() { let x = crate::share::pick(1); }",
        "floor 2 names floor 3",
    ),
    "type path": (
        "pmap.rs",
        "struct A { b: Vec<crate::machine::Machine> }",
        "floor 1 has no corridor",
    ),
    "super": ("pmap.rs", "use super::frame_table::Frame;", "floor 1 has no corridor"),
    "super super": ("memory/park.rs", "use super::super::host::Host;", "floor 2 names floor 5"),
    "self super": ("pmap.rs", "use self::super::hash::hash;", "floor 1 has no corridor"),
    "group": (
        "share.rs",
        "use crate::{types::Ppn, swap::{Slot, pick}};",
        "floor 3 has no corridor",
    ),
    "nested": (
        "share/order.rs",
        "use crate::{\n    error::Error,\n    memory::{self, Memory as M},\n    stats,\n};",
        "floor 3 names floor 5",
    ),
    "group of roots": ("hash.rs", "use {std::mem, super::{content}};", "floor 1 has no corridor"),
    "spaces": ("error.rs", "use crate :: host :: Host;", "floor 0 names floor 5"),
    "glob": ("content.rs", "use crate::*;", "names the whole crate"),
    "super glob": ("content.rs", "use super::*;", "names the whole crate"),
    "whole": ("content.rs", "use crate as all;", "names the whole crate"),
    "self of a group": ("content.rs", "use crate::{self as all};", "names the whole crate"),
    "macro": ("hash.rs", "macro_rules! m { () => { $crate::host::f() } }", "floor 1 names floor 5"),
    "inline module": ("hash.rs", "mod a { use super::super::pmap::X; }", "floor 1 has no corridor"),
    "re-export": ("machine.rs", "use crate::Machinery;", "floor 1 names floor 5"),
    "new room": ("attic.rs", "", "room attic has no floor"),
    "unknown room": ("host.rs", "use crate::attic::Box;", "attic has no floor"),
    "policy": ("policy/tax.rs", "use crate::pmap::Entry;", "policy sees floor 0 only"),
    "plug-in peer": ("guest.rs", "use crate::policy::View;", "floor 4 has no corridor"),
    "after a string": ("hash.rs", 'const A: &str = "// \\""; use crate::host::B;', "floor 5"),
    "after a lifetime": ("hash.rs", "fn f<'a>(x: &'a u8) { crate::host::g('\\'', x) }", "floor 5"),
    "after a comment": ("hash.rs", "/* a /* b */ c */ use crate::host::B;", "floor 5"),
    "visible": ("hash.rs", "pub(in crate::host) fn f() {}", "floor 5"),
    "turbofish": ("hash.rs", "fn f() { crate::host::g::<u8>() }", "floor 5"),
    "implementation": ("hash.rs", "impl crate::host::View for A {}", "floor 5"),
}


IMAGE_BREACHES = {
    "peers": ("process/linux.rs", "use crate::image::Image;", "floor 3 has no corridor"),
    "a parser opens": ("formats/elf.rs", "use crate::image::Image;", "floor 2 names floor 3"),
    "census from below": ("image.rs", "use crate::census::run;", "floor 3 names floor 4"),
    "a word knows a map": ("error.rs", "use crate::map::Run;", "floor 0 names floor 1"),
    "a room of the core": ("map.rs", "use crate::pmap::Entry;", "pmap has no floor"),
    "new room": ("attic.rs", "", "room attic has no floor"),
}


@pytest.mark.parametrize(
    ("file", "source", "complaint"), IMAGE_BREACHES.values(), ids=IMAGE_BREACHES
)
def test_a_breach_of_the_image_crate_is_seen(file: str, source: str, complaint: str) -> None:
    found = breaches({PurePath(file): source}, {}, IMAGE)
    assert found
    assert all(line.startswith(file) and complaint in line for line in found)


def test_floors_of_the_image_crate_may_be_looked_down() -> None:
    fine = {
        PurePath("census/index.rs"): "use crate::{pages::Pages, process::Process, image::Image};",
        PurePath("pages.rs"): "use crate::{error::Error, map::Run};",
        PurePath("process/qemu.rs"): "use crate::process::smaps; use super::smaps::Mapping;",
    }
    assert breaches(fine, {}, IMAGE) == []


@pytest.mark.parametrize(("file", "source", "complaint"), RUST_BREACHES.values(), ids=RUST_BREACHES)
def test_a_breach_is_seen(file: str, source: str, complaint: str) -> None:
    found = breaches({PurePath(file): source}, {"Machinery": "host"})
    assert found
    assert all(line.startswith(file) and complaint in line for line in found)


RUST_FINE = {
    "lower floors": ("share.rs", "use crate::{memory::Memory, types::{Mpn, Ppn}, pmap::*};"),
    "own folder": (
        "share/order.rs",
        "use super::lookup::find; use super::*; use crate::share::Scanner;",
    ),
    "own module": ("hash.rs", "mod a { use super::B; } use self::a::C; use super::types::Ppn;"),
    "corridor": ("stats.rs", "use crate::host::Host; use crate::ledger;"),
    "comment": ("pmap.rs", "//! [`crate::host`]\n// use crate::host::Host;\n/* super::host::X */"),
    "string": ("pmap.rs", 'const A: &str = "crate::host::X"; const B: &str = r#"super::host " "#;'),
    "tests": ("pmap.rs", "#[cfg(test)]\nmod tests {\n    use crate::host::Host;\n}"),
    "tests with a lint": ("pmap.rs", "#[cfg(test)]\n#[allow(x)]\nmod tests {\n use super::*;\n}"),
    "index": ("lib.rs", "pub use crate::host::Host;"),
    "test file": ("memory/tests.rs", "use crate::host::Host;"),
    "visibility": ("pmap.rs", "pub(crate) fn f() {} pub(super) fn g() {}"),
    "self": ("pmap.rs", "fn f(self: Self) -> Self { self.g(); Self::new() }"),
    "re-export": ("pmap.rs", "use crate::Word;"),
}


@pytest.mark.parametrize(("file", "source"), RUST_FINE.values(), ids=RUST_FINE)
def test_what_is_allowed_is_no_breach(file: str, source: str) -> None:
    assert breaches({PurePath(file): source}, {"Word": "types"}) == []


def test_line_numbers_and_re_exports() -> None:
    source = 'const A: &str = "\n\n";\n/*\n*/ use crate::host::Host;\n'
    assert breaches({PurePath("pmap.rs"): source}, {})[0].startswith("pmap.rs:5: crate::host::Host")
    lib = "pub mod host;\npub use host::{Host, stats::Deep};\npub use crate::types::Ppn;\n"
    assert exports(lib) == {"Host": "host", "Deep": "host", "Ppn": "types"}


PYTHON_BREACHES = {
    "up": ("config.py", "from esxcore.host import Host"),
    "inside a function": ("host.py", "def f():\n    import esxcore.experiment"),
    "peer": ("sampling.py", "from esxcore import contents"),
    "leaf": ("experiment.py", "from esxcore.plot import draw"),
    "leaf looks up": ("plot.py", "from esxcore.experiment import run"),
    "leaf names a leaf": ("report/page.py", "from esxcore.plot import draw"),
    "other leaf": ("experiment.py", "from esxcore.report import write"),
    "relative": ("contents.py", "from .host import Host"),
    "relative package": ("contents.py", "from . import host"),
    "whole package": ("host.py", "import esxcore"),
    "type only": ("errors.py", "if TYPE_CHECKING:\n    from esxcore.host import Vm"),
    "folder": ("cli/run.py", "from esxcore.attic import x"),
    "new module": ("attic.py", ""),
}


@pytest.mark.parametrize(("file", "source"), PYTHON_BREACHES.values(), ids=PYTHON_BREACHES)
def test_a_python_breach_is_seen(file: str, source: str) -> None:
    assert len(python_breaches({PurePath(file): source})) == 1


def test_python_may_look_down() -> None:
    fine = {
        PurePath(
            "cli/run.py"
        ): "from esxcore.plot import draw\nfrom esxcore.cli import x\nimport numpy",
        PurePath("experiment.py"): "from esxcore.host import Host\nfrom esxcore import __version__",
        PurePath("plot.py"): "from esxcore.recording import Recording",
    }
    assert python_breaches(fine) == []
