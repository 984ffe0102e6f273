"""I/O of guests on a host whose devices do not reach all memory (paper, section 7)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import esxcore
from worlds import small_host

LOW = 64


def high_host(**settings: Any) -> tuple[esxcore.Host, esxcore.Vm]:
    """A host with 64 free low pages, and a virtual machine of 100 pages above them."""
    host = small_host(LOW + 200, **{"low_memory": f"{4 * LOW}KiB"} | settings)
    filler = host.power_on("filler", max=f"{4 * LOW}KiB")
    filler.touch(range(LOW))
    vm = host.power_on("web", max="400KiB")
    vm.touch(range(vm.max_pages), write=True)
    filler.power_off()
    return host, vm


def test_copies_stop_when_pages_are_hot() -> None:
    host, vm = high_host(io_threshold=4)
    ring = np.tile(np.arange(20, 30), 50)
    report = host.io(vm, ring)
    assert report == esxcore.IoReport(
        done=500, stopped=None, zero_fills=0, cow_breaks=0, page_ins=0, copies=40, remaps=10,
        private_copies=0, evictions=0, refused=0, hits=480, misses=20,
    )  # fmt: skip
    stats, columns = host.stats(), host.vms()
    assert (stats["io_pages"], stats["io_copies"], stats["io_remaps"]) == (500, 40, 10)
    assert (stats["io_cache_hits"], stats["io_cache_misses"]) == (480, 20)
    assert stats["low_free_pages"] == LOW - 10
    assert [int(columns[name][0]) for name in ("io_pages", "io_copies", "io_remaps")] == [
        500, 40, 10,
    ]  # fmt: skip
    assert columns["hot_pages"].tolist() == [10]
    assert (vm.pmap()["mpn"][20:30] < LOW).all()
    host.audit()


@pytest.mark.parametrize(
    ("mode", "copies", "remaps"),
    [("copy", 300, 0), ("first-use", 0, 3), ("remap", 48, 3), ("iommu", 0, 0)],
)
def test_modes(mode: Any, copies: int, remaps: int) -> None:
    _, vm = high_host(io_mode=mode)
    report = vm.io([5, 6, 7] * 100, "rx")
    assert (report.copies, report.remaps, report.refused) == (copies, remaps, 0)


@pytest.mark.parametrize(
    ("scarce", "evictions", "refused"), [("coldest", 3, 0), ("fair", 3, 0), ("refuse", 0, 3)]
)
def test_who_makes_room(scarce: Any, evictions: int, refused: int) -> None:
    host, vm = high_host(io_scarce=scarce)
    quiet = host.power_on("quiet", max=f"{4 * LOW}KiB", contents=np.arange(LOW) + 1)
    assert host.stats()["low_free_pages"] == 0
    report = vm.io([5, 6, 7] * 17)
    assert (report.evictions, report.refused) == (evictions, refused)
    assert (host.stats()["io_evictions"], host.stats()["io_refused"]) == (evictions, refused)
    assert quiet.peek(range(LOW)).tolist() == list(range(1, LOW + 1))
    host.audit()


def test_a_receive_is_a_write_with_content_of_its_own() -> None:
    host, vm = high_host(io_mode="copy")
    vm.write([1, 2], [7, 7])
    host.scan(100)
    assert host.stats()["shared_pages"] == 2
    assert vm.io([1]).cow_breaks == 0
    assert vm.io([1, 2, 1], "rx").cow_breaks == 2
    one, two = vm.peek([1, 2]).tolist()
    assert one != two
    assert min(one, two) >= 2**63


def test_a_hot_shared_page_is_copied_and_not_moved() -> None:
    host, vm = high_host(io_threshold=1)
    vm.write([1, 2], [7, 7])
    host.scan(100)
    report = vm.io([1, 1, 1])
    assert (report.copies, report.private_copies, report.remaps) == (1, 1, 0)
    assert host.vms()["io_private_copies"].tolist() == [1]
    assert host.stats()["io_private_copies"] == 1
    assert vm.peek([1, 2]).tolist() == [7, 7]


def test_counts_halve() -> None:
    host, vm = high_host(io_threshold=8, io_decay="10s")
    assert vm.io([5] * 7).copies == 7
    host.advance(10)
    assert vm.io([5] * 7).copies == 5
    forever, vm = high_host(io_threshold=8, io_decay=None)
    vm.io([5] * 7)
    forever.advance(10_000)
    assert vm.io([5] * 7).copies == 1


def test_small_machines_are_all_low() -> None:
    host = small_host(64)
    vm = host.power_on("web", max="64KiB")
    report = vm.io(range(16), "rx")
    assert (report.done, report.zero_fills, report.copies) == (16, 16, 0)
    assert host.stats()["low_free_pages"] == host.stats()["free_pages"] == 48


def test_a_batch_stops_before_the_transfer_it_cannot_do() -> None:
    host = small_host(8)
    vm = host.power_on("web", max="64KiB")
    report = vm.io(range(16), "rx")
    assert (report.done, report.stopped) == (8, "out-of-memory")


@pytest.mark.parametrize(
    ("ppns", "direction", "error", "text"),
    [
        ([0, 100], "tx", esxcore.PageRangeError, "page 100 of VM"),
        ([-1], "rx", esxcore.PageRangeError, "page -1 of VM"),
        ([2**70], "rx", esxcore.PageRangeError, str(2**70)),
        ([0.5], "tx", esxcore.ArgumentTypeError, "ppns"),
        ([0], "up", esxcore.ConfigError, "direction: 'up'"),
        ([0], None, esxcore.EsxError, "direction"),
    ],
)
def test_bad_input_changes_nothing(
    ppns: Any, direction: Any, error: type[Exception], text: str
) -> None:
    host, vm = high_host()
    before = host.state_digest()
    with pytest.raises(error, match=text):
        host.io(vm, ppns, direction)
    assert host.state_digest() == before
    host.audit()
