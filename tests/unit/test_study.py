"""Studies: the grid, keys, what is refused before anything runs, resuming, and what comes of it."""

from __future__ import annotations

import copy
import pickle
import sys
import threading
import types
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import esxcore
import sweeps
from esxcore import Scenario, SweepInterrupted, SweepResult, sweep
from esxcore.clusters import check_workers
from esxcore.errors import (
    ArgumentTypeError,
    ConfigError,
    DataError,
    EngineError,
    MissingLibraryError,
    ScenarioError,
    SweepError,
)
from esxcore.study.driver import drive
from esxcore.study.engines import engine_of
from esxcore.study.engines.worker import Outcome, execute, here
from esxcore.study.grid import Study, study_of
from esxcore.study.ledger import Ledger
from sweeps import Counting, same_rows

HERE = engine_of("loky", None, None, 1)
GRID = {"policy.tax_rate": [0, 0.5], "vms.busy.max": ["56MiB", "64MiB"]}


class ByActivity:
    """A policy that can be imported, as this module can."""

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight
        self.asked = 0

    def targets(self, view: esxcore.HostView) -> Any:
        self.asked += 1  # each run has a copy, or the numbers would depend on their order
        return view.apportion(view.active_pages + self.weight + self.asked)


def counted(study: Study, ledger: Ledger, task: Counting | None = None) -> SweepResult:
    return drive(study, HERE, ledger, task=task or Counting())


# -- the grid --------------------------------------------------------------------------------------


def test_rows_come_in_the_order_of_the_grid() -> None:
    study = study_of(sweeps.lab(), GRID, ["esx2002", "proportional"], 3)
    assert study.size == len(study.jobs) == 2 * 2 * 2 * 3
    assert study.described() == (
        "24 runs: 2 of policy.tax_rate x 2 of vms.busy.max x 2 policies x 3 seeds"
    )
    first, *_, last = study.jobs
    assert first.label == 'policy.tax_rate = 0, vms.busy.max = "56MiB", policy esx2002, seed 0'
    assert (
        last.label == 'policy.tax_rate = 0.5, vms.busy.max = "64MiB", policy proportional, seed 2'
    )
    assert last.what.vms[1].max == "64MiB"
    assert [job.seed for job in study.jobs] == [0, 1, 2] * 8


def test_a_parameter_goes_to_the_policies_that_take_it() -> None:
    """And what it is not given to is run once for all of its values."""
    study = study_of(sweeps.lab(), {"policy.tax_rate": [0, 0.25, 0.5]}, ["esx2002", "equal"])
    taken = [job.what.policy.parameters for job in study.jobs]
    assert taken == [{"tax_rate": 0}, {}, {"tax_rate": 0.25}, {}, {"tax_rate": 0.5}, {}]
    assert len({job.key for job in study.jobs}) == 4
    task = Counting()
    with Ledger(None, study.provenance()) as ledger:
        result = counted(study, ledger, task)
    assert len(task.asked) == 4
    assert len(result) == 6
    assert result["ops_per_s"].tolist() == [0, 0, 0.25, 0, 0.5, 0]
    with pytest.raises(ConfigError, match=r"policy.tax_rate: none of the policies takes it"):
        study_of(sweeps.lab(), {"policy.tax_rate": [0]}, ["equal", "proportional"]).jobs  # noqa: B018


def test_seeds_are_the_scenario_s_and_the_next_or_those_given() -> None:
    scenario = sweeps.lab().changed({"host.seed": 7})
    assert study_of(scenario, {}, None, 3).seeds == (7, 8, 9)
    assert study_of(scenario, {}, None, [2**100, 5]).seeds == (2**100, 5)
    assert study_of(scenario, {}, None, 1).size == 1


def test_values_may_be_numpy_s() -> None:
    study = study_of(sweeps.lab(), {"policy.tax_rate": np.array([0, 0.5])})
    assert study.grid == {"policy.tax_rate": (0.0, 0.5)}
    assert study_of(sweeps.lab(), {"reclaim.swap_out_rate": range(1, 3)}).size == 2


KEYS: dict[str, Callable[[], Study]] = {
    "scenario": lambda: study_of(sweeps.lab().changed({"host.memory": "97MiB"}), GRID),
    "values": lambda: study_of(sweeps.lab(), GRID | {"policy.tax_rate": [0, 0.6]}),
    "order": lambda: study_of(sweeps.lab(), dict(reversed(GRID.items()))),
    "policy": lambda: study_of(sweeps.lab(), GRID, [{"name": "esx2002"}, "equal"]),
    "object": lambda: study_of(sweeps.lab(), {}, [ByActivity()]),
    "other object": lambda: study_of(sweeps.lab(), {}, [ByActivity(2.0)]),
    "seeds": lambda: study_of(sweeps.lab(), GRID, None, 2),
    "seed": lambda: study_of(sweeps.lab(), GRID, None, [1]),
}


def test_a_digest_tells_studies_apart_and_nothing_else() -> None:
    base = study_of(sweeps.lab(), GRID)
    assert base.digest == study_of(sweeps.lab(), GRID).digest
    digests = {name: make().digest for name, make in KEYS.items()}
    assert len({base.digest, *digests.values()}) == 1 + len(KEYS)
    for name, make in KEYS.items():
        assert make().digest == digests[name]


def test_a_key_knows_the_code_of_a_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def digest() -> str:
        monkeypatch.delitem(sys.modules, "harm", raising=False)
        return study_of(sweeps.lab(tmp_path), {}, ["harm:Slow"]).digest

    before = digest()
    assert digest() == before
    monkeypatch.setattr(sweeps, "HARM", sweeps.HARM.replace("* 100", "* 101"))
    assert digest() != before


def test_a_key_knows_what_was_typed_into_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no file has the text: the same class typed in again is the same, another is not."""
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)

    def digest(lines_before: int, plus: int) -> str:
        text = "\n" * lines_before + (
            "class Typed:\n"
            "    def targets(self, view):\n"
            f"        return view.apportion([pages + {plus} for pages in view.active_pages])\n"
        )
        exec(compile(text, f"<cell {lines_before}>", "exec"), vars(main))
        return study_of(sweeps.lab(), {}, [main.Typed()]).digest

    assert digest(0, 1) == digest(3, 1) != digest(0, 2)


# -- bad input -------------------------------------------------------------------------------------


def local() -> Any:
    class Local:
        def targets(self, view: esxcore.HostView) -> Any:
            return view.apportion(view.active_pages + 1)

    return Local()


def with_lambda() -> ByActivity:
    policy = ByActivity()
    policy.weight = lambda: 1  # type: ignore[assignment]
    return policy


BAD: dict[str, tuple[type[Exception], str, dict[str, Any]]] = {
    "unknown field": (
        ScenarioError,
        "unknown key .*maximum.*did you mean",
        {"grid": {"vms.busy.maximum": [1]}},
    ),
    "unknown vm": (ScenarioError, 'did you mean "busy"', {"grid": {"vms.bussy.max": ["1MiB"]}}),
    "bad value": (ScenarioError, r"vms\[1\].max .*is 3", {"grid": {"vms.busy.max": [3]}}),
    "bad parameter": (ScenarioError, "tax_rate", {"grid": {"policy.tax_rate": [0.5, 1.5]}}),
    "text": (ConfigError, "expected a list of values", {"grid": {"vms.busy.max": "64MiB"}}),
    "number": (ConfigError, "expected a list of values", {"grid": {"policy.tax_rate": 0.5}}),
    "no values": (ConfigError, "has no values", {"grid": {"policy.tax_rate": []}}),
    "twice": (ConfigError, "0.5 is there twice", {"grid": {"policy.tax_rate": [0.5, 0.5]}}),
    "policy": (ConfigError, "varied by policies", {"grid": {"policy": ["equal"]}}),
    "seed": (ConfigError, "varied by seeds", {"grid": {"host.seed": [1, 2]}}),
    "no field": (ConfigError, "is no field", {"grid": {3: [1]}}),
    "no policies": (ConfigError, "policies", {"policies": []}),
    "one policy": (ArgumentTypeError, "expected a list of policies", {"policies": "equal"}),
    "unknown policy": (ConfigError, "did you mean", {"policies": ["esx2003"]}),
    "two policies": (ConfigError, "two are called", {"policies": ["equal", "equal"]}),
    "no seeds": (ConfigError, "seeds: 0", {"seeds": 0}),
    "empty seeds": (ConfigError, "seeds: none", {"seeds": []}),
    "seed twice": (ConfigError, "seeds: 3 is there twice", {"seeds": [3, 3]}),
    "negative seed": (ConfigError, "seeds: -1", {"seeds": [-1]}),
    "local class": (
        ConfigError,
        "policy Local: a Local cannot be pickled.*Can't pickle local.*module:Local",
        {"policies": [local()]},
    ),
    "lambda": (ConfigError, "a ByActivity cannot be pickled", {"policies": [with_lambda()]}),
    "engine": (
        ConfigError,
        "engine: 'spark'; expected one of loky, dask, ray",
        {"engine": "spark"},
    ),
    "jobs": (ConfigError, "jobs: 0", {"jobs": 0}),
    "scheduler": (ConfigError, "loky has none", {"scheduler": "tcp://x:1", "jobs": None}),
    "client": (ArgumentTypeError, "client: int", {"client": 5, "jobs": None}),
    "client and jobs": (ConfigError, "client: given beside", {"client": 5}),
    "no folder": (DataError, "cannot be opened", {"ledger": "/nowhere/ledger.sqlite"}),
    "explodes": (
        ConfigError,
        r"10,001 runs: 10,001 of reclaim.swap_out_rate x 1 policy x 1 seed; .*limit=None .--yes",
        {"grid": {"reclaim.swap_out_rate": range(1, 10_002)}},
    ),
    "no mapping": (
        ArgumentTypeError,
        r'grid: \["a"\]; expected a mapping of fields to lists of values',
        {"grid": ["a"]},
    ),
    "explodes before it is made": (
        ConfigError,
        f"{10**30:,} runs: .* limit of 10,000",
        {"grid": {"policy.tax_rate": range(0, 3 * 10**30, 3)}},
    ),
    "explodes and is confirmed": (
        ConfigError,
        "10,000,001 runs: .*; expected at most 10,000,000",
        {"grid": {"policy.tax_rate": range(10_000_001)}, "limit": None},
    ),
    "many seeds": (
        ConfigError,
        "9,000,000,000 seeds; that is above",
        {"seeds": range(9_000_000_000)},
    ),
    "limit": (ConfigError, "4 runs: .* limit of 3", {"grid": GRID, "limit": 3}),
}


@pytest.mark.parametrize(("error", "problem", "changes"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line_before_anything_runs(
    error: type[Exception],
    problem: str,
    changes: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("esxcore.study.drive", lambda *_: pytest.fail("it ran"))
    arguments: dict[str, Any] = {"grid": {}, "jobs": 1} | changes
    with pytest.raises(error, match=problem) as caught:
        sweep(sweeps.lab(), arguments.pop("grid"), **arguments)
    assert len(str(caught.value).splitlines()) == 1
    assert isinstance(caught.value, esxcore.EsxError)


def test_a_scenario_is_needed() -> None:
    with pytest.raises(ArgumentTypeError, match="scenario: dict; expected a Scenario"):
        sweep({}, {})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("column", "advice"),
    [
        ("ops_per_", "did you mean 'ops_per_s'"),
        ("zz", "expected one of policy.tax_rate, policy, seed"),
    ],
)
def test_a_column_that_is_not_there_is_told_the_nearest(
    small: SweepResult, column: str, advice: str
) -> None:
    with pytest.raises(ConfigError, match=f"column: '{column}'; {advice}"):
        small[column]
    with pytest.raises(ConfigError, match=f"column: '{column}'"):
        small.table()[column]


def test_a_closed_client_is_refused() -> None:
    class Closed:
        status = "closed"

    with pytest.raises(EngineError, match="client: it is closed; expected one that is connected"):
        check_workers(Closed())


def test_a_confirmed_study_has_no_limit() -> None:
    study = study_of(sweeps.lab(), GRID)
    from esxcore.study.grid import check_size

    check_size(study, None)
    check_size(study, 4)


@pytest.mark.parametrize(
    ("engine", "library", "extra"),
    [("loky", "joblib", "sweep"), ("dask", "distributed", "dask"), ("ray", "ray", "ray")],
)
def test_a_missing_library_is_named_with_its_extra(
    engine: str, library: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingLibraryError, match=rf"'{engine}'.*'esxcore\[{extra}\]'"):
        sweep(sweeps.lab(), {}, engine=engine)


# -- running and resuming --------------------------------------------------------------------------


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Where a ledger may be."""
    return tmp_path / "ledger.sqlite"


def test_a_study_is_resumed_where_ctrl_c_ended_it(ledger: Path) -> None:
    study = study_of(sweeps.lab(), GRID, None, 3)
    whole = whole_result(study)
    with pytest.raises(SweepInterrupted) as caught, Ledger(ledger, study.provenance()) as book:
        counted(study, book, Counting(fails_at=5))
    assert caught.value.ledger == ledger
    assert len(caught.value.result) == 5
    assert repr(caught.value.result) == (
        "<SweepResult of 5 rows, 7 missing: policy.tax_rate 2 x vms.busy.max 2 x policy 1 x seed 3>"
    )
    assert caught.value.result["stall_s"].tolist() == [0, 1, 2, 0, 1]
    again = pickle.loads(pickle.dumps(caught.value))
    assert (len(again.result), again.ledger) == (5, ledger)
    with pytest.raises(DataError, match="has 5 rows of this study"):
        Ledger(ledger, study.provenance())
    task = Counting()
    with Ledger(ledger, study.provenance(), resume=True) as book:
        same_rows(counted(study, book, task), whole)
    assert task.asked == list(study.jobs[5:])


def test_a_row_that_was_written_as_ctrl_c_came_counts(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, add = study_of(sweeps.lab(), GRID, None, 3), Ledger.add

    def interrupted(book: Ledger, key: str, metrics: Any) -> None:
        before = dict(book._rows)
        add(book, key, metrics)
        if len(book) == 3:
            book._rows = before
            raise KeyboardInterrupt

    monkeypatch.setattr(Ledger, "add", interrupted)
    with pytest.raises(SweepInterrupted) as caught, Ledger(ledger, study.provenance()) as book:
        counted(study, book)
    assert len(caught.value.result) == sweeps.rows_in(ledger) == 3


def whole_result(study: Study) -> SweepResult:
    with Ledger(None, study.provenance()) as book:
        return counted(study, book)


def test_a_finished_study_computes_nothing(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not even start an engine."""
    arguments: dict[str, Any] = {"seeds": 2, "ledger": ledger, "resume": True}
    first = sweep(sweeps.lab(), {}, jobs=1, **arguments)
    monkeypatch.setattr("esxcore.experiment.measure.measure", lambda *_: pytest.fail("it ran"))
    for engine in ("loky", "dask"):
        same_rows(sweep(sweeps.lab(), {}, engine=engine, **arguments), first)
    told: list[tuple[int, int]] = []
    sweep(sweeps.lab(), {}, progress=lambda *at: told.append(at), **arguments)
    assert told == [(2, 2)]


def test_progress_begins_with_what_was_there(ledger: Path) -> None:
    told: list[tuple[int, int]] = []
    study = study_of(sweeps.lab(), {}, None, 3)
    with Ledger(ledger, study.provenance()) as book, pytest.raises(SweepInterrupted):
        drive(study, HERE, book, lambda *at: told.append(at), Counting(fails_at=1))
    with Ledger(ledger, study.provenance(), resume=True) as book:
        drive(study, HERE, book, lambda *at: told.append(at), Counting())
    assert told == [(0, 3), (1, 3), (1, 3), (2, 3), (3, 3)]


def test_a_run_that_fails_is_named_and_rows_are_kept(tmp_path: Path, ledger: Path) -> None:
    (tmp_path / "bad.py").write_text(
        "class Bad:\n"
        "    def __init__(self, worst=0):\n"
        "        self.worst = worst\n"
        "    def targets(self, view):\n"
        "        assert self.worst < 2, 'too bad'\n"
        "        return view.apportion(view.active_pages + 1)\n"
    )
    scenario = sweeps.lab(tmp_path)
    with pytest.raises(SweepError) as caught:
        sweep(scenario, {"policy.worst": [0, 2]}, policies=["bad:Bad"], jobs=1, ledger=ledger)
    told = str(caught.value)
    assert "policy.worst = 2, policy bad:Bad, seed 0: policy" in told
    assert "too bad" in told and "bad.py, line 5" in told
    assert told.endswith(f"(1 row are kept in {ledger})") or "1 row" in told
    assert len(told.splitlines()) == 1


def test_a_worker_of_another_version_is_refused() -> None:
    (job,) = study_of(sweeps.lab(), {}).jobs
    other = type(job)(job.key, job.label, job.what, job.seed, "9.9.9", job.driver)
    outcome = execute(other)
    assert outcome.metrics is None
    assert outcome.failure is not None
    assert f"{here()[0]} (process {here()[1]}) has esxcore" in outcome.failure
    assert "the driver 9.9.9" in outcome.failure


def test_objects_are_fresh_in_each_run() -> None:
    policy = ByActivity()
    rows = sweep(sweeps.lab(), {}, policies=[policy], seeds=[1, 2], jobs=1)
    assert policy.asked == 0
    same_rows(rows, sweep(sweeps.lab(), {}, policies=[ByActivity()], seeds=[1, 2], jobs=1))
    assert rows.policies == ("ByActivity",)
    (alone,) = sweep(sweeps.lab(), {}, policies=[ByActivity()], seeds=[2], jobs=1).rows
    assert rows.rows[1] == alone


@pytest.fixture(scope="module")
def small() -> SweepResult:
    """A study with real runs."""
    return sweep(sweeps.lab(), {"policy.tax_rate": [0, 0.9]}, policies=POLICIES, seeds=2, jobs=1)


POLICIES = ["esx2002", "equal"]


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_an_executor_gives_the_same_rows(
    small: SweepResult, kind: type[ThreadPoolExecutor | ProcessPoolExecutor]
) -> None:
    import multiprocessing

    context = {"mp_context": multiprocessing.get_context("spawn")}
    with kind(2, **(context if kind is ProcessPoolExecutor else {})) as pool:  # type: ignore[arg-type]
        rows = sweep(
            sweeps.lab(),
            {"policy.tax_rate": [0, 0.9]},
            policies=POLICIES,
            seeds=2,
            client=pool,
        )
    same_rows(rows, small)


class Reversed(ThreadPoolExecutor):
    """An executor that hands results out in the wrong order."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        waiting = self.__dict__.setdefault("waiting", [])
        waiting.append((future, fn, args))
        if len(waiting) == 6:  # the runs of `small`, of which two are equal

            def work() -> None:
                for one, of, given in reversed(waiting):
                    one.set_result(of(*given))

            threading.Thread(target=work).start()
        return future


def test_rows_do_not_depend_on_which_is_done_first(small: SweepResult) -> None:
    with Reversed(1) as pool:
        rows = sweep(
            sweeps.lab(), {"policy.tax_rate": [0, 0.9]}, policies=POLICIES, seeds=2, client=pool
        )
    same_rows(rows, small)


def test_an_executor_that_gives_up_is_one_line(ledger: Path) -> None:
    class Broken(ThreadPoolExecutor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            from concurrent.futures.process import BrokenProcessPool

            raise BrokenProcessPool("a process died")

    with (
        Broken(1) as pool,
        pytest.raises(EngineError, match="gave up: BrokenProcessPool: a process died"),
    ):
        sweep(sweeps.lab(), {}, client=pool, ledger=ledger)


def test_what_is_not_done_is_called_off() -> None:
    started = threading.Event()
    release = threading.Event()

    def task(job: Any) -> Outcome:
        started.set()
        release.wait(20)
        return Outcome(job.key, {"a": 1})

    study = study_of(sweeps.lab(), {}, None, 20)
    with ThreadPoolExecutor(1) as pool:
        outcomes = engine_of("loky", pool, None, None).outcomes(task, study.jobs)
        release.set()
        assert next(iter(outcomes)).metrics == {"a": 1}
        outcomes.close()  # type: ignore[attr-defined]
        assert started.is_set()


# -- what comes of it ------------------------------------------------------------------------------


def test_rows_are_what_measuring_gives(small: SweepResult) -> None:
    from esxcore.experiment.measure import measure

    numbers = measure(sweeps.lab().changed({"policy.tax_rate": 0.9}), 1)
    assert small.rows[5] == numbers
    assert small.fields == ("policy.tax_rate",)
    assert small.policies == ("esx2002", "equal")
    assert small.seeds == (0, 1)
    assert set(small.metrics) == set(numbers)
    assert len(small) == len(small.rows) == 8
    assert list(small["policy"]) == ["esx2002", "esx2002", "equal", "equal"] * 2
    assert list(small["policy.tax_rate"]) == [0.0] * 4 + [0.9] * 4


def test_results_open_in_other_libraries(small: SweepResult, tmp_path: Path) -> None:
    table = small.table()
    assert table.columns[:3] == ("policy.tax_rate", "policy", "seed")
    frame = small.to_pandas()
    assert frame.attrs["provenance"]["study"] == small.provenance["study"]
    assert frame["ops_per_s"].tolist() == small["ops_per_s"].tolist()
    assert small.to_polars()["stall_s"].to_list() == small["stall_s"].tolist()
    import polars

    assert polars.DataFrame(small).height == 8
    assert small.__arrow_c_schema__() is not None
    for ending in ("csv", "arrow", "parquet"):
        small.save(tmp_path / f"rows.{ending}")
        assert (tmp_path / f"rows.{ending}").stat().st_size > 0
    read = polars.read_parquet(tmp_path / "rows.parquet")
    assert read["ops_per_s"].to_list() == small["ops_per_s"].tolist()


def test_results_are_a_labelled_dataset(small: SweepResult) -> None:
    data = small.to_xarray()
    assert data["ops_per_s"].dims == ("policy.tax_rate", "policy", "seed")
    assert data["ops_per_s"].shape == (2, 2, 2)
    picked = data["ops_per_s"].sel({"policy.tax_rate": 0.9, "policy": "equal", "seed": 1})
    assert float(picked) == small["ops_per_s"][-1]
    assert data["ops_per_s"].attrs["units"] == "1/s"
    assert data["ops_per_s:busy"].attrs["long_name"]
    assert data.attrs["study"] == small.provenance["study"]


def test_results_of_an_interrupted_study_have_gaps(ledger: Path) -> None:
    study = study_of(sweeps.lab(), GRID, None, 2)
    with pytest.raises(SweepInterrupted) as caught, Ledger(ledger, study.provenance()) as book:
        counted(study, book, Counting(fails_at=3))
    data = caught.value.result.to_xarray()
    assert np.isnan(data["ops_per_s"].values).sum() == 5
    assert len(caught.value.result.to_pandas()) == 3
    mean, half = caught.value.result.estimates("ops_per_s", "vms.busy.max")["policy.tax_rate = 0"]
    assert np.isfinite(mean).all() and np.isfinite(half).tolist() == [True, False]


def test_results_say_what_they_are(small: SweepResult) -> None:
    assert repr(small) == "<SweepResult of 8 rows: policy.tax_rate 2 x policy 2 x seed 2>"
    html = small._repr_html_()
    assert html.startswith("<table>") and "script" not in html and "esx2002" in html
    assert small.provenance["grid"] == '"policy.tax_rate" = [0, 0.9]'
    assert small.provenance["seed"] == "0, 1"
    assert small.provenance["policies"] == "esx2002, equal"
    assert Scenario.from_mapping  # the scenario is there as text
    assert "[[vms]]" in small.provenance["scenario"]
    same_rows(pickle.loads(pickle.dumps(small)), small)
    same_rows(copy.deepcopy(small), small)


def test_metrics_of_a_machine_that_is_not_always_there_are_nan() -> None:
    axes = {"policy": ("equal",), "seed": (0, 1)}
    result = SweepResult(
        axes,
        ({"a": 1, "a:web": 2.5}, {"a": 2, "b": 0.5}),
        {"esxcore_version": "1", "seed": "0, 1"},
    )
    assert result.metrics == ("a", "b", "a:web")
    assert result["a"].dtype == np.int64
    np.testing.assert_array_equal(result["a:web"], [2.5, np.nan])
    np.testing.assert_array_equal(result["b"], [np.nan, 0.5])


def test_columns_have_the_type_of_their_values() -> None:
    axes: dict[str, tuple[Any, ...]] = {
        "b": (True, False),
        "i": (1,),
        "f": (1, 0.5),
        "t": ("64MiB",),
        "m": ([1, 2], "x"),
        "policy": ("equal",),
        "seed": (2**100,),
    }
    rows = tuple({"a": 1} for _ in range(8))
    table = SweepResult(axes, rows, {"esxcore_version": "1", "seed": ""}).table()
    kinds = {name: table[name].dtype.kind for name in axes}
    assert kinds == {"b": "b", "i": "i", "f": "f", "t": "U", "m": "U", "policy": "U", "seed": "U"}
    assert list(table["m"][:2]) == ["[1, 2]", "x"]
    assert table["seed"][0] == str(2**100)


# -- pictures --------------------------------------------------------------------------------------


def test_a_picture_has_a_line_for_each_policy(small: SweepResult) -> None:
    ax = small.plot("ops_per_s")
    assert [line.get_label() for line in ax.lines] == ["esx2002", "equal"]
    assert ax.get_xlabel() == "policy.tax_rate"
    assert ax.get_ylabel() == "ops_per_s (1/s)"
    means = small["ops_per_s"].reshape(2, 2, 2).mean(axis=2)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), means[:, 0])
    other = small.plot("stall_s:busy", x="policy", ax=ax.figure.add_subplot())
    assert [line.get_label() for line in other.lines] == [
        "policy.tax_rate = 0",
        "policy.tax_rate = 0.9",
    ]
    assert [text.get_text() for text in other.get_xticklabels()] == ["esx2002", "equal"]


def test_sizes_and_times_stand_on_a_scale() -> None:
    for values, label, places in (
        (("512MiB", "1GiB"), "x (MiB)", [512, 1024]),
        (("30s", "2min"), "x (s)", [30, 120]),
        (("low", "high"), "x", [0, 1]),
        ((True, False), "x", [0, 1]),
    ):
        axes = {"x": values, "policy": ("equal",), "seed": (0,)}
        rows = ({"stall_s": 1.0}, {"stall_s": 2.0})
        ax = SweepResult(axes, rows, {}).plot("stall_s")
        assert ax.get_xlabel() == label
        assert ax.lines[0].get_xdata().tolist() == places  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("metric", "x", "problem"),
    [
        ("ops", None, "metric: 'ops'; expected one of ops_per_s"),
        ("ops_per_s", "seed", "x: 'seed'; expected one of policy.tax_rate, policy"),
        ("ops_per_s", "tax", "x: 'tax'"),
    ],
)
def test_what_cannot_be_drawn(small: SweepResult, metric: str, x: str | None, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        small.plot(metric, x=x)


def test_more_lines_than_can_be_told_apart() -> None:
    axes = {"x": (1,), "y": tuple(range(40)), "policy": ("equal",), "seed": (0,)}
    result = SweepResult(axes, tuple({"a": 1} for _ in range(40)), {})
    with pytest.raises(ConfigError, match="40 lines are more than can be told apart"):
        result.plot("a")


@pytest.fixture(autouse=True)
def _no_new_threads() -> Iterator[None]:
    """Nothing is left running by a sweep in this process."""
    before = threading.active_count()
    yield
    assert threading.active_count() <= before + 1
