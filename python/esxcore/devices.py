"""Devices of virtual machines: a network card, and a disk that reaches memory by itself.

Neighbours: `esxcore.Host.power_on` takes them, `esxcore.Simulation` drives them; what their
transfers of high pages cost and how that ends is `esxcore.Host.io`'s (paper, section 7).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from esxcore.arguments import choice, in_range, moment, real_number
from esxcore.errors import ArgumentTypeError, ConfigError

Rate = int | Sequence[tuple[str | float, int]]
"""Packets a second: a number, or pairs of a time after power-on and the number from then on."""

MAX_RATE = 10_000_000
MAX_EXPONENT = 10.0
_REUSES = ("ring", "few", "zipf")
_REACHES = ("low", "all")
_FEW, _EXPONENT = 16, 1.2


@dataclass(frozen=True, slots=True)
class Nic:
    """A network card. Each packet is one page transferred through a buffer of a ring.

    Its driver is loaded when the guest has booted, and takes its buffers from the guest's own
    memory for good: kernel pages of a guest that manages memory, the highest pages of the default
    one. Each packet costs its guest a set-up and an interrupt, and copies and moves of high
    buffers; its processes do without that processor time. Packets for which there is no time are
    dropped.

    Parameters
    ----------
    tx, rx : int or sequence of (time, int)
        Packets sent and received a second, or pairs of a time after power-on, such as ``"60s"``,
        and the number from then on; at most 10 million. A card without either transfers nothing
        and only takes its buffers.
    tx_ring, rx_ring : int
        Buffers of each ring. 256 are the default of Linux's driver for gigabit cards of 2002.
    reuse : {"ring", "few", "zipf"}
        Which buffers are used: all of a ring in turn, so that a large ring has many cold ones; a
        few of them in turn; or any, by Zipf's law.
    few : int, optional
        How many of each ring with ``"few"``, at most the smaller one; 16 if left out, or all of a
        smaller ring.
    exponent : float, optional
        Of Zipf's law, 0 to 10; 1.2 if left out.
    dma : {"low", "all"}
        What memory it reaches: the host's low memory, or all.

    Examples
    --------
    >>> import esxcore
    >>> host = esxcore.Host("64MiB", content="tokens", low_memory="8MiB", policy=None)
    >>> _ = host.power_on("low", contents=range(1, 2049))  # fills what the card reaches
    >>> web = host.power_on("web", max="16MiB", nic=esxcore.Nic(tx=1000, reuse="few", few=4))
    >>> simulation = esxcore.Simulation(host)
    >>> _ = simulation.advance(11)
    >>> simulation.report(web).packets, host.stats()["io_copies"], host.stats()["io_remaps"]
    (10000, 64, 4)
    """

    tx: Rate = 0
    rx: Rate = 0
    tx_ring: int = 256
    rx_ring: int = 256
    reuse: Literal["ring", "few", "zipf"] = "ring"
    few: int | None = None
    exponent: float | None = None
    dma: Literal["low", "all"] = "low"


@dataclass(frozen=True, slots=True)
class Disk:
    """How a guest's disk reaches memory, if it does that by itself.

    What the guest reads of files or its own swap device the disk then writes into the guest's page,
    and what it writes the disk reads there: transfers of pages as those of a network card. Without
    it the processor moves the data, and nothing is copied for the disk's sake. Where a disk reaches
    all of the machine's memory nothing is copied either, but its transfers take processor time.

    Parameters
    ----------
    dma : {"low", "all"}
        What memory it reaches: the host's low memory, or all.
    """

    dma: Literal["low", "all"] = "low"


def nic_settings(nic: object) -> dict[str, Any] | None:
    """A network card as the core takes it."""
    if nic is None:
        return None
    if not isinstance(nic, Nic):
        raise ArgumentTypeError(f"nic: {nic!r}; expected a Nic")
    reuse = choice(nic.reuse, "nic reuse", _REUSES)
    for key, goes_with in (("few", "few"), ("exponent", "zipf")):
        if getattr(nic, key) is not None and reuse != goes_with:
            raise ConfigError(
                f"nic {key}: {getattr(nic, key)!r} with reuse {reuse!r};"
                f" expected none, or reuse {goes_with!r}"
            )
    tx_ring = in_range(nic.tx_ring, "nic tx_ring", 1, 2**32 - 1)
    rx_ring = in_range(nic.rx_ring, "nic rx_ring", 1, 2**32 - 1)
    few = in_range(_FEW if nic.few is None else nic.few, "nic few", 1, 2**32 - 1)
    if nic.few is not None and few > min(tx_ring, rx_ring):
        raise ConfigError(
            f"nic few: {few}; expected at most {min(tx_ring, rx_ring)},"
            " the buffers of the smaller ring"
        )
    exponent = _EXPONENT if nic.exponent is None else real_number(nic.exponent, "nic exponent")
    if not 0 <= exponent <= MAX_EXPONENT:  # nor is NaN
        raise ConfigError(f"nic exponent: {nic.exponent!r}; expected 0 to {MAX_EXPONENT:g}")
    return {
        "tx": _rates(nic.tx, "nic tx"),
        "rx": _rates(nic.rx, "nic rx"),
        "tx_ring": tx_ring,
        "rx_ring": rx_ring,
        "reuse": reuse,
        "few": few,
        "exponent": exponent,
        "dma": choice(nic.dma, "nic dma", _REACHES),
    }


def disk_settings(disk: object) -> str | None:
    """What memory a disk reaches, as the core takes it; None if it reaches none by itself."""
    if disk is None:
        return None
    if not isinstance(disk, Disk):
        raise ArgumentTypeError(f"disk: {disk!r}; expected a Disk")
    return str(choice(disk.dma, "disk dma", _REACHES))


def _rates(rate: object, what: str) -> list[tuple[int, int]]:
    """Pairs of seconds after power-on and packets a second, ascending."""
    if isinstance(rate, int | np.integer) and not isinstance(rate, bool):
        return [(0, in_range(rate, what, 0, MAX_RATE))]
    if isinstance(rate, str | bytes) or not isinstance(rate, Sequence):
        raise ArgumentTypeError(
            f"{what}: {rate!r}; expected packets a second, or pairs of a time and packets"
        )
    rates: list[tuple[int, int]] = []
    for pair in rate:
        if isinstance(pair, str | bytes) or not isinstance(pair, Sequence) or len(pair) != 2:
            raise ArgumentTypeError(f"{what}: {pair!r}; expected a time and packets a second")
        second, packets = moment(pair[0], what), in_range(pair[1], what, 0, MAX_RATE)
        if rates and second <= rates[-1][0]:
            raise ConfigError(f"{what}: {pair[0]!r} after {rates[-1][0]} s; expected later times")
        rates.append((second, packets))
    return rates
