"""Measuring: one run of a scenario with one seed, told in numbers.

`measure` takes and gives values alone, so it may be called in any thread or process and gives the
same everywhere.

Neighbours: `esxcore.experiment.metrics` says what the numbers mean; comparisons and sweeps call
`measure` once a run.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple

from esxcore.config import parse_size_text
from esxcore.experiment import Progress, observe
from esxcore.experiment.metrics import metrics, vm_ops_per_s
from esxcore.experiment.plans import Plan, open_plans
from esxcore.scenario import SEED_LIMIT, Scenario

_KIB_PER_PAGE = 4
_SAMPLES = 120
_MOST_REFERENCES = 4096


class _Key(NamedTuple):
    """What makes two reference runs the same; objects of one's own are so if they are one."""

    text: str
    folder: str
    own: tuple[int, ...]
    seed: int


class _Reference(NamedTuple):
    ops_per_s: dict[str, float]
    own: tuple[object, ...]  # kept, or another object could get the id


_REFERENCES: OrderedDict[_Key, _Reference] = OrderedDict()
_MAKING: dict[_Key, threading.Lock] = {}
_GUARD = threading.Lock()


def measure(scenario: Scenario, seed: int, *, progress: Progress | None = None) -> dict[str, float]:
    """Lives through a scenario once and measures it.

    Samples are taken 120 times in a run, but not more often than the scenario says nor than once a
    second; the census of contents, which no metric needs, is left out.

    Parameters
    ----------
    scenario : Scenario
        What to run, its policy included.
    seed : int
        What everything random comes from, in place of the scenario's.
    progress : callable, optional
        Called as ``progress(done_s, total_s)`` now and then, and again in the run that this one is
        measured by if nobody has lived through it yet. What it raises ends the run.

    Returns
    -------
    dict of str to float
        Each of `METRICS` by name, then those of single virtual machines as ``name:vm``. What the
        run cannot tell is NaN, or left out of those of single virtual machines.

    Raises
    ------
    Exception
        As `esxcore.run` does.
    """
    recording = observe(watched(scenario), seed, progress)
    return metrics(recording, reference_ops_per_s(scenario, seed, progress=progress))


def paired_seeds(scenario: Scenario, count: int) -> tuple[int, ...]:
    """The seeds that all policies live through: the scenario's own, the next one, and so on."""
    return tuple((scenario.host.seed + number) % SEED_LIMIT for number in range(count))


def watched(scenario: Scenario) -> Scenario:
    """The scenario with as many samples as metrics need, and without the census."""
    sample_s = max(scenario.run.sample_s, scenario.run.duration_s // _SAMPLES, 1)
    return scenario.changed({"run.sample": f"{sample_s}s", "run.census": "never"})


def reference_ops_per_s(
    scenario: Scenario, seed: int, *, progress: Progress | None = None
) -> dict[str, float]:
    """Operations a second of each virtual machine where there is room for all of them.

    That is the same scenario and seed on a host whose memory is everyone's max together, and is
    not divided. Lived through once for all policies in a process.
    """
    roomy = roomy_scenario(scenario)
    own = roomy.own_workloads()
    key = _Key(roomy.described(), str(roomy.folder), tuple(map(id, own)), seed)
    with _GUARD:
        making = _MAKING.setdefault(key, threading.Lock())
    with making:
        with _GUARD:
            known = _REFERENCES.get(key)
        if known is None:
            known = _Reference(vm_ops_per_s(observe(roomy, seed, progress)), own)
            with _GUARD:
                _REFERENCES[key] = known
                while len(_REFERENCES) > _MOST_REFERENCES:
                    _MAKING.pop(_REFERENCES.popitem(last=False)[0], None)
    return dict(known.ops_per_s)


def roomy_scenario(scenario: Scenario) -> Scenario:
    """The scenario on a host with room for everybody, which therefore is not divided."""
    pages = sum(_pages(plan) * len(plan.section.names()) for plan in open_plans(scenario))
    roomy = watched(scenario.undivided(f"{pages * _KIB_PER_PAGE}KiB"))
    if any(section.start_s or section.stop_s for section in scenario.vms):
        return roomy
    return roomy.changed({"run.sample": f"{roomy.run.duration_s}s"})  # of who stays the end tells


def _pages(plan: Plan) -> int:
    """The size of a virtual machine of a section: its max, or that of its contents."""
    if plan.section.max is not None:
        return parse_size_text(plan.section.max)
    if plan.source is None:
        raise AssertionError("a section without max has contents")
    return plan.source.vm_pages
