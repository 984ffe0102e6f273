"""Sections about devices: network cards, how disks reach memory, what the host does for them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NoReturn, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from esxcore.config import parse_duration
from esxcore.devices import MAX_EXPONENT, MAX_RATE
from esxcore.errors import ConfigError
from esxcore.scenario.fields import MOMENT, NEVER, MomentOrNever, Section
from esxcore.scenario_text import RULE

COMPETITIVE = "competitive"
"""In place of a threshold: what a move costs in copies."""

_RATE = f'packets a second to {MAX_RATE}, or a list like [["0s", 1000], ["60s", 5000]]'
_RING = "buffers, a whole number from 1"
_DMA = '"low" or "all"'


def _is_count(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _rate(value: Any) -> Any:
    # By hand: pydantic would count what is wrong as one error for each kind it could be.
    if _is_count(value, 0, MAX_RATE):
        return value
    if isinstance(value, list | tuple) and all(map(_is_step, value)):
        times = [parse_duration(time) for time, _ in value]
        if times == sorted(set(times)):
            return value
    raise ConfigError("no such rates")


def _is_step(pair: Any) -> bool:
    if not isinstance(pair, list | tuple) or len(pair) != 2 or not isinstance(pair[0], str):
        return False
    return parse_duration(pair[0]).is_integer() and _is_count(pair[1], 0, MAX_RATE)


def _threshold(value: Any) -> Any:
    if value == COMPETITIVE or _is_count(value, 1, 2**32 - 1):
        return value
    raise ConfigError("no threshold")


def _some_time(text: str) -> str:
    if text != NEVER and parse_duration(text) < 1:
        raise ConfigError(f"{text!r} is no time at all")
    return text


_Rate = Annotated[Any, AfterValidator(_rate)]


class IoSection(Section):
    """What becomes of transfers of pages that devices do not reach (paper, section 7)."""

    threshold: Annotated[Any, AfterValidator(_threshold)] = Field(
        16, description=f'copies, a whole number from 1, or "{COMPETITIVE}"'
    )
    decay: Annotated[MomentOrNever, AfterValidator(_some_time)] = Field(
        "60s", description=f'{MOMENT} "60s", or "{NEVER}"'
    )
    mode: Literal["remap", "first-use", "copy", "iommu"] = Field(
        "remap", description='"remap", "first-use", "copy" or "iommu"'
    )
    scarce: Literal["coldest", "fair", "refuse"] = Field(
        "coldest", description='"coldest", "fair" or "refuse"'
    )


class NicSection(Section):
    """A network card of a VM."""

    tx: _Rate = Field(0, description=_RATE)
    rx: _Rate = Field(0, description=_RATE)
    tx_ring: int = Field(256, ge=1, lt=2**32, description=_RING)
    rx_ring: int = Field(256, ge=1, lt=2**32, description=_RING)
    reuse: Literal["ring", "few", "zipf"] = Field("ring", description='"ring", "few" or "zipf"')
    few: int | None = Field(None, ge=1, lt=2**32, description=_RING)
    exponent: float | None = Field(
        None, ge=0, le=MAX_EXPONENT, description=f"a number from 0 to {MAX_EXPONENT:g}"
    )
    dma: Literal["low", "all"] = Field("low", description=_DMA)

    @model_validator(mode="after")
    def _has_what_its_reuse_takes(self) -> Self:
        for key, goes_with in (("few", "few"), ("exponent", "zipf")):
            if getattr(self, key) is not None and self.reuse != goes_with:
                _refuse(f'{key} is given, but reuse is "{self.reuse}"; expected "{goes_with}"')
        ring = min(self.tx_ring, self.rx_ring)
        if self.few is not None and self.few > ring:
            _refuse(f"few is {self.few}; expected at most {ring}, the buffers of the smaller ring")
        return self

    @model_validator(mode="after")
    def _has_packets(self) -> Self:
        if not self.model_fields_set & {"tx", "rx"}:
            _refuse("neither tx nor rx is given; expected packets a second, as nic = { tx = 1000 }")
        return self


class DiskSection(Section):
    """How the disk of a VM reaches memory; a text is what it reaches."""

    dma: Literal["low", "all"] = Field("low", description=_DMA)

    @model_validator(mode="before")
    @classmethod
    def _may_be_a_word(cls, data: Any) -> Any:
        return {"dma": data} if isinstance(data, str) else data


def _refuse(message: str) -> NoReturn:
    raise PydanticCustomError(RULE, "{message}", {"message": message})
