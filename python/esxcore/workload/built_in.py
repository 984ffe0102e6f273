"""A function for each workload that is built in; their parameters are the core's (`KINDS`).

Sizes are texts such as ``"220MiB"`` or pages, times texts such as ``"100us"`` or seconds.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from numpy.typing import ArrayLike

from esxcore.arguments import Size, in_range
from esxcore.traces import PageTrace
from esxcore.workload.programs import KINDS, MAX_PROCESSES, Parameter, Program, found_load, text_of

_Made = TypeVar("_Made", bound=Callable[..., Program])
_PROCESSES = "how many processes, each with memory of its own behind that of the one before"
_FORMS = {
    "pages": "str or int",
    "count": "int",
    "number": "float",
    "time": "str or float",
    "seconds": "str or int",
    "flag": "bool",
    "sizes": "str, int or sequence of (time, size)",
    "trace": "PageTrace, path or integers",
    "load": "path",
}


def _documented(made: _Made) -> _Made:
    """Gives a function the parameters of its kind, for those who read or ask for them."""
    rows = list(KINDS[made.__name__].parameters.values())
    own = [
        name
        for name, each in inspect.signature(made).parameters.items()
        if each.kind != each.VAR_KEYWORD
    ]
    rows = [row for name in own for row in rows if row.name == name] + [
        row for row in rows if row.name not in own
    ]
    parameters = [_parameter(row, row.name in own) for row in rows]
    many = "clients" if "clients" in own else "processes"
    if many in own:
        place, kind = own.index(many), inspect.Parameter.POSITIONAL_OR_KEYWORD
        parameters.insert(place, inspect.Parameter(many, kind, default=1))
    else:
        parameters.append(inspect.Parameter(many, inspect.Parameter.KEYWORD_ONLY, default=1))
    made.__signature__ = inspect.Signature(parameters, return_annotation=Program)  # type: ignore[attr-defined]
    lines = [
        line for row in rows for line in (f"{row.name} : {_type(row)}", f"    {_meaning(row)}")
    ]
    lines += [f"{many} : int", f"    {_PROCESSES.capitalize()}."]
    head, _, tail = inspect.cleandoc(made.__doc__ or "").partition("\nExamples\n")
    body = "\n".join(["", "Parameters", "----------", *lines, ""])
    made.__doc__ = f"{head.rstrip()}\n{body}\nExamples\n{tail}" if tail else f"{head}\n{body}"
    return made


def _parameter(row: Parameter, is_first: bool) -> inspect.Parameter:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD if is_first else inspect.Parameter.KEYWORD_ONLY
    default = None if row.default is None else text_of(row.form, row.default)
    required = row.is_required and row.form != "load"
    return inspect.Parameter(
        row.name, kind, default=inspect.Parameter.empty if required else default
    )


def _type(row: Parameter) -> str:
    if row.form == "word":
        return f"{{{', '.join(map(repr, row.words))}}}"
    return _FORMS[row.form]


def _meaning(row: Parameter) -> str:
    text = row.meaning[0].upper() + row.meaning[1:]
    said = None if row.default is None else text_of(row.form, row.default)
    return f"{text}." if said is None else f"{text}; {said!r} if left out."


def _made(kind: str, processes: int = 1, **given: Any) -> Program:
    return Program.of(kind, given, processes)


@_documented
def zipf(memory: Size, **parameters: Any) -> Program:
    """Refers to pages of which some are far more popular than others: rank k with weight k^-s.

    Examples
    --------
    >>> zipf("220MiB", exponent=1.0)
    zipf(memory='220MiB', exponent=1.0)
    >>> zipf("1MiB") == zipf(256)
    True
    """
    return _made("zipf", memory=memory, **parameters)


@_documented
def toucher(sizes: Size | Sequence[tuple[Size, Size]], **parameters: Any) -> Program:
    """Touches all of its pages, over and over; how many changes with time (section 5.3).

    Examples
    --------
    >>> toucher([("0s", "50MiB"), ("3min", "250MiB")])
    toucher(sizes=[['0s', '50MiB'], ['180s', '250MiB']])
    """
    return _made("toucher", sizes=sizes, **parameters)


@_documented
def scan(memory: Size, **parameters: Any) -> Program:
    """Goes through its pages from first to last, again and again.

    Examples
    --------
    >>> scan("64MiB", access="write", op_time="20us")
    scan(memory='64MiB', access='write', op_time='20us')
    """
    return _made("scan", memory=memory, **parameters)


@_documented
def phases(calm: Size, burst: Size, **parameters: Any) -> Program:
    """Has a small working set, and now and then a large one for a while.

    Examples
    --------
    >>> phases("16MiB", "128MiB", calm_mean="5min")
    phases(calm='16MiB', burst='128MiB', calm_mean='5min')
    """
    return _made("phases", calm=calm, burst=burst, **parameters)


@_documented
def idle(**parameters: Any) -> Program:
    """Sleeps, and touches a few pages now and then.

    Examples
    --------
    >>> idle(period="1min")
    idle(period='60s')
    """
    return _made("idle", **parameters)


@_documented
def files(files: int, **parameters: Any) -> Program:
    """Reads and writes files through the guest's page cache, some far more popular than others.

    Examples
    --------
    >>> files(1000, largest="1MiB", read_fraction=1.0)
    files(files=1000, largest='1MiB', read_fraction=1.0)
    """
    return _made("files", files=files, **parameters)


@_documented
def replay(trace: PageTrace | str | os.PathLike[str] | ArrayLike, **parameters: Any) -> Program:
    """Makes the references of a trace, in their order.

    A trace is a file as `PageTrace.load` reads it, a `PageTrace`, or an array of page numbers. A
    file is read again by who gets the program pickled.

    Examples
    --------
    >>> replay("builtin:trace_sort", refs_per_s=50_000, repeat=True)
    replay(trace='builtin:trace_sort', repeat=True, refs_per_s=50000)
    """
    return _made("replay", trace=trace, **parameters)


@_documented
def dbench(
    clients: int = 1, loadfile: str | os.PathLike[str] | None = None, **parameters: Any
) -> Program:
    """Does to files what the clients of a dbench load file do, over the guest's page cache.

    Without `loadfile` it is the one of this system's dbench, if that is installed.
    """
    load = found_load() if loadfile is None else loadfile
    clients = in_range(clients, "dbench: clients", 1, MAX_PROCESSES)
    return _made("dbench", clients, loadfile=load, **parameters)
