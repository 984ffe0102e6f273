"""``esxcore compare``: a scenario under several policies, ranked with intervals; or a grade.

Everything is computed before anything is written. Results go to stdout, progress to stderr and only
to a terminal.
"""

from __future__ import annotations

import functools
import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from esxcore.cli.options import (
    PATH,
    check_folder,
    check_targets,
    draw_without_windows,
    jobs_option,
    json_option,
    out_option,
    own_failures_in_one_line,
    tables_option,
    visible,
)
from esxcore.cli.progress import Show, counted

if TYPE_CHECKING:
    from esxcore.comparing import Comparison
    from esxcore.comparing.grading import Grade
    from esxcore.comparing.statistics import Estimate
    from esxcore.scenario import Scenario

_USUAL = ("static", "esx2002", "proxmox")
_Found = TypeVar("_Found")


@click.command("compare", short_help="Rank policies on a scenario, or grade one.")
@click.argument("scenario", required=False, type=PATH, metavar="[SCENARIO.toml]")
@click.option(
    "--policy",
    "policies",
    multiple=True,
    metavar="NAME",
    help="A policy: a name such as esx2002, or module:Class of your own; once for each. The first"
    " is what the others are compared to. Without any: static, esx2002, proxmox.",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    metavar="N",
    help="Runs of each policy, all with the same seeds: the scenario's, the next one, and so on.",
)
@jobs_option("Runs at a time", most=1024)
@json_option
@click.option(
    "--picture",
    type=PATH,
    metavar="FILE",
    help="Also draw the comparison: a .png, .svg or .pdf.",
)
@tables_option(
    "Also save tables: comparison (a row for each run) and summary (means and intervals)."
)
@out_option("esxcore-compare", "the tables")
@click.option(
    "--grade",
    "graded",
    is_flag=True,
    help="Grade each policy by three classroom scenarios instead; takes no SCENARIO.",
)
def command(  # noqa: PLR0913 - the options of the command
    scenario: Path | None,
    policies: tuple[str, ...],
    seeds: int,
    jobs: int | None,
    as_json: bool,
    picture: Path | None,
    tables: str | None,
    out: Path,
    graded: bool,
) -> None:
    """Lives through SCENARIO.toml under several policies and ranks them by throughput.

    Each metric is a mean over seeds with its 95 % interval. Policies live through the same seeds,
    so differences to the first policy are taken seed by seed, and marked where they are not chance.

    A policy of your own is a class with a method targets(view), in a module beside the scenario or
    where you are. For instance, in my.py:

    \b
      class ByActivity:
          def targets(self, view):
              return view.apportion(view.active_pages + 1)

    With --grade there is no scenario to give: each policy lives through three of the classroom,
    where one VM grows and frees, all grow together, two stop while two go on. A report says what
    was expected, what happened and what it is worth, out of 100 points.

    \b
    Examples:
      esxcore compare lab.toml
      esxcore compare lab.toml --policy static --policy my:ByActivity --seeds 20
      esxcore compare lab.toml --picture compare.png --tables csv --out results
      esxcore compare lab.toml --json | python -m json.tool
      esxcore compare --grade --policy my:ByActivity
    """  # noqa: D301 - \b is how click is told not to wrap a block
    draw_without_windows()
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # as for ``python -m``: modules where the user is
    if graded:
        _refuse_with_grade(scenario, picture, tables, _given("seeds"), _given("out"))
        _print_grades(policies or _USUAL, jobs, as_json)
        return
    if scenario is None:
        raise click.UsageError("Missing argument 'SCENARIO.toml' or option '--grade'.")
    check_targets({"--picture": picture}, [scenario])
    if tables is None and _given("out"):
        raise click.UsageError("--out needs --tables: it is their folder.")
    _check_files(picture, tables, out)
    from esxcore.comparing import compare
    from esxcore.scenario import Scenario

    loaded = Scenario.from_toml(scenario)
    _check_policies(loaded, policies)
    runs = _watched(
        lambda progress: compare(
            loaded, policies or _USUAL, seeds=seeds, jobs=jobs, progress=progress
        )
    )
    files = _save(runs, picture, tables, out)
    if as_json:
        click.echo(json.dumps(_summary(runs, scenario.stem, files)))
        return
    click.echo(f"{visible(scenario.stem)}: {runs!r}")
    for kind, path in files.items():
        click.echo(f"{kind + ':':<12} {path}")


def _given(option: str) -> object | None:
    """What was said of an option that has a default; None if nothing was."""
    context = click.get_current_context()
    said = context.get_parameter_source(option) is click.core.ParameterSource.COMMANDLINE
    return context.params[option] if said else None


def _refuse_with_grade(*values: object | None) -> None:
    names = ("SCENARIO.toml", "--picture", "--tables", "--seeds", "--out")
    for name, value in zip(names, values, strict=True):
        if value is not None:
            raise click.UsageError(f"--grade has scenarios of its own and takes no {name}.")


def _check_files(picture: Path | None, tables: str | None, out: Path) -> None:
    """Refuses, before the runs, what could not be made or written after them."""
    if picture is not None:
        from esxcore.plot.comparison import picture_kind

        picture_kind(picture)
    if tables is not None:
        from esxcore.tables import writer

        check_folder(out, f"--out {out}")
        writer(tables)


def _check_policies(scenario: Scenario, policies: tuple[str, ...]) -> None:
    """Refuses what is no policy, by the option that names it."""
    from esxcore.comparing.contenders import contenders

    for policy in policies:
        contenders(scenario, [policy], f"--policy {policy}")


def _watched(work: Callable[[Show | None], _Found]) -> _Found:
    """Does the work under a progress bar; what a policy of the user's raises becomes one line."""
    with counted("runs") as show, own_failures_in_one_line():
        return work(show)


def _save(runs: Comparison, picture: Path | None, tables: str | None, out: Path) -> dict[str, Path]:
    """Writes picture and tables, all or none; their paths by what they are."""
    from esxcore.datafile import write_whole
    from esxcore.plot.comparison import picture_bytes, picture_kind

    files: dict[str, Path] = {}
    contents: dict[Path, bytes] = {}
    if picture is not None:
        files["picture"] = picture
        contents[picture] = picture_bytes(runs.plot(), picture_kind(picture))
    if tables is not None:
        for name, table in (("comparison", runs.table()), ("summary", runs.summary())):
            files[name] = out / f"{name}.{tables}"
            contents[files[name]] = table.to_bytes(tables)
        out.mkdir(parents=True, exist_ok=True)
    write_whole(contents)
    return files


def _summary(runs: Comparison, name: str, files: dict[str, Path]) -> dict[str, Any]:
    """The comparison as plain JSON values; what nobody knows, and what is infinite, is null."""
    return {
        "esxcore": runs.provenance["esxcore_version"],
        "scenario": name,
        "seeds": list(runs.seeds),
        "baseline": runs.policies[0],
        "policies": [
            {
                "policy": label,
                "rank": place,
                "metrics": {metric: _figures(runs, metric, label) for metric in runs.measured},
            }
            for place, label in enumerate(runs.ranked, 1)
        ],
        "files": {kind: str(path) for kind, path in files.items()},
    }


def _figures(runs: Comparison, metric: str, label: str) -> dict[str, Any]:
    apart = runs.difference(metric, label)
    return {
        **_interval(runs.estimate(metric, label)),
        "difference": _interval(apart) | {"is_significant": apart.is_significant},
        "values": [_known(value) for value in runs[label].values(metric).tolist()],
    }


def _interval(found: Estimate) -> dict[str, float | None]:
    return {"mean": _known(found.mean), "low": _known(found.low), "high": _known(found.high)}


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _print_grades(policies: tuple[str, ...], jobs: int | None, as_json: bool) -> None:
    from esxcore.scenario import Scenario

    _check_policies(Scenario.builtin("classroom_grows"), policies)
    grades = [_watched(functools.partial(_graded, policy, jobs)) for policy in policies]
    if as_json:
        click.echo(json.dumps({"grades": [each.to_dict() for each in grades]}))
        return
    click.echo("\n\n".join(map(str, grades)))


def _graded(policy: str, jobs: int | None, progress: Show | None) -> Grade:
    from esxcore.comparing.grading import grade

    return grade(policy, jobs=jobs, progress=progress)
