"""The policies of a study: what each is called, what it takes, and whether a worker can get it.

Objects of one's own go to workers pickled. One that cannot is refused before anything runs, and so
the state that it starts with can be part of the key of a run.

Neighbours: `esxcore.comparing.contenders` reads policies; `esxcore.study.grid` makes the points
of a study with them.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from esxcore.comparing.contenders import contenders
from esxcore.errors import ConfigError
from esxcore.experiment.policies import takes_parameter
from esxcore.scenario import Scenario

OF_POLICY = "policy."
"""How fields begin that are parameters of the policy."""


@dataclass(frozen=True)
class Choice:
    """One of the policies.

    Attributes
    ----------
    label : str
        What it is called in rows.
    scenario : Scenario
        The scenario with it, before fields are changed.
    state : str
        A hash of the objects in it; empty if there are none.
    """

    label: str
    scenario: Scenario
    state: str

    def has(self, field: str) -> bool:
        """Whether its scenario has a field: all but parameters that the policy does not take.

        Objects have been made already and take none.
        """
        if not field.startswith(OF_POLICY):
            return True
        if self.scenario.has_own_policy or self.scenario.policy.is_bare:
            return False
        parameter = field.removeprefix(OF_POLICY)
        return takes_parameter(self.scenario, "policy", self.scenario.policy, parameter)


def chosen(
    scenario: Scenario, policies: Sequence[Any] | Mapping[str, Any] | None
) -> tuple[Choice, ...]:
    """The policies of a study, each with a label of its own; None stands for the scenario's.

    Raises
    ------
    ConfigError
        If there are none, one is no policy, two are called the same, or one cannot be pickled.
    """
    if policies is None:
        return (Choice(scenario.policy.name, scenario, _state("scenario", scenario)),)
    rivals = contenders(scenario, policies)
    return tuple(
        Choice(label, rival, _state(f"policy {label}", rival)) for label, rival in rivals.items()
    )


def _state(what: str, scenario: Scenario) -> str:
    """A hash of what the objects of a scenario are made of."""
    owned = scenario.own_objects()
    if not owned:
        return ""
    for place, own in owned.items():
        try:
            pickle.loads(pickle.dumps(own, protocol=5))
        except Exception as error:  # whatever __reduce__ and its like may raise
            told = (str(error) or type(error).__name__).splitlines()[0]
            raise ConfigError(
                f"{what if place == 'policy' else place}: a {type(own).__name__} cannot be"
                f" pickled, so no worker could get it ({told}); put its class into a module, with"
                f' nothing local or lambda in it, or name it "module:{type(own).__name__}"'
            ) from error
    packed = pickle.dumps(owned, protocol=5)
    return hashlib.sha256(packed).hexdigest()
