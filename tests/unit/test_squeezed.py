"""The squeezed policy on views made by hand: gamma, rounding, and guests that do not do as told."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from esxcore.errors import ArgumentTypeError, ConfigError
from esxcore.squeezed import KEPT_FREE_PAGES, Squeezed


def pages(*numbers: int) -> NDArray[np.int64]:
    return np.array(numbers, dtype=np.int64)


@dataclass(frozen=True)
class View:
    """As a host's, as far as the policy reads it."""

    min_pages: NDArray[np.int64]
    max_pages: NDArray[np.int64]
    balloon_pages: NDArray[np.int64]
    available_pages: int
    driver_ok: NDArray[np.bool_]
    free_pages: int = 10**6
    now_s: float = 0.0
    names: list[str] = field(default_factory=lambda: ["a", "b", "c"])


def make(has: tuple[int, ...], spare: int, **changes: object) -> View:
    """Guests of 1000 to 3000 pages that have `has`; `spare` is there above all min."""
    vms = len(has)
    view = View(
        min_pages=pages(*[1000] * vms),
        max_pages=pages(*[3000] * vms),
        balloon_pages=3000 - pages(*has),
        available_pages=1000 * vms + spare + KEPT_FREE_PAGES,
        driver_ok=np.ones(vms, dtype=bool),
        names=["a", "b", "c"][:vms],
    )
    return replace(view, **changes)


def run(policy: Squeezed, *views: View) -> list[list[int]]:
    return [policy.targets(view).tolist() for view in views]


# -- gamma -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spare", "targets"),
    [
        (-1, [1000, 500, 2000]),  # min at least, whatever is kept free
        (0, [1000, 500, 2000]),
        (1, [1000, 500, 2000]),  # rounded down
        (30, [1010, 520, 2000]),
        (1500, [1500, 1500, 2000]),  # gamma 1/2
        (2999, [1999, 2499, 2000]),
        (3000, [2000, 2500, 2000]),
        (10**9, [2000, 2500, 2000]),
    ],
)
def test_one_gamma_for_all(spare: int, targets: list[int]) -> None:
    view = make((1000, 1000, 2000), 0)
    view = replace(
        view,
        min_pages=pages(1000, 500, 2000),
        max_pages=pages(2000, 2500, 2000),
        balloon_pages=pages(0, 0, 0),
        available_pages=3500 + spare + KEPT_FREE_PAGES,
    )
    found = Squeezed().targets(view)
    assert found.dtype == np.int64
    assert found.tolist() == targets


def test_reservations_stay_free() -> None:
    assert KEPT_FREE_PAGES == 2304
    view = make((3000, 3000), 2000)
    assert run(Squeezed(), view) == [[2000, 2000]]
    assert run(Squeezed(reserved_pages=1000), view) == [[1500, 1500]]
    assert run(Squeezed(reserved_pages=2**32 - 1), view) == [[1000, 1000]]


def test_nobody() -> None:
    assert run(Squeezed(), make((), 100)) == [[]]


# -- guests that do not do as told -----------------------------------------------------------------


def test_a_guest_that_does_not_shrink_is_inactive_after_five_seconds() -> None:
    policy = Squeezed()
    start = make((3000, 3000), 2000)
    stuck = make((3000, 2000), 2000)
    assert run(policy, start) == [[2000, 2000]]
    assert run(policy, replace(stuck, now_s=4.9)) == [[2000, 2000]]
    # What a holds is gone: nothing is left above b's min, and a is still asked for its memory.
    assert run(policy, replace(stuck, now_s=5.0)) == [[1000, 1000]]
    # It moves at last: active again, and counted as if it went on.
    moved = make((2900, 1000), 2000, now_s=6.0)
    assert run(policy, moved) == [[2000, 2000]]


def test_a_guest_that_does_not_grow_is_pinned_to_what_it_has_and_asked_again() -> None:
    policy = Squeezed()
    full = make((1000, 3000), 4000)
    assert run(policy, *(replace(full, now_s=t) for t in (0.0, 4.0))) == [[3000, 3000]] * 2
    tight = make((1000, 3000), 2000)
    # a is inactive with 1000, so b may have all 2000 above its min.
    pinned, asked = [1000, 3000], [2000, 2000]
    for now_s, targets in ((5.0, pinned), (9.0, pinned), (10.0, asked)):
        assert run(policy, replace(tight, now_s=now_s)) == [targets]
    # b makes room at once, a does not take it.
    room = make((1000, 2000), 2000)
    for now_s, targets in ((14.0, asked), (15.0, pinned)):
        assert run(policy, replace(room, now_s=now_s)) == [targets]


def test_a_pinned_guest_that_should_have_less_is_asked_for_it() -> None:
    policy = Squeezed()
    run(policy, make((1500, 1500), 4000, now_s=0.0))
    poor = make((1500, 1500), 200, now_s=5.0)
    # Neither moved for five seconds: both inactive, gamma 1/20 for both.
    assert run(policy, poor) == [[1100, 1100]]


def test_no_driver_no_patience() -> None:
    policy = Squeezed()
    mute = make((2500, 1000), 2000, driver_ok=np.array([False, True]))
    assert run(policy, mute) == [[1500, 1500]]  # 500 are left for b: gamma 1/4
    back = make((2500, 1500), 2000, now_s=100.0)
    assert run(policy, back) == [[2000, 2000]]
    # Five seconds from when it was asked first, not from when it was seen first.
    assert run(policy, replace(back, now_s=104.0)) == [[2000, 2000]]


def test_who_needs_nothing_is_not_stuck() -> None:
    policy = Squeezed()
    view = make((2000, 2000), 2000)
    for now_s in (0.0, 10.0, 20.0):
        assert run(policy, replace(view, now_s=now_s)) == [[2000, 2000]]
    # Asked for less just now, and given time from now on.
    less = make((2000, 2000), 1000)
    assert run(policy, *(replace(less, now_s=t) for t in (30.0, 34.0))) == [[1500, 1500]] * 2


def test_who_waits_for_free_memory_is_not_stuck() -> None:
    policy = Squeezed()
    view = make((1000, 1000), 2000, free_pages=KEPT_FREE_PAGES)
    for now_s in (0.0, 10.0, 20.0):
        assert run(policy, replace(view, now_s=now_s)) == [[2000, 2000]]
    free = replace(view, free_pages=KEPT_FREE_PAGES + 1)
    assert run(policy, replace(free, now_s=24.0)) == [[2000, 2000]]
    # Both are inactive, so gamma is for both, and both are pinned.
    assert run(policy, replace(free, now_s=25.0)) == [[1000, 1000]]


def test_moving_away_is_no_progress() -> None:
    policy = Squeezed()
    run(policy, make((2500, 2000), 2000, now_s=0.0))
    assert run(policy, make((2600, 2000), 2000, now_s=5.0)) == [[1400, 1400]]


def test_patience_can_be_given() -> None:
    policy = Squeezed(patience_s=60)
    start = make((3000, 2000), 2000)
    assert run(policy, *(replace(start, now_s=t) for t in (0.0, 59.0))) == [[2000, 2000]] * 2
    assert run(policy, replace(start, now_s=60.0)) == [[1000, 1000]]


def test_guests_are_known_by_name_and_forgotten_when_gone() -> None:
    policy = Squeezed()
    run(policy, make((3000, 2000), 2000))
    swapped = make((2000, 3000), 2000, names=["b", "a"], now_s=5.0)
    assert run(policy, swapped) == [[1000, 1000]]
    alone = make((2000,), 500, names=["b"], now_s=6.0)
    run(policy, alone)
    again = make((2000, 3000), 2000, names=["b", "a"], now_s=7.0)
    assert run(policy, again) == [[2000, 2000]]


# -- laws ------------------------------------------------------------------------------------------


def test_a_view_is_read_only_and_kept_by_nobody() -> None:
    view = make((3000, 2500), 2000)
    for column in (view.min_pages, view.max_pages, view.balloon_pages, view.driver_ok):
        column.flags.writeable = False
    policy = Squeezed()
    first = policy.targets(view)
    first[:] = 0
    assert policy.targets(view).tolist() == [2000, 2000]


@st.composite
def histories(draw: st.DrawFn) -> list[View]:
    vms = draw(st.integers(0, 4))
    sizes = [sorted(draw(st.tuples(*[st.integers(0, 2**32 - 1)] * 2))) for _ in range(vms)]
    least, most = [size[0] for size in sizes], [size[1] for size in sizes]
    steps = draw(st.lists(st.floats(0, 10), min_size=1, max_size=6))
    views, now_s = [], 0.0
    for step in steps:
        now_s += step
        spare = draw(st.integers(0, sum(most) - sum(least) + 10_000))
        views.append(
            View(
                names=[f"vm{vm}" for vm in range(vms)],
                min_pages=pages(*least),
                max_pages=pages(*most),
                balloon_pages=pages(*(draw(st.integers(0, m)) for m in most)),
                driver_ok=np.array([draw(st.booleans()) for _ in range(vms)], dtype=bool),
                available_pages=sum(least) + spare,
                free_pages=draw(st.sampled_from([0, KEPT_FREE_PAGES, 10**6])),
                now_s=now_s,
            )
        )
    return views


@given(histories())
def test_targets_stay_within_all_bounds(views: list[View]) -> None:
    policy = Squeezed()
    for view in views:
        twin = copy.deepcopy(policy)
        targets = policy.targets(view)
        assert (view.min_pages <= targets).all()
        assert (targets <= view.max_pages).all()
        assert targets.sum() <= view.available_pages
        assert policy.targets(view).tolist() == targets.tolist()  # once more, no difference
        assert twin.targets(view).tolist() == targets.tolist()


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"reserved_pages": -1}, ConfigError),
        ({"reserved_pages": 2**32}, ConfigError),
        ({"reserved_pages": 1.5}, ArgumentTypeError),
        ({"patience_s": 0}, ConfigError),
        ({"patience_s": float("nan")}, ConfigError),
        ({"patience_s": float("inf")}, ConfigError),
        ({"patience_s": "5 s"}, ArgumentTypeError),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(settings))):
        Squeezed(**settings)
