"""``esxcore run``: live through a scenario, print what came of it, save a recording and a picture.

Everything is computed before anything is written, and both files appear whole at the end, so an
interrupted or failing run leaves nothing behind. Results go to stdout, progress to stderr and only
to a terminal.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.table import Table

    from esxcore.experiment import Progress
    from esxcore.recording import Recording, TableRow

_PAGES_PER_MIB = 256
_WIDEST_TABLE = 1000


class _PathType(click.Path):
    """Paths, but not the empty one, which would mean the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """`value` as a Path."""
        if value == "":
            self.fail("'' is empty; expected a path.", param, ctx)
        return super().convert(value, param, ctx)


_PATH = _PathType(readable=False, path_type=Path)  # whoever opens it says better what is wrong


@click.command("run", short_help="Run a scenario: a table, a recording and a picture.")
@click.argument("scenario", required=False, type=_PATH, metavar="[SCENARIO.toml]")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    metavar="N",
    help="Use this seed in place of the scenario's.",
)
@click.option(
    "--out",
    type=_PATH,
    default=Path("esxcore-run"),
    show_default=True,
    metavar="DIR",
    help="Folder for the recording and the picture.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
def command(scenario: Path | None, seed: int | None, out: Path, as_json: bool) -> None:
    """Runs SCENARIO.toml, or the packaged example if none is given.

    The example is five real Linux guests of 256 MiB (two Python jobs, Redis, SQLite, nginx) on one
    host, two of them at work. It prints how much memory sharing equal pages reclaimed and how near
    that came to what the contents allow, and saves recording.npz and sharing.png.

    \b
    Examples:
      esxcore run
      esxcore run my.toml --seed 11 --out results
      esxcore run my.toml --json | python -m json.tool
    """  # noqa: D301 - \b is how click is told not to wrap a block
    from esxcore.experiment import run
    from esxcore.scenario import Scenario

    _check_folder(out)
    loaded = Scenario.from_toml(scenario) if scenario else Scenario.builtin()
    with _progress_bar() as progress:
        recording = run(loaded, seed=seed, progress=progress)
    name = scenario.stem if scenario else "fleet_a"
    files = _save(recording, name, out)
    if as_json:
        click.echo(json.dumps(_summary(recording, name, files)))
    else:
        _print_report(recording, name, files)


def _check_folder(out: Path) -> None:
    """Refuses a folder that cannot be written; says so before the work, not after it."""
    existing = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not existing.is_dir():
        raise click.ClickException(f"--out {out}: {existing} is not a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise click.ClickException(f"--out {out}: {existing} cannot be written to")


@contextmanager
def _progress_bar() -> Iterator[Progress | None]:
    """A progress bar on stderr while the block runs, or None where nobody is watching."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.completed:.0f} of {task.total:.0f} virtual seconds"),
        BarColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("run", total=1)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _save(recording: Recording, name: str, out: Path) -> dict[str, Path]:
    """Writes recording and picture, both or neither; their paths by what they are."""
    os.environ.pop("MPLBACKEND", None)  # no window is opened, and matplotlib fails on bad ones
    from esxcore.plot import draw, png_bytes

    title = f"Page sharing in {name}: {_described(recording)}"
    contents = {"recording": recording.to_bytes(), "picture": png_bytes(draw(recording, title))}
    files = {"recording": out / "recording.npz", "picture": out / "sharing.png"}
    _write(out, {files[kind]: content for kind, content in contents.items()})
    return files


def _write(out: Path, files: dict[Path, bytes]) -> None:
    """Writes the files into `out`; if that fails, folders that were not there before go again."""
    from esxcore.datafile import write_whole

    new_folders = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_whole(files)
    except BaseException:
        for folder in new_folders:
            with suppress(OSError):
                folder.rmdir()
        raise


def _described(recording: Recording) -> str:
    vms = len(recording.vm_names)
    machines = "1 virtual machine" if vms == 1 else f"{vms} virtual machines"
    memory = recording.host["machine_pages"][-1] / _PAGES_PER_MIB
    return f"{machines} on {memory:,.0f} MiB for {_time_text(recording.time_s[-1])}"


def _summary(recording: Recording, name: str, files: dict[str, Path]) -> dict[str, Any]:
    """The result as plain JSON values; pages, fractions and virtual seconds."""
    *vms, host = recording.table()
    peak = recording.sharing_peak()
    possible = int(recording.census["reclaimed_pages"][-1])
    return {
        "esxcore": recording.version,
        "scenario": name,
        "seed": recording.seed,
        "duration_s": float(recording.time_s[-1]),
        "samples": len(recording.time_s),
        "host": host._asdict(),
        "vms": [
            row._asdict() | {"stalled_s": int(stalled)}
            for row, stalled in zip(vms, recording.vms["stalled_s"][-1], strict=True)
        ],
        "sharing": {
            "possible_pages": possible,
            "fraction": host.reclaimed_pages / possible if possible else None,
            "peak_fraction": peak.fraction if peak else None,
            "peak_time_s": peak.time_s if peak else None,
        },
        "files": {kind: str(path) for kind, path in files.items()},
    }


def _print_report(recording: Recording, name: str, files: dict[str, Path]) -> None:
    from rich.console import Console
    from rich.measure import Measurement

    console = Console(highlight=False, soft_wrap=True)
    table = _table(recording.table())
    # As wide as the table, whatever the terminal: rich would sooner drop the names of the VMs.
    free = console.options.update(max_width=_WIDEST_TABLE)
    console.width = Measurement.get(console, free, table).maximum
    console.print(
        f"{name}: {_described(recording)}, seed {recording.seed}; sizes in MiB",
        markup=False,
    )
    console.print(table)
    console.print(_sharing_text(recording), markup=False)
    for vm, stalled in zip(recording.vm_names, recording.vms["stalled_s"][-1], strict=True):
        if stalled:
            console.print(
                f"{vm} stood still for {_time_text(stalled)}: no machine page was free",
                markup=False,
            )
    for kind, path in files.items():
        console.print(f"{kind + ':':<10} {path}", markup=False)


def _table(rows: tuple[TableRow, ...]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 0, 0, 1))
    table.add_column("", min_width=8, max_width=60, overflow="fold")
    for heading in ("size", "resident", "shared", "consumed", "reclaimed", "zero", "COW\nbreaks"):
        table.add_column(heading, justify="right", no_wrap=True)
    for position, row in enumerate(rows):
        sizes = (_mib_text(pages) for pages in row[1:-1])
        last_vm = position == len(rows) - 2
        table.add_row(Text(row.name), *sizes, f"{row.cow_breaks:,}", end_section=last_vm)
    return table


def _sharing_text(recording: Recording) -> str:
    possible = int(recording.census["reclaimed_pages"][-1])
    reclaimed = int(recording.host["reclaimed_pages"][-1])
    peak = recording.sharing_peak()
    if peak is None:
        return "No two resident pages were ever equal: there was nothing to share."
    share = _percent_text(reclaimed / possible) if possible else "all"
    return (
        f"Sharing reclaims {_mib_text(reclaimed)} MiB: {share} of the {_mib_text(possible)} MiB "
        f"that the resident contents allow.\nIt came nearest after {_time_text(peak.time_s)}: "
        f"{_percent_text(peak.fraction)} of {_mib_text(peak.possible_pages)} MiB."
    )


def _mib_text(pages: float) -> str:
    return f"{pages / _PAGES_PER_MIB:,.1f}"


def _percent_text(fraction: float) -> str:
    """A fraction in percent, cut and not rounded: 100 % is said of all and nothing less."""
    return f"{math.floor(fraction * 10_000) / 100:.2f} %"


def _time_text(seconds: float) -> str:
    """Virtual time in the units of scenario files: ``90 s`` is ``1 min 30 s``."""
    minutes, rest = divmod(round(seconds), 60)
    parts = ((minutes, "min"), (rest, "s"))
    return " ".join(f"{value} {unit}" for value, unit in parts if value) or "0 s"
