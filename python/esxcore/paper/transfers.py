"""Traffic of devices through pages of a guest, by one rule or other: what section 7 is tried on.

Neighbour: `esxcore.paper.remap` compares what came of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from esxcore.costs import Costs
from esxcore.devices import Nic
from esxcore.host import Host
from esxcore.paper.reproduction import chosen
from esxcore.simulation import Simulation

PAGES_PER_MB = 256
OFF = 0
"""In place of a threshold: no page is ever moved."""
GUEST_PAGES, LOW_PAGES = 128 * PAGES_PER_MB, 160 * PAGES_PER_MB
READY_S = 1
"""The driver of a card is loaded after the first second."""
CLOSELY_S = 2
"""So long its copies are watched closely."""


@dataclass(frozen=True)
class Traffic:
    """How much of each kind."""

    packets: int = chosen(10_000_000, "as the arithmetic beside the paper has it")
    buffers: int = chosen(
        256, "in both rings together, as the arithmetic has it and drivers of 2002 had"
    )
    rate: int = chosen(10_000, "packets a second, about what Fast Ethernet carried full ones of")
    many: int = chosen(
        4096, "buffers of the card that has many; nothing is known of it", is_calibrated=True
    )
    exponent: float = chosen(
        1.2, "of Zipf's law, by which these are used; nothing is known of it", is_calibrated=True
    )
    many_s: int = chosen(300, "seconds of traffic through many buffers")
    cold: int = chosen(
        24_000, "pages that are transferred twice: most of the guest's", is_calibrated=True
    )
    uses: int = chosen(2, "read from one device, sent by the other, and no more")
    cold_s: int = chosen(32, "seconds of that traffic: a few megabytes a second")

    @property
    def seconds(self) -> int:
        """Until so many packets were sent and received."""
        return self.packets // self.rate


class Course(NamedTuple):
    """What came of traffic by one rule."""

    threshold: int
    times: list[float]
    copies: list[int]
    """In all until each time."""
    moves: list[int]
    """Pages moved until each time."""
    transfers: int
    evictions: int
    low_used: int
    """Low pages in use at the end and not at the beginning."""
    device_s: float

    @property
    def remaps(self) -> int:
        """Pages moved to low memory."""
        return self.moves[-1]

    @property
    def copied(self) -> int:
        """Transfers that were copied."""
        return self.copies[-1]

    def a_second(self) -> NDArray[np.float64]:
        """Copies a second up to each time."""
        spans = np.diff(self.times, prepend=0.0)
        return np.diff(self.copies, prepend=0) / spans

    def cost_ns(self, costs: Costs) -> int:
        """What its copies and moves cost."""
        moves = self.moves[-1] + self.evictions
        return self.copied * costs.io_copy_ns + moves * costs.io_remap_ns


def machine(seed: int, rule: int, nic: Nic | None = None, *, is_low_full: bool = False) -> Host:
    """A host with a guest above low memory, which a neighbour has filled and mostly leaves."""
    host = Host(
        "512MiB", content="tokens", sharing=False, policy=None, seed=seed, low_memory=LOW_PAGES,
        io_mode="copy" if rule == OFF else "remap", io_threshold=max(rule, 1), io_decay=None,
    )  # fmt: skip
    host.power_on("neighbour", contents=np.arange(1, LOW_PAGES + 1))
    guest = host.power_on("guest", GUEST_PAGES, nic=nic)
    guest.write(range(GUEST_PAGES), np.arange(GUEST_PAGES) + 2**40)
    if not is_low_full:
        host.power_off("neighbour")
    return host


def few(traffic: Traffic, rule: int, seed: int) -> Course:
    """A network card with few buffers, used in turn, in a simulation."""
    ring, rate = traffic.buffers // 2, traffic.rate // 2
    host = machine(seed, rule, Nic(tx=rate, rx=rate, tx_ring=ring, rx_ring=ring))
    simulation, watch = Simulation(host, costs="2002"), Watch(host)
    simulation.advance(READY_S)
    for time in _looks(traffic.seconds):
        simulation.advance(READY_S + time - host.now)
        watch.look(time)
    return watch.course(rule, simulation.report("guest").device_s)


def _looks(seconds: int) -> list[float]:
    """A hundred a second while something happens, then one every ten seconds."""
    closely = [slice_ / 100 for slice_ in range(1, 100 * CLOSELY_S + 1)]
    return [*closely, *range(10, seconds, 10), seconds]


class Watch:
    """Who looks at a host now and then, and remembers its copies."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._times: list[float] = []
        self._copies: list[int] = []
        self._moves: list[int] = []
        self._low_free = host.stats()["low_free_pages"]

    def look(self, time: float) -> None:
        """Notes the copies until that time."""
        self._times.append(time)
        stats = self.host.stats()
        self._copies.append(stats["io_copies"])
        self._moves.append(stats["io_remaps"])

    def course(self, rule: int, device_s: float = 0.0) -> Course:
        """What came of it."""
        self.host.audit()
        stats = self.host.stats()
        return Course(
            rule, self._times, self._copies, self._moves, stats["io_pages"],
            stats["io_evictions"], self._low_free - stats["low_free_pages"], device_s,
        )  # fmt: skip


Batches = Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]
"""Pages received and pages sent in each second."""


def many(traffic: Traffic, seed: int) -> Batches:
    """Through many buffers, the first most of all and the last hardly ever."""
    random = np.random.default_rng([seed, 1])
    weights = np.arange(1, traffic.many + 1) ** -traffic.exponent
    for _ in range(traffic.many_s):
        drawn = random.choice(traffic.many, traffic.rate, p=weights / weights.sum())
        yield tuple(np.array_split(drawn, 2))  # type: ignore[misc]


def cold(traffic: Traffic, seed: int) -> Batches:
    """Each page as often as the other, and no more: received first, then sent."""
    order = np.random.default_rng([seed, 2]).permutation(traffic.cold)
    for part in np.array_split(order, traffic.cold_s):
        yield part, np.tile(part, traffic.uses - 1)


def through(host: Host, rule: int, batches: Batches) -> tuple[Course, NDArray[np.int64]]:
    """Traffic second by second, and how often each page was transferred."""
    watch, uses = Watch(host), np.zeros(GUEST_PAGES, np.int64)
    for second, (received, sent) in enumerate(batches, 1):
        host.io("guest", received, "rx")
        host.io("guest", sent, "tx")
        host.advance(1)
        uses += np.bincount(np.concatenate([received, sent]), minlength=GUEST_PAGES)
        watch.look(float(second))
    return watch.course(rule), uses
