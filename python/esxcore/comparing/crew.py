"""Threads that share the runs of a comparison, and stop together.

Neighbours: `esxcore.compare` hands over its runs.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, NamedTuple

from esxcore.errors import PolicyError
from esxcore.scenario import Scenario

_ADVICE = "view.apportion(weights) makes valid targets of any weights"
Results = dict[tuple[str, int], Any]


class Task(NamedTuple):
    """A run.

    Attributes
    ----------
    label : str or None
        Whose it is; None for one that all are measured by.
    seed : int
        Which seed.
    work : callable
        What is done: ``work(scenario, seed, progress=...)`` gives the result.
    scenario : Scenario
        What is lived through.
    """

    label: str | None
    seed: int
    work: Callable[..., Any]
    scenario: Scenario


class _Stopped(Exception):  # noqa: N818 - nobody sees it
    """Ends a run whose result nobody waits for any more."""


def usual_jobs() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def live_all(
    tasks: Sequence[Task], jobs: int, progress: Callable[[int, int], None] | None
) -> Results:
    """Does all tasks, so many at a time, and gives what came of those that have a label.

    Raises
    ------
    Exception
        What the first task to fail raised, with a note that says which it was; the others end
        within a second of their virtual time.
    """
    stop = threading.Event()

    def still_wanted(_done_s: int, _total_s: int) -> None:
        if stop.is_set():
            raise _Stopped

    crew = ThreadPoolExecutor(min(jobs, len(tasks)), "esxcore-compare")
    try:
        futures = {
            crew.submit(task.work, task.scenario, task.seed, progress=still_wanted): task
            for task in tasks
        }
        return _gathered(futures, progress)
    except BaseException:  # Ctrl-C as well
        stop.set()
        raise
    finally:
        crew.shutdown(wait=True, cancel_futures=True)


def _gathered(
    futures: dict[Future[Any], Task], progress: Callable[[int, int], None] | None
) -> Results:
    results: Results = {}
    total = sum(task.label is not None for task in futures.values())
    pending = set(futures)
    while pending:
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        for future in (future for future in futures if future in done):
            task = futures[future]
            found = _result(future, task)
            if task.label is None:
                continue
            results[task.label, task.seed] = found
            if progress is not None:
                progress(len(results), total)
    return results


def _result(future: Future[Any], task: Task) -> Any:
    try:
        return future.result()
    except Exception as error:
        if isinstance(error, PolicyError) and "apportion" not in str(error):
            error.args = (f"{error}; {_ADVICE}",)
        if task.label is not None:
            error.add_note(f"in the comparison: policy {task.label}, seed {task.seed}")
        raise
