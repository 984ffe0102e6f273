"""What came of a study: a row for each point, policy and seed, in the order of the grid.

Neighbours: `esxcore.study.driver` makes it; `esxcore.tables` opens it in other libraries;
`esxcore.plot` draws it.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esxcore.comparing.statistics import estimate
from esxcore.errors import ConfigError
from esxcore.experiment.metrics import METRICS
from esxcore.extras import needed
from esxcore.scenario_text import toml_value
from esxcore.study.grid import Study
from esxcore.study.ledger import Ledger, Metrics
from esxcore.tables import Table

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import xarray as xr
    from matplotlib.axes import Axes

_ROWS_OF = ("policy", "seed")


@dataclass(frozen=True, eq=False, repr=False)
class SweepResult:
    """The rows of a sweep: swept fields, policy, seed, and what was measured.

    ``len(result)`` is the number of rows, ``result["stall_s"]`` a column.

    Attributes
    ----------
    axes : dict of str to tuple
        Each swept field, ``policy`` and ``seed``, with their values in the order of the grid.
    rows : tuple
        Metrics by name for each combination of them, the last varying fastest; None where a sweep
        was interrupted before.
    provenance : dict of str to str
        Where they came from: ``esxcore_version``, ``scenario`` (as TOML), ``grid``, ``policies``,
        ``seed``, and ``study``, a hash of all of it. The engine is not part of it: it changes
        nothing.
    """

    axes: dict[str, tuple[Any, ...]]
    rows: tuple[Metrics | None, ...]
    provenance: dict[str, str]

    @property
    def fields(self) -> tuple[str, ...]:
        """The swept fields."""
        return tuple(name for name in self.axes if name not in _ROWS_OF)

    @property
    def policies(self) -> tuple[str, ...]:
        """What the policies are called."""
        return self.axes["policy"]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds."""
        return self.axes["seed"]

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """Names of what was measured; ``name:vm`` is of one virtual machine.

        Where a row has not one of them, as its virtual machine is not there, it is NaN.
        """
        done = [row for row in self.rows if row is not None]
        names = dict.fromkeys(name for row in done for name in row)
        whole = [name for name in names if ":" not in name]
        return (*whole, *(name for name in names if ":" in name))

    def __len__(self) -> int:
        return sum(row is not None for row in self.rows)

    def __getitem__(self, column: str) -> NDArray[Any]:
        return self.table()[column]

    def __repr__(self) -> str:
        parts = [f"{name} {len(values)}" for name, values in self.axes.items()]
        missing = len(self.rows) - len(self)
        rest = f", {missing} missing" if missing else ""
        return f"<SweepResult of {len(self)} rows{rest}: {' x '.join(parts)}>"

    def _repr_html_(self) -> str:
        """The first and last rows, for notebooks."""
        return self.table()._repr_html_()

    def __arrow_c_schema__(self) -> object:
        """Names, types and provenance as an Arrow schema, in a capsule."""
        return self.table().__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """All rows as an Arrow C stream, in a capsule; needs ``esxcore[arrow]``."""
        return self.table().__arrow_c_stream__(requested_schema)

    def table(self) -> Table:
        """The rows as a table: swept fields, policy, seed, metrics."""
        done = [place for place, row in enumerate(self.rows) if row is not None]
        points = list(itertools.product(*self.axes.values()))
        columns = {
            name: _column([points[place][at] for place in done])
            for at, name in enumerate(self.axes)
        }
        for name in self.metrics:
            columns[name] = _numbers([row.get(name) for row in self.rows if row is not None])
        return Table("sweep", columns, self.provenance)

    def to_pandas(self) -> pd.DataFrame:
        """The rows as a frame of pandas.

        Raises
        ------
        MissingLibraryError
            If pandas is not installed.
        """
        return self.table().to_pandas()

    def to_polars(self) -> pl.DataFrame:
        """The rows as a frame of Polars.

        Raises
        ------
        MissingLibraryError
            If Polars or arro3 is not installed (``esxcore[arrow]``).
        """
        return self.table().to_polars()

    def to_xarray(self) -> xr.Dataset:
        """The rows as a dataset, a variable for each metric.

        Its dimensions are the swept fields, ``policy`` and ``seed``. Metrics have their unit and
        meaning, the dataset has the provenance. Rows that are missing are NaN.

        Raises
        ------
        MissingLibraryError
            If xarray is not installed.
        """
        xarray = needed("xarray", "to_xarray")
        shape = tuple(map(len, self.axes.values()))
        variables = {}
        for name in self.metrics:
            values = _numbers([None if row is None else row.get(name) for row in self.rows])
            variables[name] = (tuple(self.axes), values.reshape(shape), _described(name))
        coordinates = {name: _column(values) for name, values in self.axes.items()}
        dataset: xr.Dataset = xarray.Dataset(variables, coordinates, dict(self.provenance))
        return dataset

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the rows to a file: ``.csv``, ``.arrow`` or ``.parquet``, as `Table.save` does."""
        self.table().save(path)

    def estimates(
        self, metric: str, x: str | None = None
    ) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Means of a metric over seeds along a field, with half their 95 % intervals.

        Parameters
        ----------
        metric : str
            One of `metrics`.
        x : str, optional
            A swept field or ``"policy"``; the first field if not given.

        Returns
        -------
        dict of str to tuple of array
            Mean and half interval (Student's t) for each value of the field, by policy, and by the
            values of the other fields where there are some.

        Raises
        ------
        ConfigError
            If there is no such metric or field.
        """
        x = self._field(x)
        if metric not in self.metrics:
            raise ConfigError(f"metric: {metric!r}; expected one of {', '.join(self.metrics)}")
        shape = len(self.axes[x]), len(self.seeds)
        lines: dict[str, NDArray[np.float64]] = {}
        for place, row in self._places():
            values = lines.setdefault(self._line(place, x), np.full(shape, math.nan))
            if row is not None:
                values[place[x], place["seed"]] = row.get(metric, math.nan)
        return {line: _estimated(values) for line, values in lines.items()}

    def plot(self, metric: str, *, x: str | None = None, ax: Axes | None = None) -> Axes:
        """Draws a metric over a swept field: means over seeds, and 95 % intervals as bands.

        Parameters
        ----------
        metric : str
            One of `metrics`.
        x : str, optional
            The field; the first that was swept if not given.
        ax : matplotlib Axes, optional
            Where to draw; a new figure if not given (``ax.figure``).

        Returns
        -------
        Axes
            A line for each policy, and for the values of the other fields where there are some.

        Raises
        ------
        ConfigError
            If there is no such metric or field.
        """
        from esxcore.plot import plot_sweep

        x = self._field(x)
        return plot_sweep(x, self.axes[x], self.estimates(metric, x), labelled(metric), ax)

    def _field(self, x: str | None) -> str:
        wanted = next(iter(self.axes)) if x is None else x
        if wanted not in self.axes or wanted == "seed":
            expected = ", ".join(name for name in self.axes if name != "seed")
            raise ConfigError(f"x: {wanted!r}; expected one of {expected}")
        return wanted

    def _places(self) -> Iterator[tuple[dict[str, int], Metrics | None]]:
        """Rows with the positions of their values."""
        places = itertools.product(*(range(len(values)) for values in self.axes.values()))
        for place, row in zip(places, self.rows, strict=True):
            yield dict(zip(self.axes, place, strict=True)), row

    def _line(self, place: Mapping[str, int], x: str) -> str:
        """What is not on the axis of a picture, in words; the policy if nothing else varies."""
        names = [name for name in self.axes if name not in (x, "seed")]
        varied = [name for name in names if len(self.axes[name]) > 1]
        said = [self._said(name, place[name]) for name in varied or names[-1:]]
        return ", ".join(said) or x

    def _said(self, name: str, position: int) -> str:
        value = self.axes[name][position]
        return str(value) if name == "policy" else f"{name} = {toml_value(value)}"


def result_of(study: Study, ledger: Ledger) -> SweepResult:
    """The rows that a ledger has of a study, in the order of the grid."""
    labels = tuple(choice.label for choice in study.policies)
    axes = study.grid | {"policy": labels, "seed": study.seeds}
    rows = (ledger.get(job.key) for job in study.jobs)
    return SweepResult(axes, tuple(rows), study.provenance())


def _estimated(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    found = [estimate(row) for row in values]
    return np.array([each.mean for each in found]), np.array([each.half for each in found])


def _column(values: Sequence[Any]) -> NDArray[Any]:
    """Values of a field as numbers where they are, else as text in the words of the file."""
    kinds = {type(value) for value in values}
    if kinds == {bool}:
        return np.array(values, np.bool_)
    if kinds == {int} and all(-(2**63) <= value < 2**63 for value in values):
        return np.array(values, np.int64)
    if float in kinds and kinds <= {int, float}:
        return np.array(values, np.float64)
    return np.array([value if type(value) is str else toml_value(value) for value in values])


def _numbers(values: Sequence[float | int | None]) -> NDArray[Any]:
    """Numbers of one metric; what is missing is NaN."""
    if values and all(type(value) is int for value in values):
        return _column(values)
    return np.array([math.nan if value is None else value for value in values], np.float64)


def labelled(name: str) -> str:
    """A metric with its unit."""
    metric = METRICS.get(name.partition(":")[0])
    return name if metric is None else f"{name} ({metric.unit})"


def _described(name: str) -> Mapping[str, str]:
    """Unit and meaning of a metric."""
    metric = METRICS.get(name.partition(":")[0])
    return {} if metric is None else {"units": metric.unit, "long_name": metric.meaning}
