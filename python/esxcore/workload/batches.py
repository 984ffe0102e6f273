"""Batches of operations, and the seam through which processes of guests yield them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from esxcore.arguments import in_range, real_number
from esxcore.errors import ArgumentTypeError, PageRangeError, WorkloadError
from esxcore.workload.records import Accesses

_MAX_FILES = 2**28
_LONGEST_S = 2.0**33
_NEXT, _ENDS = -1, -2
_Number = TypeVar("_Number", bound=np.generic)

Packed: TypeAlias = tuple[
    NDArray[np.uint32] | NDArray[np.int64],
    bool | NDArray[np.uint8],
    NDArray[np.int64] | None,
    int,
    NDArray[np.uint32] | None,
    int,
    int,
]
"""Pages; which are written, or whether all are; files of blocks, -1 for memory; references of an
operation, or where each ends; nanoseconds of an operation; when to ask again."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Operations of a process, in order.

    Parameters
    ----------
    pages : integer array of shape (references,)
        Pages of anonymous memory that are referred to, 0 being the guest's first; or blocks (4 KiB)
        of files where `files` says so. In a guest that manages no memory of its own
        (``guest="default"``) page n is "physical" page n.
    writes : bool or bool array of shape (references,)
        Which references are stores.
    files : integer array of shape (references,), optional
        File of each block, from 0 to 2**28 - 1; -1 for a page of memory.
    ops : int or integer array
        References that make an operation; or, for each operation, the place in the batch before
        which it ends, ascending.
    op_time : float
        Processor time of an operation in seconds, besides what its references cost. With none at
        all an operation of one reference takes nanoseconds, and a process asks for batches so often
        that a virtual second takes long.
    sleep_until : float, optional
        The process's own time in seconds at which it asks for its next batch; at once if it is past
        or not given.

    Examples
    --------
    >>> Batch([0, 1, 2, 3], writes=True, ops=2).operations
    2
    """

    pages: ArrayLike
    writes: ArrayLike = False
    files: ArrayLike | None = None
    ops: ArrayLike = 1
    op_time: float = 1e-5
    sleep_until: float | None = None

    @property
    def operations(self) -> int:
        """Operations that the batch ends."""
        references = int(np.size(self.pages))
        each, ends = _operations(self.ops, references, "Batch")
        return -(-references // each) if ends is None else len(ends)


@runtime_checkable
class Workload(Protocol):
    """A process of a guest: a closed loop that is asked for its next operations.

    What it yields must not depend on when it is asked, but may depend on its own time, which
    stands still while its virtual machine is held up for want of memory.

    Examples
    --------
    >>> class Sweep:
    ...     '''Writes sixteen pages in turn, over and over; an operation is one round.'''
    ...     def batch(self, now):
    ...         return Batch(np.arange(16), writes=True, ops=16)
    >>> isinstance(Sweep(), Workload)
    True
    """

    def batch(self, now: float) -> Batch | None:
        """The next operations, `now` seconds after the process began; None ends it.

        A batch without references has to sleep, or time would stand still. The memory of a process
        that ends is its guest's again, but for what living processes of that guest have named too:
        their pages from the first to the last. A guest that manages nothing keeps all of it.
        """
        ...


@runtime_checkable
class PacedWorkload(Protocol):
    """A guest's accesses as a function of its own time, second by second.

    An operation is all that is done in a second. A guest that is held up, or needs longer, is asked
    for its next second when this one is through.

    Examples
    --------
    >>> class Sweep:
    ...     '''Writes one page after the other.'''
    ...     def accesses(self, second):
    ...         return Accesses(np.empty(0, np.int64), np.array([second]))
    >>> isinstance(Sweep(), PacedWorkload)
    True
    """

    def accesses(self, second: int) -> Accesses:
        """Pages read and written from `second` to `second` + 1 of the guest's time."""
        ...


def packed(batch: object, name: str) -> Packed:
    """A batch as the core takes it, every number checked."""
    if batch is None:
        return np.empty(0, np.uint32), False, None, 1, None, 0, _ENDS
    if not isinstance(batch, Batch):
        raise ArgumentTypeError(
            f"workload {name}: batch is {type(batch).__name__}; expected a Batch, or None to end"
        )
    pages, files = _pages(batch.pages, name), None
    writes = _flags(batch.writes, len(pages), name)
    if batch.files is not None:
        files = _plain(_whole(batch.files, name, "files", _MAX_FILES, least=-1))
        if len(files) != len(pages):
            raise WorkloadError(
                f"workload {name}: {len(files)} files for {len(pages)} pages; expected as many"
            )
    each, ends = _operations(batch.ops, len(pages), name)
    op_ns = _nanoseconds(batch.op_time, name, "op_time")
    then = _NEXT
    if batch.sleep_until is not None:
        then = _nanoseconds(batch.sleep_until, name, "sleep_until")
    return pages, writes, files, each, ends, op_ns, then


def _operations(ops: object, references: int, name: str) -> tuple[int, NDArray[np.uint32] | None]:
    if np.ndim(ops) == 0:  # type: ignore[arg-type]
        return in_range(ops, f"workload {name}: ops", 1, 2**32 - 1), None
    ends = _whole(ops, name, "ops", references + 1)
    if (np.diff(ends) < 0).any():
        raise WorkloadError(f"workload {name}: ops: places that descend; expected ascending ones")
    return 1, ends.astype(np.uint32)


def _pages(values: Any, name: str) -> NDArray[np.uint32] | NDArray[np.int64]:
    """Page numbers, as the core takes them."""
    if isinstance(values, np.ndarray) and values.dtype == np.uint32 and values.ndim == 1:
        return _plain(values)  # whatever they are
    return _plain(_whole(values, name, "pages", 2**32))


def _plain(array: NDArray[_Number]) -> NDArray[_Number]:
    """The numbers one after the other."""
    flags = array.flags
    return array if flags.c_contiguous and flags.aligned else array.copy()


def _whole(values: Any, name: str, what: str, bound: int, *, least: int = 0) -> NDArray[np.int64]:
    """Whole numbers from `least` to below `bound`, int64 of shape (numbers,)."""
    array = np.atleast_1d(np.asarray(values))
    if array.size == 0:
        return np.empty(0, np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ArgumentTypeError(
            f"workload {name}: {what}: {array.dtype} of shape {array.shape}; expected integers of"
            " shape (references,)"
        )
    low, high = int(array.min()), int(array.max())
    if low < least or high >= bound:
        value = low if low < least else high
        raise PageRangeError(f"workload {name}: {what}: {value}; expected {least} to {bound - 1}")
    return array.astype(np.int64, copy=False)


def _flags(writes: Any, references: int, name: str) -> bool | NDArray[np.uint8]:
    """Whether all references are writes, or a number for each that is not 0 if it is."""
    array = np.asarray(writes)
    if array.size == 0:
        array = array.astype(np.bool_)  # an empty list is of floats
    if array.dtype != np.bool_ or array.shape not in ((), (references,)):
        raise ArgumentTypeError(
            f"workload {name}: writes: {array.dtype} of shape {array.shape}; expected one bool, or"
            f" one for each of {references} pages"
        )
    return bool(array) if array.ndim == 0 else _plain(array).view(np.uint8)


def _nanoseconds(value: object, name: str, what: str) -> int:
    seconds = real_number(value, f"workload {name}: {what}")
    if not 0 <= seconds <= _LONGEST_S:  # nor is NaN
        raise WorkloadError(
            f"workload {name}: {what}: {value!r}; expected a number of seconds from 0 to 2**33"
        )
    return round(seconds * 1e9)
