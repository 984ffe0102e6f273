"""Tables of recordings, for other libraries to open.

A `Table` is columns of one length, each with its unit, and the provenance of them all. It opens in
any library that reads the Arrow C stream (Polars, PyArrow, DuckDB, DataFusion), in pandas and in
files. What nobody knows, such as the pages of a virtual machine that is powered off, stands in a
recording as -1 or NaN; in a table it is missing: null in Arrow, NA in pandas, an empty cell in CSV.

Neighbours: `esxcore.tables.recorded` makes the tables of a recording; `esxcore.tables.units` knows
the units; `esxcore.extras` finds the other libraries when they are asked for.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esxcore.datafile import write_whole
from esxcore.errors import ConfigError
from esxcore.extras import needed
from esxcore.hints import did_you_mean
from esxcore.tables.units import attribute, unit_of

if TYPE_CHECKING:
    import arro3.core as ar
    import pandas as pd
    import polars as pl

FILE_KINDS = ("csv", "arrow", "parquet")
"""Kinds of files that a table can be, as their names end."""

_SHOWN = 5  # rows at either end of a table in a notebook


def missing(column: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a column of a recording says that nobody knows: -1, or NaN in floating point."""
    kind, gaps = column.dtype.kind, np.zeros(column.shape, np.bool_)
    if kind == "f":
        np.isnan(column, out=gaps)
    elif kind == "i":
        np.equal(column, -1, out=gaps)
    return gaps


@dataclass(frozen=True, eq=False, repr=False)
class Table:
    """Columns of one length, with units and provenance.

    ``len(table)`` is the number of rows, ``table["max_pages"]`` a column as it was recorded.

    Parameters
    ----------
    name : str
        What is in it.
    data : mapping of str to array, shape (rows,)
        Numbers or text by name of column; -1 and NaN are what nobody knows.
    provenance : mapping of str to str
        Where it came from: ``esxcore_version``, ``scenario`` (as TOML) and ``seed``.
    """

    name: str
    data: Mapping[str, NDArray[Any]]
    provenance: Mapping[str, str]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self.data)

    @property
    def units(self) -> dict[str, str]:
        """Unit of each column by name; columns that this version does not know have none."""
        units = {name: unit_of(name) for name in self.data}
        return {name: unit for name, unit in units.items() if unit}

    def __len__(self) -> int:
        return next((column.size for column in self.data.values()), 0)

    def __getitem__(self, column: str) -> NDArray[Any]:
        if column not in self.data:
            raise ConfigError(f"column: {column!r}; {did_you_mean(column, self.data)}")
        return self.data[column]

    def __repr__(self) -> str:
        origin = ", ".join(f"{key} {self.provenance[key]}" for key in ("esxcore_version", "seed"))
        return f"<Table {self.name}: {len(self)} rows of {len(self.data)} columns; {origin}>"

    def _repr_html_(self) -> str:
        """The first and last rows, for notebooks."""
        return _html(self)

    def __arrow_c_schema__(self) -> object:
        """Names, types, units and provenance as an Arrow schema, in a capsule."""
        return self.to_arrow().schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """All rows as an Arrow C stream, in a capsule; needs ``esxcore[arrow]``."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def to_arrow(self) -> ar.Table:
        """As an Arrow table of arro3, in one batch.

        The metadata of each field has its ``unit``, that of the schema the provenance.

        Raises
        ------
        MissingLibraryError
            If arro3 is not installed (``esxcore[arrow]``).
        """
        arro3 = needed("arro3.core", f"the Arrow form of table {self.name!r}")
        arrays = [_arrow_array(arro3, column) for column in self.data.values()]
        fields = [
            arro3.Field(name, array.type, metadata=attribute("unit", name))
            for name, array in zip(self.data, arrays, strict=True)
        ]
        schema = arro3.Schema(fields, metadata=dict(self.provenance))
        table: ar.Table = arro3.Table.from_arrays(arrays, schema=schema)
        return table

    def to_polars(self) -> pl.DataFrame:
        """As a frame of Polars, which keeps neither units nor provenance.

        Raises
        ------
        MissingLibraryError
            If Polars or arro3 is not installed (``esxcore[arrow]``).
        """
        frame: pl.DataFrame = needed("polars", "to_polars").DataFrame(self)
        return frame

    def to_pandas(self) -> pd.DataFrame:
        """As a frame of pandas; ``frame.attrs`` has ``units`` and ``provenance``.

        Whole numbers some of which are missing become ``Int64``, the integers with NA.

        Raises
        ------
        MissingLibraryError
            If pandas is not installed.
        """
        pandas = needed("pandas", "to_pandas")
        columns: dict[str, Any] = {}
        for name, column in self.data.items():
            gaps = missing(column)
            whole = column.dtype.kind == "i" and gaps.any()
            columns[name] = pandas.arrays.IntegerArray(column, gaps) if whole else column
        frame: pd.DataFrame = pandas.DataFrame(columns, copy=True)
        frame.attrs = {"units": self.units, "provenance": dict(self.provenance)}
        return frame

    def to_bytes(self, kind: str) -> bytes:
        """The bytes of a file of one of `FILE_KINDS`: text, Arrow's file format, or Parquet.

        CSV has no room for units and provenance; the other two keep them and need
        ``esxcore[arrow]``.

        Raises
        ------
        ConfigError
            If there is no such kind.
        MissingLibraryError
            If arro3 is not installed.
        """
        return writer(kind)(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a file, whole or not at all; ``.csv``, ``.arrow`` or ``.parquet`` say which kind.

        Raises
        ------
        ConfigError
            If the name ends otherwise.
        MissingLibraryError
            If arro3 is needed and not installed (``esxcore[arrow]``).
        OSError
            If the file cannot be written.
        """
        write_whole({Path(path): self.to_bytes(Path(path).suffix.removeprefix("."))})


def writer(kind: str) -> Callable[[Table], bytes]:
    """What turns tables into the bytes of files of one of `FILE_KINDS`.

    Raises
    ------
    ConfigError
        If there is no such kind.
    MissingLibraryError
        If arro3 is needed and not installed (``esxcore[arrow]``).
    """
    if kind not in FILE_KINDS:
        raise ConfigError(f"no kind of file {kind!r}; expected one of {', '.join(FILE_KINDS)}")
    if kind == "csv":
        return lambda table: _csv_text(table).encode()
    arro3 = needed("arro3.io", f"a table as {kind} file")

    def written(table: Table) -> bytes:
        stream = io.BytesIO()
        if kind == "arrow":
            arro3.write_ipc(table, stream)
        else:
            arro3.write_parquet(table, stream, compression="zstd(3)")
        return stream.getvalue()

    return written


def _arrow_array(arro3: Any, column: NDArray[Any]) -> Any:
    """A column as an array of arro3; by way of a list only where there are gaps."""
    native = np.ascontiguousarray(column, column.dtype.newbyteorder("="))
    gaps = missing(native)
    if not gaps.any():
        return arro3.Array.from_numpy(native)
    return arro3.Array(_plain(native), type=arro3.Array.from_numpy(native[:1]).type)


def _plain(column: NDArray[Any]) -> list[Any]:
    """A column as plain Python values, None where nobody knows."""
    values = column.astype(object)
    values[missing(column)] = None
    plain: list[Any] = values.tolist()
    return plain


def _cells(table: Table, rows: slice) -> Iterator[tuple[Any, ...]]:
    """Some rows as plain Python values, None where nobody knows."""
    return zip(*(_plain(column[rows]) for column in table.data.values()), strict=True)


def _csv_text(table: Table) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(_cells(table, slice(None)))
    return text.getvalue()


def _html(table: Table) -> str:
    def row(cells: Iterable[Any], tag: str = "td") -> str:
        texts = ("" if cell is None else escape(str(cell)) for cell in cells)
        return "<tr>" + "".join(f"<{tag}>{text}</{tag}>" for text in texts) + "</tr>"

    whole = len(table) <= 2 * _SHOWN
    parts = [slice(None)] if whole else [slice(_SHOWN), slice(-_SHOWN, None)]
    rows = [[row(cells) for cells in _cells(table, part)] for part in parts]
    gap = row(("…",) * len(table.columns))
    lines = [
        f"<table><caption>{escape(repr(table)[1:-1])}</caption>",
        f"<thead>{row(table.columns, 'th')}{row(map(unit_of, table.columns), 'th')}</thead>",
        f"<tbody>{gap.join(''.join(part) for part in rows)}</tbody></table>",
    ]
    return "\n".join(lines)
