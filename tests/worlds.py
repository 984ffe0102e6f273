"""Small hosts, pages and operations that the tests build their worlds from.

Both content kinds are written the same way: a *page number* ``n`` of the palette stands for the
token ``n`` on a token host and for a 4 KiB page on a byte host. ``n = 0`` is the zero page. Small
numbers make pages of one byte that is not zero: at the head, in the middle or at the very end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import esxcore

KINDS = ("tokens", "bytes")
PAGE_SIZE = 4096
FULL_MASK = 2**64 - 1
_PLACES = (0, PAGE_SIZE - 1, 2048, 8, 4088)


def size(pages: int) -> str:
    """A size in pages as text: small hosts must not look like a slip of units."""
    return f"{4 * pages}KiB"


def dividing_host(kind: str = "tokens", **options: Any) -> esxcore.Host:
    """100 pages, two VMs of 40 with min 20, 50 pages left to promise."""
    host = esxcore.Host(memory=size(100), content=kind, **({"seed": 1} | options))
    for name in ("web", "db"):
        host.power_on(name, max=size(40), overhead=2)
    return host


def small_host(pages: int, kind: str = "tokens", **options: Any) -> esxcore.Host:
    options.setdefault("seed", 1)
    return esxcore.Host(memory=size(pages), content=kind, policy=None, **options)


def page(kind: str, n: int) -> int | bytes:
    """The palette's page ``n`` as the oracle holds it."""
    return n if kind == "tokens" else _byte_pages([n])[0].tobytes()


def pages(kind: str, numbers: Iterable[int]) -> NDArray[Any]:
    """Palette pages as ``power_on`` and ``write`` take them."""
    numbers = list(numbers)
    return np.array(numbers, dtype=np.uint64) if kind == "tokens" else _byte_pages(numbers)


def _byte_pages(numbers: Sequence[int]) -> NDArray[np.uint8]:
    out = np.zeros((len(numbers), PAGE_SIZE), dtype=np.uint8)
    for row, n in zip(out, numbers, strict=True):
        place = _PLACES[n % len(_PLACES)]
        if n <= 255:
            row[place] = n
        else:
            start = min(place, PAGE_SIZE - 8)
            row[start : start + 8] = np.array([n], dtype="<u8").view(np.uint8)
    return out


def seen(kind: str, values: NDArray[Any]) -> list[int | bytes]:
    """What ``read`` or ``peek`` of a batch returned, as the oracle compares it."""
    if kind == "tokens":
        assert values.dtype == np.uint64
        assert values.ndim == 1
        return [int(value) for value in values]
    assert values.dtype == np.uint8
    assert values.shape == (len(values), PAGE_SIZE)
    return [row.tobytes() for row in values]


def max_pages_sum(host: esxcore.Host) -> int:
    return int(np.sum(host.vms()["max_pages"]))


def quiet_pass(host: esxcore.Host, passes: int = 2) -> None:
    """Scans until every VM has ended ``passes`` more: two hold a whole one, wherever it began."""
    goal = np.asarray(host.vms()["scan_passes"]) + passes
    for _ in range(64):
        if np.all(np.asarray(host.vms()["scan_passes"]) >= goal):
            return
        host.scan(max_pages_sum(host))
    raise AssertionError("hand scans starve a VM")


def same(one: Any, other: Any) -> bool:
    """Whether two answers of a host are the same, arrays and mappings of arrays included."""
    if isinstance(one, np.ndarray):
        return (
            isinstance(other, np.ndarray)
            and one.dtype == other.dtype
            and one.shape == other.shape
            and bool(np.all(one == other))
        )
    if hasattr(one, "keys"):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


def assert_same_state(one: esxcore.Host, other: esxcore.Host) -> None:
    """Two hosts that nobody could tell apart, hash values and chain order left out."""
    assert one.state_digest() == other.state_digest()
    assert one.stats() == other.stats()
    assert same(one.vms(), other.vms())
    assert one.now == other.now
    for name in map(str, one.vms()["name"]):
        assert same(one.pmap(name), other.pmap(name))
        everything = np.arange(len(one.pmap(name)["state"]))
        assert same(one.peek(name, everything), other.peek(name, everything))
