"""Min-funding targets are those of the slow loop, and follow its laws at sizes it never gets to."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import hypothesis.strategies as st
from hypothesis import assume, given

from policies import MILLION, Guest, slow_loop, targets

TAXES = st.sampled_from([0, 750_000, 990_000, MILLION - 1]) | st.integers(0, MILLION - 1)


@st.composite
def guests(draw: st.DrawFn, most_pages: int, most_shares: int) -> Guest:
    low, high = sorted(draw(st.tuples(*[st.integers(0, most_pages)] * 2)))
    shares = draw(st.integers(0, most_shares) | st.sampled_from([0, 1, most_shares]))
    active = draw(st.integers(0, 2 * most_pages) | st.sampled_from([0, low, high, 2**40]))
    return Guest(shares, low, high, active)


@st.composite
def worlds(draw: st.DrawFn, most_pages: int, most_shares: int) -> tuple[list[Guest], int]:
    """VMs, twins among them, and what there is for them: all min and more."""
    vms = draw(st.lists(guests(most_pages, most_shares), max_size=5))
    vms += draw(st.lists(st.sampled_from(vms), max_size=3)) if vms else []
    low, high = sum(vm.min_pages for vm in vms), sum(vm.max_pages for vm in vms)
    return vms, draw(st.integers(low, high + 3))


SMALL = worlds(30, 20)
HUGE = worlds(2**32 - 1, 10**9)


@given(SMALL, TAXES)
def test_targets_are_those_of_the_slow_loop(world: tuple[list[Guest], int], tax: int) -> None:
    vms, available = world
    assert targets(vms, available, tax / MILLION) == slow_loop(
        vms, available, Fraction(tax, MILLION)
    )


@given(HUGE, TAXES)
def test_the_loop_could_have_ended_there(world: tuple[list[Guest], int], tax: int) -> None:
    """Nobody holds a page that pays less than one that somebody lacks; exact, at any size."""
    vms, available = world
    found, rate = targets(vms, available, tax / MILLION), Fraction(tax, MILLION)
    assert sum(found) == min(available, sum(vm.max_pages for vm in vms))
    assert all(vm.min_pages <= pages <= vm.max_pages for vm, pages in zip(vms, found, strict=True))
    held = [
        (vm.price(pages, rate), index, index)
        for index, (vm, pages) in enumerate(zip(vms, found, strict=True))
        if pages > vm.min_pages
    ]
    lacked = [
        (vm.price(pages + 1, rate), index, index)
        for index, (vm, pages) in enumerate(zip(vms, found, strict=True))
        if pages < vm.max_pages
    ]
    for last in held:
        assert all(following <= last for following in lacked if following[2] != last[2])


@given(HUGE, TAXES, st.integers(0, 2**33))
def test_more_available_takes_from_nobody(
    world: tuple[list[Guest], int], tax: int, more: int
) -> None:
    vms, available = world
    less = targets(vms, available, tax / MILLION)
    richer = targets(vms, available + more, tax / MILLION)
    assert all(one <= other for one, other in zip(less, richer, strict=True))


@given(HUGE, TAXES, st.integers(0, 7), st.integers(1, 10**9))
def test_more_shares_never_give_less(
    world: tuple[list[Guest], int], tax: int, place: int, more: int
) -> None:
    """Nor any of the others more."""
    vms, available = world
    assume(vms)
    place %= len(vms)
    richer = [replace(vm, shares=vm.shares + more * (i == place)) for i, vm in enumerate(vms)]
    before = targets(vms, available, tax / MILLION)
    after = targets(richer, available, tax / MILLION)
    assert after[place] >= before[place]
    assert all(after[i] <= before[i] for i in range(len(vms)) if i != place)


@given(HUGE, st.randoms(use_true_random=False))
def test_without_a_tax_only_shares_count(world: tuple[list[Guest], int], random: object) -> None:
    """Whatever is active: pages as the divisor method gives them, no page worth moving."""
    vms, available = world
    pages = targets(vms, available, 0.0)
    others = [replace(vm, active_pages=random.randrange(2**33)) for vm in vms]  # type: ignore[attr-defined]
    assert targets(others, available, 0.0) == pages
    for vm, has in zip(vms, pages, strict=True):
        for other, holds in zip(vms, pages, strict=True):
            if other is not vm and has > vm.min_pages and holds < other.max_pages:
                assert vm.shares * (holds + 1) >= other.shares * has


@given(HUGE, TAXES, st.integers(1, 1000))
def test_shares_count_relative_to_each_other(
    world: tuple[list[Guest], int], tax: int, by: int
) -> None:
    vms, available = world
    scaled = [replace(vm, shares=by * vm.shares) for vm in vms]
    assert targets(scaled, available, tax / MILLION) == targets(vms, available, tax / MILLION)


@given(SMALL, TAXES, st.randoms(use_true_random=False))
def test_the_order_of_vms_decides_ties_only(
    world: tuple[list[Guest], int], tax: int, random: object
) -> None:
    vms, available = world
    assume(all(vm.shares for vm in vms))
    order = list(range(len(vms)))
    random.shuffle(order)  # type: ignore[attr-defined]
    plain = targets(vms, available, tax / MILLION)
    mixed = targets([vms[vm] for vm in order], available, tax / MILLION)
    assert all(abs(plain[vm] - mixed[place]) <= 1 for place, vm in enumerate(order))


@given(HUGE, TAXES)
def test_a_tax_takes_from_the_idle_for_the_active(world: tuple[list[Guest], int], tax: int) -> None:
    """A VM whose every page is active never has less with a tax than without."""
    vms, available = world
    taxed, untaxed = targets(vms, available, tax / MILLION), targets(vms, available, 0.0)
    for vm, with_tax, without in zip(vms, taxed, untaxed, strict=True):
        if vm.active_pages >= vm.max_pages and vm.shares:
            assert with_tax >= without - 1  # whole pages: the last may go the other way
