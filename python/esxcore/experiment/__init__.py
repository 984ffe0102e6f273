"""Experiments: a scenario lived through, second by second, and recorded.

`run` checks every data file the scenario names, powers the virtual machines on, and then for each
second of virtual time lets the workloads touch their pages, advances the host (whose scanner looks
for equal pages at its rates, paper section 4.3), and samples what there is to see. One seed gives
one recording, to the byte.

Neighbours: `esxcore.experiment.plans` opens the data files, `policies` finds and makes the policy,
`course` lets things happen at their second, `samples` records. It composes scenario, contents,
workload, policy and host; commands and scripts call it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from esxcore.arguments import real_number
from esxcore.config import parse_duration, whole_number
from esxcore.errors import ArgumentTypeError, ConfigError
from esxcore.experiment.course import Course
from esxcore.experiment.plans import open_plans
from esxcore.experiment.policies import make_policy, policy_failure
from esxcore.experiment.samples import Samples
from esxcore.hints import did_you_mean
from esxcore.host import Host
from esxcore.interrupts import ctrl_c
from esxcore.recording import Recording
from esxcore.scenario import SEED_LIMIT, Scenario
from esxcore.workload import AnyWorkload, PacedWorkload, Program, Workload

__all__ = [
    "Progress",
    "RunInterrupted",
    "build_host",
    "check_policies",
    "host_at",
    "policy_failure",
    "run",
]

_LONGEST_STEP_S = 10
Progress = Callable[[int, int], None]
"""Called after each virtual second with the seconds done and the seconds in all."""


class RunInterrupted(KeyboardInterrupt):
    """Ctrl-C ended a run; what it had recorded until then is kept.

    Attributes
    ----------
    recording : Recording
        All samples up to the last one taken, at least two.
    """

    def __init__(self, recording: Recording) -> None:
        super().__init__()
        self.recording = recording


def run(
    scenario: Scenario,
    *,
    seed: int | None = None,
    workloads: Mapping[str, AnyWorkload] | None = None,
    progress: Progress | None = None,
) -> Recording:
    """Runs a scenario and records it.

    Parameters
    ----------
    scenario : Scenario
        What to run. Policies and workloads that it has as objects are copied, so each run begins
        with them as they were given.
    seed : int, optional
        Used in place of the scenario's own.
    workloads : mapping of str to Workload or PacedWorkload, optional
        Workloads written in Python by name of virtual machine; each takes the place of the
        scenario's.
    progress : callable, optional
        Called as ``progress(done_s, total_s)`` after each virtual second.

    Returns
    -------
    Recording
        Samples from second 0, before anything happened, to the last second.

    Raises
    ------
    ScenarioError
        If the scenario and its data files contradict each other, or the virtual machines do not fit
        the host or the system running esxcore (the cause is a `NotAdmittedError`, an
        `OutOfMachineMemoryError` or a `RealMemoryError`), or a change is refused when it is due. A
        guest that finds no free page later on, or is blocked, stands still instead, and the
        recording says for how long.
    DataError
        If a data file is missing or corrupt.
    RunInterrupted
        After Ctrl-C, with what had been recorded; a plain `KeyboardInterrupt` if that is nothing.
    Exception
        What a policy raised, whole, with a note that names the policy and the time; a `PolicyError`
        if it was its answer that was wrong.

    Examples
    --------
    >>> scenario = Scenario.from_mapping(
    ...     {
    ...         "host": {"memory": "64MiB"},
    ...         "vms": [{"name": "web", "max": "16MiB"}],
    ...         "run": {"duration": "5s"},
    ...     }
    ... )
    >>> run(scenario).time_s.tolist()
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    """
    seed = _seed(scenario, seed)
    _check_arguments(workloads, progress)
    course = _course(scenario, seed, dict(workloads or {}))
    samples = Samples(course, scenario.run)
    samples.take()
    try:
        _live(scenario, course, samples, progress)
    except KeyboardInterrupt as interrupt:
        if len(samples) < 2:
            raise
        with ctrl_c() as pressed:
            pressed.hold()  # pressed again it would take with it what was recorded
            recording = samples.recording(scenario, seed)
        raise RunInterrupted(recording) from interrupt
    return samples.recording(scenario, seed)


def _live(scenario: Scenario, course: Course, samples: Samples, progress: Progress | None) -> None:
    """Lets the scenario happen, second by second."""
    duration, sample = scenario.run.duration_s, scenario.run.sample_s
    for second in range(1, duration + 1):
        course.live()
        samples.listen()
        course.happen(second)
        if second % sample == 0 or second == duration:
            samples.take()
        if progress is not None:
            progress(second, duration)


def observe(scenario: Scenario, seed: int, progress: Progress | None = None) -> Recording:
    """Runs a scenario as `run` does, but looks up only where something is due.

    The recording has the same samples and no decisions. `progress` is called at least every ten
    virtual seconds; what it raises ends the run.
    """
    course = _course(scenario, seed, {})
    samples = Samples(course, scenario.run)
    samples.take()
    now, duration, sample = 0, scenario.run.duration_s, scenario.run.sample_s
    for second in _due(scenario):
        while now < second:
            step = min(second - now, _LONGEST_STEP_S)
            course.live(step)
            now += step
            if progress is not None and now < second:
                progress(now, duration)
        course.happen(second)
        if second % sample == 0 or second == duration:
            samples.take()
        if progress is not None:
            progress(second, duration)
    return samples.recording(scenario, seed)


def _due(scenario: Scenario) -> list[int]:
    """Seconds at which something happens or is sampled, ascending."""
    duration = scenario.run.duration_s
    moments = {duration, *range(0, duration, scenario.run.sample_s)}
    moments |= {event.at_s for event in scenario.events}
    for section in scenario.vms:
        moments |= {section.start_s, section.stop_s or 0}
    return sorted(moment for moment in moments if 0 < moment <= duration)


def build_host(scenario: Scenario, *, seed: int | None = None) -> Host:
    """The host of a scenario as it is at second 0, for experiments by hand.

    Raises
    ------
    ScenarioError, DataError
        As `run` does.
    """
    return _course(scenario, _seed(scenario, seed), {}).host


def host_at(scenario: Scenario, seed: int, at: str | float | None = None) -> tuple[Host, float]:
    """The host of a scenario that was lived through until a moment, and that moment in seconds.

    Parameters
    ----------
    scenario, seed
        What to live through.
    at : str or float, optional
        Virtual time such as ``"12min"``, or seconds; the end if left out. The host has lived to the
        next whole second.

    Raises
    ------
    ConfigError
        If the scenario does not last so long.
    """
    duration = scenario.run.duration_s
    moment = float(duration) if at is None else _moment(at)
    if not 0 <= moment <= duration:
        raise ConfigError(f"at: {at!r}; expected a time from 0 to {duration} s, the end of the run")
    course = _course(scenario, seed, {})
    for second in range(1, math.ceil(moment) + 1):
        course.live()
        course.happen(second)
    return course.host, moment


def check_policies(scenario: Scenario) -> None:
    """Makes the policy of a scenario as a run does, so that what is wrong with it comes out now.

    Raises
    ------
    ScenarioError
        If there is none of that name, it cannot be imported, made or copied.
    """
    if scenario.own_policy() is None and not scenario.policy.is_bare:
        make_policy(scenario, "policy", scenario.policy)


def _moment(at: str | float) -> float:
    return parse_duration(at, "at") if isinstance(at, str) else real_number(at, "at")


def _course(scenario: Scenario, seed: int, workloads: dict[str, AnyWorkload]) -> Course:
    """The course of a scenario, at second 0."""
    if not scenario.vms:
        raise scenario.refusal("nothing to run: expected one VM or more")
    plans = open_plans(scenario)
    _check_workloads(workloads, scenario.vm_names())
    course = Course(scenario, plans, seed, workloads)
    course.happen(0)
    return course


def _seed(scenario: Scenario, seed: int | None) -> int:
    if not isinstance(scenario, Scenario):
        raise ArgumentTypeError(f"scenario: {scenario!r}; expected a Scenario")
    if seed is None:
        return scenario.host.seed
    seed = whole_number(seed, "seed")
    if not 0 <= seed < SEED_LIMIT:
        raise ConfigError(f"seed: {seed}; expected 0 to 2**128 - 1")
    return seed


def _check_arguments(
    workloads: Mapping[str, AnyWorkload] | None, progress: Progress | None
) -> None:
    if workloads is not None and not isinstance(workloads, Mapping):
        raise ArgumentTypeError(
            f"workloads: {workloads!r}; expected a mapping of names of VMs to workloads"
        )
    if progress is not None and not callable(progress):
        raise ArgumentTypeError(f"progress: {progress!r}; expected a function of two numbers")


def _check_workloads(workloads: Mapping[str, AnyWorkload], names: tuple[str, ...]) -> None:
    for name, workload in workloads.items():
        if name not in names:
            hint = did_you_mean(name, names)
            raise ConfigError(f"workloads: no virtual machine {name!r}; {hint}")
        if isinstance(workload, type) or not isinstance(
            workload, Workload | PacedWorkload | Program
        ):
            raise ArgumentTypeError(
                f"workloads[{name!r}]: {type(workload).__name__} has no method batch(now) or"
                " accesses(second)"
            )
