"""Sections of a scenario about the host, its virtual machines, what they do, and the run."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal, Self

from pydantic import Field, ValidationInfo, create_model, field_validator, model_validator
from pydantic_core import PydanticCustomError

from esxcore.config import parse_size_text
from esxcore.costs import Costs
from esxcore.scenario.devices import DiskSection, NicSection
from esxcore.scenario.division import SHARES, DriverSection, Shares
from esxcore.scenario.fields import (
    DATA,
    MOMENT,
    NEVER,
    SIZE,
    Duration,
    DurationOrNever,
    Moment,
    Name,
    Section,
    Size,
    SizeOrNothing,
    is_nothing,
    seconds,
)
from esxcore.scenario.guests import GuestSection, WorkloadSection
from esxcore.scenario_text import RULE

SEED_LIMIT = 2**128
"""Seeds are below this: 128 bits, what NumPy's SeedSequence mixes without loss."""

_MAX_VMS = 65_536  # a hint frame has 16 bits for the VM (docs/design.md section 3)


class HostSection(Section):
    """The machine: its memory, the kind of page contents, the seed of all that is random."""

    memory: Size = Field(description=f'{SIZE} "4GiB"')
    swap: Size | None = Field(None, description=f'{SIZE} "4GiB"')
    low_memory: Size | None = Field(None, description=f'{SIZE} "1GiB"')
    content: Literal["tokens", "bytes"] = Field("tokens", description='"tokens" or "bytes"')
    seed: int = Field(0, ge=0, lt=SEED_LIMIT, description="a whole number from 0 to 2**128 - 1")


class SharingSection(Section):
    """Content-based page sharing (paper, section 4): order and rates of the scan, domains."""

    enabled: bool = Field(True, description="true or false")
    order: Literal["permutation", "draws"] = Field(
        "permutation", description='"permutation" or "draws"'
    )
    vm_rate: int = Field(50, ge=1, lt=2**32, description="pages a second, a whole number from 1")
    host_rate: int = Field(200, ge=1, lt=2**32, description="pages a second, a whole number from 1")
    salt: Literal["none", "per-vm"] = Field("none", description='"none" or "per-vm"')


class SamplingSection(Section):
    """Statistical sampling of active memory (paper, section 5.3)."""

    pages: int = Field(
        100, ge=0, le=2**20, description="pages of each VM, a whole number from 0 (off) to 2**20"
    )
    period: Duration = Field("30s", description=f'{MOMENT} "30s"')


class ContentsSection(Section):
    """Where a VM's page contents come from: a VM of a page-content trace, or a memory image."""

    trace: Name | None = Field(None, description=f'{DATA} "builtin:fleet_a"')
    image: Name | None = Field(
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


class VmSection(Section):
    """One virtual machine, or `count` equal ones."""

    name: Name = Field(description="a name in quotes, not empty")
    max: Size | None = Field(None, description=f'{SIZE} "256MiB"')
    contents: ContentsSection | None = Field(
        None,
        description='a table like { trace = "builtin:fleet_a", vm = 0 } or { image = "guest.raw" }',
    )
    workload: WorkloadSection | None = Field(
        None, description='a table like { kind = "zipf", memory = "200MiB" }'
    )
    salt: Name | None = Field(None, description="the name of a sharing domain in quotes, not empty")
    min: SizeOrNothing | None = Field(None, description=f'{SIZE} "128MiB"')
    shares: Shares | None = Field(None, description=SHARES)
    balloon_limit: SizeOrNothing | None = Field(None, description=f'{SIZE} "128MiB"')
    overhead: SizeOrNothing | None = Field(None, description=f'{SIZE} "32MiB"')
    driver: DriverSection | None = Field(
        None, description='a table like { start = "2min", max_rate = 256 }'
    )
    guest: GuestSection | None = Field(
        None,
        description='"default", "linux", "windows" or a table like { kind = "linux" }',
    )
    nic: NicSection | None = Field(None, description="a table like { tx = 1000, rx = 1000 }")
    disk: DiskSection | None = Field(
        None, description='"low", "all" or a table like { dma = "low" }'
    )
    start: Moment = Field("0s", description=f'{MOMENT} "2min"')
    stop: Moment | None = Field(None, description=f'{MOMENT} "8min"')
    count: int = Field(1, ge=1, le=_MAX_VMS, description=f"a whole number from 1 to {_MAX_VMS}")

    @model_validator(mode="after")
    def _has_size(self) -> Self:
        if self.max is None and self.contents is None:
            raise PydanticCustomError(
                RULE,
                'neither max nor contents is given; expected one of them, such as max = "256MiB"',
            )
        return self

    @model_validator(mode="after")
    def _stops_after_it_starts(self) -> Self:
        if self.stop is not None and seconds(self.stop) <= self.start_s:
            raise PydanticCustomError(
                RULE,
                'stop is "{stop}"; expected later than its start, "{start}"',
                {"stop": self.stop, "start": self.start},
            )
        return self

    @model_validator(mode="after")
    def _has_min_within_max(self) -> Self:
        if not (self.min and self.max) or is_nothing(self.min):
            return self
        if parse_size_text(self.min) > parse_size_text(self.max):
            raise PydanticCustomError(
                RULE,
                'min is "{min}"; expected at most its max, "{max}"',
                {"min": self.min, "max": self.max},
            )
        return self

    @model_validator(mode="after")
    def _has_files_if_it_has_a_disk(self) -> Self:
        if self.disk is not None and (self.guest is None or self.guest.kind == "default"):
            raise PydanticCustomError(
                RULE, 'disk is given; expected guest = "linux" or "windows", who have files'
            )
        return self

    @property
    def start_s(self) -> int:
        """Second of virtual time at which it is powered on."""
        return seconds(self.start)

    @property
    def stop_s(self) -> int | None:
        """Second of virtual time at which it is powered off; None if it stays."""
        return None if self.stop is None else seconds(self.stop)

    def is_on(self, second: int) -> bool:
        """Whether it runs at that second of virtual time."""
        return self.start_s <= second and (self.stop_s is None or second < self.stop_s)

    def names(self) -> tuple[str, ...]:
        """Names of the VMs: `name`, or with ``-1``, ``-2`` and so on if `count` is above one."""
        if self.count == 1:
            return (self.name,)
        return tuple(f"{self.name}-{number}" for number in range(1, self.count + 1))


def _cost(name: str) -> Any:
    least = 1 if name == "access_ns" else 0
    said = f"whole nanoseconds from {least} to 10**12"
    return int | None, Field(None, ge=least, le=10**12, description=said)


class _CostsPreset(Section):
    preset: Literal["nvme", "2002"] = Field("nvme", description='"nvme" or "2002"')

    @model_validator(mode="before")
    @classmethod
    def _may_be_a_word(cls, data: Any) -> Any:
        return {"preset": data} if isinstance(data, str) else data

    @property
    def changes(self) -> dict[str, int]:
        """What costs something else than in the preset."""
        return self.model_dump(exclude={"preset"}, exclude_none=True)


CostsSection = create_model(
    "CostsSection",
    __base__=_CostsPreset,
    __doc__="What things cost: a preset, with some of its numbers replaced.",
    **{field.name: _cost(field.name) for field in dataclasses.fields(Costs)},
)


class RunSection(Section):
    """How long to run, in virtual time, and how often to record."""

    duration: Duration = Field(description=f'{MOMENT} "10min"')
    sample: Duration = Field("1s", description=f'{MOMENT} "5s"')
    census: DurationOrNever | None = Field(None, description=f'"never", or {MOMENT} "30s"')
    processors: int = Field(2, ge=1, le=2**20, description="a whole number from 1 to 2**20")
    costs: CostsSection = Field(
        CostsSection(),
        description='"nvme", "2002" or a table like { preset = "2002", disk_page_ns = 100000 }',
    )

    @property
    def duration_s(self) -> int:
        """Virtual seconds to run."""
        return seconds(self.duration)

    @property
    def sample_s(self) -> int:
        """Virtual seconds between two samples."""
        return seconds(self.sample)

    @property
    def census_s(self) -> float:
        """Virtual seconds between two censuses: 0 for each sample, infinity for never."""
        if self.census == NEVER:
            return math.inf
        return 0 if self.census is None else seconds(self.census)
