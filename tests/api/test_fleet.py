"""The census of a fleet on a cluster of Dask equals the census on one machine."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import esxcore
from esxcore.contents import ContentTrace, page_bytes
from esxcore.datafile import packaged
from esxcore.fleet import shares

pytest.importorskip("distributed")

SALTS: list[Any] = ["none", "per-vm", ["a", "a", "b", "b", "c"]]
SECRET = b"of these tests"
ELSEWHERE = {"compression", "large_pages", "verify"}


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    from distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster, Client(cluster) as client:
        yield client


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A part of each guest of the packaged fleet, as raw files."""
    folder = tmp_path_factory.mktemp("fleet")
    trace = ContentTrace.load(packaged("fleet_a.npz"))
    paths = [folder / f"vm{vm}.raw" for vm in range(trace.vms)]
    for vm, path in enumerate(paths):
        path.write_bytes(page_bytes(trace.tokens(vm)[5000:9000]).tobytes())
    return [str(path) for path in paths]


def known(found: esxcore.Census) -> dict[str, Any]:
    return {name: value for name, value in found.to_dict().items() if name not in ELSEWHERE}


@pytest.mark.parametrize("salt", SALTS, ids=str)
def test_a_cluster_finds_what_one_machine_finds(client: Any, fleet: list[str], salt: Any) -> None:
    seen: list[tuple[int, int]] = []
    there = esxcore.fleet_census(
        fleet, client, salt=salt, progress=lambda done, total: seen.append((done, total))
    )
    assert known(there) == known(esxcore.census(fleet, salt=salt))
    assert seen == [(n, len(fleet)) for n in range(1, len(fleet) + 1)]
    assert there.verify == "keyed"
    assert there.compression is there.large_pages is None


def test_a_host_may_be_named(client: Any, fleet: list[str]) -> None:
    (host, *_) = {worker["host"] for worker in client.scheduler_info()["workers"].values()}
    named = [f"{host}:{fleet[0]}", fleet[1]]
    there = esxcore.fleet_census(named, client)
    assert [image.path for image in there.images] == named
    assert there.reclaimed_pages == esxcore.census(fleet[:2]).reclaimed_pages
    with pytest.raises(esxcore.DataError, match=f"no worker is on host 'mars'; expected .*{host}"):
        esxcore.fleet_census(["mars:/images/a.raw"], client)


def test_what_is_wrong_with_an_image_names_it(
    client: Any, fleet: list[str], tmp_path: Path
) -> None:
    missing = str(tmp_path / "missing.raw")
    with pytest.raises(esxcore.DataError, match=r"missing\.raw: there is no such file"):
        esxcore.fleet_census([*fleet, missing], client)
    with pytest.raises(esxcore.DataError, match="a page-content trace; expected a memory image"):
        esxcore.fleet_census([packaged("fleet_a.npz")], client)


def test_hostile_arguments(client: Any, fleet: list[str]) -> None:
    with pytest.raises(esxcore.ArgumentTypeError, match="client: str; expected a client of dask"):
        esxcore.fleet_census(fleet, "tcp://127.0.0.1:8786")
    with pytest.raises(esxcore.ConfigError, match="sources: none"):
        esxcore.fleet_census([], client)
    with pytest.raises(esxcore.ArgumentTypeError, match="sources: str"):
        esxcore.fleet_census(fleet[0], client)
    with pytest.raises(esxcore.ArgumentTypeError, match=r"sources\[0\]: int"):
        esxcore.fleet_census([7], client)  # type: ignore[list-item]
    with pytest.raises(esxcore.ConfigError, match="salt: 2 names; expected 5, one for each source"):
        esxcore.fleet_census(fleet, client, salt=["a", "b"])
    with pytest.raises(esxcore.ConfigError, match="fleet are in no one place"):
        esxcore.fleet_census(fleet[:1], client).trace_bytes()


def test_a_worker_of_another_version_is_refused(
    client: Any, fleet: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("esxcore.clusters.__version__", "0.0.1")
    with pytest.raises(esxcore.EngineError, match=r"worker tcp://.* has esxcore .*, the driver"):
        esxcore.fleet_census(fleet, client)


def images_of(folder: Path, contents: list[list[int]]) -> list[str]:
    paths = []
    for number, tokens in enumerate(contents):
        path = folder / f"{number}.raw"
        path.write_bytes(page_bytes(np.array(tokens, np.uint64)).tobytes())
        paths.append(str(path))
    return paths


@pytest.mark.parametrize("seed", range(12))
def test_shares_add_up_whatever_their_number(tmp_path: Path, seed: int) -> None:
    """Without a cluster: the same pieces of work, one after the other."""
    rng = np.random.default_rng(seed)
    guests = int(rng.integers(1, 6))
    contents = [rng.integers(0, 40, int(rng.integers(1, 60))).tolist() for _ in range(guests)]
    domains = rng.integers(0, 3, guests).tolist()
    paths = images_of(tmp_path, contents)
    mine = esxcore.census(paths, salt=[f"d{domain}" for domain in domains])
    for number in (1, 3, 8):
        counted = [shares.count(path, None, SECRET, number) for path in paths]
        parts = [[shares.part(image, share) for image in counted] for share in range(number)]
        sums = shares.add([shares.merge(part, domains) for part in parts])
        assert sums.distinct == mine.distinct_pages
        assert sums.shared_pages == mine.shared_pages
        assert (sums.zero_pages, sums.zero_reclaimed) == (
            mine.zero_pages,
            mine.zero_reclaimed_pages,
        )
        assert sums.common_pages == [image.common_pages for image in mine.images]
        assert sums.common_contents == mine.common_contents.tolist()
        top = [(row.pages, row.reclaimed, row.images, row.page) for row in sums.top]
        assert top == [(row.pages, row.reclaimed_pages, row.images, row.page) for row in mine.top]


def test_hashes_tell_nothing_without_the_secret(tmp_path: Path) -> None:
    (path,) = images_of(tmp_path, [[1, 2, 3]])
    one, other = (shares.count(path, None, secret, 1) for secret in (b"one", b"other"))
    assert not isinstance(one, str)
    assert not isinstance(other, str)
    pairs = itertools.product(one[0][0]["digest"].tolist(), other[0][0]["digest"].tolist())
    assert all(mine != theirs for mine, theirs in pairs)


def test_the_command_counts_on_a_cluster(client: Any, fleet: list[str], tmp_path: Path) -> None:
    from esxcore.cli import main

    address = client.scheduler.address
    options = ["census", "--engine", "dask", "--scheduler", address, *fleet]
    result = CliRunner().invoke(main, [*options, "--json"])
    assert result.exit_code == 0, result.output
    mine = esxcore.census(fleet)
    assert json.loads(result.stdout)["reclaimed_pages"] == mine.reclaimed_pages
    assert json.loads(result.stdout)["images"][1] == dataclasses.asdict(mine.images[1])
    picture = tmp_path / "fleet.png"
    result = CliRunner().invoke(main, [*options, "--picture", str(picture)])
    assert result.exit_code == 0, result.output
    assert "keyed hashes" in result.stdout
    assert "counted on one machine only" in result.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--scheduler", "tcp://127.0.0.1:1"], "--scheduler needs --engine dask"),
        (["--engine", "dask", "--pid", "1"], "--pid does not go with"),
        (["--engine", "dask", "--export", "x.npz"], "--export does not go with"),
        (["--engine", "dask", "--verify", "hash128"], "hash128 does not go with"),
        (["--engine", "dask", "--scheduler", "tcp://127.0.0.1:1"], "cannot be reached"),
    ],
)
def test_what_does_not_go_together_is_one_line(
    fleet: list[str], options: list[str], problem: str
) -> None:
    from esxcore.cli import main

    result = CliRunner().invoke(main, ["census", fleet[0], *options])
    assert result.exit_code == 2
    assert problem in result.stderr
    assert "Traceback" not in result.output
