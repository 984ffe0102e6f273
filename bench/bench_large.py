"""A host of 64 GiB with tokens: power-on with contents, one scan, touches, and what it costs.

The contents are the dataset ``shared``. References, in pages a second: ``copy`` is NumPy's copy of
the contents to another array; ``read``, ``scattered read`` and ``np.sort`` as in `bench_scan`;
``a[pages]`` as in `bench_touch`. A power-on makes the memory of the guest's pmap real, which is
part of it; that of the machine's pages is there since the first.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass

import datasets
import numpy as np
import pytest
from bench_scan import check_reads, token_reads
from measure import Race, Ratio, require_memory, resident_bytes, scale, size_name
from traces import TRACES, Trace, touch_race, trace, write_race

import esxcore

SCALE = scale()
SIZE = size_name(SCALE.large)


@dataclass
class Large:
    """A host with one guest as large as itself, and how much real memory they took."""

    host: esxcore.Host
    dataset: datasets.Dataset
    resident: int

    def refill(self) -> None:
        """Powers the guest off and on."""
        self.host.power_off("guest")
        self.power_on()

    def power_on(self) -> esxcore.Vm:
        """Powers the guest on with its contents."""
        return self.host.power_on("guest", contents=self.dataset.tokens)


@pytest.fixture(scope="module")
def large() -> Large:
    """The host, filled and scanned once."""
    require_memory(150 * SCALE.large)
    dataset = datasets.make("shared", SCALE.large)
    reclaimed = dataset.reclaimed
    gc.collect()
    before = resident_bytes()
    world = Large(esxcore.Host(SCALE.large, content="tokens", policy=None), dataset, 0)
    world.power_on()
    assert world.host.scan(SCALE.large).merged == reclaimed
    world.resident = resident_bytes() - before
    return world


def test_power_on(large: Large, ratio: Ratio) -> None:
    """Power-on with contents for every page; and real memory for each page of the machine."""
    target = np.full_like(large.dataset.tokens, 7)
    stats = large.host.stats()
    case = f"{SIZE}, filled and scanned"
    share = stats["real_bytes"] / SCALE.large
    ratio.fact(case, "real memory by the host's count", share, "bytes a page")
    ratio.fact(case, "real memory by the kernel's", large.resident / SCALE.large, "bytes a page")
    metadata = stats["sharing_metadata_bytes"] / SCALE.large
    ratio.fact(case, "of that for sharing", metadata, "bytes a page")
    ratio(
        Race(
            case=f"{SIZE}, power-on",
            units=SCALE.large,
            ours={"power_on": large.power_on},
            peers={"copy": lambda: np.copyto(target, large.dataset.tokens)},
            prepare=lambda: large.host.power_off("guest"),
            rounds=SCALE.large_rounds,
        )
    )
    assert large.host.stats()["allocated_pages"] == SCALE.large
    assert share < 64


def test_scan(large: Large, ratio: Ratio) -> None:
    """One cold pass."""
    results = ratio(
        Race(
            case=f"{SIZE}, scan",
            units=SCALE.large,
            ours={"scan": lambda: large.host.scan(SCALE.large)},
            peers=token_reads(large.dataset.tokens),
            prepare=large.refill,
            rounds=SCALE.large_rounds,
        )
    )
    check_reads(results)
    for report in results["scan"]:
        assert report.merged == large.dataset.reclaimed


@pytest.mark.parametrize("kind", TRACES)
def test_touch(large: Large, kind: Trace, ratio: Ratio) -> None:
    """Reads of shared and private pages."""
    vm, array = large.host.vm("guest"), np.full(SCALE.large, 7, dtype=np.uint64)
    batches = trace(kind, SCALE.large, SCALE.touch_batches)
    race = touch_race(f"{SIZE}, read, {kind}", vm, array, batches)
    assert set(ratio(race)["touch"]) == {race.units}


@pytest.mark.parametrize("kind", TRACES)
def test_write(large: Large, kind: Trace, ratio: Ratio) -> None:
    """Writes, the warm-up round having broken the shared pages among them."""
    vm, array = large.host.vm("guest"), np.full(SCALE.large, 7, dtype=np.uint64)
    batches = trace(kind, SCALE.large, SCALE.touch_batches)
    race = write_race(f"{SIZE}, write, {kind}", vm, array, batches)
    warm_up, *rounds = ratio(race)["touch"]
    assert warm_up <= race.units
    assert set(rounds) <= {race.units}
