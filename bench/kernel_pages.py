"""What the running kernel does for a process: pages of 4 KiB that fault on the first write.

Both are made anew for each run and warmed by a run before, so that the kernel hands out pages it
has just got back. On a virtual machine, memory that its host has to provide first costs several
times as much and is none of the kernel's doing.
"""

from __future__ import annotations

import mmap
import os

import numpy as np
from numpy.typing import NDArray

SIZE = mmap.PAGESIZE


class KernelPages:
    """A private mapping of `pages` pages, one byte of each to be written.

    Parameters
    ----------
    pages : int
        How many.
    copied : bool
        Whether a page is mapped with its content and copied on the first write; otherwise it is not
        there and filled with zeros.
    """

    def __init__(self, pages: int, *, copied: bool) -> None:
        self._bytes = pages * SIZE
        self._file = os.memfd_create("pages") if copied else -1
        if copied:
            os.truncate(self._file, self._bytes)
            with mmap.mmap(self._file, self._bytes) as shared:
                shared.write(b"\xa5" * self._bytes)
        self._map: mmap.mmap | None = None
        self._heads: NDArray[np.uint8] | None = None

    def prepare(self) -> None:
        """A new mapping; pages with content are read once, so that only the write is left to do."""
        self.drop()
        flags = mmap.MAP_PRIVATE if self._file >= 0 else mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self._map = mmap.mmap(self._file, self._bytes, flags=flags)
        self._map.madvise(mmap.MADV_NOHUGEPAGE)
        self._heads = np.frombuffer(self._map, dtype=np.uint8)[::SIZE]
        if self._file >= 0:
            assert self._heads.all()

    def write(self) -> int:
        """Writes a byte of each page: a fault each."""
        assert self._heads is not None
        self._heads[:] = 1
        return self._heads.size

    def drop(self) -> None:
        """Unmaps the pages: the kernel frees those that were written."""
        self._heads = None
        if self._map is not None:
            self._map.close()
            self._map = None

    def close(self) -> None:
        """Gives everything back."""
        self.drop()
        if self._file >= 0:
            os.close(self._file)
