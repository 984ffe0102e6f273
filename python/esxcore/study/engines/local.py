"""Engines of one machine: this process, or processes of joblib's loky."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from esxcore.errors import EngineError
from esxcore.extras import needed
from esxcore.study.engines.worker import Job, Outcome, Task

RETRIES = 3
"""How many workers may be lost, one after the other, without a row in between."""


def in_this_process(task: Task, jobs: Sequence[Job]) -> Iterator[Outcome]:
    """One after the other."""
    for job in jobs:
        yield task(job)


def on_loky(task: Task, jobs: Sequence[Job], processes: int) -> Iterator[Outcome]:
    """By processes of this machine, as they are done.

    When a worker dies, loky gives up the whole pool; what is not done yet is done by another.
    """
    joblib = needed("joblib", "engine 'loky'")
    lost = needed("joblib.externals.loky.process_executor", "engine 'loky'").TerminatedWorkerError
    left = {job.key: job for job in jobs}
    losses = 0
    while left:
        try:
            for outcome in _pool(joblib, task, list(left.values()), processes):
                losses = 0
                del left[outcome.key]
                yield outcome
        except lost as error:
            losses += 1
            if losses > RETRIES:
                raise EngineError(
                    f"engine 'loky': workers died {losses} times without a row in between;"
                    f" is memory short? {len(left)} runs are left"
                ) from error


def _pool(joblib: object, task: Task, jobs: list[Job], processes: int) -> Iterator[Outcome]:
    # One at a time, so that a killed worker takes little with it and rows are written early.
    config = joblib.parallel_config(  # type: ignore[attr-defined]
        backend="loky", n_jobs=processes, inner_max_num_threads=1
    )
    with config:
        parallel = joblib.Parallel(  # type: ignore[attr-defined]
            return_as="generator_unordered",
            batch_size=1,
            pre_dispatch="2*n_jobs",
            max_nbytes=None,  # arrays in objects stay what they are, and can be written to
        )
        outcomes: Iterator[Outcome] = parallel(joblib.delayed(task)(job) for job in jobs)  # type: ignore[attr-defined]
    return outcomes


def processes_of(jobs: int | None) -> int:
    """How many processes loky has: as many as asked for, or one for each processor it may use."""
    if jobs is not None:
        return jobs
    count: int = needed("joblib", "engine 'loky'").cpu_count()
    return count
