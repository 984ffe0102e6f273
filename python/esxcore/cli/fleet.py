"""``esxcore census --engine dask``: a cluster is reached and given the images, with progress."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from esxcore.counting import Census
    from esxcore.fleet import Progress


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
    with dask_client(scheduler, processes) as client, _progress_bar() as progress:
        return fleet_census(sources, client, salt=salt, format=format, progress=progress)


@contextmanager
def _progress_bar() -> Iterator[Progress | None]:
    """Images done on stderr, or None where nobody is watching."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    text = TextColumn("{task.completed:.0f} of {task.total:.0f} images")
    columns = (text, BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("census", total=1)
        yield lambda done, total: bar.update(task, completed=done, total=total)
