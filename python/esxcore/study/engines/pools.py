"""Engines that are given: any executor of `concurrent.futures`, and clusters of Dask.

A client of Dask is such an executor too, one whose scheduler gives the task of a dead worker to
another.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import queue
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
)
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

from esxcore._core import __version__
from esxcore.errors import SweepError
from esxcore.extras import needed
from esxcore.study.engines.worker import Job, Outcome, Task

RETRIES = 3
"""How often Dask gives a run to another worker when one dies of it."""

_IN_FLIGHT = 512
_ANSWER_S = 6.0
_ITS_VERSION = "__import__('esxcore._core', fromlist=['_core']).__version__"

_log = logging.getLogger("esxcore.study")


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


def _given_up(error: BaseException) -> SweepError:
    told = ": ".join(filter(None, (type(error).__name__, str(error))))
    return SweepError(f"the executor gave up: {told.splitlines()[0]}")


def is_dask(client: object) -> bool:
    """Whether it is a client of Dask; nobody has one without having imported it."""
    distributed = sys.modules.get("distributed")
    return distributed is not None and isinstance(client, distributed.Client)


def on_dask(task: Task, jobs: Sequence[Job], client: Any) -> Iterator[Outcome]:
    """By the workers of a cluster, as they are done.

    Raises
    ------
    SweepError
        If a worker has another esxcore or none, before anything runs; if a run loses its worker
        again and again, or the scheduler is lost.
    """
    distributed = needed("distributed", "engine 'dask'")
    if client.asynchronous:
        raise SweepError("engine 'dask': the client is asynchronous; expected a blocking one")
    check_workers(client)
    pool = client.get_executor(pure=False, retries=RETRIES)
    try:
        yield from on_executor(task, jobs, pool)
    except SweepError as error:
        if not isinstance(error.__cause__, distributed.KilledWorker):
            raise
        last = error.__cause__.last_worker.address
        raise SweepError(
            f"engine 'dask': a run lost its worker {RETRIES + 1} times, the last at {last}"
        ) from error


def check_workers(client: Any) -> None:
    """Refuses workers whose esxcore is not this one, by name.

    Raises
    ------
    SweepError
        One line for all of them.
    """
    # Asked by what every Python has: workers without esxcore know no function of it.
    versions = client.run(eval, _ITS_VERSION, on_error="return")
    if not versions:
        _log.warning("the scheduler has no workers yet; waiting for the first")
    wrong = {
        address: theirs
        for address, theirs in versions.items()
        if theirs != __version__ and not isinstance(theirs, OSError)  # is gone by now
    }
    if not wrong:
        return
    address, theirs = next(iter(wrong.items()))
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    has = f"esxcore {theirs}" if isinstance(theirs, str) else f"no esxcore ({theirs})"
    raise SweepError(
        f"engine 'dask': worker {address}{more} has {has}, the driver {__version__};"
        " install the same version in both"
    )


@contextmanager
def dask_client(scheduler: str | None, processes: int | None) -> Iterator[Any]:
    """A client of the scheduler at an address, or of a cluster of this machine made for the block.

    Raises
    ------
    SweepError
        If there is no scheduler at the address, within ten seconds.
    """
    distributed = needed("distributed", "engine 'dask'")
    if scheduler is None:
        with _without_ctrl_c():
            cluster = distributed.LocalCluster(
                n_workers=processes,
                threads_per_worker=1,
                dashboard_address=None,
                silence_logs=logging.ERROR,  # workers that are lost or slow to end are no news
            )
        with cluster, distributed.Client(cluster) as client:
            yield client
        return
    _ask_who_is_there(distributed, scheduler)
    with distributed.Client(scheduler, timeout=_ANSWER_S) as client:
        yield client


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Has processes and threads that are begun in the block, and what those begin, know no Ctrl-C.

    A terminal sends it to all of them, and workers would print where they were. Here it comes when
    the block is left.
    """
    resource_tracker.ensure_running()  # or starting it in the block would let Ctrl-C in again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ask_who_is_there(distributed: Any, address: str) -> None:
    """Refuses an address where no scheduler answers.

    A client that fails to connect is left half made and complains when it goes, so none is made
    until somebody has answered.
    """

    async def ask() -> dict[str, Any]:
        security = distributed.Security().get_connection_args("client")
        peer = distributed.rpc(address, connection_args=security)
        try:
            found: dict[str, Any] = await asyncio.wait_for(peer.identity(), _ANSWER_S)
            return found
        finally:
            await peer.close_rpc()

    try:
        # In a thread of its own: notebooks have a loop in theirs.
        with ThreadPoolExecutor(1) as thread:
            kind = thread.submit(asyncio.run, ask()).result().get("type")
    except Exception as error:  # at other ports there may be anything
        told = (str(error) or f"no answer within {_ANSWER_S:g} s").splitlines()[0]
        raise SweepError(f"scheduler {address}: cannot be reached: {told}") from error
    if kind != "Scheduler":
        raise SweepError(f"scheduler {address}: it is a {kind}; expected a scheduler of Dask")
