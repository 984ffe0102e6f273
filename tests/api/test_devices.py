"""Devices from Python: packets and disks in a simulation, and bad input as one clear error."""

from __future__ import annotations

import pickle
import re
from typing import Any

import numpy as np
import pytest

import esxcore
from esxcore import Disk, Nic


def host(**settings: Any) -> esxcore.Host:
    """32 MiB of low memory that "low" fills, and 96 above."""
    host = esxcore.Host("128MiB", content="tokens", policy=None, low_memory="32MiB", **settings)
    host.power_on("low", contents=range(1, 32 * 256 + 1))
    return host


def transferred(nic: Nic, seconds: float = 11, **settings: Any) -> tuple[esxcore.WorkReport, Any]:
    machine = host(**settings)
    web = machine.power_on("web", max="16MiB", nic=nic)
    simulation = esxcore.Simulation(machine)
    simulation.advance(seconds)
    machine.audit()
    assert machine.vms()["io_pages"].sum() == simulation.report(web).packets
    return simulation.report(web), machine.stats()


@pytest.mark.parametrize("threshold", [1, 4, 16, 64])
def test_copies_stop_at_buffers_times_threshold(threshold: int) -> None:
    nic = Nic(tx=4000, rx=4000, tx_ring=32, rx_ring=32)
    report, stats = transferred(nic, io_threshold=threshold, io_decay=None)
    assert (report.packets, report.dropped_packets) == (80_000, 0)
    assert (stats["io_copies"], stats["io_remaps"]) == (64 * threshold, 64)


@pytest.mark.parametrize(
    ("settings", "dma", "copies"),
    [
        ({"io_mode": "copy"}, "low", 20_000),
        ({"io_mode": "copy"}, "all", 0),
        ({"io_mode": "first-use"}, "low", 0),
        ({"io_mode": "iommu"}, "low", 0),
    ],
)
def test_baselines(settings: dict[str, Any], dma: Any, copies: int) -> None:
    _, stats = transferred(Nic(tx=2000, dma=dma), **settings)
    assert (stats["io_pages"], stats["io_copies"]) == (20_000, copies)


def test_which_buffers_are_used_decides_how_much_is_copied() -> None:
    def copies(**reuse: Any) -> int:
        _, stats = transferred(Nic(tx=1000, tx_ring=1024, **reuse), io_decay=None)
        return int(stats["io_copies"])

    few, zipf, ring = copies(reuse="few"), copies(reuse="zipf"), copies()
    assert few == 16 * 16
    assert few < zipf < ring == 10_000
    assert copies(reuse="few", few=2) == 2 * 16
    assert copies(reuse="zipf", exponent=3.0) < zipf


def test_rates_change_at_their_times() -> None:
    nic = Nic(rx=[("2s", 100), (4, 10), ("5s", 0)])
    report, _ = transferred(nic, 20)
    assert report.packets == 210
    assert transferred(Nic(rx=[]))[0].packets == 0
    assert transferred(Nic(rx=np.int64(5), tx=((0, np.int64(2)),)))[0].packets == 70  # type: ignore[arg-type]


class Spin:
    """An operation of 100 microseconds, for ever."""

    def batch(self, now: float) -> esxcore.Batch:
        return esxcore.Batch([0] * 100, ops=1, op_time=1e-4)


@pytest.mark.parametrize("costs", ["2002", "nvme"])
def test_copies_are_paid_for_in_operations(costs: str) -> None:
    prices = esxcore.Costs.preset(costs)

    def operations(mode: Any) -> tuple[int, float]:
        threshold = esxcore.competitive_threshold(costs)
        machine = host(io_mode=mode, io_threshold=threshold, sample_pages=0)
        nic = Nic(tx=5000, rx=5000, tx_ring=16, rx_ring=16)
        web = machine.power_on("web", max="16MiB", nic=nic)
        simulation = esxcore.Simulation(machine, costs=costs)
        simulation.start(web, Spin(), after=1)
        simulation.advance(21)
        report = simulation.report(web)
        assert report.dropped_packets == 0
        return report.operations, report.device_s

    (copied, busy), (moved, less), (mapped, least) = map(operations, ("copy", "remap", "iommu"))
    each = prices.dma_setup_ns + prices.interrupt_ns
    first = 32 * prices.fault_ns  # buffers that nobody has used before
    assert busy == pytest.approx((200_000 * (each + prices.io_copy_ns) + first) / 1e9)
    assert least == pytest.approx((200_000 * each + first) / 1e9)
    assert copied / (20 - busy) == pytest.approx(mapped / (20 - least), rel=1e-3)
    assert copied < moved <= mapped
    assert less - least < 0.01 * (busy - least)


def test_a_disk_is_paid_for_only_where_it_transfers_by_itself() -> None:
    def lived(disk: Disk | None) -> tuple[Any, esxcore.WorkReport]:
        machine = host(io_mode="copy")
        guest = esxcore.Guest(boot_time="1s")
        machine.power_on("db", max="64MiB", guest=guest, disk=disk)
        simulation = esxcore.Simulation(machine)
        simulation.start("db", esxcore.files(50, refs_per_s=1000), after=2)
        simulation.advance(10)
        machine.audit()
        return machine.vms(), simulation.report("db")

    bounced, busy = lived(Disk())
    assert bounced["io_pages"][1] >= bounced["guest_file_reads"][1] > 6144
    assert bounced["io_copies"][1] == bounced["io_pages"][1]
    reached, less = lived(Disk(dma="all"))
    assert (reached["io_pages"][1] > 6144, reached["io_copies"][1]) == (True, 0)
    moved, none = lived(None)
    assert (moved["io_pages"][1], none.device_s) == (0, 0.0)
    assert busy.device_s > less.device_s > 0


def test_buffers_are_kernel_pages_of_the_guest() -> None:
    machine = host()
    machine.power_on("web", max="32MiB", guest="linux", nic=Nic(tx=10, tx_ring=300, rx_ring=200))
    simulation = esxcore.Simulation(machine)
    simulation.advance(10)
    before = machine.vms()["guest_kernel_pages"][1]
    simulation.advance(3)
    assert machine.vms()["guest_kernel_pages"][1] == before + 500
    assert simulation.report("web").packets in (20, 30)


def test_a_guest_that_stands_or_is_off_transfers_nothing() -> None:
    machine = esxcore.Host("16MiB", content="tokens", policy=None, low_memory="1MiB")
    machine.power_on("web", max="4MiB", nic=Nic(tx=100))
    full = machine.power_on("full", contents=range(1, 16 * 256 + 1))
    simulation = esxcore.Simulation(machine)
    simulation.advance(3)
    report = simulation.report("web")
    assert (report.packets, report.dropped_packets, report.held_s) == (0, 200, 2)
    full.power_off()
    simulation.advance(1)
    assert simulation.report("web").packets == 100
    machine.power_off("web")
    before = machine.stats()["io_pages"]
    simulation.advance(1)
    assert machine.stats()["io_pages"] == before
    machine.audit()


def test_devices_are_values() -> None:
    for device in (Nic(tx=[("1s", 5)], reuse="zipf", exponent=1.0), Disk("all")):
        assert pickle.loads(pickle.dumps(device)) == device != type(device)()


@pytest.mark.parametrize(
    ("nic", "error", "message"),
    [
        (7, esxcore.ArgumentTypeError, "nic: 7; expected a Nic"),
        (Nic(tx=-1), esxcore.ConfigError, "nic tx: -1; expected 0 to 10000000"),
        (Nic(tx="fast"), esxcore.ArgumentTypeError, "nic tx: 'fast'; expected packets"),  # type: ignore[arg-type]
        (Nic(rx=True), esxcore.ArgumentTypeError, "nic rx: True; expected packets"),
        (Nic(rx=[5]), esxcore.ArgumentTypeError, "nic rx: 5; expected a time"),  # type: ignore[list-item]
        (Nic(rx=[("1s", 5, 6)]), esxcore.ArgumentTypeError, "nic rx: ('1s', 5, 6); expected"),  # type: ignore[list-item]
        (Nic(rx=[("1.5s", 5)]), esxcore.ConfigError, "nic rx: '1.5s'; expected 0 to"),
        (Nic(rx=[(5, 1), ("5s", 2)]), esxcore.ConfigError, "nic rx: '5s' after 5 s; expected"),
        (Nic(rx=[(5, 10**8)]), esxcore.ConfigError, "nic rx: 100000000; expected 0 to 10000000"),
        (Nic(tx_ring=0), esxcore.ConfigError, "nic tx_ring: 0; expected 1 to"),
        (Nic(rx_ring=1.5), esxcore.ArgumentTypeError, "nic rx_ring: 1.5 is float; expected"),  # type: ignore[arg-type]
        (Nic(reuse="hot"), esxcore.ConfigError, "nic reuse: 'hot'; expected one of"),  # type: ignore[arg-type]
        (Nic(few=3), esxcore.ConfigError, "nic few: 3 with reuse 'ring'; expected none"),
        (Nic(reuse="few", few=0), esxcore.ConfigError, "nic few: 0; expected 1 to"),
        (Nic(reuse="few", exponent=1), esxcore.ConfigError, "nic exponent: 1 with reuse 'few'"),
        (Nic(reuse="zipf", exponent=float("nan")), esxcore.ConfigError, "nic exponent: nan"),
        (Nic(reuse="zipf", exponent=11), esxcore.ConfigError, "nic exponent: 11; expected 0 to 10"),
        (Nic(dma="high"), esxcore.ConfigError, "nic dma: 'high'; expected one of 'low', 'all'"),  # type: ignore[arg-type]
        (Nic(tx_ring=4000), esxcore.ConfigError, "nic rings is 4256 buffers in a VM of 4096 pages"),
        (
            Nic(tx_ring=2**32 - 1, rx_ring=2**32 - 1),
            esxcore.ConfigError,
            "nic rings is 8589934590 buffers",
        ),
    ],
)
def test_bad_cards_are_refused(nic: Any, error: type[Exception], message: str) -> None:
    machine = host()
    before = machine.state_digest()
    with pytest.raises(error, match=re.escape(message)):
        machine.power_on("web", max="16MiB", nic=nic)
    assert machine.state_digest() == before
    machine.audit()


@pytest.mark.parametrize(
    ("disk", "guest", "error", "message"),
    [
        ("low", "linux", esxcore.ArgumentTypeError, "disk: 'low'; expected a Disk"),
        (Disk("high"), "linux", esxcore.ConfigError, "disk dma: 'high'; expected one of"),  # type: ignore[arg-type]
        (Disk(), "default", esxcore.ConfigError, "disk is a disk of the default guest"),
    ],
)
def test_bad_disks_are_refused(disk: Any, guest: str, error: Any, message: str) -> None:
    machine = host()
    with pytest.raises(error, match=re.escape(message)):
        machine.power_on("web", max="32MiB", guest=guest, disk=disk)
    assert len(machine.vms()["name"]) == 1


@pytest.mark.parametrize(("costs", "copies"), [("nvme", 8), ("2002", 4)])
def test_the_competitive_threshold_is_a_move_in_copies(costs: str, copies: int) -> None:
    prices = esxcore.Costs.preset(costs)
    assert esxcore.competitive_threshold(costs) == prices.io_remap_ns // prices.io_copy_ns == copies
    with pytest.raises(esxcore.ConfigError, match="costs: 'free'"):
        esxcore.competitive_threshold("free")
