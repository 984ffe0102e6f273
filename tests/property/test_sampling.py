"""Laws of sampling (section 5.3) on random histories of one guest."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import esxcore
from worlds import KINDS, small_host

# Of each period: how many pages are touched, twice, and seconds between the two.
PERIODS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 4)), min_size=1, max_size=12)


@given(
    periods=PERIODS,
    pages=st.sampled_from([1, 7, 60, 100]),
    slow=st.sampled_from([0.0, 0.5, 0.9]),
    part=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_the_estimate_is_the_maximum_of_three(
    periods: list[tuple[int, int]], pages: int, slow: float, part: float
) -> None:
    host = small_host(
        64, sample_pages=pages, sample_period="5s", sample_slow_keep=slow,
        sample_fast_keep=slow * part,
    )  # fmt: skip
    vm = host.power_on("vm", max="240KiB")
    for touched, wait in periods:
        for seconds in (wait, 5 - wait):
            report = vm.sampling()
            assert report.estimate == max(report.slow, report.fast, report.current)
            assert 0 <= report.interval_low <= report.interval_high <= 1
            assert 0 <= report.estimate <= 1
            assert report.touched <= report.sampled == min(pages, 60)
            vm.touch(np.arange(touched))
            assert vm.sampling().current >= report.current
            host.advance(seconds)
        report = vm.sampling()
        ends = report.interval_low, report.interval_high
        assert ends == pytest.approx(esxcore.wilson_interval(report.last_touched, report.sampled))
        if pages >= 60:
            assert report.last_touched == touched, "a guest sampled whole is known exactly"


@given(st.lists(st.integers(0, 59), max_size=40), st.integers(1, 40))
def test_where_batches_are_cut_changes_nothing(ppns: list[int], size: int) -> None:
    hosts = [small_host(64, sample_pages=20, sample_period="1s") for _ in range(2)]
    vms = [host.power_on("vm", max="240KiB") for host in hosts]
    vms[0].touch(np.array(ppns, np.int64))
    for start in range(0, len(ppns), size):
        vms[1].touch(np.array(ppns[start : start + size], np.int64))
    assert vms[0].sampling() == vms[1].sampling()
    hosts[0].advance(3)
    for _ in range(12):
        hosts[1].advance(0.25)
    assert hosts[0].state_digest() == hosts[1].state_digest()


@pytest.mark.parametrize("kind", KINDS)
def test_a_fork_samples_on_alike(kind: str) -> None:
    host = small_host(64, kind, sample_pages=9, sample_period="2s")
    host.power_on("vm", max="240KiB").touch(np.arange(30))
    host.advance(3)
    fork = host.fork()
    for each in (host, fork):
        each.touch("vm", np.arange(20, 50))
    host.advance(9)
    assert fork.sampling("vm") != host.sampling("vm")
    fork.advance(9)
    assert fork.sampling("vm") == host.sampling("vm")
    assert fork.state_digest() == host.state_digest()


def test_without_sampling_nothing_is_traced_or_known() -> None:
    host = small_host(64, sample_pages=0)
    vm = host.power_on("vm", max="240KiB")
    vm.touch(np.arange(30))
    host.advance(100)
    assert not vm.pmap()["traced"].any()
    assert host.vms()["active_pages"].tolist() == [-1]
    assert np.isnan(host.vms()["active_fraction"]).tolist() == [True]
    with pytest.raises(esxcore.ConfigError, match="sample_pages is 0; expected 1 or more"):
        vm.sampling()
    with pytest.raises(esxcore.UnknownVmError, match="other"):
        host.sampling("other")


def test_sampling_changes_nothing_else() -> None:
    """What is shared and counted does not depend on what is watched."""
    hosts = [small_host(200, sample_pages=pages, sample_period="1s") for pages in (0, 30)]
    for host in hosts:
        vms = [host.power_on(name, contents=np.arange(80) % 9) for name in ("one", "two")]
        for second in range(5):
            vms[second % 2].touch(np.arange(second, 80, 3), write=True)
            host.advance(1.5)
    assert hosts[0].stats() == hosts[1].stats()
    watched = ("active_pages", "active_fraction")
    columns = [{k: v for k, v in host.vms().items() if k not in watched} for host in hosts]
    assert {k: v.tolist() for k, v in columns[0].items()} == {
        k: v.tolist() for k, v in columns[1].items()
    }
