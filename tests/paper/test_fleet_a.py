"""Section 4 on real memory: one pass over five quiet Linux guests finds exactly what is there."""

from __future__ import annotations

import io
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import esxcore


@pytest.fixture(scope="module")
def fleet(fleet_truth: dict[str, Any]) -> dict[str, NDArray[np.uint32]]:
    """Content numbers of each guest's pages, from the trace that the package ships."""
    raw = (files("esxcore") / "data" / "fleet_a.npz").read_bytes()
    with np.load(io.BytesIO(raw), allow_pickle=False) as trace:
        ids, sizes = trace["id"], trace["vm_pages"]
    guests = np.split(ids, np.cumsum(sizes)[:-1])
    return dict(zip(fleet_truth["order"], guests, strict=True))


def power_up(fleet: dict[str, NDArray[np.uint32]], **options: Any) -> esxcore.Host:
    host = esxcore.Host(memory="1280MiB", content="tokens", seed=7, policy=None, **options)
    for name, ids in fleet.items():
        host.power_on(name, max="256MiB", contents=ids)
    return host


def test_one_pass_ends_at_the_truth(
    fleet: dict[str, NDArray[np.uint32]], fleet_truth: dict[str, Any]
) -> None:
    host, truth = power_up(fleet), fleet_truth["all"]
    assert host.stats()["free_pages"] == 0
    report = host.scan(truth["total"])
    stats = host.stats()
    assert host.vms()["scan_passes"].tolist() == [1] * 5
    assert stats["reclaimed_pages"] == truth["reclaimed"]
    assert stats["shared_pages"] == truth["shared"]
    assert stats["zero_pages"] == truth["zero"]
    assert stats["used_pages"] == truth["distinct"]
    assert (report.picked, report.merged) == (truth["total"], truth["reclaimed"])
    assert (stats["false_matches"], stats["stale_hints"]) == (0, 0)
    assert stats["hint_frames"] + stats["shared_frames"] == truth["distinct"]
    host.audit()


def test_the_census_knows_before_the_scan(
    fleet: dict[str, NDArray[np.uint32]], fleet_truth: dict[str, Any]
) -> None:
    host, truth = power_up(fleet), fleet_truth["all"]
    names = {"pages": "total", "zero_pages": "zero", "distinct_pages": "distinct"}
    names |= {"shared_pages": "shared", "reclaimed_pages": "reclaimed"}
    census = host.census()
    assert {key: census[key] for key in names} == {key: truth[n] for key, n in names.items()}


def test_own_salts_leave_what_each_guest_saves_alone(
    fleet: dict[str, NDArray[np.uint32]], fleet_truth: dict[str, Any]
) -> None:
    host, truth = power_up(fleet, salt="per-vm"), fleet_truth
    host.scan(truth["all"]["total"])
    columns = host.vms()
    assert host.stats()["reclaimed_pages"] == truth["all"]["intra"]
    assert host.stats()["zero_pages"] == truth["all"]["zero"]
    for i, name in enumerate(truth["order"]):
        alone = truth["per_vm"][name]
        assert int(columns["shared_pages"][i]) == alone["shared"], name
        assert round(float(columns["reclaimed"][i])) == alone["reclaimed"], name
        assert round(float(columns["consumed"][i])) == alone["distinct"], name
    assert host.census()["reclaimed_pages"] == truth["all"]["intra"]
    host.audit()


def test_the_vms_columns_add_up_to_the_host(
    fleet: dict[str, NDArray[np.uint32]], fleet_truth: dict[str, Any]
) -> None:
    host, truth = power_up(fleet), fleet_truth["all"]
    host.scan(truth["total"])
    columns = host.vms()
    assert int(np.sum(columns["shared_pages"])) == truth["shared"]
    assert int(np.sum(columns["zero_pages"])) == truth["zero"]
    # Sums of 1/count over 300 000 entries, so close and not equal.
    assert float(np.sum(columns["reclaimed"])) == pytest.approx(truth["reclaimed"], abs=1e-3)
    assert float(np.sum(columns["consumed"])) == pytest.approx(truth["distinct"], abs=1e-3)
