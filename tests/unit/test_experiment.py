"""Runs: small scenarios whose every number can be told beforehand."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from esxcore.errors import (
    ArgumentTypeError,
    ConfigError,
    DataError,
    OutOfMachineMemoryError,
    PageRangeError,
    RealMemoryError,
    ScenarioError,
)
from esxcore.experiment import RunInterrupted, build_host, run
from esxcore.host import Host
from esxcore.recording import Recording
from esxcore.scenario import Scenario
from esxcore.workload import Accesses

PAGES = 1024  # 4 MiB
NOTHING = np.empty(0, np.int64)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two VMs of 1024 pages with the same 1024 contents, and a record that writes 10 of them."""
    ids = np.tile(np.arange(PAGES), 2)
    np.savez(tmp_path / "twins.npz", id=ids, vm_pages=np.array([PAGES, PAGES]))
    bits = np.zeros((3, PAGES), bool)
    bits[1, 100:110] = True
    np.savez(
        tmp_path / "ten.npz",
        read=np.packbits(np.roll(bits, 5, axis=1), axis=1),
        write=np.packbits(bits, axis=1),
        pages=np.array(PAGES),
    )
    return tmp_path


def scenario_in(folder: Path, **sections: Any) -> Scenario:
    """Two quiet twins on a host with room for both, scanned in four seconds."""
    data: dict[str, Any] = {
        "host": {"memory": "16MiB", "seed": 5},
        "policy": {"name": "none"},
        "sharing": {"vm_rate": 256, "host_rate": 512},
        "vms": [
            {"name": name, "max": "4MiB", "contents": {"trace": "twins.npz", "vm": vm}}
            for vm, name in enumerate(["left", "right"])
        ],
        "run": {"duration": "8s"},
    }
    for name, section in sections.items():
        data[name] = data.get(name, {}) | section if isinstance(section, dict) else section
    return Scenario.from_mapping(data, "my.toml", folder)


def with_vm(vm: int, **keys: Any) -> list[dict[str, Any]]:
    """The twins, one of them with more keys or other ones."""
    vms = [
        {"name": name, "max": "4MiB", "contents": {"trace": "twins.npz", "vm": at}}
        for at, name in enumerate(["left", "right"])
    ]
    vms[vm] |= keys
    return vms


def reclaimed(recording: Recording) -> list[int]:
    return [int(pages) for pages in recording.host["reclaimed_pages"]]


def test_quiet_twins_end_with_everything_shared(folder: Path) -> None:
    recording = run(scenario_in(folder))
    assert recording.time_s.tolist() == list(range(9))
    assert reclaimed(recording)[0] == 0
    assert 0 < reclaimed(recording)[2] < PAGES
    assert reclaimed(recording)[4:] == [PAGES] * 5
    assert (recording.census["reclaimed_pages"] == PAGES).all()
    assert (recording.host["allocated_pages"] == 2 * PAGES).all()
    assert recording.vms["consumed"][-1].tolist() == [PAGES / 2, PAGES / 2]
    peak = recording.sharing_peak()
    assert peak is not None
    assert (peak.fraction, peak.time_s) == (1.0, 4.0)


def test_the_first_sample_is_taken_before_anything_happens(folder: Path) -> None:
    recording = run(scenario_in(folder, vms=with_vm(0, workload={"activity": "ten.npz"})))
    for name in ("scanned_pages", "references", "cow_breaks", "shared_pages"):
        assert recording.host[name][0] == 0


def test_the_last_second_is_sampled_even_off_the_beat(folder: Path) -> None:
    recording = run(scenario_in(folder, run={"duration": "10s", "sample": "4s"}))
    assert recording.time_s.tolist() == [0, 4, 8, 10]


def test_one_seed_is_one_recording(folder: Path) -> None:
    scenario = scenario_in(folder)
    assert run(scenario).to_bytes() == run(scenario).to_bytes()
    other = run(scenario, seed=6)
    assert other.seed == 6
    assert reclaimed(other) != reclaimed(run(scenario))
    assert reclaimed(other)[-1] == PAGES


def test_a_recording_says_how_to_repeat_it(folder: Path) -> None:
    scenario = scenario_in(folder)
    recording = run(scenario, seed=11)
    told = Scenario.from_mapping(tomllib.loads(recording.scenario), "told", folder)
    assert told == scenario
    again = run(told, seed=recording.seed)
    assert again.to_bytes() == recording.to_bytes()


def test_writes_break_sharing_and_reads_do_not(folder: Path) -> None:
    workload = {"activity": "ten.npz", "start": "5s"}
    three = [*with_vm(1, workload=workload), with_vm(0)[0] | {"name": "third"}]
    recording = run(scenario_in(folder, vms=three))
    assert recording.vm_names == ("left", "right", "third")
    # the record's second 1 is the virtual second from 6 to 7
    assert recording.host["cow_breaks"].tolist() == [0] * 7 + [10, 10]
    assert recording.vms["cow_breaks"][-1].tolist() == [0, 10, 0]
    assert recording.vms["references"][-1].tolist() == [0, 20, 0]
    assert reclaimed(recording)[6:] == [2 * PAGES, 2 * PAGES - 10, 2 * PAGES - 10]
    assert recording.census["reclaimed_pages"][-1] == 2 * PAGES - 10


def test_a_replay_repeats(folder: Path) -> None:
    workload = {"activity": "ten.npz", "offset": "1s", "repeat": True}
    recording = run(scenario_in(folder, vms=with_vm(0, workload=workload)))
    per_second = np.diff(recording.vms["references"][:, 0]).tolist()
    assert per_second == [20, 0, 0, 20, 0, 0, 20, 0]


def test_salt_keeps_domains_apart(folder: Path) -> None:
    apart = run(scenario_in(folder, vms=with_vm(1, salt="tenant")))
    assert reclaimed(apart)[-1] == apart.census["reclaimed_pages"][-1] == 0
    assert apart.sharing_peak() is None
    per_vm = run(scenario_in(folder, sharing={"salt": "per-vm"}))
    assert reclaimed(per_vm)[-1] == 0


def test_sharing_can_be_switched_off(folder: Path) -> None:
    recording = run(scenario_in(folder, sharing={"enabled": False}))
    assert recording.host["scanned_pages"][-1] == 0
    assert reclaimed(recording)[-1] == 0


def test_draws_miss_what_a_permutation_finds(folder: Path) -> None:
    recording = run(scenario_in(folder, sharing={"order": "draws"}))
    assert recording.host["scanned_pages"][4] == 2 * PAGES
    assert 0 < reclaimed(recording)[4] < PAGES


def test_count_makes_equal_vms(folder: Path) -> None:
    vms = [with_vm(0)[0] | {"count": 3}]
    recording = run(scenario_in(folder, vms=vms))
    assert recording.vm_names == ("left-1", "left-2", "left-3")
    assert reclaimed(recording)[-1] == 2 * PAGES


def test_both_kinds_of_content_share_the_same(folder: Path) -> None:
    workload = {"activity": "ten.npz", "start": "2s"}
    tokens, real = (
        run(scenario_in(folder, host={"content": kind}, vms=with_vm(0, workload=workload)))
        for kind in ("tokens", "bytes")
    )
    for name in ("shared_pages", "reclaimed_pages", "cow_breaks", "zero_pages", "hint_frames"):
        assert tokens.host[name].tolist() == real.host[name].tolist(), name


def test_progress_is_told_every_second(folder: Path) -> None:
    told: list[tuple[int, int]] = []
    run(scenario_in(folder), progress=lambda done, total: told.append((done, total)))
    assert told == [(second, 8) for second in range(1, 9)]


def test_the_host_can_be_had_for_experiments_by_hand(folder: Path) -> None:
    host = build_host(scenario_in(folder))
    assert host.now == 0
    assert list(host.vms()["name"]) == ["left", "right"]
    assert build_host(scenario_in(folder, host={"content": "bytes"})).read("left", 3).shape == (
        4096,
    )
    host.scan(2 * PAGES)
    assert host.stats()["reclaimed_pages"] == PAGES


class Writer:
    """Writes as many pages a second as it is told, one after the other."""

    def __init__(self, pages: int) -> None:
        self.pages = pages
        self.asked: list[int] = []

    def accesses(self, second: int) -> Accesses:
        self.asked.append(second)
        return Accesses(NOTHING, np.arange(self.pages) + self.pages * second)


EMPTY_VM = [{"name": "empty", "max": "8MiB"}]


def test_a_workload_may_be_written_in_python(folder: Path) -> None:
    writer = Writer(100)
    recording = run(scenario_in(folder, vms=EMPTY_VM), workloads={"empty": writer})
    assert writer.asked == list(range(8))
    assert recording.host["zero_fills"].tolist() == list(range(0, 900, 100))


def test_active_pages_are_recorded(folder: Path) -> None:
    """A guest that is sampled whole: the 15 pages it touches, from the second it does."""
    workload = {"activity": "ten.npz", "offset": "1s", "repeat": True}
    watched = {"pages": PAGES, "period": "3s"}
    recording = run(scenario_in(folder, sampling=watched, vms=with_vm(0, workload=workload)))
    assert recording.vms["active_pages"].tolist() == [[0, 0], *[[15, 0]] * 8]
    assert recording.vms["active_fraction"][-1].tolist() == [15 / PAGES, 0]
    unwatched = run(scenario_in(folder, sampling={"pages": 0}, vms=with_vm(0, workload=workload)))
    assert (unwatched.vms["active_pages"] == -1).all()


def test_a_workload_in_python_takes_the_place_of_the_scenarios(folder: Path) -> None:
    vms = with_vm(0, workload={"activity": "ten.npz", "repeat": True})
    idle = Writer(0)
    recording = run(scenario_in(folder, vms=vms), workloads={"left": idle})
    assert recording.host["references"][-1] == 0


def test_a_starved_guest_stands_still_and_is_counted(folder: Path) -> None:
    writer = Writer(300)
    scenario = scenario_in(folder, host={"memory": "4MiB"}, vms=EMPTY_VM)
    recording = run(scenario, workloads={"empty": writer})
    # 1024 machine pages last for three seconds and 124 references of the fourth
    assert recording.vms["stalled_s"][:, 0].tolist() == [0, 0, 0, 0, 1, 2, 3, 4, 5]
    assert recording.vms["references"][-1, 0] == PAGES
    assert writer.asked == [0, 1, 2, 3]


def test_an_error_of_a_workload_comes_out_whole(folder: Path) -> None:
    class Broken:
        def accesses(self, second: int) -> Accesses:
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        run(scenario_in(folder), workloads={"left": Broken()})


def pages_of(*ppns: Any, dtype: Any = np.int64) -> NDArray[Any]:
    return np.array(ppns, dtype)


@pytest.mark.parametrize(
    ("ppns", "error"),
    [
        (pages_of(PAGES), PageRangeError),
        (pages_of(-1), PageRangeError),
        (pages_of(1.5, dtype=float), ArgumentTypeError),
        (pages_of(True, dtype=bool), ArgumentTypeError),
    ],
)
def test_what_a_workload_returns_is_checked(
    folder: Path, ppns: NDArray[Any], error: type[Exception]
) -> None:
    class Wrong:
        def accesses(self, second: int) -> Accesses:
            return Accesses(NOTHING, ppns)

    with pytest.raises(error):
        run(scenario_in(folder), workloads={"left": Wrong()})


def test_a_workload_for_nobody_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="no virtual machine 'lefft'; did you mean 'left'"):
        run(scenario_in(folder), workloads={"lefft": Writer(1)})
    with pytest.raises(ArgumentTypeError, match=r"int has no method batch\(now\) or accesses"):
        run(scenario_in(folder), workloads={"left": 7})  # type: ignore[dict-item]


@pytest.mark.parametrize("seed", [-1, 2**128])
def test_a_seed_out_of_range_is_refused(folder: Path, seed: int) -> None:
    with pytest.raises(ConfigError, match="seed"):
        run(scenario_in(folder), seed=seed)


CONTRADICTIONS = [
    (
        with_vm(1, contents={"trace": "twins.npz", "vm": 2}),
        "my.toml: vms[1].contents.vm is 2; expected 0 to 1, a VM of twins.npz",
    ),
    (
        with_vm(1, max="1MiB"),
        'my.toml: vms[1].max is "1MiB"; expected at least 4096KiB, the size of its contents',
    ),
    (
        [{"name": "small", "max": "2MiB", "workload": {"activity": "ten.npz"}}],
        'my.toml: vms[0].workload.activity is "ten.npz"; expected a record of at most 512 pages,',
    ),
    (
        with_vm(0, workload={"activity": "ten.npz", "offset": "3s"}),
        'my.toml: vms[0].workload.offset is "3s"; expected less than 3s, the length of the record',
    ),
]


@pytest.mark.parametrize(("vms", "said"), CONTRADICTIONS)
def test_a_contradiction_with_a_data_file_is_one_line(
    folder: Path, vms: list[dict[str, Any]], said: str
) -> None:
    with pytest.raises(ScenarioError) as error:
        run(scenario_in(folder, vms=vms))
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


def test_a_missing_data_file_is_named(folder: Path) -> None:
    vms = with_vm(1, contents={"trace": "none.npz", "vm": 0})
    with pytest.raises(DataError, match=f"{folder / 'none.npz'}: no such file"):
        run(scenario_in(folder, vms=vms))


def test_contents_that_do_not_fit_the_host_are_refused_with_numbers(folder: Path) -> None:
    with pytest.raises(ScenarioError) as error:
        run(scenario_in(folder, host={"memory": "6MiB"}))
    cause = error.value.__cause__
    assert isinstance(cause, OutOfMachineMemoryError)
    assert (cause.wanted_pages, cause.free_pages) == (PAGES, 512)
    assert str(error.value) == (
        'my.toml: host.memory is "6MiB"; expected room for the contents of vms[1] (VM "right": '
        "1024 machine pages are wanted but 512 are free)"
    )


@pytest.mark.parametrize("kept", ["max", "contents"])
def test_too_little_real_memory_names_the_vm_and_its_size(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kept: str
) -> None:
    def power_on(*_: Any, **__: Any) -> None:
        raise RealMemoryError("it takes 4.0 GiB")

    monkeypatch.setattr(Host, "power_on", power_on)
    sizes = {"max": "4MiB", "contents": {"trace": "twins.npz", "vm": 0}}
    shown = {"max": '"4MiB"', "contents": '{ trace = "twins.npz", vm = 0 }'}[kept]
    with pytest.raises(ScenarioError) as error:
        run(scenario_in(folder, vms=[{"name": "left", kept: sizes[kept]}]))
    assert str(error.value).startswith(f"my.toml: vms[0].{kept} is {shown}; ")
    assert str(error.value).endswith(
        'expected what this system has memory for (VM "left": it takes 4.0 GiB)'
    )


def test_max_may_be_left_out_where_contents_are_given(folder: Path) -> None:
    vms = [{"name": "left", "contents": {"trace": "twins.npz", "vm": 0}}]
    assert run(scenario_in(folder, vms=vms)).vms["max_pages"][0].tolist() == [PAGES]


class Stopped(Writer):
    """Presses Ctrl-C in its fourth second."""

    def accesses(self, second: int) -> Accesses:
        if second == 3:
            raise KeyboardInterrupt
        return super().accesses(second)


def test_ctrl_c_keeps_what_was_recorded(folder: Path) -> None:
    scenario = scenario_in(folder, vms=EMPTY_VM)
    whole = run(scenario, workloads={"empty": Writer(100)})
    with pytest.raises(RunInterrupted) as caught:
        run(scenario, workloads={"empty": Stopped(100)})
    kept = caught.value.recording
    assert kept.time_s.tolist() == [0, 1, 2, 3]
    assert kept.host["zero_fills"].tolist() == whole.host["zero_fills"][:4].tolist()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"workloads": 5}, "workloads: 5; expected a mapping of names of VMs to workloads"),
        ({"progress": 5}, "progress: 5; expected a function of two numbers"),
    ],
)
def test_arguments_of_a_wrong_type_are_named(arguments: dict[str, Any], said: str) -> None:
    scenario = Scenario.builtin()
    with pytest.raises(ArgumentTypeError, match=said):
        run(scenario, **arguments)
    with pytest.raises(ArgumentTypeError, match="scenario: 5; expected a Scenario"):
        run(5, **arguments)  # type: ignore[arg-type]
