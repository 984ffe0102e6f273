"""``esxcore census``: what sharing, compression and ballooning would be worth on real memory.

Everything is computed before anything is written; export and picture appear whole at the end.
Results go to stdout, progress to stderr and only to a terminal.
"""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from esxcore.cli.options import PATH, check_targets, draw_without_windows, json_option
from esxcore.cli.progress import Show, shown
from esxcore.cli.savings import print_report

if TYPE_CHECKING:
    from esxcore.counting import Census

_LONGEST_KEY = 2**20


@click.command("census", short_help="Count what sharing would save on memory images or processes.")
@click.argument("sources", nargs=-1, type=PATH, metavar="SOURCE...")
@click.option(
    "--pid",
    "pids",
    type=int,
    multiple=True,
    metavar="PID",
    help="A running process, after the sources; of a QEMU its guest memory. May be repeated.",
)
@json_option
@click.option(
    "--salt",
    default="none",
    show_default=True,
    metavar="none|per-vm|GROUPS",
    help="Who shares with whom: all, nobody, or those of the same group; GROUPS is a name for each"
    " source, separated by commas.",
)
@click.option(
    "--verify",
    type=click.Choice(["bytes", "hash128"]),
    default="bytes",
    show_default=True,
    help="Compare equal pages byte by byte, or by a 128-bit hash (images larger than memory).",
)
@click.option("--format", metavar="NAME", help="The format of all files; 'raw' for any bytes.")
@click.option(
    "--export",
    type=PATH,
    metavar="FILE.npz",
    help="Save which pages are equal, and no byte of them, as a page-content trace.",
)
@click.option(
    "--key",
    metavar="TEXT|@FILE",
    envvar="ESXCORE_KEY",
    show_envvar=True,
    help="With --export: a secret, or @ and a file that holds it. Traces exported under the same"
    " key can be counted together.",
)
@click.option("--picture", type=PATH, metavar="FILE.png", help="Draw the savings and who shares.")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Instead of all cores.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Chooses what is compressed.")
@click.option(
    "--engine",
    type=click.Choice(["local", "dask"]),
    default="local",
    show_default=True,
    help="Who counts: this process, or the workers of a Dask cluster, each image where it lies.",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Of the cluster, such as tcp://10.0.0.1:8786; a cluster of this machine if not given.",
)
def command(  # noqa: PLR0913  (the options of the command)
    sources: tuple[Path, ...],
    pids: tuple[int, ...],
    as_json: bool,
    salt: str,
    verify: str,
    format: str | None,
    export: Path | None,
    key: str | None,
    picture: Path | None,
    threads: int | None,
    seed: int,
    engine: str,
    scheduler: str | None,
) -> None:
    """Counts which pages of guest memory are equal, and says what that is worth.

    SOURCE is a memory image (raw, ELF core of QEMU's dump-guest-memory, LiME, VMware vmem with its
    vmss or vmsn beside it, uncompressed QEMU migration stream or libvirt save) or a page-content
    trace (npz). Savings come in parts that add up: zero pages, pages equal within an image, pages
    equal only across images. Then what compression would save of the rest, and what is lost if
    2 MiB pages are kept whole.

    A fleet that outgrows one machine: with --engine dask each image is counted by a worker that can
    read it, SOURCE being a path or HOST:PATH, and only keyed hashes leave its machine. It finds the
    same sharing; compression and large pages are counted on one machine only.

    \b
    Examples:
      esxcore census web1.raw web2.raw db.elf
      esxcore census --pid $(pgrep -o qemu-system) --picture savings.png
      esxcore census *.raw --salt web,web,db --json
      esxcore census *.raw --export site.npz --key @secret.txt
      esxcore census --engine dask --scheduler tcp://10.0.0.1:8786 10.0.0.2:/ram/a.raw
    """  # noqa: D301 - \b is how click is told not to wrap a block
    if not sources and not pids:
        raise click.UsageError("Missing argument 'SOURCE...' or option '--pid'.")
    if key is not None and export is None and not _from_environment("key"):
        raise click.UsageError("--key needs --export: it hashes what is exported.")
    if engine == "local" and scheduler is not None:
        raise click.UsageError("--scheduler needs --engine dask.")
    check_targets({"--export": export, "--picture": picture}, sources)
    if picture is not None and picture.suffix.lower() != ".png":
        raise click.ClickException(f"--picture {picture}: expected a name that ends in .png")
    secret = _secret(key) if export is not None else None
    _allow_many_files()
    from esxcore.counting import census
    from esxcore.datafile import written_whole

    groups: str | list[str] = salt if salt in ("none", "per-vm") else salt.split(",")
    if engine == "dask":
        from esxcore.cli.fleet import counted_by_dask

        _refuse_with_dask(pids=pids, export=export, verify=verify == "hash128")
        found = counted_by_dask(sources, scheduler, threads, groups, format)
    else:
        with shown("bytes", "bar", "speed", "left", total=None) as show:
            found = census(
                sources,
                pids=pids,
                salt=groups,
                verify=verify,  # type: ignore[arg-type]  # click has checked it
                format=format,
                threads=threads,
                seed=seed,
                progress=show and _in_bytes(show),
            )
    files = _files(found, export, secret, picture)
    paths = {kind: str(path) for kind, (path, _) in files.items()}
    reader_left = None
    # Printed before the files appear: if that fails, nothing was done.
    with written_whole(dict(files.values())):
        try:
            _print(found, paths, as_json)
        except BrokenPipeError as error:  # such as `head`, which has seen enough; files are wanted
            reader_left = error
    if reader_left is not None:
        raise reader_left


def _refuse_with_dask(**given: object) -> None:
    """Refuses options that the engine Dask has no answer to."""
    said = {"pids": "--pid", "export": "--export", "verify": "--verify hash128"}
    for name, value in given.items():
        if value:
            raise click.UsageError(f"{said[name]} does not go with --engine dask.")


def _allow_many_files() -> None:
    """Raises the number of files that may be open, which is a thousand where nobody cared."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # not every system lets it be without limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _print(found: Census, paths: dict[str, str], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(found.to_dict() | {"files": paths}))
    else:
        print_report(found, paths)


def _from_environment(option: str) -> bool:
    source = click.get_current_context().get_parameter_source(option)
    return source is click.core.ParameterSource.ENVIRONMENT


def _secret(key: str | None) -> bytes | None:
    if key is None or not key.startswith("@"):
        return None if key is None else os.fsencode(key)
    try:
        with open(key[1:], "rb") as stream:
            secret = stream.read(_LONGEST_KEY + 1)
    except (OSError, ValueError) as error:  # a name may have a NUL
        reason = error.strerror if isinstance(error, OSError) else error
        raise click.ClickException(f"--key {key}: cannot be read ({reason})") from error
    if len(secret) > _LONGEST_KEY:
        raise click.ClickException(f"--key {key}: more than {_LONGEST_KEY} bytes; not a secret")
    return secret.strip()


def _in_bytes(show: Show) -> Callable[[int, int], None]:
    """Pages done, told in bytes: rich knows units and speeds of those."""
    from esxcore.config import PAGE_SIZE

    return lambda done, total: show(done * PAGE_SIZE, total * PAGE_SIZE)


def _files(
    found: Census, export: Path | None, secret: bytes | None, picture: Path | None
) -> dict[str, tuple[Path, bytes]]:
    """Path and content of what was asked for, by what it is."""
    files: dict[str, tuple[Path, bytes]] = {}
    if export is not None:
        files["export"] = (export, found.trace_bytes(secret))
    if picture is not None:
        draw_without_windows()
        from esxcore.plot import draw_census, png_bytes

        files["picture"] = (picture, png_bytes(draw_census(found)))
    return files
