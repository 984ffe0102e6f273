"""What can be read of a scenario: its sections, its text, errors about it, its own objects.

Neighbours: `esxcore.scenario.Scenario` is this and can be built.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Self

from esxcore.datafile import data_path
from esxcore.errors import ConfigError, DataError, ScenarioError
from esxcore.policy import Policy
from esxcore.scenario.devices import IoSection
from esxcore.scenario.division import EventSection, PolicySection, ReclaimSection
from esxcore.scenario.model import ScenarioModel
from esxcore.scenario.own import Own, fresh
from esxcore.scenario.sections import (
    HostSection,
    RunSection,
    SamplingSection,
    SharingSection,
    VmSection,
)
from esxcore.scenario.shown import comments, html, line, toml_text
from esxcore.scenario_text import abridged


class Readable:
    """A scenario as far as it can be read."""

    _model: ScenarioModel
    _own: Own
    _source: str
    _folder: Path

    @property
    def host(self) -> HostSection:
        """Section ``[host]``."""
        return self._model.host

    @property
    def sharing(self) -> SharingSection:
        """Section ``[sharing]``."""
        return self._model.sharing

    @property
    def sampling(self) -> SamplingSection:
        """Section ``[sampling]``."""
        return self._model.sampling

    @property
    def policy(self) -> PolicySection:
        """Section ``[policy]``; of an object of one's own it only names the class."""
        return self._model.policy

    @property
    def reclaim(self) -> ReclaimSection:
        """Section ``[reclaim]``."""
        return self._model.reclaim

    @property
    def io(self) -> IoSection:
        """Section ``[io]``."""
        return self._model.io

    @property
    def vms(self) -> tuple[VmSection, ...]:
        """Tables ``[[vms]]``."""
        return self._model.vms

    @property
    def events(self) -> tuple[EventSection, ...]:
        """Tables ``[[events]]``."""
        return self._model.events

    @property
    def run(self) -> RunSection:
        """Section ``[run]``."""
        return self._model.run

    def vm_names(self) -> tuple[str, ...]:
        """Names of all virtual machines in power-on order."""
        return self._model.vm_names()

    @property
    def folder(self) -> Path:
        """Where relative paths start; policies of one's own are looked for there first."""
        return self._folder

    def anchored(self) -> Self:
        """The same with its folder as an absolute path, for processes that run elsewhere."""
        same = copy.copy(self)
        same._folder = self._folder.absolute()
        return same

    def data_path(self, reference: str, array: str | None = None) -> Path:
        """Path of a data file the scenario refers to; ``builtin:`` names are in the package.

        Of these, only what has the array is proposed for a name that is not there.
        """
        return data_path(reference, self._folder, array)

    @property
    def has_own_policy(self) -> bool:
        """Whether the policy is an object of one's own."""
        return self._own.policy is not None

    def own_objects(self) -> dict[str, object]:
        """All objects of one's own in it, by where they are in the words of the file."""
        return dict(self._own.places())

    def own_policy(self) -> Policy | None:
        """The policy if it is an object of one's own: forked or copied, so that it starts anew.

        Raises
        ------
        ScenarioError
            If it cannot be copied.
        """
        policy: Policy | None = self._fresh(self._own.policy, "policy")
        return policy

    def has_own_workload(self, position: int) -> bool:
        """Whether the workload of a ``[[vms]]`` table is an object of one's own."""
        return position in self._own.workloads

    def own_workload(self, position: int) -> Any:
        """A copy of the workload of a ``[[vms]]`` table if it is an object of one's own, else None.

        Raises
        ------
        ScenarioError
            If it cannot be copied.
        """
        return self._fresh(self._own.workloads.get(position), self._place(position))

    def own_workloads(self) -> tuple[object, ...]:
        """The workloads that are objects of one's own, as they were given."""
        return tuple(self._own.workloads.values())

    def _fresh(self, own: object | None, place: str) -> Any:
        try:
            return None if own is None else fresh(own, place)
        except ConfigError as error:
            raise self.refusal(str(error)) from error

    def _place(self, position: int) -> str:
        return f"vms[{position}].workload (VM {abridged(self.vms[position].name)})"

    def error(self, field: str, value: object, expected: str) -> ScenarioError:
        """An error about one field, in the words that all errors about scenarios have."""
        return self.refusal(f"{field} is {abridged(value)}; expected {expected}")

    def refusal(self, problem: str) -> ScenarioError:
        """An error that says where the scenario comes from."""
        return ScenarioError(f"{self._source}: {problem}")

    def without_source(self, problem: str) -> str:
        """What an error says beyond where the scenario comes from."""
        return problem.removeprefix(f"{self._source}: ")

    def data_error(self, field: str, error: DataError) -> DataError:
        """The error of a data file, said of the field that names the file."""
        return DataError(f"{self._source}: {field}: {error}")

    def to_toml(self) -> str:
        """The scenario as TOML, every default spelled out; `from_toml` reads it back.

        Raises
        ------
        ScenarioError
            If it has objects of one's own, which no file can hold.
        """
        for position in self._own.workloads:
            raise self._unwritable(self._place(position), self._own.workloads[position])
        if self._own.policy is not None:
            raise self._unwritable("policy", self._own.policy)
        return toml_text(self._model)

    def described(self) -> str:
        """As `to_toml`, for people to see: of objects of one's own it names the classes."""
        return comments(self._own.places()) + toml_text(self._model)

    def _unwritable(self, place: str, own: object) -> ScenarioError:
        return self.refusal(
            f"{place} is an object of class {type(own).__name__}, which no file can hold; expected"
            f" the name of its class in a module that can be imported, such as"
            f' "mine:{type(own).__name__}"'
        )

    def __eq__(self, other: object) -> bool:
        """Whether both say the same, wherever they come from."""
        if not isinstance(other, Readable):
            return NotImplemented
        return self._model == other._model and self._own == other._own

    __hash__ = None  # type: ignore[assignment]  # a scenario can grow

    def __repr__(self) -> str:
        return line(self._model)

    def _repr_html_(self) -> str:
        return html(self._model)
