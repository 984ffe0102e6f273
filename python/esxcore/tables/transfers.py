"""What devices transferred, and how much of it was copied, as a recording tells it.

Neighbours: `esxcore.Recording` is made of this part, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class IoRow(NamedTuple):
    """What devices of one virtual machine did in a run, as far as samples saw it powered on.

    Attributes
    ----------
    io_pages, io_copies : int
        Transfers, one page each, and those of them that went through a bounce buffer.
    io_remaps : int
        Pages moved to low memory.
    hot_pages : int
        Pages that were recently hot at the last sample.
    packets, dropped_packets : int
        What the network card transferred, and what it could not for want of time or memory.
    device_s : float
        Processor time that transfers took.
    """

    name: str
    io_pages: int
    io_copies: int
    io_remaps: int
    hot_pages: int
    packets: int
    dropped_packets: int
    device_s: float


class RecordedIo:
    """The part of `esxcore.Recording` that is about I/O."""

    time_s: NDArray[np.float64]
    vms: Mapping[str, NDArray[Any]]
    vm_names: Sequence[str]

    def io(self) -> tuple[IoRow, ...]:
        """What devices did, one row for each virtual machine with any transfer or lost packet."""
        if any(name not in self.vms for name in IoRow._fields[1:]):
            return ()
        rows = (self._io_row(place) for place in range(len(self.vm_names)))
        return tuple(row for row in rows if row.io_pages or row.dropped_packets)

    def io_per_s(self, position: int, column: str = "io_copies") -> NDArray[np.float64]:
        """Copies a second of a virtual machine since the sample before.

        Parameters
        ----------
        position : int
            Which one, from 0 in the order of `vm_names`.
        column : str
            Or transfers (``"io_pages"``), moves (``"io_remaps"``), ``"packets"`` and others that
            are counts of events.

        Returns
        -------
        float64, shape (samples,)
            NaN at the first sample, and where it was powered off at either.
        """
        done = self.vms[column][:, position].astype(np.float64)
        done[done < 0] = np.nan
        return np.concatenate([[np.nan], np.diff(done) / np.diff(self.time_s)])

    def _io_row(self, position: int) -> IoRow:
        on = np.flatnonzero(self.vms["io_pages"][:, position] >= 0)
        name = self.vm_names[position]
        if not len(on):
            return IoRow(name, 0, 0, 0, 0, 0, 0, 0.0)
        vm = {field: self.vms[field][on[-1], position] for field in IoRow._fields[1:]}
        return IoRow(
            name,
            int(vm["io_pages"]),
            int(vm["io_copies"]),
            int(vm["io_remaps"]),
            int(vm["hot_pages"]),
            int(vm["packets"]),
            int(vm["dropped_packets"]),
            float(vm["device_s"]),
        )
