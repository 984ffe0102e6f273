"""Grades: three classroom scenarios that show within two seconds what a policy is good for.

Four virtual machines with a floor and a cap, on a host that is short for them: *grows*, one grows
and then frees; *together*, all grow together; *parting*, two stop while two go on. Each check says
what was expected, what happened, and what it is worth; all are worth 100 points. Throughput and
paging are measured by what ``static`` and ``esx2002`` make of the same scenario and seed, lived
through beside it.

Neighbours: the scenarios are ``data/classroom_*.toml``, their guests do what
`esxcore.comparing.classroom` says; `esxcore compare --grade` prints a `Grade`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from esxcore.comparing.contenders import contenders
from esxcore.comparing.crew import Task, live_all, usual_jobs
from esxcore.experiment import observe
from esxcore.experiment.metrics import ops_per_s, swapped_mib
from esxcore.recording import Recording
from esxcore.scenario import Scenario

MEASURED_BY = ("static", "esx2002")
"""Policies beside which a policy is graded."""

_PAGES_PER_MIB = 256
_TITLES = {
    "grows": "one VM grows, then frees",
    "together": "all VMs grow together",
    "parting": "two VMs stop while two go on",
}
_GROWS_S, _FREES_S = 40, 110  # of the host: guests boot for ten seconds
_SETTLED_S = 40  # what a policy has time for after something changed
_SWAP_LEEWAY_MIB = 16.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a policy is graded by.

    Attributes
    ----------
    scenario : str
        Which of the classroom scenarios.
    expected, happened : str
        What a good policy does, and what this one did.
    points, out_of : int
        What it got and could have got.
    """

    scenario: str
    expected: str
    happened: str
    points: int
    out_of: int


@dataclass(frozen=True)
class Grade:
    """What a policy is worth in the classroom; ``str()`` is the report.

    Attributes
    ----------
    policy : str
        What it is called.
    checks : tuple of Check
        What it was graded by.
    """

    policy: str
    checks: tuple[Check, ...]

    @property
    def points(self) -> int:
        """Out of 100."""
        return sum(check.points for check in self.checks)

    def __str__(self) -> str:
        return "\n".join(_report(self))

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values."""
        checks = [asdict(check) for check in self.checks]
        return {"policy": self.policy, "points": self.points, "checks": checks}


def grade(
    policy: Any,
    *,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Grade:
    """Grades a policy by the three classroom scenarios.

    Parameters
    ----------
    policy : str, mapping or object
        As `Scenario.with_policy` takes it.
    jobs, progress
        As in `esxcore.compare`.

    Raises
    ------
    ConfigError, PolicyError
        As `esxcore.compare` does.
    """
    scenarios = {name: Scenario.builtin(f"classroom_{name}") for name in _TITLES}
    label = next(iter(contenders(scenarios["grows"], [policy], "policy")))
    tasks = []
    for name, scenario in scenarios.items():
        given = {f"{name}/{other}": other for other in MEASURED_BY} | {f"{name}/": policy}
        rivals = contenders(scenario, given)
        tasks += [Task(key, scenario.host.seed, observe, rivals[key]) for key in rivals]
    found = live_all(tasks, usual_jobs() if jobs is None else jobs, progress)
    runs = {key: recording for (key, _), recording in found.items()}
    checks = []
    for name in _TITLES:
        others = {other: runs[f"{name}/{other}"] for other in MEASURED_BY}
        run = _Run(name, runs[f"{name}/"], others)
        checks += [*_OWN_CHECKS[name](run), *_common(run)]
    return Grade(label, tuple(checks))


class _Run(NamedTuple):
    """One scenario lived through under a policy, and under those it is measured by."""

    name: str
    recording: Recording
    others: Mapping[str, Recording]

    def check(self, expected: str, happened: str, part: float, out_of: int) -> Check:
        points = math.floor(out_of * min(max(part, 0.0), 1.0) + 1e-9)
        return Check(self.name, expected, happened, points, out_of)

    @property
    def equal_mib(self) -> float:
        """An equal part of the memory: what the static division grants each."""
        return float(self.others["static"].vms["target_pages"][-1].mean()) / _PAGES_PER_MIB

    def mib(self, column: str, vm: str) -> NDArray[np.float64]:
        place = list(self.recording.vm_names).index(vm)
        pages: NDArray[np.float64] = self.recording.vms[column][:, place] / _PAGES_PER_MIB
        return pages

    def between(self, start_s: float, end_s: float) -> NDArray[np.bool_]:
        time_s = self.recording.time_s
        within: NDArray[np.bool_] = (time_s >= start_s) & (time_s <= end_s)
        return within


def _grows(run: _Run) -> Iterator[Check]:
    wanted = 1.4 * run.equal_mib
    window = run.between(_GROWS_S + _SETTLED_S, _FREES_S)
    has = float(run.mib("allocated_pages", "one")[window].mean())
    yield run.check(
        f"from {_SETTLED_S} s after it begins to grow, one has much more than an equal part:"
        f" {wanted:.0f} MiB",
        f"it had {has:.0f} MiB on average",
        (has - run.equal_mib) / (wanted - run.equal_mib),
        15,
    )
    target = run.mib("target_pages", "one")
    before = float(target[run.between(_FREES_S, _FREES_S)][0])
    after = float(target[-1])
    least = max(0.9 * before, run.equal_mib)
    part = 1.0 if after <= least else 1 - (after - least) / max(before - least, 1.0)
    yield run.check(
        f"when it frees, it gives back: its target, of more than an equal part, falls to"
        f" {least:.0f} MiB",
        f"its target went from {before:.0f} to {after:.0f} MiB",
        part if before > 1.1 * run.equal_mib else 0.0,
        6,
    )


def _together(run: _Run) -> Iterator[Check]:
    rows = np.flatnonzero(run.between(_GROWS_S + _SETTLED_S, np.inf))
    parts = run.recording.vms["allocated_pages"][rows].astype(np.float64)
    index = float(np.mean(parts.sum(1) ** 2 / (parts.shape[1] * (parts**2).sum(1))))
    yield run.check(
        f"from {_SETTLED_S} s after they begin to grow, equals have equal parts: Jain's index"
        " above 0.995",
        f"it was {index:.4f} on average",
        (index - 0.98) / 0.015,
        20,
    )


def _parting(run: _Run) -> Iterator[Check]:
    wanted = 1.5 * run.equal_mib
    window = run.between(_GROWS_S + _SETTLED_S, np.inf)
    having = [float(run.mib("allocated_pages", vm)[window].mean()) for vm in ("three", "four")]
    yield run.check(
        f"from {_SETTLED_S} s after they grow, three and four have more than an equal"
        f" part: {wanted:.0f} MiB each",
        f"they had {having[0]:.0f} and {having[1]:.0f} MiB on average",
        (min(having) - run.equal_mib) / (wanted - run.equal_mib),
        20,
    )


_OWN_CHECKS: Mapping[str, Callable[[_Run], Iterator[Check]]] = {
    "grows": _grows,
    "together": _together,
    "parting": _parting,
}


def _common(run: _Run) -> Iterator[Check]:
    """What is expected in all scenarios."""
    vms = run.recording.vms
    held = (vms["max_pages"] - vms["balloon_pages"] - vms["swapped_pages"]) / _PAGES_PER_MIB
    floor = float(vms["min_pages"].max()) / _PAGES_PER_MIB
    least = float(held.min())
    yield run.check(
        f"nobody is taken below the floor of {floor:.0f} MiB",
        f"all could have {least:.0f} MiB or more" if least >= floor else f"one had {least:.0f} MiB",
        float(least >= floor),
        2,
    )
    usual = swapped_mib(run.others["static"]) + _SWAP_LEEWAY_MIB
    swapped = swapped_mib(run.recording)
    yield run.check(
        f"the host pages out no more than balloons are too slow for: {usual:.0f} MiB",
        f"it paged out {swapped:.0f} MiB",
        2 - swapped / usual,
        4,
    )
    speeds = {name: ops_per_s(other) for name, other in run.others.items()}
    best, here = max(speeds.values()), ops_per_s(run.recording)
    told = ", ".join(f"{name} {speed:.1f}" for name, speed in speeds.items())
    yield run.check(
        f"as much gets done as under the better of {told} operations a second",
        f"{here:.1f} operations a second",
        1 - (1 - here / best) / 0.05,
        7,
    )


def _report(grade: Grade) -> Iterator[str]:
    yield f"Policy {grade.policy}: {grade.points} of 100 points"
    for name, title in _TITLES.items():
        checks = [check for check in grade.checks if check.scenario == name]
        got, out_of = sum(each.points for each in checks), sum(each.out_of for each in checks)
        yield ""
        yield f"{name}: {title} ({got} of {out_of})"
        for check in checks:
            yield f"  {check.points:>2}/{check.out_of:<2} expected  {check.expected}"
            yield f"        happened  {check.happened}"
