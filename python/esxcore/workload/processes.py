"""Workloads as the core asks them, whatever they are made of."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np

from esxcore import _core
from esxcore.errors import ArgumentTypeError, WorkloadError
from esxcore.workload.batches import Batch, PacedWorkload, Packed, Workload, packed
from esxcore.workload.programs import Program
from esxcore.workload.records import Accesses, Activity, ActivityRecord

AnyWorkload: TypeAlias = Workload | PacedWorkload | Program
"""What a process can be."""

_records: WeakKeyDictionary[ActivityRecord, _core.ActivityRecord] = WeakKeyDictionary()
"""Records that the core has, so that all who replay one share it."""


class _Paced:
    """A paced workload as a process."""

    def __init__(self, workload: PacedWorkload) -> None:
        self.workload = workload
        self._second = 0

    def of(self, workload: PacedWorkload) -> _Paced:
        """Another one, as far as this is, of another workload."""
        paced = _Paced(workload)
        paced._second = self._second
        return paced

    def batch(self, _now: float) -> Batch:
        """All accesses of the next second, reads before writes."""
        name = type(self.workload).__name__
        answer: Any = self.workload.accesses(self._second)
        if not isinstance(answer, tuple | list) or len(answer) != len(Accesses._fields):
            raise ArgumentTypeError(
                f"workload {name}: accesses is {type(answer).__name__}; expected Accesses"
            )
        reads, writes = map(np.atleast_1d, answer)
        self._second += 1
        return Batch(
            np.concatenate([reads, writes])
            if len(reads) and len(writes)
            else (writes if len(writes) else reads),
            np.arange(len(reads) + len(writes)) >= len(reads),
            ops=max(1, len(reads) + len(writes)),
            op_time=0.0,
            sleep_until=float(self._second),
        )


class _Asked:
    """A workload written in Python as the core asks it."""

    def __init__(self, process: Workload, name: str) -> None:
        self._process = process
        self._name = name

    def __call__(self, now_ns: int) -> Packed:
        """Its next batch, checked."""
        try:
            return packed(self._process.batch(now_ns / 1e9), self._name)
        except BaseException as error:  # SystemExit as well: it is not the host's
            error.add_note(f"in workload {self._name}, {now_ns / 1e9:g} s after it began")
            raise

    def copied(self, memo: dict[int, Any]) -> _Asked:
        """Another one, of a copy of the workload."""
        process: Any = self._process
        if isinstance(process, _Paced):
            return _Asked(process.of(_copied(process.workload, memo)), self._name)
        return _Asked(_copied(process, memo), self._name)


def _copied(workload: Any, memo: dict[int, Any]) -> Any:
    """A copy of a workload by its own method `fork`, or else a deep one; one for all its users."""
    fork = getattr(workload, "fork", None)
    if callable(fork) and id(workload) not in memo:
        other = memo[id(workload)] = fork()
        if not isinstance(other, type(workload)):
            raise ArgumentTypeError(
                f"fork() gave {type(other).__name__}; expected {type(workload).__name__}"
            )
    return copy.deepcopy(workload, memo)


def copying(memo: dict[int, Any]) -> Callable[[str, Any], Any]:
    """What makes copies of workloads as the core asks them, for a fork of their simulation.

    `memo` is that of `copy.deepcopy`: objects that are not to be copied, and what is to stand for
    them.
    """

    def copied(vm: str, asked: _Asked) -> _Asked:
        try:
            return asked.copied(memo)
        except Exception as error:
            raise WorkloadError(
                f"VM {vm!r}: workload {asked._name} cannot be copied for a fork: {error};"
                " a method fork() that returns another one would do"
            ) from error

    return copied


def core_workload(
    workload: object, what: str
) -> _core.Workload | tuple[str, Callable[[int], Packed]]:
    """A workload as the core asks it.

    Raises
    ------
    ArgumentTypeError
        If it is none.
    """
    if isinstance(workload, Program):
        return workload.core()
    if type(workload) is Activity:
        return _activity(workload)
    if isinstance(workload, type):
        name = workload.__name__
        raise ArgumentTypeError(f"{what}: the class {name}; expected an instance, such as {name}()")
    if isinstance(workload, Workload):
        process: Workload = workload
    elif isinstance(workload, PacedWorkload):
        process = _Paced(workload)
    else:
        raise ArgumentTypeError(
            f"{what}: {type(workload).__name__} has no method batch(now) or accesses(second)"
        )
    name = type(workload).__name__
    return name, _Asked(process, name)


def _activity(activity: Activity) -> _core.Workload:
    """A replay of activity, done by the core."""
    record = activity.record
    if record not in _records:
        read, write = (np.ascontiguousarray(bits).ravel() for bits in (record.read, record.write))
        _records[record] = _core.ActivityRecord(record.pages, read, write)
    given = (
        ("record", _records[record]),
        ("start", activity.start_s),
        ("offset", activity.offset_s),
        ("repeat", activity.repeat),
    )
    return _core.Workload("activity", list(given))
