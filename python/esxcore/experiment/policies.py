"""Policies of a scenario: found by name, or imported from the folder of its file; made and checked.

A policy of one's own is ``module:Class``, found as `esxcore.experiment.classes` says. The class is
made with the parameters that the scenario gives. Whatever is wrong with it comes out as one line,
before anything runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

from esxcore.errors import EsxError, PolicyError
from esxcore.experiment.classes import Sort, blamed_line, found_class
from esxcore.policy import POLICIES, Policy
from esxcore.scenario import PolicySection, Scenario
from esxcore.scenario.named import made_policy, named_policy
from esxcore.scenario_text import abridged

_NOTE = "policy "
_OF_WORKLOADS = "in workload "
_SORT = Sort("policy", ("targets",), "a class with a method targets(view)")


def make_policy(scenario: Scenario, field_name: str, section: PolicySection) -> Policy:
    """The policy of a section; `field_name` is where the scenario speaks of it.

    Raises
    ------
    ScenarioError
        If there is none of that name, it takes no such parameter or refuses it, or it is no policy.
    """
    policy = made_policy(scenario, field_name, section, _factory(scenario, field_name, section))
    if not callable(getattr(policy, "targets", None)):
        raise scenario.error(f"{field_name}.name", section.name, _SORT.expected)
    return policy


def takes_parameter(
    scenario: Scenario, field_name: str, section: PolicySection, parameter: str
) -> bool:
    """Whether the policy of a section can be made with a parameter of that name.

    Raises
    ------
    ScenarioError
        If there is no policy of that name.
    """
    try:
        taken = inspect.signature(_factory(scenario, field_name, section)).parameters
    except ValueError:  # classes of C need not tell
        return True
    kinds = inspect.Parameter
    named = (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)
    return any(
        each.kind is kinds.VAR_KEYWORD or (name == parameter and each.kind in named)
        for name, each in taken.items()
    )


def _factory(scenario: Scenario, field_name: str, section: PolicySection) -> Callable[..., Policy]:
    known = named_policy(scenario, field_name, section)
    if known is not None:
        return known
    own: Callable[..., Policy] = found_class(
        scenario, f"{field_name}.name", section.name, POLICIES, _SORT
    )
    return own


def blame(error: BaseException, name: str, now_s: float) -> None:
    """Notes on what came out of a host that it was a policy that raised it, and when."""
    if _is_a_workloads(error):
        return
    if isinstance(error, PolicyError) or not isinstance(error, EsxError | MemoryError):
        error.add_note(f"{_NOTE}{abridged(name)} at {now_s:g} s of virtual time")


def _is_a_workloads(error: BaseException) -> bool:
    return any(note.startswith(_OF_WORKLOADS) for note in getattr(error, "__notes__", ()))


def policy_failure(error: BaseException) -> str | None:
    """One line about what a policy or a workload raised in a run: whose, when, what, and where.

    None if the error is of neither.
    """
    notes = [note for note in getattr(error, "__notes__", ()) if note.startswith(_NOTE)]
    if _is_a_workloads(error):
        notes = [note for note in error.__notes__ if note.startswith(_OF_WORKLOADS)]
        whose = notes[-1].removeprefix("in ")
        if isinstance(error, EsxError):  # about what it yielded
            return f"{whose}: {str(error).removeprefix(whose.partition(',')[0] + ': ')}"
        return blamed_line(whose, error)
    if not notes:
        return None
    if isinstance(error, PolicyError):  # about an answer, so no line of code is to blame
        return f"{notes[-1]}: {error}"
    return blamed_line(notes[-1], error)
