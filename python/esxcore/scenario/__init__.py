"""Scenarios: what to run, as a TOML file or built in Python, checked before anything starts.

The models mirror the file section by section and keep sizes and durations as the text that was
written, units and all; properties give them in seconds. Each field's ``description`` says
what it expects, and it is from there that an error message takes its words: whatever is wrong with
a file comes out as one `ScenarioError` line that names the file, the field, the value and what was
expected. A `Scenario` built in Python goes the same way: what is given becomes tables of the file
(`esxcore.scenario.given`), which the same models check.

Neighbours: `esxcore.experiment` runs a scenario. This module opens no data file; it only says where
they are.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, Self

from pydantic import ValidationError

from esxcore.datafile import packaged
from esxcore.errors import ConfigError, ScenarioError
from esxcore.hints import LIKE_FOR_KEYS, did_you_mean, in_quotes
from esxcore.scenario.changes import Tables, changed_tables
from esxcore.scenario.devices import IoSection
from esxcore.scenario.division import BARE, PolicySection, ReclaimSection, policies_after
from esxcore.scenario.fields import NEVER, is_nothing
from esxcore.scenario.given import policy_table, table_of, workload_table
from esxcore.scenario.guests import WorkloadSection
from esxcore.scenario.limits import reaches_all
from esxcore.scenario.model import GROWING, OF_DIVISION, ScenarioModel
from esxcore.scenario.named import check_policy
from esxcore.scenario.own import Own
from esxcore.scenario.programs import check_workload
from esxcore.scenario.reading import Readable
from esxcore.scenario.sections import (
    SEED_LIMIT,
    HostSection,
    RunSection,
    VmSection,
)
from esxcore.scenario_text import abridged, first_problem

__all__ = [
    "NEVER",
    "SEED_LIMIT",
    "IoSection",
    "PolicySection",
    "ReclaimSection",
    "RunSection",
    "Scenario",
    "ScenarioModel",
    "VmSection",
    "WorkloadSection",
    "is_nothing",
]

_KEYS = {"host": HostSection.model_fields, "run": RunSection.model_fields}
_MANY = ("vms", "events")


class Scenario(Readable):
    """A whole experiment: one host, its virtual machines, and how long to watch them.

    Built here step by step, or read from a file by `from_toml`; one meaning for both. Each step is
    checked at once, and one that fails changes nothing.

    Parameters
    ----------
    memory, duration : str
        Machine memory and virtual time to run, such as ``"512MiB"`` and ``"20min"``.
    swap, content, seed, sample, processors, costs, ...
        Every other key of ``[host]`` and ``[run]`` by its own name.
    policy : str, mapping or object
        A name such as ``"proxmox"`` or ``"module:Class"``, a table as in the file, or an object
        with a method ``targets(view)``.
    sharing, sampling, reclaim, ... : mapping
        Every other section of the file by its own name.

    Raises
    ------
    ScenarioError
        If something is missing, unknown or cannot be run; one line, in the words of the file.

    Examples
    --------
    >>> import esxcore
    >>> lab = Scenario(memory="512MiB", duration="20min")
    >>> lab.vm("idle", max="256MiB", guest="windows", workload="idle")
    >>> lab.vm("busy", max="256MiB", guest="linux", workload=esxcore.zipf("220MiB"))
    >>> lab.event("5min", vm="busy", shares=2000)
    >>> lab.vm_names()
    ('idle', 'busy')
    >>> lab.changed({"vms.busy.max": "300MiB", "policy.tax_rate": 0.5}).vms[1].max
    '300MiB'
    """

    def __init__(self, **settings: Any) -> None:
        self._source, self._folder = "scenario", Path()
        tables: Tables = {"vms": []}
        own = Own()
        for key, value in settings.items():
            if key == "policy":
                tables["policy"], policy = self._told(policy_table, value, "policy")
                own = Own(policy)
            elif section := next((each for each, keys in _KEYS.items() if key in keys), None):
                tables.setdefault(section, {})[key] = table_of(key)(value)
            elif key in ScenarioModel.model_fields and key not in (*_KEYS, *_MANY):
                tables[key] = table_of(key)(value)
            else:
                raise self.refusal(f"unknown keyword {key}; {_nearest(key)}")
        self._model = self._validated({"host": {}, "run": {}} | tables)
        self._own = own
        self._check()

    def __setattr__(self, name: str, value: object) -> None:
        """Refuses settings made by assignment, which would change nothing."""
        if not name.startswith("_"):
            raise AttributeError(
                f"scenario.{name} cannot be set; scenario.changed(...) makes another scenario"
            )
        super().__setattr__(name, value)

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> Self:
        """Reads a scenario file; data files named in it are found from the file's folder.

        Raises
        ------
        ScenarioError
            If the file is missing, is no TOML, or says something that cannot be run; one line.
        """
        path = Path(path)
        try:
            data = tomllib.loads(path.read_text("utf-8-sig"))
        except OSError as error:
            raise ScenarioError(f"{path}: cannot be read ({error.strerror})") from error
        except UnicodeDecodeError as error:
            raise ScenarioError(f"{path}: not UTF-8 text (byte {error.start})") from error
        except (ValueError, RecursionError) as error:  # also numbers too long and tables too deep
            raise ScenarioError(f"{path}: not valid TOML: {error}") from error
        return cls.from_mapping(data, str(path), path.parent)

    @classmethod
    def from_mapping(
        cls, data: Mapping[str, Any], source: str = "scenario", folder: Path | None = None
    ) -> Self:
        """Checks a scenario given as nested mappings with the keys of the file.

        Parameters
        ----------
        data : mapping
            Sections ``host``, ``sharing``, ``sampling``, ``policy``, ``reclaim``, ``io``,
            ``vms``, ``events``, ``run``.
        source : str
            What to call it in error messages.
        folder : Path, optional
            Where relative paths of data files start; the current folder if not given.

        Raises
        ------
        ScenarioError
            If it says something that cannot be run; one line.
        """
        scenario = cls.__new__(cls)
        scenario._source, scenario._folder, scenario._own = source, folder or Path(), Own()
        scenario._model = scenario._validated(data, None)
        return scenario

    @classmethod
    def builtin(cls, name: str = "fleet_a") -> Self:
        """A scenario that comes with the package."""
        return cls.from_toml(packaged(f"{name}.toml"))

    # -- building ----------------------------------------------------------------------------------

    def vm(self, name: str, **keys: Any) -> None:
        """Adds a virtual machine, or several equal ones.

        Parameters
        ----------
        name : str
            A name of its own.
        max, contents, min, shares, start, stop, count, ...
            Every key of ``[[vms]]`` by its own name, as in the file.
        workload : str, mapping, Program or object
            What is done in it: a kind such as ``"idle"``, a table as in the file, what
            `esxcore.zipf` and its like make, or an object with a method ``batch(now)`` or
            ``accesses(second)``. Each process of each run gets a copy of the object.
        guest : str, mapping or Guest
            Its operating system.

        Raises
        ------
        ScenarioError
            If it is not as it should be. The scenario stays as it was.
        """
        position = len(self.vms)
        place = f"vms[{position}].workload (VM {abridged(name)})"
        table = {"name": name} | {key: table_of(key)(value) for key, value in keys.items()}
        own = self._own
        if "workload" in keys:
            table["workload"], workload = self._told(workload_table, keys["workload"], place)
            own = own.with_workload(position, workload)
        tables = self._tables()
        changed = self._with(tables | {"vms": [*tables["vms"], table]}, own)
        check_workload(changed, f"vms[{position}].workload", changed.vms[position])
        self._model, self._own = changed._model, own

    def event(self, at: str, **keys: Any) -> None:
        """Adds something that changes while the run goes on.

        Parameters
        ----------
        at : str
            When, in virtual time, such as ``"5min"``.
        vm, shares, min, max, balloon_limit, tax_rate, policy
            A table of ``[[events]]`` by its own keys, as in the file. `policy` may be a name too.

        Raises
        ------
        ScenarioError
            If it is not as it should be. The scenario stays as it was.
        """
        position = len(self.events)
        table = {"at": at} | {key: table_of(key)(value) for key, value in keys.items()}
        if "policy" in keys and not isinstance(keys["policy"], Mapping):
            table["policy"], policy = self._told(
                policy_table, keys["policy"], f"events[{position}].policy"
            )
            if policy is not None:
                raise self.error(
                    f"events[{position}].policy", keys["policy"], "a name or a table of a policy"
                )
        tables = self._tables()
        changed = self._with(tables | {"events": [*tables.get("events", ()), table]}, self._own)
        changed._check_events()
        self._model = changed._model

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """A scenario like this one with some fields replaced.

        Parameters
        ----------
        changes : mapping of str to value
            Values by dotted name: ``policy.tax_rate``, ``run.duration``, ``vms.busy.max`` of the
            virtual machine of that name (of several equal ones, the name of their table),
            ``vms.*.max`` of all of them, ``events.0.at``. ``policy`` and ``vms.busy.workload`` take
            whatever `with_policy` and `vm` do. Another policy has no parameters of the one before.

        Raises
        ------
        ScenarioError
            If there is no such field or virtual machine (the nearest is told), or the value is not
            as it should be.

        Examples
        --------
        >>> lab = Scenario(memory="512MiB", duration="20min")
        >>> lab.changed({"run.duration": "5min", "host.seed": 3}).run.duration
        '5min'
        """
        tables, own = self._told(changed_tables, self._tables(), self._own, changes)
        changed = self._with(tables, own)
        changed._check()
        return changed

    def with_policy(self, policy: Any) -> Self:
        """A scenario like this one with another policy: a name, a table or an object.

        Raises
        ------
        ScenarioError
            If it is no policy, or not one for this scenario.
        """
        return self.changed({"policy": policy})

    def undivided(self, memory: str) -> Self:
        """The same virtual machines on a host with that memory, which it does not divide.

        Promises to virtual machines and events, which have no meaning there, are left out.
        """
        host = self.host.model_dump(exclude_unset=True, exclude={"swap"}) | {"memory": memory}
        if reaches_all(memory, host.get("low_memory")):
            host.pop("low_memory", None)
        nothing = dict.fromkeys(OF_DIVISION)
        vms = [section.model_copy(update=nothing) for section in self.vms]
        tables = self._tables() | {"host": host, "policy": {"name": BARE}, "vms": vms}
        left_out = ["reclaim", "events"]
        if reaches_all(memory, host.get("low_memory")):
            left_out.append("io")
        tables = {name: tables[name] for name in tables if name not in left_out}
        return self._with(tables, Own(None, self._own.workloads))

    def _tables(self) -> Tables:
        """The sections that were given, or that say something else than their default."""
        model = self._model
        tables = {name: getattr(model, name) for name in model.model_fields_set}
        if model.reclaim == ReclaimSection():  # or no policy could be tried that leaves it out
            tables.pop("reclaim", None)
        return tables | {"vms": model.vms}

    def _with(self, tables: Tables, own: Own) -> Self:
        """Another scenario from the same place."""
        changed = type(self).__new__(type(self))
        changed._source, changed._folder, changed._own = self._source, self._folder, own
        changed._model = changed._validated(tables)
        changed._check_own()
        return changed

    def _validated(
        self, tables: Mapping[str, Any], context: dict[str, bool] | None = GROWING
    ) -> ScenarioModel:
        try:
            return ScenarioModel.model_validate(tables, context=context)
        except ValidationError as error:
            raise self.refusal(first_problem(ScenarioModel, tables, error)) from error

    def _told(self, ask: Callable[..., Any], *given: Any) -> Any:
        """Calls a function whose errors do not know where the scenario is from."""
        try:
            return ask(*given)
        except ConfigError as error:
            raise self.refusal(str(error)) from error

    def _check(self) -> None:
        """Refuses what is built in, but not as it is named or given."""
        if self._own.policy is None:
            check_policy(self, "policy", self.policy)
        for position, section in enumerate(self.vms):
            check_workload(self, f"vms[{position}].workload", section)
        self._check_events()

    def _check_events(self) -> None:
        """Refuses policies of events as `_check` does."""
        first = None if self.has_own_policy else self.policy
        for _, field_name, section in policies_after(first, self.events):
            check_policy(self, field_name, section)

    def _check_own(self) -> None:
        """Refuses parameters of objects, which have what they were made with."""
        for position in self._own.workloads:
            section = self.vms[position].workload
            for key in section.parameters if section else ():
                self._refuse_parameter(f"vms[{position}].workload", key)
        if self._own.policy is None:
            return
        for key in self.policy.parameters:
            self._refuse_parameter("policy", key)
        for event in sorted(self.events, key=lambda event: event.at_s):
            change = event.policy_change
            if change is not None and change.name is not None:
                return
            for key in change.parameters if change else ():
                self._refuse_parameter(f"the event at {event.at}", key)

    def _refuse_parameter(self, place: str, key: str) -> NoReturn:
        raise self.refusal(
            f"{place}: {key} is given, but what it is of is an object that is made already;"
            " expected no parameters"
        )


def _nearest(key: str) -> str:
    """Advice on a keyword that is not known."""
    known = [key for keys in _KEYS.values() for key in keys]
    known += [name for name in ScenarioModel.model_fields if name not in (*_KEYS, *_MANY)]
    return did_you_mean(key, known, in_quotes, like=LIKE_FOR_KEYS)
