"""Laws of any history: determinism, forks, looking without touching, salts, quiet passes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import esxcore
from worlds import (
    FULL_MASK,
    KINDS,
    assert_same_state,
    max_pages_sum,
    pages,
    quiet_pass,
    small_host,
)

SIZES = {"alpha": 20, "beta": 13, "gamma": 7}
PALETTE = st.sampled_from([0, 0, 1, 2, 3, 256, 2**63 - 1])
LISTS = st.lists(st.integers(0, 6), max_size=16)

Operation = tuple[Any, ...]
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("touch"), st.sampled_from(list(SIZES)), LISTS, st.booleans()),
        st.tuples(
            st.just("write"),
            st.sampled_from(list(SIZES)),
            st.lists(st.tuples(st.integers(0, 6), PALETTE), max_size=16),
        ),
        st.tuples(st.just("read"), st.sampled_from(list(SIZES)), LISTS),
        st.tuples(st.just("scan"), st.integers(0, 60)),
        st.tuples(st.just("advance"), st.integers(0, 24)),
    ),
    max_size=10,
)
MASKS = st.sampled_from([FULL_MASK, FULL_MASK, 0, 0xF, 0xF << 60, (1 << 24) - 1])


def build(kind: str, **options: Any) -> esxcore.Host:
    """Three small VMs, one of them born with contents, on a host that has room for all."""
    host = small_host(48, kind, scan_vm_rate=3, scan_host_rate=7, **options)
    for name, count in SIZES.items():
        contents = pages(kind, [0, 1, 1, 2, 0, 3, 1]) if name == "alpha" else None
        host.power_on(name, max=f"{4 * count}KiB", contents=contents)
    return host


def pieces(whole: Sequence[Any], cuts: Sequence[int]) -> list[Sequence[Any]]:
    """``whole`` cut at the places named, empty pieces included."""
    places = sorted({min(cut, len(whole)) for cut in cuts} | {0, len(whole)})
    return [whole[a:b] for a, b in pairwise(places)] or [whole]


def apply(host: esxcore.Host, kind: str, operation: Operation, cuts: Sequence[int] = ()) -> None:
    """Does one operation, in as many calls as ``cuts`` says."""
    verb, *rest = operation
    if verb == "scan":
        for piece in pieces(range(rest[0]), cuts):
            host.scan(len(piece))
    elif verb == "advance":
        for piece in pieces(range(rest[0]), cuts):
            host.advance(len(piece) / 4)
    elif verb == "write":
        for piece in pieces(rest[1], cuts):
            ppns = np.array([ppn for ppn, _ in piece], dtype=np.int64)
            host.write(rest[0], ppns, pages(kind, [n for _, n in piece]))
    else:
        for piece in pieces(rest[1], cuts):
            ppns = np.array(piece, dtype=np.int64)
            if verb == "read":
                host.read(rest[0], ppns)
            else:
                host.touch(rest[0], ppns, write=rest[2])


@pytest.mark.parametrize("order", ["permutation", "draws"])
@pytest.mark.parametrize("kind", KINDS)
@given(operations=OPERATIONS, cuts=st.lists(st.integers(1, 40), max_size=4), mask=MASKS)
def test_where_batches_are_cut_changes_nothing(
    kind: str, order: str, operations: list[Operation], cuts: list[int], mask: int
) -> None:
    whole = build(kind, hash_mask=mask, scan_order=order)
    cut = build(kind, hash_mask=mask, scan_order=order)
    for operation in operations:
        apply(whole, kind, operation)
        apply(cut, kind, operation, cuts)
    assert_same_state(whole, cut)


@pytest.mark.parametrize("kind", KINDS)
@given(
    ppns=st.lists(st.integers(0, 19), max_size=40), is_write=st.booleans(), cut=st.integers(0, 40)
)
def test_a_starved_batch_resumes_where_it_stopped(
    kind: str, ppns: list[int], is_write: bool, cut: int
) -> None:
    whole, parts = (small_host(8, kind) for _ in range(2))
    for host in (whole, parts):
        host.power_on("alpha", max="80KiB", contents=pages(kind, [1, 1, 1, 0, 0]))
        host.scan(40)
    batch = np.array(ppns, dtype=np.int64)
    report = whole.touch("alpha", batch, write=is_write)
    first = parts.touch("alpha", batch[:cut], write=is_write)
    done = first.done
    if first.stopped is None:
        second = parts.touch("alpha", batch[cut:], write=is_write)
        assert second.stopped == report.stopped
        done += second.done
    assert done == report.done
    assert_same_state(whole, parts)
    again = whole.touch("alpha", batch[done:], write=is_write)
    assert (again.done, again.stopped) == (0, report.stopped)


@pytest.mark.parametrize("kind", KINDS)
@given(operations=OPERATIONS, mask=MASKS)
def test_looking_changes_nothing(kind: str, operations: list[Operation], mask: int) -> None:
    watched, alone = build(kind, hash_mask=mask), build(kind, hash_mask=mask)
    for operation in operations:
        for host in (watched, alone):
            apply(host, kind, operation)
        before = watched.state_digest(), watched.stats()
        for name, count in SIZES.items():
            watched.peek(name, np.arange(count))
            watched.pmap(name)
        watched.frames(), watched.vms(), watched.census(), watched.audit()
        assert (watched.state_digest(), watched.stats()) == before
    assert_same_state(watched, alone)


@pytest.mark.parametrize("kind", KINDS)
@given(before=OPERATIONS, after=OPERATIONS, other=OPERATIONS)
def test_a_fork_is_identical_and_independent(
    kind: str, before: list[Operation], after: list[Operation], other: list[Operation]
) -> None:
    host = build(kind, hash_mask=0xFF)
    for operation in before:
        apply(host, kind, operation)
    fork, aside, digest = host.fork(), host.fork(), host.state_digest()
    assert_same_state(fork, host)
    for operation in other:
        apply(aside, kind, operation)
    aside.power_off("beta")
    aside.power_on("delta", max="40KiB", contents=pages(kind, range(6)))
    assert host.state_digest() == fork.state_digest() == digest
    for operation in after:
        apply(host, kind, operation)
        apply(fork, kind, operation)
    assert_same_state(host, fork)
    for each in (host, fork, aside):
        each.audit()


@pytest.mark.parametrize("kind", KINDS)
@given(operations=OPERATIONS)
def test_a_quiet_pass_ends_at_the_census(kind: str, operations: list[Operation]) -> None:
    host = build(kind)
    for operation in operations:
        apply(host, kind, operation)
    quiet_pass(host)
    stats, census = host.stats(), host.census()
    assert stats["reclaimed_pages"] == census["reclaimed_pages"]
    assert stats["shared_pages"] == census["shared_pages"]
    assert stats["free_pages"] == stats["machine_pages"] - census["distinct_pages"]
    assert host.scan(max_pages_sum(host)).merged == 0
    host.audit()


@pytest.mark.parametrize("kind", KINDS)
@given(
    contents=st.lists(st.lists(PALETTE, max_size=30), min_size=1, max_size=4), seed=st.integers(0)
)
def test_one_pass_over_a_fresh_host_is_enough(
    kind: str, contents: list[list[int]], seed: int
) -> None:
    """Hand scans take every VM through exactly one pass, whatever the sizes."""
    host = small_host(128, kind, seed=seed)
    for i, numbers in enumerate(contents):
        host.power_on(
            f"vm{i}", max=f"{4 * (len(numbers) + i + 1)}KiB", contents=pages(kind, numbers)
        )
    report = host.scan(max_pages_sum(host))
    assert host.vms()["scan_passes"].tolist() == [1] * len(contents)
    assert host.vms()["scanned_pages"].tolist() == host.vms()["max_pages"].tolist()
    assert report.picked == max_pages_sum(host)
    assert host.stats()["reclaimed_pages"] == host.census()["reclaimed_pages"]


def test_hand_scans_reach_every_vm_whatever_was_scanned_before() -> None:
    """Passes made by the clock, or before a VM came, do not keep a VM waiting later."""
    host = small_host(2048)
    host.power_on("small", contents=np.arange(1, 5))
    host.power_on("big", contents=np.arange(11, 1011))
    host.advance(200)  # at equal rates: 2500 passes of the one, ten of the other
    host.write("small", [0, 1, 2, 3], [7, 7, 7, 7])
    host.scan(3 * max_pages_sum(host))
    assert host.stats()["reclaimed_pages"] == host.census()["reclaimed_pages"] == 3
    host.power_on("late", contents=np.arange(2001, 2101))
    host.write("big", [0, 1], [7, 7])
    host.scan(3 * max_pages_sum(host))
    assert host.stats()["reclaimed_pages"] == host.census()["reclaimed_pages"] == 5


@pytest.mark.parametrize("mask", [(1 << 24) - 1, 0xFFFFF, FULL_MASK])
def test_one_content_has_one_shared_frame(mask: int) -> None:
    """A hint met before the shared frame of the same content must not become a second one.

    With no bits left for the truncated hash every frame is in one chain and every hint is followed;
    the hashes themselves still differ, so nothing excuses a page that is not shared.
    """
    for seed in range(8):
        host = small_host(64, hash_mask=mask, seed=seed)
        host.power_on("vm", max="128KiB", contents=[5, 5, 6, 8, 9, 10])
        host.scan(32)  # one shared frame, then hints that stand before it in the chain
        host.write("vm", np.arange(2, 12), np.full(10, 5))
        quiet_pass(host)
        stats = host.stats()
        assert stats["ineligible_pages"] == 0
        assert (stats["shared_frames"], stats["reclaimed_pages"]) == (1, 11)
        host.audit()


@given(operations=OPERATIONS, mask=st.sampled_from([FULL_MASK >> 8, FULL_MASK << 8 & FULL_MASK]))
@pytest.mark.parametrize("kind", KINDS)
def test_the_state_digest_leaves_out_hash_values(
    kind: str, operations: list[Operation], mask: int
) -> None:
    """Bits enough to tell all pages apart give one state, whichever bits they are."""
    full, part = build(kind), build(kind, hash_mask=mask)
    for operation in operations:
        apply(full, kind, operation)
        apply(part, kind, operation)
    assert_same_state(full, part)
    assert part.stats()["false_matches"] == 0


STORY: list[Operation] = [
    ("touch", "beta", [3, 1, 4, 1, 5], True),
    ("scan", 31),
    ("write", "gamma", [(0, 1), (1, 0), (2, 256), (0, 3)]),
    ("advance", 9),
    ("touch", "alpha", [1, 2, 6], True),
    ("read", "alpha", [5, 6]),
    ("scan", 17),
]


def tell(kind: str, seed: Any) -> str:
    host = build(kind, seed=seed)
    for operation in STORY:
        apply(host, kind, operation)
    return host.state_digest()


@pytest.mark.parametrize("kind", KINDS)
def test_one_seed_one_state_in_any_process(kind: str) -> None:
    code = f"import test_laws; print(test_laws.tell({kind!r}, 11))"
    here = Path(__file__).parent
    for hash_seed in ("1", "2"):
        env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(here), str(here.parent)]),
            "PYTHONHASHSEED": hash_seed,
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            env=env,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == tell(kind, 11)


def test_the_seed_decides_the_scan_order() -> None:
    def hints_after_half_a_pass(seed: Any) -> bytes:
        host = small_host(256, seed=seed)
        host.power_on("vm", contents=np.arange(1, 201))
        host.scan(100)
        assert host.stats()["hint_frames"] == 100
        return bytes(host.pmap("vm")["hint"].tobytes())

    orders = [hints_after_half_a_pass(seed) for seed in (0, 1, 2**31, 2**64 - 1, 2**100)]
    assert len(set(orders)) == len(orders)
    sequence = np.random.SeedSequence(5).spawn(2)
    spawned = [hints_after_half_a_pass(s) for s in sequence]
    assert spawned[0] != spawned[1]
    assert spawned == [hints_after_half_a_pass(s) for s in np.random.SeedSequence(5).spawn(2)]


def test_without_a_seed_two_hosts_differ() -> None:
    digests = set()
    for _ in range(2):
        host = small_host(256, seed=None)
        host.power_on("vm", contents=np.arange(1, 201))
        host.scan(100)
        digests.add(host.pmap("vm")["hint"].tobytes())
    assert len(digests) == 2


@settings(max_examples=20)
@pytest.mark.parametrize("kind", KINDS)
@given(
    default=st.sampled_from(["none", "per-vm"]),
    salts=st.lists(st.sampled_from([None, "vm0", "red", "blue"]), min_size=2, max_size=5),
    contents=st.lists(PALETTE, min_size=1, max_size=12),
)
def test_salts_keep_domains_apart(
    kind: str, default: str, salts: list[str | None], contents: list[int]
) -> None:
    """A VM's own salt shares with no other VM, a name only among its bearers; even zero pages."""
    host = small_host(128, kind, salt=default)
    for i, salt in enumerate(salts):
        host.power_on(f"vm{i}", contents=pages(kind, contents), salt=salt)
    host.scan(max_pages_sum(host))
    maps = [set(host.pmap(f"vm{i}")["mpn"].tolist()) for i in range(len(salts))]
    for i, one in enumerate(salts):
        for j, other in enumerate(salts[:i]):
            is_one_domain = one == other and (one is not None or default == "none")
            assert bool(maps[i] & maps[j]) == is_one_domain, (i, j)
    domains = {f"own {i}" if s is None and default == "per-vm" else s for i, s in enumerate(salts)}
    assert host.stats()["used_pages"] == len(domains) * len(set(contents))
    assert host.census()["distinct_pages"] == len(domains) * len(set(contents))
    host.audit()


@given(contents=st.lists(PALETTE, max_size=30), budget=st.integers(0, 400))
def test_independent_draws_never_find_more_than_there_is(contents: list[int], budget: int) -> None:
    host = small_host(64, scan_order="draws")
    host.power_on("vm", max="128KiB", contents=pages("tokens", contents))
    assert host.scan(budget).picked == budget
    assert host.stats()["reclaimed_pages"] <= host.census()["reclaimed_pages"]
    for _ in range(40):
        host.scan(200)
    assert host.stats()["reclaimed_pages"] == host.census()["reclaimed_pages"]
