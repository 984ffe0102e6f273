"""``esxcore run`` of guests at work: what it prints and draws, and every bad input as one line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from esxcore.recording import Recording
from page_traces import oracle_general
from runs import esxcore_run, names

SCENARIO = """
[host]
memory = "96MiB"
[[vms]]
name = "web"
max = "32MiB"
guest = { kind = "linux", boot_time = "1s" }
workload = WORKLOAD
[[vms]]
name = "quiet"
max = "8MiB"
min = "1MiB"
overhead = "1MiB"
[run]
duration = "5s"
"""

OWN = """
import numpy as np
from esxcore import Batch
class Nothing:
    def batch(self, now):
        return Batch([])
class Breaks:
    def batch(self, now):
        return 1 / 0
class Wrong:
    def batch(self, now):
        return Batch([2**32])
class Long:
    def batch(self, now):
        return Batch(np.array([1.5]))
class Seconds:
    def accesses(self, second):
        return {1}
"""


def write(folder: Path, workload: str) -> str:
    source = folder.parent / "in"
    (source / "work.toml").write_text(SCENARIO.replace("WORKLOAD", workload))
    (source / "mine.py").write_text(OWN)
    return "../in/work.toml"


def test_what_got_done_is_printed_drawn_and_told_as_json(folder: Path) -> None:
    path = write(folder, '{ kind = "scan", memory = "4MiB", op_time = "1ms", refs_per_s = 100 }')
    done = esxcore_run(path)
    assert (done.exit_code, done.stderr) == (0, "")
    assert "What the guests got done" in done.stdout
    (line,) = [row for row in done.stdout.splitlines() if row.split()[:1] == ["web"] and "%" in row]
    operations, rate, some, full = line.replace(",", "").replace("%", "").split()[1:]
    assert 380 <= int(operations) <= 400
    assert float(rate) == pytest.approx(int(operations) / 5, abs=0.06)
    assert (some, full) == ("0.00", "0.00")
    assert "throughput: esxcore-run/throughput.png" in done.stdout
    picture = (folder / "esxcore-run/throughput.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    told = json.loads(esxcore_run(path, "--json").stdout)
    recording = Recording.load(folder / "esxcore-run/recording.npz")
    assert told["work"] == [row._asdict() for row in recording.work()]
    assert [row["name"] for row in told["work"]] == ["web"]


def test_nothing_is_said_of_guests_without_work(folder: Path) -> None:
    done = esxcore_run("../in/twins.toml")
    assert "What the guests got done" not in done.stdout
    assert "esxcore-run/throughput.png" not in names(folder)
    assert json.loads(esxcore_run("../in/twins.toml", "--json").stdout)["work"] == []


def with_file(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda source: (source / name).write_bytes(data) and None


GOOD = oracle_general(np.array([1, 2, 1]))
FAILURES: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "truncated trace": (
        '{ trace = "a.bin" }',
        with_file("a.bin", GOOD[:-1]),
        "in/a.bin: truncated: record 2 has 23 bytes; expected 24",
    ),
    "truncated zstd": (
        '{ trace = "a.zst" }',
        with_file("a.zst", b"\x28\xb5\x2f\xfd\x04"),
        "in/a.zst: truncated: the packed data end at byte 5",
    ),
    "wrong type": (
        '{ trace = "a.csv" }',
        with_file("a.csv", b"1\ntwo\n"),
        "in/a.csv: line 2: ",
    ),
    "out of range": (
        '{ trace = "a.csv" }',
        with_file("a.csv", b"page\n18446744073709551616\n"),
        "in/a.csv: line 2: ",
    ),
    "endless": (
        '{ trace = "a.csv" }',
        lambda source: (source / "a.csv").symlink_to("/dev/zero"),
        "in/a.csv: not a regular file; expected a trace of page references",
    ),
    "a pipe": (
        '{ trace = "a.csv" }',
        lambda source: os.mkfifo(source / "a.csv"),
        "in/a.csv: not a regular file; expected a trace of page references",
    ),
    "unknown operation": (
        '{ kind = "dbench", loadfile = "client.txt" }',
        with_file("client.txt", b'Mkdir "/clients" NT_STATUS_OK\nDance 7 NT_STATUS_OK\n'),
        "in/client.txt:2: ",
    ),
    "endless load": (
        '{ kind = "dbench", loadfile = "client.txt" }',
        lambda source: os.mkfifo(source / "client.txt"),
        "in/client.txt: not a regular file; expected a load file of dbench",
    ),
    "yields nothing": (
        '{ kind = "mine:Nothing" }',
        lambda source: None,
        "VM 'web': workload Nothing yields no reference and does not sleep past",
    ),
    "raises": (
        '{ kind = "mine:Breaks" }',
        lambda source: None,
        " s after it began: ZeroDivisionError: division by zero (",
    ),
    "a page out of range": (
        '{ kind = "mine:Wrong" }',
        lambda source: None,
        " s after it began: pages: 4294967296; expected 0 to 4294967295\n",
    ),
    "a page of a wrong type": (
        '{ kind = "mine:Long" }',
        lambda source: None,
        " s after it began: pages: float64 of shape (1,); expected integers of shape (references,)",
    ),
    "seconds of a wrong form": (
        '{ kind = "mine:Seconds" }',
        lambda source: None,
        " s after it began: accesses is set; expected Accesses\n",
    ),
}


@pytest.mark.parametrize(("workload", "make", "said"), FAILURES.values(), ids=FAILURES)
def test_bad_input_is_one_line_and_leaves_nothing(
    folder: Path, workload: str, make: Callable[[Path], None], said: str
) -> None:
    path = write(folder, workload)
    make(folder.parent / "in")
    done = esxcore_run(path)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("esxcore: error: ")
    assert not said.startswith(" s ") or "esxcore: error: workload " in done.stderr
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert names(folder) == set()
