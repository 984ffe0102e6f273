"""``esxcore sweep``: a study of many runs, on this machine or a cluster, which can be resumed.

Rows are in the ledger as they are done; tables and picture are written when all are. Results go to
stdout, sizes and progress to stderr.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from esxcore.cli import INTERRUPTED
from esxcore.cli.options import (
    PATH,
    check_folder,
    check_targets,
    draw_without_windows,
    jobs_option,
    json_option,
    out_option,
    own_prints_on_stderr,
    print_table,
    remove_stale,
    tables_option,
)
from esxcore.cli.progress import Show, shown

if TYPE_CHECKING:
    from esxcore.study import Study, SweepInterrupted, SweepResult
    from esxcore.study.engines import Engine

_SHOWN = ("ops_per_s", "stall_s", "swapped_mib", "fairness", "churn", "worst_slowdown")
_DRAWN = ("ops_per_s", "stall_s")
_COLUMNS = (
    "{task.completed:.0f} of {task.total:.0f} runs",
    "bar",
    "{task.fields[left]}",
)
_MOST_SHOWN = 60  # rows of the table
_MOST_LINES = 20  # of the picture


@click.command("sweep", short_help="Run a study: fields of a scenario x policies x seeds.")
@click.argument("study", type=PATH, metavar="STUDY.toml")
@click.option(
    "--engine",
    type=click.Choice(["loky", "dask", "ray"]),
    default="loky",
    show_default=True,
    help="Who makes the runs: processes of this machine, Dask or Ray.",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Scheduler of a cluster of Dask or Ray, such as tcp://host:8786; one of this machine is"
    " started if not given.",
)
@jobs_option("Processes of this machine")
@out_option("esxcore-sweep", "the ledger, the tables and the picture")
@click.option(
    "--ledger",
    type=PATH,
    metavar="FILE",
    help="SQLite file for the rows, in place of sweep.sqlite in that folder.",
)
@click.option("--resume", is_flag=True, help="Go on with a ledger that has rows of this study.")
@click.option("--yes", is_flag=True, help="Confirm a study of more than 10,000 runs.")
@tables_option("Which kind of file the rows are saved in.", default="csv")
@json_option
def command(  # noqa: PLR0913  # click gives options one by one
    study: Path,
    engine: str,
    scheduler: str | None,
    jobs: int | None,
    out: Path,
    ledger: Path | None,
    resume: bool,
    yes: bool,
    tables: str,
    as_json: bool,
) -> None:
    """Runs a scenario for each combination of the fields, policies and seeds of STUDY.toml.

    \b
    A study:
      scenario = "lab.toml"
      policies = ["esx2002", "proportional"]
      seeds = 3
      [grid]
      "policy.tax_rate" = [0, 0.25, 0.5, 0.75]
      "vms.busy.max" = ["256MiB", "300MiB"]

    The scenario may also be a table [scenario] of the study itself. Each run is measured
    (operations a second, stalls, fairness, what was swapped) and its row is in the ledger as soon
    as it is done: after Ctrl-C, a crash or a lost worker, --resume goes on with what is missing.
    The rows are the same on each engine. Needs esxcore[sweep], esxcore[dask] or esxcore[ray]; with
    --jobs 1 nothing.

    \b
    Examples:
      esxcore sweep study.toml
      esxcore sweep study.toml --resume
      esxcore sweep study.toml --engine dask --scheduler tcp://head:8786 --tables parquet
    """  # noqa: D301 - \b is how click is told not to wrap a block
    from esxcore.study import LIMIT, SweepInterrupted
    from esxcore.study.engines import engine_of
    from esxcore.study.files import read_study
    from esxcore.study.grid import check_size
    from esxcore.tables import writer

    check_folder(out, f"--out {out}")
    if ledger is not None and ledger.parent.resolve() != out.resolve():  # that is made
        check_targets({"--ledger": ledger}, [study])
    writer(tables)  # what it needs and is not there is said before the runs
    loaded = read_study(study)
    check_size(loaded, None if yes else LIMIT)
    by = engine_of(engine, None, scheduler, jobs)
    click.echo(f"{study}: {loaded.described()}", err=True)
    try:
        result, path = _swept(loaded, by, out, ledger, resume)
    except SweepInterrupted as interrupted:
        raise _told(interrupted) from None
    files = _save(result, study.stem, out, tables) | {"ledger": path}
    if as_json:
        click.echo(json.dumps(_summary(result, files), allow_nan=False))
    else:
        _print_report(result, study.stem, files)


def _swept(
    study: Study, by: Engine, out: Path, ledger: Path | None, resume: bool
) -> tuple[SweepResult, Path]:
    from esxcore.study.driver import drive
    from esxcore.study.ledger import Ledger

    provenance = study.provenance()  # also checks each point, before a folder is made
    path = out / "sweep.sqlite" if ledger is None else ledger
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        Ledger(path, provenance, resume) as book,
        shown(*_COLUMNS, left="") as show,
        own_prints_on_stderr(),
    ):
        return drive(study, by, book, show and _with_time_left(show)), path


def _told(interrupted: SweepInterrupted) -> click.exceptions.Exit:
    """Ctrl-C in one line: what is kept, and how to go on."""
    result = interrupted.result
    kept = f"{len(result)} of {len(result.rows)} rows are in {interrupted.ledger}"
    click.echo(f"esxcore: interrupted; {kept}: the same command with --resume goes on", err=True)
    return click.exceptions.Exit(INTERRUPTED)


def _with_time_left(show: Show) -> Callable[[int, int], None]:
    begin, told = time.monotonic(), list[int]()

    def progress(done: int, total: int) -> None:
        told.append(done)  # first what was there, which tells no speed
        left = _time_left(time.monotonic() - begin, done - told[0], total - done)
        show(done, total, left=left)

    return progress


def _time_left(elapsed_s: float, done: int, left: int) -> str:
    """How long the rest takes if it goes on like this; many workers finish in bursts."""
    if not (done and left):
        return ""
    minutes, seconds = divmod(round(elapsed_s / done * left), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02} left"


def _save(result: SweepResult, name: str, out: Path, kind: str) -> dict[str, Path]:
    """Writes the table and the picture; their paths by what they are."""
    draw_without_windows()
    from esxcore.datafile import write_whole
    from esxcore.plot import draw_sweep, png_bytes
    from esxcore.study.results import labelled

    out.mkdir(parents=True, exist_ok=True)
    files = {"rows": out / f"sweep.{kind}"}
    contents = {files["rows"]: result.table().to_bytes(kind)}
    x = _widest(result)
    if x is not None:
        files["picture"] = out / "sweep.png"
        panels = {labelled(metric): result.estimates(metric, x) for metric in _DRAWN}
        title = f"{name}: means over {_seeds(result)}"
        drawn = draw_sweep(x, result.axes[x], panels, title)
        contents[files["picture"]] = png_bytes(drawn)
    write_whole(contents)
    remove_stale({out / "sweep.png"} - set(files.values()))
    return files


def _widest(result: SweepResult) -> str | None:
    """The field of most values, over which a picture is drawn; None if there is nothing to see."""
    fields = [name for name in result.axes if name != "seed" and len(result.axes[name]) > 1]
    widest = max(fields, key=lambda name: len(result.axes[name]), default=None)
    lines = len(result.rows) // len(result.seeds)
    return widest if widest and lines // len(result.axes[widest]) <= _MOST_LINES else None


def _summary(result: SweepResult, files: dict[str, Path]) -> dict[str, Any]:
    """The result as plain JSON values; what nobody knows, and what is infinite, is null."""
    table = result.table()
    cells = zip(*(table[name].tolist() for name in table.columns), strict=True)
    rows = [dict(zip(table.columns, map(_json_value, row), strict=True)) for row in cells]
    return {
        "esxcore": result.provenance["esxcore_version"],
        "study": result.provenance["study"],
        "axes": {name: list(values) for name, values in result.axes.items()},
        "rows": rows,
        "files": {kind: str(path) for kind, path in files.items()},
    }


def _json_value(cell: Any) -> Any:
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


def _print_report(result: SweepResult, name: str, files: dict[str, Path]) -> None:
    """Means over seeds, each with half its 95 % interval, and the files."""
    rows = _rows(result)
    print_table(
        f"{name}: {len(result):,} rows; means over {_seeds(result)}, ± 95 %",
        ["", *(metric.replace("_", " ") for metric in _SHOWN)],
        rows[:_MOST_SHOWN],
    )
    if len(rows) > _MOST_SHOWN:
        click.echo(f"... and {len(rows) - _MOST_SHOWN} more in {files['rows']}")
    for kind, path in files.items():
        click.echo(f"{kind + ':':<10} {path}")


def _seeds(result: SweepResult) -> str:
    return f"{len(result.seeds):,} seed{'s' * (len(result.seeds) != 1)}"


def _rows(result: SweepResult) -> list[list[str]]:
    """A line for each point and policy, in the order of the grid."""
    from esxcore.scenario_text import abridged

    x = next(iter(result.axes))
    columns = [result.estimates(metric, x) for metric in _SHOWN]
    return [
        [
            str(value) if x == "policy" else f"{x} = {abridged(value)}, {line}",
            *(_estimate_text(column[line][0][at], column[line][1][at]) for column in columns),
        ]
        for at, value in enumerate(result.axes[x])
        for line in columns[0]
    ]


def _estimate_text(mean: float, half: float) -> str:
    if mean != mean:
        return "-"
    return f"{mean:,.4g}" + (f" ± {half:.2g}" if half == half else "")
