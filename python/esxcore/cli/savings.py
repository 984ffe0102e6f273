"""What ``esxcore census`` prints of what it found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from esxcore.cli.options import mib_text, print_table, visible

if TYPE_CHECKING:
    from esxcore.counting import Census
    from esxcore.findings import ImageCounts

_TOP_SHOWN = 5
_MATRIX_SHOWN = 12


def print_report(found: Census, files: dict[str, str]) -> None:
    """Prints the tables, and where files are."""
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
        "keyed": "matches across images by keyed hashes of 128 bits",
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
    if found.verify == "keyed":
        return "Compression and large pages: counted on one machine only."
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
    if large is None:
        return ""
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
