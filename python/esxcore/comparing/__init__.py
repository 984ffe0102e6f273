"""Comparisons: one scenario under several policies, with the same seeds, ranked with intervals.

`compare` lives through every policy with every seed in threads (the engine runs outside the
interpreter's lock) and gives a `Comparison`: tables, a picture, and for each policy what explains
its numbers.

Neighbours: `esxcore.experiment.measure` lives through one run; `contenders` reads what policies
callers give; `crew` has threads share the runs; `results` is what comes of it, with `tell` for
tables in text and HTML and `statistics` for the intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from esxcore.arguments import in_range
from esxcore.comparing.contenders import contenders
from esxcore.comparing.crew import Task, live_all, usual_jobs
from esxcore.comparing.results import Comparison, PolicyRuns
from esxcore.comparing.statistics import Estimate
from esxcore.experiment.measure import measure, paired_seeds, reference_ops_per_s
from esxcore.scenario import Scenario

__all__ = ["Comparison", "Estimate", "PolicyRuns", "compare"]

_MOST_SEEDS = 100_000


def compare(
    scenario: Scenario,
    policies: Sequence[Any] | Mapping[str, Any],
    *,
    seeds: int = 10,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Lives through a scenario under several policies and compares what came of it.

    All policies live through the same seeds: the scenario's own, the next number, and so on. So
    the first run of each is the one that `run` makes of it, and differences between policies are
    taken seed by seed.

    Parameters
    ----------
    scenario : Scenario
        What to live through; its own policy is not used.
    policies : sequence, or mapping of str to policy
        Policies as `Scenario.with_policy` takes them: names, mappings with a name and parameters,
        ``"module:Class"``, objects with a method ``targets(view)``, of which each run has a copy of
        its own. The first is the baseline. A mapping says what to call them.
    seeds : int
        How many runs of each, at least 1; without a second one there are no intervals.
    jobs : int, optional
        How many runs at a time, each in a thread; as many as there are processors if left out.
    progress : callable, optional
        Called as ``progress(done, total)`` after each run.

    Returns
    -------
    Comparison
        The same whatever `jobs` is.

    Raises
    ------
    ConfigError
        If there is no such policy (the nearest is told), or two are called the same.
    PolicyError
        If an answer of a policy is wrong; a note says which policy, seed and time. So for whatever
        else a policy raises. Runs that had not begun are dropped, others end.

    Examples
    --------
    A policy of one's own, against three others, and *why* a guest had what it had.

    >>> import esxcore as esx
    >>> class ByActivity:
    ...     def targets(self, view):
    ...         return view.apportion(view.active_pages + 1)
    >>> lab = esx.Scenario(memory="512MiB", duration="2min")
    >>> lab.vm("idle", max="256MiB", guest="windows", workload="idle")
    >>> lab.vm("busy", max="256MiB", guest="linux", workload=esx.zipf("220MiB"))
    >>> runs = esx.compare(lab, ["static", "esx2002", "proxmox", ByActivity()], seeds=2)
    >>> runs.policies
    ('static', 'esx2002', 'proxmox', 'ByActivity')
    >>> runs.values("ops_per_s").shape
    (4, 2)
    >>> print(runs["esx2002"].explain("idle", at="1min"))  # doctest: +ELLIPSIS
    idle at 60 s: target ...
    """
    seeds = in_range(seeds, "seeds", 1, _MOST_SEEDS)
    jobs = usual_jobs() if jobs is None else in_range(jobs, "jobs", 1, 1024)
    rivals = contenders(scenario, policies)
    numbers = paired_seeds(scenario, seeds)
    found = live_all(_tasks(rivals, numbers), jobs, progress)
    rows = [[found[label, seed] for seed in numbers] for label in rivals]
    names = list(dict.fromkeys(name for row in rows for run in row for name in run))
    values = {
        name: np.array([[run.get(name, np.nan) for run in row] for row in rows], np.float64)
        for name in names
    }
    return Comparison(scenario.changed({}), rivals, numbers, values)


def _tasks(rivals: Mapping[str, Scenario], seeds: Sequence[int]) -> list[Task]:
    """All runs, seed by seed; what the policies of a seed are measured by comes before them."""
    tasks = []
    for seed in seeds:
        first = next(iter(rivals.values()))
        tasks.append(Task(None, seed, reference_ops_per_s, first))
        tasks += [Task(label, seed, measure, rival) for label, rival in rivals.items()]
    return tasks
