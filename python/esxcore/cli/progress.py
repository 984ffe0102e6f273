"""Progress bars of all sub-commands: on stderr while something goes on, if that is a terminal.

A bar is told by its columns, in words: ``"bar"``, ``"left"`` (time left by the speed so far),
``"bytes"`` and ``"speed"``; everything else is text in which rich fills in the task.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

Show = Callable[..., None]
"""Called as ``show(done, total, **fields)``."""


def counted(noun: str) -> AbstractContextManager[Show | None]:
    """A bar that counts, such as *runs*, with the time left."""
    return shown(f"{{task.completed:.0f}} of {{task.total:.0f}} {noun}", "bar", "left")


@contextmanager
def shown(*columns: str, total: float | None = 1, **fields: Any) -> Iterator[Show | None]:
    """A bar while the block runs; None where nobody is watching.

    Parameters
    ----------
    columns : str
        What it has, from left to right.
    total : float or None
        How much there is to do, as far as that is known before it begins.
    fields
        What text columns name as ``{task.fields[...]}``, or ``description``; `Show` changes them.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    made = [_column(column) for column in columns]
    with Progress(*made, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(fields.pop("description", ""), total=total, **fields)

        def show(done: float, total: float, **changed: Any) -> None:
            bar.update(task, completed=done, total=total, **changed)

        yield show


def _column(word: str) -> ProgressColumn:
    from rich import progress

    kinds: dict[str, Callable[[], ProgressColumn]] = {
        "bar": progress.BarColumn,
        "left": progress.TimeRemainingColumn,
        "bytes": partial(progress.DownloadColumn, binary_units=True),
        "speed": progress.TransferSpeedColumn,
    }
    return kinds[word]() if word in kinds else progress.TextColumn(word)
