"""What virtual machines got done, as a recording tells it.

Neighbours: `esxcore.Recording` is made of this part, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class WorkRow(NamedTuple):
    """What one virtual machine got done in a run, as far as samples saw it powered on.

    Attributes
    ----------
    operations : int
        Operations of its processes that are through. What one is, is up to the workload; all that
        an activity record does in a second is one.
    ops_per_s : float
        The same a second of the time in which it was powered on.
    stall_fraction, full_stall_fraction : float
        The part of that time in which at least one process stood for want of memory, and in which
        one stood and none of the others ran.
    held_s : int
        Seconds in which the whole virtual machine stood, because no memory was free or it was
        blocked.
    """

    name: str
    operations: int
    ops_per_s: float
    stall_fraction: float
    full_stall_fraction: float
    held_s: int


class RecordedWork:
    """The part of `esxcore.Recording` that is about work."""

    time_s: NDArray[np.float64]
    vms: Mapping[str, NDArray[Any]]
    vm_names: Sequence[str]

    def work(self) -> tuple[WorkRow, ...]:
        """What each virtual machine got done, one row for each that had something to do."""
        if "ops" not in self.vms:
            return ()
        rows = (self._work_row(place) for place in range(len(self.vm_names)))
        return tuple(row for row in rows if row.operations or row.stall_fraction or row.held_s)

    def ops_per_s(self, position: int) -> NDArray[np.float64]:
        """Operations a second of a virtual machine since the sample before.

        Parameters
        ----------
        position : int
            Which one, from 0 in the order of `vm_names`.

        Returns
        -------
        float64, shape (samples,)
            NaN at the first sample, and where it was powered off at either.
        """
        done = self.vms["ops"][:, position].astype(np.float64)
        done[done < 0] = np.nan
        return np.concatenate([[np.nan], np.diff(done) / np.diff(self.time_s)])

    def _work_row(self, position: int) -> WorkRow:
        on = np.flatnonzero(self.vms["ops"][:, position] >= 0)
        if not len(on):
            return WorkRow(self.vm_names[position], 0, 0.0, 0.0, 0.0, 0)
        vm = {name: column[on[-1], position] for name, column in self.vms.items()}
        seconds = float(self.time_s[on[-1]] - self.time_s[on[0]]) or np.inf
        return WorkRow(
            self.vm_names[position],
            int(vm["ops"]),
            float(vm["ops"] / seconds),
            float(vm["stall_some_s"] / seconds),
            float(vm["stall_full_s"] / seconds),
            int(vm["stalled_s"]),
        )
