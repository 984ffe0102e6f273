"""What sub-commands have in common: paths as options, folders checked before the work, tables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

_PAGES_PER_MIB = 256
_WIDEST_TABLE = 1000


class _PathType(click.Path):
    """Paths, but not the empty one, which would mean the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """`value` as a Path."""
        if value == "":
            self.fail("'' is empty; expected a path.", param, ctx)
        return super().convert(value, param, ctx)


PATH = _PathType(readable=False, path_type=Path)  # whoever opens it says better what is wrong


def check_folder(folder: Path, what: str) -> None:
    """Refuses a folder that cannot be written; says so before the work, not after it."""
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not existing.is_dir():
        raise click.ClickException(f"{what}: {existing} is not a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise click.ClickException(f"{what}: {existing} cannot be written to")


def mib_text(pages: float) -> str:
    """A number of pages in MiB, with one digit."""
    return f"{pages / _PAGES_PER_MIB:,.1f}"


def print_table(
    title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], last: int = 0
) -> None:
    """Prints a table as wide as it needs: names to the left, numbers to the right.

    `last` rows at the end are set apart.
    """
    from rich import box
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 0, 0, 1))
    table.add_column("", min_width=8, max_width=60, overflow="fold")
    for heading in headings[1:]:
        table.add_column(heading, justify="right", no_wrap=True)
    for position, (name, *cells) in enumerate(rows):
        apart = last > 0 and position == len(rows) - last - 1
        table.add_row(Text(name), *cells, end_section=apart)
    console = Console(highlight=False, soft_wrap=True)
    # As wide as the table, whatever the terminal: rich would sooner drop names.
    free = console.options.update(max_width=_WIDEST_TABLE)
    console.width = Measurement.get(console, free, table).maximum
    console.print(title, markup=False)
    console.print(table)
