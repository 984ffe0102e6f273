"""Built-in workloads that a scenario names: made with its parameters, checked in its words.

In files sizes and times have units, and paths start at the folder of the scenario.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from esxcore.errors import ArgumentTypeError, ConfigError, ScenarioError
from esxcore.hints import did_you_mean, listed
from esxcore.scenario.guests import WorkloadSection
from esxcore.scenario.named import Refusing, no_such
from esxcore.scenario.sections import VmSection
from esxcore.scenario_text import abridged
from esxcore.workload import KINDS, Program
from esxcore.workload.programs import Parameter, found_load

OWN_KINDS: Mapping[str, None] = dict.fromkeys(kind for kind in KINDS if kind != "activity")
"""What a scenario may name as a kind."""

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

_FILES = ("files", "dbench")
"""Kinds that need a guest with a page cache."""
_READ = ("trace", "load")


def check_workload(scenario: Refusing, field_name: str, vm: VmSection) -> None:
    """Refuses a kind that there is not, and what it does not take, as far as no file is read."""
    section = vm.workload
    if section is None or section.name is None:
        return
    need_kind(scenario, field_name, vm)
    if section.name not in OWN_KINDS:
        if ":" not in section.name:
            raise no_such(scenario, f"{field_name}.kind", section.name, OWN_KINDS)
    elif not any(row.form in _READ for row in KINDS[section.name].parameters.values()):
        made_program(scenario, field_name, section)


def need_kind(scenario: Refusing, field_name: str, vm: VmSection) -> None:
    """Refuses a kind that is written in another way, or that the guest cannot have."""
    kind = vm.workload.name if vm.workload else None
    if kind == "activity":
        said = 'a table like { activity = "builtin:active_phases" }'
        raise scenario.error(f"{field_name}.kind", kind, said)
    if kind in _FILES and (vm.guest is None or vm.guest.kind == "default"):
        raise scenario.error(
            f"{field_name}.kind", kind, 'guest = "linux" or "windows", who have files'
        )


def made_program(scenario: Refusing, field_name: str, section: WorkloadSection) -> Program:
    """The program of a section whose kind is built in.

    Raises
    ------
    ScenarioError
        If it does not take what is given.
    DataError
        If a file that it names is missing or damaged.
    """
    kind = str(section.name)
    rows, given = KINDS[kind].parameters, dict(section.parameters)
    processes = section.processes or 1
    if kind == "dbench":
        processes = _clients(scenario, field_name, given, section)
    for key in given:
        if key not in rows:
            hint = did_you_mean(key, rows, abridged, otherwise=f"expected {listed(rows)}")
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
    scenario: Refusing, field_name: str, given: dict[str, Any], section: WorkloadSection
) -> int:
    """How many clients dbench has; takes the key away."""
    clients = given.pop("clients", section.processes or 1)
    if isinstance(clients, bool) or not isinstance(clients, int) or not 1 <= clients <= 2**16:
        raise scenario.error(f"{field_name}.clients", clients, "a whole number from 1 to 65536")
    return clients


def _checked(scenario: Refusing, field: str, row: Parameter, value: Any) -> Any:
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
    scenario: Refusing,
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
