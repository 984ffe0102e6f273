"""A small recording with known numbers, for the tests that read, draw or store one."""

from __future__ import annotations

from typing import Any

import numpy as np

from esxcore.recording import Recording

MIB = 256  # pages


def small_recording(**changes: Any) -> Recording:
    """Three samples of two VMs: 8 of 10 MiB reclaimed after a minute, 5 of 6 MiB after two."""

    def column(*mib: float) -> np.ndarray[Any, Any]:
        return np.array([value * MIB for value in mib])

    def columns(left: Any, right: Any) -> np.ndarray[Any, Any]:
        return np.stack([left, right], axis=1)

    none = np.zeros(3)
    parts: dict[str, Any] = {
        "time_s": np.array([0.0, 60.0, 120.0]),
        "host": {
            "machine_pages": column(64, 64, 64).astype(np.int64),
            "allocated_pages": column(32, 32, 32).astype(np.int64),
            "used_pages": column(32, 24, 27).astype(np.int64),
            "shared_pages": column(0, 12, 9).astype(np.int64),
            "reclaimed_pages": column(0, 8, 5).astype(np.int64),
            "zero_pages": column(0, 2, 1).astype(np.int64),
            "cow_breaks": np.array([0, 0, 768]),
        },
        "census": {"reclaimed_pages": column(10, 10, 6).astype(np.int64)},
        "vms": {
            "max_pages": columns(column(16, 16, 16), column(16, 16, 16)),
            "allocated_pages": columns(column(16, 16, 16), column(16, 16, 16)),
            "shared_pages": columns(column(0, 6, 6), column(0, 6, 3)),
            "consumed": columns(column(16, 12, 12.5), column(16, 12, 14.5)),
            "reclaimed": columns(column(0, 4, 3.5), column(0, 4, 1.5)),
            "zero_pages": columns(column(0, 1, 1), column(0, 1, 0)),
            "cow_breaks": columns(none, np.array([0, 0, 768])),
            "stalled_s": columns(none, none),
        },
        "vm_names": ("web", "db"),
        "scenario": '[host]\nmemory = "64MiB"\n',
        "seed": 7,
        "version": "1.2.3",
    }
    return Recording(**(parts | changes))
