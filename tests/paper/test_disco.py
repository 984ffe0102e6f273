"""Section 4.1: hooks that see copies being made, against sharing by content."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from esxcore.paper import Kind, Laboratory, Reproduction, disco, real_guests, reproduce
from moved import fitted

CALIBRATED = fitted(disco.Parameters)


@pytest.fixture(scope="module")
def made() -> Reproduction:
    return reproduce("disco")


def test_every_mechanism_emerges(made: Reproduction) -> None:
    assert [claim.text for claim in made.failed] == []
    assert sum(claim.kind is Kind.MECHANISM for claim in made.claims) == 4


def test_content_finds_more_with_each_number_of_guests(made: Reproduction) -> None:
    content, hooks = (np.array(made.numbers[f"{name}_mb"]) for name in ("content", "hooks"))
    assert hooks[0] == 0  # one guest alone has each block once
    assert (content > hooks).all()
    assert (np.diff(content - hooks) > 0).all()
    real, of_files = (np.array(made.numbers[f"real_{n}_mb"]) for n in ("content", "files"))
    assert (real > of_files).all()


def test_the_parts_are_those_of_the_contents() -> None:
    parameters = dataclasses.replace(disco.Parameters(), vm_pages=1000)
    tokens = [parameters.contents(vm) for vm in range(3)]
    where = disco._disk(parameters)
    blocks = np.stack([each[where] for each in tokens])
    assert (blocks == blocks[0]).all()
    assert real_guests.repeated(blocks.ravel()) == parameters.hooked(3)
    all_of_them = real_guests.repeated(np.concatenate(tokens))
    assert all_of_them == parameters.hooked(3) + sum(parameters.missed(3).values())
    zero = np.concatenate(tokens) == 0
    assert np.count_nonzero(zero) - 1 == parameters.missed(3)["zero pages"]


def test_strays_are_pages_apart_from_their_like() -> None:
    origins = np.array([1, 1, 1, 2, 2, 3])
    assert real_guests.strays(origins, np.array([9, 9, 9, 4, 4, 5])) == 0
    assert real_guests.strays(origins, np.array([9, 8, 9, 4, 3, 5])) == 2


def test_scanning_that_is_far_too_slow_fails_the_claims() -> None:
    # A tenth of the rate for a short run, and too few looks: hooks are ahead, pages are apart.
    slow = dataclasses.replace(
        disco.Parameters(), vms=3, vm_rate=5, host_rate=20, minutes=10, looks=1
    )
    failed = reproduce("disco", Laboratory(), slow).failed
    assert len(failed) == 3
    assert all("real" not in claim.text for claim in failed)


def test_files_of_real_guests_are_told_by_the_record(made: Reproduction) -> None:
    contents = real_guests.trace()
    of_files = real_guests.is_of_file(contents, contents.vms)
    assert contents.kinds is not None
    assert (contents.kinds[of_files] == 8).all()
    ids = contents.ids[of_files]
    assert ids.min() > 0
    assert made.numbers["real_files_mb"][-1] == (ids.size - len(set(ids.tolist()))) / 256


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_mechanisms_hold_for_other_seeds(seed: int) -> None:
    assert reproduce("disco", Laboratory(seed)).failed == ()


@pytest.mark.slow
@pytest.mark.parametrize("factor", [0.8, 1.2])
@pytest.mark.parametrize("name", CALIBRATED)
def test_no_mechanism_is_fitted_in_disguise(name: str, factor: float) -> None:
    default = disco.Parameters()
    moved = dataclasses.replace(default, **{name: factor * getattr(default, name)})
    assert reproduce("disco", Laboratory(), moved).failed == ()
