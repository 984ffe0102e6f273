"""Studies: any field of a scenario x policies x seeds, on one machine or many.

`sweep` is what callers have; ``esxcore sweep`` is the same from the shell. A study is settled into
runs, which an engine has made by workers; rows go into a ledger as they are done, and come out in
the order of the grid. The rows do not depend on the engine, on how many workers there are, nor on
how often the study was interrupted.

Neighbours: rooms inside, from the bottom: `ledger` keeps rows, `engines` make runs, `choices` and
`grid` say which, `results` is what comes of it, `driver` has it done, `files` reads studies.
`esxcore.experiment.measure` is what a run is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esxcore.errors import ArgumentTypeError
from esxcore.scenario import Scenario
from esxcore.study.driver import Progress, SweepInterrupted, drive
from esxcore.study.engines import ENGINES, engine_of
from esxcore.study.grid import LIMIT, Study, check_size, study_of
from esxcore.study.ledger import Ledger
from esxcore.study.results import SweepResult

if TYPE_CHECKING:
    import distributed

__all__ = ["ENGINES", "LIMIT", "Progress", "Study", "SweepInterrupted", "SweepResult", "sweep"]


def sweep(  # noqa: PLR0913  # what is varied is by position, the rest are settings
    scenario: Scenario,
    grid: Mapping[str, Sequence[Any]],
    *,
    policies: Sequence[Any] | Mapping[str, Any] | None = None,
    seeds: int | Sequence[int] = 1,
    engine: str = "loky",
    client: distributed.Client | Executor | None = None,
    scheduler: str | None = None,
    jobs: int | None = None,
    ledger: str | os.PathLike[str] | None = None,
    resume: bool = False,
    limit: int | None = LIMIT,
    progress: Progress | None = None,
) -> SweepResult:
    """Runs a scenario for each combination of fields, policies and seeds, and measures each run.

    Parameters
    ----------
    scenario : Scenario
        What everything that is not varied is as in.
    grid : mapping of str to sequence
        Values by field, in the words of `Scenario.changed`: ``"policy.tax_rate"``,
        ``"vms.busy.max"``, ``"host.memory"``. May be empty. A field of the policy is given to the
        policies that take it; the others are the same in all its rows.
    policies : sequence, or mapping of str to policy, optional
        Names, tables such as ``{"name": "esx2002", "tax_rate": 0.5}`` or objects, as
        `Scenario.with_policy` takes; the scenario's own if not given. A mapping says what to call
        them in rows.
    seeds : int or sequence of int
        How many, from the scenario's on, or which.
    engine : {"loky", "dask", "ray"}
        Who makes the runs: processes of this machine (extra ``sweep``; none with ``jobs=1``),
        Dask (extra ``dask``) or Ray (extra ``ray``).
    client : dask.distributed.Client or concurrent.futures.Executor, optional
        Who makes the runs, in place of an engine.
    scheduler : str, optional
        Address of a cluster of Dask (``"tcp://host:8786"``) or Ray; one of this machine is started
        for the sweep if not given.
    jobs : int, optional
        How many processes of this machine; one for each processor if not given. Each uses one
        thread.
    ledger : path, optional
        SQLite file to which rows are written as they are done; kept in memory if not given.
    resume : bool
        Whether to go on with a ledger that has rows of this very study: same scenario, grid,
        policies (and their code), seeds and version. What is done is not done again. Data files
        are known by their names: begin a new ledger when one has changed.
    limit : int or None
        Most runs, as grids grow quickly; None for any number, up to ten million.
    progress : callable, optional
        Called as ``progress(done, total)`` after each run.

    Returns
    -------
    SweepResult
        A row for each combination, in the order of the grid; bit for bit the same on each engine.

    Raises
    ------
    ConfigError
        If a list is empty, the grid is above the limit, or a policy cannot be pickled.
    ScenarioError
        If a point of the grid is no scenario that can be run, before anything runs.
    MissingLibraryError
        If the engine is not installed; the message names the extra.
    DataError
        If the ledger is corrupt, in use, of another study or version, or has rows and is not to be
        resumed; it stays as it was.
    SweepError
        If a run fails; what was done is in the ledger.
    EngineError
        If the engine fails: no scheduler answers within ten seconds, a worker has another version.
    SweepInterrupted
        After Ctrl-C, with the rows that were done; a `KeyboardInterrupt`.

    Examples
    --------
    >>> import esxcore
    >>> lab = esxcore.Scenario.from_mapping(
    ...     {
    ...         "host": {"memory": "64MiB"},
    ...         "vms": [{"name": "web", "max": "32MiB", "overhead": "0MiB"}],
    ...         "run": {"duration": "2s"},
    ...     }
    ... )
    >>> rows = esxcore.sweep(lab, {"policy.tax_rate": [0, 0.75]}, seeds=2, jobs=1)
    >>> rows
    <SweepResult of 4 rows: policy.tax_rate 2 x policy 1 x seed 2>
    """
    if not isinstance(scenario, Scenario):
        raise ArgumentTypeError(f"scenario: {type(scenario).__name__}; expected a Scenario")
    study = study_of(scenario, grid, policies, seeds, limit)
    check_size(study, limit)
    by = engine_of(engine, client, scheduler, jobs)
    path = None if ledger is None else Path(ledger)
    with Ledger(path, study.provenance(), resume) as book:
        return drive(study, by, book, progress)
