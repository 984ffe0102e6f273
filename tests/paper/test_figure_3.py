"""Figure 3 and section 4.3: from a scanned page to a hint frame to a shared frame.

The page numbers are those of the figure as they are recalled: PPN 0x2868 of VM 2 meets the hint
that PPN 0x43f8 of VM 3 left, and both end on the machine page of the hint.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import esxcore
from esxcore import FrameKind, PageState
from worlds import FULL_MASK, KINDS, page, pages, quiet_pass, small_host

CANDIDATE, HINTED = 0x2868, 0x43F8


def figure_host(kind: str, **options: Any) -> esxcore.Host:
    host = esxcore.Host(memory="64MiB", content=kind, seed=3, policy=None, **options)
    host.power_on("vm1", max="4MiB")
    host.power_on("vm2", max="48MiB")
    host.power_on("vm3", max="72MiB")
    return host


def rows(host: esxcore.Host) -> list[dict[str, int]]:
    frames = host.frames()
    return [
        {key: int(column[i]) for key, column in frames.items()} for i in range(len(frames["mpn"]))
    ]


def entry(host: esxcore.Host, vm: str, ppn: int) -> dict[str, int]:
    return {key: int(column[ppn]) for key, column in host.pmap(vm).items()}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def put(host: esxcore.Host, kind: str, vm: str, ppn: int, n: int) -> None:
    host.write(vm, [ppn], pages(kind, [n]))


def test_a_hint_becomes_a_shared_frame(kind: str) -> None:
    host = figure_host(kind)
    put(host, kind, "vm3", HINTED, 0x06AF)
    quiet_pass(host, 1)
    (hint,) = rows(host)
    left = entry(host, "vm3", HINTED)
    assert (hint["kind"], hint["vm"], hint["ppn"]) == (FrameKind.HINT, 2, HINTED)
    assert (hint["mpn"], hint["count"]) == (left["mpn"], 0)
    assert (left["state"], left["hint"], left["shared"]) == (PageState.PRIVATE, 1, 0)

    put(host, kind, "vm2", CANDIDATE, 0x06AF)
    candidate = entry(host, "vm2", CANDIDATE)
    free = host.stats()["free_pages"]
    quiet_pass(host, 1)
    (shared,) = rows(host)
    assert (shared["kind"], shared["mpn"], shared["count"]) == (FrameKind.SHARED, hint["mpn"], 2)
    assert (shared["vm"], shared["ppn"]) == (-1, -1)
    for vm, ppn in (("vm2", CANDIDATE), ("vm3", HINTED)):
        now = entry(host, vm, ppn)
        assert (now["state"], now["mpn"], now["shared"]) == (PageState.SHARED, hint["mpn"], 1)
        assert now["hint"] == 0
    assert candidate["mpn"] != hint["mpn"]
    assert host.stats()["free_pages"] == free + 1  # the candidate's machine page
    assert hint["hash"] & shared["hash"] == hint["hash"]  # the kept bits stand in their place
    host.audit()


def test_a_hint_is_not_write_protected(kind: str) -> None:
    host = figure_host(kind)
    put(host, kind, "vm3", HINTED, 0x06AF)
    quiet_pass(host, 1)
    report = host.touch("vm3", HINTED, write=True)
    assert (report.done, report.zero_fills, report.cow_breaks) == (1, 0, 0)
    assert entry(host, "vm3", HINTED)["hint"] == 1  # a rumour now, found out by whoever follows it
    host.audit()


def four_sharers(kind: str) -> esxcore.Host:
    """The figure's sample frame: four references."""
    host = figure_host(kind)
    for vm, ppn in (("vm1", 7), ("vm2", CANDIDATE), ("vm3", HINTED), ("vm3", 0)):
        put(host, kind, vm, ppn, 0x8F44)
    quiet_pass(host, 1)
    assert [(row["kind"], row["count"]) for row in rows(host)] == [(FrameKind.SHARED, 4)]
    return host


def test_a_write_breaks_one_reference_off(kind: str) -> None:
    host = four_sharers(kind)
    (frame,) = rows(host)
    free = host.stats()["free_pages"]
    put(host, kind, "vm2", CANDIDATE, 0x8F44)  # even equal data
    assert host.stats()["cow_breaks"] == 1
    assert host.stats()["free_pages"] == free - 1
    private = entry(host, "vm2", CANDIDATE)
    assert private["state"] == PageState.PRIVATE
    assert private["mpn"] != frame["mpn"]
    assert [(row["mpn"], row["count"]) for row in rows(host)] == [(frame["mpn"], 3)]
    for vm, ppn in (("vm1", 7), ("vm3", HINTED), ("vm3", 0)):
        assert np.array_equal(host.read(vm, [ppn]), pages(kind, [0x8F44]))
    host.audit()


def test_the_last_sharer_takes_the_page_over(kind: str) -> None:
    host = four_sharers(kind)
    (frame,) = rows(host)
    for vm, ppn in (("vm1", 7), ("vm2", CANDIDATE), ("vm3", 0)):
        put(host, kind, vm, ppn, 1)
    lonely = entry(host, "vm3", HINTED)
    assert (lonely["state"], lonely["shared"]) == (PageState.SHARED, 0)
    assert [row["count"] for row in rows(host)] == [1]
    free = host.stats()["free_pages"]
    put(host, kind, "vm3", HINTED, 2)
    assert host.stats()["free_pages"] == free
    assert entry(host, "vm3", HINTED)["mpn"] == frame["mpn"]
    assert entry(host, "vm3", HINTED)["state"] == PageState.PRIVATE
    assert rows(host) == []
    host.audit()


def test_a_stale_hint_is_removed_and_shares_nothing(kind: str) -> None:
    """Candidates that come before the page that left the hint is scanned again find it stale."""
    host = small_host(128, kind)
    old = pages(kind, range(1, 65))
    host.power_on("left", contents=old)
    host.scan(64)
    host.write("left", np.arange(64), pages(kind, range(101, 165)))
    host.power_on("candidates", contents=old)
    while min(host.vms()["scan_passes"].tolist()) < 2:
        before = host.stats()["hint_frames"], int(np.sum(host.pmap("left")["hint"]))
        report = host.scan(1)
        if report.stale_hints:
            assert int(np.sum(host.pmap("left")["hint"])) == before[1] - report.stale_hints
        assert host.stats()["hint_frames"] <= before[0] + report.hints - report.stale_hints
    stats = host.stats()
    assert 0 < stats["stale_hints"] <= 64
    assert (stats["merged_pages"], stats["false_matches"]) == (0, 0)
    assert stats["hint_frames"] == 128
    host.audit()


def test_a_written_back_page_finds_its_partner_again(kind: str) -> None:
    host = small_host(64, kind)
    host.power_on("a", contents=pages(kind, [5]))
    host.scan(1)
    host.write("a", 0, pages(kind, [6])[0] if kind == "bytes" else 6)
    host.write("a", 0, pages(kind, [5])[0] if kind == "bytes" else 5)
    host.power_on("b", contents=pages(kind, [5]))
    assert host.scan(2).merged == 1
    host.audit()


@pytest.mark.parametrize("mask", [0, 1 << 63, 1])
def test_a_false_match_makes_the_candidate_ineligible(kind: str, mask: int) -> None:
    """With no hash left worth the name every page meets every other one."""
    host = small_host(64, kind, hash_mask=mask)
    host.power_on("a", contents=pages(kind, [1, 1, 2, 3, 2, 3, 4, 4]))
    report = host.scan(8)
    stats = host.stats()
    assert report.false_matches > 0
    assert stats["ineligible_pages"] == stats["false_matches"] == report.false_matches
    again = host.scan(8)
    assert again.skipped >= report.false_matches  # ineligible pages are not hashed again
    assert stats["reclaimed_pages"] <= host.census()["reclaimed_pages"]
    assert [tuple(np.atleast_1d(row)) for row in host.peek("a", np.arange(8))] == [
        tuple(np.atleast_1d(row)) for row in pages(kind, [1, 1, 2, 3, 2, 3, 4, 4])
    ]
    host.audit()


def test_an_ineligible_page_is_released_with_its_vm(kind: str) -> None:
    host = small_host(64, kind, hash_mask=0)
    host.power_on("a", contents=pages(kind, [1, 1, 2, 3]))
    host.scan(4)
    assert host.stats()["ineligible_pages"] > 0
    host.power_off("a")
    assert host.stats()["ineligible_pages"] == 0
    assert host.stats()["free_pages"] == 64
    assert rows(host) == []
    host.power_on("b", contents=pages(kind, [4, 4]))
    assert host.scan(2).merged == 1
    host.audit()


def test_a_hint_keeps_forty_bits_of_the_hash(kind: str) -> None:
    host = small_host(512, kind)
    numbers = list(range(1, 257))
    host.power_on("a", contents=pages(kind, numbers))
    host.scan(256)
    hints = {row["mpn"]: row["hash"] for row in rows(host)}
    every_bit = int(np.bitwise_or.reduce(host.frames()["hash"]))
    assert every_bit.bit_count() == 40
    assert len(set(hints.values())) == 256
    host.power_on("b", contents=pages(kind, numbers))
    host.scan(512)
    shared = {row["mpn"]: row["hash"] for row in rows(host)}
    assert shared.keys() == hints.keys()
    assert all(shared[mpn] & every_bit == hints[mpn] for mpn in hints)
    assert int(np.bitwise_or.reduce(host.frames()["hash"])) == FULL_MASK
    assert set(host.frames()["kind"].tolist()) == {int(FrameKind.SHARED)}


def test_first_touch_never_gives_the_shared_zero_page(kind: str) -> None:
    host = small_host(64, kind)
    host.power_on("a", contents=pages(kind, [0, 0, 0]), max="32KiB")
    host.scan(8)
    assert host.stats()["zero_pages"] == 3
    host.touch("a", [5, 6])
    assert [entry(host, "a", ppn)["state"] for ppn in (5, 6)] == [PageState.PRIVATE] * 2
    zero = page(kind, 0)
    assert all(
        (value == zero if kind == "tokens" else value.tobytes() == zero)
        for value in host.peek("a", np.array([0, 5, 6, 7]))
    )
