"""The JSON schema of scenario files: what every field takes, and that it takes what files say."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from esxcore.datafile import packaged
from esxcore.policy import POLICIES
from esxcore.scenario import Scenario, ScenarioModel
from esxcore.scenario.schema import scenario_schema
from esxcore.workload import KINDS

ROOT = Path(__file__).parents[2]
FILES = [packaged("fleet_a.toml"), *sorted((ROOT / "examples").glob("*.toml"))]
SCHEMA = scenario_schema()


def scenario_files() -> list[Path]:
    """Files of scenarios; a study is none."""
    return [path for path in FILES if "host" in tomllib.loads(path.read_text())]


def models(annotation: object) -> list[type[BaseModel]]:
    """Models in an annotation and all that they have in turn."""
    found = [found for part in get_args(annotation) for found in models(part)]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        found.append(annotation)
        for field in annotation.model_fields.values():
            found += models(field.annotation)
    return found


def test_every_field_of_the_model_is_there_with_what_it_expects() -> None:
    sections = {model.__name__: model for model in models(ScenarioModel)}
    assert sections.pop("ScenarioModel").model_fields.keys() == SCHEMA["properties"].keys()
    assert set(sections) == set(SCHEMA["$defs"])
    for name, section in sections.items():
        told = SCHEMA["$defs"][name]
        assert told["properties"].keys() == section.model_fields.keys()
        for key, field in section.model_fields.items():
            assert told["properties"][key]["description"] == field.description
            is_required = key in told.get("required", ())
            assert is_required == field.is_required()


def everywhere(part: Any) -> list[dict[str, Any]]:
    """All objects in a schema."""
    inner = list(part.values()) if isinstance(part, dict) else part
    if not isinstance(part, dict | list):
        return []
    return [part] * isinstance(part, dict) + [each for item in inner for each in everywhere(item)]


def test_it_is_a_schema_in_plain_json() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert json.loads(json.dumps(SCHEMA, allow_nan=False)) == SCHEMA
    for part in everywhere(SCHEMA):
        if isinstance(part.get("$ref"), str):
            assert part["$ref"].removeprefix("#/$defs/") in SCHEMA["$defs"]
        if isinstance(part.get("pattern"), str):
            assert re.compile(part["pattern"])
        assert part.get("type") != "null"
        assert "default" not in part or part["default"] is not None


def test_kinds_and_policies_are_there_with_their_parameters() -> None:
    workload, policy = SCHEMA["$defs"]["WorkloadSection"], SCHEMA["$defs"]["PolicySection"]
    by_kind = {
        rule["if"]["properties"]["kind"]["const"]: rule["then"]
        for rule in workload["allOf"]
        if "properties" in rule["if"]
    }
    assert by_kind.keys() == KINDS.keys() - {"activity"}
    for kind, rule in by_kind.items():
        rows = KINDS[kind].parameters
        assert rows.keys() <= rule["properties"].keys()
        assert rule["description"] == KINDS[kind].meaning
    assert by_kind["zipf"]["properties"]["memory"]["description"] == "memory it refers to"
    assert by_kind["zipf"]["required"] == ["memory"]
    by_name = {rule["if"]["properties"]["name"]["const"]: rule["then"] for rule in policy["allOf"]}
    assert by_name.keys() == {*POLICIES, "none"}
    assert by_name["esx2002"]["properties"]["tax_rate"] == {"type": "number", "default": 0.75}
    assert by_name["static"]["properties"]["pages"]["type"] == "array"


@pytest.mark.parametrize("path", scenario_files(), ids=lambda path: path.name)
def test_it_takes_what_files_say(path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    check = jsonschema.Draft202012Validator(SCHEMA)
    data = tomllib.loads(path.read_text())
    assert [error.message for error in check.iter_errors(data)] == []
    whole = tomllib.loads(Scenario.from_toml(path).to_toml())
    assert [error.message for error in check.iter_errors(whole)] == []


SMALL = {
    "host": {"memory": "1GiB"},
    "vms": [{"name": "web", "max": "64MiB", "guest": "linux"}],
    "run": {"duration": "9s"},
}


@pytest.mark.parametrize(
    ("section", "change", "fits"),
    [
        ("host", {"memory": "1GB"}, False),
        ("host", {"memory": 1}, False),
        ("host", {"memry": "1GiB"}, False),
        ("run", {"duration": "9"}, False),
        ("run", {"census": "never"}, True),
        ("run", {"census": "often"}, False),
        ("run", {"costs": "2002"}, True),
        ("run", {"costs": "2003"}, False),
        ("run", {"costs": {"preset": "2002", "disk_page_ns": 5}}, True),
        ("policy", {"name": "esx2003"}, False),
        ("policy", {"tax_rate": 0.5}, True),
        ("policy", {"tax_rat": 0.5}, False),
        ("policy", {"name": "equal", "tax_rate": 0.5}, False),
        ("policy", {"name": "mine:Class", "whatever": [1]}, True),
        ("policy", {"name": "static"}, True),
        ("policy", {"name": "static", "pages": [1.5]}, False),
        ("reclaim", {"thresholds": [0.5, 0.2, 0.1]}, False),
        ("reclaim", {"balloon_guest_caps": {"linux": 2}}, False),
        ("vms", {"shares": "high"}, True),
        ("vms", {"shares": "hgh"}, False),
        ("vms", {"shares": 7}, True),
        ("vms", {"guest": "lnux"}, False),
        ("vms", {"guest": {"kind": "windows", "boot_time": "3s"}}, True),
        ("vms", {"driver": {"start": "never"}}, True),
        ("vms", {"workload": "idle"}, True),
        ("vms", {"workload": "mine:Class"}, True),
        ("vms", {"workload": "idel"}, False),
        ("vms", {"workload": {"kind": "zipf", "memory": "2MiB"}}, True),
        ("vms", {"workload": {"kind": "zipf", "memory": "2MB"}}, False),
        ("vms", {"workload": {"kind": "zipf", "memry": "2MiB"}}, False),
        ("vms", {"workload": {"kind": "zipf"}}, False),
        ("vms", {"workload": {"kind": "zipf", "memory": "2MiB", "repeat": True}}, False),
        ("vms", {"workload": {"kind": "zipf", "memory": "2MiB", "start": "3s"}}, True),
        ("vms", {"workload": {"kind": "dbench", "clients": 5}}, True),
        ("vms", {"workload": {"kind": "toucher", "sizes": [["0s", "1MiB"]]}}, True),
        ("vms", {"workload": {"kind": "toucher", "sizes": [["0s"]]}}, False),
        ("vms", {"workload": {"trace": "a.csv", "refs_per_s": 50, "repeat": True}}, True),
        ("vms", {"workload": {"trace": "a.csv", "memory": "1MiB"}}, False),
        ("vms", {"workload": {"activity": "a.npz", "offset": "3s"}}, True),
        ("vms", {"workload": {"activity": "a.npz", "processes": 2}}, False),
        ("vms", {"workload": {"kind": "idle", "writes": {"pool": 3}}}, True),
        ("vms", {"workload": {"kind": "idle", "writes": {"pool": 0}}}, False),
        ("vms", {"workload": {}}, False),
    ],
)  # fmt: skip
def test_it_refuses_what_files_may_not_say(
    section: str, change: dict[str, Any], fits: bool
) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    data = json.loads(json.dumps(SMALL))
    (data[section][0] if section == "vms" else data.setdefault(section, {})).update(change)
    assert jsonschema.Draft202012Validator(SCHEMA).is_valid(data) == fits
    if fits and "a.npz" not in str(change):
        Scenario.from_mapping(data)
