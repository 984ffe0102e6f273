"""Classes of one's own that a scenario names, policies and workloads: found, imported, checked.

``module:Class`` is looked for in the folder of the scenario first and then where Python looks.
Whatever is wrong with it comes out as one line.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from esxcore.errors import EsxError
from esxcore.scenario import Scenario
from esxcore.scenario_text import abridged

RAISED = (Exception, SystemExit)
"""What code of the user's may raise and be blamed for; Ctrl-C is not its doing."""


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


def told(error: BaseException) -> str:
    """What an error says, with its kind if it is none of the package's own."""
    if isinstance(error, EsxError):
        return str(error)
    return ": ".join(filter(None, (type(error).__name__, str(error))))


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
        hint = nearest(name, built_in) or f"expected {listed(built_in)} or module:Class"
        raise scenario.refusal(f"{field_name} is {abridged(name)}; {hint}")
    if not (attribute.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise scenario.error(field_name, name, "module:Class, both names of Python")
    try:
        found = import_from(module, scenario.folder)
    except RAISED as error:
        problem = f"{field_name} is {abridged(name)}; the module cannot be imported"
        raise scenario.refusal(f"{problem}: {told(error)}") from error
    factory = getattr(found, attribute, None)
    if factory is None:
        hint = nearest(attribute, vars(found)) or "expected a class of that module"
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


def check_parameters(
    scenario: Scenario,
    field_name: str,
    called: str,
    given: Mapping[str, object],
    factory: Callable[..., object],
) -> None:
    """Refuses parameters that a class does not take, and the lack of those that it needs."""
    try:
        taken = inspect.signature(factory).parameters
    except ValueError:  # classes of C need not tell
        return
    if any(each.kind is each.VAR_KEYWORD for each in taken.values()):
        return
    named = {name: each for name, each in taken.items() if each.kind not in _BY_POSITION}
    for key in given:
        if key not in named:
            hint = nearest(key, named) or f"expected {listed(named) or 'no parameters'}"
            raise scenario.refusal(f"unknown key {field_name}.{key} of {called}; {hint}")
    for name, each in named.items():
        if each.default is each.empty and name not in given:
            raise scenario.refusal(f"{field_name}.{name} is missing; {called} cannot be without it")


_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)


def import_from(module: str, folder: Path) -> ModuleType:
    """Imports a module, from a folder if it is there.

    A module of the same name that was imported from elsewhere is left to those who have it.
    """
    top = module.partition(".")[0]
    spec = PathFinder.find_spec(top, [str(folder.absolute())])
    if spec is None:
        return importlib.import_module(module)
    with _first_on_path(folder.absolute()), _out_of_the_way(top, spec.origin):
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


def nearest(name: str, known: Mapping[str, object]) -> str | None:
    """Advice on a name, if there is one like it."""
    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean {abridged(near[0])}?" if near else None


def listed(names: Mapping[str, object]) -> str:
    """Names, one after the other."""
    return ", ".join(names)
