"""Clusters of Dask: how one is reached, and whether its workers have this esxcore.

Neighbours: `esxcore.study` has runs made by them, `esxcore.fleet` has images counted.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

from esxcore._core import __version__
from esxcore.errors import EngineError
from esxcore.extras import needed
from esxcore.interrupts import ctrl_c

_ANSWER_S = 6.0
_ITS_VERSION = "__import__('esxcore._core', fromlist=['_core']).__version__"

_log = logging.getLogger("esxcore.clusters")


def is_dask(client: object) -> bool:
    """Whether it is a client of Dask; nobody has one without having imported it."""
    distributed = sys.modules.get("distributed")
    return distributed is not None and isinstance(client, distributed.Client)


def check_workers(client: Any) -> None:
    """Refuses a client that is closed, and workers whose esxcore is not this one, by name.

    Raises
    ------
    EngineError
        One line for all of them.
    """
    if client.status != "running":
        raise EngineError(f"client: it is {client.status}; expected one that is connected")
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
    raise EngineError(
        f"worker {address}{more} has {has}, the driver {__version__};"
        " install the same version in both"
    )


@contextmanager
def dask_client(scheduler: str | None, processes: int | None) -> Iterator[Any]:
    """A client of the scheduler at an address, or of a cluster of this machine made for the block.

    Raises
    ------
    EngineError
        If there is no scheduler at the address, within ten seconds.
    """
    distributed = needed("distributed", "engine 'dask'")
    with ctrl_c() as pressed:  # a cluster that is torn from its end complains long after
        if scheduler is not None:
            _ask_who_is_there(distributed, scheduler)
            with distributed.Client(scheduler, timeout=_ANSWER_S) as client, _then(pressed.hold):
                yield client
            return
        with _without_ctrl_c():
            cluster = distributed.LocalCluster(
                n_workers=processes,
                threads_per_worker=1,
                dashboard_address=None,
                silence_logs=logging.ERROR,  # workers that are lost or slow to end are no news
            )
        with cluster, distributed.Client(cluster) as client, _then(pressed.hold):
            yield client


@contextmanager
def _then(do: Callable[[], None]) -> Iterator[None]:
    try:
        yield
    finally:
        do()


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
        raise EngineError(f"scheduler {address}: cannot be reached: {told}") from error
    if kind != "Scheduler":
        raise EngineError(f"scheduler {address}: it is a {kind}; expected a scheduler of Dask")
