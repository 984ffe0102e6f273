"""What callers give a scenario in Python, as tables of the file.

Policies, workloads, guests, drivers and costs may be given as the objects that Python has for them.
Those that a file has words for become tables; of others, objects of one's own, the table only names
the class, and the object is kept beside it (`esxcore.scenario.own`).
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeAlias

import numpy as np

from esxcore.costs import Costs
from esxcore.devices import Disk, Nic
from esxcore.errors import ConfigError
from esxcore.guest import Guest
from esxcore.policy import POLICIES
from esxcore.reports import BalloonDriver
from esxcore.scenario.fields import NEVER
from esxcore.scenario_text import abridged
from esxcore.traces import PageTrace
from esxcore.workload import KINDS, Program

Given: TypeAlias = tuple[Any, object | None]
"""A table, and the object that it stands for if it cannot say all of it."""

_POLICY = (
    'the name of a policy such as "esx2002", "module:Class" or "none", a mapping as in the file,'
    " or an object with a method targets(view)"
)
_WORKLOAD = (
    'a kind such as "zipf", a mapping as in the file, esxcore.zipf and its like, or an object with'
    " a method batch(now) or accesses(second)"
)


def plain(value: Any) -> Any:
    """A value made of what files are made of, where it is of something like it."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def policy_table(policy: object, place: str) -> Given:
    """The table of a policy: a name, a mapping, one that is built in, or an object of one's own.

    Raises
    ------
    ConfigError
        If it is none of them.
    """
    if isinstance(policy, str):
        return {"name": policy}, None
    if isinstance(policy, Mapping):
        return plain(policy), None
    for name, built_in in POLICIES.items():
        if type(policy) is built_in:
            return {"name": name} | _settings(policy), None
    return {"name": _own(policy, place, ("targets",), _POLICY)}, policy


def workload_table(workload: object, place: str) -> Given:
    """The table of a workload: a word, a mapping, a program, or an object of one's own.

    In a mapping ``kind`` may be any of these too, so that it can say when to start.

    Raises
    ------
    ConfigError
        If it is none of them.
    """
    if isinstance(workload, str) or workload is None:
        return workload, None
    if isinstance(workload, Mapping):
        kind = workload.get("kind")
        if kind is None or isinstance(kind, str):
            return plain(workload), None
        table, own = workload_table(kind, f"{place}.kind")
        return table | plain({key: workload[key] for key in workload if key != "kind"}), own
    if isinstance(workload, Program):
        table = _program(workload)
        return ({"kind": _named(workload)}, workload) if table is None else (table, None)
    return {"kind": _own(workload, place, ("batch", "accesses"), _WORKLOAD)}, workload


def guest_table(guest: object) -> Any:
    """The table of a guest: what differs from the defaults of its kind."""
    if not isinstance(guest, Guest):
        return plain(guest)
    return {"kind": guest.kind} | {
        field.name: _worded(field.name, getattr(guest, field.name))
        for field in fields(guest)
        if field.name != "kind" and getattr(guest, field.name) != field.default
    }


def driver_table(driver: object) -> Any:
    """The table of a balloon driver."""
    if not isinstance(driver, BalloonDriver):
        return plain(driver)
    said = {
        field.name: _worded(field.name, getattr(driver, field.name))
        for field in fields(driver)
        if getattr(driver, field.name) != field.default
    }
    return said | ({"start": NEVER} if driver.start is None else {})


def costs_table(costs: object) -> Any:
    """The table of costs: a preset and what differs from it."""
    if not isinstance(costs, Costs):
        return plain(costs)
    usual = Costs.preset("nvme").as_dict()
    changes = {name: cost for name, cost in costs.as_dict().items() if cost != usual[name]}
    is_old = costs == Costs.preset("2002")
    return {"preset": "2002"} if is_old else {"preset": "nvme"} | changes


def table_of(key: str) -> Callable[[Any], Any]:
    """What turns the value of a key into what a file has there."""
    return _TABLES.get(key, plain)


def device_table(device: Any) -> Any:
    """The table of a network card or a disk, if it is one."""
    if not isinstance(device, Nic | Disk):
        return plain(device)
    said = {field.name: (getattr(device, field.name), field.default) for field in fields(device)}
    return {name: plain(value) for name, (value, default) in said.items() if value != default}


def _settings(policy: Any) -> dict[str, Any]:
    """What a built-in policy is made with beyond its defaults."""
    taken = inspect.signature(type(policy)).parameters
    given = {name: getattr(policy, name) for name in taken}
    return {name: plain(value) for name, value in given.items() if value != taken[name].default}


def _program(program: Program) -> dict[str, Any] | None:
    """The table of a program; None if it holds what no file can say."""
    rows, table = KINDS[program.kind].parameters, program.table()
    for name, value in program.parameters:
        if isinstance(value, PageTrace):
            return None
        # A program has found its files from where it was made, which need not be the folder.
        if rows[name].form in ("trace", "load") and not value.startswith("builtin:"):
            table[name] = os.path.abspath(value)
    return table


_SIZES = ("swap", "kernel", "boot", "limit")
_TIMES = ("boot_time", "dirty_expire", "start", "stuck_at")


def _worded(name: str, value: Any) -> Any:
    """A number of pages or seconds with its unit, as files have it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if name in _SIZES:
        return f"{value * 4}KiB"
    return f"{value}s" if name in _TIMES else value


def _own(given: object, place: str, methods: tuple[str, ...], expected: str) -> str:
    """The class of an object that has one of the methods."""
    has_one = any(callable(getattr(given, method, None)) for method in methods)
    if isinstance(given, type):
        if has_one:
            expected = f"an instance, such as {given.__name__}()"
        raise ConfigError(f"{place} is the class {given.__name__}; expected {expected}")
    if not has_one:
        raise ConfigError(f"{place} is {abridged(given)}; expected {expected}")
    return _named(given)


def _named(given: object) -> str:
    """The class of an object as a scenario would name it."""
    return f"{type(given).__module__}:{type(given).__qualname__}"


_TABLES: dict[str, Callable[[Any], Any]] = {
    "guest": guest_table,
    "driver": driver_table,
    "costs": costs_table,
    "nic": device_table,
    "disk": device_table,
}
