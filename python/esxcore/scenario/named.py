"""What a scenario names that is built in, policies and their parameters, checked in its words.

`esxcore.scenario.programs` does the same for workloads. What is not built in is for
`esxcore.experiment` to find.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from esxcore.errors import ConfigError, EsxError, ScenarioError
from esxcore.hints import did_you_mean, listed
from esxcore.policy import Policy, found_policy, policy_names
from esxcore.scenario.division import PolicySection
from esxcore.scenario_text import abridged

RAISED = (Exception, SystemExit)
"""What code of the user's may raise and be blamed for; Ctrl-C is not its doing."""


class Refusing(Protocol):
    """A scenario, as far as it words what is wrong with it."""

    @property
    def folder(self) -> Path:
        """Where relative paths start."""

    def error(self, field: str, value: object, expected: str) -> ScenarioError:
        """An error about one field."""

    def refusal(self, problem: str) -> ScenarioError:
        """An error that says where the scenario comes from."""


def told(error: BaseException) -> str:
    """What an error says, with its kind if it is none of the package's own."""
    if isinstance(error, EsxError):
        return str(error)
    return ": ".join(filter(None, (type(error).__name__, str(error))))


def check_parameters(
    scenario: Refusing,
    field_name: str,
    called: str,
    given: Mapping[str, object],
    factory: Callable[..., object],
) -> None:
    """Refuses parameters that a class does not take, and the lack of those that it needs."""
    try:
        taken = inspect.signature(factory).parameters
    except ValueError:  # classes of C need not tell
        return
    if any(each.kind is each.VAR_KEYWORD for each in taken.values()):
        return
    named = {name: each for name, each in taken.items() if each.kind not in _BY_POSITION}
    for key in given:
        if key not in named:
            otherwise = f"expected {listed(named) or 'no parameters'}"
            hint = did_you_mean(key, named, abridged, otherwise=otherwise)
            raise scenario.refusal(f"unknown key {field_name}.{key} of {called}; {hint}")
    for name, each in named.items():
        if each.default is each.empty and name not in given:
            raise scenario.refusal(f"{field_name}.{name} is missing; {called} cannot be without it")


_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)


def made_policy(
    scenario: Refusing, field_name: str, section: PolicySection, factory: Callable[..., Policy]
) -> Policy:
    """A policy of a class, with the parameters of a section.

    Raises
    ------
    ScenarioError
        If it takes no such parameter, lacks one or refuses it.
    """
    called = f"policy {abridged(section.name)}"
    check_parameters(scenario, field_name, called, section.parameters, factory)
    try:
        return factory(**section.parameters)
    except RAISED as error:
        problem = f"{field_name}: {called} cannot be made: {told(error)}"
        raise scenario.refusal(problem) from error


def named_policy(
    scenario: Refusing, field_name: str, section: PolicySection
) -> Callable[..., Policy] | None:
    """The class of a policy that is known by name; None if the name is another form.

    Raises
    ------
    ScenarioError
        If no policy has that name, or the package that has it is broken.
    """
    try:
        found = found_policy(section.name)
    except ConfigError as error:
        problem = f"{field_name}.name is {abridged(section.name)}; {error}"
        raise scenario.refusal(problem) from error
    if found is None and ":" not in section.name:
        known = dict.fromkeys(policy_names())
        raise no_such(scenario, f"{field_name}.name", section.name, known)
    return found


def check_policy(scenario: Refusing, field_name: str, section: PolicySection) -> None:
    """Refuses what no policy is named, and what the policy of that name does not take."""
    factory = None if section.is_bare else named_policy(scenario, field_name, section)
    if factory is not None:
        made_policy(scenario, field_name, section, factory)


def no_such(
    scenario: Refusing, field_name: str, name: str, built_in: Mapping[str, object]
) -> ScenarioError:
    """An error about a name that nothing built in has, and that is not of the form of others."""
    otherwise = f"expected {listed(built_in)} or module:Class"
    hint = did_you_mean(name, built_in, abridged, otherwise=otherwise)
    return scenario.refusal(f"{field_name} is {abridged(name)}; {hint}")
