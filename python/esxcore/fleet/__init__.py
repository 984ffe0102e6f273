"""A census of a fleet that outgrows one machine: images are hashed where they lie, then merged.

Each image is counted by a worker that can read it, every match there compared byte by byte; what
leaves the machine are keyed hashes of its contents with their counts, under a secret of this census
alone. They are dealt out by their first bits, each share merged by some worker, and what shares
come to is added up: no machine ever holds the hashes of the fleet. Contents of two images are equal
where 128 bits of a keyed BLAKE2b are.

Neighbours: `esxcore.counting` counts an image, `esxcore.fleet.shares` are the pieces of work,
`esxcore.clusters` knows how one is reached; the command is ``esxcore census --engine dask``.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from esxcore.clusters import check_workers, is_dask
from esxcore.counting import Census
from esxcore.errors import ArgumentTypeError, ConfigError, DataError
from esxcore.extras import needed
from esxcore.findings import Content, ImageCounts
from esxcore.fleet import shares
from esxcore.fleet.shares import Image, Merged
from esxcore.images import sharing_domains

__all__ = ["fleet_census"]

Progress = Callable[[int, int], None]
"""Called with images counted and images in all."""

_SHARE_IMAGES = 4
_LEAST_SHARES, _MOST_SHARES = 4, 256


def fleet_census(
    sources: Iterable[str | os.PathLike[str]],
    client: Any,
    *,
    salt: str | Sequence[str] = "none",
    format: str | None = None,
    progress: Progress | None = None,
) -> Census:
    """Counts what sharing would be worth on images that lie on the machines of a cluster.

    Parameters
    ----------
    sources : paths
        Memory images of any format that `esxcore.census` reads, but no traces. A path is read by
        any worker; ``"host:path"`` by one on that host, by its name or address as the scheduler
        knows it.
    client : Client of dask.distributed
        The cluster.
    salt : ``"none"``, ``"per-vm"`` or a list of str
        As of `esxcore.census`; a name for each source.
    format : str, optional
        The format of all images.
    progress : callable, optional
        Called as ``progress(done, total)`` after each image.

    Returns
    -------
    Census
        As `esxcore.census` finds it on one machine, to the page; what only one machine can count,
        ``compression`` and ``large_pages``, is None, and it cannot be exported.

    Raises
    ------
    DataError
        If an image cannot be read, or no worker is on a host; the message names it.
    EngineError
        If a worker has another version of esxcore.
    ConfigError, ArgumentTypeError
        If an argument is none of these.
    MissingLibraryError
        If Dask is not installed (``esxcore[dask]``).
    """
    if not is_dask(client):
        needed("distributed", "a census of a fleet")
        raise ArgumentTypeError(
            f"client: {type(client).__name__}; expected a client of dask.distributed"
        )
    paths = _paths(sources)
    salt, domains = sharing_domains(salt, range(len(paths)))
    check_workers(client)
    placed = _placed(paths, client)
    share = min(max(_LEAST_SHARES, len(paths) // _SHARE_IMAGES), _MOST_SHARES)
    secret = secrets.token_bytes(32)
    images = _counted(client, placed, format, secret, share, progress)
    merged = _merged(client, images, domains, share)
    return _census(client, images, placed, merged, salt, format)


def _paths(sources: Any) -> list[str]:
    if isinstance(sources, (str, bytes, os.PathLike)) or not isinstance(sources, Iterable):
        raise ArgumentTypeError(f"sources: {type(sources).__name__}; expected a list of paths")
    paths = []
    for number, source in enumerate(sources):
        if not isinstance(source, (str, os.PathLike)):
            raise ArgumentTypeError(f"sources[{number}]: {type(source).__name__}; expected a path")
        paths.append(os.fsdecode(source))
    if not paths:
        raise ConfigError("sources: none; expected at least one image")
    return paths


def _placed(paths: Sequence[str], client: Any) -> list[tuple[str, str, str | None]]:
    """Each source as it is called, its path, and the host that has it, if one is named."""
    known = _hosts(client)
    placed: list[tuple[str, str, str | None]] = []
    for source in paths:
        host, colon, path = source.partition(":")
        if not colon or "/" in host or (os.path.exists(source) and host not in known):
            placed.append((source, source, None))
        elif host in known:
            placed.append((source, path, host))
        else:
            raise DataError(
                f"{source}: no worker is on host {host!r}; expected one of {', '.join(known)}"
            )
    return placed


def _hosts(client: Any) -> list[str]:
    """Hosts of the workers, by the names and addresses under which work can be given to them."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return sorted({str(worker["host"]) for worker in workers})


def _counted(
    client: Any,
    placed: Sequence[tuple[str, str, str | None]],
    format: str | None,
    secret: bytes,
    share: int,
    progress: Progress | None,
) -> list[Image]:
    """Has each image counted where it lies; its hashes stay there until they are merged."""
    distributed = needed("distributed", "a census of a fleet")
    futures = [
        client.submit(
            shares.count, path, format, secret, share, pure=False, workers=host and [host]
        )
        for _, path, host in placed
    ]
    found: list[Image] = [None] * len(futures)  # type: ignore[list-item]
    facts = [
        client.submit(shares.facts, future, pure=False, key=f"facts-{future.key}")
        for future in futures
    ]
    by_key = {fact.key: place for place, fact in enumerate(facts)}
    try:
        for done, fact in enumerate(distributed.as_completed(facts), 1):
            place = by_key[fact.key]
            answer = fact.result()
            if isinstance(answer, str):
                raise DataError(_named(placed[place], answer))
            found[place] = Image(futures[place], *answer)
            if progress is not None:
                progress(done, len(futures))
    except distributed.KilledWorker as error:
        raise DataError(f"a census of a fleet: workers died of an image: {error}") from error
    except BaseException:
        client.cancel([*futures, *facts])
        raise
    return found


def _named(placed: tuple[str, str, str | None], problem: str) -> str:
    """What a worker says of a path, said of the source."""
    source, path, host = placed
    return problem if host is None else problem.replace(path, source, 1)


def _merged(client: Any, images: Sequence[Image], domains: Sequence[int], share: int) -> Merged:
    """Has each share merged by some worker, and adds up what they come to."""
    merged = []
    for number in range(share):
        parts = [client.submit(shares.part, image.hashes, number, pure=False) for image in images]
        merged.append(client.submit(shares.merge, parts, list(domains), pure=False))
    sums: Merged = client.submit(shares.add, merged, pure=False).result()
    return sums


def _census(
    client: Any,
    images: Sequence[Image],
    placed: Sequence[tuple[str, str, str | None]],
    merged: Merged,
    salt: str | list[str],
    format: str | None,
) -> Census:
    rows = [
        ImageCounts(
            **image.counts, path=source, inter_reclaimed_pages=0, common_pages=common,
            facts=image.facts,
        )
        for image, (source, _, _), common in zip(images, placed, merged.common_pages, strict=True)
    ]  # fmt: skip
    pages = sum(row.pages for row in rows)
    reclaimed = pages - merged.distinct
    intra = sum(row.intra_reclaimed_pages for row in rows)
    return Census(
        pages=pages,
        zero_pages=merged.zero_pages,
        distinct_pages=merged.distinct,
        shared_pages=merged.shared_pages,
        reclaimed_pages=reclaimed,
        zero_reclaimed_pages=merged.zero_reclaimed,
        intra_reclaimed_pages=intra,
        inter_reclaimed_pages=reclaimed - merged.zero_reclaimed - intra,
        images=rows,
        common_contents=np.array(merged.common_contents, dtype=np.int64),
        top=[_content(client, placed, row, format) for row in merged.top],
        kinds=None,
        balloon=None,
        compression=None,
        large_pages=None,
        verify="keyed",
        salt=salt,
    )


def _content(
    client: Any,
    placed: Sequence[tuple[str, str, str | None]],
    row: shares.Row,
    format: str | None,
) -> Content:
    """One of the contents that save most; whoever has it says how it begins."""
    source, path, host = placed[row.image]
    if row.is_zero:
        begins, uniform = "00" * 16, True
    else:
        future = client.submit(
            shares.beginning, path, format, row.page, pure=False, workers=host and [host]
        )
        begins, uniform = future.result()
    return Content(row.pages, row.reclaimed, row.images, source, row.page, begins, uniform)
