"""What sub-commands have in common: options, folders checked before the work, tables."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

import click

_PAGES_PER_MIB = 256
_WIDEST_TABLE = 1000
_Command = TypeVar("_Command", bound=Callable[..., Any])


class _PathType(click.Path):
    """Paths, but not the empty one, which would mean the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """`value` as a Path."""
        if value == "":
            self.fail("'' is empty; expected a path.", param, ctx)
        return super().convert(value, param, ctx)


PATH = _PathType(readable=False, path_type=Path)  # whoever opens it says better what is wrong

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object instead of tables."
)
"""Results for programs."""


def out_option(default: str, what: str) -> Callable[[_Command], _Command]:
    """The folder that a command writes to, and what it writes there."""
    return click.option(
        "--out",
        type=PATH,
        default=Path(default),
        show_default=True,
        metavar="DIR",
        help=f"Folder for {what}.",
    )


def tables_option(help: str, default: str | None = None) -> Callable[[_Command], _Command]:
    """Which kind of file tables are saved in, if they are."""
    return click.option(
        "--tables",
        type=click.Choice(["csv", "arrow", "parquet"]),
        default=default,
        show_default=default is not None,
        help=help,
    )


def jobs_option(what: str, most: int | None = None) -> Callable[[_Command], _Command]:
    """How much is done at a time."""
    return click.option(
        "--jobs",
        type=click.IntRange(1, most),
        metavar="N",
        help=f"{what}; as many as there are processors if not given.",
    )


def draw_without_windows() -> None:
    """To be said before anything is drawn: matplotlib fails on backends that are not there."""
    os.environ.pop("MPLBACKEND", None)


def check_folder(folder: Path, what: str) -> None:
    """Refuses a folder that cannot be written; says so before the work, not after it."""
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not existing.is_dir():
        raise click.ClickException(f"{what}: {existing} is not a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise click.ClickException(f"{what}: {existing} cannot be written to")


def check_targets(targets: Mapping[str, Path | None], sources: Sequence[Path]) -> None:
    """Refuses, before the work, files that cannot be written or that something else would lose.

    `targets` are named by their options, None where not asked for; a target may replace an ordinary
    file, but none of `sources`, no device or pipe, and not another target.
    """
    wanted = {name: path for name, path in targets.items() if path is not None}
    for name, path in wanted.items():
        what = f"{name} {path}"
        if not path.parent.exists():
            raise click.ClickException(f"{what}: there is no folder {path.parent}")
        check_folder(path.parent, what)
        if path.exists() and not path.is_file():
            found = "a folder" if path.is_dir() else "a device or pipe"
            raise click.ClickException(f"{what}: it is {found}; expected the name of a file")
        if any(_is_same(path, source) for source in sources):
            raise click.ClickException(f"{what}: it is a source, which would be lost")
    if len({path.resolve() for path in wanted.values()}) < len(wanted):
        raise click.ClickException(f"{' and '.join(wanted)}: the same file; expected two")


def _is_same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:  # one of them is not there
        return False


@contextmanager
def own_prints_on_stderr() -> Iterator[None]:
    """Has what code of the user's prints meanwhile come out on stderr: stdout is for results."""
    with redirect_stdout(sys.stderr):
        yield


@contextmanager
def own_failures_in_one_line() -> Iterator[None]:
    """As `own_prints_on_stderr`; what code of the user's raises becomes one line."""
    from esxcore.experiment import policy_failure

    try:
        with own_prints_on_stderr():
            yield
    except (Exception, SystemExit) as error:
        failure = policy_failure(error)
        if failure is None:
            raise
        raise click.ClickException(failure) from error


def remove_stale(files: Iterable[Path]) -> None:
    """Removes what a run before left where this one makes nothing, and would seem to be of it."""
    for file in files:
        if file.is_file():
            file.unlink()


def visible(text: str) -> str:
    """The text on one line: what is not printable, such as a line break in a name, is escaped."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


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
        table.add_row(Text(visible(name)), *cells, end_section=apart)
    console = Console(highlight=False, soft_wrap=True)
    # As wide as the table, whatever the terminal: rich would sooner drop names.
    free = console.options.update(max_width=_WIDEST_TABLE)
    console.width = Measurement.get(console, free, table).maximum
    # Not by rich itself, which ends the process when whoever reads along leaves.
    with console.capture() as captured:
        console.print(title, markup=False)
        console.print(table)
    console.file.write(captured.get())
    console.file.flush()
