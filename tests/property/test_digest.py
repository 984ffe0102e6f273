"""What no guest can forge, and what a digest never misses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import esxcore
from worlds import KINDS, pages, small_host

SEEDS = range(6)


def marks(seed: int) -> set[bytes]:
    """How the pages begin that guests on a byte host give fresh content."""
    host = small_host(32, "bytes", seed=seed)
    for name in ("web", "db"):
        host.power_on(name, max="32KiB")
        host.touch(name, np.arange(8), write=True)
    rows = np.concatenate([host.peek(name, np.arange(8)) for name in ("web", "db")])
    assert len({row[:16].tobytes() for row in rows}) == len(rows)
    return {row[:8].tobytes() for row in rows}


def test_fresh_content_begins_with_a_secret_of_the_host() -> None:
    """A guest that has not seen the mark cannot write it; only the seed tells."""
    seen = [marks(seed) for seed in SEEDS]
    assert all(len(one) == 1 for one in seen)
    assert len(set.union(*seen)) == len(SEEDS)
    assert bytes(8) not in set.union(*seen)
    assert marks(3) == seen[3]


def test_a_mark_is_not_the_seed_itself() -> None:
    for seed, mark in ((n, marks(n).pop()) for n in SEEDS):
        number = int.from_bytes(mark, "little")
        assert number.bit_count() > 8, "small numbers are what guests write"
        assert number != seed


def test_content_that_looks_fresh_on_another_host_is_shared_with_none_here() -> None:
    """Pages copied from a host of another seed differ from all that are made here."""
    there, here = (small_host(32, "bytes", seed=seed) for seed in (1, 2))
    for host in (there, here):
        host.power_on("web", max="32KiB")
        host.touch("web", np.arange(8), write=True)
    here.power_on("forger", contents=there.peek("web", np.arange(8)))
    here.scan(32)
    assert here.stats()["merged_pages"] == 0
    assert here.census()["distinct_pages"] == 16


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", [0, 1, 7])
def test_the_digest_sees_each_page(kind: str, place: int) -> None:
    digests = set()
    for number in (5, 6):
        numbers = [1, 2, 3, 4, 1, 2, 3, 4]
        numbers[place] = number
        host = small_host(32, kind)
        host.power_on("web", contents=pages(kind, numbers))
        digests.add(host.state_digest())
    assert len(digests) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_the_digest_follows_each_kind_of_call(kind: str) -> None:
    """Each call changes one thing or another; peeking and looking change nothing."""
    host = small_host(64, kind)
    web = host.power_on("web", max="64KiB", contents=pages(kind, [1, 1, 2, 3]))
    digests = [host.state_digest()]
    calls: tuple[Callable[[], object], ...] = (
        lambda: web.touch(0),
        lambda: web.touch(0, write=True),
        lambda: web.read(3),
        lambda: web.write(3, pages(kind, [3])[0]),
        lambda: host.scan(1),
        lambda: host.advance(0.25),
        lambda: host.power_on("db", max="32KiB"),
        lambda: host.power_off("db"),
        lambda: host.advance(1),
    )
    for call in calls:
        call()
        digests.append(host.state_digest())
    assert len(set(digests)) == len(digests)
    _look(host)
    assert host.state_digest() == digests[-1]


def _look(host: esxcore.Host) -> None:
    host.peek("web", np.arange(16))
    host.census()
    host.audit()
    host.vms()
    host.pmap("web")
    host.frames()
    host.stats()
    host.fork().scan(5)
