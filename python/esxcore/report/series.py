"""What a recording has to draw: lines in MiB, rates and parts of time, made from its columns.

Columns that a recording may lack (operations, stalls) are looked for by name; where they are not,
their lines are not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from esxcore.report.words import PAGES_PER_MIB

if TYPE_CHECKING:
    from esxcore.recording import Recording

Line = NDArray[np.float64]

_LAYERS = {"resident": "allocated_pages", "balloon": "balloon_pages", "swapped": "swapped_pages"}
_LINES = {"target": "target_pages", "active": "active_pages", "shared": "shared_pages"}
# As the guest counts them; else as the workload was held up, if it ever was.
_STALLS = {"some": "stall_some_s", "full": "stall_full_s"}
_HELD_UP = {"full": "stalled_s"}
_IO = {
    "transfers": "io_pages",
    "copied": "io_copies",
    "moved": "io_remaps",
    "dropped": "dropped_packets",
}
_ALWAYS = ("transfers", "copied")  # where there are any transfers; that none is copied says much


class VmLines(NamedTuple):
    """What is drawn of one virtual machine, by name; NaN where it is off or nothing is known.

    Attributes
    ----------
    layers, lines : dict of str to array
        MiB at each sample; layers lie upon each other.
    work : dict of str to array
        ``ops``: operations a second since the sample before; ``p50`` and ``p99``: milliseconds
        that one took. Empty if the recording has no operations.
    stalls : dict of str to array
        Parts of the time since the sample before, 0 to 1, in which some or all work stood still.
    io : dict of str to array
        Pages a second that its devices transferred, that were copied and moved for them, and
        packets that were dropped. Empty without devices that ever did anything.
    """

    layers: dict[str, Line]
    lines: dict[str, Line]
    work: dict[str, Line]
    stalls: dict[str, Line]
    io: dict[str, Line]

    def groups(self) -> tuple[dict[str, Line], ...]:
        """Everything, part by part."""
        return self.layers, self.lines, self.work, self.stalls, self.io

    def all(self) -> list[Line]:
        """Every line, for thinning."""
        return [line for group in self.groups() for line in group.values()]


def vm_lines(recording: Recording, position: int) -> VmLines:
    """What there is to draw of one virtual machine."""
    columns = {name: column[:, position] for name, column in recording.vms.items()}
    on = columns["max_pages"] >= 0
    layers = {
        name: np.where(on, columns[column], 0) / PAGES_PER_MIB
        for name, column in _LAYERS.items()
        if column in columns
    }
    lines = {
        name: _known(columns[column]) / PAGES_PER_MIB
        for name, column in _LINES.items()
        if column in columns and (columns[column] >= 0).any()
    }
    work = {}
    if "ops" in columns:
        work["ops"] = rate(columns["ops"], recording.time_s)
        for name in ("p50", "p99"):
            if f"op_{name}_ns" in columns:
                work[name] = _known(columns[f"op_{name}_ns"]) / 1e6
    stalls, io = _stalls(columns, recording.time_s), _io(columns, recording.time_s)
    return VmLines(layers, lines, work, stalls, io)


def rate(counts: NDArray[np.generic], time_s: Line) -> Line:
    """How much a count grew a second since the sample before.

    A count that is lower than before has begun anew, with the virtual machine; one that is -1 or
    NaN is not counted: its machine is off.
    """
    known = _known(counts)
    before = np.append(np.nan, known[:-1])
    fresh = np.isnan(before) | (known < before)
    grown = np.where(fresh, known, known - before)
    grown[0] = np.nan
    spans = np.append(np.nan, np.diff(time_s))
    result: Line = grown / spans
    return result


def _stalls(columns: dict[str, NDArray[np.generic]], time_s: Line) -> dict[str, Line]:
    named = {name: columns[column] for name, column in _STALLS.items() if column in columns}
    if not named:
        held = {name: columns[column] for name, column in _HELD_UP.items() if column in columns}
        named = {name: column for name, column in held.items() if _known(column).any()}
    stalls = {name: np.clip(rate(column, time_s), 0, 1) for name, column in named.items()}
    return {name: line for name, line in stalls.items() if np.nansum(line) > 0}


def _io(columns: dict[str, NDArray[np.generic]], time_s: Line) -> dict[str, Line]:
    if any(column not in columns for column in _IO.values()):
        return {}
    lines = {name: rate(columns[column], time_s) for name, column in _IO.items()}
    some = {name for name, line in lines.items() if np.nansum(line) > 0}
    if not some & {"transfers", "dropped"}:
        return {}
    return {name: line for name, line in lines.items() if name in some or name in _ALWAYS}


def host_lines(recording: Recording) -> dict[str, Line]:
    """Lines of the host in MiB: free memory, what sharing reclaims and what contents allow."""
    lines = {
        "reclaimed": _known(recording.host["reclaimed_pages"]) / PAGES_PER_MIB,
        "possible": _known(recording.census["reclaimed_pages"]) / PAGES_PER_MIB,
    }
    if has_states(recording):
        lines["free"] = _known(recording.host["free_pages"]) / PAGES_PER_MIB
    return lines


def has_states(recording: Recording) -> bool:
    """Whether the host divided its memory, so that its free state says something."""
    host = recording.host
    return "free_state" in host and "free_pages" in host and bool((host["free_state"] >= 0).all())


def _known(column: NDArray[np.generic]) -> Line:
    """The column as floats, NaN where it has -1 for a machine that is off."""
    values = column.astype(np.float64)
    values[values < 0] = np.nan
    return values
