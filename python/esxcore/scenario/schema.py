"""The JSON schema of scenario files, for editors: made of the models, kinds and policies there are.

It knows the form of everything, and of policies and workloads the parameters. What holds between
fields, such as that a VM stops after it starts, only reading the file tells.
"""

from __future__ import annotations

import inspect
from typing import Any, get_args

from esxcore.policy import POLICIES, policy_names
from esxcore.scenario.devices import DiskSection
from esxcore.scenario.division import BARE
from esxcore.scenario.guests import GuestSection
from esxcore.scenario.model import ScenarioModel
from esxcore.scenario.programs import OWN_KINDS
from esxcore.scenario.sections import CostsSection
from esxcore.workload import KINDS
from esxcore.workload.programs import Parameter, text_of

Schema = dict[str, Any]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_OWN = {
    "type": "string",
    "pattern": r"^[^:]+:[^:]+$",
    "description": "module:Class, a class of your own",
}
_SIZE = {"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*(KiB|MiB|GiB|TiB)\s*$"}
_TIME = {"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*(us|ms|s|min|h)\s*$"}
_PAIR = {"type": "array", "prefixItems": [_TIME, _SIZE], "minItems": 2, "maxItems": 2}
_FORMS: dict[str, Schema] = {
    "pages": _SIZE,
    "count": {"type": "integer", "minimum": 0},
    "number": {"type": "number"},
    "time": _TIME,
    "seconds": _TIME,
    "flag": {"type": "boolean"},
    "word": {"type": "string"},
    "sizes": {"anyOf": [_SIZE, {"type": "array", "items": _PAIR}]},
    "trace": {"type": "string"},
    "load": {"type": "string"},
}


def scenario_schema() -> Schema:
    """The schema of scenario files, in the dialect of 2020-12.

    Policies of other packages that are installed are among those it knows.

    Examples
    --------
    >>> schema = scenario_schema()
    >>> schema["required"]
    ['host', 'vms', 'run']
    >>> schema["$defs"]["HostSection"]["properties"]["memory"]["type"]
    'string'
    """
    raw = ScenarioModel.model_json_schema()
    definitions: Schema = {name: _mended(each) for name, each in raw.pop("$defs").items()}
    whole: Schema = _mended(raw)
    whole["properties"]["vms"]["minItems"] = 1
    _tell_policies(definitions["PolicySection"])
    _tell_workloads(definitions["WorkloadSection"])
    head = {"$schema": _DIALECT, "title": "Scenario of esxcore"}
    return head | {key: whole[key] for key in whole if key != "title"} | {"$defs": definitions}


def _mended(schema: Any) -> Any:
    """Without what TOML has not: null; and with words where a section may be one."""
    if isinstance(schema, list):
        return [_mended(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {
        key: _mended(item)
        for key, item in schema.items()
        if not (key == "default" and (item is None or isinstance(item, dict)))
    }
    if {"type": "null"} in kept.get("anyOf", ()):
        choices = [choice for choice in kept["anyOf"] if choice != {"type": "null"}]
        kept = kept | {"anyOf": choices} if len(choices) > 1 else _alone(kept, choices[0])
    words = _WORDS.get(str(kept.get("$ref", "")).rpartition("/")[2])
    if words is not None:
        kept = {"anyOf": [words, {"$ref": kept.pop("$ref")}]} | kept
    return kept


def _alone(schema: Schema, choice: Schema) -> Schema:
    """What is left of a choice of one; what was said beside it goes before what it says itself."""
    return choice | {key: item for key, item in schema.items() if key not in ("anyOf", "title")}


def _words_of(model: Any, key: str) -> Schema:
    return {"enum": list(get_args(model.model_fields[key].annotation))}


_WORDS: dict[str, Schema] = {
    "GuestSection": _words_of(GuestSection, "kind"),
    "CostsSection": _words_of(CostsSection, "preset"),
    "DiskSection": _words_of(DiskSection, "dma"),
    "WorkloadSection": {"anyOf": [{"enum": list(OWN_KINDS)}, _OWN]},
}


def _tell_policies(section: Schema) -> None:
    """Which policies there are, and what those that are built in take."""
    section["properties"]["name"] |= {"anyOf": [{"enum": [*policy_names(), BARE]}, _OWN]}
    section["allOf"] = [_of_policy(name, section["properties"]) for name in (*POLICIES, BARE)]


def _of_policy(name: str, own: Schema) -> Schema:
    condition: Schema = {"properties": {"name": {"const": name}}}
    if name != own["name"]["default"]:
        condition["required"] = ["name"]
    taken = inspect.signature(POLICIES[name]).parameters if name != BARE else {}
    parameters = {key: _of_default(each.default) for key, each in taken.items()}
    return _if_then(condition, {"name": True} | parameters)


def _of_default(default: object) -> Schema:
    """The form of a setting of a policy, by its default; those without one are pages."""
    if isinstance(default, int | float):
        kind = "integer" if isinstance(default, int) else "number"
        return {"type": kind, "default": default}
    return {"type": "array", "items": {"type": "integer"}}


def _tell_workloads(section: Schema) -> None:
    """Which kinds of workload there are, and what each takes."""
    section["properties"]["kind"] |= {"anyOf": [{"enum": list(OWN_KINDS)}, _OWN]}
    section["anyOf"] = [{"required": [key]} for key in ("kind", "activity", "trace")]
    own = section["properties"]
    by_kind = [
        _of_kind(name, {"properties": {"kind": {"const": name}}, "required": ["kind"]}, own)
        for name in OWN_KINDS
    ]
    by_trace = _of_kind("replay", {"required": ["trace"], "not": {"required": ["kind"]}}, own)
    taken = dict.fromkeys(("activity", "start", "offset", "repeat", "writes"), True)
    section["allOf"] = [*by_kind, by_trace, _if_then({"required": ["activity"]}, taken)]


def _of_kind(name: str, condition: Schema, own: Schema) -> Schema:
    """What a kind takes: its parameters, and the keys that all of them have."""
    rows = KINDS[name].parameters
    taken: Schema = dict.fromkeys(("kind", "start", "writes", "processes"), True)
    taken |= {key: True if key in own else _of_row(row) for key, row in rows.items()}
    if name == "dbench":
        taken["clients"] = {"type": "integer", "minimum": 1}
    told = _if_then(condition, taken)
    told["then"]["description"] = KINDS[name].meaning
    required = [key for key, row in rows.items() if row.is_required and row.form != "load"]
    if required:  # a load file is found where the system has it
        told["then"]["required"] = required
    return told


def _of_row(row: Parameter) -> Schema:
    form: Schema = {"enum": list(row.words)} if row.words else dict(_FORMS[row.form])
    default = {} if row.default is None else {"default": text_of(row.form, row.default)}
    return form | {"description": row.meaning} | default


def _if_then(condition: Schema, properties: Schema) -> Schema:
    return {
        "if": condition,
        "then": {"properties": properties, "additionalProperties": False},
    }
