"""Every example runs as it is and says what it promises."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esxcore.contents import ContentTrace
from esxcore.datafile import packaged
from esxcore.recording import Recording

EXAMPLES = Path(__file__).parents[2] / "examples"
# Those with a picture; test_gallery.py runs them.
IN_GALLERY = {f"{path.stem}.py" for path in (EXAMPLES.parent / "docs" / "gallery").glob("*.png")}


def test_each_example_has_a_test() -> None:
    names = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".toml")}
    assert names == {*SCRIPTS, *SCENARIOS, *STUDIES, *IN_GALLERY}


def run_script(name: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def own_workload(printed: str, folder: Path) -> None:
    breaks = {name: int(count) for name, count in re.findall(r"(\S+) .* (\d+) COW", printed)}
    assert breaks["host"] == breaks["twin-1"] > 5000
    assert breaks["twin-2"] == 0


def scan_order(printed: str, folder: Path) -> None:
    found = dict(re.findall(r"(\w+) +([\d.]+)%", printed))
    assert found["permutation"] == "100.00"
    # one draw a page leaves a page out with probability 1/e, and a pair needs both of its pages
    assert 50 < float(found["draws"]) < 75


def scan_rates(printed: str, folder: Path) -> None:
    mib = [int(value) for value in re.findall(r": +(\d+) MiB after", printed)]
    assert len(mib) == 4
    assert mib == sorted(mib)
    assert mib[0] < mib[1] < mib[-1] == 962  # all there is: 246373 pages
    assert (folder / "scan_rates.png").read_bytes().startswith(b"\x89PNG")


def own_process(printed: str, folder: Path) -> None:
    found = re.findall(
        r"(\w+) +(\d+) operations, .* within ([\d.]+) ms, stalled for (\d+) s", printed
    )
    work = {name: (int(done), float(p99), int(stalled)) for name, done, p99, stalled in found}
    assert (
        work["roomy"][0] == 12 * (96 * 256 // 50 + 1) + 12
    )  # twelve rounds, and an idle wake each
    assert work["cramped"][0] < 0.7 * work["roomy"][0]
    assert work["cramped"][1] > 10 * work["roomy"][1]
    assert work["roomy"][2] == 0 < 60 < work["cramped"][2]


SCRIPTS = {
    "own_workload.py": own_workload,
    "own_process.py": own_process,
    "scan_order.py": scan_order,
    "scan_rates.py": scan_rates,
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_prints_what_it_promises(name: str, tmp_path: Path) -> None:
    SCRIPTS[name](run_script(name, tmp_path), tmp_path)


def identical_guests(result: dict[str, Any], recording: Recording) -> None:
    assert len(result["vms"]) == 10
    assert result["sharing"]["fraction"] == 1
    assert result["host"]["reclaimed_pages"] > 0.9 * result["host"]["resident_pages"]


def tenants(result: dict[str, Any], recording: Recording) -> None:
    trace = ContentTrace.load(packaged("fleet_a.npz"))
    within = 0
    for tenant in ((0, 2), (1, 4)):
        tokens = np.concatenate([trace.tokens(vm) for vm in tenant])
        within += tokens.size - np.unique(tokens).size
    assert result["host"]["reclaimed_pages"] == within


def from_empty(result: dict[str, Any], recording: Recording) -> None:
    (guest,) = result["vms"]
    assert guest["resident_pages"] == 16_665  # pages the record reads or writes at all
    assert 0 < guest["zero_pages"] == guest["shared_pages"]


def overcommit(result: dict[str, Any], recording: Recording) -> None:
    division = result["division"]
    vms = {vm["name"]: vm for vm in division["vms"]}
    assert vms["nginx"] == dict.fromkeys(vms["nginx"], 0) | {"name": "nginx"}  # gone
    assert vms["sqlite"]["balloon_pages"] == 0 < vms["sqlite"]["swapped_pages"]
    assert vms["py1"]["swapped_pages"] < vms["sqlite"]["swapped_pages"]  # balloons took the rest
    assert vms["py1"]["balloon_pages"] == 0  # given back as nginx went
    assert vms["redis"]["shares"] == 2 * vms["py1"]["shares"]
    assert set(division["state_s"]) == {"high", "soft", "hard", "low"}
    whole = division["host"]["resident_pages"] + 4 * 32 * 256  # with overhead
    assert whole < 900 * 256 < 4 * 256 * 256
    course_of_overcommit(recording)


def guests(result: dict[str, Any], recording: Recording) -> None:
    work = {row["name"]: row for row in result["work"]}
    assert list(work) == ["web", "grows", "idle", "dumps"]
    rate = {name: recording.ops_per_s(place) for place, name in enumerate(recording.vm_names)}
    balloon, swapped, zero, resident = (
        dict(zip(recording.vm_names, recording.vms[f"{what}_pages"].T, strict=True))
        for what in ("balloon", "swapped", "zero", "allocated")
    )
    boot, grown, end = 5, 60 + 5, 240  # samples, two seconds each
    # Windows has all its memory after boot, its zero pages are shared, and little is paged out.
    assert resident["idle"][boot] > 250 * 256
    assert not balloon["idle"][: boot + 2].any()
    assert zero["idle"][end] > 100 * 256
    assert 0 < swapped["idle"].max() < 16 * 256
    shared = {vm["name"]: vm["shared_pages"] for vm in result["vms"]}
    assert min(shared["web"], shared["grows"]) > 12 * 256 > 5 * 256 > shared["dumps"]
    # One that grows is slow for a moment, and others are while it is large.
    assert rate["grows"][grown : grown + 5].min() < 0.75 * rate["grows"][grown - 8]
    assert rate["grows"][grown + 20] > 0.8 * rate["grows"][grown - 8]
    assert balloon["grows"][grown + 60] < 0.5 * balloon["grows"][grown - 8]
    assert rate["web"][10:50].mean() < 0.95 * rate["web"][end]  # in its balloon was what it needs
    assert rate["web"][115:140].mean() < 0.99 * rate["web"][end]  # a little slower
    assert rate["web"][end] > 3200
    assert 0.05 > work["grows"]["stall_fraction"] > work["web"]["stall_fraction"] > 0.02
    # And who needs little does not notice.
    assert abs(work["dumps"]["ops_per_s"] / 50_000 - 470 / 480) < 0.01
    assert (balloon["dumps"][20:] > 50 * 256).all()


def hot_io_run(result: dict[str, Any], recording: Recording) -> None:
    io = {row["name"]: row for row in result["io"]}
    assert list(io) == ["few", "zipf", "files"]
    assert not any(row["dropped_packets"] for row in io.values())
    # 32 buffers, 16 copies each, of more than a million packets.
    few = io["few"]
    assert (few["io_copies"], few["io_remaps"]) == (32 * 16, 32)
    assert few["io_pages"] == few["packets"] > 2000 * few["io_copies"]
    copies = dict(zip(recording.vm_names, map(recording.io_per_s, range(4)), strict=True))
    begin, more = 17, 126
    assert copies["few"][begin : begin + 1].sum() > 0 == copies["few"][begin + 2 :].sum()
    # Copies fall, rise with the traffic and fall again.
    zipf = [copies["zipf"][at : at + 5].mean() for at in (begin, more - 10, more, 290)]
    assert zipf[0] > 3 * zipf[1]
    assert zipf[2] > 5 * zipf[1]
    assert zipf[2] > 8 * zipf[3]
    # A page cache that is always new has no hot pages.
    assert io["files"]["io_copies"] > 0.95 * io["files"]["io_pages"] > 50_000
    assert Path(result["files"]["io"]).name == "io.png"


HIGH, LOW = 0, 3


def course_of_overcommit(recording: Recording) -> None:
    """What happens when, sample by sample: the scenario says it at its head."""
    assert (recording.time_s == np.arange(8 * 60 + 1)).all()
    state = recording.host["free_state"]
    balloon, swapped, target, allocated = (
        dict(zip(recording.vm_names, recording.vms[f"{what}_pages"].T, strict=True))
        for what in ("balloon", "swapped", "target", "allocated")
    )
    come, change_tax, change_shares, go = 120, 240, 300, 420

    # What does not fit at power-on is in the swap file at once, twice, and memory is low then ...
    short = np.flatnonzero(state == LOW)
    assert {0, come} <= set(short) <= {*range(5), *range(come, come + 5)}
    assert all(swapped[name][0] > 16_000 for name in ("py1", "py2", "redis", "sqlite"))
    assert all(swapped[name][come] > swapped[name][come - 1] for name in ("py1", "redis", "sqlite"))
    # ... and high from a minute on until nginx comes, and from half a minute after that.
    assert (state[60:come] == HIGH).all()
    assert (state[come + 30 :] == HIGH).all()
    # Balloon drivers take what is missing, and more when nginx comes; that of sqlite is not there.
    for name in ("py1", "py2"):
        assert balloon[name][0] == 0 < balloon[name][60] < balloon[name][come + 30]
        assert allocated[name][60] > target[name][60] - 100  # taken before the target rose again
    assert not balloon["sqlite"].any()
    for at in (60, come + 30, change_tax):
        assert swapped["sqlite"][at] > swapped["py1"][at] + 5000
        assert allocated["sqlite"][at] <= target["sqlite"][at] + 2000
    # Who works is worth more than who is idle, until there is no tax.
    assert target["redis"][60] > 1.3 * target["py1"][60]
    assert target["nginx"][change_tax - 1] > 1.3 * target["py1"][change_tax - 1]
    after = target["redis"][change_tax + 5]
    assert abs(after - target["py1"][change_tax + 5]) <= 1
    # The idle are let have their part again, and do not ask for it.
    assert balloon["py1"][change_tax + 5] < balloon["py1"][change_tax - 1]
    assert (allocated["py1"][change_tax:] == allocated["py1"][change_tax]).all()
    # Twice the shares, twice the memory.
    assert abs(target["redis"][change_shares + 5] - 2 * target["py1"][change_shares + 5]) <= 2
    # What nginx leaves is more than balloons hold.
    assert balloon["py1"][go] > 0 == balloon["py1"][go + 5]
    assert (target["nginx"][[come - 1, go]] == -1).all()


SCENARIOS = {
    "identical_guests.toml": identical_guests,
    "tenants.toml": tenants,
    "from_empty.toml": from_empty,
    "overcommit.toml": overcommit,
    "guests.toml": guests,
    "hot-io.toml": hot_io_run,
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_ends_as_it_promises(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "esxcore", "run", str(EXAMPLES / name), "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    recording = Recording.load(tmp_path / "esxcore-run" / "recording.npz")
    SCENARIOS[name](json.loads(done.stdout), recording)


def tax(result: dict[str, Any]) -> None:
    """What the head of the study says of the tax."""
    busy, whole = (
        {
            policy: np.array(
                [row[metric] for row in result["rows"] if row["policy"] == policy]
            ).reshape(5, 3)
            for policy in ("esx2002", "proportional")
        }
        for metric in ("ops_per_s:busy", "ops_per_s")
    )
    rising = busy["esx2002"].mean(axis=1)
    assert (np.diff(rising) > 0).all()
    assert rising[0] < 600 < 850 < rising[3]  # of 1000 a second
    assert rising[4] - rising[3] < 0.1 * (rising[3] - rising[0])
    assert (whole["proportional"] == whole["proportional"][0]).all()
    assert (busy["proportional"][0] == busy["esx2002"][0]).all()


STUDIES = {"sweep.toml": tax}


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_ends_as_it_promises(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "esxcore", "sweep", str(EXAMPLES / name), "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    STUDIES[name](json.loads(done.stdout))
