"""Scenarios whose virtual machines hold memory images."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import esxcore
from census_images import DB, WEB, write_image
from esxcore.errors import DataError, EsxError, ScenarioError
from esxcore.experiment import build_host, run
from esxcore.scenario import Scenario
from runs import esxcore_run

TRACE = (7, 7, 0, 1)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    write_image(tmp_path / "web.raw", WEB)
    write_image(tmp_path / "db.raw", DB)
    np.savez(tmp_path / "trace.npz", id=np.array(TRACE), vm_pages=np.array([len(TRACE)]))
    return tmp_path


def scenario(folder: Path, *contents: dict[str, Any] | None, **host: str) -> Scenario:
    vms = [
        {"name": f"vm{number}", "max": "64KiB", "contents": held}
        for number, held in enumerate(contents)
    ]
    tables = {
        "host": {"memory": "4MiB"} | host,
        "policy": {"name": "none"},
        "vms": [{key: value for key, value in vm.items() if value is not None} for vm in vms],
        "run": {"duration": "3s"},
    }
    return Scenario.from_mapping(tables, "test.toml", folder)


WEB_RAW, DB_RAW = {"image": "web.raw"}, {"image": "db.raw"}


@pytest.mark.parametrize("kind", ["tokens", "bytes"])
def test_sharing_is_what_a_census_of_the_images_says(images: Path, kind: str) -> None:
    host = build_host(scenario(images, WEB_RAW, DB_RAW, content=kind))
    truth = esxcore.census([images / "web.raw", images / "db.raw"])
    assert host.census() == {name: getattr(truth, name) for name in host.census()}
    host.scan(64)
    stats = host.stats()
    assert stats["shared_pages"] == truth.shared_pages
    assert stats["reclaimed_pages"] == truth.reclaimed_pages
    assert stats["zero_pages"] == truth.zero_pages


def test_bytes_are_those_of_the_image(images: Path) -> None:
    host = build_host(scenario(images, WEB_RAW, DB_RAW, content="bytes"))
    for name, path, size in (("vm0", "web.raw", len(WEB)), ("vm1", "db.raw", len(DB))):
        held = np.asarray(host.peek(name, range(size)))
        assert held.tobytes() == (images / path).read_bytes()


def test_both_kinds_of_host_live_through_the_same(images: Path) -> None:
    kinds = [
        run(scenario(images, WEB_RAW, DB_RAW, WEB_RAW, content=k)) for k in ("tokens", "bytes")
    ]
    tokens, real = kinds
    for name, column in tokens.host.items():
        if name not in ("real_bytes", "sharing_metadata_bytes"):
            assert column.tolist() == real.host[name].tolist(), name
    for name, column in tokens.vms.items():
        assert column.tolist() == real.vms[name].tolist(), name
    assert tokens.host["reclaimed_pages"][-1] == tokens.census["reclaimed_pages"][-1] > 0


def test_one_image_in_two_sections_shares_everything(images: Path) -> None:
    host = build_host(scenario(images, WEB_RAW, WEB_RAW))
    assert host.census()["distinct_pages"] == len(set(WEB))
    assert host.census()["reclaimed_pages"] == 2 * len(WEB) - len(set(WEB))


def test_an_image_and_a_trace_share_zero_pages_only(images: Path) -> None:
    """Token 1 is in the trace and in the images, but the trace knows no bytes."""
    trace = {"trace": "trace.npz", "vm": 0}
    host = build_host(scenario(images, WEB_RAW, trace, DB_RAW))
    assert host.census()["pages"] == len(WEB) + len(DB) + len(TRACE)
    assert host.census()["zero_pages"] == (WEB + DB + TRACE).count(0)
    others = [len(set(tokens) - {0}) for tokens in (WEB + DB, TRACE)]
    assert host.census()["distinct_pages"] == 1 + sum(others)
    held = np.asarray(host.peek("vm1", range(len(TRACE))))
    assert held.tolist() == list(TRACE)


def test_the_image_gives_the_size_or_fits_into_it(images: Path) -> None:
    tables = {
        "host": {"memory": "4MiB"},
        "policy": {"name": "none"},
        "vms": [{"name": "vm", "contents": WEB_RAW}],
        "run": {"duration": "1s"},
    }
    own = build_host(Scenario.from_mapping(tables, folder=images))
    assert own.vms()["max_pages"].tolist() == [len(WEB)]
    wide = build_host(scenario(images, WEB_RAW))
    assert wide.vms()["max_pages"].tolist() == [16]
    assert wide.vms()["allocated_pages"].tolist() == [len(WEB)]


def test_a_scenario_with_an_image_is_written_and_read_back(images: Path) -> None:
    first = scenario(images, WEB_RAW, {"trace": "trace.npz", "vm": 0})
    (images / "again.toml").write_text(first.to_toml())
    again = Scenario.from_toml(images / "again.toml")
    assert again == first
    assert 'contents = { image = "web.raw" }' in first.to_toml()


def test_other_formats_than_raw_are_read(images: Path) -> None:
    lime = b"EMiL" + np.array([1], "<u4").tobytes() + np.array([0, 8191, 0], "<u8").tobytes()
    pages = (images / "web.raw").read_bytes()[:8192]
    (images / "guest.lime").write_bytes(lime + pages)
    host = build_host(scenario(images, {"image": "guest.lime"}, content="bytes"))
    assert np.asarray(host.peek("vm0", range(2))).tobytes() == pages


def toml(contents: str, maximum: str = "64KiB") -> str:
    return f"""
[host]
memory = "4MiB"
[policy]
name = "none"
[[vms]]
name = "web"
max = "{maximum}"
contents = {contents}
[run]
duration = "1s"
"""


MISTAKES: dict[str, tuple[str, str, type[EsxError]]] = {
    "both": (
        toml('{ trace = "trace.npz", vm = 0, image = "web.raw" }'),
        'test.toml: vms[0].contents (VM "web"): trace and image are given; expected one of them',
        ScenarioError,
    ),
    "neither": (
        toml("{}"),
        'test.toml: vms[0].contents (VM "web"): neither trace nor image is given; expected one',
        ScenarioError,
    ),
    "a VM of an image": (
        toml('{ image = "web.raw", vm = 0 }'),
        'test.toml: vms[0].contents.vm (VM "web"): an image is one VM; expected vm with a trace',
        ScenarioError,
    ),
    "a trace without a VM": (
        toml('{ trace = "trace.npz" }'),
        'test.toml: vms[0].contents.vm (VM "web") is missing; expected the position of a VM',
        ScenarioError,
    ),
    "no text": (
        toml("{ image = 7 }"),
        'test.toml: vms[0].contents.image (VM "web") is 7; expected the path of a memory image',
        ScenarioError,
    ),
    "unknown key": (
        toml('{ imgae = "web.raw" }'),
        'test.toml: unknown key vms[0].contents.imgae (VM "web"); did you mean "image"?',
        ScenarioError,
    ),
    "larger than max": (
        toml('{ image = "web.raw" }', "16KiB"),
        'test.toml: vms[0].max is "16KiB"; expected at least 24KiB, the size of its contents',
        ScenarioError,
    ),
    "missing": (
        toml('{ image = "none.raw" }'),
        "test.toml: vms[0].contents: FOLDER/none.raw: there is no such file",
        DataError,
    ),
    "a folder": (
        toml('{ image = "." }'),
        "test.toml: vms[0].contents: FOLDER: it is a directory; expected a memory image",
        DataError,
    ),
    "truncated": (
        toml('{ image = "short.raw" }'),
        "test.toml: vms[0].contents: FOLDER/short.raw: the size is 5000 bytes; expected",
        DataError,
    ),
    "a trace as an image": (
        toml('{ image = "trace.npz" }'),
        "test.toml: vms[0].contents: FOLDER/trace.npz: a page-content trace; expected",
        DataError,
    ),
    "packaged": (
        toml('{ image = "builtin:fleet_a" }'),
        "fleet_a.npz: a page-content trace; expected a memory image",
        DataError,
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_with_file_and_field(
    images: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, said, kind = MISTAKES[name]
    (images / "short.raw").write_bytes(bytes(5000))
    (images / "test.toml").write_text(text)
    with pytest.raises(kind, match=re.escape(said.replace("FOLDER", str(images)))) as caught:
        run(Scenario.from_toml(images / "test.toml"))
    assert "\n" not in str(caught.value)
    monkeypatch.chdir(images)
    done = esxcore_run("test.toml", "--out", "out")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert not (images / "out").exists()


def test_the_command_runs_images(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (images / "test.toml").write_text(toml('{ image = "web.raw" }\ncount = 2'))
    monkeypatch.chdir(images)
    done = esxcore_run("test.toml", "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    assert json.loads(done.stdout)["sharing"]["possible_pages"] == 2 * len(WEB) - len(set(WEB))
