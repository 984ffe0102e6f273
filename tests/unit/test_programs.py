"""Workloads that are built in: values that are checked when they are made, and what they do."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import esxcore
from esxcore import Program, dbench, files, idle, phases, replay, scan, toucher, zipf
from esxcore.errors import ArgumentTypeError, ConfigError
from esxcore.workload import KINDS

FUNCTIONS = (dbench, files, idle, phases, replay, scan, toucher, zipf)


@pytest.fixture
def loadfile(tmp_path: Path) -> Path:
    path = tmp_path / "client.txt"
    path.write_text(
        'NTCreateX "/clients/client1/a" 0x0 0x2 7 NT_STATUS_OK\n'
        "WriteX 7 0 8192 8192 NT_STATUS_OK\nFlush 7 NT_STATUS_OK\nClose 7 NT_STATUS_OK\n"
    )
    return path


def all_kinds(loadfile: Path) -> dict[str, Program]:
    return {
        "zipf": zipf("4MiB", exponent=1.0, processes=2),
        "toucher": toucher([("0s", "1MiB"), ("5s", "4MiB")]),
        "scan": scan(300, access="write"),
        "phases": phases("1MiB", "4MiB", calm_mean="3s", short="2s"),
        "idle": idle(period="2s"),
        "files": files(20, largest="1MiB"),
        "replay": replay([5, 6, 5, 9], repeat=True),
        "dbench": dbench(3, loadfile),
    }


def lived(program: Program, *, seed: int = 1, cuts: tuple[float, ...] = (6,)) -> tuple[Any, ...]:
    host = esxcore.Host(memory="64MiB", seed=seed, content="tokens", policy=None)
    vm = host.power_on("a", "32MiB", guest=esxcore.Guest("linux", boot_time="1s"))
    simulation = esxcore.Simulation(host)
    simulation.start(vm, program)
    for seconds in cuts:
        simulation.advance(seconds)
    host.audit()
    return simulation.report(vm), host.state_digest()


KIND_NAMES = sorted(set(KINDS) - {"activity"})


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_each_kind_is_a_value_and_runs(kind: str, loadfile: Path) -> None:
    program, again = all_kinds(loadfile)[kind], all_kinds(loadfile)[kind]
    assert program.kind == kind
    assert (program, hash(program)) == (again, hash(again))
    assert pickle.loads(pickle.dumps(program)) == program
    assert program != dbench(4, loadfile)
    report, _ = lived(program)
    assert report.operations > 0
    assert (report.living, report.killed) == (program.processes, 0)


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_one_seed_one_course_wherever_it_is_cut(kind: str, loadfile: Path) -> None:
    program = all_kinds(loadfile)[kind]
    whole = lived(program)
    assert lived(program, cuts=(0.5, 1.25, 0.25, 4)) == whole


def test_another_seed_is_another_course() -> None:
    assert lived(zipf("4MiB"), seed=1)[1] != lived(zipf("4MiB"), seed=2)[1]


def test_processes_have_memory_and_randomness_of_their_own() -> None:
    host = esxcore.Host(memory="64MiB", content="tokens", policy=None)
    vm = host.power_on("a", "16MiB")
    simulation = esxcore.Simulation(host)
    simulation.start(vm, zipf("1MiB", exponent=0, op_time="1ms", processes=2, base="2MiB"))
    simulation.advance(0.05)  # too short for all pages
    touched = [host.pmap("a")["mpn"][first : first + 256] >= 0 for first in (512, 768)]
    assert all(0 < part.sum() < 256 for part in touched)
    assert (touched[0] != touched[1]).any()
    simulation.advance(1)
    assert (host.pmap("a")["mpn"] >= 0).sum() == 512


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_signature_and_words_come_from_the_table(function: Callable[..., Program]) -> None:
    rows = KINDS[function.__name__].parameters
    taken = inspect.signature(function).parameters
    assert set(taken) - {"processes", "clients"} == set(rows)
    for name, row in rows.items():
        assert f"{name} : " in (function.__doc__ or "")
        if row.default is not None:
            given = taken[name].default
            assert Program.of(function.__name__, {name: given} | NEEDED[function.__name__])


NEEDED: dict[str, dict[str, Any]] = {
    "zipf": {"memory": 300},
    "toucher": {"sizes": 300},
    "scan": {"memory": 300},
    "phases": {"calm": 100, "burst": 300},
    "idle": {},
    "files": {"files": 3},
    "replay": {"trace": "builtin:trace_sort"},
    "dbench": {"loadfile": str(Path(__file__).parents[1] / "data" / "client.txt")},
}


def test_what_is_said_is_understood_alike() -> None:
    assert zipf("1MiB", op_time="100us") == zipf(256, op_time=0.0001)
    assert toucher("1MiB") == toucher([(0, 256)]) == toucher([("0s", "1MiB")])
    assert zipf("1MiB", refs_per_s=None) == zipf("1MiB")
    assert replay(np.array([1, 2, 1])) == replay([1, 2, 1])
    assert replay([1, 2, 1]) != replay([1, 2, 2])
    assert repr(phases("16MiB", "1GiB", calm_mean="90s", write_fraction=0.5)) == (
        "phases(calm='16MiB', burst='1GiB', calm_mean='90s', write_fraction=0.5)"
    )


@pytest.mark.parametrize(
    "program",
    [zipf("1MiB", op_time=1.5e-6, processes=3), toucher([(0, 3), (60, 0)]), idle(period="1h")],
    ids=lambda program: program.kind,
)
def test_a_table_says_the_same(program: Program) -> None:
    table = program.table()
    kind, processes = table.pop("kind"), table.pop("processes", 1)
    assert Program.of(kind, table, processes) == program


MISTAKES: dict[str, tuple[Callable[[], Program], type[Exception], str]] = {
    "no kind": (
        lambda: Program.of("zpif", {}),
        esxcore.ConfigError,
        "workload: 'zpif'; did you mean 'zipf'?",
    ),
    "no parameter": (
        lambda: zipf("1MiB", exponant=1),
        esxcore.ArgumentTypeError,
        "zipf: unknown parameter 'exponant'; did you mean 'exponent'?",
    ),
    "missing": (
        lambda: Program.of("zipf", {}),
        esxcore.ConfigError,
        "zipf: memory is missing; expected memory it refers to",
    ),
    "no memory": (lambda: zipf(0), esxcore.ConfigError, "zipf: memory is 0; expected at least 1"),
    "size": (
        lambda: zipf("220"),
        esxcore.ConfigError,
        "zipf: memory: '220' has no unit; expected one of KiB, MiB, GiB, TiB like '256MiB'",
    ),
    "range": (
        lambda: zipf("1MiB", exponent=11),
        esxcore.ConfigError,
        "zipf: exponent is 11; expected 0 to 10",
    ),
    "not a number": (
        lambda: zipf("1MiB", exponent=float("nan")),
        esxcore.ConfigError,
        "zipf: exponent is NaN; expected 0 to 10",
    ),
    "type": (
        lambda: zipf("1MiB", write_fraction="all"),
        esxcore.ArgumentTypeError,
        "zipf: write_fraction: 'all'; expected a number",
    ),
    "word": (
        lambda: scan("1MiB", access="erase"),
        esxcore.ConfigError,
        'scan: access is "erase"; expected "read" or "write"',
    ),
    "time": (
        lambda: scan("1MiB", op_time=-1),
        esxcore.ConfigError,
        "scan: op_time: -1; expected 0 to 2**33 seconds",
    ),
    "rate": (
        lambda: scan("1MiB", refs_per_s=0),
        esxcore.ConfigError,
        "scan: refs_per_s is 0; expected at least 1",
    ),
    "order": (
        lambda: toucher([("1min", "1MiB"), ("30s", "2MiB")]),
        esxcore.ConfigError,
        "toucher: sizes is 30 s after 60 s; expected ascending times",
    ),
    "pair": (
        lambda: toucher([("1min",)]),
        esxcore.ArgumentTypeError,
        "toucher: sizes: ('1min',); expected pairs of a time and a size, such as"
        " ('3min', '250MiB')",
    ),
    "working sets": (
        lambda: phases("2MiB", "1MiB"),
        esxcore.ConfigError,
        "phases: calm is 512; expected 0 to 256",
    ),
    "flag": (
        lambda: replay([1], repeat=1),
        esxcore.ArgumentTypeError,
        "replay: repeat: 1; expected True or False",
    ),
    "processes": (
        lambda: scan("1MiB", processes=0),
        esxcore.ConfigError,
        "scan: processes: 0; expected 1 to 65536",
    ),
    "activity": (
        lambda: Program.of("activity", {"record": 1}),
        esxcore.ArgumentTypeError,
        "activity: record: 1; a replay of activity is made with Activity",
    ),
}


@pytest.mark.parametrize(("make", "kind", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named(make: Callable[[], Program], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind) as caught:
        make()
    assert str(caught.value) == said


def test_too_many_processes_for_the_memory_that_can_be_named() -> None:
    host = esxcore.Host(memory="64MiB", content="tokens", policy=None)
    vm = host.power_on("a", "16MiB")
    program = scan("8TiB", processes=3)
    with pytest.raises(esxcore.ConfigError, match="processes is 3; expected fewer"):
        esxcore.Simulation(host).start(vm, program)


def test_a_file_that_changes_is_read_again(loadfile: Path) -> None:
    program = dbench(1, loadfile)
    assert lived(program)[0].operations > 0
    loadfile.write_text("Dance 1 NT_STATUS_OK\n")
    with pytest.raises(esxcore.DataError, match=r"client.txt:1: .*Dance"):
        pickle.loads(pickle.dumps(program)).core()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("nope",), r"^workload: 'nope'; expected one of toucher, zipf"),
        (("zpf",), r"^workload: 'zpf'; did you mean 'zipf'\?$"),
        ((5,), r"^workload: 5; expected one of toucher, zipf"),
        ((["zipf"],), r"^workload: \['zipf'\]; expected one of"),
        (("zipf", 5), r"^zipf: parameters: 5; expected pairs of a name and a value"),
        (("zipf", (1,)), r"^zipf: parameters: \(1,\); expected pairs"),
        (("zipf", (("memry", 5),)), r"^zipf: unknown parameter 'memry'; did you mean 'memory'\?$"),
        (("zipf", (("memory", 5),), "x"), r"^zipf: processes: 'x' is str; expected a whole number"),
        (("zipf", (("memory", 5),), 0), r"^zipf: processes: 0; expected 1 to 65536$"),
        (
            ("zipf", (("memory", {1}),)),
            r"^zipf: memory \{1\}; expected plain values, as Program.of",
        ),
        (("replay", (("trace", 5),)), r"^trace: 5; expected a PageTrace, or the path of one$"),
    ],
)
def test_a_program_made_by_hand_is_checked_too(given: tuple[Any, ...], said: str) -> None:
    with pytest.raises((ConfigError, ArgumentTypeError), match=said):
        Program(*given)
    assert Program("zipf", {"memory": 5}) == zipf("20KiB")  # type: ignore[arg-type]
