"""``esxcore paper``: each figure and table of the paper made again, line by line beside it.

Exit code 1 says that a mechanism did not emerge; what was fitted or is not verified decides
nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from esxcore.cli.options import (
    check_folder,
    draw_without_windows,
    jobs_option,
    json_option,
    out_option,
    remove_stale,
    visible,
)
from esxcore.cli.progress import Show, shown

if TYPE_CHECKING:
    from esxcore.paper import Reproduction

_FAILED = 1
_DPI = 110  # of pictures, for a page; the largest are below 200 KB


@click.command("paper", short_help="Reproduce the paper's figures and tables.")
@click.argument("names", nargs=-1, metavar="[TARGET...]")
@out_option("esxcore-paper", "the pictures and the page")
@click.option("--seed", type=click.IntRange(min=0), default=2002, show_default=True, metavar="N")
@jobs_option("Pieces of work at a time, on which results do not depend")
@click.option("--fresh", is_flag=True, help="Make everything anew, whatever was kept of before.")
@json_option
def command(
    names: tuple[str, ...], out: Path, seed: int, jobs: int | None, fresh: bool, as_json: bool
) -> None:
    """Reproduces TARGETs of the paper, or all of them.

    They are fig1 to fig8, disco (section 4.1), remap (section 7) and tax (the curve of figure 7).

    For each number it prints what the paper says and how well that is known, what came out here, of
    what kind the claim is, and the verdict. A MECHANISM must emerge by itself and decides the exit
    code: 1 if one fails. What is CALIBRATED was fitted so that the figure can be drawn. What is
    RECALLED stands beside a number of the paper that is not verified; its deviation is told.

    Pictures and, with esxcore[report], one HTML page are saved in --out. What was made before by
    the same code, parameters and seed is not made again.

    \b
    Examples:
      esxcore paper fig3
      esxcore paper all --out figures
      esxcore paper fig7 --json | python -m json.tool
    """  # noqa: D301 - \b is how click is told not to wrap a block
    from esxcore.paper import targets

    wanted = targets(names)
    check_folder(out, f"--out {out}")
    made = {}
    with shown("{task.description}", "bar", "left", total=len(wanted)) as show:
        for place, name in enumerate(wanted):
            made[name] = _made(name, seed, jobs, fresh, _part(show, place, len(wanted), name))
    files = _save(made, out, seed)
    if as_json:
        click.echo(json.dumps(_plain(made, files, seed)))
    else:
        for name, each in made.items():
            _print(name, each)
        _print_sum(made, files)
    if any(each.failed for each in made.values()):
        raise click.exceptions.Exit(_FAILED)


def _made(name: str, seed: int, jobs: int | None, fresh: bool, progress: Any) -> Reproduction:
    """A reproduction, kept from before or made now."""
    from esxcore.paper import cache, reproduce, target
    from esxcore.paper.reproduction import Laboratory

    parameters = target(name).Parameters()
    digest = cache.key(name, parameters, seed)
    made = None if fresh else cache.kept(digest)
    if made is None:
        made = reproduce(name, Laboratory(seed, jobs=jobs, progress=progress), parameters)
        cache.keep(digest, made)
    return made


def _part(
    show: Show | None, place: int, count: int, name: str
) -> Callable[[int, int], None] | None:
    """What one target of many reports to."""
    if show is None:
        return None
    show(place, count, description=name)
    return lambda done, known: show(place + done / (known + 1), count)


def _save(made: dict[str, Reproduction], out: Path, seed: int) -> dict[str, Path]:
    """Writes pictures and, if it can be made, the page; all or none. Paths by what they are."""
    draw_without_windows()
    from esxcore.datafile import write_whole
    from esxcore.errors import MissingLibraryError
    from esxcore.paper.drawing import draw
    from esxcore.plot.style import png_bytes

    files = {name: out / f"{name}.png" for name in made}
    contents = {
        files[name]: png_bytes(draw(each.chart, each.title), _DPI) for name, each in made.items()
    }
    try:
        from esxcore.report import need_libraries

        need_libraries()
        from esxcore.paper.page import page

        files["page"] = out / "paper.html"
        contents[files["page"]] = page(made, seed).encode()
    except MissingLibraryError as error:
        click.echo(f"esxcore: no page is written: {error}", err=True)
    out.mkdir(parents=True, exist_ok=True)
    write_whole(contents)
    remove_stale({out / "paper.html"} - set(files.values()))
    return files


def _plain(made: dict[str, Reproduction], files: dict[str, Path], seed: int) -> dict[str, Any]:
    from esxcore import __version__

    return {
        "esxcore": __version__,
        "seed": seed,
        "holds": not any(each.failed for each in made.values()),
        "targets": {
            name: {
                "title": each.title,
                "claims": [claim.table() for claim in each.claims],
                "numbers": each.numbers,
                "notes": list(each.notes),
            }
            for name, each in made.items()
        },
        "files": {name: str(path) for name, path in files.items()},
    }


def _print(name: str, made: Reproduction) -> None:
    """The claims of one target: the claim, and under it paper, here, kind and verdict."""
    click.echo(click.style(f"{name}  {made.title}", bold=True))
    for claim in made.claims:
        mark = {"holds": "+", "fails": "X"}.get(claim.verdict, " ")
        click.echo(f"  {mark} {visible(claim.text)}")
        said = f"paper: {claim.paper_text};  " if claim.paper != "–" else ""
        click.echo(f"      {said}here: {claim.here}  [{claim.kind}: {claim.verdict}]")
    for note in made.notes:
        click.echo(f"    {note}")
    click.echo()


def _print_sum(made: dict[str, Reproduction], files: dict[str, Path]) -> None:
    from esxcore.paper import Kind

    claims = [claim for each in made.values() for claim in each.claims]
    mechanisms = [claim for claim in claims if claim.kind is Kind.MECHANISM]
    failed = sum(claim.fails for claim in mechanisms)
    said = f"{failed} failed" if failed else "all hold"
    click.echo(
        f"{len(mechanisms)} mechanisms: {said}; {len(claims) - len(mechanisms)} lines are fitted"
        " or stand beside numbers that are not verified"
    )
    folder = next(iter(files.values())).parent
    click.echo(f"pictures: {folder}" + (f"; page: {files['page']}" if "page" in files else ""))
