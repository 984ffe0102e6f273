"""Workloads as the core asks them, whatever they are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np

from esxcore import _core
from esxcore.errors import ArgumentTypeError
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
        self._workload = workload
        self._second = 0

    def batch(self, _now: float) -> Batch:
        """All accesses of the next second, reads before writes."""
        name = type(self._workload).__name__
        answer: Any = self._workload.accesses(self._second)
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

    def ask(now_ns: int) -> Packed:
        try:
            return packed(process.batch(now_ns / 1e9), name)
        except Exception as error:
            error.add_note(f"in workload {name}, {now_ns / 1e9:g} s after it began")
            raise

    return name, ask


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
