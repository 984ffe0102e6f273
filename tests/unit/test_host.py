"""The host's surface, one plain fact at a time."""

from __future__ import annotations

import copy
import threading
from typing import Any

import numpy as np
import pytest

import esxcore
from esxcore import PageState
from worlds import KINDS, pages, same, small_host


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_defaults() -> None:
    host = esxcore.Host(memory="4MiB", policy=None)
    assert host.power_on("web", max="1MiB").read(0).dtype == np.uint8
    assert host.stats()["machine_pages"] == 1024
    assert host.now == 0.0
    host.advance(1)
    assert host.now == 1.0
    assert host.stats()["now_ns"] == 10**9
    assert host.stats()["scanned_pages"] == 50


def test_all_but_memory_seed_and_content_is_keyword_only() -> None:
    with pytest.raises(TypeError):
        esxcore.Host("4MiB", 7, "tokens", "draws")  # type: ignore[misc]


def test_a_new_host_is_empty(kind: str) -> None:
    host = small_host(64, kind)
    stats = host.stats()
    assert stats["free_pages"] == stats["machine_pages"] == 64
    assert [stats[key] for key in ("vms", "used_pages", "allocated_pages", "hint_frames")] == [
        0
    ] * 4
    assert all(len(column) == 0 for column in host.vms().values())
    assert all(len(column) == 0 for column in host.frames().values())
    assert set(host.census().values()) == {0}
    assert host.scan(5).picked == 0
    host.advance(3)
    host.audit()


def test_the_handle_works_as_the_host_does(kind: str) -> None:
    one, other = small_host(64, kind), small_host(64, kind)
    vm = one.power_on("web", max="80KiB")
    other.power_on("web", max="80KiB")
    ppns, data = np.array([3, 1, 3, 7]), pages(kind, [5, 6, 7, 8])
    assert vm.touch(ppns, write=True) == other.touch("web", ppns, write=True)
    assert vm.write(ppns, data) == other.write("web", ppns, data)
    assert same(vm.read([1, 2]), other.read("web", [1, 2]))
    assert same(vm.peek([1, 9]), other.peek("web", [1, 9]))
    assert same(vm.pmap(), other.pmap("web"))
    assert one.state_digest() == other.state_digest()
    assert (vm.name, vm.max_pages) == ("web", 20)
    assert "web" in repr(vm)
    assert one.vm("web").name == "web"
    assert one.vm("web").touch(0).done == 1
    vm.power_off()
    assert one.stats()["vms"] == 0


def test_max_follows_from_contents(kind: str) -> None:
    host = small_host(64, kind)
    assert host.power_on("a", contents=pages(kind, [1, 0, 2])).max_pages == 3
    assert host.power_on("b", max="40KiB", contents=pages(kind, [1, 0, 2])).max_pages == 10
    assert host.stats()["used_pages"] == 6  # zero pages too
    assert host.pmap("b")["state"].tolist() == [PageState.PRIVATE] * 3 + [PageState.EMPTY] * 7


def test_without_contents_pages_are_empty_until_touched(kind: str) -> None:
    host = small_host(64, kind)
    host.power_on("a", max="16KiB")
    assert host.stats()["free_pages"] == 64
    assert np.array_equal(host.peek("a", np.arange(4)), pages(kind, [0] * 4))
    assert host.stats()["free_pages"] == 64
    report = host.touch("a", [2, 2, 0])
    assert (report.done, report.zero_fills, report.cow_breaks) == (3, 2, 0)
    assert len(set(host.pmap("a")["mpn"].tolist())) == 3
    assert host.stats()["free_pages"] == 62


def test_fresh_content_is_like_no_other(kind: str) -> None:
    host = small_host(64, kind)
    for name in ("a", "b"):
        host.power_on(name, max="80KiB")
        host.touch(name, np.arange(20), write=True)
    looks = [host.peek(name, np.arange(20)) for name in ("a", "b")]
    host.touch("a", np.arange(20), write=True)
    looks.append(host.peek("a", np.arange(20)))
    assert len({value.tobytes() for look in looks for value in look}) == 60
    host.scan(80)
    assert host.stats()["reclaimed_pages"] == 0
    assert same(host.peek("b", np.arange(20)), looks[1])
    if kind == "tokens":
        assert all(np.all(look >> np.uint64(63) == 1) for look in looks)


def test_fresh_content_never_comes_again(kind: str) -> None:
    host, count = small_host(4000, kind), 2000
    host.power_on("a", max="8000KiB")
    host.touch("a", np.arange(count), write=True)
    first = {value.tobytes() for value in host.peek("a", np.arange(count))}
    host.touch("a", np.tile(np.arange(count), 5), write=True)
    later = {value.tobytes() for value in host.peek("a", np.arange(count))}
    assert len(first | later) == 2 * count
    host.scan(count)
    assert host.stats()["reclaimed_pages"] == host.census()["reclaimed_pages"] == 0


def test_power_off_gives_everything_back(kind: str) -> None:
    host = small_host(64, kind)
    for name in ("a", "b"):
        host.power_on(name, contents=pages(kind, [1, 1, 0, 2]), max="40KiB")
    host.scan(20)
    host.power_off("a")
    assert host.stats()["used_pages"] == 3
    assert np.array_equal(host.peek("b", np.arange(4)), pages(kind, [1, 1, 0, 2]))
    host.power_off("b")
    stats = host.stats()
    assert stats["free_pages"] == 64
    assert stats["hint_frames"] == stats["shared_frames"] == stats["shared_pages"] == 0
    host.power_on("c", max="256KiB")
    host.touch("c", np.arange(64))
    assert np.array_equal(host.peek("c", np.arange(64)), pages(kind, [0] * 64))  # I10
    host.audit()


def test_names_may_come_again_and_order_is_power_on_order() -> None:
    host = small_host(64)
    for name in ("a", "b", "c"):
        host.power_on(name, max="16KiB")
    host.power_off("b")
    host.power_on("b", max="20KiB", salt="red")
    host.power_on("ü 2", max="16KiB")
    assert host.vms()["name"].tolist() == ["a", "c", "b", "ü 2"]
    assert host.vms()["max_pages"].tolist() == [4, 4, 5, 4]
    assert host.vms()["salt"].tolist()[2] == "red"


@pytest.mark.parametrize(
    ("rates", "vms", "seconds", "picked"),
    [
        ((50, 200), 1, 1, 50),
        ((50, 200), 3, 1, 150),
        ((50, 200), 5, 1, 200),
        ((50, 200), 5, 10, 2000),
        ((50, 10), 1, 2, 20),
        ((0, 200), 2, 5, 0),
        ((50, 0), 2, 5, 0),
        ((7, 10), 2, 3, 30),
        ((50, 200), 2, 0.999, 0),
    ],
)
def test_scan_rates(rates: tuple[int, int], vms: int, seconds: float, picked: int) -> None:
    host = small_host(5000, scan_vm_rate=rates[0], scan_host_rate=rates[1])
    for i in range(vms):
        host.power_on(f"vm{i}", contents=np.arange(1000))
    assert host.advance(seconds).picked == picked
    scanned = host.vms()["scanned_pages"].tolist()
    assert sum(scanned) == picked == host.stats()["scanned_pages"]
    assert max(scanned) <= rates[0] * seconds
    assert max(scanned) - min(scanned) <= max(1, seconds)  # the host's rate is shared fairly


def test_time_is_exact() -> None:
    host, other = small_host(64), small_host(64)
    for each in (host, other):
        each.power_on("web", contents=np.arange(40))
    for _ in range(10):
        host.advance(0.1)
    other.advance(1)
    assert host.stats()["now_ns"] == other.stats()["now_ns"] == 10**9
    assert host.state_digest() == other.state_digest()
    assert host.stats()["scanned_pages"] == 50
    before = host.state_digest()
    assert host.advance(0).picked == 0
    assert host.state_digest() == before


def test_sharing_off() -> None:
    host = small_host(64, sharing=False)
    host.power_on("web", contents=np.zeros(40, dtype=np.int64))
    host.advance(100)
    stats = host.stats()
    assert (stats["scanned_pages"], stats["shared_pages"], stats["hint_frames"]) == (0, 0, 0)
    assert host.now == 100.0


def test_cow_break_by_touch_write_and_not_by_reads(kind: str) -> None:
    host = small_host(64, kind)
    host.power_on("web", contents=pages(kind, [4, 4, 4]))
    host.scan(3)
    report = host.touch("web", [0, 1, 2])
    assert (report.cow_breaks, report.zero_fills) == (0, 0)
    host.read("web", [0, 1, 2])
    host.peek("web", [0, 1, 2])
    assert host.stats()["shared_pages"] == 3
    assert host.touch("web", [1, 1], write=True).cow_breaks == 1
    assert host.stats()["shared_pages"] == 2
    assert np.array_equal(host.peek("web", [0, 2]), pages(kind, [4, 4]))
    assert host.vms()["cow_breaks"].tolist() == [1]
    assert host.vms()["references"].tolist() == [8]


def test_consumed_is_the_sum_of_fractions(kind: str) -> None:
    host = small_host(64, kind)
    host.power_on("a", contents=pages(kind, [9, 9, 9, 1]))
    host.power_on("b", contents=pages(kind, [9, 2]))
    host.scan(6)
    columns = host.vms()
    assert columns["consumed"].tolist() == pytest.approx([3 / 4 + 1, 1 / 4 + 1])
    assert columns["reclaimed"].tolist() == pytest.approx([4 - 1.75, 2 - 1.25])
    assert columns["allocated_pages"].tolist() == [4, 2]
    assert columns["shared_pages"].tolist() == [3, 1]
    assert host.stats()["reclaimed_pages"] == 3


def test_a_digest_is_a_short_hex_text() -> None:
    digest = small_host(64).state_digest()
    assert len(digest) >= 16
    int(digest, 16)


@pytest.mark.parametrize("change", ["touch", "content", "scan", "advance", "power_on", "power_off"])
def test_the_digest_tells_states_apart(kind: str, change: str) -> None:
    host = small_host(64, kind)
    host.power_on("web", max="80KiB", contents=pages(kind, [1, 1]))
    before = host.state_digest()
    changes: dict[str, Any] = {
        "touch": lambda: host.touch("web", 5),
        "content": lambda: host.write("web", [0], pages(kind, [2])),
        "scan": lambda: host.scan(20),
        "advance": lambda: host.advance(1),
        "power_on": lambda: host.power_on("db", max="80KiB"),
        "power_off": lambda: host.power_off("web"),
    }
    changes[change]()
    assert host.state_digest() != before


def test_repr_names_the_host() -> None:
    text = repr(small_host(64))
    assert "\n" not in text
    assert text.startswith("<") or text.startswith("Host(") or text.startswith("esxcore.")


def test_a_copy_is_a_fork() -> None:
    host = esxcore.Host(memory="4MiB", content="tokens", policy=None)
    host.power_on("vm", contents=[1, 1, 2])
    for twin in (copy.copy(host), copy.deepcopy(host)):
        assert twin.state_digest() == host.state_digest()
        twin.write("vm", 0, 9)
        assert (twin.peek("vm", 0), host.peek("vm", 0)) == (9, 1)


def test_repr_of_a_host_that_serves_a_call_does_not_fail() -> None:
    host = esxcore.Host(memory="1GiB", content="tokens", hash_mask=0xFFFF, policy=None)
    host.power_on("vm", contents=np.arange(100_000))
    scan = threading.Thread(target=host.scan, args=(20_000,))
    scan.start()
    seen = set()
    while scan.is_alive():
        seen.add(repr(host))
    assert any("serving" in text for text in seen)
    assert repr(host).startswith("<Host 1 GiB, 1 VMs")
