"""The tables of a recording, and the recording as one labelled dataset.

Neighbours: `esxcore.Recording` is made of this part and of what it knows of itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from esxcore.errors import ConfigError
from esxcore.extras import needed
from esxcore.tables import Table, missing
from esxcore.tables.units import attribute

if TYPE_CHECKING:
    import xarray as xr

TableName = Literal["vms", "host", "census"]
"""Tables that every recording has."""

TABLES: tuple[TableName, ...] = get_args(TableName)


class RecordedTables:
    """The part of `esxcore.Recording` that other libraries open."""

    time_s: NDArray[np.float64]
    host: Mapping[str, NDArray[Any]]
    census: Mapping[str, NDArray[Any]]
    vms: Mapping[str, NDArray[Any]]
    vm_names: Sequence[str]
    scenario: str
    seed: int
    version: str

    @property
    def provenance(self) -> dict[str, str]:
        """What repeats the run: ``esxcore_version``, ``seed`` and ``scenario``, all as text."""
        return {
            "esxcore_version": self.version,
            "seed": str(self.seed),
            "scenario": self.scenario,
        }

    def table(self, name: TableName) -> Table:
        """A table over time, for pandas, Polars, PyArrow and others, with units and provenance.

        Parameters
        ----------
        name : {"vms", "host", "census"}
            Of the virtual machines there is a row for each sample and machine, in this order, with
            columns ``time_s`` and ``vm`` before the others; of host and census a row for each
            sample. A machine that is powered off has rows in which only these two are known.

        Raises
        ------
        ConfigError
            If there is no such table.

        Examples
        --------
        >>> from esxcore import Scenario, run
        >>> vms = [{"name": "web", "max": "16MiB"}, {"name": "db", "max": "8MiB"}]
        >>> host, duration = {"memory": "256MiB"}, {"duration": "5s"}
        >>> recording = run(Scenario.from_mapping({"host": host, "vms": vms, "run": duration}))
        >>> table = recording.table("vms")
        >>> len(table), table.columns[:3], table.units["consumed"]
        (12, ('time_s', 'vm', 'max_pages'), 'pages')
        >>> table.to_pandas().groupby("vm")["max_pages"].max().to_dict()
        {'db': 2048, 'web': 4096}
        >>> table.to_polars()["time_s"].max()
        5.0
        """
        if name not in get_args(TableName):
            raise ConfigError(
                f"no table {name!r}; expected one of {', '.join(get_args(TableName))}"
            )
        if name == "vms":
            samples, vms = self.time_s.size, len(self.vm_names)
            keys = {
                "time_s": np.repeat(self.time_s, vms),
                "vm": np.tile(np.array(self.vm_names, np.str_), samples),
            }
            columns = {name: column.ravel() for name, column in self.vms.items()}
            return Table("vms", keys | columns, self.provenance)
        group = self.host if name == "host" else self.census
        return Table(name, {"time_s": self.time_s, **group}, self.provenance)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The table of the virtual machines as an Arrow C stream; needs ``esxcore[arrow]``."""
        return self.table("vms").__arrow_c_stream__(requested_schema)

    def to_xarray(self) -> xr.Dataset:
        """As a dataset of xarray, with dimensions ``time`` (in seconds) and ``vm``.

        Columns of the virtual machines keep their names; those of the host and the census, which
        have the dimension ``time`` alone, begin with ``host_`` and ``census_``. Whole numbers some
        of which are missing become floating point with NaN. The ``units`` of each variable are in
        its attributes, the provenance in those of the dataset.

        Raises
        ------
        MissingLibraryError
            If xarray is not installed.
        """
        xarray = needed("xarray", "to_xarray")
        variables = {name: _variable(name, column) for name, column in self.vms.items()}
        for group in ("host", "census"):
            for name, column in getattr(self, group).items():
                variables[f"{group}_{name}"] = _variable(name, column)
        coordinates = {
            "time": ("time", self.time_s.copy(), {"units": "s"}),
            "vm": np.array(self.vm_names, np.str_),
        }
        dataset: xr.Dataset = xarray.Dataset(variables, coordinates, self.provenance)
        return dataset


def _variable(name: str, column: NDArray[Any]) -> tuple[Any, ...]:
    """A column as xarray takes variables: dimensions, values of its own, attributes."""
    gaps = missing(column)
    values = np.where(gaps, np.nan, column) if gaps.any() else column.copy()
    return ("time", "vm")[: column.ndim], values, attribute("units", name)
