"""Fields of a scenario replaced by dotted names: ``policy.tax_rate``, ``vms.busy.max``.

`changed_tables` makes tables of the file again of the sections that change; everything else stays
the section it was. What the new values may be is checked by the model, as ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from esxcore.errors import ConfigError
from esxcore.hints import LIKE_FOR_KEYS, did_you_mean, in_quotes, nearest
from esxcore.scenario.fields import Section
from esxcore.scenario.given import policy_table, table_of, workload_table
from esxcore.scenario.model import ScenarioModel
from esxcore.scenario.own import Own
from esxcore.scenario_text import abridged

Tables = dict[str, Any]

_LIKE_A_SECTION = 0.7


class _Changing:
    """Tables while they change."""

    def __init__(self, tables: Tables, own: Own) -> None:
        self.tables = dict(tables)
        self.own = own

    def change(self, name: str, value: Any) -> None:
        """Replaces one field."""
        head, _, rest = name.partition(".")
        if head not in ScenarioModel.model_fields or (head in ("vms", "events") and not rest):
            raise _unknown(name)
        if head == "vms":
            self._change_vms(name, rest, value)
        elif head == "events":
            self._change_event(name, rest, value)
        elif head == "policy" and rest in ("", "name"):
            table, policy = policy_table(value, name)
            self.tables["policy"] = table
            self.own = Own(policy, self.own.workloads)
        elif rest:
            self.tables[head] = _dumped(self.tables.get(head))
            _put(self.tables[head], rest.split("."), name, table_of(rest)(value))
        else:
            self.tables[head] = table_of(head)(value)

    def _change_vms(self, name: str, rest: str, value: Any) -> None:
        vms = [*self.tables["vms"]]
        for position, keys in _found(name, rest, [_name(vm) for vm in vms]):
            vms[position] = _dumped(vms[position])
            if keys == ["workload"]:
                place = f"vms[{position}].workload (VM {abridged(_name(vms[position]))})"
                vms[position]["workload"], workload = workload_table(value, place)
                self.own = self.own.with_workload(position, workload)
                continue
            if keys == ["workload", "kind"]:
                self.own = self.own.with_workload(position, None)
            _put(vms[position], keys, name, table_of(".".join(keys))(value))
        self.tables["vms"] = vms

    def _change_event(self, name: str, rest: str, value: Any) -> None:
        events = [*self.tables.get("events", ())]
        number, _, keys = rest.partition(".")
        if not (number.isdecimal() and int(number) < len(events) and keys):
            which = (
                f"events.0 to events.{len(events) - 1}" if events else "a field: no event is there"
            )
            raise ConfigError(f"unknown field {abridged(name)}; expected {which}")
        position = int(number)
        events[position] = _dumped(events[position])
        _put(events[position], keys.split("."), name, table_of(keys)(value))
        self.tables["events"] = events


def changed_tables(tables: Tables, own: Own, changes: Mapping[str, Any]) -> tuple[Tables, Own]:
    """Tables and objects of a scenario with fields replaced.

    Raises
    ------
    ConfigError
        If there is no such field or virtual machine; the nearest is told.
    """
    if not isinstance(changes, Mapping):
        raise ConfigError(
            f"changes are {abridged(changes)}; expected a mapping of fields to values"
        )
    changing = _Changing(tables, own)
    for name, value in changes.items():
        if not isinstance(name, str):
            raise ConfigError(f"{abridged(name)} is no field; expected a name such as vms.web.max")
        changing.change(name, value)
    return changing.tables, changing.own


def _found(name: str, rest: str, names: list[str]) -> Iterable[tuple[int, list[str]]]:
    """Positions of the virtual machines that a field is of, and the rest of its name."""
    if rest in names or rest == "*":
        raise ConfigError(f"{abridged(name)} is a whole VM; expected a field such as {name}.max")
    # Names may have points in them, so the longest that fits is meant.
    fits = [each for each in {*names, "*"} if rest.startswith(f"{each}.")]
    if not fits or not names:
        wanted = rest.partition(".")[0]
        hint = did_you_mean(wanted, names, abridged, otherwise=_expected(names))
        raise ConfigError(
            f"unknown field {abridged(name)}: no VM is named {abridged(wanted)}; {hint}"
        )
    which = max(fits, key=len)
    keys = rest.removeprefix(f"{which}.")
    return [(at, keys.split(".")) for at, each in enumerate(names) if which in (each, "*")]


def _expected(names: list[str]) -> str:
    return f"expected one of {', '.join(map(abridged, names))}" if names else "there is no VM yet"


def _put(table: Tables, keys: list[str], name: str, value: Any) -> None:
    """Puts a value into a table of tables, which are made where there are none."""
    *way, last = keys
    for key in way:
        inner = table.get(key)
        if inner is not None and not isinstance(inner, dict):
            raise _unknown(name)
        table[key] = dict(inner or {})
        table = table[key]
    table[last] = value


def _dumped(section: Any) -> Tables:
    """A section as the table that it was made of."""
    if isinstance(section, BaseModel):
        return section.model_dump(exclude_unset=True)
    return dict(section) if isinstance(section, Mapping) else {}


def _name(vm: Any) -> str:
    return str(vm["name"] if isinstance(vm, dict) else vm.name)


def _unknown(name: str) -> ConfigError:
    head, point, rest = name.partition(".")
    if head not in ScenarioModel.model_fields:
        likely = nearest(head, ScenarioModel.model_fields, _LIKE_A_SECTION)
        near = likely and f"{likely}{point}{rest}"
    else:
        near = None
    near = near or nearest(name, _fields(), LIKE_FOR_KEYS)
    expected = "expected one such as policy.tax_rate or vms.web.max"
    hint = f"did you mean {in_quotes(near)}?" if near and near != name else expected
    return ConfigError(f"unknown field {abridged(name)}; {hint}")


def _fields() -> list[str]:
    """All dotted names but those of virtual machines and events."""
    names = []
    for head, field in ScenarioModel.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            names += [head, *(f"{head}.{key}" for key in field.annotation.model_fields)]
    return names
