"""Policies of a scenario: found by name, or imported from the folder of its file; made and checked.

A policy of one's own is ``module:Class``, the module looked for in the folder of the scenario first
and then where Python looks. The class is made with the parameters that the scenario gives.
Whatever is wrong with it comes out as one line, before anything runs.
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

from esxcore.errors import EsxError, PolicyError
from esxcore.policy import POLICIES, Policy
from esxcore.scenario import PolicySection, Scenario
from esxcore.scenario_text import abridged

_NOTE = "policy "
_A_CLASS = "a class with a method targets(view)"
_RAISED = (Exception, SystemExit)
"""What code of the user's may raise and be blamed for; Ctrl-C is not its doing."""


def make_policy(scenario: Scenario, field_name: str, section: PolicySection) -> Policy:
    """The policy of a section; `field_name` is where the scenario speaks of it.

    Raises
    ------
    ScenarioError
        If there is none of that name, it takes no such parameter or refuses it, or it is no policy.
    """
    factory = _factory(scenario, field_name, section.name)
    _check_parameters(scenario, field_name, section, factory)
    try:
        policy = factory(**section.parameters)
    except _RAISED as error:
        problem = f"{field_name}: policy {abridged(section.name)} cannot be made: {told(error)}"
        raise scenario.refusal(problem) from error
    if not callable(getattr(policy, "targets", None)):
        raise scenario.error(f"{field_name}.name", section.name, _A_CLASS)
    return policy


def told(error: BaseException) -> str:
    """What an error says, with its kind if it is none of the package's own."""
    if isinstance(error, EsxError):
        return str(error)
    return ": ".join(filter(None, (type(error).__name__, str(error))))


def blame(error: BaseException, name: str, now_s: float) -> None:
    """Notes on what came out of a host that it was a policy that raised it, and when."""
    if isinstance(error, PolicyError) or not isinstance(error, EsxError | MemoryError):
        error.add_note(f"{_NOTE}{abridged(name)} at {now_s:g} s of virtual time")


def policy_failure(error: BaseException) -> str | None:
    """One line about what a policy raised in a run: which policy, when, what, and where.

    None if the error is not a policy's.
    """
    notes = [note for note in getattr(error, "__notes__", ()) if note.startswith(_NOTE)]
    if not notes:
        return None
    if isinstance(error, PolicyError):  # about an answer, so no line of code is to blame
        return f"{notes[-1]}: {error}"
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{notes[-1]}: {told(error)} ({last.filename}, line {last.lineno})"


def _factory(scenario: Scenario, field_name: str, name: str) -> Callable[..., Policy]:
    if name in POLICIES:
        return POLICIES[name]
    module, colon, attribute = name.partition(":")
    if not colon:
        hint = _nearest(name, POLICIES) or f"expected {_listed(POLICIES)} or module:Class"
        raise scenario.refusal(f"{field_name}.name is {abridged(name)}; {hint}")
    if not (attribute.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise scenario.error(f"{field_name}.name", name, "module:Class, both names of Python")
    try:
        found = import_from(module, scenario.folder)
    except _RAISED as error:
        problem = f"{field_name}.name is {abridged(name)}; the module cannot be imported"
        raise scenario.refusal(f"{problem}: {told(error)}") from error
    factory = getattr(found, attribute, None)
    if factory is None:
        hint = _nearest(attribute, vars(found)) or "expected a class of that module"
        raise scenario.refusal(
            f"{field_name}.name is {abridged(name)}; {found.__file__} has no {attribute}; {hint}"
        )
    # Nothing else is called: who knows what a function does.
    if not (isinstance(factory, type) and callable(getattr(factory, "targets", None))):
        kind = f"which is {_kind(factory)}"
        raise scenario.refusal(
            f"{field_name}.name is {abridged(name)}, {kind}; expected {_A_CLASS}"
        )
    own: Callable[..., Policy] = factory
    return own


def _kind(found: object) -> str:
    """What was found where a class was expected."""
    if isinstance(found, type):
        return "a class without it"
    if inspect.isroutine(found):
        return "a function"
    owner = "a policy made already, of class" if hasattr(found, "targets") else "of type"
    return f"{owner} {type(found).__name__}"


def _check_parameters(
    scenario: Scenario, field_name: str, section: PolicySection, factory: Callable[..., Policy]
) -> None:
    try:
        taken = inspect.signature(factory).parameters
    except ValueError:  # classes of C need not tell
        return
    if any(each.kind is each.VAR_KEYWORD for each in taken.values()):
        return
    named = {name: each for name, each in taken.items() if each.kind not in _BY_POSITION}
    for key in section.parameters:
        if key not in named:
            hint = _nearest(key, named) or f"expected {_listed(named) or 'no parameters'}"
            policy = abridged(section.name)
            raise scenario.refusal(f"unknown key {field_name}.{key} of policy {policy}; {hint}")
    for name, each in named.items():
        if each.default is each.empty and name not in section.parameters:
            raise scenario.refusal(
                f"{field_name}.{name} is missing; policy {abridged(section.name)} cannot be"
                " without it"
            )


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


def _nearest(name: str, known: Mapping[str, object]) -> str | None:
    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean {abridged(near[0])}?" if near else None


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(names)
