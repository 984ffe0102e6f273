"""Scenarios: what to run, as a TOML file or built in Python, checked before anything starts.

The models mirror the file section by section and keep sizes and durations as the text that was
written, units and all; properties give them in seconds. Each field's ``description`` says
what it expects, and it is from there that an error message takes its words: whatever is wrong with
a file comes out as one `ScenarioError` line that names the file, the field, the value and what was
expected.

Neighbours: `esxcore.experiment` runs a scenario. This module opens no data file; it only says where
they are.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn, Self

from pydantic import AfterValidator, Field, PrivateAttr, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from esxcore.datafile import data_path, packaged
from esxcore.errors import ConfigError, DataError, ScenarioError
from esxcore.scenario.division import BARE, EventSection, PolicySection, ReclaimSection
from esxcore.scenario.fields import NEVER, Section, is_nothing
from esxcore.scenario.guests import WorkloadSection
from esxcore.scenario.sections import (
    SEED_LIMIT,
    HostSection,
    RunSection,
    SamplingSection,
    SharingSection,
    VmSection,
)
from esxcore.scenario_text import RULE, abridged, first_problem, toml_key, toml_value

__all__ = [
    "NEVER",
    "SEED_LIMIT",
    "PolicySection",
    "ReclaimSection",
    "Scenario",
    "VmSection",
    "WorkloadSection",
    "is_nothing",
]

_OF_DIVISION = ("min", "shares", "balloon_limit", "overhead", "driver")
"""Keys of a VM that mean nothing where memory is not divided."""


def _not_empty(vms: tuple[VmSection, ...]) -> tuple[VmSection, ...]:
    if not vms:
        raise ConfigError("nothing to run")
    return vms


# Not pydantic's own length check: it also complains of an empty tuple when the one item is wrong.
_Vms = Annotated[tuple[VmSection, ...], AfterValidator(_not_empty)]


class Scenario(Section):
    """A whole experiment: one host, its virtual machines, and how long to watch them.

    Examples
    --------
    >>> scenario = Scenario.from_mapping(
    ...     {
    ...         "host": {"memory": "1GiB"},
    ...         "vms": [{"name": "web", "max": "256MiB", "count": 2}],
    ...         "run": {"duration": "5min"},
    ...     }
    ... )
    >>> scenario.vm_names()
    ('web-1', 'web-2')
    """

    host: HostSection = Field(description="a table [host]")
    sharing: SharingSection = Field(SharingSection(), description="a table [sharing]")
    sampling: SamplingSection = Field(SamplingSection(), description="a table [sampling]")
    policy: PolicySection = Field(PolicySection(), description="a table [policy]")
    reclaim: ReclaimSection = Field(ReclaimSection(), description="a table [reclaim]")
    vms: _Vms = Field(strict=False, description="one table [[vms]] or more")
    events: tuple[EventSection, ...] = Field((), strict=False, description="tables [[events]]")
    run: RunSection = Field(description="a table [run]")

    _source: str = PrivateAttr("scenario")
    _folder: Path = PrivateAttr(Path())

    @model_validator(mode="after")
    def _has_names_of_their_own(self) -> Self:
        name, times = Counter(self.vm_names()).most_common(1)[0]
        if times > 1:
            raise PydanticCustomError(
                RULE,
                'vms: {times} of them are named "{name}"; expected a name of its own for each',
                {"times": times, "name": name},
            )
        return self

    @model_validator(mode="after")
    def _divides_or_does_not(self) -> Self:
        if not self.policy.is_bare:
            return self
        given = ["host.swap"] if self.host.swap is not None else []
        given += ["reclaim"] if "reclaim" in self.model_fields_set else []
        for position, section in enumerate(self.vms):
            keys = (key for key in _OF_DIVISION if getattr(section, key) is not None)
            given += [f"vms[{position}].{key}" for key in keys]
        given += [f"events[{position}]" for position in range(len(self.events))]
        if given:
            _refuse(
                f"{given[0]} is given, but memory is not divided; expected a policy"
                f' other than "{BARE}"'
            )
        return self

    @model_validator(mode="after")
    def _has_events_that_can_happen(self) -> Self:
        sections = {name: section for section in self.vms for name in section.names()}
        for position, event in enumerate(self.events):
            field = f"events[{position}]"
            if event.vm is not None and event.vm not in sections:
                near = difflib.get_close_matches(event.vm, sections, 1)
                hint = f"did you mean {abridged(near[0])}?" if near else "expected the name of a VM"
                _refuse(f"{field}.vm is {abridged(event.vm)}; {hint}")
            if event.vm is not None and not sections[event.vm].is_on(event.at_s):
                _refuse(
                    f"{field}.at is {abridged(event.at)}; expected a time at which VM"
                    f" {abridged(event.vm)} is powered on"
                )
            if event.policy is not None and event.policy.name == BARE:
                _refuse(
                    f'{field}.policy.name is "{BARE}"; expected a policy: a host that divides'
                    " its memory goes on dividing it"
                )
        return self

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
            Sections ``host``, ``sharing``, ``sampling``, ``policy``, ``reclaim``, ``vms``,
            ``events``, ``run``.
        source : str
            What to call it in error messages.
        folder : Path, optional
            Where relative paths of data files start; the current folder if not given.

        Raises
        ------
        ScenarioError
            If it says something that cannot be run; one line.
        """
        try:
            scenario = cls.model_validate(data)
        except ValidationError as error:
            raise ScenarioError(f"{source}: {first_problem(cls, data, error)}") from error
        scenario._source = source
        scenario._folder = folder or Path()
        return scenario

    @classmethod
    def builtin(cls, name: str = "fleet_a") -> Self:
        """A scenario that comes with the package."""
        return cls.from_toml(packaged(f"{name}.toml"))

    def vm_names(self) -> tuple[str, ...]:
        """Names of all virtual machines in power-on order."""
        return tuple(name for section in self.vms for name in section.names())

    @property
    def folder(self) -> Path:
        """Where relative paths start; policies of one's own are looked for there first."""
        return self._folder

    def data_path(self, reference: str) -> Path:
        """Path of a data file the scenario refers to; ``builtin:`` names are in the package."""
        return data_path(reference, self._folder)

    def error(self, field: str, value: object, expected: str) -> ScenarioError:
        """An error about one field, in the words that all errors about scenarios have."""
        return self.refusal(f"{field} is {abridged(value)}; expected {expected}")

    def refusal(self, problem: str) -> ScenarioError:
        """An error that says where the scenario comes from."""
        return ScenarioError(f"{self._source}: {problem}")

    def data_error(self, field: str, error: DataError) -> DataError:
        """The error of a data file, said of the field that names the file."""
        return DataError(f"{self._source}: {field}: {error}")

    def to_toml(self) -> str:
        """The scenario as TOML, every default spelled out; `from_toml` reads it back."""
        lines = []
        for section, content in self.model_dump(exclude_none=True).items():
            if section == "reclaim" and self.policy.is_bare:
                continue
            head = f"[[{section}]]" if isinstance(content, tuple) else f"[{section}]"
            for table in content if isinstance(content, tuple) else (content,):
                rows = (f"{toml_key(key)} = {toml_value(item)}" for key, item in table.items())
                lines += [head, *rows, ""]
        return "\n".join(lines)


def _refuse(message: str) -> NoReturn:
    raise PydanticCustomError(RULE, "{message}", {"message": message})
