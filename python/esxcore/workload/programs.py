"""Workloads that are built in: a kind with its parameters, checked.

Which kinds there are, what they take and what that means is a table of the core's; here it is
turned into Python, and sizes, times and files are understood.

Neighbours: `esxcore.workload.built_in` has a function for each kind.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Self

from esxcore import _core
from esxcore.arguments import in_range, moment, page_count, real_number
from esxcore.config import PAGE_SIZE, parse_duration
from esxcore.datafile import data_path, opened
from esxcore.errors import ArgumentTypeError, ConfigError, DataError
from esxcore.hints import did_you_mean
from esxcore.traces import TRACED, PageTrace

_MOST = 2**32 - 1
_LONGEST_NS = 2**63
MAX_PROCESSES = 2**16
_SIZES = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))
_TIMES = ((3600 * 10**9, "h"), (60 * 10**9, "min"), (10**9, "s"), (10**6, "ms"))


class Parameter(NamedTuple):
    """A parameter of a kind of workload.

    Attributes
    ----------
    form : str
        What it takes: pages, count, number, time, seconds, flag, word, sizes, trace, record, load.
    words : tuple of str
        Which words, where it takes one.
    default : object
        In pages and nanoseconds; None if there is none.
    """

    name: str
    form: str
    words: tuple[str, ...]
    default: Any
    is_required: bool
    meaning: str


class Kind(NamedTuple):
    """A kind of workload: what it does and what it takes."""

    name: str
    meaning: str
    parameters: dict[str, Parameter]


def _kind(name: str, meaning: str, rows: list[Any]) -> Kind:
    parameters = (
        Parameter(row, form, tuple(words), default, required, said)
        for row, form, words, default, required, said in rows
    )
    return Kind(name, meaning, {parameter.name: parameter for parameter in parameters})


KINDS = {row[0]: _kind(*row) for row in _core.builtin_workloads()}
"""The kinds that are built in, by name."""


@dataclass(frozen=True)
class Program:
    """A workload that is built in, with its parameters; `zipf`, `toucher` and others make them.

    A value: equal ones do the same, and they can be pickled. What is random in it comes from the
    seed of the host, and is another matter for each process.

    Attributes
    ----------
    kind : str
        Which one.
    parameters : tuple of (str, object)
        What is not left to the kind: whole pages, nanoseconds, names of files.
    processes : int
        How many processes `Simulation.start` starts, each with memory of its own, one behind the
        other.
    """

    kind: str
    parameters: tuple[tuple[str, Any], ...] = ()
    processes: int = 1

    def __post_init__(self) -> None:
        rows = _rows(self.kind)
        try:
            given = dict(self.parameters)
        except (TypeError, ValueError):
            expected = "pairs of a name and a value; Program.of understands sizes and times too"
            raise ArgumentTypeError(
                f"{self.kind}: parameters: {self.parameters!r}; expected {expected}"
            ) from None
        _check_names(self.kind, given, rows)
        object.__setattr__(self, "parameters", tuple(given.items()))
        in_range(self.processes, f"{self.kind}: processes", 1, MAX_PROCESSES)
        self.core()

    @classmethod
    def of(cls, kind: str, given: Mapping[str, Any], processes: int = 1) -> Self:
        """A program of that kind.

        Parameters
        ----------
        kind : str
            Its name.
        given : mapping
            Parameters by name; one that is None is left to the kind.
        processes : int
            How many there are.

        Raises
        ------
        ConfigError, ArgumentTypeError
            If there is no such kind or parameter, or one is missing, out of range or of a wrong
            type.
        DataError
            If a file that it reads is missing or damaged.
        """
        rows = _rows(kind)
        _check_names(kind, given, rows)
        values = tuple(
            (name, _FORMS[row.form](given[name], f"{kind}: {name}"))
            for name, row in rows.items()
            if given.get(name) is not None
        )
        return cls(kind, values, in_range(processes, f"{kind}: processes", 1, MAX_PROCESSES))

    def core(self) -> _core.Workload:
        """What the core makes processes of."""
        rows = KINDS[self.kind].parameters
        given = [(name, _in_core(rows[name].form, value)) for name, value in self.parameters]
        try:
            return _core.Workload(self.kind, given)
        except TypeError as error:
            if isinstance(error, ArgumentTypeError):
                raise
            said = ", ".join(f"{name} {value!r}" for name, value in self.parameters)
            raise ArgumentTypeError(
                f"{self.kind}: {said}; expected plain values, as Program.of makes them"
            ) from None
        except ConfigError as error:
            raise ConfigError(f"{self.kind}: {error}") from None

    def table(self) -> dict[str, Any]:
        """What a scenario says of it: ``{"kind": "zipf", "memory": "220MiB"}``."""
        rows = KINDS[self.kind].parameters
        said = {name: text_of(rows[name].form, value) for name, value in self.parameters}
        return (
            {"kind": self.kind}
            | said
            | ({"processes": self.processes} if self.processes > 1 else {})
        )

    def __repr__(self) -> str:
        said = [f"{name}={value!r}" for name, value in list(self.table().items())[1:]]
        return f"{self.kind}({', '.join(said)})"


def _rows(kind: object) -> dict[str, Parameter]:
    """What a kind takes."""
    if not isinstance(kind, str):
        raise ArgumentTypeError(f"workload: {kind!r}; expected one of {', '.join(KINDS)}")
    if kind not in KINDS:
        raise ConfigError(f"workload: {kind!r}; {did_you_mean(kind, KINDS)}")
    return KINDS[kind].parameters


def _check_names(kind: str, given: Iterable[object], rows: Mapping[str, Parameter]) -> None:
    for name in given:
        if name not in rows:
            advice = did_you_mean(name, rows) if rows else "expected no parameters"
            raise ArgumentTypeError(f"{kind}: unknown parameter {name!r}; {advice}")


def _count(value: Any, what: str) -> int:
    return in_range(value, what, 0, _MOST)


def _time(value: Any, what: str) -> int:
    seconds = parse_duration(value, what) if isinstance(value, str) else real_number(value, what)
    if not 0 <= seconds * 1e9 < _LONGEST_NS:  # nor is NaN
        raise ConfigError(f"{what}: {value!r}; expected 0 to 2**33 seconds")
    return round(seconds * 1e9)


def _flag(value: Any, what: str) -> bool:
    if not isinstance(value, bool):
        raise ArgumentTypeError(f"{what}: {value!r}; expected True or False")
    return value


def _word(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise ArgumentTypeError(f"{what}: {value!r}; expected text")
    return value


def _sizes(value: Any, what: str) -> tuple[tuple[int, int], ...]:
    """One size, or pairs of a time and the size from then on."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        return ((0, page_count(value, what)),)
    sizes = []
    for pair in value:
        try:
            time, size = pair
        except (TypeError, ValueError):
            expected = "pairs of a time and a size, such as ('3min', '250MiB')"
            raise ArgumentTypeError(f"{what}: {pair!r}; expected {expected}") from None
        sizes.append((moment(time, f"{what}: time"), page_count(size, f"{what}: size")))
    return tuple(sizes)


def _trace(value: Any, what: str) -> str | PageTrace:
    if isinstance(value, PageTrace):
        return value
    return (
        os.fsdecode(value)
        if isinstance(value, str | os.PathLike)
        else PageTrace(value, source=what)
    )


def _load(value: Any, what: str) -> str:
    if not isinstance(value, str | os.PathLike):
        raise ArgumentTypeError(f"{what}: {value!r}; expected the path of a load file of dbench")
    return os.fsdecode(value)


def _record(value: Any, what: str) -> Any:
    raise ArgumentTypeError(f"{what}: {value!r}; a replay of activity is made with Activity")


_FORMS: dict[str, Callable[[Any, str], Any]] = {
    "pages": page_count,
    "count": _count,
    "number": real_number,
    "time": _time,
    "seconds": moment,
    "flag": _flag,
    "word": _word,
    "sizes": _sizes,
    "trace": _trace,
    "load": _load,
    "record": _record,
}


def _in_core(form: str, value: Any) -> Any:
    """A value as the core takes it; files are read, each state of one once."""
    if form == "load":
        return _loaded(value, _state(value, "a load file of dbench"))
    if form == "trace":
        if isinstance(value, str):
            found = data_path(value, Path(), TRACED)
            value = _traced(value, _state(os.fspath(found), "a trace of page references"))
        if not isinstance(value, PageTrace):
            raise ArgumentTypeError(f"trace: {value!r}; expected a PageTrace, or the path of one")
        return value._trace
    return value


def _state(path: str, expected: str) -> tuple[int, ...]:
    """What changes if a file does."""
    with opened(Path(path), expected) as stream:
        state = os.fstat(stream.fileno())
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


@lru_cache(maxsize=4)
def _loaded(path: str, _state: tuple[int, ...]) -> _core.Load:
    return _core.Load.read(Path(path))


@lru_cache(maxsize=4)
def _traced(path: str, _state: tuple[int, ...]) -> PageTrace:
    return PageTrace.load(path)


def found_load() -> str:
    """The load file of this system's dbench.

    Raises
    ------
    DataError
        If there is none.
    """
    path = _core.find_load()
    if path is None:
        raise DataError(
            "no load file of dbench is installed; expected loadfile, the path of one"
            " (Debian's package dbench has /usr/share/dbench/client.txt)"
        )
    return os.fspath(path)


def text_of(form: str, value: Any) -> Any:
    """A value as scenarios write it."""
    if form == "pages":
        return _with_unit(value * PAGE_SIZE, _SIZES, "KiB")
    if form == "time":
        return _with_unit(value, _TIMES, "us", 1000)
    if form == "seconds":
        return f"{value}s"
    if form == "sizes":
        return [[f"{time}s", text_of("pages", pages)] for time, pages in value]
    return value


def _with_unit(
    value: int, units: tuple[tuple[int, str], ...], least: str, divisor: int = 2**10
) -> str:
    """In the largest unit in which it is a whole number."""
    for size, unit in units:
        if value and value % size == 0:
            return f"{value // size}{unit}"
    return f"{value / divisor:.15g}{least}"
