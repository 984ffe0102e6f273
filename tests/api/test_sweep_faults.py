"""Sweeps that lose what they run on: workers and drivers killed in the middle, on every engine.

One study, its rows compared to the bit with those of a run that nothing happened to. Workers die by
a policy that kills the process it runs in, once; drivers are killed from outside when some rows are
done. `SIGKILL` leaves nobody time to say anything.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import esxcore
import sweeps
from esxcore import EngineError, SweepResult, sweep
from esxcore.study.files import read_study
from esxcore.study.ledger import Ledger
from sweeps import rows_in, same_rows, wait_for_rows

pytestmark = [
    pytest.mark.slow,
    # What Dask says of itself when a cluster goes, and of workers that were killed on purpose.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    # What joblib says when a worker was killed.
    pytest.mark.filterwarnings("ignore:A worker stopped while some jobs:UserWarning"),
]

STUDY = """
scenario = "lab.toml"
policies = [{{ name = "harm:Deadly", marker = "{marker}", pause = {pause} }}, "esx2002"]
seeds = 3

[grid]
"policy.tax_rate" = [0, 0.5, 0.75]
"""
RUNS = 18


def study(folder: Path, pause: float = 0.0) -> Path:
    """The study as a file; its policy kills whoever runs it first with a tax rate of 0.5."""
    (folder / "lab.toml").write_text(sweeps.LAB)
    (folder / "harm.py").write_text(sweeps.HARM)
    path = folder / "study.toml"
    path.write_text(STUDY.format(marker=folder / "marker", pause=pause))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The study, ready to kill."""
    return study(tmp_path)


@pytest.fixture
def undisturbed(path: Path) -> SweepResult:
    """What comes of it when nobody is killed: run by run, in this process."""
    marker = path.with_name("marker")
    marker.touch()
    result = swept(path, jobs=1)
    marker.unlink()
    return result


def swept(path: Path, **settings: Any) -> SweepResult:
    loaded = read_study(path)
    policies = {choice.label: dict(choice.scenario.policy) for choice in loaded.policies}
    policies = {
        label: table | choice.scenario.policy.parameters
        for (label, table), choice in zip(policies.items(), loaded.policies, strict=True)
    }
    return sweep(loaded.scenario, loaded.grid, policies=policies, seeds=loaded.seeds, **settings)


@contextmanager
def dask_cluster() -> Iterator[Any]:
    """Two workers of Dask, each a process with one thread."""
    import distributed

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cluster = distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, processes=True
        )
        try:
            with cluster, distributed.Client(cluster) as client:
                yield client
        finally:
            cluster.close()


def was_killed(path: Path) -> bool:
    return path.with_name("marker").exists()


# -- workers ---------------------------------------------------------------------------------------


def test_loky_goes_on_when_a_worker_is_killed(path: Path, undisturbed: SweepResult) -> None:
    ledger = path.with_name("ledger.sqlite")
    same_rows(swept(path, jobs=2, ledger=ledger), undisturbed)
    assert was_killed(path)
    assert rows_in(ledger) == RUNS
    # And a study that is done is only read.
    same_rows(swept(path, jobs=2, ledger=ledger, resume=True), undisturbed)


def test_dask_goes_on_when_a_worker_is_killed(path: Path, undisturbed: SweepResult) -> None:
    with dask_cluster() as client:
        before = set(client.scheduler_info()["workers"])
        assert len(before) == 2
        same_rows(swept(path, client=client), undisturbed)
        assert was_killed(path)
        # Once more, whole, and from the shell by its address.
        out = path.with_name("out")
        done = esxcore_sweep(path, out, "--engine", "dask", "--scheduler", client.scheduler.address)
        _, err = done.communicate(timeout=100)
        assert done.returncode == 0, err
    same_rows(of_ledger(path, out), undisturbed)


def test_a_run_that_kills_every_worker_ends_the_sweep(tmp_path: Path) -> None:
    path = study(tmp_path)
    always = sweeps.HARM.replace('pathlib.Path(self.marker).open("x").close()', "pass")
    (tmp_path / "harm.py").write_text(always)
    ledger = tmp_path / "ledger.sqlite"
    with dask_cluster() as client, pytest.raises(EngineError, match="lost its worker 4 times"):
        swept(path, client=client, ledger=ledger)
    with pytest.raises(EngineError, match="workers died 4 times without a row in between"):
        swept(path, jobs=2, ledger=ledger, resume=True)


def test_an_executor_that_breaks_can_be_resumed_on_another(
    path: Path, undisturbed: SweepResult
) -> None:
    ledger = path.with_name("ledger.sqlite")
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(2, mp_context=context) as pool,
        pytest.raises(EngineError, match="the executor gave up"),
    ):
        swept(path, client=pool, ledger=ledger)
    assert was_killed(path)
    assert 0 < rows_in(ledger) < RUNS
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        same_rows(swept(path, client=pool, ledger=ledger, resume=True), undisturbed)


def test_a_worker_of_dask_of_another_version_is_refused_by_name(path: Path) -> None:
    ledger = path.with_name("ledger.sqlite")
    version = esxcore.__version__
    with dask_cluster() as client:
        one, other = sorted(client.scheduler_info()["workers"])
        client.run(eval, f"setattr({CORE}, '__version__', '0.0.1')", workers=[one])
        with pytest.raises(EngineError, match=f"worker {one} has esxcore 0.0.1, .* {version};"):
            swept(path, client=client, ledger=ledger)
        client.run(exec, "import sys; sys.modules['esxcore._core'] = None", workers=[other])
        with pytest.raises(EngineError, match=rf"worker {one} \(and 1 more\) has"):
            swept(path, client=client, ledger=ledger)
        client.run(eval, f"setattr({CORE}, '__version__', '{version}')", workers=[one])
        with pytest.raises(EngineError, match=rf"worker {other} has no esxcore"):
            swept(path, client=client, ledger=ledger)
    assert rows_in(ledger) == 0
    assert not was_killed(path)


CORE = "__import__('esxcore._core', fromlist=['_core'])"


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_ray_goes_on_when_a_worker_is_killed(path: Path, undisturbed: SweepResult) -> None:
    same_rows(swept(path, engine="ray", jobs=2), undisturbed)
    assert was_killed(path)


def test_objects_are_the_same_on_every_engine() -> None:
    policies = [sweeps.Remembering(), "equal"]
    here = sweep(sweeps.lab(), {}, policies=policies, seeds=2, jobs=1)
    same_rows(sweep(sweeps.lab(), {}, policies=policies, seeds=2, jobs=2), here)
    with dask_cluster() as client:
        same_rows(sweep(sweeps.lab(), {}, policies=policies, seeds=2, client=client), here)


# -- drivers ---------------------------------------------------------------------------------------


def esxcore_sweep(path: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "esxcore", "sweep", str(path), "--out", str(out), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def of_ledger(path: Path, out: Path) -> SweepResult:
    """What a ledger has; opening it again computes nothing."""
    from esxcore.study.results import result_of

    loaded = read_study(path)
    with Ledger(out / "sweep.sqlite", loaded.provenance(), resume=True) as ledger:
        return result_of(loaded, ledger)


@pytest.mark.parametrize(
    "engine",
    [["--jobs", "1"], ["--jobs", "2"], ["--engine", "dask", "--jobs", "2"]],
    ids=["here", "loky", "dask"],
)
def test_a_study_is_resumed_when_the_driver_was_killed(tmp_path: Path, engine: list[str]) -> None:
    path, out = study(tmp_path, pause=0.02), tmp_path / "out"
    (tmp_path / "marker").touch()
    undisturbed = swept(path, jobs=1)
    ledger = out / "sweep.sqlite"
    done = 0
    for more in (3, 6):  # killed twice
        with esxcore_sweep(path, out, *engine, *(["--resume"] if done else [])) as process:
            wait_for_rows(ledger, done + more, process)
            os.kill(process.pid, signal.SIGKILL)
            process.wait(60)
            no_one_is_left(process.pid)
            process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert done + more <= rows_in(ledger) < RUNS
        done = rows_in(ledger)
    with esxcore_sweep(path, out, *engine, "--resume") as process:
        _, err = process.communicate(timeout=110)
    assert process.returncode == 0, err
    same_rows(of_ledger(path, out), undisturbed)


def no_one_is_left(group: int) -> None:
    """Workers of a driver that is gone end by themselves."""
    begin = time.monotonic()
    while time.monotonic() - begin < 20:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.killpg(group, signal.SIGKILL)
    raise AssertionError("workers live on without their driver")
