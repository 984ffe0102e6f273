"""A small recording with known numbers, for the tests that read, draw or store one."""

from __future__ import annotations

from typing import Any

import numpy as np

from esxcore.decisions import Decisions, Gathering
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
            "blocked_s": columns(none, none),
        },
        "vm_names": ("web", "db"),
        "scenario": '[host]\nmemory = "64MiB"\n',
        "seed": 7,
        "version": "1.2.3",
    }
    return Recording(**(parts | changes))


def divided_recording(**changes: Any) -> Recording:
    """The small recording on a host that was short of memory: soft at first, then high.

    "web" should have 10 of 16 MiB in the end and gave 4 to its balloon; "db" comes after a minute.
    """
    whole = small_recording()

    def columns(left: list[float], right: list[float]) -> np.ndarray[Any, Any]:
        pages = np.stack([left, right], axis=1)
        return np.where(pages < 0, -1, pages * MIB).astype(np.int64)

    vms = dict(whole.vms) | {
        "max_pages": columns([16, 16, 16], [-1, 16, 16]),
        "min_pages": columns([8, 8, 8], [-1, 4, 4]),
        "shares": np.array([[160, -1], [160, 100], [160, 100]]),
        "target_pages": columns([16, 12, 10], [-1, 16, 14]),
        "allocated_pages": columns([16, 12, 10], [-1, 8, 14]),
        "active_pages": columns([4, 4, 2], [-1, 8, 8]),
        "balloon_pages": columns([0, 3, 4], [-1, 0, 0]),
        "swapped_pages": columns([0, 1, 2], [-1, 0, 1]),
    }
    host = dict(whole.host) | {
        "free_pages": np.array([8, 2, 6]) * MIB,
        "free_state": np.array([0, 1, 0]),
        "overhead_pages": np.array([1, 2, 2]) * MIB,
    }
    return small_recording(**({"vms": vms, "host": host} | changes))


def some_decisions(policy: str = "esx2002") -> Decisions:
    """Three changed targets of the divided recording, of more that were made."""
    gathering = Gathering(("web", "db"), limit=3)
    row = {"allocated_pages": 16 * MIB, "active_pages": 4 * MIB, "bound": "none"}
    shared = {"policy": policy, "available_pages": 26 * MIB, "cheapest": "web"}

    def target(before: int | None, after: int, price: float, tax: int) -> dict[str, Any]:
        before = None if before is None else before * MIB
        told = {"before_pages": before, "target_pages": after * MIB, "price": price}
        return row | told | {"taxed_pages": tax * MIB}

    gathering.add(
        [
            shared | {"time_s": float(second), "cause": "Period", "free_state": "high"}
            | {"vms": {"web": target(second, second + 1, 0.1, 0)}}
            for second in range(3)
        ]
        + [
            shared | {"time_s": 60.0, "cause": "PowerOn", "free_state": "soft"}
            | {"vms": {"web": target(16, 12, 0.01, 2), "db": target(None, 16, 0.02, -2)}},
            shared | {"time_s": 105.0, "cause": "StateChanged", "free_state": "high"}
            | {"vms": {"web": target(12, 10, 0.01, 3) | {"bound": "min"}}},
        ]
    )  # fmt: skip
    return gathering.decisions()
