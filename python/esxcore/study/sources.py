"""The code that a scenario names, as part of what its numbers depend on.

Neighbours: `esxcore.study.grid` puts it into the keys of runs.
"""

from __future__ import annotations

import hashlib
import marshal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType

from esxcore.errors import ScenarioError
from esxcore.experiment.classes import import_from
from esxcore.policy import POLICIES, found_policy
from esxcore.scenario import Scenario
from esxcore.scenario.named import RAISED, told


def code_of(scenario: Scenario) -> list[str]:
    """A hash of each module whose classes a scenario names, so that old rows are told from new.

    What such a module imports is not looked at.

    Raises
    ------
    ScenarioError
        If a module cannot be imported.
    """
    return [
        f"{module}:{name} {_hash_of(scenario, module, name)}"
        for module, name in sorted(set(_classes(scenario)))
    ]


def _classes(scenario: Scenario) -> Iterator[tuple[str, str]]:
    policies = [scenario.policy.name]
    policies += [event.policy.name or "" for event in scenario.events if event.policy]
    workloads = [str(section.workload.name) for section in scenario.vms if section.workload]
    for name in policies:
        plug_in = None if name in POLICIES or ":" in name else found_policy(name)
        if isinstance(plug_in, type):
            yield plug_in.__module__, plug_in.__qualname__
    for name in policies + workloads:
        module, colon, attribute = name.partition(":")
        if colon:
            yield module, attribute


def _hash_of(scenario: Scenario, module: str, name: str) -> str:
    try:
        # Who runs is imported already, and by no other name.
        found = (
            sys.modules[module] if module == "__main__" else import_from(module, scenario.folder)
        )
    except RAISED as error:
        raise scenario.refusal(f"module {module} cannot be imported: {told(error)}") from error
    file = getattr(found, "__file__", None)
    if file is None:  # typed in, in a notebook
        return _hash_of_class(getattr(found, name, None))
    try:
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except OSError as error:
        raise ScenarioError(f"{file}: cannot be read ({error.strerror})") from error


def _hash_of_class(found: object) -> str:
    """A hash of what the methods of a class do, wherever and however often it was typed in."""
    functions = vars(found).items() if isinstance(found, type) else ()
    texts = [
        f"{name} {marshal.dumps(_anywhere(function.__code__), 2).hex()} {function.__defaults__!r}"
        for name, function in functions
        if isinstance(function, FunctionType)
    ]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _anywhere(code: CodeType) -> CodeType:
    """Code without the place where it stands."""
    inner = (_anywhere(each) if isinstance(each, CodeType) else each for each in code.co_consts)
    return code.replace(co_filename="", co_firstlineno=1, co_consts=tuple(inner))
