"""The seam of policies: what they may see and say, and what becomes of nonsense."""

from __future__ import annotations

import dataclasses
import threading
import traceback
from typing import Any

import numpy as np
import pytest

import esxcore
from odd_policies import HOSTILE, Asked, Keeper, Trouble, Watched, trouble
from worlds import dividing_host, size

FORM = "policy 'asked': its targets"
MESSAGES = {
    "nothing": f"{FORM} are of type NoneType; expected a list or an array of 2 whole numbers, one",
    "a generator": f"{FORM} are of type generator; expected a list or an array of 2 whole numbers",
    "a set": f"{FORM} are of type set; expected a list or an array of 2 whole numbers, one",
    "one number": f"{FORM} are of type int; expected a list or an array of 2 whole numbers, one",
    "too short": f"{FORM} have shape (1,); expected (2,), one for each VM",
    "too long": f"{FORM} have shape (3,); expected (2,), one for each VM",
    "ragged": f"{FORM} are no column; expected 2 whole numbers",
    "two axes": f"{FORM} have shape (1, 2); expected (2,), one for each VM",
    "floats": f"{FORM} are float64; expected whole pages",
    "NaN": f"{FORM} are float64; expected whole pages",
    "truths": f"{FORM} are bool; expected whole pages",
    "text": f"{FORM} are <U3; expected whole pages",
    "objects": f"{FORM} are object; expected whole pages",
    "masked": f"{FORM} are a masked array; none may be masked",
    "beyond 64 bits": "policy 'asked': the target 9223372036854775808 is no number of pages",
    "beyond any": f"{FORM} are object; expected whole pages",
    "negative": 'the target of VM "web" is -1 pages; expected 20 to 40',
    "below min": 'the target of VM "web" is 19 pages; expected 20 to 40',
    "above max": 'the target of VM "web" is 41 pages; expected 20 to 40',
}


def targets(host: esxcore.Host) -> list[int]:
    return [int(pages) for pages in host.vms()["target_pages"]]


def tight_host(policy: Any = "esx2002") -> esxcore.Host:
    """Three VMs of 40 pages, all in use, on 100 pages."""
    host = dividing_host(policy=policy)
    host.power_on("log", max=size(40), overhead=2)
    for name in ("web", "db", "log"):
        host.touch(name, np.arange(40), write=True)
    return host


# -- hostile ones ----------------------------------------------------------------------------------


@pytest.mark.parametrize("what", MESSAGES)
def test_an_answer_that_cannot_be_changes_nothing(what: str) -> None:
    host = dividing_host()
    host.set_targets([25, 30])
    host.advance(1)
    host.policy = Asked(HOSTILE[what])
    with pytest.raises(esxcore.PolicyError) as caught:
        host.advance(3)
    assert str(caught.value).startswith(MESSAGES[what])
    assert "\n" not in str(caught.value)
    assert (targets(host), host.now) == ([25, 30], 2.0)
    host.audit()
    assert host.touch("web", np.arange(40)).done == 40
    assert "gave no targets" in str(host.explain("web"))
    host.policy = "equal"
    host.advance(1)
    assert targets(host) == [40, 40]


def test_more_than_is_available_is_refused_unless_it_is_declared() -> None:
    policy = Asked(lambda view: view.max_pages)
    host = tight_host(policy)
    available = host.view().available_pages
    with pytest.raises(esxcore.PolicyError) as caught:
        host.advance(1)
    assert str(caught.value) == (
        f"the targets add up to 120 but {available} pages are available; only a policy with"
        " may_overcommit = True may give out more, so that paging follows"
    )
    host.policy = Asked(lambda view: view.max_pages, may_overcommit=True)
    host.advance(1)
    assert targets(host) == [40, 40, 40]
    assert "paging follows" in str(host.explain("web"))


def test_a_class_around_a_policy_that_overcommits_has_to_say_so() -> None:
    """Which the protocol tells; Proxmox steers the machine and looks at no sum."""
    steering = esxcore.Proxmox(target_fraction=1.0)
    host = tight_host(Asked(steering.targets))
    with pytest.raises(esxcore.PolicyError, match="may_overcommit = True"):
        host.advance(1)
    assert "may_overcommit = True" in (esxcore.Policy.__doc__ or "")
    host.policy = Asked(steering.targets, may_overcommit=True)
    host.advance(1)
    assert sum(targets(host)) > host.view().available_pages


def test_what_a_policy_raises_comes_out_whole() -> None:
    host = dividing_host(policy=Asked(trouble))
    with pytest.raises(Trouble, match=r"^at 1\.0 s$") as caught:
        host.advance(5)
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names[-2:] == ["targets", "trouble"]
    assert host.now == 1.0
    host.advance(5)  # asked again when there is cause, not at every second
    assert host.now == 6.0
    host.audit()


@pytest.mark.parametrize("raised", [SystemExit(3), KeyboardInterrupt(), MemoryError("x")])
def test_even_what_ends_programs_comes_out_whole(raised: BaseException) -> None:
    def answer(view: esxcore.HostView) -> Any:
        raise raised

    host = dividing_host(policy=Asked(answer))
    with pytest.raises(type(raised)) as caught:
        host.advance(1)
    assert caught.value is raised
    host.audit()


CALLS = {
    "advance": lambda host: host.advance(1),
    "view": lambda host: host.view(),
    "touch": lambda host: host.touch("web", [0]),
    "stats": lambda host: host.stats(),
    "power_off": lambda host: host.power_off("web"),
    "policy": lambda host: setattr(host, "policy", "equal"),
    "now": lambda host: host.now,
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_policy_that_calls_its_host(call: Any) -> None:
    host = dividing_host()
    before = host.state_digest()
    host.policy = policy = Asked(lambda view: call(host))
    with pytest.raises(esxcore.HostBusyError, match="serving another call"):
        host.advance(1)
    assert targets(host) == [40, 40]
    assert host.policy is policy
    assert host.state_digest() != before  # time has passed
    host.audit()


def test_a_policy_may_ask_another_host() -> None:
    other = dividing_host(policy=Asked(trouble))
    caught = []

    def answer(view: esxcore.HostView) -> Any:
        try:
            other.advance(1)
        except Trouble as error:
            caught.append(error)
        return view.max_pages

    host = dividing_host(policy=Asked(answer))
    host.advance(1)
    assert len(caught) == 1


def test_each_thread_gets_its_own_exception() -> None:
    caught: list[tuple[int, int]] = []
    both = threading.Barrier(2)

    def live(number: int) -> None:
        def answer(view: esxcore.HostView) -> Any:
            both.wait()
            raise Trouble(number)

        for _ in range(20):
            with pytest.raises(Trouble) as raised:
                dividing_host(policy=Asked(answer)).advance(1)
            caught.append((number, raised.value.args[0]))

    threads = [threading.Thread(target=live, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(caught) == [(1, 1)] * 20 + [(2, 2)] * 20


# -- views -----------------------------------------------------------------------------------------


def test_a_view_is_a_value() -> None:
    host = tight_host(Keeper())
    view = host.view()
    text = repr(view)
    host.advance(40)
    assert repr(view) == text != repr(host.view())
    for name in type(view).__slots__:
        column = getattr(view, name)
        if isinstance(column, np.ndarray):
            with pytest.raises(ValueError, match="read-only"):
                column[0] = 0
            with pytest.raises(ValueError, match="WRITEABLE"):
                column.setflags(write=True)
    with pytest.raises(AttributeError):
        view.free_pages = 1  # type: ignore[misc]


def test_apportioning_is_exact_on_whole_numbers() -> None:
    view = tight_host().view()
    for weights in ([1, 1, 1], [1, 2, 4], [0, 0, 1], [2**52, 2**52 - 1, 1], [0, 0, 0]):
        found = view.apportion(weights)
        assert found.dtype == np.int64
        wanted = esxcore.min_funding_targets(
            shares=weights if any(weights) else [1, 1, 1],  # no weights at all are equal ones
            min_pages=view.min_pages,
            max_pages=view.max_pages,
            active_pages=view.max_pages,
            available_pages=view.available_pages,
            tax_rate=0,
        )
        assert found.tolist() == wanted.tolist()
        assert found.sum() == view.available_pages
    assert view.apportion([0.0, -0.0, 0]).tolist() == view.apportion([5, 5, 5]).tolist()
    for kind in (np.uint8, np.int32, np.float32, np.float64):
        assert (view.apportion(np.array([1, 2, 4], kind)) == view.apportion([1, 2, 4])).all()


def test_a_view_can_be_changed_to_ask_what_if() -> None:
    view = tight_host().view()
    shares, richer = [1, 2, 4], np.uint32(110)
    changed = dataclasses.replace(
        view, shares=shares, available_pages=richer, names=["a", "b", "c"]
    )
    assert changed.shares.tolist() == shares
    assert (changed.shares.dtype, changed.shares.flags.writeable) == (np.int64, False)
    assert (changed.names, changed.available_pages) == (("a", "b", "c"), 110)
    assert esxcore.Proportional().targets(changed).sum() == 110
    mine = view.shares.copy()
    kept = dataclasses.replace(view, shares=mine)
    mine[0] = 77
    assert kept.shares.tolist() == view.shares.tolist(), "a view is a value"
    assert repr(dataclasses.replace(view)) == repr(view)


ODD: list[tuple[dict[str, Any], str]] = [
    ({"names": None}, "names: None; expected a tuple of texts"),
    ({"names": ("a", 1, "c")}, "names: 1; expected printable text"),
    ({"names": ("a", "\ud800", "c")}, "names: '\\ud800'; expected printable text"),
    ({"names": ("a", "b")}, "shares: shape (3,); expected (2,), one for each VM"),
    ({"shares": [1, 2]}, "shares: shape (2,); expected (3,), one for each VM"),
    ({"shares": np.ones((3, 1), int)}, "shares: shape (3, 1); expected"),
    ({"shares": None}, "shares: None of dtype NoneType; expected whole numbers"),
    ({"shares": [1.5, 2, 3]}, "shares: 1.5 of dtype float64; expected whole numbers"),
    ({"shares": [1, -2, 3]}, "shares of VM 1 is -2; expected 0 to 9223372036854775807"),
    ({"shares": [1, 2, 2**70]}, "shares of VM 2 is 11805916207174113"),
    ({"min_pages": [0, 0, -1]}, "min_pages of VM 2 is -1; expected 0 to 4294967295"),
    ({"max_pages": [2**32, 9, 9]}, "max_pages of VM 0 is 4294967296; expected 0 to 4294967295"),
    ({"active_pages": [True, False, True]}, "active_pages: True of dtype bool; expected whole"),
    ({"guest_free_pages": [-2, 0, 0]}, "guest_free_pages of VM 0 is -2; expected -1 to"),
    ({"stall_fraction": [0, np.nan, 0]}, "stall_fraction of VM 1 is nan; expected 0 to 1"),
    ({"stall_fraction": [0, 0, 1.5]}, "stall_fraction of VM 2 is 1.5; expected 0 to 1"),
    ({"stall_fraction": ["a", "b", "c"]}, "stall_fraction: dtype <U1; expected numbers"),
    ({"stall_fraction": [[1], [1, 2], [1]]}, "stall_fraction: [[1], [1, 2], [1]]; expected"),
    ({"driver_ok": [1, 1, 0]}, "driver_ok: dtype int64; expected truths"),
    ({"machine_pages": -1}, "machine_pages: -1; expected 0 to 4294967295"),
    ({"free_pages": 1.5}, "free_pages: 1.5 is float; expected a whole number"),
    ({"available_pages": 2**64}, "available_pages: 18446744073709551616; expected 0 to"),
    ({"free_state": "fine"}, "free_state: 'fine'; expected one of 'high', 'soft', 'hard', 'low'"),
    ({"now_s": np.nan}, "now_s: nan; expected a finite number of at least 0"),
    ({"now_s": "1s"}, "now_s: '1s'; expected a number"),
]


@pytest.mark.parametrize(("odd", "message"), ODD)
def test_a_view_that_no_host_can_have_is_refused(odd: dict[str, Any], message: str) -> None:
    with pytest.raises(esxcore.ConfigError) as caught:
        dataclasses.replace(tight_host().view(), **odd)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("weights", "kind", "message"),
    [
        ([1], esxcore.ConfigError, "weights: shape (1,); expected (2,), one for each VM"),
        ([[1, 2]], esxcore.ConfigError, "weights: shape (1, 2); expected (2,), one for each VM"),
        ([1, np.nan], esxcore.ConfigError, "weight of VM 1 is NaN; expected a finite number"),
        ([-1, 1], esxcore.ConfigError, "weight of VM 0 is -1; expected a finite number"),
        ([np.inf, 1], esxcore.ConfigError, "weight of VM 0 is inf; expected a finite number"),
        (["a", "b"], esxcore.ArgumentTypeError, "weights: dtype <U1; expected numbers"),
        ([True, False], esxcore.ArgumentTypeError, "weights: dtype bool; expected numbers"),
        ([1j, 1], esxcore.ArgumentTypeError, "weights: dtype complex128; expected numbers"),
        (None, esxcore.ArgumentTypeError, "weights: dtype object; expected numbers"),
        ([[1], [2, 3]], esxcore.ArgumentTypeError, "weights: [[1], [2, 3]]; expected numbers"),
        (np.ma.array([1, 2], mask=[1, 0]), esxcore.ArgumentTypeError, "weights: a masked array"),
    ],
)
def test_weights_that_are_none(weights: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        dividing_host().view().apportion(weights)
    assert str(caught.value).startswith(message)


# -- those that come with the package --------------------------------------------------------------


@pytest.mark.parametrize("tax_rate", [0.0, 0.75, 0.99])
def test_the_policy_object_the_function_and_the_host_agree(tax_rate: float) -> None:
    host = tight_host(esxcore.MinFunding(tax_rate))
    host.configure("db", shares=7)
    host.advance(60)
    view = host.view()
    wanted = esxcore.min_funding_targets(
        shares=view.shares,
        min_pages=view.min_pages,
        max_pages=view.max_pages,
        active_pages=view.active_pages,
        available_pages=view.available_pages,
        tax_rate=tax_rate,
    )
    assert esxcore.MinFunding(tax_rate).targets(view).tolist() == wanted.tolist()
    written = Asked(lambda view: esxcore.MinFunding(tax_rate).targets(view))
    one, other = host.fork(), host.fork()
    other.policy, one.policy = written, esxcore.MinFunding(tax_rate)
    for _ in range(40):
        one.advance(1)
        other.advance(1)
        assert targets(one) == targets(other)
    assert one.state_digest() == other.state_digest()


@pytest.mark.parametrize(
    "policy",
    [
        "esx2002",
        "proportional",
        "equal",
        "static",
        "proxmox",
        esxcore.Equal(),
        esxcore.Static(),
        esxcore.Squeezed(),
    ],
)
def test_every_policy_runs_on_a_host(policy: Any) -> None:
    host = tight_host(policy)
    for _ in range(60):
        host.advance(1)
        host.audit()
    assert all(20 <= pages <= 40 for pages in targets(host))
    assert host.explain("web").facts["policy"] == getattr(policy, "name", policy)


def test_static_divides_by_size_whatever_anybody_does() -> None:
    host = esxcore.Host(memory="160MiB", content="tokens", policy="static")
    sizes = {"small": 24, "large": 96, "bound": 48}
    for name, mib in sizes.items():
        least = f"{mib}MiB" if name == "bound" else "4MiB"
        host.power_on(name, f"{mib}MiB", min=least, overhead="8MiB", shares=mib % 7)
    host.touch("small", np.arange(24 * 256))
    host.advance(30)
    small, large, bound = targets(host)
    assert bound == 48 * 256
    assert abs(4 * small - large) < 5
    assert host.explain("small").facts["policy"] == "static"
    before = targets(host)
    host.touch("large", np.arange(9000))
    host.advance(60)
    assert targets(host) == before
    assert host.view().available_pages > sum(before)  # sharing saves, and nobody gets it
    fork = host.fork()
    assert fork.policy is not host.policy
    host.power_off("bound")
    host.advance(15)
    fork.advance(15)
    assert (targets(host)[0] > small, targets(fork)) == (True, before)
    host.configure("small", max="12MiB")
    host.advance(1)
    assert abs(8 * targets(host)[0] - targets(host)[1]) < 9


def test_static_divides_anew_when_less_is_there() -> None:
    view = tight_host("static").view()
    policy = esxcore.Static()
    assert sum(policy.targets(view)) == view.available_pages
    more = dataclasses.replace(view, available_pages=view.available_pages + 7)
    assert sum(policy.targets(more)) == view.available_pages
    less = dataclasses.replace(view, available_pages=view.available_pages - 7)
    assert sum(policy.targets(less)) == view.available_pages - 7
    assert sum(policy.targets(view)) == view.available_pages - 7
    policy.targets(view)[:] = 0  # an array of one's own
    assert sum(policy.targets(view)) == view.available_pages - 7


def test_static_with_pages_is_fixed() -> None:
    host = tight_host("static")
    host.policy = esxcore.Static([30, 20, 38])
    host.advance(30)
    assert targets(host) == [30, 20, 38]
    view = host.view()
    assert esxcore.Static([30, 20, 38]).targets(view).tolist() == [30, 20, 38]
    assert esxcore.Static().targets(view).tolist() == view.apportion(view.max_pages).tolist()
    assert (esxcore.Static().pages, esxcore.Static([]).pages) == (None, ())


def test_whatever_tells_targets_is_a_policy() -> None:
    for policy in (esxcore.MinFunding(), esxcore.Squeezed(), Watched(esxcore.Equal())):
        assert isinstance(policy, esxcore.Policy)
    assert not isinstance(dividing_host(), esxcore.Policy)


def test_the_policy_that_was_given_is_told() -> None:
    policy = Watched(esxcore.MinFunding())
    host = dividing_host(policy=policy)
    assert host.policy is policy
    copy = host.fork()
    assert copy.policy is policy
    host.advance(1)
    copy.advance(1)
    assert policy.asked == 2
    copy.policy = "equal"
    assert isinstance(copy.policy, esxcore.Equal)
    assert host.policy is policy
    with pytest.raises(esxcore.ConfigError, match="did you mean 'esx2002'"):
        host.policy = "esx2001"
    assert host.policy is policy


def test_a_policy_that_remembers_is_forked_with_its_host() -> None:
    def lived() -> esxcore.Host:
        host = tight_host("squeezed")
        host.advance(3)
        return host

    def course(host: esxcore.Host) -> list[list[int]]:
        courses = []
        for _ in range(20):
            host.advance(1)
            courses.append(targets(host))
        return courses

    alone, host = course(lived()), lived()
    fork = host.fork()
    assert fork.policy is not host.policy
    fork.configure("web", max=size(25))
    fork.advance(40)
    assert course(host) == alone


def test_fixed_targets() -> None:
    host = dividing_host()
    host.set_targets(np.array([22, 33], dtype=np.uint16))
    assert isinstance(host.policy, esxcore.Static)
    host.advance(1)
    assert targets(host) == [22, 33]
    host.power_on("late", max=size(8), min=0, overhead=0)
    with pytest.raises(esxcore.PolicyError, match="targets has 2 rows for 3 VMs"):
        host.advance(1)
    assert targets(host) == [22, 33, 8]
    host.set_targets([22, 33, 4])
    host.advance(1)
    assert targets(host) == [22, 33, 4]
