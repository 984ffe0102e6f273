"""Page-reference traces: which pages a program referred to, one after the other.

`PageTrace` holds a trace and replays it against memories of given sizes; `miss_ratios` does the
same with a file that is not to be held. Pages may be any 64-bit numbers in a file or an array; a
trace numbers them anew, from 0 in the order of their first references.

Neighbours: `esxcore.datafile` opens npz archives, the core reads the other formats.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from esxcore import _core
from esxcore.arguments import Size, choice, in_range
from esxcore.config import MAX_PAGES, parse_size_text
from esxcore.datafile import ArrayFile, data_path, open_arrays
from esxcore.errors import ArgumentTypeError, DataError

Replacement: TypeAlias = Literal["lru", "clock", "two-list"]
"""Which page is replaced next: see `PageTrace.miss_ratio`."""

TraceFormat: TypeAlias = Literal["npz", "oracleGeneral", "csv"]
"""How a trace file is written: see `PageTrace.load`."""

TRACED = "page"
"""The array without which an archive is no trace of page references."""
_NPZ = "npz"
_FORMATS = (_NPZ, *_core.trace_formats())
_ZIP_MAGIC = b"PK\x03\x04"
_LONGEST_RUN = 2**32 - 1
_FIRST_WRITE, _LAST_KIND = 2, 3  # kinds of references: 0 fetch, 1 load, 2 store, 3 modify


class PageTrace:
    """References of a program to its pages, in order.

    Parameters
    ----------
    pages : integers, shape (records,)
        The page of each record, by any numbers from 0 to 2**64 - 1.
    writes : booleans, shape (records,), optional
        Whether each record writes. Without them that is not known.
    runs : integers, shape (records,), optional
        How many times in a row each record refers to its page, 1 to 2**32 - 1. Without them once.
    source : str
        Where the arrays came from; begins every error message.

    Raises
    ------
    DataError
        If types, shapes or values contradict this, or there are no records.

    Examples
    --------
    >>> trace = PageTrace([70, 71, 70, 99], runs=[1, 2, 1, 1])
    >>> trace
    PageTrace('page trace', 4 records, 5 references to 3 pages)
    >>> trace.pages
    array([0, 1, 0, 2], dtype=uint32)
    >>> trace.miss_ratio(2), trace.miss_ratios([1, 3]).tolist()
    (0.6, [0.8, 0.6])
    """

    def __init__(
        self,
        pages: ArrayLike,
        writes: ArrayLike | None = None,
        runs: ArrayLike | None = None,
        source: str = "page trace",
    ) -> None:
        ids = _integers(source, "page", pages, 0, 2**64 - 1).astype(np.uint64)
        given = None if writes is None else _booleans(source, writes, ids.size)
        counts = None if runs is None else _integers(source, "run", runs, 1, _LONGEST_RUN)
        if counts is not None and counts.size != ids.size:
            raise DataError(
                f"{source}: array 'run' has {counts.size} records; expected {ids.size},"
                " as in 'page'"
            )
        narrow = None if counts is None else counts.astype(np.uint32)
        self._trace = _core.PageTrace.from_columns(ids, narrow, given)
        self._source = source

    @classmethod
    def load(cls, path: str | os.PathLike[str], format: TraceFormat | None = None) -> Self:
        """Reads a trace.

        Parameters
        ----------
        path : str or path
            A file, or ``"builtin:trace_sort"``: ten million references of a program that sorts a
            text of 200 000 lines.
        format : str, optional
            How it is written; otherwise its name and its first bytes tell.

            ``"npz"``
                An archive with arrays ``page`` and perhaps ``run``, and ``write`` (booleans) or
                ``kind`` (0 fetch, 1 load, 2 store, 3 modify), a row a record.
            ``"oracleGeneral"``
                libCacheSim's 24-byte records; object sizes are not used, as all pages are of one
                size.
            ``"csv"``
                Lines of text with a column ``page`` and perhaps one ``write``, named in the first
                line; without such a line these are the first column and the second. Pages are
                decimal, or hexadecimal after ``0x``.

            The last two may be packed with zstd.

        Raises
        ------
        DataError
            If there is no such regular file or it is damaged; the message names file and record.
        RealMemoryError
            If the system lacks memory for it: four bytes a record, and up to eighty a different
            page while it is read.
        ConfigError
            If there is no such format.
        """
        found = _found(path, format)
        if format == _NPZ or (format is None and _is_archive(found)):
            return cls._from_arrays(found, os.fsdecode(path))
        made = cls.__new__(cls)
        made._trace = _core.PageTrace.load(found, format)
        made._source = os.fsdecode(path)
        return made

    @classmethod
    def _from_arrays(cls, path: Path, source: str) -> Self:
        with open_arrays(path) as file:
            names = file.names()
            pages = file.take("page", np.integer, 1)
            runs = file.take("run", np.integer, 1) if "run" in names else None
            writes = None
            if "write" in names:
                writes = file.take("write", np.bool_, 1)
            elif "kind" in names:
                writes = _writes(file)
        return cls(pages, writes, runs, source)

    def __len__(self) -> int:
        """Number of records."""
        return self._trace.records

    def __repr__(self) -> str:
        return (
            f"PageTrace({self._source!r}, {len(self)} records,"
            f" {self.references} references to {self.distinct} pages)"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.pages, self.writes, self.runs, self._source)

    def __eq__(self, other: object) -> bool:
        """Whether both make the same references."""
        if not isinstance(other, PageTrace):
            return NotImplemented
        if self is other or self._trace is other._trace:
            return True
        columns = ((one.pages, one.runs, one.writes) for one in (self, other))
        return len(self) == len(other) and all(map(_are_equal, *columns))

    def __hash__(self) -> int:
        return hash((len(self), self.references, self.distinct))

    @property
    def source(self) -> str:
        """Where the trace came from."""
        return self._source

    @property
    def references(self) -> int:
        """Number of references: records, each as often as it is repeated."""
        return self._trace.references

    @property
    def distinct(self) -> int:
        """Number of different pages."""
        return self._trace.distinct

    @cached_property
    def pages(self) -> NDArray[np.uint32]:
        """The page of each record, from 0 to `distinct` - 1 in the order of first references."""
        return self._trace.pages()

    @cached_property
    def runs(self) -> NDArray[np.uint32] | None:
        """How many times in a row each record refers to its page, or None if each does once."""
        return self._trace.runs()

    @cached_property
    def writes(self) -> NDArray[np.bool_] | None:
        """Whether each record writes, or None if that is not known."""
        return self._trace.writes()

    def miss_ratio(self, memory: Size, policy: Replacement = "lru") -> float:
        """Misses a reference in a memory of one size, which is empty at first.

        Parameters
        ----------
        memory : str or int
            A size such as ``"4MiB"``, or whole pages, at least one.
        policy : str
            Which page is replaced: ``"lru"`` the least recently used one; ``"clock"`` first in
            first out, but a page that was referred to since is put back once; ``"two-list"`` the
            last one of an inactive list, which a second reference lets a page leave for an active
            one of at most two thirds of the pages.

        Returns
        -------
        float
            From 0 to 1.

        Raises
        ------
        ConfigError, ArgumentTypeError
            If the size or the policy is none of these.
        """
        return float(self.miss_ratios([memory], policy)[0])

    def miss_ratios(
        self, sizes: Iterable[Size], policy: Replacement = "lru"
    ) -> NDArray[np.float64]:
        """As `miss_ratio`, of each size: float64 of shape (sizes,). One replay each."""
        pages = _sizes(sizes)
        return self._trace.misses(_policy(policy), pages) / self.references


def miss_ratios(
    source: str | os.PathLike[str] | PageTrace,
    sizes: Iterable[Size],
    *,
    policy: Replacement = "lru",
    format: TraceFormat | None = None,
) -> NDArray[np.float64]:
    """Misses a reference in memories of some sizes, of a file that is not held in memory.

    The file is decoded once and all sizes are replayed on the way. Only the resident pages are
    kept: about a hundred bytes each, however long the file is and however many pages it names. (An
    npz archive is loaded all the same.)

    Parameters
    ----------
    source : str, path or PageTrace
        A file as `PageTrace.load` takes it, or a trace.
    sizes : sequence of str or int
        Sizes such as ``"4MiB"``, or whole pages, at least one.
    policy : str
        Which page is replaced, as in `PageTrace.miss_ratio`.
    format : str, optional
        How the file is written; otherwise its name and its first bytes tell.

    Returns
    -------
    float64, shape (sizes,)
        From 0 to 1.

    Raises
    ------
    DataError
        If there is no such regular file or it is damaged; the message names file and record.
    ConfigError, ArgumentTypeError
        If a size, the policy or the format is none of these.

    Examples
    --------
    >>> miss_ratios("builtin:trace_sort", ["32KiB", "256KiB"], policy="clock").round(6).tolist()
    [0.00227, 0.000314]
    """
    pages, order = _sizes(sizes), _policy(policy)
    if isinstance(source, PageTrace):
        return source.miss_ratios(pages, policy)
    found = _found(source, format)
    if format == _NPZ or (format is None and _is_archive(found)):
        return PageTrace.load(source, format).miss_ratios(pages, policy)
    references, misses = _core.stream_misses(found, format, order, pages)
    return misses / references


def _are_equal(one: NDArray[Any] | None, other: NDArray[Any] | None) -> bool:
    if one is None or other is None:
        return one is other
    return np.array_equal(one, other)


def _found(path: str | os.PathLike[str], format: str | None) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise ArgumentTypeError(f"path: {type(path).__name__}; expected the path of a trace")
    if format is not None:
        choice(format, "format", _FORMATS)
    return data_path(os.fsdecode(path), Path(), TRACED)


def _is_archive(path: Path) -> bool:
    """Whether it is likely an npz archive; what cannot be read is left to whoever reads it."""
    try:
        if not path.is_file():  # a pipe, on which opening would wait for a writer
            return path.suffix == ".npz"
        with path.open("rb") as stream:
            return path.suffix == ".npz" or stream.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC
    except (OSError, ValueError):
        return False


def _writes(file: ArrayFile) -> NDArray[np.bool_]:
    kinds = file.take("kind", np.integer, 1)
    wrong = np.flatnonzero((kinds < 0) | (kinds > _LAST_KIND))
    if wrong.size:
        raise DataError(
            f"{file.path}: record {wrong[0]}: kind is {kinds[wrong[0]]}; expected 0 to {_LAST_KIND}"
        )
    writes: NDArray[np.bool_] = kinds >= _FIRST_WRITE
    return writes


def _integers(source: str, name: str, values: ArrayLike, low: int, high: int) -> NDArray[Any]:
    """A column of one or more integers from `low` to `high`."""
    array = _column(source, name, values)
    if isinstance(values, list) and array.dtype.kind not in "iu" and _are_whole(values):
        array = np.array(values, object)  # of integers beyond its own NumPy makes floats
    elif array.dtype.kind not in "iu" or array.ndim != 1:
        raise DataError(
            f"{source}: array '{name}' is {array.dtype} with {array.ndim} axes;"
            " expected integers with 1 axis"
        )
    if array.min() < low or array.max() > high:
        record = int(np.flatnonzero((array < low) | (array > high))[0])
        raise DataError(
            f"{source}: record {record}: {name} is {array[record]}; expected {low} to {high}"
        )
    return array


def _are_whole(values: list[Any]) -> bool:
    return all(isinstance(value, int) and not isinstance(value, bool) for value in values)


def _booleans(source: str, values: ArrayLike, records: int) -> NDArray[np.bool_]:
    array = _column(source, "write", values)
    if array.dtype != np.bool_ or array.shape != (records,):
        raise DataError(
            f"{source}: array 'write' is {array.dtype} of shape {array.shape};"
            f" expected bool of shape ({records},), as in 'page'"
        )
    # A copy: what was checked is what the core takes, whatever another thread does meanwhile.
    return array.copy()


def _column(source: str, name: str, values: ArrayLike) -> NDArray[Any]:
    if isinstance(values, np.ma.MaskedArray):
        raise DataError(f"{source}: array '{name}' is masked; expected one without a mask")
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, OverflowError):
        raise DataError(f"{source}: '{name}' is no array; expected one with 1 axis") from None
    if array.size == 0:
        raise DataError(f"{source}: array '{name}' has no records; expected one or more")
    return array


def _sizes(sizes: object) -> list[int]:
    if isinstance(sizes, str) or not isinstance(sizes, Iterable):
        raise ArgumentTypeError(f"sizes: {sizes!r}; expected a list of sizes")
    listed: Sequence[object] = list(sizes)
    return [
        parse_size_text(size, "memory")
        if isinstance(size, str)
        else in_range(size, "memory", 1, MAX_PAGES)
        for size in listed
    ]


def _policy(policy: object) -> str:
    return str(choice(policy, "policy", tuple(_core.replacements())))
