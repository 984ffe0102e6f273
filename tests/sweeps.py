"""A small laboratory for studies, and policies that do harm to the process that runs them."""

from __future__ import annotations

import sqlite3
import subprocess
import time
import tomllib
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from esxcore import HostView, Scenario, SweepResult
from esxcore.study.engines.worker import Job, Outcome
from esxcore.study.ledger import same_number

LAB = """
[host]
memory = "96MiB"
swap = "128MiB"

[run]
duration = "20s"

[[vms]]
name = "idle"
max = "64MiB"
overhead = "0MiB"
workload = { kind = "toucher", sizes = [["0s", "50MiB"], ["10s", "10MiB"]], refs_per_s = 4000 }

[[vms]]
name = "busy"
max = "64MiB"
overhead = "0MiB"
workload = { kind = "zipf", memory = "56MiB" }
"""

# A policy that asks who is there each time: the first to see no marker dies, in the middle.
HARM = """
import os, pathlib, signal, time

class Deadly:
    def __init__(self, marker, tax_rate=0.5, pause=0.0):
        self.marker, self.tax_rate, self.pause = marker, tax_rate, pause

    def targets(self, view):
        time.sleep(self.pause)
        if self.tax_rate == 0.5:
            try:
                pathlib.Path(self.marker).open("x").close()
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return view.apportion(view.active_pages + 1 + int(self.tax_rate * 100))

class Slow:
    def __init__(self, pause=0.02, tax_rate=0.5):
        self.pause, self.tax_rate = pause, tax_rate

    def targets(self, view):
        time.sleep(self.pause)
        return view.apportion(view.active_pages + 1 + int(self.tax_rate * 100))
"""


class Remembering:
    """A policy that writes into a large array of its own, which workers get copies of."""

    def __init__(self) -> None:
        self.seen = np.zeros(300_000)

    def targets(self, view: HostView) -> Any:
        self.seen[:2] += view.active_pages
        return view.apportion(self.seen[:2] + 1)


def lab(folder: Path | None = None) -> Scenario:
    """The laboratory; with a module ``harm`` in the folder if there is one."""
    if folder is not None:
        (folder / "harm.py").write_text(HARM)
    return Scenario.from_mapping(tomllib.loads(LAB), "lab", folder)


def same_rows(one: SweepResult, other: SweepResult) -> None:
    """Both have the same rows in the same order, to the bit, and come from the same."""
    assert one.axes == other.axes
    assert one.provenance == other.provenance
    assert len(one.rows) == len(other.rows)
    for mine, theirs in zip(one.rows, other.rows, strict=True):
        assert mine is not None and theirs is not None
        assert list(mine) == list(theirs)
        assert all(same_number(mine[name], theirs[name]) for name in mine)


class Counting:
    """A task that counts what it is asked, and answers at once; fails where it is told to."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.asked: list[Job] = []
        self.fails_at = fails_at

    def __call__(self, job: Job) -> Outcome:
        if len(self.asked) == self.fails_at:
            raise KeyboardInterrupt
        self.asked.append(job)
        tax = job.what.policy.parameters.get("tax_rate", 0)
        return Outcome(job.key, {"ops_per_s": tax + job.seed / 3, "stall_s": job.seed})


def points(result: SweepResult) -> list[tuple[object, ...]]:
    """What the rows are of."""
    return list(product(*result.axes.values()))


def wait_for_rows(path: Path, rows: int, process: subprocess.Popen[str]) -> None:
    """Waits until a ledger that is being written has so many rows."""
    while process.poll() is None:
        if path.exists() and rows_in(path) >= rows:
            return
        time.sleep(0.02)
    raise AssertionError(process.communicate())


def rows_in(path: Path) -> int:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as ledger:
            found: int = ledger.execute("SELECT count(*) FROM rows").fetchone()[0]
            return found
    except sqlite3.OperationalError:  # not made yet
        return 0
