"""What the policy decided during a run, and why: a row for each target that it changed.

The ledger of a host knows every decision (`esxcore.host.Host.decisions`); a recording keeps those
that moved a target, as columns of numbers: when, why the policy was asked, how short of memory the
host was, the target before and after, and what explains it. The newest `LIMIT` rows are kept.

Neighbours: `esxcore.recording` stores them with the samples, `esxcore.experiment` gathers them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from esxcore.datafile import ArrayFile
from esxcore.errors import DataError

LIMIT = 2**16
"""Most rows that a recording keeps."""

CAUSES = {
    "Period": "a balance period was over",
    "PowerOn": "a VM was powered on",
    "PowerOff": "a VM was powered off",
    "Reconfigured": "a VM was reconfigured",
    "StateChanged": "the free state had changed",
    "StillShort": "the targets before would not free enough",
    "PolicySet": "the policy was set",
}
"""Why targets were computed (paper, section 6.3); the numbers that stand for them follow this."""

BOUNDS = ("none", "min", "max")
"""Which bound a target was clamped to, in the order of the numbers that stand for them."""

STATES = ("high", "soft", "hard", "low")
"""Free states in the order of the numbers that stand for them (paper, section 6.3)."""

_COLUMNS: dict[str, type[np.generic]] = {
    "time_s": np.float64,
    "vm": np.int32,
    "cause": np.int8,
    "policy": np.int32,
    "free_state": np.int8,
    "available_pages": np.int64,
    "cheapest": np.int32,
    "before_pages": np.int64,
    "target_pages": np.int64,
    "allocated_pages": np.int64,
    "active_pages": np.int64,
    "price": np.float64,
    "taxed_pages": np.int64,
    "bound": np.int8,
}
_PREFIX = "decision."
_POLICIES = "decision_policies"
_FORGOTTEN = "decisions_forgotten"


class Change(NamedTuple):
    """A target that was changed; None where nothing is known.

    Attributes
    ----------
    time_s : float
        When, in virtual seconds.
    vm : int
        Whose, by the order of `Recording.vm_names`.
    cause : str
        Why the policy was asked, one of `CAUSES`.
    policy : str
        Who decided.
    free_state : str
        How short of memory the host was.
    available_pages : int
        Pages there were for all virtual machines together.
    cheapest : int or None
        The virtual machine that would have lost the next page.
    before_pages : int or None
        The target until then; None if there was none.
    target_pages : int
        The target from then on.
    allocated_pages : int
        Pages it had.
    active_pages : int or None
        Of these, pages in use by sampling.
    price : float or None
        Its adjusted shares-per-page (section 5.2), if the policy has prices.
    taxed_pages : int
        Pages by which the tax on idle memory lowered the target, negative if it raised it.
    bound : str
        Which bound clamped the target, one of `BOUNDS`.
    """

    time_s: float
    vm: int
    cause: str
    policy: str
    free_state: str
    available_pages: int
    cheapest: int | None
    before_pages: int | None
    target_pages: int
    allocated_pages: int
    active_pages: int | None
    price: float | None
    taxed_pages: int
    bound: str


@dataclass(frozen=True, eq=False)
class Decisions:
    """Changed targets as columns, in the order in which they were changed.

    Parameters
    ----------
    columns : mapping of str to array, shape (changes,)
        The fields of `Change` as numbers: -1 or NaN where nothing is known, ``cause``, ``policy``,
        ``free_state`` and ``bound`` as positions in `CAUSES`, `policies`, `STATES` and `BOUNDS`.
    policies : sequence of str
        Names of the policies that decided.
    forgotten : int
        Older changes that were not kept.
    """

    columns: Mapping[str, NDArray[Any]]
    policies: Sequence[str] = ()
    forgotten: int = 0

    def __len__(self) -> int:
        return len(self.columns["time_s"])

    def __iter__(self) -> Iterator[Change]:
        causes = tuple(CAUSES)
        for values in zip(*(self.columns[name].tolist() for name in _COLUMNS), strict=True):
            row = dict(zip(_COLUMNS, values, strict=True))
            row["cause"] = causes[row["cause"]]
            row["policy"] = self.policies[row["policy"]]
            row["free_state"] = STATES[row["free_state"]]
            row["bound"] = BOUNDS[row["bound"]]
            for name in ("cheapest", "before_pages", "active_pages"):
                row[name] = None if row[name] < 0 else row[name]
            row["price"] = None if np.isnan(row["price"]) else row["price"]
            yield Change(**row)

    def arrays(self) -> dict[str, Any]:
        """Arrays of a file by name; none where there is nothing to tell."""
        if not len(self) and not self.forgotten:
            return {}
        return {
            **{f"{_PREFIX}{name}": self.columns[name] for name in _COLUMNS},
            _POLICIES: np.array(self.policies, np.str_),
            _FORGOTTEN: np.array(self.forgotten),
        }

    @classmethod
    def take(cls, file: ArrayFile, vms: int) -> Decisions:
        """Those of a file that is about so many virtual machines; none if it tells of none.

        Raises
        ------
        DataError
            If a column is missing, of a wrong type or length, or stands for nothing that there is.
        """
        if not any(name.startswith(_PREFIX) for name in file.names()):
            return NO_DECISIONS
        columns = {
            name: file.take(f"{_PREFIX}{name}", _kind(dtype), 1) for name, dtype in _COLUMNS.items()
        }
        policies = tuple(map(str, file.take(_POLICIES, np.str_, 1)))
        for name, column in columns.items():
            if column.shape != columns["time_s"].shape:
                wanted = columns["time_s"].shape
                raise file.error(f"{_PREFIX}{name}", f"is {column.shape}; expected {wanted}")
        ranges = {
            "vm": (0, vms),
            "cheapest": (-1, vms),
            "cause": (0, len(CAUSES)),
            "policy": (0, len(policies)),
            "free_state": (0, len(STATES)),
            "bound": (0, len(BOUNDS)),
        }
        for name, (low, end) in ranges.items():
            wrong = columns[name][(columns[name] < low) | (columns[name] >= end)]
            if wrong.size:
                problem = f"holds {wrong[0]}; expected {low} to {end - 1}"
                raise file.error(f"{_PREFIX}{name}", problem)
        return cls(columns, policies, int(file.take(_FORGOTTEN, np.integer, 0)))


class Gathering:
    """Decisions of a run, gathered as they are made.

    Parameters
    ----------
    vm_names : sequence of str
        Names of the virtual machines, whose positions stand for them.
    limit : int
        Most rows that are kept; the oldest go first.
    """

    def __init__(self, vm_names: Sequence[str], limit: int = LIMIT) -> None:
        self._places = {name: place for place, name in enumerate(vm_names)}
        self._limit = limit
        self._rows: list[tuple[Any, ...]] = []
        self._policies: dict[str, int] = {}
        self._forgotten = 0

    def add(self, decisions: Sequence[Mapping[str, Any]]) -> None:
        """Takes in what `esxcore.host.Host.decisions` tells; what changed no target says nothing.

        Raises
        ------
        DataError
            If a decision is about a virtual machine that is none of the run.
        """
        for decision in decisions:
            for name, row in decision["vms"].items():
                if row["before_pages"] != row["target_pages"]:
                    self._rows.append(self._row(decision, name, row))
        # By halves, so that forgetting costs little.
        if len(self._rows) > 2 * self._limit:
            self._forget()

    def decisions(self) -> Decisions:
        """All that are kept, as columns."""
        self._forget()
        columns = zip(*self._rows, strict=True) if self._rows else [()] * len(_COLUMNS)
        return Decisions(
            {
                name: np.array(column, dtype)
                for (name, dtype), column in zip(_COLUMNS.items(), columns, strict=True)
            },
            tuple(self._policies),
            self._forgotten,
        )

    def _forget(self) -> None:
        more = max(len(self._rows) - self._limit, 0)
        self._forgotten += more
        del self._rows[:more]

    def _row(
        self, decision: Mapping[str, Any], name: str, row: Mapping[str, Any]
    ) -> tuple[Any, ...]:
        """Numbers in the order of the columns."""
        if name not in self._places:
            raise DataError(f"decision about VM {name!r}, which is none of the run")
        policy = self._policies.setdefault(decision["policy"], len(self._policies))
        codes = {
            "time_s": decision["time_s"],
            "vm": self._places[name],
            "cause": tuple(CAUSES).index(decision["cause"]),
            "policy": policy,
            "free_state": STATES.index(decision["free_state"]),
            "available_pages": decision["available_pages"],
            "cheapest": self._places.get(decision["cheapest"], -1),
            "before_pages": _or_none(row["before_pages"]),
            "target_pages": row["target_pages"],
            "allocated_pages": row["allocated_pages"],
            "active_pages": _or_none(row["active_pages"]),
            "price": np.nan if row["price"] is None else row["price"],
            "taxed_pages": row["taxed_pages"],
            "bound": BOUNDS.index(row["bound"]),
        }
        return tuple(codes[column] for column in _COLUMNS)


def _or_none(pages: int | None) -> int:
    return -1 if pages is None else pages


def _kind(dtype: type[np.generic]) -> type[Any]:
    return np.floating if issubclass(dtype, np.floating) else np.integer


NO_DECISIONS = Gathering(()).decisions()
"""Of a run in which nobody decided anything."""
