"""The frame in which figures of the paper are made: claims, charts, cache, command."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from esxcore.errors import ConfigError
from esxcore.paper import TARGETS, Laboratory, Reproduction, cache, reproduce, target, targets
from esxcore.paper.charts import Chart, Panel, Series, thinned
from esxcore.paper.claims import Claim, Confidence, Kind, calibrated, mechanism, recalled

HARMLESS = "fig3"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ESXCORE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def run(*args: str) -> Any:
    from esxcore.cli import main

    return CliRunner().invoke(main, ["paper", *args])


def test_verdicts() -> None:
    assert mechanism("m", True, "1").verdict == "holds"
    assert mechanism("m", False, "1").fails
    assert calibrated("c", "3", why="fitted to it").verdict == "fitted"
    assert recalled("r", 30, 45, "MB").verdict == "+50 %"
    assert recalled("r", 32.9, 31.9, "%").verdict == "-1.0 points"
    assert not recalled("r", 30, 45, "MB").fails


def test_what_the_paper_says_comes_with_how_well_it_is_known() -> None:
    claim = mechanism("m", True, "1", paper="2", confidence=Confidence.SECONDARY)
    assert claim.paper_text == "2 (secondary)"
    assert mechanism("m", True, "1").paper_text == "–"


def test_a_reproduction_survives_json() -> None:
    made = reproduce(HARMLESS)
    again = Reproduction.of(json.loads(json.dumps(made.table())))
    assert again == made
    assert all(isinstance(claim.kind, Kind) for claim in again.claims)


def test_targets_come_in_the_order_of_the_paper() -> None:
    assert targets([]) == targets(["all"]) == tuple(TARGETS)
    assert targets(reversed(TARGETS)) == tuple(TARGETS)
    with pytest.raises(ConfigError, match="did you mean 'fig3'"):
        targets(["fig33"])


@pytest.mark.parametrize("name", TARGETS)
def test_every_parameter_says_why(name: str) -> None:
    module = target(name)
    assert module.TITLE
    for field in dataclasses.fields(module.Parameters):
        assert field.metadata["why"], field.name


def test_a_laboratory_keeps_the_order_and_stops_at_the_first_error() -> None:
    seen: list[tuple[int, int]] = []
    laboratory = Laboratory(jobs=3, progress=lambda done, known: seen.append((done, known)))
    assert laboratory.map(lambda n: n * n, range(20)) == [n * n for n in range(20)]
    assert sorted(seen) == [(n, 20) for n in range(1, 21)]
    with pytest.raises(ZeroDivisionError):
        laboratory.map(lambda n: 1 // n, range(-3, 3))


def test_thinning_keeps_the_ends() -> None:
    assert list(thinned(0)) == []
    assert list(thinned(5, 10)) == [0, 1, 2, 3, 4]
    kept = list(thinned(1001, 100))
    assert kept[0] == 0
    assert kept[-1] == 1000
    assert len(kept) <= 102


def test_what_was_made_is_kept_by_code_parameters_and_seed(own_cache: Path) -> None:
    parameters = target(HARMLESS).Parameters()
    key = cache.key(HARMLESS, parameters, 1)
    assert key != cache.key(HARMLESS, parameters, 2)
    assert key != cache.key(HARMLESS, dataclasses.replace(parameters, references=3), 1)
    assert cache.kept(key) is None
    made = reproduce(HARMLESS)
    cache.keep(key, made)
    assert cache.kept(key) == made
    (file,) = (own_cache / "paper").iterdir()
    file.write_text(file.read_text()[:-20])
    assert cache.kept(key) is None


def test_the_command_compares_draws_and_keeps(tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(HARMLESS, "--out", str(out), "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["holds"] is True
    assert {claim["kind"] for claim in said["targets"][HARMLESS]["claims"]} == {"mechanism"}
    assert (out / f"{HARMLESS}.png").read_bytes().startswith(b"\x89PNG")
    page = (out / "paper.html").read_text()
    assert "http://" not in page.split("<script>")[0]
    again = run(HARMLESS, "--out", str(out))
    assert again.exit_code == 0
    assert "all hold" in again.output


def test_a_mechanism_that_fails_decides_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chart = Chart((Panel("", series=(Series("a", [1.0, 2.0], [1.0, 2.0]),)),))
    fails = mechanism("it emerges", False, "it did not")
    made = Reproduction("broken <b>", (fails, calibrated("c", "3", why="so")), chart)
    module = target(HARMLESS)
    monkeypatch.setattr(module, "reproduce", lambda laboratory, parameters: made)
    result = run(HARMLESS, "--out", str(tmp_path / "out"), "--fresh")
    assert result.exit_code == 1
    assert "1 failed" in result.output
    assert "broken &lt;b&gt;" in (tmp_path / "out" / "paper.html").read_text()


def test_an_unknown_target_is_one_line() -> None:
    result = run("fig9")
    assert result.exit_code == 2
    assert "did you mean" in result.stderr


def test_a_claim_survives_as_a_table() -> None:
    claim = recalled("r", 4.4, 3.9, "%", why="nobody could verify it")
    assert Claim.of(claim.table()) == claim
