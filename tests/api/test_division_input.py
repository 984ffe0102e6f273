"""Bad input of hosts that divide memory: a typed error in one line, and nothing changed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import esxcore
from esxcore import (
    ArgumentTypeError,
    BalloonDriver,
    ConfigError,
    NotAdmittedError,
    PolicyError,
    UnknownVmError,
)
from odd_policies import Asked
from worlds import dividing_host, size, small_host

NAN = math.nan
A_SIZE = "expected a size such as '256MiB' or a whole number of pages"
COLUMN = "expected whole numbers of an integer dtype, one for each VM"

HOSTS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"thresholds": (NAN, 0.04, 0.02, 0.01)}, ConfigError,
     "high_threshold is NaN; expected above 0 and below 1"),
    ({"thresholds": (0.06, 0.04, 0.02, NAN)}, ConfigError,
     "low_threshold is NaN; expected at least 0 and below 0.02, which is hard_threshold"),
    ({"thresholds": (0.01, 0.02, 0.04, 0.06)}, ConfigError,
     "soft_threshold is 0.02; expected above 0 and below 0.01, which is high_threshold"),
    ({"thresholds": (0.06, 0.02, 0.04, 0.01)}, ConfigError,
     "hard_threshold is 0.04; expected above 0 and below 0.02, which is soft_threshold"),
    ({"thresholds": (1.0, 0.04, 0.02, 0.01)}, ConfigError,
     "high_threshold is 1; expected above 0 and below 1"),
    ({"thresholds": (0.06, 0.04)}, ArgumentTypeError,
     "thresholds: (0.06, 0.04); expected four fractions: high, soft, hard, low"),
    ({"thresholds": "abcd"}, ArgumentTypeError, "thresholds: 'a'; expected a number"),
    ({"state_margin": NAN}, ConfigError, "state_margin is NaN; expected a finite number"),
    ({"state_margin": -1}, ConfigError, "state_margin is -1; expected a finite number"),
    ({"state_margin": 1e9}, ConfigError, "state_margin is 1000000000; expected so little"),
    ({"balloon_cap": NAN}, ConfigError, "balloon_cap is NaN; expected 0 to 1"),
    ({"balloon_cap": "1"}, ArgumentTypeError, "balloon_cap: '1'; expected a number"),
    ({"balloon_host_cap": 1.5}, ConfigError, "balloon_host_cap is 1.5; expected 0 to 1"),
    ({"balance_period": 0}, ConfigError, "balance_period: 0; expected 1 to"),
    ({"balance_period": 1.5}, ArgumentTypeError, "balance_period: 1.5 is float; expected"),
    ({"balance_period": "0.5s"}, ConfigError, "balance_period: '0.5s'; expected 1 to"),
    ({"swap": -1}, ConfigError, "swap: -1 pages; expected 0 to 4294967295"),
    ({"swap": 1.5}, ArgumentTypeError, f"swap: 1.5 is float; {A_SIZE}"),
    ({"swap_out_rate": -1}, ConfigError, "swap_out_rate: -1; expected 1 to 4294967295"),
    ({"swap_out_rate": 0}, ConfigError, "swap_out_rate: 0; expected 1 to 4294967295"),
    ({"balloon_guest_caps": 0.5}, ArgumentTypeError,
     "balloon_guest_caps: 0.5; expected fractions by guest type, such as {'linux': 0.65}"),
    ({"balloon_guest_caps": {1: 0.5}}, ArgumentTypeError,
     "balloon_guest_caps: 1; expected the name of a guest type"),
    ({"balloon_guest_caps": {"": 0.5}}, ConfigError, "balloon_guest_caps: ''; expected one or"),
    ({"balloon_guest_caps": {"a\ud800": 0.5}}, ConfigError, "balloon_guest_caps: 'a\\ud800'; exp"),
    ({"balloon_guest_caps": {"linux": 1.01}}, ConfigError,
     "balloon_guest_caps['linux']: 1.01; expected 0 to 1"),
    ({"balloon_guest_caps": {"a": 0, "linux": NAN}}, ConfigError,
     "balloon_guest_caps['linux']: nan; expected 0 to 1"),
    ({"balloon_guest_caps": {"linux": "x"}}, ArgumentTypeError,
     "balloon_guest_caps['linux']: 'x'; expected a number"),
    ({"ledger_records": True}, ArgumentTypeError, "ledger_records: True is bool; expected"),
    ({"shared_charge": "half"}, ConfigError, "shared_charge: 'half'; expected one of 'full'"),
    ({"share_before_swap": 1}, ArgumentTypeError, "share_before_swap: 1; expected True or False"),
]  # fmt: skip
POLICIES: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: "esx2003", ConfigError,
     "policy: no policy is named 'esx2003'; did you mean 'esx2002'?"),
    (lambda: "none", ConfigError, "policy: no policy is named 'none'; expected one of 'esx2002',"),
    (lambda: 3, ArgumentTypeError, "policy: 3; expected a name or an object with a method"),
    (lambda: esxcore.MinFunding, ArgumentTypeError,
     "policy: <class 'esxcore.policy.MinFunding'>; expected an instance, MinFunding()"),
    (lambda: Asked, ArgumentTypeError,
     "policy: <class 'odd_policies.Asked'>; expected an instance, Asked(answer)"),
    (lambda: dict, ArgumentTypeError, "policy: <class 'dict'>; expected a name or an object with"),
    (lambda: esxcore.MinFunding(1.0), ConfigError,
     "tax_rate is 1; expected a number of at least 0 and below 1"),
    (lambda: esxcore.MinFunding(-0.1), ConfigError, "tax_rate is -0.1; expected a number of"),
    (lambda: esxcore.MinFunding(NAN), ConfigError, "tax_rate is NaN; expected a number of"),
    (lambda: esxcore.MinFunding("x"), ArgumentTypeError, "tax_rate: 'x'; expected a number"),
    (lambda: esxcore.Proxmox(NAN), ConfigError, "target_fraction is NaN; expected a number from 0"),
    (lambda: esxcore.Squeezed(0, NAN), ConfigError, "patience_s: nan; expected a number above 0"),
    (lambda: esxcore.Static([1.5]), ArgumentTypeError, f"targets: 1.5 of dtype float64; {COLUMN}"),
]  # fmt: skip
POWER_ON: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"min": -1}, ConfigError, "min: -1 pages; expected 0 to 4294967295"),
    ({"min": 11}, ConfigError, "min is 11 pages; expected at most 10 pages, which is max"),
    ({"min": 1.5}, ArgumentTypeError, f"min: 1.5 is float; {A_SIZE}"),
    ({"min": True}, ArgumentTypeError, f"min: True is bool; {A_SIZE}"),
    ({"min": "10"}, ConfigError, "min: '10' has no unit; expected one of KiB"),
    ({"shares": -1}, ConfigError, "shares: -1; expected 0 to 4294967295"),
    ({"shares": NAN}, ArgumentTypeError, "shares: nan is float; expected a whole number"),
    ({"shares": True}, ArgumentTypeError, "shares: True is bool; expected a whole number"),
    ({"shares": "lots"}, ConfigError, "shares: 'lots'; expected one of 'low', 'normal', 'high'"),
    ({"overhead": -1}, ConfigError, "overhead: -1 pages; expected 0 to 4294967295"),
    ({"balloon_limit": NAN}, ArgumentTypeError, f"balloon_limit: nan is float; {A_SIZE}"),
    ({"driver": 0}, ArgumentTypeError, "driver: 0; expected a BalloonDriver"),
    ({"driver": "stuck"}, ArgumentTypeError, "driver: 'stuck'; expected a BalloonDriver"),
    ({"driver": BalloonDriver(start=-1)}, ConfigError, "driver start: -1; expected 0 to"),
    ({"driver": BalloonDriver(start=0.0)}, ArgumentTypeError, "driver start: 0.0 is float;"),  # type: ignore[arg-type]
    ({"driver": BalloonDriver(start=np.arange(2))}, ArgumentTypeError, "driver start: array("),  # type: ignore[arg-type]
    ({"driver": BalloonDriver(start="1.5s")}, ConfigError, "driver start: '1.5s'; expected 0 to"),
    ({"driver": BalloonDriver(max_rate=-1)}, ConfigError, "driver max_rate: -1; expected 0 to"),
    ({"driver": BalloonDriver(limit=-1)}, ConfigError, "driver limit: -1 pages; expected 0 to"),
    ({"driver": BalloonDriver(stuck_at=True)}, ArgumentTypeError, "driver stuck_at: True is bool"),
]  # fmt: skip
CALLS: list[tuple[Callable[[esxcore.Host], Any], type[Exception], str]] = [
    (lambda host: host.configure("web", min=-1), ConfigError, "min: -1 pages; expected 0 to"),
    (lambda host: host.configure("web", min=41), ConfigError,
     "min is 41 pages; expected at most 40 pages, which is max"),
    (lambda host: host.configure("web", max=19), ConfigError,
     "min is 20 pages; expected at most 19 pages, which is max"),
    (lambda host: host.configure("web", max=0), ConfigError,
     "max is 0 pages; expected at least one page"),
    (lambda host: host.configure("web", max=41), ConfigError,
     "max is 41 pages; expected at most 40 pages, its size since power-on"),
    (lambda host: host.configure("web", shares="x"), ConfigError, "shares: 'x'; expected one of"),
    (lambda host: host.configure("web", max=NAN), ArgumentTypeError, "max: nan is float;"),
    (lambda host: host.configure("mail", min=1), UnknownVmError, 'no VM "mail" is powered on'),
    (lambda host: host.configure(1, min=1), ArgumentTypeError, "vm: 1; expected a Vm or the name"),
    (lambda host: host.explain("mail"), UnknownVmError, 'no VM "mail" is powered on'),
    (lambda host: host.explain("web", at=-1), ConfigError, "at: -1; expected a time from 0 to"),
    (lambda host: host.explain("web", at=NAN), ConfigError, "at: nan; expected a time from 0 to"),
    (lambda host: host.explain("web", at=True), ArgumentTypeError, "at: True; expected a number"),
    (lambda host: host.explain("web", at="5"), ConfigError, "at: '5' has no unit; expected one"),
    (lambda host: setattr(host, "policy", None), ArgumentTypeError, "policy: None; expected a"),
    (lambda host: host.set_targets([20]), PolicyError,
     "targets has 1 rows for 2 VMs; expected one for each"),
    (lambda host: host.set_targets([19, 20]), PolicyError,
     'the target of VM "web" is 19 pages; expected 20 to 40'),
    (lambda host: host.set_targets([20, 41]), PolicyError,
     'the target of VM "db" is 41 pages; expected 20 to 40'),
    (lambda host: host.set_targets([20.0, 20]), ArgumentTypeError, "targets: 20.0 of dtype"),
    (lambda host: host.set_targets([NAN, 20]), ArgumentTypeError, "targets: nan of dtype"),
    (lambda host: host.set_targets(None), ArgumentTypeError, "targets: None of dtype NoneType;"),
    (lambda host: host.set_targets([[20, 20]]), ArgumentTypeError, "targets: shape (1, 2);"),
    (lambda host: host.set_targets([2**70, 20]), ConfigError, "targets of VM 0 is 118059162071"),
]  # fmt: skip


def refused(call: Callable[[], Any], kind: type[Exception], message: str) -> Exception:
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind
    assert str(caught.value).startswith(message), str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.fixture
def host() -> esxcore.Host:
    """With some history behind it."""
    host = dividing_host()
    host.touch("web", np.arange(40), write=True)
    host.advance(3)
    return host


@pytest.mark.parametrize("policy", ["esx2002", None])
@pytest.mark.parametrize(("options", "kind", "message"), HOSTS)
def test_settings_of_hosts(
    options: dict[str, Any], kind: type[Exception], message: str, policy: str | None
) -> None:
    """Also of one that does not divide its memory: what is given is never just ignored."""
    refused(lambda: esxcore.Host("4MiB", content="tokens", policy=policy, **options), kind, message)


@pytest.mark.parametrize(("make", "kind", "message"), POLICIES)
def test_policies(
    host: esxcore.Host, make: Callable[[], Any], kind: type[Exception], message: str
) -> None:
    before, digest = host.policy, host.state_digest()
    refused(lambda: setattr(host, "policy", make()), kind, message)
    refused(lambda: esxcore.Host("4MiB", policy=make()), kind, message)
    assert (host.policy, host.state_digest()) == (before, digest)


@pytest.mark.parametrize(("options", "kind", "message"), POWER_ON)
def test_power_on(
    host: esxcore.Host, options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    digest = host.state_digest()
    call = {"max": size(10), "overhead": 2} | options
    refused(lambda: host.power_on("mail", **call), kind, message)
    assert host.state_digest() == digest
    host.audit()


@pytest.mark.parametrize(("call", "kind", "message"), CALLS)
def test_calls(
    host: esxcore.Host,
    call: Callable[[esxcore.Host], Any],
    kind: type[Exception],
    message: str,
) -> None:
    before, digest = host.policy, host.state_digest()
    refused(lambda: call(host), kind, message)
    assert (host.policy, host.state_digest()) == (before, digest)
    host.audit()


def test_a_machine_too_small_for_what_it_is_to_promise(host: esxcore.Host) -> None:
    """94 pages may be promised, 44 of them are already."""
    digest = host.state_digest()
    error = refused(
        lambda: host.power_on("mail", max=size(60), min=49, overhead=2),
        NotAdmittedError,
        'VM "mail" wants 51 pages of memory reserved (min 49 + overhead 2) but 50 are unreserved',
    )
    assert (error.wanted_pages, error.unreserved_pages) == (51, 50)  # type: ignore[attr-defined]
    error = refused(
        lambda: host.power_on("mail", max=size(62), min=1, overhead=2),
        NotAdmittedError,
        'VM "mail" wants 61 pages of swap space reserved (size 62 - min 1) but 60 are unreserved;'
        " Host(swap=...) sets how much there is",
    )
    assert (error.wanted_pages, error.unreserved_pages) == (61, 60)  # type: ignore[attr-defined]
    assert host.state_digest() == digest
    host.power_on("mail", max=size(48), min=48, overhead=2)
    error = refused(
        lambda: host.power_on("news", max=size(1), min=1, overhead=0),
        NotAdmittedError,
        'VM "news" wants 1 pages of memory reserved (min 1 + overhead 0) but 0 are unreserved',
    )


def test_overhead_that_is_not_free_is_made_free() -> None:
    """Some pages are free, and fewer than the server needs for the newcomer."""
    host = esxcore.Host(size(40), content="tokens", sharing=False)
    host.power_on("web", max=size(30), min=0, overhead=0)
    host.touch("web", np.arange(30), write=True)
    host.power_on("mail", max=size(10), min=0, overhead=20)
    assert host.stats()["overhead_pages"] == 20
    assert host.vms()["swapped_pages"][0] >= 10
    host.audit()


def test_a_balloon_is_capped_by_the_type_of_its_guest() -> None:
    def largest(caps: dict[str, float] | None) -> int:
        host = dividing_host(balloon_guest_caps=caps)
        host.power_on("log", max=size(40), overhead=2, min=0, balloon_limit=size(26))
        sizes = []
        for _ in range(30):
            for name in ("web", "db", "log"):
                host.touch(name, np.arange(40), write=True)
            host.advance(1)
            sizes.append(host.vms()["balloon_pages"].max())
        host.audit()
        return int(max(sizes))

    assert largest(None) == largest({}) == largest({"linux": 0.1}) > 4
    assert largest({"linux": 0.9, "default": 0.1}) == 4
    assert largest({"default": 0}) == 0


def test_powered_off_twice(host: esxcore.Host) -> None:
    web = host.vm("web")
    web.power_off()
    digest = host.state_digest()
    gone = 'VM "web" of this handle is powered off'
    for call in (web.power_off, web.explain, lambda: web.configure(min=1), lambda: web.touch(0)):
        refused(call, UnknownVmError, gone)
    refused(lambda: host.power_off("web"), UnknownVmError, 'no VM "web" is powered on')
    refused(lambda: host.explain("web"), UnknownVmError, 'no VM "web" is powered on')
    assert host.state_digest() == digest
    host.audit()


def test_a_ledger_that_is_off() -> None:
    host = dividing_host(ledger_records=0)
    host.advance(2)
    off = "the ledger is off: no decision is recorded"
    refused(lambda: host.explain("web"), ConfigError, off)
    refused(host.replay, ConfigError, off)


def test_a_host_that_does_not_divide_its_memory() -> None:
    host = small_host(100)
    host.power_on("web", max=size(40))
    digest = host.state_digest()
    for call in (
        host.view,
        host.replay,
        lambda: host.explain("web"),
        lambda: host.set_targets([20]),
        lambda: setattr(host, "policy", "equal"),
    ):
        refused(call, ConfigError, "the host does not divide its memory: it was made without a")
    assert (host.policy, host.free_state, host.state_digest()) == (None, None, digest)
