"""Sections about the division of memory: the policy, the mechanisms that reclaim, timed events.

Which policies there are and what they take is not known here: `esxcore.experiment` finds out, and
words what is wrong in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, NoReturn, Self

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from esxcore.errors import ConfigError
from esxcore.scenario.fields import (
    FRACTION,
    MOMENT,
    SIZE,
    Duration,
    Moment,
    MomentOrNever,
    Name,
    Section,
    Size,
    SizeOrNothing,
    seconds,
)
from esxcore.scenario_text import RULE, abridged

BARE = "none"
"""The name of no policy: memory goes to who comes first, and nothing is taken back."""

_POLICY = f'the name of a policy such as "esx2002", "module:Class" or "{BARE}"'
_CHANGES = ("max", "min", "shares", "balloon_limit")
_RATE = "a fraction of at least 0 and below 1, such as"

SHARES = '"low", "normal" or "high", or a whole number from 0 to 2**32 - 1'


def _shares(value: Any) -> str | int:
    # By hand: pydantic would count what is wrong as one error for each kind it could be.
    if value in ("low", "normal", "high") and isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32:
        return value
    raise ConfigError("no shares")


Shares = Annotated[
    Any,
    AfterValidator(_shares),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": ["low", "normal", "high"]},
                {"type": "integer", "minimum": 0, "exclusiveMaximum": 2**32},
            ]
        }
    ),
]


def _plain(value: object) -> bool:
    """Whether a parameter is made of what TOML and Python both have."""
    if isinstance(value, dict):
        return all(
            isinstance(key, str) and _plain(key) and _plain(item) for key, item in value.items()
        )
    if isinstance(value, list | tuple):
        return all(_plain(item) for item in value)
    if isinstance(value, str):
        return not any("\ud800" <= letter <= "\udfff" for letter in value)  # UTF-8 has no such
    return isinstance(value, bool | int | float) and value == value  # NaN is not a number


class Parameters(Section):
    """A table whose keys beyond its own are parameters of a policy or a workload."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    @property
    def parameters(self) -> dict[str, Any]:
        """What it is made with."""
        return dict(self.model_extra or {})

    @model_validator(mode="after")
    def _has_plain_parameters(self) -> Self:
        for key, value in self.parameters.items():
            if not _plain(value):
                _refuse(f"{key} is {abridged(value)}; expected numbers, texts, true or false")
        return self


class PolicySection(Parameters):
    """Who divides memory. Every key but the name is a parameter of that policy."""

    name: Name = Field("esx2002", description=_POLICY)

    @property
    def is_bare(self) -> bool:
        """Whether nobody does."""
        return self.name == BARE

    @model_validator(mode="after")
    def _is_somebody(self) -> Self:
        if self.is_bare and self.parameters:
            _refuse(f'{next(iter(self.parameters))} is given; expected no parameters of "{BARE}"')
        return self

    def changed(self, change: PolicyChange) -> PolicySection:
        """The policy after a change: another one, or the same with some parameters replaced."""
        kept = {} if change.name else self.parameters
        return PolicySection(name=change.name or self.name, **(kept | change.parameters))


def policies_after(
    policy: PolicySection | None, events: Sequence[EventSection]
) -> Iterator[tuple[int, str, PolicySection]]:
    """The policy after each event that changes it: its position, the name of the field, and what.

    `policy` is the first one; None if it is no matter of tables, so that nothing is said of events
    that only change its parameters.
    """
    for position, event in sorted(enumerate(events), key=lambda numbered: numbered[1].at_s):
        change = event.policy_change
        if change is None or (policy is None and change.name is None):
            continue
        policy = (policy or PolicySection()).changed(change)
        # The short form has its parameter in the event itself.
        yield position, f"events[{position}]" + (".policy" if event.policy else ""), policy


class PolicyChange(Parameters):
    """A policy that takes over, or parameters that the one in force goes on with."""

    name: Name | None = Field(None, description=_POLICY)


def _falling(thresholds: tuple[float, ...]) -> tuple[float, ...]:
    bounds = (1.0, *thresholds)
    if not all(upper > lower for upper, lower in zip(bounds, thresholds, strict=False)):
        raise ConfigError(f"{thresholds} do not fall")
    if not (thresholds[2] > 0 and thresholds[3] >= 0):
        raise ConfigError(f"{thresholds} are not all fractions")
    return thresholds


_Thresholds = Annotated[tuple[float, float, float, float], AfterValidator(_falling)]


def _guest_caps(value: Any) -> dict[str, float]:
    # By hand, so that what is wrong is one error of the table.
    if not isinstance(value, dict):
        raise ConfigError("no table")
    for name, cap in value.items():
        if not (isinstance(name, str) and name and name.isprintable()):
            raise ConfigError(f"{name!r} is no guest type")
        if isinstance(cap, bool) or not isinstance(cap, int | float) or not 0 <= cap <= 1:
            raise ConfigError(f"{cap!r} is no fraction")
    return value


_FRACTIONS = {
    "type": "object",
    "additionalProperties": {"type": "number", "minimum": 0, "maximum": 1},
}
_GuestCaps = Annotated[Any, AfterValidator(_guest_caps), WithJsonSchema(_FRACTIONS)]


class ReclaimSection(Section):
    """How a host notices that memory is short, and how it takes memory back (paper, section 6)."""

    balance_period: Duration = Field("15s", description=f'{MOMENT} "15s"')
    thresholds: _Thresholds = Field(
        (0.06, 0.04, 0.02, 0.01),
        strict=False,
        description="four fractions of machine memory, each below the one before, for the states"
        " high, soft, hard and low, such as [0.06, 0.04, 0.02, 0.01]",
    )
    state_margin: float = Field(
        0.25, ge=0, allow_inf_nan=False, description="a number of at least 0, such as 0.25"
    )
    shared_charge: Literal["full", "fraction"] = Field("full", description='"full" or "fraction"')
    share_before_swap: bool = Field(True, description="true or false")
    balloon_cap: float = Field(0.5, ge=0, le=1, description=f"{FRACTION} 0.5")
    balloon_host_cap: float = Field(0.65, ge=0, le=1, description=f"{FRACTION} 0.65")
    balloon_guest_caps: _GuestCaps | None = Field(
        None, description="fractions from 0 to 1 by guest type, such as { linux = 0.65 }"
    )
    swap_out_rate: int = Field(
        4096, ge=1, lt=2**32, description="pages a second, a whole number from 1"
    )
    ledger_records: int = Field(
        16384, ge=0, le=2**26, description="a whole number from 0 (off) to 2**26"
    )


class DriverSection(Section):
    """The balloon driver of a guest (paper, section 3.2); by default a healthy one."""

    start: MomentOrNever | None = Field(None, description=f'"never", or {MOMENT} "2min"')
    max_rate: int | None = Field(
        None, ge=1, lt=2**32, description="pages a second, a whole number from 1"
    )
    limit: SizeOrNothing | None = Field(None, description=f'{SIZE} "64MiB"')
    stuck_at: Moment | None = Field(None, description=f'{MOMENT} "5min"')


class EventSection(Section):
    """Something that changes while the run goes on: a virtual machine's settings or the policy."""

    at: Moment = Field(description=f'{MOMENT} "5min"')
    vm: Name | None = Field(None, description="the name of a VM in quotes")
    max: Size | None = Field(None, description=f'{SIZE} "128MiB"')
    min: SizeOrNothing | None = Field(None, description=f'{SIZE} "64MiB"')
    shares: Shares | None = Field(None, description=SHARES)
    balloon_limit: SizeOrNothing | None = Field(None, description=f'{SIZE} "64MiB"')
    tax_rate: float | None = Field(None, ge=0, lt=1, description=f"{_RATE} 0.75")
    policy: PolicyChange | None = Field(
        None, description='a table like { name = "proportional" } or { tax_rate = 0.5 }'
    )

    @property
    def at_s(self) -> int:
        """Second of virtual time at which it happens."""
        return seconds(self.at)

    @property
    def changes(self) -> dict[str, Any]:
        """What is set about a virtual machine."""
        return {key: value for key in _CHANGES if (value := getattr(self, key)) is not None}

    @property
    def policy_change(self) -> PolicyChange | None:
        """What is set about the policy; `tax_rate` is short for a change of that parameter."""
        if self.tax_rate is None:
            return self.policy
        return PolicyChange.model_validate({"tax_rate": self.tax_rate})

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        given = [key for key in ("vm", "tax_rate", "policy") if getattr(self, key) is not None]
        if self.changes and "vm" not in given:
            _refuse(
                f"{next(iter(self.changes))} is given without vm; expected vm, the VM to change"
            )
        if len(given) != 1:
            what = f"{' and '.join(given)} are given" if given else "nothing to do is given"
            _refuse(f"{what}; expected one of vm, tax_rate and policy")
        if "vm" in given and not self.changes:
            _refuse(f"nothing about the VM is given; expected one of {', '.join(_CHANGES)}")
        if self.policy and not (self.policy.name or self.policy.parameters):
            _refuse("policy is empty; expected the name of a policy, or parameters")
        return self


def _refuse(message: str) -> NoReturn:
    # The message is complete: there is nothing for pydantic to fill in.
    raise PydanticCustomError(RULE, "{message}", {"message": message})
