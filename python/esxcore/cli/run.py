"""``esxcore run``: live through a scenario, print what came of it, save a recording and a picture.

Everything is computed before anything is written, and all files appear whole at the end, so an
interrupted or failing run leaves nothing behind. Results go to stdout, progress to stderr and only
to a terminal.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from esxcore.cli import INTERRUPTED
from esxcore.cli.options import (
    PATH,
    check_folder,
    check_targets,
    draw_without_windows,
    json_option,
    mib_text,
    out_option,
    own_failures_in_one_line,
    print_table,
    remove_stale,
    tables_option,
)
from esxcore.cli.progress import Show, counted
from esxcore.cli.transfers import print_io
from esxcore.interrupts import CtrlC, ctrl_c

if TYPE_CHECKING:
    from esxcore.recording import DivisionRow, Recording
    from esxcore.scenario import Scenario

_PAGES_PER_MIB = 256
_PICTURES = ("sharing", "division", "throughput", "io")
_SAVING = "esxcore: saving what was recorded; Ctrl-C is answered when that is done"


@click.command("run", short_help="Run a scenario: a table, a recording and a picture.")
@click.argument("scenario", required=False, type=PATH, metavar="[SCENARIO.toml]")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    metavar="N",
    help="Use this seed in place of the scenario's.",
)
@out_option("esxcore-run", "the recording and the pictures")
@tables_option("Also save the recording as tables: virtual machines, host, census.")
@click.option(
    "--report",
    type=PATH,
    metavar="FILE.html",
    help="Also write an interactive report: one HTML file that needs no network. Needs"
    " pip install 'esxcore[report]'.",
)
@json_option
def command(
    scenario: Path | None,
    seed: int | None,
    out: Path,
    tables: str | None,
    report: Path | None,
    as_json: bool,
) -> None:
    """Runs SCENARIO.toml, or the packaged example if none is given.

    The example is five real Linux guests of 256 MiB (two Python jobs, Redis, SQLite, nginx) on one
    host, two of them at work. It prints how much memory sharing equal pages reclaimed and how near
    that came to what the contents allow, and saves recording.npz and sharing.png. Where memory is
    short and has to be divided, it also prints who should have how much and who has, and saves
    division.png; where guests are at work, what they got done, and throughput.png; where devices
    transferred pages, how many were copied, and io.png. With --tables it saves vms, host and census
    as tables over time, too; all but csv need esxcore[arrow].

    Ctrl-C ends a run early and saves what was recorded until then. Of an older run in the same
    folder, pictures that the new one has not are removed.

    With --report it writes a page to open in a browser: time lines of every virtual machine that
    can be zoomed, the free state as bands, and why the policy set each target.

    \b
    Examples:
      esxcore run
      esxcore run --report out.html
      esxcore run my.toml --seed 11 --out results
      esxcore run my.toml --tables parquet
      esxcore run my.toml --json | python -m json.tool
    """  # noqa: D301 - \b is how click is told not to wrap a block
    from esxcore.scenario import Scenario
    from esxcore.tables import writer

    check_folder(out, f"--out {out}")
    if tables:
        writer(tables)  # what it needs and is not there is said before the run
    if report is not None:
        _check_report(report, out, [scenario] if scenario else [])
    loaded = Scenario.from_toml(scenario) if scenario else Scenario.builtin()
    name = scenario.stem if scenario else "fleet_a"
    with ctrl_c(_SAVING) as pressed:
        recording, is_whole = _run(loaded, seed, pressed)
        pressed.hold()
        files = _save(recording, name, out, tables, report)
    if as_json:
        click.echo(json.dumps(_summary(recording, name, files)))
    else:
        _print_report(recording, name, files)
    if not is_whole:
        seconds = f"{recording.time_s[-1]:g} s of {loaded.run.duration_s} s"
        click.echo(f"esxcore: interrupted after {seconds}, which are saved", err=True)
    elif pressed.came:
        click.echo("esxcore: interrupted; the whole run is saved", err=True)
    if pressed.came or not is_whole:
        raise click.exceptions.Exit(INTERRUPTED)


def _check_report(report: Path, out: Path, sources: list[Path]) -> None:
    """Refuses a report that cannot be made or written; says so before the run, not after it."""
    from esxcore.report import need_libraries

    if report.suffix.lower() not in (".html", ".htm"):
        raise click.ClickException(f"--report {report}: expected a name that ends in .html")
    if report.parent.exists() or report.parent.resolve() != out.resolve():  # out is made
        check_targets({"--report": report}, sources)
    need_libraries()


def _run(scenario: Scenario, seed: int | None, pressed: CtrlC) -> tuple[Recording, bool]:
    """Lives through the scenario; what a policy of the user's raises becomes one line.

    Returns
    -------
    tuple of Recording and bool
        What was recorded, and whether that is the whole run: Ctrl-C ends one.
    """
    from esxcore.experiment import RunInterrupted, run

    try:
        with counted("virtual seconds") as show, own_failures_in_one_line():
            return run(scenario, seed=seed, progress=_passing(show, pressed)), True
    except RunInterrupted as interrupted:
        return interrupted.recording, False


def _passing(show: Show | None, pressed: CtrlC) -> Callable[[int, int], None]:
    """What is done after each virtual second."""

    def progress(done: int, total: int) -> None:
        pressed.answer()  # a policy may have swallowed what there was of it
        if show is not None:
            show(done, total)

    return progress


def _save(
    recording: Recording, name: str, out: Path, tables: str | None, report: Path | None
) -> dict[str, Path]:
    """Writes recording, pictures, tables and report, all or none; their paths by what they are."""
    draw_without_windows()
    from esxcore.plot import draw, draw_division, draw_io, draw_throughput, png_bytes
    from esxcore.tables.recorded import TABLES

    described = f"{name}: {_described(recording)}"
    picture = png_bytes(draw(recording, f"Page sharing in {described}"))
    contents = {"recording": recording.to_bytes(), "picture": picture}
    files = {"recording": out / "recording.npz", "picture": out / "sharing.png"}
    if recording.is_divided:
        drawn = draw_division(recording, f"Memory divided in {described}")
        contents["division"], files["division"] = png_bytes(drawn), out / "division.png"
    if _is_at_work(recording):
        drawn = draw_throughput(recording, f"Guests at work in {described}")
        contents["throughput"], files["throughput"] = png_bytes(drawn), out / "throughput.png"
    if recording.io():
        drawn = draw_io(recording, f"I/O in {described}")
        contents["io"], files["io"] = png_bytes(drawn), out / "io.png"
    if tables:
        for part in TABLES:
            contents[part] = recording.table(part).to_bytes(tables)
            files[part] = out / f"{part}.{tables}"
    if report is not None:
        from esxcore.report import html_bytes

        contents["report"], files["report"] = html_bytes(recording, name), report
    _write(out, {files[kind]: content for kind, content in contents.items()})
    pictures = {out / f"{kind}.png" for kind in _PICTURES}
    remove_stale(pictures - set(files.values()))
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
    *vms, host = recording.memory()
    peak = recording.sharing_peak()
    at = recording.counted[-1] if recording.counted.size else None
    possible = None if at is None else int(recording.census["reclaimed_pages"][at])
    reclaimed = 0 if at is None else int(recording.host["reclaimed_pages"][at])
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
        "division": _division(recording),
        "work": [row._asdict() for row in recording.work()],
        "io": [row._asdict() for row in recording.io()],
        "sharing": {
            "possible_pages": possible,
            "fraction": reclaimed / possible if possible else None,
            "peak_fraction": peak.fraction if peak else None,
            "peak_time_s": peak.time_s if peak else None,
        },
        "files": {kind: str(path) for kind, path in files.items()},
    }


def _division(recording: Recording) -> dict[str, Any] | None:
    """How memory was divided in the end, and how short it was; None if it never was."""
    if not recording.is_divided:
        return None
    from esxcore.decisions import STATES

    *vms, host = recording.division()
    return {
        "free_state": STATES[int(recording.host["free_state"][-1])],
        "state_s": recording.state_s(),
        "host": host._asdict(),
        "vms": [row._asdict() for row in vms],
    }


def _print_report(recording: Recording, name: str, files: dict[str, Path]) -> None:
    rows = recording.memory()
    print_table(
        f"{name}: {_described(recording)}, seed {recording.seed}; sizes in MiB",
        ["", "size", "resident", "shared", "consumed", "reclaimed", "zero", "COW\nbreaks"],
        [[row.name, *map(mib_text, row[1:-1]), f"{row.cow_breaks:,}"] for row in rows],
        last=1,
    )
    click.echo(_sharing_text(recording))
    _print_division(recording)
    _print_work(recording)
    print_io(recording)
    for line in _stalls(recording):
        click.echo(line)
    width = max(10, *(len(kind) + 1 for kind in files))
    for kind, path in files.items():
        click.echo(f"{kind + ':':<{width}} {path}")


def _print_division(recording: Recording) -> None:
    """Who should have how much and who has, and the states of free memory, if it was short."""
    rows = recording.division()
    if not rows:
        return
    click.echo()
    print_table(
        "How memory is divided at the end, by the policy and in fact; sizes in MiB",
        ["", "min", "max", "shares", "target", "resident", "active", "balloon", "swapped"],
        [_division_cells(row, row.max_pages > 0) for row in rows],
        last=1,
    )
    spans = recording.state_s().items()
    told = ", ".join(f"{state} for {_time_text(seconds)}" for state, seconds in spans)
    click.echo(f"Free memory was {told}.")


def _is_at_work(recording: Recording) -> bool:
    """Whether there is more to tell than replays of activity, of which a second is an operation."""
    return any(row.ops_per_s > 1 for row in recording.work())


def _print_work(recording: Recording) -> None:
    """What guests got done, and for how much of the time they stood."""
    if not _is_at_work(recording):
        return
    click.echo()
    print_table(
        "What the guests got done; stalled: some process, or all that had work, waited for memory",
        ["", "operations", "a second", "some stalled", "all stalled"],
        [
            [
                row.name,
                f"{row.operations:,}",
                f"{row.ops_per_s:,.1f}",
                _percent_text(row.stall_fraction),
                _percent_text(row.full_stall_fraction),
            ]
            for row in recording.work()
        ],
    )


def _division_cells(row: DivisionRow, is_on: bool) -> list[str]:
    if not is_on:
        return [row.name, *["off"] * 8]
    parts = (row.target_pages, row.resident_pages, row.active_pages)
    sizes = [mib_text(pages) if pages >= 0 else "-" for pages in parts]
    out = [mib_text(pages) for pages in (row.balloon_pages, row.swapped_pages)]
    return [
        row.name,
        mib_text(row.min_pages),
        mib_text(row.max_pages),
        f"{row.shares:,}",
        *sizes,
        *out,
    ]


def _stalls(recording: Recording) -> Iterator[str]:
    """A line for each virtual machine that stood still: how long and why."""
    stalled, blocked = (recording.vms[name][-1] for name in ("stalled_s", "blocked_s"))
    for vm, whole, held in zip(recording.vm_names, stalled, blocked, strict=True):
        if whole > held:
            yield f"{vm} stood still for {_time_text(whole - held)}: no machine page was free"
        if held:
            yield f"{vm} was blocked for {_time_text(held)}: memory was low and it above its target"


def _sharing_text(recording: Recording) -> str:
    if not recording.counted.size:
        saved = mib_text(int(recording.host["reclaimed_pages"][-1]))
        return f"Sharing reclaims {saved} MiB; what the contents would allow was not counted."
    at = recording.counted[-1]
    possible = int(recording.census["reclaimed_pages"][at])
    reclaimed = int(recording.host["reclaimed_pages"][at])
    peak = recording.sharing_peak()
    if peak is None:
        return "No two resident pages were ever equal: there was nothing to share."
    share = _percent_text(reclaimed / possible) if possible else "all"
    is_last = at == len(recording.time_s) - 1
    when = "" if is_last else f", as counted after {_time_text(recording.time_s[at])}"
    return (
        f"Sharing reclaims {mib_text(reclaimed)} MiB: {share} of the {mib_text(possible)} MiB "
        f"that the resident contents allow{when}.\n"
        f"It came nearest after {_time_text(peak.time_s)}: "
        f"{_percent_text(peak.fraction)} of {mib_text(peak.possible_pages)} MiB."
    )


def _percent_text(fraction: float) -> str:
    """A fraction in percent, cut and not rounded: 100 % is said of all and nothing less."""
    return f"{math.floor(fraction * 10_000) / 100:.2f} %"


def _time_text(seconds: float) -> str:
    """Virtual time in the units of scenario files: ``90 s`` is ``1 min 30 s``."""
    minutes, rest = divmod(round(seconds), 60)
    parts = ((minutes, "min"), (rest, "s"))
    return " ".join(f"{value} {unit}" for value, unit in parts if value) or "0 s"
