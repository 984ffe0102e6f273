"""What guests do in the three classroom scenarios that `esxcore compare --grade` lives through.

Neighbours: the scenarios (``data/classroom_*.toml``) name it; `esxcore.comparing.grading` grades.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from esxcore.config import parse_duration, parse_size_text
from esxcore.workload import Batch

_OP_REFS = 100
_OP_S = 1e-3
_SEED = 1991


class Worker:
    """Writes pages in turn, over and over; how many changes with time.

    Unlike `esxcore.toucher` it keeps the memory that it no longer needs, as most programs do, so
    that somebody has to take it away for others to have it.

    Parameters
    ----------
    sizes : sequence of (time, size)
        From which time on it works on how much memory, such as ``[["0s", "430MiB"]]``.
    refs_per_s : int
        Pages that it writes a second; 100 of them are an operation.
    """

    def __init__(self, sizes: Sequence[tuple[str, str]], refs_per_s: int) -> None:
        self._sizes = [
            (parse_duration(time, "sizes"), parse_size_text(size, "sizes")) for time, size in sizes
        ]
        self._refs_per_s = refs_per_s
        self._random = np.random.Generator(np.random.PCG64(_SEED))

    def batch(self, now: float) -> Batch:
        """A second's work; it takes longer where memory is missing."""
        pages = next(pages for since, pages in reversed(self._sizes) if since <= now)
        found = self._random.integers(pages, size=self._refs_per_s)
        due = np.floor(now) + 1.0
        return Batch(found, writes=True, ops=_OP_REFS, op_time=_OP_S, sleep_until=float(due))
