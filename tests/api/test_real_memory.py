"""Simulated machines larger than the real one: refused where the system could only kill us."""

from __future__ import annotations

from pathlib import Path

import pytest

import esxcore
from esxcore import arguments


def test_a_vm_that_real_memory_cannot_hold_is_refused() -> None:
    host = esxcore.Host(memory="8TiB", content="bytes", policy=None)
    before = host.state_digest()
    with pytest.raises(esxcore.RealMemoryError, match=r"VM 'big' takes 4\d{3}\.\d GiB") as caught:
        host.power_on("big", max="4TiB")
    assert isinstance(caught.value, MemoryError)
    assert host.state_digest() == before


def test_tokens_take_little() -> None:
    host = esxcore.Host(memory="4GiB", content="tokens", policy=None)
    host.power_on("vm", max="4GiB")
    assert host.stats()["real_bytes"] / host.stats()["machine_pages"] < 34.5


def test_a_fork_that_real_memory_cannot_hold_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    host = esxcore.Host(memory="64MiB", policy=None)
    host.power_on("vm", max="32MiB")
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:  1024 kB\n")
    monkeypatch.setattr(arguments, "MEMINFO", tmp_path / "meminfo")
    with pytest.raises(esxcore.RealMemoryError, match=r"a fork of this host takes 0\.\d GiB"):
        host.fork()


def test_a_system_that_does_not_tell_refuses_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(arguments, "MEMINFO", tmp_path / "missing")
    esxcore.Host(memory="64MiB", policy=None).fork()
