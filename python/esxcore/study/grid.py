"""The grid of a study: fields, policies and seeds, and a settled scenario for each point.

Rows come in the order of the grid: the first field varies slowest, then the other fields, then
policies, then seeds. What is settled the same way is run once, however often it stands in the grid.

A field of the policy, such as ``policy.tax_rate``, is given to the policies that take it; the
others are what they are in each row. One of them at least must take it.

The key of a run is a hash of everything that its numbers depend on: the settled scenario as TOML,
the code of policies and workloads that are not built in, the seed, the version of esxcore and of
the row format. Data files are known by their names.

Neighbours: `esxcore.scenario` settles fields; `esxcore.study.driver` has the runs made.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from esxcore._core import __version__
from esxcore.config import whole_number
from esxcore.errors import ArgumentTypeError, ConfigError
from esxcore.experiment import check_policies
from esxcore.experiment.measure import paired_seeds
from esxcore.scenario import SEED_LIMIT, Scenario
from esxcore.scenario_text import abridged, toml_key, toml_value
from esxcore.study.choices import OF_POLICY, Choice, chosen
from esxcore.study.engines.worker import Job, here
from esxcore.study.ledger import ROW_FORMAT
from esxcore.study.sources import code_of

LIMIT = 10_000
"""Runs above which a study has to be confirmed."""

_MOST_SEEDS = 100_000
_MOST_RUNS = 10_000_000
_RESERVED = {
    "policy": "policies",
    "policy.name": "policies",
    "seed": "seeds",
    "host.seed": "seeds",
}


@dataclass(frozen=True)
class Study:
    """A scenario, and what is varied in it; made by `study_of`.

    Attributes
    ----------
    scenario : Scenario
        What everything else stays as it is in.
    grid : dict of str to tuple
        Values by field.
    policies : tuple of Choice
        Who divides memory.
    seeds : tuple of int
        What everything random comes from.
    """

    scenario: Scenario
    grid: dict[str, tuple[Any, ...]]
    policies: tuple[Choice, ...]
    seeds: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many rows there are."""
        return math.prod(self.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """How many values of each field, policies and seeds."""
        return (*map(len, self.grid.values()), len(self.policies), len(self.seeds))

    def described(self) -> str:
        """Its size in words: ``36 runs: 6 of policy.tax_rate x 2 policies x 3 seeds``."""
        counts = {field: len(values) for field, values in self.grid.items()}
        return _size_text(counts, len(self.policies), len(self.seeds))

    @cached_property
    def jobs(self) -> tuple[Job, ...]:
        """A job for each row, in the order of the grid; equal runs have equal keys.

        Raises
        ------
        ScenarioError
            If a point of the grid is no scenario that can be run.
        """
        return tuple(self._jobs())

    @cached_property
    def digest(self) -> str:
        """A hash of all keys in their order, by which ledgers know their study."""
        return _hash([job.key for job in self.jobs])

    def provenance(self) -> dict[str, str]:
        """Where rows come from, in words; the same wherever they were computed."""
        grid = ", ".join(
            f"{toml_key(field)} = {toml_value(list(values))}" for field, values in self.grid.items()
        )
        return {
            "esxcore_version": __version__,
            "scenario": self.scenario.described(),
            "seed": ", ".join(map(str, self.seeds)),
            "grid": grid,
            "policies": ", ".join(choice.label for choice in self.policies),
            "study": self.digest,
        }

    def _jobs(self) -> Iterator[Job]:
        driver = here()
        untaken = {field for field in self.grid if field.startswith(OF_POLICY)}
        for values in itertools.product(*self.grid.values()):
            point = dict(zip(self.grid, values, strict=True))
            for choice in self.policies:
                fields = {name: value for name, value in point.items() if choice.has(name)}
                untaken -= fields.keys()
                settled = choice.scenario.changed(fields)
                check_policies(settled)
                code = code_of(settled)
                anchored = settled.anchored()  # workers may be in other folders
                base = [ROW_FORMAT, __version__, settled.described(), choice.state, *code]
                label = _label(point, choice)
                for seed in self.seeds:
                    name = f"{label}, seed {seed}"
                    yield Job(_hash([*base, seed]), name, anchored, seed, __version__, driver)
        if untaken:
            field = sorted(untaken)[0]
            raise ConfigError(
                f"grid: {field}: none of the policies takes it"
                f" ({', '.join(choice.label for choice in self.policies)})"
            )


def study_of(
    scenario: Scenario,
    grid: Mapping[str, Sequence[Any]],
    policies: Sequence[Any] | Mapping[str, Any] | None = None,
    seeds: int | Sequence[int] = 1,
    limit: int | None = None,
) -> Study:
    """A study, its lists checked; points are checked when `Study.jobs` are made.

    A grid of more runs than the limit, or than anybody could keep, is refused before it is made.

    Raises
    ------
    ConfigError
        If a list is none, is empty or has something twice, or a seed is none.
    ArgumentTypeError
        If the grid is no mapping.
    """
    if not isinstance(grid, Mapping):
        raise ArgumentTypeError(
            f"grid: {_shown(grid)}; expected a mapping of fields to lists of values, such as"
            ' {"policy.tax_rate": [0, 0.5]}'
        )
    counts = {field: _count(field, values) for field, values in grid.items()}
    _check_counts(counts, 1 if policies is None else _length(policies), _seed_count(seeds), limit)
    fields = {field: _values(field, values) for field, values in grid.items()}
    return Study(scenario, fields, chosen(scenario, policies), _seeds(scenario, seeds))


def check_size(study: Study, limit: int | None) -> None:
    """Refuses a study of more runs than the limit, if there is one.

    Raises
    ------
    ConfigError
        Its size, and how to confirm it.
    """
    counts = {field: len(values) for field, values in study.grid.items()}
    _check_counts(counts, len(study.policies), len(study.seeds), limit)


def _check_counts(counts: Mapping[str, int], policies: int, seeds: int, limit: int | None) -> None:
    size = math.prod(counts.values()) * policies * seeds
    told = _size_text(counts, policies, seeds)
    if limit is not None and size > whole_number(limit, "limit"):
        raise ConfigError(
            f"{told}; that is above the limit of {limit:,}:"
            " confirm it by limit=None (--yes) or a smaller grid"
        )
    if size > _MOST_RUNS:
        raise ConfigError(f"{told}; expected at most {_MOST_RUNS:,}")


def _size_text(counts: Mapping[str, int], policies: int, seeds: int) -> str:
    size = math.prod(counts.values()) * policies * seeds
    parts = [f"{count:,} of {field}" for field, count in counts.items()]
    parts.append(f"{policies:,} polic{'y' if policies == 1 else 'ies'}")
    parts.append(f"{seeds:,} seed{'s' * (seeds != 1)}")
    return f"{size:,} run{'s' * (size != 1)}: {' x '.join(parts)}"


def _length(values: Any) -> int:
    """How many there are, also of ranges that are longer than Python can say; 1 of what is none."""
    if isinstance(values, range):
        return max(0, -((values.start - values.stop) // values.step))
    if isinstance(values, str | bytes) or not hasattr(values, "__len__"):
        return 1
    return len(values)


def _seed_count(seeds: Any) -> int:
    """How many seeds are asked for; what is wrong with them is said elsewhere."""
    return _length(seeds) if isinstance(seeds, Sequence) else 1


def _count(field: object, values: Any) -> int:
    """How many values a field has, none of which is made yet."""
    if not isinstance(field, str):
        raise ConfigError(f"grid: {field!r} is no field; expected text such as 'policy.tax_rate'")
    if field in _RESERVED:
        raise ConfigError(f"grid: {field} is varied by {_RESERVED[field]}")
    is_array = hasattr(values, "tolist") and getattr(values, "ndim", 0) > 0
    if isinstance(values, str | bytes) or not (is_array or isinstance(values, Sequence)):
        raise ConfigError(f"grid: {field} is {_shown(values)}; expected a list of values")
    if not (count := _length(values)):
        raise ConfigError(f"grid: {field} has no values; expected one or more")
    return count


def _values(field: str, values: Any) -> tuple[Any, ...]:
    if hasattr(values, "tolist"):  # an array
        values = values.tolist()
    plain = [value.item() if hasattr(value, "item") else value for value in values]
    _refuse_twice(f"grid: {field}", [_shown(value) for value in plain])
    return tuple(plain)


def _seeds(scenario: Scenario, seeds: Any) -> tuple[int, ...]:
    if isinstance(seeds, Sequence) and not isinstance(seeds, str | bytes):
        whole = [whole_number(seed, "seeds") for seed in seeds]
    else:
        number = whole_number(seeds, "seeds")
        if not 1 <= number <= _MOST_SEEDS:
            raise ConfigError(f"seeds: {number}; expected 1 to {_MOST_SEEDS:,}, or a list of them")
        whole = list(paired_seeds(scenario, number))
    if not whole:
        raise ConfigError("seeds: none; expected at least one")
    for seed in whole:
        if not 0 <= seed < SEED_LIMIT:
            raise ConfigError(f"seeds: {seed}; expected 0 to 2**128 - 1")
    _refuse_twice("seeds", whole)
    return tuple(whole)


def _refuse_twice(what: str, values: Sequence[Any]) -> None:
    seen = set()
    for value in values:
        if value in seen:
            raise ConfigError(f"{what}: {value} is there twice")
        seen.add(value)


def _shown(value: object) -> str:
    try:
        return abridged(value)
    except TypeError:
        return repr(value)


def _label(point: Mapping[str, Any], choice: Choice) -> str:
    fields = [f"{field} = {_shown(value)}" for field, value in point.items()]
    return ", ".join([*fields, f"policy {choice.label}"])


def _hash(what: object) -> str:
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()
