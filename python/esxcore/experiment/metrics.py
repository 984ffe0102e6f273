"""Metrics: what one run was worth, in numbers that runs under different policies have in common.

`METRICS` lists them with unit, meaning and which way is better; each is a pure function of a
`Recording`, `worst_slowdown` of two. Of what samples show only now and then (balloons, the free
state) a metric knows what the samples saw; counters are exact. What a run cannot tell, such as the
latency of operations where there are none, is NaN.

Neighbours: `esxcore.experiment.measure` lives through runs and asks here.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from esxcore.decisions import STATES
from esxcore.policy import min_funding_targets
from esxcore.recording import Recording

_PAGES_PER_MIB = 256
_SHORT = tuple(STATES.index(state) for state in ("hard", "low"))


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that says something about a whole run.

    Attributes
    ----------
    name : str
        What it is called in results.
    unit : str
        ``"1/s"``, ``"ms"``, ``"s"``, ``"MiB"``, ``"MiB/min"``, ``"fraction"`` or ``"ratio"``.
    better : {"more", "less"}
        Which way is better.
    meaning : str
        Its definition.
    by_vm : bool
        Whether each virtual machine has one of its own, too, called ``name:vm``.
    """

    name: str
    unit: str
    better: Literal["more", "less"]
    meaning: str
    by_vm: bool = False


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "ops_per_s",
            "1/s",
            "more",
            "operations of all virtual machines together, a second of the run; of one virtual"
            " machine, a second of the time in which it was powered on",
            by_vm=True,
        ),
        Metric(
            "op_p50_ms",
            "ms",
            "less",
            "time within which half of the operations of a virtual machine were through; that of"
            " the virtual machine for which it is longest",
            by_vm=True,
        ),
        Metric("op_p95_ms", "ms", "less", "the same for 95 % of the operations", by_vm=True),
        Metric("op_p99_ms", "ms", "less", "the same for 99 % of the operations", by_vm=True),
        Metric(
            "stall_s",
            "s",
            "less",
            "how long at least one process of a virtual machine stood for want of memory, the time"
            " in which the virtual machine was held included; summed over virtual machines",
            by_vm=True,
        ),
        Metric(
            "full_stall_s",
            "s",
            "less",
            "how long one process stood and none of the others ran; summed over virtual machines",
            by_vm=True,
        ),
        Metric(
            "fairness",
            "fraction",
            "more",
            "Jain's index of what virtual machines have for what their shares entitle them to"
            " (resident by the targets of min-funding revocation without the tax), averaged over"
            " time: 1 if all have the same part, 1/n if one has everything",
        ),
        Metric("swapped_mib", "MiB", "less", "memory that the host paged out"),
        Metric("guest_swapped_mib", "MiB", "less", "memory that guests paged out themselves"),
        Metric(
            "churn",
            "MiB/min",
            "less",
            "memory that changed hands: by how much balloons grew and shrank from sample to sample,"
            " and what the host paged out and in",
        ),
        Metric(
            "relief_s",
            "s",
            "less",
            "time to relief: the longest unbroken time for which free memory was hard or low",
        ),
        Metric(
            "worst_slowdown",
            "ratio",
            "less",
            "operations of a virtual machine on a host with room for all, by those here; that of"
            " the virtual machine for which it is largest",
        ),
    )
}
"""All metrics by name, in the order of tables."""


def metrics(recording: Recording, reference: Mapping[str, float]) -> dict[str, float]:
    """All metrics of a run by name, and those of single virtual machines as ``name:vm``.

    Parameters
    ----------
    recording : Recording
        The run.
    reference : mapping of str to float
        Operations a second of each virtual machine where there is room for all, as
        `vm_ops_per_s` has them.
    """
    found: dict[str, float] = {name: of(recording) for name, of in _OF_RUNS.items()}
    found["worst_slowdown"] = worst_slowdown(recording, reference)
    for name, of_vms in _OF_VMS.items():
        values = of_vms(recording).items()
        found |= {f"{name}:{vm}": value for vm, value in values if not math.isnan(value)}
    return {name: found[name] for name in (*METRICS, *(key for key in found if ":" in key))}


def ops_per_s(recording: Recording) -> float:
    """Operations of all together, a second of the run."""
    done = _last(recording, "ops")
    return float(np.nansum(done)) / float(recording.time_s[-1])


def vm_ops_per_s(recording: Recording) -> dict[str, float]:
    """Operations a second of each, while it was powered on; NaN if it never was."""
    done, seconds = _last(recording, "ops"), _on_s(recording)
    return _by_vm(recording, done / np.where(seconds > 0, seconds, np.nan))


def stall_s(recording: Recording) -> float:
    """How long some process stood, summed over virtual machines."""
    return float(np.nansum(_last(recording, "stall_some_s")))


def full_stall_s(recording: Recording) -> float:
    """How long all processes with work stood, summed over virtual machines."""
    return float(np.nansum(_last(recording, "stall_full_s")))


def fairness(recording: Recording) -> float:
    """Jain's index of resident by entitlement, averaged over time; NaN without a policy."""
    if "target_pages" not in recording.vms:
        return math.nan
    settings = tomllib.loads(recording.scenario).get("reclaim", {})
    at = range(1, len(recording.time_s))
    index = np.array([_jain(_parts(recording, sample, settings)) for sample in at])
    known = ~np.isnan(index)
    spans = np.diff(recording.time_s)[known]
    return float((index[known] * spans).sum() / spans.sum()) if known.any() else math.nan


def swapped_mib(recording: Recording) -> float:
    """What the host paged out."""
    return _of_host(recording, "page_outs") / _PAGES_PER_MIB


def guest_swapped_mib(recording: Recording) -> float:
    """What guests paged out."""
    return float(np.nansum(_last(recording, "guest_swap_outs"))) / _PAGES_PER_MIB


def churn(recording: Recording) -> float:
    """Memory that changed hands, MiB a minute."""
    moved = _of_host(recording, "page_outs") + _of_host(recording, "page_ins")
    if "balloon_pages" in recording.vms:
        balloons = recording.vms["balloon_pages"].astype(np.float64)
        balloons[balloons < 0] = np.nan
        moved += float(np.nansum(np.abs(np.diff(balloons, axis=0))))
    return moved / _PAGES_PER_MIB / (float(recording.time_s[-1]) / 60)


def relief_s(recording: Recording) -> float:
    """The longest unbroken time for which free memory was hard or low."""
    if "free_state" not in recording.host:
        return 0.0
    longest = running = 0.0
    states = recording.host["free_state"][1:].tolist()
    for state, span in zip(states, np.diff(recording.time_s).tolist(), strict=True):
        running = running + span if state in _SHORT else 0.0
        longest = max(longest, running)
    return longest


def worst_slowdown(recording: Recording, reference: Mapping[str, float]) -> float:
    """By what factor the virtual machine that suffers most is slower than with room for all.

    Infinite if one gets nothing done that would have; NaN if nobody has anything to do.
    """
    here, factors = vm_ops_per_s(recording), []
    for vm, alone in reference.items():
        if alone > 0:
            factors.append(alone / here[vm] if here[vm] > 0 else math.inf)
    return max(factors, default=math.nan)


def _latency(permille: int) -> Callable[[Recording], dict[str, float]]:
    """The time within which so many of each virtual machine's operations were through, in ms."""

    def of_vms(recording: Recording) -> dict[str, float]:
        times = _last(recording, f"run_p{permille}_ns")
        return _by_vm(recording, times / 1e6)

    return of_vms


def _worst(of_vms: Callable[[Recording], dict[str, float]]) -> Callable[[Recording], float]:
    def worst(recording: Recording) -> float:
        known = (value for value in of_vms(recording).values() if not math.isnan(value))
        return max(known, default=math.nan)

    return worst


def _stalls(name: str) -> Callable[[Recording], dict[str, float]]:
    return lambda recording: _by_vm(recording, _last(recording, name))


_OF_VMS: Mapping[str, Callable[[Recording], dict[str, float]]] = {
    "ops_per_s": vm_ops_per_s,
    "op_p50_ms": _latency(50),
    "op_p95_ms": _latency(95),
    "op_p99_ms": _latency(99),
    "stall_s": _stalls("stall_some_s"),
    "full_stall_s": _stalls("stall_full_s"),
}
_OF_RUNS: Mapping[str, Callable[[Recording], float]] = {
    "ops_per_s": ops_per_s,
    **{name: _worst(_OF_VMS[name]) for name in ("op_p50_ms", "op_p95_ms", "op_p99_ms")},
    "stall_s": stall_s,
    "full_stall_s": full_stall_s,
    "fairness": fairness,
    "swapped_mib": swapped_mib,
    "guest_swapped_mib": guest_swapped_mib,
    "churn": churn,
    "relief_s": relief_s,
}


def _last(recording: Recording, name: str) -> NDArray[np.float64]:
    """A column of counters at the last sample at which each virtual machine was on, else NaN."""
    last = np.full(len(recording.vm_names), np.nan)
    for row in recording.vms.get(name, np.empty((0, len(last)))):
        last = np.where(row >= 0, row, last)
    return last


def _on_s(recording: Recording) -> NDArray[np.float64]:
    """Seconds for which samples saw each virtual machine powered on."""
    on = recording.vms["max_pages"] >= 0
    spans = np.where(on[1:] & on[:-1], np.diff(recording.time_s)[:, None], 0.0)
    seconds: NDArray[np.float64] = spans.sum(axis=0)
    return seconds


def _by_vm(recording: Recording, column: NDArray[np.float64]) -> dict[str, float]:
    return dict(zip(recording.vm_names, column.tolist(), strict=True))


def _of_host(recording: Recording, name: str) -> float:
    """A counter of the host at the end; 0 if there is none of that name."""
    column = recording.host.get(name)
    return 0.0 if column is None else float(column[-1])


def _parts(
    recording: Recording, sample: int, settings: Mapping[str, Any]
) -> NDArray[np.float64] | None:
    """What each virtual machine has for what it is entitled to, at a sample; None if none is on."""
    on = recording.is_on(sample)
    if not on.any():
        return None
    row = {name: column[sample][on] for name, column in recording.vms.items()}
    resident = row["allocated_pages"]
    entitled = min_funding_targets(
        shares=row["shares"],
        min_pages=row["min_pages"],
        max_pages=row["max_pages"],
        active_pages=np.zeros_like(resident),
        available_pages=max(_available(recording, sample, settings), int(row["min_pages"].sum())),
        tax_rate=0,
    )
    has_some = entitled > 0
    parts: NDArray[np.float64] = resident[has_some] / entitled[has_some]
    return parts if len(parts) else None


def _available(recording: Recording, sample: int, settings: Mapping[str, Any]) -> int:
    """Pages that there are for all, as `HostView.available_pages` has them."""
    host = {name: int(column[sample]) for name, column in recording.host.items()}
    machine = host["machine_pages"]
    is_whole = settings.get("shared_charge", "full") == "full"
    used = host["used_pages"] - host["overhead_pages"]
    charged = host["allocated_pages"] if is_whole else used
    high: int = round(settings.get("thresholds", (0.06,))[0] * 1e6)
    return charged + host["free_pages"] + (high * machine // -1_000_000)


def _jain(parts: NDArray[np.float64] | None) -> float:
    """Jain's fairness index: 1 if all are equal; NaN if there is nothing to compare."""
    if parts is None or not parts.any():
        return math.nan
    return float(parts.sum() ** 2 / (len(parts) * (parts**2).sum()))
