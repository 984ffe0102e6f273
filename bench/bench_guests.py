"""Processes of guests at work, against the host without them.

Touches: a process of a Linux guest refers to three quarters of its memory, all of it resident; the
peer is `Host.touch` of the very same page numbers in a virtual machine of the same size, a plain
loop over the pmap. The process pays for more: its references are translated by the guest, which
notes what was used; time passes with them, and operations are counted.

Idleness: a host with the defaults of the paper and Linux guests that do next to nothing, each of
them woken once a minute, lives a day. The peer is a copy of the same host without the simulation,
which scans and samples all the same.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from measure import BATCH, Race, Ratio, require_memory, scale, size_name
from numpy.typing import NDArray
from traces import Trace, trace

import esxcore

SCALE = scale()
PART = 2**16
"""References that a process gives at a time, and page numbers in one call of `touch`."""
OP = 16
"""References of an operation."""
MINUTE, YEAR = 60, 365 * 86400
IDLE_PAGES = 2**16

Batches = list[NDArray[np.uint32]]


def parts(numbers: NDArray[np.int64]) -> Batches:
    """Page numbers in batches."""
    return np.array_split(numbers.astype(np.uint32), math.ceil(len(numbers) / PART))


class Given:
    """Refers to these pages, one batch after the other, and ends; or sleeps, and keeps them."""

    def __init__(self, batches: Batches, *, writes: bool, stays: bool = False) -> None:
        self._left = iter(batches)
        self._writes = writes
        self._stays = stays

    def batch(self, _now: float) -> esxcore.Batch | None:
        """The next of them."""
        pages = next(self._left, None)
        if pages is not None:
            return esxcore.Batch(pages, writes=self._writes, ops=OP, op_time=0.0)
        return esxcore.Batch([], sleep_until=YEAR) if self._stays else None


class Guests:
    """A simulated guest and a plain one, both with all pages resident that are referred to."""

    def __init__(self, pages: int) -> None:
        require_memory(100 * 2 * pages)
        host = esxcore.Host(
            2 * pages, content="tokens", policy=None, sharing=False, sample_pages=0, seed=1
        )
        self.used = pages // 4 * 3
        self.linux = host.power_on("linux", pages, guest=esxcore.Guest("linux", boot=0))
        self.plain = host.power_on("plain", contents=np.arange(1, pages + 1))
        self.simulation = esxcore.Simulation(host)
        self.simulation.advance(2)
        # Its memory is that of all processes to come, as if they were its threads: it does not end.
        all_of_it = parts(np.arange(self.used))
        self.simulation.start(self.linux, Given(all_of_it, writes=True, stays=True))
        while self.simulation.report(self.linux).operations < self.used // OP:
            self.simulation.advance(1)

    def start(self, batches: Batches, *, writes: bool) -> None:
        """Starts a process in the simulated guest."""
        self.simulation.start(self.linux, Given(batches, writes=writes))


@pytest.fixture(scope="module", params=SCALE.guest_sizes, ids=size_name)
def guests(request: pytest.FixtureRequest) -> Guests:
    """Both, of one size."""
    return Guests(request.param)


@pytest.mark.parametrize("kind", ["uniform", "zipf"])
@pytest.mark.parametrize("access", ["read", "write"])
def test_touch(guests: Guests, kind: Trace, access: str, ratio: Ratio) -> None:
    """Each round a process lives that makes all the references, well within a second."""
    numbers = np.concatenate(trace(kind, guests.used, SCALE.guest_references // BATCH))
    batches, writes = parts(numbers), access == "write"
    before = guests.simulation.report(guests.linux).operations

    def lived() -> int:
        guests.simulation.advance(1)
        return guests.simulation.report(guests.linux).operations

    results = ratio(
        Race(
            case=f"{access}, {size_name(guests.linux.max_pages)}, {kind}",
            units=len(numbers),
            unit="references",
            ours={"advance": lived},
            peers={"touch": lambda: sum(guests.plain.touch(b, writes).done for b in batches)},
            prepare=lambda: guests.start(batches, writes=writes),
        )
    )
    assert set(results["touch"]) == {len(numbers)}
    assert set(np.diff([before, *results["advance"]])) == {len(numbers) // OP}


def test_idle(ratio: Ratio) -> None:
    """A day of guests that do next to nothing."""
    count, seconds = SCALE.idle_guests, SCALE.idle_seconds
    require_memory(100 * 4 * count * IDLE_PAGES)
    host = esxcore.Host(2 * count * IDLE_PAGES, content="tokens", seed=1)
    simulation, daemon = esxcore.Simulation(host), esxcore.idle(period=MINUTE)
    vms = [host.power_on(f"vm{n}", IDLE_PAGES, guest="linux") for n in range(count)]
    for number, vm in enumerate(vms):
        simulation.start(vm, daemon, after=MINUTE + MINUTE * number / count)
    simulation.advance(4 * MINUTE)
    bare = host.fork()

    def operations() -> int:
        return sum(simulation.report(vm).operations for vm in vms)

    before = operations()
    results = ratio(
        Race(
            case=f"{seconds} s of {count} idle guests",
            units=count * seconds,
            unit="VM seconds",
            ours={"Simulation.advance": lambda: simulation.advance(seconds).picked},
            peers={"Host.advance": lambda: bare.advance(seconds).picked},
            rounds=SCALE.large_rounds,
        )
    )
    assert results["Simulation.advance"] == results["Host.advance"]
    each = count * seconds // MINUTE
    assert operations() - before == each * len(results["Host.advance"])
