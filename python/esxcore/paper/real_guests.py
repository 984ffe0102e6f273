"""Five real Linux guests, fleet_a: what they share as one is powered on after the other.

Their memory was taken from running virtual machines and comes with the package: which pages were
equal, and what each guest used them for.

Neighbours: `esxcore.paper.fig4` and `esxcore.paper.disco` report it beside the paper's guests.
"""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from esxcore.contents import PAGE_KINDS, ContentTrace
from esxcore.errors import DataError
from esxcore.host import Host

SECONDS = 1800
_ROOM = 1.05
FILE_KIND = next(number for number, word in PAGE_KINDS.items() if word == "file")


class Growth(NamedTuple):
    """So many guests, scanned for half an hour at the default rates; all in pages."""

    guests: int
    pages: int
    shared: int
    reclaimed: int
    zero: int
    possible: int
    """What a census says could be reclaimed."""
    by_files: int
    """What would be reclaimed if only equal pages of files were shared."""
    strays: int
    """Pages of files that are not on one machine page with those equal to them."""


def trace() -> ContentTrace:
    """Contents of all of them."""
    with as_file(files("esxcore") / "data" / "fleet_a.npz") as path:
        return ContentTrace.load(path)


def growth(contents: ContentTrace, guests: int, seed: int) -> Growth:
    """The first so many of them."""
    tokens = [contents.tokens(vm) for vm in range(guests)]
    pages = sum(map(len, tokens))
    host = Host(memory=round(_ROOM * pages), content="tokens", seed=seed, policy=None)
    vms = [host.power_on(f"guest{number + 1}", contents=each) for number, each in enumerate(tokens)]
    host.advance(SECONDS)
    stats = host.stats()
    shared, reclaimed, zero = (stats[f"{name}_pages"] for name in ("shared", "reclaimed", "zero"))
    of_files = is_of_file(contents, guests)
    contents_of_files = np.concatenate(tokens)[of_files]
    mpns = np.concatenate([host.pmap(vm)["mpn"] for vm in vms])[of_files]
    return Growth(
        guests,
        pages,
        shared,
        reclaimed,
        zero,
        host.census()["reclaimed_pages"],
        repeated(contents_of_files),
        strays(contents_of_files, mpns),
    )


def is_of_file(contents: ContentTrace, guests: int) -> NDArray[np.bool_]:
    """Which pages of the first so many guests belong to a file that is not zero there.

    Which block of which disk a page of a file came from is not in the trace. Equal ones are taken
    for the same block, which is the most that whoever watches the disk can see.
    """
    if contents.kinds is None:
        raise DataError(f"{contents.source}: array 'kind' is missing; expected what pages are for")
    pages = int(contents.vm_pages[:guests].sum())
    kinds, ids = contents.kinds[:pages], contents.ids[:pages]
    held: NDArray[np.bool_] = (kinds == FILE_KIND) & (ids != 0)
    return held


def repeated(contents: NDArray[Any]) -> int:
    """Pages beyond the first of each content."""
    return int(contents.size - np.unique(contents).size)


def strays(origins: NDArray[Any], mpns: NDArray[Any]) -> int:
    """Pages of one origin that are on other machine pages than the first of that origin."""
    pairs = np.unique(np.stack([origins.astype(np.int64), mpns.astype(np.int64)]), axis=1)
    return int(pairs.shape[1] - np.unique(origins).size)
