"""What a worker does: one run of a study, wherever it is asked to.

Neighbours: the engines carry a `Job` to a worker and an `Outcome` back; both are plain enough for
any of them to pickle.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from esxcore._core import __version__

_ONE_THREAD = "ESXCORE_NUM_THREADS"
_LOOKS_S = 0.5  # between two looks whether the driver is there
_ORPHANED = 1


@dataclass(frozen=True, slots=True)
class Job:
    """A run to be made.

    Attributes
    ----------
    key : str
        Of its row.
    label : str
        What it is called in messages.
    what : object
        The settled scenario.
    seed : int
        Of the run.
    version : str
        Of the esxcore that asks.
    driver : tuple of str and int
        Machine and process that ask.
    """

    key: str
    label: str
    what: Any
    seed: int
    version: str
    driver: tuple[str, int]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job: its metrics, or one line about what went wrong."""

    key: str
    metrics: dict[str, float | int] | None
    failure: str | None = None


Task = Callable[[Job], Outcome]
"""What an engine has workers do with each job: `execute`."""


def here() -> tuple[str, int]:
    """Name of the machine and number of the process that this is."""
    return socket.gethostname(), os.getpid()


def execute(job: Job) -> Outcome:
    """Makes a run and measures it.

    What goes wrong comes back as a line, as not every exception survives the way from a worker.
    """
    from esxcore.experiment.measure import measure

    return carried_out(job, measure)


def carried_out(job: Job, measured: Callable[[Any, int], dict[str, float | int]]) -> Outcome:
    """As `execute`, with what measures given."""
    from esxcore.experiment.policies import policy_failure
    from esxcore.scenario.named import RAISED, told
    from esxcore.study.ledger import plain_number

    if job.version != __version__:
        host, process = here()
        return Outcome(
            job.key,
            None,
            f"worker {host} (process {process}) has esxcore {__version__}, the driver"
            f" {job.version}; install the same version in both",
        )
    if here() != job.driver:
        _be_a_worker(job.driver[1])
    try:
        numbers = measured(job.what, job.seed)
        metrics = {name: plain_number(value, name) for name, value in numbers.items()}
    except RAISED as error:
        return Outcome(job.key, None, f"{job.label}: {policy_failure(error) or told(error)}")
    return Outcome(job.key, metrics)


def _be_a_worker(driver: int) -> None:
    """One thread in each worker, Ctrl-C is the driver's business, and no worker outlives it."""
    begun_by = multiprocessing.parent_process()
    if begun_by is not None and begun_by.pid == driver:
        _ends_with(driver)
    os.environ.setdefault(_ONE_THREAD, "1")
    if threading.current_thread() is threading.main_thread() and not hasattr(sys, "ps1"):
        with suppress(ValueError):
            signal.signal(signal.SIGINT, signal.SIG_IGN)


@functools.cache
def _ends_with(driver: int) -> threading.Thread:
    """Has this process end when the one that began it is gone, whatever became of that.

    A driver that is killed calls nothing off: its workers would finish what they have for nobody,
    and then wait for more. Workers of clusters that others began are not of the driver's.
    """
    thread = threading.Thread(target=_watch, args=(driver, os.getppid()), daemon=True)
    thread.start()
    return thread


def _watch(driver: int, parent: int) -> None:
    # The parent may be a server that forks, or was gone before this began to look.
    while os.getppid() == parent and _is_there(driver):
        time.sleep(_LOOKS_S)
    os._exit(_ORPHANED)


def _is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's by now, which this is none of
        return False
    return True
