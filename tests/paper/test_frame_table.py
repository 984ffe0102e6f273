"""Section 4.3's data structures in numbers: 16-bit counts with an overflow table, and the cost."""

from __future__ import annotations

import numpy as np
import pytest

import esxcore
from worlds import KINDS, max_pages_sum, pages, small_host

COUNT_LIMIT = 0xFFFF


def counts(host: esxcore.Host) -> list[int]:
    return sorted(int(count) for count in host.frames()["count"] if count)


def crowd(kind: str, copies: int, room: int = 8192) -> esxcore.Host:
    """One host on which ``copies`` pages of one content stand on one machine page."""
    host = esxcore.Host(memory=f"{4 * (copies + room)}KiB", content=kind, seed=5, policy=None)
    contents = np.broadcast_to(pages(kind, [7]), (copies, 4096) if kind == "bytes" else (copies,))
    host.power_on("crowd", contents=contents)
    host.scan(copies)
    assert counts(host) == [copies]
    return host


@pytest.mark.parametrize("copies", [COUNT_LIMIT - 1, COUNT_LIMIT, COUNT_LIMIT + 1, 70_000])
def test_counts_beyond_sixteen_bits(copies: int) -> None:
    host = crowd("tokens", copies)
    stats = host.stats()
    assert (stats["shared_pages"], stats["reclaimed_pages"]) == (copies, copies - 1)
    assert float(host.vms()["consumed"][0]) == pytest.approx(1)
    for step in (1, 1, 1, 5000):  # COW breaks across the limit, one by one and at a stride
        before = counts(host)[0]
        start = copies - before
        report = host.touch("crowd", np.arange(start, start + step), write=True)
        assert report.cow_breaks == step
        assert counts(host) == [before - step]
        host.audit()
    left = counts(host)[0]
    assert left < COUNT_LIMIT
    assert host.stats()["used_pages"] == 1 + copies - left
    host.write("crowd", np.arange(copies - left), np.full(copies - left, 7))
    host.scan(copies)  # and back above it
    assert counts(host) == [copies]
    host.audit()
    host.power_off("crowd")
    assert host.stats()["used_pages"] == 0
    assert counts(host) == []
    host.audit()


def test_two_crowds_and_a_fork_keep_their_own_counts() -> None:
    copies = 66_000
    host = esxcore.Host(memory=f"{4 * 2 * copies + 4096}KiB", content="tokens", seed=5, policy=None)
    for name, token in (("ones", 1), ("zeros", 0)):
        host.power_on(name, contents=np.full(copies, token, dtype=np.int64))
    host.scan(2 * copies)
    assert counts(host) == [copies, copies]
    assert host.stats()["zero_pages"] == copies
    fork = host.fork()
    fork.touch("ones", np.arange(700), write=True)
    assert counts(fork) == [copies - 700, copies]
    assert counts(host) == [copies, copies]
    fork.power_off("zeros")
    assert counts(fork) == [copies - 700]
    for each in (host, fork):
        each.audit()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_crowd_dissolves_down_to_one(kind: str) -> None:
    copies = 70_000
    host = crowd(kind, copies, room=copies)
    for start in range(0, copies, 1000):
        assert host.touch("crowd", np.arange(start, start + 1000), write=True).cow_breaks == 1000
        host.audit()
    assert counts(host) == []
    assert host.stats()["used_pages"] == copies


# Chain heads are half as many as pages, rounded up; sizes around powers of two are the usual traps.
SIZES = [1024, 4095, 4096, 4097, 40_000, 65_535, 65_536, 65_537, 98_304]


@pytest.mark.parametrize("machine_pages", SIZES)
def test_metadata_costs_half_a_percent_at_worst(machine_pages: int) -> None:
    """All pages distinct, scanned, then rewritten and scanned again, three times over."""
    host = small_host(machine_pages)
    everything = np.arange(machine_pages)
    host.power_on("vm", contents=everything + 1)
    worst = 0
    for turn in range(4):
        host.scan(max_pages_sum(host))
        stats = host.stats()
        assert stats["hint_frames"] == machine_pages
        worst = max(worst, stats["sharing_metadata_bytes"])
        host.write("vm", everything, everything + machine_pages * (turn + 1) + 1)
    assert worst / (machine_pages * 4096) <= 0.005
    assert worst >= 16 * machine_pages  # sixteen bytes a frame are really counted
    host.audit()


@pytest.mark.parametrize("mask", [0, 0xFFFF])
def test_ineligible_pages_and_crowds_cost_no_more(mask: int) -> None:
    machine_pages = 5000
    host = small_host(machine_pages, hash_mask=mask)
    host.power_on("vm", contents=np.arange(machine_pages) // 2)
    for _ in range(3):
        host.scan(machine_pages)
        assert host.stats()["sharing_metadata_bytes"] / (machine_pages * 4096) <= 0.005
    host.audit()
