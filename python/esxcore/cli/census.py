"""``esxcore census``: what sharing, compression and ballooning would be worth on real memory.

Everything is computed before anything is written; export and picture appear whole at the end.
Results go to stdout, progress to stderr and only to a terminal.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from esxcore.cli.options import PATH, check_targets, mib_text, print_table, visible

if TYPE_CHECKING:
    from esxcore.counting import Census, Progress
    from esxcore.findings import ImageCounts

_TOP_SHOWN = 5
_MATRIX_SHOWN = 12
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
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object instead of the tables."
)
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
) -> None:
    """Counts which pages of guest memory are equal, and says what that is worth.

    SOURCE is a memory image (raw, ELF core of QEMU's dump-guest-memory, LiME, VMware vmem with its
    vmss or vmsn beside it, uncompressed QEMU migration stream or libvirt save) or a page-content
    trace (npz). Savings come in parts that add up: zero pages, pages equal within an image, pages
    equal only across images. Then what compression would save of the rest, and what is lost if
    2 MiB pages are kept whole.

    \b
    Examples:
      esxcore census web1.raw web2.raw db.elf
      esxcore census --pid $(pgrep -o qemu-system) --picture savings.png
      esxcore census *.raw --salt web,web,db --json
      esxcore census *.raw --export site.npz --key @secret.txt
    """  # noqa: D301 - \b is how click is told not to wrap a block
    if not sources and not pids:
        raise click.UsageError("Missing argument 'SOURCE...' or option '--pid'.")
    if key is not None and export is None and not _from_environment("key"):
        raise click.UsageError("--key needs --export: it hashes what is exported.")
    check_targets({"--export": export, "--picture": picture}, sources)
    if picture is not None and picture.suffix.lower() != ".png":
        raise click.ClickException(f"--picture {picture}: expected a name that ends in .png")
    secret = _secret(key) if export is not None else None
    _allow_many_files()
    from esxcore.counting import census
    from esxcore.datafile import written_whole

    groups: str | list[str] = salt if salt in ("none", "per-vm") else salt.split(",")
    with _progress_bar() as progress:
        found = census(
            sources,
            pids=pids,
            salt=groups,
            verify=verify,  # type: ignore[arg-type]  # click has checked it
            format=format,
            threads=threads,
            seed=seed,
            progress=progress,
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


def _allow_many_files() -> None:
    """Raises the number of files that may be open, which is a thousand where nobody cared."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # not every system lets it be without limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _print(found: Census, paths: dict[str, str], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(found.to_dict() | {"files": paths}))
    else:
        _print_report(found, paths)


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


@contextmanager
def _progress_bar() -> Iterator[Progress | None]:
    """Pages done, throughput and time left on stderr, or None where nobody is watching."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        DownloadColumn(binary_units=True),
        BarColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("census", total=None)
        yield lambda done, total: bar.update(task, completed=done * 4096, total=total * 4096)


def _files(
    found: Census, export: Path | None, secret: bytes | None, picture: Path | None
) -> dict[str, tuple[Path, bytes]]:
    """Path and content of what was asked for, by what it is."""
    files: dict[str, tuple[Path, bytes]] = {}
    if export is not None:
        files["export"] = (export, found.trace_bytes(secret))
    if picture is not None:
        os.environ.pop("MPLBACKEND", None)  # no window is opened, and matplotlib fails on bad ones
        from esxcore.plot import draw_census, png_bytes

        files["picture"] = (picture, png_bytes(draw_census(found)))
    return files


def _print_report(found: Census, files: dict[str, str]) -> None:
    lines = [_heading(found), ""]
    print_table(
        "\n".join(lines),
        ["", "size", "zero", "distinct", "alone saves", "of it zero", "in common"],
        [*map(_row, found.images)],
    )
    click.echo(_savings(found))
    for part in (_live(found), _balloon(found), _compression(found), _large(found), _top(found)):
        if part:
            click.echo(f"\n{part}")
    if len(found.images) > 1:
        click.echo()
        _print_matrix(found)
    if found.kinds:
        click.echo()
        print_table(
            "by what guests use pages for; of each content the page met first is kept",
            ["", "pages", "zero", "saved"],
            [
                [kind.kind, *map(mib_text, (kind.pages, kind.zero_pages, kind.reclaimed_pages))]
                for kind in found.kinds
            ],
        )
    for kind, path in files.items():
        click.echo(f"{kind + ':':<10} {visible(path)}")


def _heading(found: Census) -> str:
    images = len(found.images)
    how = {
        "bytes": "every match compared byte by byte",
        "hash128": "matches by 128-bit hashes, bytes not compared",
        "given": "matches as the traces have them",
    }[found.verify]
    salt = found.salt if isinstance(found.salt, str) else visible(",".join(found.salt))
    domains = "" if salt == "none" else f"; salt {salt}"
    return f"{images} {'image' if images == 1 else 'images'}, {how}{domains}; sizes in MiB"


def _row(image: ImageCounts) -> list[str]:
    sizes = (
        image.pages,
        image.zero_pages,
        image.distinct_pages,
        image.reclaimed_pages,
        image.zero_reclaimed_pages,
        image.common_pages,
    )
    return [f"{image.path} ({image.facts['format']})", *map(mib_text, sizes)]


def _savings(found: Census) -> str:
    if not found.pages:
        return "There are no pages: nothing to share."
    rows = (
        ("zero pages", found.zero_reclaimed_pages),
        ("equal within an image", found.intra_reclaimed_pages),
        ("equal across images", found.inter_reclaimed_pages),
        ("sharing saves", found.reclaimed_pages),
    )
    return "\n".join(
        f"{name:<22}{mib_text(pages):>12} MiB {pages / found.pages:>7.1%}" for name, pages in rows
    )


def _live(found: Census) -> str:
    lines = []
    for image in found.images:
        facts = image.facts
        if "absent_pages" not in facts:
            continue
        kind = "guest memory of QEMU" if facts["format"] == "qemu" else "present pages"
        lines.append(
            f"{visible(image.path)}: {kind}; left out {mib_text(facts['absent_pages'])} MiB absent"
            f" and {mib_text(facts['swapped_pages'])} MiB swapped"
        )
        if facts["zero_mapped_pages"]:
            lines.append(
                f"  {mib_text(facts['zero_mapped_pages'])} MiB of its zero pages are the kernel's"
                " one zero page and cost nothing already"
            )
        if facts["lost_pages"]:
            lines.append(f"  {facts['lost_pages']} pages went while it was read, and count as zero")
    return "\n".join(lines)


def _balloon(found: Census) -> str:
    if found.balloon is None:
        return ""
    rest = found.balloon.rest
    return (
        f"A balloon would return {mib_text(found.balloon.free_pages)} MiB that guests have free;"
        f" sharing then saves {mib_text(rest.reclaimed_pages)} of the other"
        f" {mib_text(rest.pages)} MiB."
    )


def _compression(found: Census) -> str:
    packed = found.compression
    if packed is None:
        return "Compression: not estimated, the bytes of traces are not known."
    if packed.sampled_contents == packed.contents:
        sample = f"all {packed.contents} contents compressed"
        interval = ""
    else:
        sample = f"{packed.sampled_contents} of {packed.contents} contents compressed"
        low, high = mib_text(packed.saved_low_pages), mib_text(packed.saved_high_pages)
        interval = f" (95 %: {low} to {high})"
    return (
        f"Compressing what is left would save {mib_text(packed.saved_pages)} MiB{interval}:\n"
        f"  {packed.quarter_fraction:.1%} fit a quarter page, {packed.half_fraction:.1%} a half;"
        f" LZ4, {sample}"
    )


def _large(found: Census) -> str:
    large = found.large_pages
    return (
        f"With 2 MiB pages kept whole ({mib_text(large.pages)} MiB are in such), sharing saves"
        f" {mib_text(large.reclaimed_pages)} MiB: {mib_text(large.lost_pages)} MiB are lost."
    )


def _top(found: Census) -> str:
    lines = []
    for content in found.top[:_TOP_SHOWN]:
        what = "a content" if content.begins_with is None else f"begins {content.begins_with}"
        if content.is_uniform and content.begins_with is not None:
            what = f"all 0x{content.begins_with[:2].upper()}"
        where = f"{visible(content.path)} page {content.page}"
        images = "1 image" if content.images == 1 else f"{content.images} images"
        lines.append(
            f"  {mib_text(content.reclaimed_pages):>10} MiB  {what}, first at {where}, {images}"
        )
    return "\n".join(["Contents that save most:", *lines]) if lines else ""


def _print_matrix(found: Census) -> None:
    """The matrix as numbers while it is small; --json and --picture have it whole."""
    images = len(found.images)
    if images > _MATRIX_SHOWN:
        click.echo(f"Contents in common: {images} images; see --json or --picture.")
        return
    print_table(
        "contents in common, zero not counted; the diagonal is what the image has",
        ["", *(str(number) for number in range(1, images + 1))],
        [
            [f"{number} {image.path}", *(f"{common:,}" for common in row)]
            for number, (image, row) in enumerate(
                zip(found.images, found.common_contents.tolist(), strict=True), 1
            )
        ],
    )
