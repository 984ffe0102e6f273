"""Comparisons: ranked with intervals on paired seeds, the same on any number of threads."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from matplotlib.figure import Figure

import esxcore
from esxcore import METRICS, Comparison, PolicyRuns, Scenario, compare, measure

PNG, PDF = b"\x89PNG", b"%PDF"


class ByActivity:
    """Pages in proportion to what is active."""

    def targets(self, view: esxcore.HostView) -> Any:
        return view.apportion(view.active_pages + 1)


class Remembers:
    """A policy with a past: it would give other targets in a second run."""

    def __init__(self) -> None:
        self.asked = 0

    def targets(self, view: esxcore.HostView) -> Any:
        self.asked += 1
        return view.apportion(np.arange(1, len(view) + 1) * self.asked)


def lab(**keys: Any) -> Scenario:
    """Twenty seconds of two VMs that need more than there is, one of them more than the other."""
    made = Scenario(**({"memory": "30MiB", "swap": "64MiB", "duration": "20s", "seed": 7} | keys))
    for name, size in (("calm", "6MiB"), ("busy", "22MiB")):
        workload = esxcore.zipf(size, exponent=0.5, op_time="1ms")
        made.vm(name, max="24MiB", min="4MiB", overhead="1MiB", workload=workload)
    return made.changed({"sampling.period": "2s", "reclaim.balance_period": "2s"})


RIVALS = ["static", "esx2002", {"name": "esx2002", "tax_rate": 0.0}, ByActivity()]
LABELS = ("static", "esx2002", "esx2002 (tax_rate = 0.0)", "ByActivity")


@pytest.fixture(scope="module")
def runs() -> Comparison:
    return compare(lab(), RIVALS, seeds=3)


def test_every_policy_lives_through_the_same_seeds(runs: Comparison) -> None:
    assert (runs.policies, runs.seeds) == (LABELS, (7, 8, 9))
    assert list(runs) == list(LABELS)
    assert (len(runs), "static" in runs, "other" in runs) == (4, True, False)
    assert runs.values("ops_per_s").shape == (4, 3)
    assert runs.metrics == tuple(METRICS)
    assert set(runs.measured) > {"ops_per_s:busy", "op_p99_ms:calm", *METRICS}


def test_a_run_is_that_of_measure_and_the_first_has_the_scenarios_seed(runs: Comparison) -> None:
    for place, policy in enumerate(RIVALS):
        told = measure(lab().with_policy(policy), 7)
        assert {name: runs.values(name)[place, 0] for name in told} == told


@pytest.mark.parametrize("jobs", [1, 3])
def test_the_number_of_threads_changes_nothing(runs: Comparison, jobs: int) -> None:
    again = compare(lab(), RIVALS, seeds=3, jobs=jobs)
    for name in runs.measured:
        np.testing.assert_array_equal(again.values(name), runs.values(name))


def test_policies_are_ranked_by_throughput(runs: Comparison) -> None:
    means = [runs.estimate("ops_per_s", label).mean for label in runs.ranked]
    assert means == sorted(means, reverse=True)
    assert means[0] > means[-1]


def test_differences_are_those_of_paired_seeds(runs: Comparison) -> None:
    values = runs.values("ops_per_s")
    apart = runs.difference("ops_per_s", "ByActivity")
    assert apart.mean == pytest.approx((values[3] - values[0]).mean())
    assert runs.difference("ops_per_s", "ByActivity", "ByActivity") == (0.0, 0.0)
    to_static = runs.difference("ops_per_s", "static", "ByActivity")
    assert to_static.mean == pytest.approx(-apart.mean)


def test_who_remembers_starts_anew_in_every_run() -> None:
    policy = Remembers()
    runs = compare(lab(), {"first": policy, "second": policy}, seeds=2)
    for name in runs.measured:
        first, second = runs.values(name)
        np.testing.assert_array_equal(first, second)
    assert policy.asked == 0


def test_a_mapping_says_what_policies_are_called() -> None:
    named = {"plain": "static", "taxed": esxcore.MinFunding(0.5)}
    runs = compare(lab(), named, seeds=1)
    assert runs.policies == ("plain", "taxed")


def test_equal_names_are_told_apart_by_their_settings() -> None:
    runs = compare(lab(), [esxcore.MinFunding(0.5), esxcore.MinFunding(0.25)], seeds=1)
    assert runs.policies == ("esx2002 (tax_rate = 0.5)", "esx2002 (tax_rate = 0.25)")


def test_progress_is_told_after_each_run() -> None:
    told: list[tuple[int, int]] = []
    compare(lab(), ["static", "equal"], seeds=2, progress=lambda *now: told.append(now))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_the_scenario_may_grow_afterwards() -> None:
    growing = lab()
    runs = compare(growing, ["static"], seeds=1)
    growing.vm("late", max="4MiB", overhead="1MiB")
    assert runs.scenario == lab()
    assert runs["static"].recording().vm_names == ("calm", "busy")


# -- telling ---------------------------------------------------------------------------------------


def test_the_text_ranks_and_marks(runs: Comparison) -> None:
    text = repr(runs)
    lines = text.splitlines()
    assert lines[0].startswith("4 policies, 3 runs of 20 s each")
    table = lines[4:8]
    assert [next(name for name in LABELS[::-1] if row.startswith(name)) for row in table] == list(
        runs.ranked
    )
    assert "Difference to static by paired seeds" in text
    assert "ops/s ↑" in text and "stall s ↓" in text
    significant = runs.difference("ops_per_s", "ByActivity").is_significant
    row = next(line for line in lines[9:] if line.startswith("ByActivity"))
    assert ("*" in row.split("  ")[1:][0] or "*" in row) or not significant


def test_what_is_the_same_everywhere_is_said_once() -> None:
    roomy = compare(lab(memory="1GiB"), ["static", "equal"], seeds=2)
    assert "The same in all runs: " in repr(roomy)
    assert "swapped MiB 0" in repr(roomy)


def test_one_run_has_no_intervals() -> None:
    text = repr(compare(lab(), ["static"], seeds=1))
    assert text.startswith("1 policy, 1 run of 20 s each")
    assert "Difference" not in text
    assert not re.search(r"\d ± \d", text)


def test_the_html_has_the_same_cells_escaped_and_no_script() -> None:
    odd = compare(lab(), {"<script>alert(1)</script>": "static", "b & c": "equal"}, seeds=2)
    html = odd._repr_html_()
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "b &amp; c" in html
    assert html.count("<table>") == html.count("</table>") == 2


# -- handing on ------------------------------------------------------------------------------------


def test_the_table_has_a_row_for_each_run(runs: Comparison) -> None:
    table = runs.table()
    assert len(table) == 12
    assert table["policy"].tolist() == [label for label in LABELS for _ in range(3)]
    assert table["seed"].tolist() == [7, 8, 9] * 4
    assert table.units["ops_per_s"] == "1/s"
    assert table.units["op_p99_ms:busy"] == "ms"
    assert set(table.units) == set(table.columns)
    assert table.provenance["seeds"] == "7, 8, 9"
    assert table.provenance["seed"] == "7"
    np.testing.assert_array_equal(table["ops_per_s"].reshape(4, 3), runs.values("ops_per_s"))


def test_the_summary_has_a_row_for_each_policy_and_metric(runs: Comparison) -> None:
    frame = runs.summary().to_pandas()
    row = frame[(frame.policy == "ByActivity") & (frame.metric == "ops_per_s")].iloc[0]
    found, apart = (
        runs.estimate("ops_per_s", "ByActivity"),
        runs.difference("ops_per_s", "ByActivity"),
    )
    assert (row["mean"], row.low, row.high, row.unit) == (found.mean, found.low, found.high, "1/s")
    assert row.difference == apart.mean
    assert bool(row.is_significant) == apart.is_significant
    assert len(frame) == 4 * len(runs.measured)


def test_other_libraries_open_it(runs: Comparison, tmp_path: Path) -> None:
    frame = runs.to_pandas()
    assert frame.groupby("policy")["ops_per_s"].mean()["static"] == pytest.approx(
        runs.estimate("ops_per_s", "static").mean
    )
    assert pl.DataFrame(runs).equals(runs.to_polars())
    dataset = runs.to_xarray()
    assert dataset["ops_per_s"].dims == ("policy", "seed")
    assert dataset["vm_ops_per_s"].dims == ("policy", "seed", "vm")
    assert (
        float(dataset["vm_ops_per_s"].sel(policy="static", seed=8, vm="busy"))
        == (runs.values("ops_per_s:busy")[0, 1])
    )
    assert dataset["stall_s"].attrs == {"units": "s"}
    assert dataset.attrs["policies"] == ", ".join(LABELS)
    runs.save(tmp_path / "runs.parquet")
    assert pl.read_parquet(tmp_path / "runs.parquet").equals(runs.to_polars())


def test_seeds_larger_than_numbers_of_arrays_are_text() -> None:
    runs = compare(lab(seed=2**100), ["static"], seeds=2)
    assert runs.table()["seed"].tolist() == [str(2**100), str(2**100 + 1)]


def test_it_can_be_pickled_even_with_policies_that_cannot_be() -> None:
    class Local:
        def targets(self, view: esxcore.HostView) -> Any:
            return view.min_pages

    runs = compare(lab(), ["static", Local()], seeds=2)
    again = pickle.loads(pickle.dumps(runs))
    assert repr(again) == repr(runs)
    assert again["static"].recording() == runs["static"].recording()
    with pytest.raises(esxcore.ConfigError, match="'Local' could not be pickled"):
        again["Local"].recording()


# -- pictures --------------------------------------------------------------------------------------


def test_the_picture_has_a_panel_for_each_metric_that_differs(
    runs: Comparison, tmp_path: Path
) -> None:
    figure = runs.plot(tmp_path / "compare.png")
    assert isinstance(figure, Figure)
    assert (tmp_path / "compare.png").read_bytes().startswith(PNG)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles[0] == "throughput" and "stall time" in titles
    labels = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert labels == list(LABELS)
    centres = [container.lines[0].get_xdata()[0] for container in figure.axes[0].containers]
    assert centres == [runs.estimate("ops_per_s", label).mean for label in LABELS]


def test_one_metric_may_be_drawn_on_axes_of_ones_own(runs: Comparison, tmp_path: Path) -> None:
    figure = Figure()
    ax = figure.subplots()
    assert runs.plot(ax=ax, metric="stall_s:busy") is figure
    assert ax.get_title(loc="left") == "stall time of busy"
    runs.plot(tmp_path / "one.pdf", metric="fairness")
    assert (tmp_path / "one.pdf").read_bytes().startswith(PDF)


def test_pictures_of_other_kinds_are_refused(runs: Comparison, tmp_path: Path) -> None:
    with pytest.raises(esxcore.ConfigError, match=r"\.png, \.svg, \.pdf"):
        runs.plot(tmp_path / "compare.jpeg")
    assert list(tmp_path.iterdir()) == []


# -- one policy ------------------------------------------------------------------------------------


def test_runs_of_a_policy_can_be_lived_again(runs: Comparison) -> None:
    own = runs["ByActivity"]
    assert isinstance(own, PolicyRuns)
    assert repr(own).startswith("<PolicyRuns ByActivity: 3 runs, ")
    np.testing.assert_array_equal(own.values("churn"), runs.values("churn")[3])
    assert own.estimate("churn") == runs.estimate("churn", "ByActivity")
    recording = own.recording(1)
    assert recording.seed == 8
    assert recording == esxcore.run(lab().with_policy(ByActivity()), seed=8)


def test_why_is_explained_at_a_moment(runs: Comparison) -> None:
    told = runs["esx2002"].explain("calm", at="15s")
    assert told.facts["vm"] == "calm" if "vm" in told.facts else True
    assert str(told).startswith("calm at 15 s: target ")
    at_the_end = runs["esx2002"].explain("calm")
    assert str(at_the_end).startswith("calm at 20 s: target ")
    assert str(runs["esx2002"].explain("calm", at=15)) == str(told)
    other = runs["esx2002"].explain("calm", at=15, seed_index=2)
    assert other.facts["time_s"] == told.facts["time_s"] if "time_s" in told.facts else True
