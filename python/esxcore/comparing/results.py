"""What came of a comparison: numbers by policy and seed, told, drawn, handed on and explained.

Neighbours: `esxcore.compare` makes it; `statistics` has the intervals, `tell` the tables to read,
`esxcore.tables` those for other libraries, `esxcore.plot.comparison` the picture.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esxcore import __version__
from esxcore.arguments import in_range
from esxcore.comparing import tell
from esxcore.comparing.statistics import Estimate, difference, estimate
from esxcore.datafile import write_whole
from esxcore.errors import ConfigError
from esxcore.experiment import host_at, run
from esxcore.experiment.metrics import METRICS
from esxcore.extras import needed
from esxcore.hints import did_you_mean
from esxcore.recording import Recording
from esxcore.reports import Explanation
from esxcore.scenario import Scenario
from esxcore.tables import Table
from esxcore.tables.units import attribute

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SUMMARY = (
    *("policy", "metric", "unit", "mean", "low", "high"),
    *("difference", "difference_low", "difference_high", "is_significant"),
)
RANKED_BY = "ops_per_s"
"""The metric by which policies are ranked."""


class Comparison:
    """Policies that lived through the same scenario with the same seeds, and what came of it.

    Printed, or at the end of a cell of a notebook, it is a table: the policies ranked by
    throughput, each metric with its 95 % interval (Student's t over seeds), and the differences to
    the first policy, the baseline, by paired seeds. ``runs["esx2002"]`` has the runs of one policy.

    Attributes
    ----------
    scenario : Scenario
        What they lived through.
    policies : tuple of str
        What they are called, in the order in which they were given.
    seeds : tuple of int
        Seeds of the runs.
    metrics : tuple of str
        Names of what was measured (`esxcore.METRICS`).
    provenance : dict of str to str
        What repeats it: ``esxcore_version``, ``scenario`` as TOML, ``seed`` of the first run and
        all ``seeds``, and ``policies``.
    """

    def __init__(
        self,
        scenario: Scenario,
        rivals: Mapping[str, Scenario],
        seeds: Sequence[int],
        data: Mapping[str, NDArray[np.float64]],
    ) -> None:
        self.scenario = scenario
        self.seeds = tuple(seeds)
        self._rivals: dict[str, Scenario | None] = dict(rivals)
        self._data = dict(data)
        self._version = __version__

    @property
    def policies(self) -> tuple[str, ...]:
        """What they are called, in the order in which they were given."""
        return tuple(self._rivals)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of what was measured."""
        return tuple(name for name in self._data if name in METRICS)

    @property
    def measured(self) -> tuple[str, ...]:
        """The same, and those of single virtual machines, such as ``"ops_per_s:busy"``."""
        return tuple(self._data)

    @property
    def ranked(self) -> tuple[str, ...]:
        """The policies from the highest mean throughput to the lowest."""
        means = {label: self.estimate(RANKED_BY, label).mean for label in self.policies}
        return tuple(sorted(self.policies, key=lambda label: -means[label]))

    @property
    def provenance(self) -> dict[str, str]:
        """What repeats it."""
        return {
            "esxcore_version": self._version,
            "scenario": self.scenario.described(),
            "seed": str(self.seeds[0]),
            "seeds": ", ".join(map(str, self.seeds)),
            "policies": ", ".join(self.policies),
        }

    def values(self, metric: str) -> NDArray[np.float64]:
        """What was measured, shape (policies, seeds); NaN where a run cannot tell.

        Parameters
        ----------
        metric : str
            One of `metrics`, or one of a single virtual machine such as ``"ops_per_s:busy"``.

        Raises
        ------
        ConfigError
            If there is none of that name.
        """
        if metric not in self._data:
            raise ConfigError(f"metric: {metric!r}; {did_you_mean(metric, self._data)}")
        return self._data[metric].copy()

    def estimate(self, metric: str, policy: str) -> Estimate:
        """The mean over seeds and its 95 % interval."""
        return estimate(self.values(metric)[self._place(policy)])

    def difference(self, metric: str, policy: str, baseline: str | None = None) -> Estimate:
        """The mean difference to another policy, seed by seed, and its 95 % interval.

        Parameters
        ----------
        metric, policy : str
            What, and whose.
        baseline : str, optional
            The other policy; the first if left out.
        """
        values = self.values(metric)
        other = 0 if baseline is None else self._place(baseline)
        return difference(values[self._place(policy)], values[other])

    def __len__(self) -> int:
        return len(self.policies)

    def __iter__(self) -> Iterator[str]:
        return iter(self.policies)

    def __contains__(self, policy: object) -> bool:
        return policy in self._rivals

    def __getitem__(self, policy: str) -> PolicyRuns:
        self._place(policy)
        return PolicyRuns(self, policy)

    def __repr__(self) -> str:
        return tell.text(self)

    def _repr_html_(self) -> str:
        """The table for notebooks; no scripts."""
        return tell.html(self)

    def plot(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        ax: Axes | None = None,
        metric: str | None = None,
    ) -> Figure:
        """Draws the policies: a panel for each metric that tells them apart.

        Parameters
        ----------
        path : path, optional
            Where to save the picture; ``.png``, ``.svg`` or ``.pdf``.
        ax : matplotlib Axes, optional
            Where to draw one metric alone.
        metric : str, optional
            The one metric to draw; throughput with `ax` if left out.

        Returns
        -------
        matplotlib Figure

        Raises
        ------
        ConfigError
            If there is no such metric, or the name ends otherwise.
        OSError
            If the file cannot be written.
        """
        from esxcore.plot import comparison as drawing

        kind = None if path is None else drawing.picture_kind(Path(path))
        wanted = [metric or RANKED_BY] if metric or ax is not None else tell.telling(self)
        panels = [self._panel(name, drawing) for name in wanted]
        figure: Figure = drawing.draw_comparison(panels, self.policies, tell.heading(self), ax)
        if path is not None and kind is not None:
            write_whole({Path(path): drawing.picture_bytes(figure, kind)})
        return figure

    def _panel(self, name: str, drawing: Any) -> Any:
        metric = METRICS[name.partition(":")[0]] if name in self._data else None
        values = self.values(name)
        assert metric is not None, "values refuses unknown names"
        found = [estimate(row) for row in values]
        return drawing.Panel(name, metric.unit, metric.better, tuple(found), values)

    def table(self) -> Table:
        """All runs: a row for each policy and seed, with units and provenance."""
        labels = np.array(self.policies, np.str_)
        keys: dict[str, NDArray[Any]] = {
            "policy": np.repeat(labels, len(self.seeds)),
            "seed": np.tile(self._seed_column(), len(labels)),
        }
        columns = {name: values.ravel() for name, values in self._data.items()}
        return Table("comparison", keys | columns, self.provenance)

    def summary(self) -> Table:
        """A row for each policy and metric: the mean, its interval, the difference to the baseline.

        ``is_significant`` is 1 where the interval of the difference leaves 0 out.
        """
        rows = [
            (label, name, METRICS[name.partition(":")[0]].unit, *self._figures(name, label))
            for label in self.policies
            for name in self._data
        ]
        columns = dict(zip(_SUMMARY, map(np.array, zip(*rows, strict=True)), strict=True))
        return Table("summary", columns, self.provenance)

    def to_pandas(self) -> pd.DataFrame:
        """`table` as a frame of pandas."""
        return self.table().to_pandas()

    def to_polars(self) -> pl.DataFrame:
        """`table` as a frame of Polars."""
        return self.table().to_polars()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """`table` as an Arrow C stream; needs ``esxcore[arrow]``."""
        return self.table().__arrow_c_stream__(requested_schema)

    def to_xarray(self) -> xr.Dataset:
        """As a dataset of xarray with dimensions ``policy`` and ``seed``.

        What single virtual machines have stands in variables that begin with ``vm_`` and have the
        dimension ``vm``, too.
        """
        xarray = needed("xarray", "to_xarray")
        vms = self.scenario.vm_names()
        variables: dict[str, Any] = {
            name: (("policy", "seed"), self.values(name), attribute("units", name))
            for name in self.metrics
        }
        for name in (name for name in self.metrics if METRICS[name].by_vm):
            nothing = np.full((len(self), len(self.seeds)), np.nan)
            each = [self._data.get(f"{name}:{vm}", nothing) for vm in vms]
            dims = ("policy", "seed", "vm")
            variables[f"vm_{name}"] = (dims, np.stack(each, -1), attribute("units", name))
        coordinates = {
            "policy": np.array(self.policies, np.str_),
            "seed": self._seed_column(),
            "vm": np.array(vms, np.str_),
        }
        dataset: xr.Dataset = xarray.Dataset(variables, coordinates, self.provenance)
        return dataset

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes `table` to a file, whole or not at all: ``.csv``, ``.arrow`` or ``.parquet``."""
        self.table().save(path)

    def __getstate__(self) -> dict[str, Any]:
        """Everything that can be pickled; a policy that cannot be is left behind."""
        rivals = {label: _portable(rival) for label, rival in self._rivals.items()}
        return self.__dict__ | {"_rivals": rivals}

    def _rival(self, policy: str) -> Scenario:
        rival = self._rivals[policy]
        if rival is None:
            raise ConfigError(
                f"policy {policy!r} could not be pickled, so its runs cannot be lived again here;"
                " a class in a module of its own can be"
            )
        return rival

    def _place(self, policy: str) -> int:
        if policy not in self._rivals:
            raise ConfigError(f"policy: {policy!r}; {did_you_mean(policy, self._rivals)}")
        return self.policies.index(policy)

    def _figures(self, name: str, label: str) -> tuple[float, ...]:
        mean, apart = self.estimate(name, label), self.difference(name, label)
        significant = int(apart.is_significant)
        interval = (mean.mean, mean.low, mean.high)
        return (*interval, apart.mean, apart.low, apart.high, significant)

    def _seed_column(self) -> NDArray[Any]:
        """Seeds as numbers, or as text where they are larger than an array holds."""
        if max(self.seeds) < 2**63:
            return np.array(self.seeds, np.int64)
        return np.array([str(seed) for seed in self.seeds])


class PolicyRuns:
    """The runs of one policy in a `Comparison`; they can be lived again, to the byte.

    Attributes
    ----------
    policy : str
        What it is called.
    """

    def __init__(self, comparison: Comparison, policy: str) -> None:
        self._comparison = comparison
        self.policy = policy

    def __repr__(self) -> str:
        throughput = self._comparison.estimate(RANKED_BY, self.policy)
        runs = len(self._comparison.seeds)
        told = tell.with_interval(throughput)
        return f"<PolicyRuns {self.policy}: {runs} runs, {told} operations a second>"

    def values(self, metric: str) -> NDArray[np.float64]:
        """What was measured, a number for each seed."""
        row: NDArray[np.float64] = self._comparison.values(metric)[self._place()]
        return row

    def estimate(self, metric: str) -> Estimate:
        """The mean over seeds and its 95 % interval."""
        return self._comparison.estimate(metric, self.policy)

    def recording(self, seed_index: int = 0) -> Recording:
        """A run once more, recorded as the scenario says.

        Parameters
        ----------
        seed_index : int
            Which of the seeds, from 0.
        """
        return run(self._scenario(), seed=self._seed(seed_index))

    def explain(
        self, vm: str, at: str | float | None = None, *, seed_index: int = 0
    ) -> Explanation:
        """Why a virtual machine had its target at a time; ``print`` tells it in words.

        The run is lived again until then.

        Parameters
        ----------
        vm : str
            Which virtual machine.
        at : str or float, optional
            Virtual time, such as ``"12min"`` or in seconds; the end if left out.
        seed_index : int
            In the run with which of the seeds, from 0.

        Raises
        ------
        ConfigError
            If the run is not so long, or memory is not divided.
        UnknownVmError
            If there is no such virtual machine, or it was not powered on then.
        """
        scenario = self._scenario()
        host, moment = host_at(scenario, self._seed(seed_index), at)
        return host.explain(vm, moment)

    def _place(self) -> int:
        return self._comparison.policies.index(self.policy)

    def _scenario(self) -> Scenario:
        return self._comparison._rival(self.policy)

    def _seed(self, index: int) -> int:
        seeds = self._comparison.seeds
        return seeds[in_range(index, "seed_index", 0, len(seeds) - 1)]


def _portable(rival: Scenario | None) -> Scenario | None:
    try:
        pickle.dumps(rival)
    except Exception:  # whatever a class of the user's raises
        return None
    return rival
