"""Sections about guests: the operating system in a virtual machine, and what is done in it.

Which workloads there are and what they take is not known here: `esxcore.experiment` finds out, and
words what is wrong in the same way.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NoReturn, Self

from pydantic import AfterValidator, Field, ValidationError, WithJsonSchema, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from esxcore.errors import ConfigError
from esxcore.scenario.division import Parameters
from esxcore.scenario.fields import (
    DATA,
    MOMENT,
    SIZE,
    Moment,
    Name,
    Section,
    SizeOrNothing,
    seconds,
)
from esxcore.scenario_text import RULE
from esxcore.workload import Program

_MAX_PROCESSES = 2**16
_SOURCES = ("kind", "activity", "trace")
_OF_ACTIVITY = {"activity", "start", "offset", "repeat", "writes"}

WRITES = '"unique", "same" or a table like { pool = 100 }'


def _writes(value: Any) -> Any:
    # By hand: pydantic would count what is wrong as one error for each kind it could be.
    if isinstance(value, str) and value in ("unique", "same"):
        return value
    if isinstance(value, dict) and set(value) == {"pool"}:
        contents = value["pool"]
        if isinstance(contents, int) and not isinstance(contents, bool) and 0 < contents < 2**32:
            return value
    raise ConfigError("no such writes")


_POOL = {"type": "integer", "minimum": 1, "exclusiveMaximum": 2**32}
_Writes = Annotated[
    Any,
    AfterValidator(_writes),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": ["unique", "same"]},
                {
                    "type": "object",
                    "properties": {"pool": _POOL},
                    "required": ["pool"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]


class GuestSection(Section):
    """The operating system of a guest; a text is a kind with its defaults."""

    kind: Literal["default", "linux", "windows"] = Field(
        "linux", description='"default", "linux" or "windows"'
    )
    image: Name | None = Field(None, description="the name of an image in quotes, not empty")
    replacement: Literal["two-list", "clock", "lru"] | None = Field(
        None, description='"two-list", "clock" or "lru"'
    )
    swap: SizeOrNothing | None = Field(None, description=f'{SIZE} "512MiB"')
    kernel: SizeOrNothing | None = Field(None, description=f'{SIZE} "8MiB"')
    metadata_bytes: int | None = Field(
        None, ge=0, le=4096, description="bytes a page, a whole number from 0 to 4096"
    )
    boot: SizeOrNothing | None = Field(None, description=f'{SIZE} "24MiB"')
    boot_time: Moment | None = Field(None, description=f'{MOMENT} "10s"')
    dirty_expire: Moment | None = Field(None, description=f'{MOMENT} "30s"')
    zero_rate: int | None = Field(
        None, ge=0, lt=2**32, description="pages a second, a whole number from 0"
    )

    @model_validator(mode="before")
    @classmethod
    def _may_be_a_word(cls, data: Any) -> Any:
        return {"kind": data} if isinstance(data, str) else data


class WorkloadSection(Parameters):
    """What is done in a VM. Keys beyond these are parameters of its kind."""

    kind: Name | None = Field(
        None, description='a kind of workload such as "zipf", or "module:Class"'
    )
    activity: Name | None = Field(None, description=f'{DATA} "builtin:active_phases"')
    trace: Name | None = Field(
        None, description='a trace of page references such as "builtin:trace_sort"'
    )
    start: Moment | None = Field(None, description=f'{MOMENT} "90s"')
    offset: Moment | None = Field(None, description=f'{MOMENT} "20s"')
    repeat: bool | None = Field(None, description="true or false")
    writes: _Writes | None = Field(None, description=WRITES)
    processes: int | None = Field(
        None, ge=1, le=_MAX_PROCESSES, description=f"a whole number from 1 to {_MAX_PROCESSES}"
    )

    @model_validator(mode="before")
    @classmethod
    def _has_known_keys(cls, data: Any) -> Any:
        """A word is a kind; an activity has no parameters, and what is nothing has none either."""
        if isinstance(data, str):
            return {"kind": data}
        if isinstance(data, Program):
            return data.table()
        if not isinstance(data, dict) or "kind" in data or "trace" in data:
            return data
        wrong = [key for key in data if key not in _OF_ACTIVITY and key not in cls.model_fields]
        wrong += [key for key in ("processes",) if key in data and "activity" in data]
        if wrong:
            details = (
                InitErrorDetails(type="extra_forbidden", loc=(key,), input=data[key])
                for key in wrong
            )
            raise ValidationError.from_exception_data(cls.__name__, list(details))
        return data

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        given = [key for key in _SOURCES if getattr(self, key) is not None]
        if self.kind == "replay" and self.trace is not None:
            given.remove("kind")
        if len(given) != 1:
            what = f"{' and '.join(given)} are" if given else "none of them is"
            _refuse(f"{what} given; expected one of {', '.join(_SOURCES)}")
        return self

    @property
    def name(self) -> str | None:
        """The kind that it is; None for the replay of an activity."""
        return "replay" if self.trace is not None else self.kind

    @property
    def parameters(self) -> dict[str, Any]:
        """What the workload is made with."""
        own = {key: getattr(self, key) for key in ("trace", "offset", "repeat")}
        return {key: value for key, value in own.items() if value is not None} | super().parameters

    @property
    def start_s(self) -> int | None:
        """Second after power-on at which it begins; None if its guest says when."""
        return None if self.start is None else seconds(self.start)

    @property
    def offset_s(self) -> int:
        """Second of an activity record that is played first."""
        return 0 if self.offset is None else seconds(self.offset)


def _refuse(message: str) -> NoReturn:
    raise PydanticCustomError(RULE, "{message}", {"message": message})
