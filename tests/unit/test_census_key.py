"""How often a recording counts equal contents, and what all who show it make of the gaps."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import esxcore as esx
from esxcore.experiment import RunInterrupted
from esxcore.plot.sharing import plot_sharing
from esxcore.report import html_bytes
from esxcore.tables import missing


def lab(census: str | None, **settings: Any) -> esx.Scenario:
    settings |= {} if census is None else {"census": census}
    scenario = esx.Scenario(memory="256MiB", duration="25s", **settings)
    scenario.vm("zeros", max="16MiB", workload={"kind": Zeros()})
    scenario.vm("late", max="16MiB", start="7s", stop="20s")
    return scenario


class Zeros:
    """Reads pages that are empty, so that they are all equal."""

    def accesses(self, second: int) -> esx.Accesses:
        """Forty more."""
        return esx.Accesses(np.arange(40 * second, 40 * second + 40), np.empty(0, np.int64))


@pytest.mark.parametrize(
    ("census", "sample", "counted"),
    [
        (None, "5s", [0, 5, 10, 15, 20, 25]),
        ("5s", "1s", [0, 5, 10, 15, 20, 25]),
        ("10s", "1s", [0, 10, 20, 25]),
        ("10s", "3s", [0, 12, 21, 25]),
        ("2h", "1s", [0, 25]),
        ("1s", "5s", [0, 5, 10, 15, 20, 25]),
        ("never", "1s", []),
    ],
)
def test_it_is_taken_when_it_is_due(census: str | None, sample: str, counted: list[int]) -> None:
    recording = esx.run(lab(census, sample=sample))
    assert recording.time_s[recording.counted].tolist() == counted
    whole = esx.run(lab(None, sample=sample))
    for name, column in recording.census.items():
        assert missing(column).sum() == len(column) - len(counted)
        assert (column[recording.counted] == whole.census[name][recording.counted]).all()
    for name, column in recording.host.items():
        assert (column == whole.host[name]).all()  # counting changes nothing
    assert np.isnan(np.delete(recording.sharing_fraction, recording.counted)).all()
    assert (recording.sharing_peak() is None) == (not counted)


def test_the_key_says_how_often() -> None:
    assert [lab(key).run.census_s for key in (None, "2min", "never")] == [0, 120, math.inf]
    assert lab("2min").described().count('census = "2min"') == 1
    for wrong in ("0s", "often", "1ms", 5):
        with pytest.raises(
            esx.ScenarioError, match=r'run.census is .*; expected "never", or whole'
        ):
            lab(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("census", ["10s", "never"])
def test_everybody_copes_with_the_gaps(census: str, tmp_path: Path) -> None:
    recording = esx.run(lab(census))
    recording.save(tmp_path / "a.npz")
    assert esx.Recording.load(tmp_path / "a.npz") == recording
    drawn = {line.get_label(): line for line in plot_sharing(recording).get_lines()}
    label = "what the contents allow to reclaim"
    if census == "never":
        assert label not in drawn
    else:
        assert (drawn[label].get_xdata() * 60).round(6).tolist() == [0, 10, 20, 25]
        assert min(drawn[label].get_ydata()) >= 0
    text = html_bytes(recording, "a").decode()
    assert ("was not counted" in text) == (census == "never")
    assert ("what the contents allow" in text) == (census != "never")
    census_table = recording.table("census")
    assert len(census_table) == 26
    gaps = recording.to_xarray().census_reclaimed_pages.isnull().to_numpy()
    assert gaps.sum() == 26 - len(recording.counted)


def test_an_interrupted_run_need_not_end_with_one() -> None:
    def stop(done: int, _total: int) -> None:
        if done == 13:
            raise KeyboardInterrupt

    with pytest.raises(RunInterrupted) as interrupted:
        esx.run(lab("10s"), progress=stop)
    recording = interrupted.value.recording
    assert recording.counted.tolist() == [0, 10]
    assert recording.time_s[-1] == 13


def test_rows_of_who_is_off_stay_as_they_were() -> None:
    vms = esx.run(lab("never")).vms
    off = np.ones(26, bool)
    off[7:20] = False
    of_host = ("stalled_s", "blocked_s")  # what became of it is known when it is gone
    for name, column in vms.items():
        gaps = missing(column)
        assert name in of_host or gaps[off, 1].all(), name
    assert (vms["max_pages"][~off, 1] == 4096).all()
    assert (vms["allocated_pages"][:, 0] == np.arange(26) * 40).all()


def test_the_command_says_so(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from esxcore.cli import main

    text = '[host]\nmemory = "64MiB"\n[[vms]]\nname = "a"\nmax = "8MiB"\n[run]\nduration = "3s"\n'
    (tmp_path / "a.toml").write_text(text + 'census = "never"\n')
    arguments = ["run", str(tmp_path / "a.toml"), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(main, arguments)
    assert "Sharing reclaims 0.0 MiB; what the contents would allow was not counted." in done.output
    told = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).output)
    assert told["sharing"]["possible_pages"] is None
    assert told["sharing"]["fraction"] is None
