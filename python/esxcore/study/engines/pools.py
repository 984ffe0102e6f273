"""Engines that are given: any executor of `concurrent.futures`, and clusters of Dask.

A client of Dask is such an executor too, one whose scheduler gives the task of a dead worker to
another.
"""

from __future__ import annotations

import itertools
import queue
from collections.abc import Iterator, Sequence
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
)
from typing import Any

from esxcore.clusters import check_workers
from esxcore.errors import EngineError
from esxcore.extras import needed
from esxcore.study.engines.worker import Job, Outcome, Task

RETRIES = 3
"""How often Dask gives a run to another worker when one dies of it."""

_IN_FLIGHT = 512


def on_executor(task: Task, jobs: Sequence[Job], pool: Executor) -> Iterator[Outcome]:
    """By an executor, as they are done; what is not done when this is closed is called off."""
    done: queue.SimpleQueue[Future[Outcome]] = queue.SimpleQueue()
    waiting: set[Future[Outcome]] = set()
    todo = iter(jobs)

    def submit(some: int) -> None:
        for job in itertools.islice(todo, some):
            future = pool.submit(task, job)
            waiting.add(future)
            future.add_done_callback(done.put)

    try:
        submit(_IN_FLIGHT)
        while waiting:
            future = done.get()
            waiting.discard(future)
            outcome = _result(future)
            submit(1)
            yield outcome
    except BrokenExecutor as error:  # as runs are handed over
        raise _given_up(error) from error
    finally:
        for future in waiting:
            future.cancel()


def _result(future: Future[Outcome]) -> Outcome:
    """What became of a run; what went wrong in it is an outcome, too, so errors are the pool's."""
    try:
        return future.result()
    except (Exception, CancelledError) as error:
        raise _given_up(error) from error


def _given_up(error: BaseException) -> EngineError:
    told = ": ".join(filter(None, (type(error).__name__, str(error))))
    return EngineError(f"the executor gave up: {told.splitlines()[0]}")


def on_dask(task: Task, jobs: Sequence[Job], client: Any) -> Iterator[Outcome]:
    """By the workers of a cluster, as they are done.

    Raises
    ------
    EngineError
        If a worker has another esxcore or none, before anything runs; if a run loses its worker
        again and again, or the scheduler is lost.
    """
    distributed = needed("distributed", "engine 'dask'")
    if client.asynchronous:
        raise EngineError("engine 'dask': the client is asynchronous; expected a blocking one")
    check_workers(client)
    pool = client.get_executor(pure=False, retries=RETRIES)
    try:
        yield from on_executor(task, jobs, pool)
    except EngineError as error:
        if not isinstance(error.__cause__, distributed.KilledWorker):
            raise
        last = error.__cause__.last_worker.address
        raise EngineError(
            f"engine 'dask': a run lost its worker {RETRIES + 1} times, the last at {last}"
        ) from error
