"""Memory images for tests of the census, and a census in dicts: slow, obvious, the oracle.

To the oracle a page is anything that can be hashed: its bytes, or a number that stands for them.
`ZERO` is the zero page, whatever the others are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import esxcore
from esxcore.contents import page_bytes

PAGE_SIZE = 4096
LARGE = 512  # pages in a large page of 2 MiB
TOP = 10
ZERO = bytes(PAGE_SIZE)
COUNTS = ("pages", "zero_pages", "distinct_pages", "shared_pages", "reclaimed_pages")
PARTS = ("zero_reclaimed_pages", "intra_reclaimed_pages", "inter_reclaimed_pages")


def write_sparse(path: Path, tokens: NDArray[Any]) -> None:
    """Writes a raw image of the pages that tokens stand for; zero pages become holes."""
    used = np.flatnonzero(tokens)
    with path.open("wb") as file:
        file.truncate(tokens.size * PAGE_SIZE)
        for run in np.split(used, np.flatnonzero(np.diff(used) > 1) + 1):
            if run.size:
                file.seek(int(run[0]) * PAGE_SIZE)
                file.write(page_bytes(tokens[run]).tobytes())


@dataclass(frozen=True)
class Guest:
    """What an image holds, by the oracle: pages, domain, and by page what it is used for."""

    pages: Sequence[Hashable]
    domain: Hashable = 0
    kinds: Sequence[str] = ()


def count(pages: Iterable[Hashable]) -> dict[str, int]:
    """Pages of one domain by content."""
    copies = Counter(pages)
    total = sum(copies.values())
    found = (
        total,
        copies[ZERO],
        len(+copies),
        sum(n for n in copies.values() if n > 1),
        sum(n - 1 for n in copies.values() if n > 0),
    )
    return dict(zip(COUNTS, found, strict=True))


def count_all(guests: Sequence[Guest]) -> dict[str, int]:
    """Pages of all domains by content, and the three parts of what is reclaimed."""
    domains: dict[Hashable, list[Hashable]] = {}
    for guest in guests:
        domains.setdefault(guest.domain, []).extend(guest.pages)
    each = [count(pages) for pages in domains.values()]
    found = {name: sum(one[name] for one in each) for name in COUNTS}
    zero = sum(max(one["zero_pages"] - 1, 0) for one in each)
    intra = sum(n - 1 for g in guests for page, n in Counter(g.pages).items() if page != ZERO)
    holders = Counter(key for guest in guests for key in _keys(guest))
    inter = sum(n - 1 for n in holders.values())
    return found | dict(zip(PARTS, (zero, intra, inter), strict=True))


def _keys(guest: Guest) -> set[tuple[Hashable, Hashable]]:
    """The contents of a guest, zero not among them."""
    return {(guest.domain, page) for page in guest.pages if page != ZERO}


def common(guests: Sequence[Guest]) -> tuple[list[list[int]], list[int]]:
    """Contents that two have, and pages of each whose content another has."""
    keys = [_keys(guest) for guest in guests]
    matrix = [[len(one & other) for other in keys] for one in keys]
    pages = []
    for place, guest in enumerate(guests):
        others = set().union(*keys[:place], *keys[place + 1 :])
        pages.append(sum((guest.domain, page) in others for page in guest.pages))
    return matrix, pages


def top(guests: Sequence[Guest]) -> list[tuple[int, int, int, int, int]]:
    """Pages, reclaimed pages, images, and where first met, of the contents that save most."""
    pages: Counter[Hashable] = Counter()
    places: dict[Hashable, list[tuple[int, int]]] = {}
    zero_domains = {guest.domain for guest in guests if ZERO in guest.pages}
    for image, guest in enumerate(guests):
        for at, page in enumerate(guest.pages):
            key = ZERO if page == ZERO else (guest.domain, page)
            pages[key] += 1
            places.setdefault(key, []).append((image, at))
    kept = {key: len(zero_domains) if key == ZERO else 1 for key in pages}
    saving = [key for key in pages if pages[key] > kept[key]]
    saving.sort(key=lambda key: (kept[key] - pages[key], key != ZERO, places[key][0]))
    return [
        (pages[key], pages[key] - kept[key], len({image for image, _ in places[key]}))
        + places[key][0]
        for key in saving[:TOP]
    ]


def by_kind(guests: Sequence[Guest]) -> dict[str, dict[str, int]]:
    """Pages, zero pages and pages reclaimed by what they are used for; the first met is kept."""
    seen: set[tuple[Hashable, Hashable]] = set()
    rows: dict[str, Counter[str]] = {}
    for guest in guests:
        kinds = guest.kinds or ["unknown"] * len(guest.pages)
        for page, kind in zip(guest.pages, kinds, strict=True):
            row = rows.setdefault(kind, Counter(pages=0, zero_pages=0, reclaimed_pages=0))
            row["pages"] += 1
            row["zero_pages"] += page == ZERO
            row["reclaimed_pages"] += (guest.domain, page) in seen
            seen.add((guest.domain, page))
    return {kind: dict(row) for kind, row in rows.items()}


def without_free(guests: Sequence[Guest]) -> dict[str, int]:
    """The count of all pages but free ones."""
    rest = []
    for guest in guests:
        kinds = guest.kinds or ["unknown"] * len(guest.pages)
        pages = [p for p, kind in zip(guest.pages, kinds, strict=True) if kind != "free"]
        rest.append(Guest(pages, guest.domain))
    found = count_all(rest)
    return {name: found[name] for name in COUNTS}


def kept_large(guests: Sequence[Guest]) -> tuple[int, int]:
    """Pages in large pages, and pages reclaimed if these are kept whole."""
    seen: set[Hashable] = set()
    pages, reclaimed, small = 0, 0, []
    for guest in guests:
        whole = len(guest.pages) // LARGE * LARGE
        for start in range(0, whole, LARGE):
            block = (guest.domain, tuple(guest.pages[start : start + LARGE]))
            reclaimed += LARGE if block in seen else 0
            seen.add(block)
        pages += whole
        small.append(Guest(guest.pages[whole:], guest.domain))
    return pages, reclaimed + count_all(small)["reclaimed_pages"]


def agree(found: esxcore.Census, guests: Sequence[Guest]) -> None:
    """The census says exactly what the oracle says, in every figure that is a count."""
    wanted = count_all(guests)
    assert {name: getattr(found, name) for name in COUNTS + PARTS} == wanted
    assert sum(wanted[name] for name in PARTS) == wanted["reclaimed_pages"]
    matrix, pages = common(guests)
    assert found.common_contents.tolist() == matrix
    assert [image.common_pages for image in found.images] == pages
    for image, guest in zip(found.images, guests, strict=True):
        alone = count_all([guest])
        assert {name: getattr(image, name) for name in COUNTS + PARTS} == alone
    paths = [image.path for image in found.images]
    tops = [(c.pages, c.reclaimed_pages, c.images, paths.index(c.path), c.page) for c in found.top]
    assert tops == top(guests)
    large_pages, large_reclaimed = kept_large(guests)
    large = found.large_pages
    assert (large.pages, large.reclaimed_pages) == (large_pages, large_reclaimed)
    assert large.lost_pages == wanted["reclaimed_pages"] - large_reclaimed
    assert (found.kinds is None) == (found.balloon is None) == (not any(g.kinds for g in guests))
    if found.kinds is not None and found.balloon is not None:
        rows = {row.kind: asdict(row) for row in found.kinds}
        assert rows == {kind: {"kind": kind} | row for kind, row in by_kind(guests).items()}
        assert asdict(found.balloon.rest) == without_free(guests)
        assert found.balloon.free_pages == by_kind(guests).get("free", {"pages": 0})["pages"]
