"""``esxcore census --engine dask``: a cluster is reached and given the images, with progress."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from esxcore.cli.progress import counted

if TYPE_CHECKING:
    from esxcore.counting import Census


def counted_by_dask(
    sources: Sequence[Path],
    scheduler: str | None,
    processes: int | None,
    salt: str | list[str],
    format: str | None,
) -> Census:
    """The census of images by the workers of a cluster, or of one of this machine."""
    from esxcore.clusters import dask_client
    from esxcore.fleet import fleet_census

    logging.getLogger("distributed").setLevel(logging.ERROR)  # what goes wrong is told in one line
    with dask_client(scheduler, processes) as client, counted("images") as progress:
        return fleet_census(sources, client, salt=salt, format=format, progress=progress)
