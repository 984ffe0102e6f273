"""The model of a whole scenario: its sections, and what holds between them.

Neighbours: `esxcore.scenario.Scenario` is what callers have; it holds one of these.
"""

from __future__ import annotations

from collections import Counter
from operator import itemgetter
from typing import Annotated, NoReturn, Self

from pydantic import AfterValidator, Field, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from esxcore.errors import ConfigError
from esxcore.hints import did_you_mean
from esxcore.scenario.devices import IoSection
from esxcore.scenario.division import BARE, EventSection, PolicySection, ReclaimSection
from esxcore.scenario.fields import Section
from esxcore.scenario.limits import impossible
from esxcore.scenario.sections import (
    HostSection,
    RunSection,
    SamplingSection,
    SharingSection,
    VmSection,
)
from esxcore.scenario_text import RULE, abridged

GROWING = {"growing": True}
"""Context in which a scenario is checked that may not have all its virtual machines yet."""

OF_DIVISION = ("min", "shares", "balloon_limit", "overhead", "driver")
"""Keys of a VM that mean nothing where memory is not divided."""


def _not_empty(vms: tuple[VmSection, ...], info: ValidationInfo) -> tuple[VmSection, ...]:
    if not vms and info.context != GROWING:
        raise ConfigError("nothing to run")
    return vms


# Not pydantic's own length check: it also complains of an empty tuple when the one item is wrong.
_Vms = Annotated[tuple[VmSection, ...], AfterValidator(_not_empty)]


class ScenarioModel(Section):
    """A whole experiment: one host, its virtual machines, and how long to watch them."""

    host: HostSection = Field(description="a table [host]")
    sharing: SharingSection = Field(SharingSection(), description="a table [sharing]")
    sampling: SamplingSection = Field(SamplingSection(), description="a table [sampling]")
    policy: PolicySection = Field(PolicySection(), description="a table [policy]")
    reclaim: ReclaimSection = Field(ReclaimSection(), description="a table [reclaim]")
    io: IoSection = Field(IoSection(), description="a table [io]")
    vms: _Vms = Field(strict=False, description="one table [[vms]] or more")
    events: tuple[EventSection, ...] = Field((), strict=False, description="tables [[events]]")
    run: RunSection = Field(description="a table [run]")

    @model_validator(mode="after")
    def _has_names_of_their_own(self) -> Self:
        name, times = max(Counter(self.vm_names()).items(), key=itemgetter(1), default=("", 0))
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
            keys = (key for key in OF_DIVISION if getattr(section, key) is not None)
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
                otherwise = "expected the name of a VM"
                hint = did_you_mean(event.vm, sections, abridged, otherwise=otherwise)
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

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        for problem in impossible(self):
            _refuse(problem)
        return self

    def vm_names(self) -> tuple[str, ...]:
        """Names of all virtual machines in power-on order."""
        return tuple(name for section in self.vms for name in section.names())


def _refuse(message: str) -> NoReturn:
    raise PydanticCustomError(RULE, "{message}", {"message": message})
