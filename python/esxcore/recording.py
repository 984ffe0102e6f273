"""Recordings: what a run observed, as columns over virtual time, and what repeats it.

A `Recording` holds one row a sample: the host's counters, each virtual machine's, and the census of
the resident contents, which says how much could be shared at that moment. It is a plain npz archive
on disk, written whole or not at all, so NumPy alone reads it too.

Neighbours: `esxcore.experiment` makes recordings; `esxcore.plot` draws them; the command prints
what they say of one moment; `esxcore.tables` hands them to other libraries.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from esxcore.datafile import ArrayFile, npz_bytes, open_arrays, write_whole
from esxcore.decisions import NO_DECISIONS, STATES, Decisions
from esxcore.errors import DataError
from esxcore.tables.recorded import RecordedTables
from esxcore.tables.transfers import RecordedIo
from esxcore.tables.work import RecordedWork

FORMAT = 1
"""Number of the file format, stored with each recording."""

_HOST = (
    "machine_pages",
    "allocated_pages",
    "used_pages",
    "shared_pages",
    "reclaimed_pages",
    "zero_pages",
)
_VM = (
    "max_pages",
    "allocated_pages",
    "shared_pages",
    "consumed",
    "reclaimed",
    "zero_pages",
    "cow_breaks",
)
_NEEDED = {"host": (*_HOST, "cow_breaks"), "census": ("reclaimed_pages",), "vm": _VM}

_COLUMNS = {"resident_pages": "allocated_pages"}
_DIVISION = ("target_pages", "balloon_pages", "swapped_pages")
Columns = Mapping[str, NDArray[Any]]


class SharingPeak(NamedTuple):
    """The moment at which sharing came nearest to what the resident contents allowed.

    Attributes
    ----------
    fraction : float
        Pages reclaimed by what the contents allowed, 0 to 1.
    time_s : float
        When, in virtual seconds; the first such sample.
    reclaimed_pages, possible_pages : int
        The two numbers behind the fraction.
    """

    fraction: float
    time_s: float
    reclaimed_pages: int
    possible_pages: int


class MemoryRow(NamedTuple):
    """Memory of one virtual machine, or of the host, at one moment.

    Attributes
    ----------
    size_pages : int
        The VM's max; the machine's memory for the host.
    resident_pages : int
        Pages that have a machine page, shared ones in full.
    shared_pages : int
        Resident pages whose machine page serves two pages or more.
    consumed_pages : float
        Machine pages used, each shared one divided evenly among those that use it; without what
        the server itself needs for virtual machines (their overhead).
    reclaimed_pages : float
        Resident less consumed: what sharing saves.
    zero_pages : int
        Shared pages that hold nothing but zeros.
    cow_breaks : int
        Private copies that writes to shared pages made.
    """

    name: str
    size_pages: int
    resident_pages: int
    shared_pages: int
    consumed_pages: float
    reclaimed_pages: float
    zero_pages: int
    cow_breaks: int


class DivisionRow(NamedTuple):
    """What one virtual machine, or all together, should have of the memory and has, at one moment.

    Attributes
    ----------
    max_pages, min_pages : int
        What it gets while there is enough, and what it gets in any case.
    shares : int
        Its entitlement relative to others.
    target_pages : int
        What it should have, by the policy.
    resident_pages : int
        Pages that have a machine page, shared ones in full.
    active_pages : int
        Pages in use by sampling; -1 if sampling is off.
    balloon_pages, swapped_pages : int
        Pages in its balloon, and in the server's swap file.
    """

    name: str
    max_pages: int
    min_pages: int
    shares: int
    target_pages: int
    resident_pages: int
    active_pages: int
    balloon_pages: int
    swapped_pages: int


@dataclass(frozen=True, eq=False)
class Recording(RecordedTables, RecordedWork, RecordedIo):
    """Everything a run observed.

    Parameters
    ----------
    time_s : float64, shape (samples,)
        Virtual seconds of each sample, rising from 0.
    host, census : mapping of name to array, shape (samples,)
        `Host.stats` and `Host.census` at each sample; whole pages and counts. Samples at which no
        census was taken have -1 in it.
    vms : mapping of name to array, shape (samples, VMs)
        The numeric columns of `Host.vms` at each sample, -1 or NaN while the VM is powered off; and
        ``stalled_s``, the seconds for which the VM's workload had stood still for want of memory,
        ``blocked_s`` of them because it was blocked.
    vm_names : sequence of str
        Names of the VMs in power-on order.
    scenario, seed, version
        The scenario as TOML, the seed that was used and the version of esxcore: enough to repeat
        the run.
    source : str
        Where the recording came from; begins error messages.
    decisions : Decisions
        The targets that the policy changed, and why.

    Raises
    ------
    DataError
        If a column is missing or of a wrong shape.
    """

    time_s: NDArray[np.float64]
    host: Columns
    census: Columns
    vms: Columns
    vm_names: Sequence[str]
    scenario: str
    seed: int
    version: str
    source: str = "recording"
    decisions: Decisions = NO_DECISIONS

    def __post_init__(self) -> None:
        samples = self.time_s.size
        if samples == 0 or self.time_s.ndim != 1:
            raise DataError(
                f"{self.source}: array 'time_s' is {self.time_s.shape}; expected (samples,)"
            )
        self._check("host", self.host, (samples,))
        self._check("census", self.census, (samples,))
        self._check("vm", self.vms, (samples, len(self.vm_names)))

    @property
    def sharing_fraction(self) -> NDArray[np.float64]:
        """Pages reclaimed by pages that could be, shape (samples,).

        NaN where none could, and where no census was taken.
        """
        possible = self.census["reclaimed_pages"].astype(np.float64)
        possible[possible <= 0] = np.nan
        return self.host["reclaimed_pages"] / possible

    @property
    def counted(self) -> NDArray[np.intp]:
        """The samples at which a census was taken, rising; none if it never was."""
        return np.flatnonzero(self.census["reclaimed_pages"] >= 0)

    def sharing_peak(self) -> SharingPeak | None:
        """When sharing came nearest to what the contents allow; None if they never did."""
        fraction = self.sharing_fraction
        if np.isnan(fraction).all():
            return None
        at = int(np.nanargmax(fraction))
        return SharingPeak(
            float(fraction[at]),
            float(self.time_s[at]),
            int(self.host["reclaimed_pages"][at]),
            int(self.census["reclaimed_pages"][at]),
        )

    @property
    def is_divided(self) -> bool:
        """Whether memory was ever short, so that it had to be divided.

        That is: a target was below its max, the free state was not high, or pages were in balloons
        or swapped out.
        """
        if "free_state" not in self.host or any(name not in self.vms for name in _DIVISION):
            return False
        short = self.vms["target_pages"] < self.vms["max_pages"]
        taken = (self.vms["balloon_pages"] > 0) | (self.vms["swapped_pages"] > 0)
        return bool(short.any() or taken.any() or (self.host["free_state"] > 0).any())

    def is_on(self, sample: int = -1) -> NDArray[np.bool_]:
        """Which virtual machines are powered on at one sample, shape (VMs,)."""
        on: NDArray[np.bool_] = self.vms["max_pages"][sample] >= 0
        return on

    def state_s(self) -> dict[str, float]:
        """Virtual seconds in each free state that occurred, as the samples saw it."""
        states = self.host["free_state"][1:]
        spans = np.diff(self.time_s)
        seconds = {name: float(spans[states == number].sum()) for number, name in enumerate(STATES)}
        return {name: total for name, total in seconds.items() if total}

    def division(self, sample: int = -1) -> tuple[DivisionRow, ...]:
        """Who should have what, one row a virtual machine and one for all, at one sample.

        Of a virtual machine that is powered off all numbers are 0. Empty if memory was never short
        (`is_divided`).
        """
        if not self.is_divided:
            return ()
        fields = DivisionRow._fields[1:]
        columns = {name: self.vms[_COLUMNS.get(name, name)][sample] for name in fields}
        on = self.is_on(sample)
        rows = [
            DivisionRow(name, *(int(columns[field][at]) if on[at] else 0 for field in fields))
            for at, name in enumerate(self.vm_names)
        ]
        sampled = bool((columns["active_pages"][on] >= 0).all())
        sums = {field: sum(getattr(row, field) for row in rows) for field in fields}
        sums["active_pages"] = sums["active_pages"] if sampled else -1
        return (*rows, DivisionRow("host", **sums))

    def memory(self, sample: int = -1) -> tuple[MemoryRow, ...]:
        """One row a virtual machine and one for the host, at one sample (the last by default).

        Of a virtual machine that is powered off all numbers are 0.
        """
        rows = [self._vm_row(position, sample) for position in range(len(self.vm_names))]
        host = {name: int(column[sample]) for name, column in self.host.items()}
        whole = MemoryRow(
            "host",
            host["machine_pages"],
            host["allocated_pages"],
            host["shared_pages"],
            float(host["used_pages"] - host.get("overhead_pages", 0)),
            float(host["reclaimed_pages"]),
            host["zero_pages"],
            host["cow_breaks"],
        )
        return (*rows, whole)

    def __eq__(self, other: object) -> bool:
        """Whether both observed the same, wherever they came from; NaN is equal to NaN."""
        if not isinstance(other, Recording):
            return NotImplemented
        mine, theirs = self._arrays(), other._arrays()
        return list(mine) == list(theirs) and all(
            column.dtype == theirs[name].dtype
            and np.array_equal(column, theirs[name], equal_nan=column.dtype.kind == "f")
            for name, column in mine.items()
        )

    __hash__ = None  # type: ignore[assignment]  # arrays can change

    def to_bytes(self) -> bytes:
        """The recording as the bytes of an npz archive; equal recordings give equal bytes."""
        return npz_bytes(self._arrays())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the recording as an npz archive, whole or not at all.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        write_whole({Path(path): self.to_bytes()})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Reads a recording that `save` wrote.

        Raises
        ------
        DataError
            If the file is missing, corrupt or no recording.
        """
        with open_arrays(path) as file:
            if int(file.take("format", np.integer, 0)) != FORMAT:
                raise file.error("format", f"is not {FORMAT}, the format this version reads")
            names = tuple(map(str, file.take("vm_names", np.str_, 1)))
            return cls(
                file.take("time_s", np.floating, 1),
                _columns(file, "host", 1),
                _columns(file, "census", 1),
                _columns(file, "vm", 2),
                names,
                str(file.take("scenario", np.str_, 0)),
                _seed(file),
                str(file.take("version", np.str_, 0)),
                str(path),
                Decisions.take(file, len(names)),
            )

    def _arrays(self) -> dict[str, Any]:
        """Arrays of the file by name; the seed is text, as it may be larger than an array holds."""
        groups = {"host": self.host, "census": self.census, "vm": self.vms}
        columns = {
            f"{group}.{name}": column
            for group, part in groups.items()
            for name, column in part.items()
        }
        return {
            "format": np.array(FORMAT),
            "version": np.array(self.version),
            "seed": np.array(str(self.seed)),
            "scenario": np.array(self.scenario),
            "vm_names": np.array(self.vm_names, np.str_),
            "time_s": self.time_s,
            **columns,
            **self.decisions.arrays(),
        }

    def _vm_row(self, position: int, sample: int) -> MemoryRow:
        if not self.is_on(sample)[position]:
            return MemoryRow(self.vm_names[position], 0, 0, 0, 0.0, 0.0, 0, 0)
        vm = {name: column[sample, position] for name, column in self.vms.items()}
        return MemoryRow(
            self.vm_names[position],
            int(vm["max_pages"]),
            int(vm["allocated_pages"]),
            int(vm["shared_pages"]),
            float(vm["consumed"]),
            float(vm["reclaimed"]),
            int(vm["zero_pages"]),
            int(vm["cow_breaks"]),
        )

    def _check(self, group: str, columns: Columns, shape: tuple[int, ...]) -> None:
        for name in _NEEDED[group]:
            if name not in columns:
                raise DataError(f"{self.source}: array '{group}.{name}' is missing")
        for name, column in columns.items():
            if column.shape != shape:
                raise DataError(
                    f"{self.source}: array '{group}.{name}' is {column.shape}; expected {shape}"
                )


def _columns(file: ArrayFile, group: str, ndim: int) -> dict[str, NDArray[Any]]:
    prefix = f"{group}."
    names = [name for name in file.names() if name.startswith(prefix)]
    return {name.removeprefix(prefix): file.take(name, np.number, ndim) for name in names}


def _seed(file: ArrayFile) -> int:
    text = str(file.take("seed", np.str_, 0))
    if not text.isdecimal():
        raise file.error("seed", f"is {text!r}; expected a whole number")
    return int(text)
