"""Objects of one's own in a scenario: a policy, workloads. Kept, compared, and copied for each run.

A file cannot hold them: where they are, the tables of the scenario only name their classes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from esxcore.errors import ConfigError
from esxcore.workload import Activity, Program

_VALUES = (Program, Activity)
"""Workloads that remember nothing: all runs can have the same."""


@dataclass(frozen=True, eq=False)
class Own:
    """The objects of a scenario.

    Attributes
    ----------
    policy : object or None
        The policy, if it is one.
    workloads : mapping of int to object
        Workloads by the position of their ``[[vms]]`` table.
    """

    policy: object | None = None
    workloads: Mapping[int, object] = field(default_factory=dict)

    def with_workload(self, position: int, workload: object | None) -> Own:
        """The same with another workload, or none, at a position."""
        kept = {at: own for at, own in self.workloads.items() if at != position}
        return replace(self, workloads=kept if workload is None else kept | {position: workload})

    def places(self) -> Iterator[tuple[str, object]]:
        """Where they are, in the words of the file, and what they are."""
        if self.policy is not None:
            yield "policy", self.policy
        for position in sorted(self.workloads):
            yield f"vms[{position}].workload", self.workloads[position]

    def places_by_name(self) -> dict[str, object]:
        """Where they are and what they are."""
        return dict(self.places())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Own):
            return NotImplemented
        try:
            return _alike(self.places_by_name(), other.places_by_name())
        except Exception:  # of their own comparisons, of state that cannot be told, or of cycles
            return False

    __hash__ = None  # type: ignore[assignment]  # what is in it may change


def fresh(own: Any, place: str) -> Any:
    """A copy of an object for one run, so that what it remembers stays in that run.

    Raises
    ------
    ConfigError
        If it cannot be copied.
    """
    if type(own) in _VALUES:
        return own
    try:
        fork = getattr(own, "fork", None)
        return fork() if callable(fork) else copy.deepcopy(own)
    except Exception as error:
        raise ConfigError(
            f"{place} is an object of class {type(own).__name__}, of which each run needs a copy,"
            f" and it cannot be copied ({type(error).__name__}: {error}); expected one that can,"
            " or the name of its class"
        ) from error


def _alike(mine: Any, theirs: Any) -> bool:
    """Whether objects are equal; those whose class does not say are so if their states are."""
    if mine is theirs:
        return True
    if type(mine) is not type(theirs):
        return False
    if isinstance(mine, np.ndarray):
        return mine.dtype == theirs.dtype and np.array_equal(mine, theirs)
    if isinstance(mine, dict):
        return mine.keys() == theirs.keys() and all(_alike(mine[key], theirs[key]) for key in mine)
    if isinstance(mine, list | tuple):
        return len(mine) == len(theirs) and all(map(_alike, mine, theirs))
    if "__eq__" in {name for kind in type(mine).__mro__[:-1] for name in vars(kind)}:
        return bool(mine == theirs)
    return _alike(mine.__reduce_ex__(4)[1:3], theirs.__reduce_ex__(4)[1:3])
