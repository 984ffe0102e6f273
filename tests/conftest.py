"""What every test shares: profiles of the property tests, and the data files.

The everyday profile is derandomised, so a run is the same run each time. ``slow`` is the same
search with more examples and longer histories, for the tests marked so; ``explore`` is for a person
at work: random, never in CI.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

HERE = Path(__file__).parent

_CALM = {
    "deadline": None,  # no wall-clock assertion: the machine under the tests may be busy
    "database": None,
    "print_blob": False,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}
settings.register_profile(
    "everyday", max_examples=200, stateful_step_count=40, derandomize=True, **_CALM
)
settings.register_profile(
    "slow", max_examples=3000, stateful_step_count=60, derandomize=True, **_CALM
)
settings.register_profile(
    "explore", max_examples=1000, stateful_step_count=60, derandomize=False, **_CALM
)
settings.load_profile(os.environ.get("ESXCORE_HYPOTHESIS_PROFILE", "everyday"))


@pytest.fixture(scope="session")
def fleet_truth() -> dict[str, Any]:
    """The exact answers for fleet_a, counted independently, every match compared by bytes."""
    truth = json.loads((HERE / "data" / "truth_fleet_a.json").read_text())
    assert isinstance(truth, dict)
    return truth


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The source tree that the layout tests read."""
    return HERE.parent
