"""Values that slip through where types are only half checked."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import esxcore
from worlds import KINDS, small_host


@pytest.fixture
def host() -> esxcore.Host:
    host = small_host(64)
    host.power_on("vm", contents=[1, 2, 3, 4])
    return host


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("call", ["read", "peek"])
def test_an_answer_that_real_memory_cannot_hold(kind: str, call: str) -> None:
    """The core would have to abort the process."""
    host = small_host(64, kind)
    host.power_on("vm", max="64KiB")
    many = np.broadcast_to(np.uint32(0), (2**33,))  # costs nothing, unlike what it asks for
    with pytest.raises(esxcore.RealMemoryError, match="an array of 8589934592 pages"):
        getattr(host, call)("vm", many)
    host.audit()


@pytest.mark.parametrize("ppns", [[1, True], [np.bool_(True)], [2**63, 1], [1, 2.0], [None]])
def test_lists_are_looked_at_one_by_one(host: esxcore.Host, ppns: Any) -> None:
    with pytest.raises((esxcore.ArgumentTypeError, esxcore.PageRangeError)):
        host.touch("vm", ppns)
    assert host.stats()["references"] == 0


def test_large_tokens_in_a_list(host: esxcore.Host) -> None:
    with pytest.raises(esxcore.ContentError, match=str(2**63)):
        host.write("vm", [0, 1], [2**63, 1])
    tokens = np.array([7], dtype=np.uint64)
    assert host.write("vm", [0, 1], [tokens[0], 3]).done == 2
    assert host.read("vm", [0, 1]).tolist() == [7, 3]


def test_masked_arrays_are_refused(host: esxcore.Host) -> None:
    with pytest.raises(esxcore.ArgumentTypeError, match="masked"):
        host.touch("vm", np.ma.array([0, 1], mask=[False, True]))


@pytest.mark.parametrize("seconds", [10**400, -1, float("nan"), float("inf"), 2**33 + 1])
def test_times_out_of_range(host: esxcore.Host, seconds: Any) -> None:
    with pytest.raises(esxcore.ConfigError, match="seconds"):
        host.advance(seconds)


@pytest.mark.parametrize("seconds", [np.complex128(1), "1", None, True])
def test_times_that_are_none(host: esxcore.Host, seconds: Any) -> None:
    with pytest.raises(esxcore.ArgumentTypeError, match="seconds"):
        host.advance(seconds)


@pytest.mark.parametrize("name", ["", "a\0", "\ud800", "x" * 256, "a\nb"])
def test_names_that_are_none(host: esxcore.Host, name: str) -> None:
    with pytest.raises(esxcore.EsxError):
        host.power_on(name, max="64KiB")
    with pytest.raises(esxcore.EsxError):
        host.power_on("other", max="64KiB", salt=name)
    with pytest.raises(esxcore.UnknownVmError):
        host.touch(name, 0)
    assert host.vms()["name"].tolist() == ["vm"]


def test_a_choice_is_text() -> None:
    with pytest.raises(esxcore.ConfigError, match="content"):
        esxcore.Host(memory="4MiB", content=np.array(["bytes", "tokens"]), policy=None)  # type: ignore[arg-type]


def test_a_handle_of_the_dead_is_told_from_a_name(host: esxcore.Host) -> None:
    vm = host.vm("vm")
    vm.power_off()
    host.power_on("vm", max="64KiB")
    with pytest.raises(esxcore.UnknownVmError, match="of this handle is powered off"):
        vm.touch(0)


def test_hosts_are_copied_and_not_pickled(host: esxcore.Host) -> None:
    assert copy.copy(host).state_digest() == host.state_digest()
    with pytest.raises(TypeError, match=r"Host\.fork\(\)"):
        pickle.dumps(host)


def test_contents_are_taken_by_value() -> None:
    host = small_host(64)
    tokens = np.array([1, 2, 3])
    host.power_on("vm", contents=tokens)
    tokens[:] = -1
    assert host.peek("vm", [0, 1, 2]).tolist() == [1, 2, 3]
