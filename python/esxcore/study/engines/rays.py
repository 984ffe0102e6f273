"""The engine Ray: its own list of what is ready, as joblib's backend for it has no generators."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from esxcore.errors import EngineError
from esxcore.extras import needed
from esxcore.study.engines.worker import Job, Outcome, Task

RETRIES = 3
"""How often Ray gives a run to another worker when one dies of it."""

_IN_FLIGHT = 512
_ANSWER_S = 5.0


def on_ray(task: Task, jobs: Sequence[Job], ray: Any) -> Iterator[Outcome]:
    """By the workers of a cluster of Ray that is connected, as they are done."""
    remote = ray.remote(num_cpus=1, max_retries=RETRIES)(task)
    todo = iter(jobs)
    waiting = [remote.remote(job) for job in itertools.islice(todo, _IN_FLIGHT)]
    try:
        while waiting:
            ready, waiting = ray.wait(waiting, num_returns=1)
            outcomes = ray.get(ready)
            waiting += [remote.remote(job) for job in itertools.islice(todo, len(ready))]
            yield from outcomes
    except ray.exceptions.RayError as error:
        told = (str(error) or type(error).__name__).splitlines()[0]
        raise EngineError(f"engine 'ray': {type(error).__name__}: {told}") from error
    finally:
        for one in waiting:
            ray.cancel(one)


@contextmanager
def connected_ray(address: str | None, processes: int | None) -> Iterator[Any]:
    """Ray, connected to a cluster or to one of this machine; as it was before if it was connected.

    Raises
    ------
    EngineError
        If there is no cluster at the address, within ten seconds.
    MissingLibraryError
        If Ray is not installed.
    """
    ray = needed("ray", "engine 'ray'")
    if ray.is_initialized() and address is None:
        yield ray
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address is None:
        ray.init(num_cpus=processes, include_dashboard=False, **quiet)
    else:
        _answers(address)
        try:
            ray.init(address=address, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            told = (str(error) or type(error).__name__).splitlines()[0]
            raise EngineError(f"scheduler {address}: cannot be reached: {told}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _answers(address: str) -> None:
    """Refuses an address where nobody listens; Ray itself would try for long."""
    if address in ("auto", "local"):
        return
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    try:
        if not (colon and port.isdigit()):
            raise ValueError("expected host:port")
        socket.create_connection((host, int(port)), timeout=_ANSWER_S).close()
    except (OSError, OverflowError, ValueError) as error:
        raise EngineError(f"scheduler {address}: cannot be reached: {error}") from error
