"""Engines: who makes the runs of a study. The rows are the same on each.

An engine takes a task and jobs and gives outcomes, in the order in which they are done; closed
early, it calls off what has not begun. What is done when a worker dies is its own business: loky
begins again with what is left, Dask and Ray give the run to another worker.

Neighbours: `esxcore.study.driver` asks for one; `worker` is what it carries to the workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from esxcore.clusters import dask_client, is_dask
from esxcore.config import whole_number
from esxcore.errors import ArgumentTypeError, ConfigError
from esxcore.extras import needed
from esxcore.study.engines.local import in_this_process, on_loky, processes_of
from esxcore.study.engines.pools import on_dask, on_executor
from esxcore.study.engines.rays import connected_ray, on_ray
from esxcore.study.engines.worker import Job, Outcome, Task

ENGINES = ("loky", "dask", "ray")
"""Names of the engines."""

_MOST_JOBS = 2**16


@dataclass(frozen=True)
class Engine:
    """Who makes the runs, its settings checked; made by `engine_of`."""

    name: str
    client: Any = None
    scheduler: str | None = None
    jobs: int | None = None

    def outcomes(self, task: Task, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """What becomes of jobs, as they are done.

        Raises
        ------
        EngineError
            If the engine cannot be reached or gives up.
        MissingLibraryError
            If its library is not installed.
        """
        if not jobs:
            return
        with closing(self._run(task, jobs)) as outcomes:  # type: ignore[type-var]
            yield from outcomes

    def _run(self, task: Task, jobs: Sequence[Job]) -> Iterator[Outcome]:
        if self.client is not None:
            by: Callable[..., Iterator[Outcome]] = on_dask if is_dask(self.client) else on_executor
            yield from by(task, jobs, self.client)
        elif self.name == "dask":
            with dask_client(self.scheduler, self.jobs) as client:
                yield from on_dask(task, jobs, client)
        elif self.name == "ray":
            with connected_ray(self.scheduler, self.jobs) as ray:
                yield from on_ray(task, jobs, ray)
        elif (processes := min(processes_of(self.jobs), len(jobs))) > 1:
            yield from on_loky(task, jobs, processes)
        else:
            yield from in_this_process(task, jobs)


def engine_of(engine: str, client: Any, scheduler: str | None, jobs: int | None) -> Engine:
    """The engine that arguments speak of, and whether its library is there.

    Raises
    ------
    ConfigError
        If there is no such engine, or they contradict each other.
    ArgumentTypeError
        If the client is none.
    MissingLibraryError
        If its library is not installed; the message names the extra.
    """
    if engine not in ENGINES:
        raise ConfigError(f"engine: {engine!r}; expected one of {', '.join(ENGINES)}")
    if jobs is not None and not 1 <= whole_number(jobs, "jobs") <= _MOST_JOBS:
        raise ConfigError(f"jobs: {jobs}; expected 1 to {_MOST_JOBS}")
    if client is not None:
        if scheduler is not None or jobs is not None:
            raise ConfigError("client: given beside scheduler or jobs, which are the client's own")
        if not (is_dask(client) or isinstance(client, Executor)):
            raise ArgumentTypeError(
                f"client: {type(client).__name__}; expected a client of dask.distributed or an"
                " executor of concurrent.futures"
            )
        return Engine(engine, client)
    if scheduler is not None and engine == "loky":
        raise ConfigError("scheduler: loky has none; expected engine 'dask' or 'ray'")
    if scheduler is not None and jobs is not None:
        raise ConfigError("jobs: given beside scheduler, whose workers are there already")
    if engine != "loky" or jobs != 1:
        needed(
            {"loky": "joblib", "dask": "distributed", "ray": "ray"}[engine], f"engine {engine!r}"
        )
    return Engine(engine, None, scheduler, jobs)
