"""What the processes of guests do: workloads, in virtual time.

`Workload` is the seam: anything with a method ``batch(now)`` can be a process of a guest. It is a
closed loop: asked for a batch of operations, it lives through them, paying for what they meet, and
is asked for the next, so that operations a second are a result. `PacedWorkload` is the simpler
form for what is known second by second; `Activity` is one, the replay of an `ActivityRecord`.
A `Program` is a workload that is built in; functions such as `zipf` and `toucher` make them.

Neighbours: `esxcore.simulation` starts workloads in virtual machines.
"""

from __future__ import annotations

from esxcore.workload.batches import Batch, PacedWorkload, Workload
from esxcore.workload.built_in import dbench, files, idle, phases, replay, scan, toucher, zipf
from esxcore.workload.processes import AnyWorkload, core_workload
from esxcore.workload.programs import KINDS, Program
from esxcore.workload.records import IDLE, Accesses, Activity, ActivityRecord

__all__ = [
    "IDLE",
    "KINDS",
    "Accesses",
    "Activity",
    "ActivityRecord",
    "AnyWorkload",
    "Batch",
    "PacedWorkload",
    "Program",
    "Workload",
    "core_workload",
    "dbench",
    "files",
    "idle",
    "phases",
    "replay",
    "scan",
    "toucher",
    "zipf",
]
