"""What a worker does: one run of a study, wherever it is asked to.

Neighbours: the engines carry a `Job` to a worker and an `Outcome` back; both are plain enough for
any of them to pickle.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from esxcore._core import __version__

_ONE_THREAD = "ESXCORE_NUM_THREADS"


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
        _be_a_worker()
    try:
        numbers = measured(job.what, job.seed)
        metrics = {name: plain_number(value, name) for name, value in numbers.items()}
    except RAISED as error:
        return Outcome(job.key, None, f"{job.label}: {policy_failure(error) or told(error)}")
    return Outcome(job.key, metrics)


def _be_a_worker() -> None:
    """One thread in each worker, and Ctrl-C is the driver's business."""
    os.environ.setdefault(_ONE_THREAD, "1")
    if threading.current_thread() is threading.main_thread() and not hasattr(sys, "ps1"):
        with suppress(ValueError):
            signal.signal(signal.SIGINT, signal.SIG_IGN)
