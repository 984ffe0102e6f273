"""Policies as callers of comparisons give them, each with its name and its scenario.

Neighbours: `esxcore.compare` asks; `esxcore.Scenario.with_policy` knows what a policy may be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from esxcore.errors import ArgumentTypeError, ConfigError, ScenarioError
from esxcore.experiment import check_policies
from esxcore.policy import POLICIES
from esxcore.scenario import Scenario
from esxcore.scenario_text import toml_value


def contenders(
    scenario: Scenario, policies: Sequence[Any] | Mapping[str, Any], what: str = "policies"
) -> dict[str, Scenario]:
    """The scenario under each policy, by what the policy is called.

    Parameters
    ----------
    scenario, policies
        What they have in common, and who they are.
    what : str
        How whoever gave a policy calls it; begins errors about it.

    Raises
    ------
    ConfigError
        If one is no policy, or two are called the same.
    ArgumentTypeError
        If what was given is neither a sequence nor a mapping of names to policies.
    """
    if not isinstance(scenario, Scenario):
        raise ArgumentTypeError(f"scenario: {scenario!r}; expected a Scenario")
    if isinstance(policies, Mapping):
        rivals = {_label(label): _rival(scenario, each, what) for label, each in policies.items()}
    else:
        listed = _listed(policies)
        rivals = _called_by_themselves(listed, [_rival(scenario, each, what) for each in listed])
    if not rivals:
        raise ConfigError("policies: there are none; expected one or more")
    return rivals


def _rival(scenario: Scenario, policy: Any, what: str) -> Scenario:
    """The scenario under a policy; what is wrong with the policy is not said of the scenario."""
    try:
        rival = scenario.with_policy(policy)
        check_policies(rival)
    except ScenarioError as error:
        said = scenario.without_source(str(error))
        if not said.startswith("policy"):
            raise
        raise ScenarioError(f"{what}: {said}") from error
    return rival


def _listed(policies: object) -> list[Any]:
    """What stands in a sequence; one policy alone is refused with advice."""
    if isinstance(policies, str) or not isinstance(policies, Sequence):
        raise ArgumentTypeError(
            f"policies: {policies!r}; expected a list of policies, such as"
            ' ["static", "esx2002"], or a mapping of names to policies'
        )
    return list(policies)


def _called_by_themselves(
    policies: Sequence[Any], scenarios: Sequence[Scenario]
) -> dict[str, Scenario]:
    short = [_name(*pair) for pair in zip(policies, scenarios, strict=True)]
    times = Counter(short)
    rivals: dict[str, Scenario] = {}
    for policy, rival, name in zip(policies, scenarios, short, strict=True):
        label = name if times[name] == 1 else _full_name(policy, rival, name)
        if label in rivals:
            raise ConfigError(
                f"policies: two are called {label!r}; expected a name of its own for each, as in"
                f' {{"one": ..., "another": ...}}'
            )
        rivals[label] = rival
    return rivals


def _name(policy: Any, rival: Scenario) -> str:
    """What a policy is called: as it was given, or by its own name or its class."""
    if isinstance(policy, str):
        return policy
    if isinstance(policy, Mapping):
        return _full_name(policy, rival, rival.policy.name)
    name = getattr(policy, "name", None)
    return name if isinstance(name, str) and name else type(policy).__name__


def _full_name(policy: Any, rival: Scenario, name: str) -> str:
    """With the parameters that it was given."""
    is_known = isinstance(policy, Mapping) or type(policy) in POLICIES.values()
    parameters = rival.policy.parameters if is_known else {}
    told = ", ".join(f"{key} = {toml_value(value)}" for key, value in parameters.items())
    return f"{name} ({told})" if told else name


def _label(label: object) -> str:
    if not (isinstance(label, str) and label and label.isprintable()):
        raise ConfigError(f"policies: the name {label!r}; expected printable text")
    return label
