"""Pages with known contents in the memory of this process; as a script, a process that has them.

Nothing but the mapping ever holds one of its pages in one piece, so a census finds each exactly as
often as it was planted.
"""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import sys

import numpy as np
from numpy.typing import NDArray

PAGE_SIZE = 4096
DISTINCT = 300
"""Contents that are planted, each in two pages."""
GIVEN_BACK = 40
"""Pages with other contents that are given back to the system."""
ZEROS = 150
"""Pages that zeros are written to."""
UNTOUCHED = 60


class Planted:
    """A mapping of its own, and where it is."""

    def __init__(self, label: str) -> None:
        kept, written = 2 * DISTINCT, 2 * DISTINCT + GIVEN_BACK
        pages = written + ZEROS + UNTOUCHED
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self.memory = mmap.mmap(-1, pages * PAGE_SIZE, flags=flags)
        # Pages are made present one by one, and the kernel joins no neighbour to the mapping.
        self.memory.madvise(mmap.MADV_NOHUGEPAGE)
        for page in range(written + ZEROS):
            number = page % DISTINCT if page < kept else page
            piece = _piece(label, number) if page < written else bytes(64)
            for start in range(page * PAGE_SIZE, (page + 1) * PAGE_SIZE, 64):
                self.memory[start : start + 64] = piece
        self.memory.madvise(mmap.MADV_DONTNEED, kept * PAGE_SIZE, GIVEN_BACK * PAGE_SIZE)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))


def planted(label: str) -> NDArray[np.uint8]:
    """The contents that are there, each once: shape (DISTINCT, 4096)."""
    return _pages(label, range(DISTINCT))


def given_back(label: str) -> NDArray[np.uint8]:
    """The contents that were there: shape (GIVEN_BACK, 4096)."""
    return _pages(label, range(2 * DISTINCT, 2 * DISTINCT + GIVEN_BACK))


def _pages(label: str, numbers: range) -> NDArray[np.uint8]:
    rows = [_piece(label, number) * 64 for number in numbers]
    return np.frombuffer(b"".join(rows), np.uint8).reshape(-1, PAGE_SIZE)


def _piece(label: str, number: int) -> bytes:
    return hashlib.blake2b(f"{label} {number}".encode()).digest()


if __name__ == "__main__":
    here = Planted(sys.argv[1])
    print(here.address, flush=True)
    for _ in sys.stdin:
        print("done", flush=True)
