"""``esxcore schema``: the JSON schema of scenario files, for editors that check and complete."""

from __future__ import annotations

import json
from pathlib import Path

import click

from esxcore.cli.options import PATH, check_targets


@click.command("schema", short_help="Print the JSON schema of scenario files, for editors.")
@click.option("--out", type=PATH, metavar="FILE", help="Write it to a file instead.")
def command(out: Path | None) -> None:
    """Prints the JSON schema of scenario files: every key, what it takes, and its default.

    An editor that knows TOML schemas checks and completes a scenario that begins with the line
    "#:schema scenario.schema.json".

    \b
    Example:
      esxcore schema --out scenario.schema.json
    """  # noqa: D301 - \b is how click is told not to wrap a block
    from esxcore.datafile import write_whole
    from esxcore.scenario.schema import scenario_schema

    if out is not None:
        check_targets({"--out": out}, [])
    text = json.dumps(scenario_schema(), indent=2, ensure_ascii=False) + "\n"
    if out is None:
        click.echo(text, nl=False)
    else:
        write_whole({out: text.encode()})
