"""One host serves one call at a time, and Ctrl-C ends a long one with the host in order."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest

import esxcore
from worlds import KINDS, pages

FOREVER = 10**12
PATIENCE = 60.0  # seconds; only a hang gets there


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in a form that cannot be mistaken for a person stopping the tests."""


@contextmanager
def ctrl_c_raises() -> Iterator[None]:
    def handler(number: int, frame: Any) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def interrupt(call: Callable[[], Any], seconds: float = 0.3) -> None:
    """Runs a call that never ends by itself, with a Ctrl-C on its way."""
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    started_then(timer, call)
    timer.join()


def started_then(thread: threading.Thread, call: Callable[[], Any]) -> None:
    """The thread presses Ctrl-C at some time; not before somebody is there to catch it."""

    def both() -> None:
        thread.start()
        call()

    with ctrl_c_raises(), pytest.raises(Interrupted):
        both()


def forever(call: Callable[[], Any]) -> None:
    """For calls that may be over sooner than anybody can press a key."""
    while True:
        call()


def scan_again(host: esxcore.Host) -> None:
    with suppress(esxcore.HostBusyError):  # the intruder was in; it is refused next
        host.scan(FOREVER)


def busy_host(kind: str = "tokens") -> esxcore.Host:
    host = esxcore.Host(memory="32MiB", content=kind, seed=2, policy=None)
    host.power_on("web", max="16MiB", contents=pages(kind, range(2000)))
    return host


LONG: dict[str, Callable[[esxcore.Host], Any]] = {
    "scan": lambda host: host.scan(FOREVER),
    "advance": lambda host: host.advance(10**9),
}


@pytest.mark.timeout(PATIENCE)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("call", LONG.values(), ids=LONG)
def test_ctrl_c_ends_a_long_call(call: Callable[[esxcore.Host], Any], kind: str) -> None:
    host = busy_host(kind)
    interrupt(lambda: call(host))
    host.audit()
    scanned = host.stats()["scanned_pages"]
    assert 0 < scanned < FOREVER
    assert host.scan(10).picked == 10
    assert host.stats()["scanned_pages"] == scanned + 10
    assert np.array_equal(host.peek("web", np.arange(2000)), pages(kind, range(2000)))
    before = host.now
    host.advance(2)
    assert host.now >= before + 1.99
    host.audit()


@pytest.mark.timeout(PATIENCE)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_write", [False, True], ids=["read", "write"])
def test_ctrl_c_ends_long_touches(kind: str, is_write: bool) -> None:
    host = busy_host(kind)
    batch = np.tile(np.arange(4096, dtype=np.uint32), 2**10)
    interrupt(lambda: forever(lambda: host.touch("web", batch, write=is_write)))
    host.audit()
    assert host.touch("web", batch[:100], write=is_write).done == 100
    host.audit()


WALKS: dict[str, Callable[[esxcore.Host], Any]] = {
    "fork": lambda host: host.fork(),
    "audit": lambda host: host.audit(),
    "state_digest": lambda host: host.state_digest(),
    "census": lambda host: host.census(),
    "vms": lambda host: host.vms(),
    "pmap": lambda host: host.pmap("web"),
    "frames": lambda host: host.frames(),
    "sampling": lambda host: host.sampling("web"),
    "read": lambda host: host.read("web", np.arange(2000)),
    "peek": lambda host: host.peek("web", np.arange(2000)),
    "power": lambda host: host.power_on("db", contents=np.arange(6000)).power_off(),
}


@pytest.mark.timeout(PATIENCE)
@pytest.mark.parametrize("call", WALKS.values(), ids=WALKS)
def test_ctrl_c_leaves_a_host_in_order(call: Callable[[esxcore.Host], Any]) -> None:
    host = busy_host()
    interrupt(lambda: forever(lambda: call(host)), 0.1)
    host.audit()
    assert np.array_equal(host.peek("web", np.arange(2000)), np.arange(2000))
    if "db" in host.vms()["name"]:
        host.power_off("db")
    call(host)


@pytest.mark.timeout(PATIENCE)
def test_ctrl_c_ends_a_scan_of_long_chains() -> None:
    """A weak hash puts all pages into one chain; parts of a scan must then be of fewer picks.

    Without that, the part under way would take longer than the patience of this test.
    """
    host = esxcore.Host(memory="2GiB", content="tokens", hash_mask=(1 << 24) - 1, policy=None)
    host.power_on("web", contents=np.arange(200_000))
    interrupt(lambda: host.scan(10**9), 3)
    assert 0 < host.stats()["scanned_pages"] < 200_000
    host.audit()


@pytest.mark.timeout(PATIENCE)
def test_an_interrupted_power_on_is_undone() -> None:
    """Ctrl-C at several moments; at each the VM is there whole, or was never there."""
    empty = esxcore.Host(memory="16GiB", content="tokens", seed=2, policy=None)
    empty.power_on("web", contents=[1, 2, 3])
    big = np.arange(2**21)
    whole = []

    def power_on_and_wait(host: esxcore.Host) -> None:
        host.power_on("db", max="12GiB", contents=big)
        time.sleep(PATIENCE)  # until Ctrl-C comes

    for seconds in (0.001, 0.004, 0.016, 0.064):
        host = empty.fork()
        interrupt(lambda host=host: power_on_and_wait(host), seconds)  # type: ignore[misc]
        host.audit()
        whole.append("db" in host.vms()["name"])
        if whole[-1]:
            assert host.stats()["allocated_pages"] == 3 + len(big)
        else:
            assert host.state_digest() == empty.state_digest()
            unlike = {"real_bytes"}  # memory once made real stays so
            stats, before = host.stats(), empty.stats()
            assert {k for k in stats if stats[k] != before[k]} <= unlike
            untroubled = empty.fork()
            for each in (host, untroubled):
                each.power_on("db", contents=np.arange(9))
                each.scan(7)
            assert host.state_digest() == untroubled.state_digest()
    assert not all(whole)


class Intruder(threading.Thread):
    """Enters a host that is busy elsewhere, through every door, then presses Ctrl-C."""

    def __init__(self, host: esxcore.Host, doors: dict[str, Callable[[esxcore.Host], Any]]) -> None:
        super().__init__(daemon=True)
        self.host, self.doors = host, doors
        self.answers: dict[str, object] = {}

    def run(self) -> None:
        try:
            self._wait_until_busy()
            for name, door in self.doors.items():
                try:
                    self.answers[name] = door(self.host)
                except Exception as error:  # noqa: BLE001, RUF100
                    self.answers[name] = error
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    def _wait_until_busy(self) -> None:
        end = time.monotonic() + PATIENCE / 2
        while time.monotonic() < end:
            try:
                self.host.stats()
            except esxcore.HostBusyError:
                return
            time.sleep(0.001)


DOORS: dict[str, Callable[[esxcore.Host], Any]] = {
    "stats": lambda host: host.stats(),
    "vms": lambda host: host.vms(),
    "pmap": lambda host: host.pmap("web"),
    "frames": lambda host: host.frames(),
    "sampling": lambda host: host.sampling("web"),
    "census": lambda host: host.census(),
    "audit": lambda host: host.audit(),
    "state_digest": lambda host: host.state_digest(),
    "fork": lambda host: host.fork(),
    "peek": lambda host: host.peek("web", 0),
    "read": lambda host: host.read("web", 0),
    "write": lambda host: host.write("web", 0, 1),
    "touch": lambda host: host.touch("web", 0),
    "scan": lambda host: host.scan(1),
    "advance": lambda host: host.advance(1),
    "now": lambda host: host.now,
    "vm": lambda host: host.vm("web"),
    "power_on": lambda host: host.power_on("db", max="4MiB"),
    "power_off": lambda host: host.power_off("web"),
}


@pytest.mark.timeout(PATIENCE)
def test_a_second_entry_is_refused_at_once() -> None:
    host = busy_host()
    intruder = Intruder(host, DOORS)
    started_then(intruder, lambda: forever(lambda: scan_again(host)))
    intruder.join()
    wrong = {n: a for n, a in intruder.answers.items() if not isinstance(a, esxcore.HostBusyError)}
    assert wrong == {}
    assert intruder.answers.keys() == DOORS.keys()
    assert host.vms()["name"].tolist() == ["web"]
    assert np.array_equal(host.peek("web", np.arange(2000)), np.arange(2000))
    host.audit()


@pytest.mark.timeout(PATIENCE)
def test_threads_may_take_turns() -> None:
    """A host belongs to no thread; two hosts work side by side."""
    hosts = [busy_host(), busy_host()]
    digests: dict[int, str] = {}

    def work(i: int) -> None:
        hosts[i].scan(20_000)
        hosts[i].touch("web", np.arange(4096), write=True)
        digests[i] = hosts[i].state_digest()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert digests[0] == digests[1] == hosts[0].state_digest()
