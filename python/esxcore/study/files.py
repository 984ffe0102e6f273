"""Studies as TOML files: which scenario, and what is varied in it.

    scenario = "lab.toml"                    # or a table [scenario] with all of one
    policies = ["esx2002", { name = "esx2002", tax_rate = 0.5 }, "module:Class"]
    seeds = 3                                # or a list of them

    [grid]
    "policy.tax_rate" = [0, 0.25, 0.5]

Neighbours: `esxcore.study.grid` checks the lists.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from esxcore.errors import ArgumentTypeError, ConfigError, ScenarioError
from esxcore.hints import LIKE_FOR_KEYS, did_you_mean, in_quotes
from esxcore.scenario import Scenario
from esxcore.scenario_text import abridged
from esxcore.study.grid import Study, study_of

_KEYS = ("scenario", "grid", "policies", "seeds")


def read_study(path: str | os.PathLike[str]) -> Study:
    """Reads a study; its scenario and data files are found from the file's folder.

    Raises
    ------
    ScenarioError
        If the file is missing, is no TOML or says something that is no study; one line.
    """
    path = Path(path)
    data = _toml(path)
    for key in data:
        if key not in _KEYS:
            hint = did_you_mean(key, _KEYS, in_quotes, like=LIKE_FOR_KEYS)
            raise ScenarioError(f"{path}: unknown key {key}; {hint}")
    scenario = _scenario(path, data.get("scenario"))
    try:
        grid = _flat(data.get("grid", {}))
        return study_of(scenario, grid, data.get("policies"), data.get("seeds", 1))
    except ScenarioError:
        raise
    except (ConfigError, ArgumentTypeError) as error:
        raise ScenarioError(f"{path}: {error}") from error


def _scenario(path: Path, given: Any) -> Scenario:
    if isinstance(given, str):
        return Scenario.from_toml(path.parent / given)
    if isinstance(given, dict):
        return Scenario.from_mapping(given, str(path), path.parent)
    if given is None:
        raise ScenarioError(f"{path}: scenario is missing; expected a path or a table [scenario]")
    raise ScenarioError(f"{path}: scenario is {abridged(given)}; expected a path or a table")


def _flat(grid: Any, head: str = "") -> dict[str, Any]:
    """Lists by field; dots that are not quoted have made tables of them."""
    if not isinstance(grid, dict):
        raise ConfigError(f"grid is {abridged(grid)}; expected a table of lists")
    found: dict[str, Any] = {}
    for key, value in grid.items():
        name = f"{head}{key}"
        found |= _flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return found


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise ScenarioError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{path}: not UTF-8 text (byte {error.start})") from error
    except (ValueError, RecursionError) as error:
        raise ScenarioError(f"{path}: not valid TOML: {error}") from error
