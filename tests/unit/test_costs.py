"""What things cost: the presets, and that the document about them says the same."""

from __future__ import annotations

import dataclasses
import pickle
import re
from pathlib import Path

import pytest

import esxcore
from esxcore.costs import Costs, resolve_costs

DOCUMENT = Path(__file__).parents[2] / "docs/costs.md"
ROW = re.compile(r"\| `(\w+)` \| ([\d ]+) \| ([\d ]+) \|")


def test_the_document_has_every_number() -> None:
    rows = ROW.findall(DOCUMENT.read_text())
    written = {
        preset: {name: int(numbers[place].replace(" ", "")) for name, *numbers in rows}
        for place, preset in enumerate(("2002", "nvme"))
    }
    assert written == {name: Costs.preset(name).as_dict() for name in ("2002", "nvme")}


def test_costs_are_values() -> None:
    costs = dataclasses.replace(Costs.preset("2002"), access_ns=7)
    assert costs == pickle.loads(pickle.dumps(costs)) != Costs.preset("2002")
    assert resolve_costs(costs) is costs
    assert resolve_costs("nvme") == Costs.preset("nvme")


@pytest.mark.parametrize(
    ("costs", "error", "message"),
    [
        ("1999", esxcore.ConfigError, "costs: '1999'; expected '2002' or 'nvme', or Costs"),
        (7, esxcore.ArgumentTypeError, "costs: 7; expected the name of a preset, or Costs"),
    ],
)
def test_other_costs_are_refused(costs: object, error: type[Exception], message: str) -> None:
    host = esxcore.Host(memory="16MiB", content="tokens")
    with pytest.raises(error, match=re.escape(message)):
        esxcore.Simulation(host, costs=costs)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"access_ns": 0}, esxcore.ConfigError),
        ({"disk_page_ns": -1}, esxcore.ConfigError),
        ({"fault_ns": 10**13}, esxcore.ConfigError),
        ({"fault_ns": 1.5}, esxcore.ArgumentTypeError),
        ({"fault_ns": True}, esxcore.ArgumentTypeError),
    ],
)
def test_numbers_have_bounds(change: dict[str, object], error: type[Exception]) -> None:
    name = next(iter(change))
    with pytest.raises(error, match=f"^{name}: .*; expected "):
        dataclasses.replace(Costs.preset("nvme"), **change)  # type: ignore[arg-type]
