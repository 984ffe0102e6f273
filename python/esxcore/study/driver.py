"""The driver of a study: has runs made that the ledger has not, and writes them down.

It alone writes, and a run is done when its row is written; everything else, workers and even the
driver, may be lost at any time.

Neighbours: `esxcore.study.grid` says what to run, `engines` make the runs, `ledger` keeps the rows,
`results` is what comes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from esxcore.errors import SweepError
from esxcore.interrupts import ctrl_c
from esxcore.study.engines import Engine
from esxcore.study.engines.worker import Job, Task, execute
from esxcore.study.grid import Study
from esxcore.study.ledger import Ledger
from esxcore.study.results import SweepResult, result_of

Progress = Callable[[int, int], None]
"""Called with the rows that are done and the rows in all, first with those that were there."""


class SweepInterrupted(KeyboardInterrupt):
    """Ctrl-C ended a sweep; the rows that were done are kept.

    Attributes
    ----------
    result : SweepResult
        These rows.
    ledger : Path or None
        The file to resume from, if there is one.
    """

    def __init__(self, result: SweepResult, ledger: Path | None) -> None:
        super().__init__()
        self.result = result
        self.ledger = ledger

    def __reduce__(self) -> tuple[type, tuple[SweepResult, Path | None]]:
        return type(self), (self.result, self.ledger)


def drive(
    study: Study,
    engine: Engine,
    ledger: Ledger,
    progress: Progress | None = None,
    task: Task = execute,
) -> SweepResult:
    """Makes the runs of a study that its ledger has not.

    Raises
    ------
    SweepError
        If a run failed.
    EngineError
        If the engine did.
    SweepInterrupted
        After Ctrl-C.
    """
    with ctrl_c() as pressed:  # once is enough, and workers are called off in peace
        try:
            for done in _made(study, engine, ledger, task):
                pressed.answer()  # whoever comes here has swallowed what there was of it
                if progress is not None:
                    progress(*done)
        except KeyboardInterrupt as interrupt:
            pressed.hold()
            ledger.read_again()
            raise SweepInterrupted(result_of(study, ledger), ledger.path) from interrupt
    return result_of(study, ledger)


def _made(study: Study, engine: Engine, ledger: Ledger, task: Task) -> Iterator[tuple[int, int]]:
    """Rows that are done and rows in all, first with those that were there."""
    runs: dict[str, Job] = {}
    for job in study.jobs:
        runs.setdefault(job.key, job)
    left = [job for key, job in runs.items() if key not in ledger]
    yield len(runs) - len(left), len(runs)
    with closing(engine.outcomes(task, left)) as outcomes:  # type: ignore[type-var]
        for outcome in outcomes:
            if outcome.metrics is None:
                raise SweepError(f"{outcome.failure} ({_kept(ledger)})")
            ledger.add(outcome.key, outcome.metrics)
            yield len(ledger), len(runs)


def _kept(ledger: Ledger) -> str:
    rows = f"{len(ledger)} row{'s' * (len(ledger) != 1)}"
    if ledger.path is None:
        return f"{rows} done until then are lost without a ledger"
    return f"{rows} are kept in {ledger.path}"
