"""Classes of one's own that a scenario names, policies and workloads: found, imported, checked.

``module:Class`` is looked for in the folder of the scenario first and then where Python looks.
Whatever is wrong with it comes out as one line.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from esxcore.hints import did_you_mean
from esxcore.scenario import Scenario
from esxcore.scenario.named import RAISED, no_such, told
from esxcore.scenario_text import abridged


class Sort(NamedTuple):
    """What a class is to be.

    Attributes
    ----------
    noun : str
        What its instances are called.
    methods : tuple of str
        Of which it has one.
    expected : str
        The same in words.
    """

    noun: str
    methods: tuple[str, ...]
    expected: str

    def fits(self, found: object) -> bool:
        """Whether it has one of the methods."""
        return any(callable(getattr(found, method, None)) for method in self.methods)


def blamed_line(whose: str, error: BaseException) -> str:
    """One line about what code of the user's raised, and where."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{whose}: {told(error)} ({last.filename}, line {last.lineno})"


def found_class(
    scenario: Scenario, field_name: str, name: str, built_in: Mapping[str, object], sort: Sort
) -> Callable[..., Any]:
    """The class that a field names, where it names nothing that is built in.

    Raises
    ------
    ScenarioError
        If there is no such class.
    """
    module, colon, attribute = name.partition(":")
    if not colon:
        raise no_such(scenario, field_name, name, built_in)
    if not (attribute.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise scenario.error(field_name, name, "module:Class, both names of Python")
    try:
        found = import_from(module, scenario.folder)
    except RAISED as error:
        problem = f"{field_name} is {abridged(name)}; the module cannot be imported"
        raise scenario.refusal(f"{problem}: {told(error)}") from error
    factory = getattr(found, attribute, None)
    if factory is None:
        hint = did_you_mean(
            attribute, vars(found), abridged, otherwise="expected a class of that module"
        )
        raise scenario.refusal(
            f"{field_name} is {abridged(name)}; {found.__file__} has no {attribute}; {hint}"
        )
    # Nothing else is called: who knows what a function does.
    if not (isinstance(factory, type) and sort.fits(factory)):
        problem = f"{field_name} is {abridged(name)}, which is {_kind(factory, sort)}"
        raise scenario.refusal(f"{problem}; expected {sort.expected}")
    return factory


def _kind(found: object, sort: Sort) -> str:
    """What was found where a class was expected."""
    if isinstance(found, type):
        return "a class without it"
    if inspect.isroutine(found):
        return "a function"
    owner = f"a {sort.noun} made already, of class" if sort.fits(found) else "of type"
    return f"{owner} {type(found).__name__}"


_IMPORTING = threading.RLock()
"""Held while the path is another: runs in threads import what their scenarios name."""


def import_from(module: str, folder: Path) -> ModuleType:
    """Imports a module, from a folder if it is there.

    A module of the same name that was imported from elsewhere is left to those who have it.
    """
    top = module.partition(".")[0]
    spec = PathFinder.find_spec(top, [str(folder.absolute())])
    if spec is None:
        return importlib.import_module(module)
    with _IMPORTING, _first_on_path(folder.absolute()), _out_of_the_way(top, spec.origin):
        importlib.invalidate_caches()
        return importlib.import_module(module)


@contextmanager
def _first_on_path(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


@contextmanager
def _out_of_the_way(top: str, origin: str | None) -> Iterator[None]:
    """Puts a module from elsewhere aside while the block runs, with all that is in it."""
    loaded = sys.modules.get(top)
    if loaded is None or getattr(loaded, "__file__", None) == origin:
        yield
        return
    aside = {
        name: sys.modules.pop(name)
        for name in list(sys.modules)
        if name == top or name.startswith(f"{top}.")
    }
    try:
        yield
    finally:
        sys.modules.update(aside)
