"""Transfers of `Host.io` and the moves that they make.

``touch``
    `Host.touch` of the same pages, which asks the pmap directly, sixteen look-ups at a time, and
    neither counts transfers page by page nor pins anything.
``page copy``
    NumPy's copy of as many pages in order.
"""

from __future__ import annotations

import numpy as np
import pytest
from measure import BATCH, PAGE_BYTES, Race, Ratio, require_memory, scale, size_name

import esxcore

SCALE = scale()
BUFFERS = 256
"""Pages of a ring."""


@pytest.mark.parametrize("buffers", ["ring", "many"])
def test_transfers(buffers: str, ratio: Ratio) -> None:
    """Transmissions, 4096 to a call, that need no copy: a ring of buffers, or any page."""
    pages = SCALE.memory_tokens
    require_memory(100 * pages)
    host = esxcore.Host(pages, content="tokens", policy=None, low_memory=pages - 1)
    vm = host.power_on("guest", contents=np.arange(1, pages))
    random = np.random.default_rng(5)
    most = BUFFERS if buffers == "ring" else pages - 1
    parts = [
        np.arange(BATCH) % BUFFERS if buffers == "ring" else random.integers(0, most, BATCH)
        for _ in range(SCALE.touch_batches)
    ]
    race = Race(
        f"transmit, {size_name(pages)}, {buffers}",
        BATCH * len(parts),
        ours={"io": lambda: sum(vm.io(part).done for part in parts)},
        peers={"touch": lambda: sum(vm.touch(part).done for part in parts)},
        unit="transfers",
    )
    assert set(ratio(race)["io"]) == {race.units}


def test_relocation(ratio: Ratio) -> None:
    """Moves to low memory and out of it: each transfer makes one of either."""
    half = SCALE.memory_bytes // 2
    require_memory(3 * SCALE.memory_bytes * PAGE_BYTES)
    host = esxcore.Host(
        2 * half + 1,
        policy=None,
        sharing=False,
        sample_pages=0,
        low_memory=half,
        io_mode="first-use",
        io_decay=1,
    )
    vm = host.power_on("guest", max=2 * half)
    vm.touch(range(2 * half), write=True)
    parts = [np.arange(half), np.arange(half, 2 * half)]
    source = np.full((half, PAGE_BYTES // 8), 7, dtype=np.uint64)
    target = np.ones_like(source)

    def move() -> int:
        parts.reverse()
        report = vm.io(parts[0])
        return report.remaps + report.evictions

    def copy() -> None:
        for _ in range(2):
            np.copyto(target, source)

    race = Race(
        f"relocation, {size_name(2 * half)}",
        2 * half,
        ours={"io": move},
        peers={"page copy": copy},
        prepare=lambda: host.advance(1),
    )
    assert set(ratio(race)["io"]) == {race.units}
    host.audit()
