"""Two small equal VMs and the command that runs them, for the tests of ``esxcore run``."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from esxcore.cli import main

TWINS = """
[host]
memory = "16MiB"
[policy]
name = "none"
[sharing]
vm_rate = 256
host_rate = 512
[[vms]]
name = "twin"
count = 2
contents = { trace = "twins.npz", vm = 0 }
[run]
duration = "6s"
"""


def esxcore_run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["run", *arguments])


def names(folder: Path) -> set[str]:
    """Everything in a folder, however deep."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
