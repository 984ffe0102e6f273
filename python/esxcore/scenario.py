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

import os
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from esxcore.config import parse_duration, parse_size_text
from esxcore.datafile import data_path, packaged
from esxcore.errors import ConfigError, DataError, ScenarioError
from esxcore.scenario_text import RULE, abridged, first_problem, toml_value

SEED_LIMIT = 2**128
"""Seeds are below this: 128 bits, what NumPy's SeedSequence mixes without loss."""

_SIZE = "a size with its unit (KiB, MiB, GiB, TiB) in whole 4 KiB pages, such as"
_DATA = "an npz file, or packaged data such as"
_MOMENT = "whole seconds, at most 2**31, with a unit (s, min, h), such as"
_MAX_SECONDS = 2**31
_MAX_VMS = 65_536  # a hint frame has 16 bits for the VM (docs/design.md section 3)


def _size(text: str) -> str:
    parse_size_text(text)
    return text


def _seconds(text: str) -> str:
    seconds = parse_duration(text)
    if not seconds.is_integer() or seconds > _MAX_SECONDS:
        raise ConfigError(f"{text!r} is not a whole number of seconds up to {_MAX_SECONDS}")
    return text


def _positive(text: str) -> str:
    if parse_duration(text) <= 0:
        raise ConfigError(f"{text!r} is no time at all")
    return text


def _name(text: str) -> str:
    if not text or not text.isprintable():
        raise ConfigError(f"{text!r} is no name")
    return text


_Size = Annotated[str, AfterValidator(_size)]
_Moment = Annotated[str, AfterValidator(_seconds)]
_Duration = Annotated[str, AfterValidator(_seconds), AfterValidator(_positive)]
_Name = Annotated[str, AfterValidator(_name)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class HostSection(_Section):
    """The machine: its memory, the kind of page contents, the seed of all that is random."""

    memory: _Size = Field(description=f'{_SIZE} "4GiB"')
    content: Literal["tokens", "bytes"] = Field("tokens", description='"tokens" or "bytes"')
    seed: int = Field(0, ge=0, lt=SEED_LIMIT, description="a whole number from 0 to 2**128 - 1")


class SharingSection(_Section):
    """Content-based page sharing (paper, section 4): order and rates of the scan, domains."""

    enabled: bool = Field(True, description="true or false")
    order: Literal["permutation", "draws"] = Field(
        "permutation", description='"permutation" or "draws"'
    )
    vm_rate: int = Field(50, ge=1, lt=2**32, description="pages a second, a whole number from 1")
    host_rate: int = Field(200, ge=1, lt=2**32, description="pages a second, a whole number from 1")
    salt: Literal["none", "per-vm"] = Field("none", description='"none" or "per-vm"')


class SamplingSection(_Section):
    """Statistical sampling of active memory (paper, section 5.3)."""

    pages: int = Field(
        100, ge=0, le=2**20, description="pages of each VM, a whole number from 0 (off) to 2**20"
    )
    period: _Duration = Field("30s", description=f'{_MOMENT} "30s"')


class ContentsSection(_Section):
    """Where a VM's page contents come from: a VM of a page-content trace, or a memory image."""

    trace: _Name | None = Field(None, description=f'{_DATA} "builtin:fleet_a"')
    image: _Name | None = Field(
        None, description='the path of a memory image in quotes, such as "guest.raw"'
    )
    vm: int | None = Field(
        None,
        ge=0,
        validate_default=True,
        description="the position of a VM in the trace, a whole number from 0",
    )

    @field_validator("vm")
    @classmethod
    def _goes_with_a_trace(cls, vm: int | None, info: ValidationInfo) -> int | None:
        if vm is None and info.data.get("trace") is not None:
            raise PydanticCustomError("missing", "Field required")
        if vm is not None and info.data.get("image") and not info.data.get("trace"):
            raise PydanticCustomError(RULE, "an image is one VM; expected vm with a trace only")
        return vm

    @model_validator(mode="after")
    def _is_one_source(self) -> Self:
        if (self.trace is None) == (self.image is None):
            given = "neither trace nor image is" if self.trace is None else "trace and image are"
            raise PydanticCustomError(RULE, f"{given} given; expected one of them")
        return self


class WorkloadSection(_Section):
    """What a VM does: the replay of an activity record."""

    activity: _Name = Field(description=f'{_DATA} "builtin:active_phases"')
    start: _Moment = Field("0s", description=f'{_MOMENT} "90s"')
    offset: _Moment = Field("0s", description=f'{_MOMENT} "20s"')
    repeat: bool = Field(False, description="true or false")

    @property
    def start_s(self) -> int:
        """Second of the guest's time at which the replay begins."""
        return int(parse_duration(self.start))

    @property
    def offset_s(self) -> int:
        """Second of the record that is played first."""
        return int(parse_duration(self.offset))


class VmSection(_Section):
    """One virtual machine, or `count` equal ones."""

    name: _Name = Field(description="a name in quotes, not empty")
    max: _Size | None = Field(None, description=f'{_SIZE} "256MiB"')
    contents: ContentsSection | None = Field(
        None,
        description='a table like { trace = "builtin:fleet_a", vm = 0 } or { image = "guest.raw" }',
    )
    workload: WorkloadSection | None = Field(
        None, description='a table like { activity = "builtin:active_phases" }'
    )
    salt: _Name | None = Field(
        None, description="the name of a sharing domain in quotes, not empty"
    )
    count: int = Field(1, ge=1, le=_MAX_VMS, description=f"a whole number from 1 to {_MAX_VMS}")

    @model_validator(mode="after")
    def _has_size(self) -> Self:
        if self.max is None and self.contents is None:
            raise PydanticCustomError(
                RULE,
                'neither max nor contents is given; expected one of them, such as max = "256MiB"',
            )
        return self

    def names(self) -> tuple[str, ...]:
        """Names of the VMs: `name`, or with ``-1``, ``-2`` and so on if `count` is above one."""
        if self.count == 1:
            return (self.name,)
        return tuple(f"{self.name}-{number}" for number in range(1, self.count + 1))


def _not_empty(vms: tuple[VmSection, ...]) -> tuple[VmSection, ...]:
    if not vms:
        raise ConfigError("nothing to run")
    return vms


# Not pydantic's own length check: it also complains of an empty tuple when the one item is wrong.
_Vms = Annotated[tuple[VmSection, ...], AfterValidator(_not_empty)]


class RunSection(_Section):
    """How long to run, in virtual time, and how often to record."""

    duration: _Duration = Field(description=f'{_MOMENT} "10min"')
    sample: _Duration = Field("1s", description=f'{_MOMENT} "5s"')

    @property
    def duration_s(self) -> int:
        """Virtual seconds to run."""
        return int(parse_duration(self.duration))

    @property
    def sample_s(self) -> int:
        """Virtual seconds between two samples."""
        return int(parse_duration(self.sample))


class Scenario(_Section):
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
    vms: _Vms = Field(strict=False, description="one table [[vms]] or more")
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
            Sections ``host``, ``sharing``, ``sampling``, ``vms``, ``run``.
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

    def data_path(self, reference: str) -> Path:
        """Path of a data file the scenario refers to; ``builtin:`` names are in the package."""
        return data_path(reference, self._folder)

    def error(self, field: str, value: object, expected: str) -> ScenarioError:
        """An error about one field, in the words that all errors about scenarios have."""
        return ScenarioError(f"{self._source}: {field} is {abridged(value)}; expected {expected}")

    def data_error(self, field: str, error: DataError) -> DataError:
        """The error of a data file, said of the field that names the file."""
        return DataError(f"{self._source}: {field}: {error}")

    def to_toml(self) -> str:
        """The scenario as TOML, every default spelled out; `from_toml` reads it back."""
        lines = []
        for section, content in self.model_dump(exclude_none=True).items():
            head = f"[[{section}]]" if isinstance(content, tuple) else f"[{section}]"
            for table in content if isinstance(content, tuple) else (content,):
                lines += [head, *(f"{key} = {toml_value(item)}" for key, item in table.items()), ""]
        return "\n".join(lines)
