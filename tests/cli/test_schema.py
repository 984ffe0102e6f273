"""``esxcore schema``: the schema on stdout or in a file."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from esxcore.cli import main
from esxcore.scenario.schema import scenario_schema


def test_it_is_printed_or_written(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["schema"])
    assert done.exit_code == 0
    assert json.loads(done.output) == scenario_schema()
    path = tmp_path / "scenario.schema.json"
    written = CliRunner().invoke(main, ["schema", "--out", str(path)])
    assert (written.exit_code, written.output) == (0, "")
    assert path.read_text() == done.output


def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    for out, said in ((tmp_path, "it is a folder"), (tmp_path / "no" / "a", "there is no folder")):
        done = CliRunner().invoke(main, ["schema", "--out", str(out)])
        assert done.exit_code == 2
        assert said in done.output
        assert done.output.startswith(f"esxcore: error: --out {out}: ")
