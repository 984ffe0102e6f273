"""Each metric on a small recording whose numbers are computed by hand here."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esxcore import METRICS, Metric, measure
from esxcore.experiment import metrics as found
from esxcore.experiment.measure import paired_seeds, reference_ops_per_s, watched
from esxcore.recording import Recording
from esxcore.scenario import Scenario
from esxcore.tables.units import unit_of
from recordings import MIB, small_recording


def hand_made(**changes: Any) -> Recording:
    """Two minutes of two VMs on 64 MiB, of which "db" is powered on after the first."""

    def columns(web: list[float], db: list[float]) -> np.ndarray[Any, Any]:
        return np.array([web, db]).T

    whole = small_recording()
    vms = dict(whole.vms) | {
        "max_pages": columns([16 * MIB] * 3, [-1, 16 * MIB, 16 * MIB]),
        "min_pages": columns([0, 0, 0], [-1, 0, 0]),
        "shares": columns([300, 300, 300], [-1, 100, 100]),
        "target_pages": columns([16 * MIB] * 3, [-1, 16 * MIB, 16 * MIB]),
        "allocated_pages": columns([2 * MIB, 6 * MIB, 6 * MIB], [-1, 2 * MIB, 1 * MIB]),
        "balloon_pages": columns([0, 3 * MIB, 1 * MIB], [-1, 4 * MIB, 4 * MIB]),
        "ops": columns([0, 600, 1200], [-1, 0, 240]),
        "run_p50_ns": columns([-1, 1e6, 2e6], [-1, -1, 5e6]),
        "run_p95_ns": columns([-1, 2e6, 3e6], [-1, -1, 6e6]),
        "run_p99_ns": columns([-1, 9e6, 8e6], [-1, -1, 7e6]),
        "stall_some_s": columns([0, 10, 15], [np.nan, 0, 2.5]),
        "stall_full_s": columns([0, 4, 5], [np.nan, 0, 0.5]),
        "guest_swap_outs": columns([0, 256, 512], [-1, 0, 128]),
    }
    host = dict(whole.host) | {
        "machine_pages": np.array([64 * MIB] * 3),
        "allocated_pages": np.array([2, 8, 7]) * MIB,
        "used_pages": np.array([3, 10, 9]) * MIB,
        "overhead_pages": np.array([1, 2, 2]) * MIB,
        "free_pages": np.array([20, 6, 7]) * MIB,
        "free_state": np.array([0, 2, 3]),
        "page_outs": np.array([0, 512, 1024]),
        "page_ins": np.array([0, 0, 256]),
    }
    scenario = "[reclaim]\nthresholds = [0.0625, 0.04, 0.02, 0.01]\n"
    return small_recording(**({"vms": vms, "host": host, "scenario": scenario} | changes))


def test_throughput_is_over_the_run_and_of_a_vm_over_its_time() -> None:
    assert found.ops_per_s(hand_made()) == (1200 + 240) / 120
    assert found.vm_ops_per_s(hand_made()) == {"web": 1200 / 120, "db": 240 / 60}


def test_latencies_are_those_of_the_slowest_vm() -> None:
    told = found.metrics(hand_made(), {})
    assert (told["op_p50_ms"], told["op_p95_ms"], told["op_p99_ms"]) == (5.0, 6.0, 8.0)
    assert (told["op_p99_ms:web"], told["op_p99_ms:db"]) == (8.0, 7.0)


def test_stalls_are_summed_over_vms() -> None:
    assert found.stall_s(hand_made()) == 15 + 2.5
    assert found.full_stall_s(hand_made()) == 5 + 0.5


def test_fairness_is_jains_index_of_what_vms_have_by_what_they_are_entitled_to() -> None:
    # After a minute there are 8 + 6 - 4 = 10 MiB for both, 7.5 and 2.5 by shares: they have 6 / 7.5
    # and 2 / 2.5, the same. After two there are 7 + 7 - 4 = 10 again: 6 / 7.5 and 1 / 2.5.
    unequal = (0.8 + 0.4) ** 2 / (2 * (0.8**2 + 0.4**2))
    assert found.fairness(hand_made()) == pytest.approx((1 + unequal) / 2, rel=1e-12)
    host = dict(hand_made().host)
    # What shared pages are charged in part is what virtual machines have of the machine: the same
    # here, as nothing is shared.
    scenario = '[reclaim]\nshared_charge = "fraction"\nthresholds = [0.0625, 0.04, 0.02, 0.01]\n'
    assert found.fairness(hand_made(host=host, scenario=scenario)) == found.fairness(hand_made())


def test_fairness_of_who_divides_nothing_is_unknown() -> None:
    assert math.isnan(found.fairness(small_recording()))


def test_paging_is_told_of_host_and_guests_apart() -> None:
    assert found.swapped_mib(hand_made()) == 1024 / 256
    assert found.guest_swapped_mib(hand_made()) == (512 + 128) / 256


def test_churn_is_balloons_and_paging_a_minute() -> None:
    # web's balloon 3 up and 2 down, db's 0 while it is on; 4 MiB out, 1 MiB in; two minutes.
    assert found.churn(hand_made()) == (3 + 2 + 4 + 1) / 2


def test_time_to_relief_is_the_longest_time_in_hard_and_low() -> None:
    assert found.relief_s(hand_made()) == 120
    relieved = dict(hand_made().host) | {"free_state": np.array([3, 2, 1])}
    assert found.relief_s(hand_made(host=relieved)) == 60
    assert found.relief_s(small_recording()) == 0


def test_the_worst_slowdown_is_that_of_the_vm_that_suffers_most() -> None:
    assert found.worst_slowdown(hand_made(), {"web": 15.0, "db": 16.0}) == 16 / 4
    assert found.worst_slowdown(hand_made(), {"web": 15.0, "db": math.nan}) == 15 / 10
    assert math.isnan(found.worst_slowdown(hand_made(), {"web": 0.0, "db": math.nan}))
    starved = dict(hand_made().vms) | {"ops": np.array([[0, -1], [0, 0], [0, 240]])}
    assert found.worst_slowdown(hand_made(vms=starved), {"web": 1.0, "db": 4.0}) == math.inf


def test_all_metrics_come_in_the_order_of_the_table() -> None:
    told = found.metrics(hand_made(), {"web": 10.0, "db": 4.0})
    assert [name for name in told if ":" not in name] == list(METRICS)
    of_vms = {name.partition(":")[0] for name in told if ":" in name}
    assert of_vms == {name for name, metric in METRICS.items() if metric.by_vm}
    assert told["worst_slowdown"] == 1.0


@pytest.mark.parametrize("metric", METRICS.values(), ids=str)
def test_each_metric_is_defined_in_the_docs_with_its_unit(
    metric: Metric, project_root: Path
) -> None:
    row = f"| `{metric.name}` | {metric.unit} | {metric.better} | {metric.meaning} |"
    assert row in (project_root / "docs" / "metrics.md").read_text().splitlines()
    assert unit_of(metric.name) == metric.unit
    assert unit_of(f"{metric.name}:web_ns") == metric.unit


def short_lab(**keys: Any) -> Scenario:
    """Twenty seconds of two VMs that need more than there is."""
    lab = Scenario(memory="36MiB", duration="20s", **keys)
    for name in ("one", "two"):
        workload = {"kind": "zipf", "memory": "20MiB", "exponent": 0.5, "op_time": "1ms"}
        lab.vm(name, max="24MiB", overhead="1MiB", guest="default", workload=workload)
    return lab


def test_a_run_measured_twice_is_the_same_and_another_seed_is_not() -> None:
    one, again, other = (measure(short_lab(), seed) for seed in (1, 1, 2))
    assert one == again
    assert other != one
    assert one["swapped_mib"] > 0
    assert one["churn"] > 0


def test_the_reference_has_room_for_all() -> None:
    calm = reference_ops_per_s(short_lab(), 1)
    told = measure(short_lab(), 1)
    slowest = max(calm[vm] / told[f"ops_per_s:{vm}"] for vm in calm)
    assert told["worst_slowdown"] == slowest >= 1
    roomy = short_lab().changed({"host.memory": "1GiB"})
    assert measure(roomy, 1)["worst_slowdown"] == pytest.approx(1.0, rel=0.02)


def test_the_reference_leaves_out_what_only_dividing_hosts_have() -> None:
    lab = short_lab(swap="64MiB", reclaim={"swap_out_rate": 100})
    lab.event("5s", vm="one", shares=10)
    lab.event("6s", tax_rate=0.5)
    lab = lab.changed({"vms.*.min": "1MiB", "vms.two.shares": "high"})
    assert reference_ops_per_s(lab, 3) == reference_ops_per_s(short_lab(), 3)


def test_samples_are_as_many_as_metrics_need() -> None:
    assert watched(short_lab()).run.sample == "1s"
    assert watched(short_lab().changed({"run.duration": "20min"})).run.sample == "10s"
    assert watched(short_lab().changed({"run.sample": "7s"})).run.sample == "7s"


def test_seeds_begin_with_the_scenarios_own_and_wrap() -> None:
    assert paired_seeds(short_lab(seed=5), 3) == (5, 6, 7)
    assert paired_seeds(short_lab(seed=2**128 - 1), 2) == (2**128 - 1, 0)
