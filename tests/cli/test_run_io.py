"""``esxcore run`` of guests with devices: what it prints and draws, and bad input as one line."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest

from esxcore import Scenario, ScenarioError, run
from esxcore.plot import draw_io, plot_io, png_bytes
from esxcore.recording import Recording
from runs import esxcore_run, names

SCENARIO = """
[host]
memory = "96MiB"
low_memory = "16MiB"
[policy]
name = "none"
[io]
threshold = 8
decay = "never"
[[vms]]
name = "low"
max = "16MiB"
workload = { kind = "toucher", sizes = "16MiB", access = "write" }
[[vms]]
name = "web"
max = "32MiB"
start = "1s"
nic = { tx = [["0s", 1000], ["3s", 0]], reuse = "few", few = 5 }
[run]
duration = "6s"
"""


def write(folder: Path, *changes: tuple[str, str]) -> str:
    text = SCENARIO
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    (folder.parent / "in" / "io.toml").write_text(text)
    return "../in/io.toml"


def test_pictures_of_an_older_run_do_not_stay(folder: Path) -> None:
    out = folder / "esxcore-run"
    out.mkdir()
    for name in ("io.png", "throughput.png", "division.png", "notes.txt", "mine.png"):
        (out / name).write_text("old")
    quiet = write(folder, ('nic = { tx = [["0s", 1000], ["3s", 0]], reuse = "few", few = 5 }', ""))
    assert esxcore_run(quiet).exit_code == 0
    assert names(out) == {
        "recording.npz",
        "sharing.png",
        "throughput.png",
        "notes.txt",
        "mine.png",
    }
    assert (out / "throughput.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "mine.png").read_text() == "old"


def test_io_is_printed_recorded_and_drawn(folder: Path) -> None:
    done = esxcore_run(write(folder))
    assert (done.exit_code, done.stderr) == (0, "")
    assert "I/O of pages; copied: through a bounce buffer" in done.stdout
    printed = [line.split() for line in done.stdout.splitlines()]
    assert ["web", "2,000", "40", "5", "5", "0"] in printed
    assert "io.png" in done.stdout
    assert names(folder / "esxcore-run") == {
        "recording.npz",
        "sharing.png",
        "throughput.png",
        "io.png",
    }
    again = esxcore_run(write(folder), "--json")
    (row,) = json.loads(again.stdout)["io"]
    counts = {"io_pages": 2000, "io_copies": 40, "io_remaps": 5, "hot_pages": 5, "packets": 2000}
    seconds = row.pop("device_s")
    assert row == {"name": "web", "dropped_packets": 0} | counts
    assert seconds == pytest.approx((2000 * 2200 + 40 * 1500 + 10 * 12_000 + 5 * 700) / 1e9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ('low_memory = "16MiB"', 'low_memory = "1GiB"'),
            'host.low_memory is "1GiB"; expected at most "96MiB", which is host.memory',
        ),
        (
            ('low_memory = "16MiB"', 'low_memory = "0MiB"'),
            'host.low_memory is "0MiB"; expected a size',
        ),
        (
            ("threshold = 8", "threshold = 0"),
            "io.threshold is 0; expected copies, a whole number from 1",
        ),
        (("threshold = 8", 'threshold = "best"'), 'io.threshold is "best"; expected copies'),
        (('decay = "never"', 'decay = "0s"'), 'io.decay is "0s"; expected whole seconds'),
        (('decay = "never"', 'mode = "dma"'), 'io.mode is "dma"; expected "remap", "first-use"'),
        (('decay = "never"', 'scarce = "hot"'), 'io.scarce is "hot"; expected "coldest"'),
        (('decay = "never"', "treshold = 1"), "unknown key io.treshold; did you mean"),
        (
            ("few = 5", "few = 0"),
            'vms[1].nic.few (VM "web") is 0; expected buffers, a whole number from 1',
        ),
        (
            ("few = 5", "exponent = 1.0"),
            'vms[1].nic (VM "web"): exponent is given, but reuse is "few"',
        ),
        (
            ("few = 5", "tx_ring = 9000"),
            'vms[1] (VM "web"): nic rings is 9256 buffers in a VM of 8192',
        ),
        (('["3s", 0]', '["0s", 5]'), 'vms[1].nic.tx (VM "web") is [["0s", 1000], ["'),
        (('["3s", 0]', '["3s", -1]'), 'vms[1].nic.tx (VM "web") is [["0s", 1000], ["'),
        (("few = 5", "rx = true"), 'vms[1].nic.rx (VM "web") is true; expected packets a second'),
        (
            ("few = 5", 'dma = "none"'),
            'vms[1].nic.dma (VM "web") is "none"; expected "low" or "all"',
        ),
        (
            ('start = "1s"', 'disk = "none"'),
            'vms[1].disk.dma (VM "web") is "none"; expected "low" or "all"',
        ),
        (
            ('start = "1s"', 'disk = "low"'),
            'vms[1] (VM "web"): disk is given; expected guest = "linux" or "windows"',
        ),
    ],
)
def test_what_is_wrong_comes_out_as_one_line(
    folder: Path, change: tuple[str, str], message: str
) -> None:
    path = folder / write(folder, change)
    with pytest.raises(ScenarioError) as caught:
        run(Scenario.from_toml(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def recorded(*changes: tuple[str, str]) -> Recording:
    text = SCENARIO
    for old, new in changes:
        text = text.replace(old, new, 1)
    return run(Scenario.from_mapping(tomllib.loads(text)))


def test_the_competitive_threshold_goes_by_the_costs_of_the_run() -> None:
    for costs, copies in (("nvme", 8), ("2002", 4)):
        changes = (
            ("threshold = 8", 'threshold = "competitive"'),
            ("[run]", f'[run]\ncosts = "{costs}"'),
        )
        (row,) = recorded(*changes).io()
        assert row.io_copies == 5 * copies


def test_a_scenario_with_devices_is_read_back_as_it_is() -> None:
    recording = recorded()
    again = run(Scenario.from_mapping(tomllib.loads(recording.scenario)))
    assert again == recording


def test_the_picture_shows_copies_a_second() -> None:
    recording = recorded()
    rates = recording.io_per_s(1)
    np.testing.assert_array_equal(rates, [np.nan, np.nan, 0, 40, 0, 0, 0])
    ax = plot_io(recording, 1)
    transfers, copies, moves = (line.get_ydata() for line in ax.get_lines())
    np.testing.assert_array_equal(copies, rates)
    np.testing.assert_array_equal(transfers, recording.io_per_s(1, "io_pages"))
    np.testing.assert_array_equal(moves, recording.io_per_s(1, "io_remaps"))
    figure = draw_io(recording)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["web"]
    assert png_bytes(figure).startswith(b"\x89PNG")
