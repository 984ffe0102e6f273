"""Workloads of a scenario: found by kind, or imported from the folder of its file; checked.

A workload of one's own is ``module:Class``, found as `esxcore.experiment.classes` says; every
process of it is an object of its own. Whatever is wrong comes out as one line, before anything
runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from esxcore.errors import ArgumentTypeError, ConfigError, ScenarioError
from esxcore.experiment.classes import (
    RAISED,
    Sort,
    check_parameters,
    found_class,
    listed,
    nearest,
    told,
)
from esxcore.scenario import Scenario, VmSection, WorkloadSection
from esxcore.scenario_text import abridged
from esxcore.workload import KINDS, Activity, ActivityRecord, AnyWorkload, Program
from esxcore.workload.programs import Parameter, found_load

_SORT = Sort(
    "workload",
    ("batch", "accesses"),
    "a class with a method batch(now) or accesses(second)",
)
_FILES = ("files", "dbench")
"""Kinds that need a guest with a page cache."""

_EXPECTED = {
    "pages": 'a size with its unit (KiB, MiB, GiB, TiB) in whole 4 KiB pages, such as "64MiB"',
    "count": "a whole number of at least 0",
    "number": "a number",
    "time": 'a time with a unit (us, ms, s, min, h), such as "100us"',
    "seconds": 'whole seconds with a unit (s, min, h), such as "90s"',
    "flag": "true or false",
    "word": "one of its words",
    "sizes": 'a size such as "50MiB", or a list like [["0s", "50MiB"], ["3min", "250MiB"]]',
    "trace": "the path of a trace in quotes",
    "load": 'the path of a load file in quotes, such as "client.txt"',
}
_Record = Callable[[str], ActivityRecord]


@dataclass(frozen=True)
class Opened:
    """What a section says is done in its virtual machines, checked."""

    make: Callable[[], list[AnyWorkload]]
    writes: str | tuple[str, int]
    start_s: int | None

    @classmethod
    def of(cls, section: WorkloadSection, make: Callable[[], list[AnyWorkload]]) -> Opened:
        """That of a section."""
        writes = section.writes or "unique"
        stored = writes if isinstance(writes, str) else ("pool", writes["pool"])
        return cls(make, stored, section.start_s)


def opened_workload(
    scenario: Scenario, field_name: str, vm: VmSection, pages: int, record: _Record
) -> Opened | None:
    """The workload of a section of VMs with so many pages; None if it has none.

    Raises
    ------
    ScenarioError
        If there is no such kind, or it does not take what is given.
    DataError
        If a file that it names is missing or damaged.
    """
    section = vm.workload
    if section is None:
        return None
    field_name = f"{field_name}.workload"
    if section.name is None:
        activity = _activity(scenario, field_name, section, pages, record)
        opened = Opened.of(section, lambda: [activity])
        # The replay itself waits for its start, in the time of the guest.
        return opened if section.start is None else replace(opened, start_s=0)
    if section.name == "activity":
        said = 'a table like { activity = "builtin:active_phases" }'
        raise scenario.error(f"{field_name}.kind", section.name, said)
    if section.name not in KINDS:
        return Opened.of(section, _own(scenario, field_name, section))
    if section.name in _FILES and (vm.guest is None or vm.guest.kind == "default"):
        raise scenario.error(
            f"{field_name}.kind", section.name, 'guest = "linux" or "windows", who have files'
        )
    program = _program(scenario, field_name, section)
    return Opened.of(section, lambda: [program])


def _activity(
    scenario: Scenario, field_name: str, section: WorkloadSection, pages: int, load: _Record
) -> Activity:
    """The replay of a record, which may name only pages that the virtual machine has."""
    name = section.activity
    if name is None:
        raise AssertionError("a workload without a kind replays a record")
    record = load(name)
    if record.pages > pages:
        raise scenario.error(
            f"{field_name}.activity",
            name,
            f"a record of at most {pages} pages, the size of the VM; this one is of {record.pages}",
        )
    if section.offset_s >= record.seconds:
        raise scenario.error(
            f"{field_name}.offset",
            section.offset,
            f"less than {record.seconds}s, the length of the record",
        )
    return Activity(record, section.start_s or 0, section.offset_s, bool(section.repeat))


def _own(
    scenario: Scenario, field_name: str, section: WorkloadSection
) -> Callable[[], list[AnyWorkload]]:
    """What makes the processes of a workload of one's own."""
    name = str(section.kind)
    kinds = {kind: None for kind in KINDS if kind != "activity"}
    factory = found_class(scenario, f"{field_name}.kind", name, kinds, _SORT)
    called = f"workload {abridged(name)}"
    check_parameters(scenario, field_name, called, section.parameters, factory)

    def make() -> list[AnyWorkload]:
        try:
            return [factory(**section.parameters) for _ in range(section.processes or 1)]
        except RAISED as error:
            problem = f"{field_name}: {called} cannot be made: {told(error)}"
            raise scenario.refusal(problem) from error

    return make


def _program(scenario: Scenario, field_name: str, section: WorkloadSection) -> Program:
    kind = str(section.name)
    rows, given = KINDS[kind].parameters, dict(section.parameters)
    processes = section.processes or 1
    if kind == "dbench":
        processes = _clients(scenario, field_name, given, section)
    for key in given:
        if key not in rows:
            hint = nearest(key, rows) or f"expected {listed(rows)}"
            raise scenario.refusal(f"unknown key {field_name}.{key} of workload {kind!r}; {hint}")
    for name, row in rows.items():
        field = f"{field_name}.{name}"
        if name in given:
            given[name] = _checked(scenario, field, row, given[name])
        elif row.form == "load":
            given[name] = found_load()
        elif row.is_required:
            raise scenario.refusal(f"{field} is missing; expected {row.meaning}: {_expected(row)}")
    try:
        return Program.of(kind, given, processes)
    except (ConfigError, ArgumentTypeError) as error:
        raise _named(scenario, field_name, kind, rows, section, error) from error


def _clients(
    scenario: Scenario, field_name: str, given: dict[str, Any], section: WorkloadSection
) -> int:
    """How many clients dbench has; takes the key away."""
    clients = given.pop("clients", section.processes or 1)
    if isinstance(clients, bool) or not isinstance(clients, int) or not 1 <= clients <= 2**16:
        raise scenario.error(f"{field_name}.clients", clients, "a whole number from 1 to 65536")
    return clients


def _checked(scenario: Scenario, field: str, row: Parameter, value: Any) -> Any:
    """A value as the program takes it; in files sizes and times have units."""
    units = ("pages", "time", "seconds", "trace", "load")
    if row.form in units and not isinstance(value, str):
        raise scenario.error(field, value, _expected(row))
    if row.form == "sizes" and not isinstance(value, str):
        pairs = value if isinstance(value, list) else [None]
        for pair in pairs:
            if not (isinstance(pair, list) and [type(part) for part in pair] == [str, str]):
                raise scenario.error(field, value, _expected(row))
    if row.form == "load" or (row.form == "trace" and not value.startswith("builtin:")):
        return str(scenario.folder / value)
    return value


def _expected(row: Parameter) -> str:
    return " or ".join(map(abridged, row.words)) if row.words else _EXPECTED[row.form]


def _named(
    scenario: Scenario,
    field_name: str,
    kind: str,
    rows: Mapping[str, Parameter],
    section: WorkloadSection,
    error: Exception,
) -> ScenarioError:
    """What a program refuses, said of the field: ``zipf: exponent is 11; expected 0 to 10``."""
    said = str(error).removeprefix(f"{kind}: ")
    name = said.partition(" ")[0].rstrip(":")
    value = section.parameters.get(name)
    if name not in rows or value is None:
        return scenario.refusal(f"{field_name}: {said}")
    _, _, expected = said.rpartition("; expected ")
    if f"{name} is " not in said or rows[name].form in ("pages", "time"):
        expected = _expected(rows[name]) if f"{name} is " not in said else f"{expected} pages"
    return scenario.error(f"{field_name}.{name}", value, expected)
