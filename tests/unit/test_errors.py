"""The exception tree by itself."""

from __future__ import annotations

import copy
import inspect
import pickle
import subprocess
import sys

import pytest

from esxcore import errors

CLASSES = [
    value
    for _, value in inspect.getmembers(errors, inspect.isclass)
    if value.__module__ == errors.__name__
]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_each_class_is_documented_and_pickles(kind: type[Exception]) -> None:
    assert kind.__doc__
    assert issubclass(kind, errors.EsxError | UserWarning)
    error = kind("something with 3 numbers")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is kind
        assert str(twin) == "something with 3 numbers"


def test_each_class_pickles_with_its_traceback_too() -> None:
    pytest.importorskip("tblib")
    code = """
import inspect, pickle
from tblib import pickling_support
from esxcore import errors
pickling_support.install()
for _, kind in inspect.getmembers(errors, inspect.isclass):
    try:
        raise kind("said")
    except Exception as error:
        assert str(pickle.loads(pickle.dumps(error))) == "said", kind
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_numbers_survive() -> None:
    error = errors.OutOfMachineMemoryError("no room", wanted_pages=5, free_pages=2, done=7)
    twin = pickle.loads(pickle.dumps(error))
    assert (twin.wanted_pages, twin.free_pages, twin.done) == (5, 2, 7)
    assert isinstance(twin, MemoryError)
    scarce = pickle.loads(pickle.dumps(errors.MinOvercommittedError("too much", 9, 8)))
    assert (scarce.min_pages, scarce.available_pages) == (9, 8)
    broken = pickle.loads(pickle.dumps(errors.InvariantError("I4: hash", "I4")))
    assert broken.invariant == "I4"


def test_every_class_but_the_root_and_warning_is_a_builtin_kind_too() -> None:
    for kind in CLASSES:
        if kind is not errors.EsxError and issubclass(kind, errors.EsxError):
            builtins = [base for base in kind.__mro__ if base.__module__ == "builtins"]
            assert builtins[0] is not Exception, kind
