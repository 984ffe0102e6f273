"""What ``esxcore run`` prints of I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from esxcore.cli.options import mib_text, print_table

if TYPE_CHECKING:
    from esxcore.recording import Recording


def print_io(recording: Recording) -> None:
    """What devices transferred, how much of it was copied, and when that was most, if anything."""
    rows = recording.io()
    if not rows:
        return
    click.echo()
    print_table(
        "I/O of pages; copied: through a bounce buffer, as the device does not reach the page",
        ["", "transfers", "copied", "moved to\nlow memory", "hot at\nthe end", "packets\ndropped"],
        [
            [
                row.name,
                f"{row.io_pages:,}",
                f"{row.io_copies:,}",
                f"{row.io_remaps:,}",
                f"{row.hot_pages:,}",
                f"{row.dropped_packets:,}",
            ]
            for row in rows
        ],
    )
    free = int(recording.host["low_free_pages"][-1])
    click.echo(f"Of the memory that every device reaches {mib_text(free)} MiB are free.")
