"""``esxcore init``: a scenario file to start from."""

from __future__ import annotations

import click

from esxcore.datafile import packaged


@click.command("init", short_help="Print a commented scenario file to start from.")
def command() -> None:
    """Prints a scenario file with every key explained, ready to run and to change.

    \b
    Example:
      esxcore init > my.toml
      esxcore run my.toml
    """  # noqa: D301 - \b is how click is told not to wrap a block
    click.echo(packaged("fleet_a.toml").read_text("utf-8"), nl=False)
