"""Activity records: which pages a real guest read and wrote in each second, and their replay."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from esxcore.datafile import open_arrays
from esxcore.errors import ConfigError, DataError


class Accesses(NamedTuple):
    """The pages a guest touches in one second, each page at most once in either column.

    Attributes
    ----------
    reads, writes : int64, shape (k,)
        PPNs read and PPNs written. All reads come before all writes.
    """

    reads: NDArray[np.int64]
    writes: NDArray[np.int64]


IDLE = Accesses(np.empty(0, np.int64), np.empty(0, np.int64))
"""A second in which nothing is touched."""


@dataclass(frozen=True, eq=False)
class ActivityRecord:
    """Which pages a real guest read and wrote in each second, as packed bitmaps.

    Parameters
    ----------
    read, write : uint8, shape (seconds, ceil(pages / 8))
        One row a second, one bit a page, the most significant bit first (as `numpy.packbits` packs
        by default).
    pages : int
        Pages of the guest.
    source : str
        Where the record came from; begins every error message.

    Raises
    ------
    DataError
        If types, shapes or values contradict this.

    Examples
    --------
    >>> bits = np.array([[0x80], [0x01]], np.uint8)
    >>> record = ActivityRecord(bits, bits >> 1, 8)
    >>> record.seconds, record.row(1)
    (2, Accesses(reads=array([7]), writes=array([], dtype=int64)))
    """

    read: NDArray[np.uint8]
    write: NDArray[np.uint8]
    pages: int
    source: str = "activity record"

    def __post_init__(self) -> None:
        if self.pages < 1:
            raise self._error("pages", f"is {self.pages}; expected 1 or more")
        for name, bitmap in (("read", self.read), ("write", self.write)):
            self._check_bitmap(name, bitmap)
        if self.write.shape != self.read.shape:
            raise self._error(
                "write", f"has {len(self.write)} seconds; expected {len(self.read)}, as in 'read'"
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Reads a record from an npz archive with arrays ``read``, ``write`` and ``pages``.

        Raises
        ------
        DataError
            If the file is missing or corrupt, or an array is missing, of a wrong type or
            contradicts another.
        """
        with open_arrays(path) as file:
            pages = int(file.take("pages", np.integer, 0))
            return cls(
                file.take("read", np.uint8, 2), file.take("write", np.uint8, 2), pages, str(path)
            )

    @property
    def seconds(self) -> int:
        """How long the record is."""
        return len(self.read)

    def row(self, second: int) -> Accesses:
        """Pages read and written in one second of the record; unpacks that second only."""
        return Accesses(self._unpack(self.read[second]), self._unpack(self.write[second]))

    def _unpack(self, bits: NDArray[np.uint8]) -> NDArray[np.int64]:
        return np.flatnonzero(np.unpackbits(bits, count=self.pages)).astype(np.int64, copy=False)

    def _check_bitmap(self, name: str, bitmap: NDArray[Any]) -> None:
        if bitmap.dtype != np.uint8 or bitmap.ndim != 2 or len(bitmap) == 0:
            raise self._error(
                name,
                f"is {bitmap.dtype} of shape {bitmap.shape}; expected uint8 with one row a second",
            )
        row_bytes = -(-self.pages // 8)
        if bitmap.shape[1] != row_bytes:
            raise self._error(
                name,
                f"has rows of {bitmap.shape[1]} bytes; expected {row_bytes} for {self.pages} pages",
            )
        if self.pages % 8 and (bitmap[:, -1] & (0xFF >> self.pages % 8)).any():
            raise self._error(name, f"names a page past the last of {self.pages}")

    def _error(self, name: str, problem: str) -> DataError:
        return DataError(f"{self.source}: array '{name}' {problem}")


@dataclass(frozen=True, eq=False)
class Activity:
    """Replays an activity record as a workload.

    Parameters
    ----------
    record : ActivityRecord
        What the guest did.
    start_s : int
        Second of the guest's time at which the replay begins; before it the guest is idle.
    offset_s : int
        Second of the record that is played first.
    repeat : bool
        Whether the record starts again from its first second when it is through; else the guest is
        idle then.

    Raises
    ------
    ConfigError
        If `start_s` is negative or `offset_s` is outside the record.

    Examples
    --------
    >>> record = ActivityRecord(np.array([[0x80], [0x01]], np.uint8), np.zeros((2, 1), np.uint8), 8)
    >>> activity = Activity(record, start_s=5, repeat=True)
    >>> [activity.accesses(second).reads.tolist() for second in (4, 5, 6, 7)]
    [[], [0], [7], [0]]
    """

    record: ActivityRecord
    start_s: int = 0
    offset_s: int = 0
    repeat: bool = False

    def __post_init__(self) -> None:
        if self.start_s < 0:
            raise ConfigError(f"start_s: {self.start_s} s; expected 0 or more")
        if not 0 <= self.offset_s < self.record.seconds:
            raise ConfigError(
                f"offset_s: {self.offset_s} s; expected 0 to {self.record.seconds - 1},"
                f" a second of {self.record.source}"
            )

    def accesses(self, second: int) -> Accesses:
        """Pages read and written from `second` to `second` + 1; see `PacedWorkload`."""
        row = second - self.start_s + self.offset_s
        if second < self.start_s or (row >= self.record.seconds and not self.repeat):
            return IDLE
        return self.record.row(row % self.record.seconds)
