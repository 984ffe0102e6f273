"""`Host.touch` of resident private pages, 4096 to a call, against NumPy's fancy indexing.

The host has tokens; NumPy's array has a word for each page. NumPy only loads or stores words, while
`touch` checks every page number and access, and a write gives each page fresh content; NumPy's
``a[pages]`` in turn returns what it has loaded. How far apart the pages are decides the rest: the
larger the memory, the more of its accesses miss the caches.
"""

from __future__ import annotations

import numpy as np
import pytest
from measure import Ratio, require_memory, scale, size_name
from numpy.typing import NDArray
from traces import TRACES, Trace, touch_race, trace, write_race

import esxcore

SCALE = scale()
KINDS = pytest.mark.parametrize("kind", TRACES)

Memory = tuple[esxcore.Vm, NDArray[np.uint64]]


@pytest.fixture(scope="module", params=SCALE.touch_sizes, ids=size_name)
def memory(request: pytest.FixtureRequest) -> Memory:
    """A guest with all its pages resident, and an array with a word for each."""
    pages = request.param
    require_memory(100 * pages)
    host = esxcore.Host(pages, content="tokens", policy=None)
    vm = host.power_on("guest", contents=np.arange(1, pages + 1))
    return vm, np.full(pages, 7, dtype=np.uint64)


@KINDS
def test_read(memory: Memory, kind: Trace, ratio: Ratio) -> None:
    """Reads."""
    vm, array = memory
    batches = trace(kind, vm.max_pages, SCALE.touch_batches)
    race = touch_race(f"read, {size_name(vm.max_pages)}, {kind}", vm, array, batches)
    assert set(ratio(race)["touch"]) == {race.units}


@KINDS
def test_write(memory: Memory, kind: Trace, ratio: Ratio) -> None:
    """Writes."""
    vm, array = memory
    batches = trace(kind, vm.max_pages, SCALE.touch_batches)
    race = write_race(f"write, {size_name(vm.max_pages)}, {kind}", vm, array, batches)
    assert set(ratio(race)["touch"]) == {race.units}
    seen = vm.peek(np.unique(batches[-1]))
    assert seen.min() >= 2**63
    assert np.unique(seen).size == seen.size
