"""Bad input: a typed error with the numbers in one line, and the host exactly as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import esxcore
from worlds import KINDS, pages, same, small_host

Call = Callable[[esxcore.Host], Any]


def a_host(kind: str) -> esxcore.Host:
    """Eight pages, half of them free; one VM with some history behind it."""
    host = small_host(8, kind)
    host.power_on("web", max="40KiB", contents=pages(kind, [1, 1, 0, 2]))
    host.scan(10)
    host.touch("web", [1], write=True)
    return host


def everything(host: esxcore.Host) -> list[Any]:
    return [host.state_digest(), host.stats(), host.vms(), host.pmap("web"), host.frames()]


@contextmanager
def unchanged(host: esxcore.Host) -> Iterator[None]:
    before = everything(host)
    yield
    assert all(same(one, other) for one, other in zip(before, everything(host), strict=True))
    host.audit()


def refused(host: esxcore.Host, call: Call, kind: type[Exception], *words: str) -> Any:
    """``call`` fails as said, in one line that has all ``words``, and nothing has changed."""
    with unchanged(host), pytest.raises(kind) as caught:
        call(host)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message
    return caught.value


@pytest.fixture(params=KINDS)
def host(request: pytest.FixtureRequest) -> esxcore.Host:
    return a_host(request.param)


@pytest.fixture
def tokens() -> esxcore.Host:
    return a_host("tokens")


@pytest.fixture
def byte_host() -> esxcore.Host:
    return a_host("bytes")


ACCESSES: dict[str, Callable[[esxcore.Host, Any], Any]] = {
    "touch": lambda host, ppns: host.touch("web", ppns),
    "read": lambda host, ppns: host.read("web", ppns),
    "peek": lambda host, ppns: host.peek("web", ppns),
    "write": lambda host, ppns: host.write("web", ppns, 5),
    "vm.touch": lambda host, ppns: host.vm("web").touch(ppns, write=True),
    "vm.read": lambda host, ppns: host.vm("web").read(ppns),
    "vm.peek": lambda host, ppns: host.vm("web").peek(ppns),
    "vm.write": lambda host, ppns: host.vm("web").write(ppns, 5),
}


@pytest.mark.parametrize("access", ACCESSES.values(), ids=ACCESSES)
@pytest.mark.parametrize(
    "ppn", [10, -1, 2**32, 2**32 + 1, 2**63 - 1, 2**63, 2**64, -(2**63), -(2**70)]
)
def test_a_page_that_the_vm_does_not_have(
    tokens: esxcore.Host, access: Callable[[esxcore.Host, Any], Any], ppn: int
) -> None:
    error = refused(tokens, lambda h: access(h, ppn), esxcore.PageRangeError, str(ppn), "web")
    assert isinstance(error, IndexError)


@pytest.mark.parametrize("access", ["touch", "read", "peek"])
@pytest.mark.parametrize("bad", [10, -1, 2**40])
def test_one_bad_page_spoils_the_whole_batch(host: esxcore.Host, access: str, bad: int) -> None:
    batch = np.array([0, 5, bad, 6], dtype=np.int64)
    refused(host, lambda h: ACCESSES[access](h, batch), esxcore.PageRangeError, str(bad), "10")


def test_a_list_with_a_number_beyond_all_bounds(host: esxcore.Host) -> None:
    refused(host, lambda h: h.touch("web", [0, 2**70]), esxcore.EsxError)


def test_unsigned_pages_beyond_the_signed_range(host: esxcore.Host) -> None:
    batch = np.array([0, 2**64 - 1], dtype=np.uint64)
    refused(host, lambda h: h.touch("web", batch), esxcore.PageRangeError, str(2**64 - 1))


NOT_INTEGERS: list[Any] = [
    True,
    1.0,
    "1",
    None,
    1 + 0j,
    [0, 1.5],
    [True, False],
    ["0"],
    [None],
    np.True_,
    np.float64(1),
    np.array([True, False]),
    np.array([0.0, 1.0]),
    np.array([0.0, 1.0], dtype=np.float32),
    np.array(["0"]),
    np.array([0, 1], dtype=object),
    np.array([0, 1], dtype="m8[s]"),
    np.array([0, 1], dtype="M8[s]"),
    {0, 1},
    {"ppn": 0},
]


@pytest.mark.parametrize("access", ACCESSES.values(), ids=ACCESSES)
@pytest.mark.parametrize("ppns", NOT_INTEGERS, ids=repr)
def test_page_numbers_are_integers(
    tokens: esxcore.Host, access: Callable[[esxcore.Host, Any], Any], ppns: Any
) -> None:
    error = refused(tokens, lambda h: access(h, ppns), esxcore.ArgumentTypeError)
    assert isinstance(error, TypeError)


@pytest.mark.parametrize("ppns", [[[0, 1]], np.zeros((2, 2), dtype=np.int64), [[0], [1, 2]]])
@pytest.mark.parametrize("access", ACCESSES.values(), ids=ACCESSES)
def test_page_numbers_are_one_dimensional(
    tokens: esxcore.Host, access: Callable[[esxcore.Host, Any], Any], ppns: Any
) -> None:
    refused(tokens, lambda h: access(h, ppns), esxcore.ArgumentTypeError)


BAD_TOKENS: list[tuple[Any, type[Exception], str]] = [
    (2**63, esxcore.ContentError, str(2**63)),
    (2**64, esxcore.ContentError, str(2**64)),
    (-1, esxcore.ContentError, "-1"),
    (True, esxcore.ArgumentTypeError, "bool"),
    (1.0, esxcore.ArgumentTypeError, "float"),
    ("1", esxcore.ArgumentTypeError, "U1"),
    (None, esxcore.ArgumentTypeError, ""),
    (np.array([2**63], dtype=np.uint64), esxcore.ContentError, str(2**63)),
    (np.array([-5]), esxcore.ContentError, "-5"),
    (np.array([1.0]), esxcore.ArgumentTypeError, "float64"),
    (np.array([True]), esxcore.ArgumentTypeError, "bool"),
    (np.array([1, 2]), esxcore.ContentError, "2"),
    (np.array([[1]]), esxcore.ContentError, "(1, 1)"),
    (np.array([], dtype=np.int64), esxcore.ContentError, "0"),
]


@pytest.mark.parametrize(("data", "error", "word"), BAD_TOKENS, ids=lambda value: repr(value)[:30])
def test_data_of_a_token_write(
    tokens: esxcore.Host, data: Any, error: type[Exception], word: str
) -> None:
    ppns = [5] if isinstance(data, np.ndarray) else 5
    refused(tokens, lambda h: h.write("web", ppns, data), error, word)


BAD_BYTES: list[tuple[Any, type[Exception], str]] = [
    (np.zeros(4095, dtype=np.uint8), esxcore.ContentError, "4095"),
    (np.zeros((1, 4095), dtype=np.uint8), esxcore.ContentError, "4095"),
    (np.zeros((2, 4096), dtype=np.uint8), esxcore.ContentError, "2"),
    (np.zeros((1, 1, 4096), dtype=np.uint8), esxcore.ContentError, "(1, 1, 4096)"),
    (np.zeros((1, 4096), dtype=np.int64), esxcore.ArgumentTypeError, "int64"),
    (np.zeros((1, 4096), dtype=np.int8), esxcore.ArgumentTypeError, "int8"),
    (np.zeros((1, 4096)), esxcore.ArgumentTypeError, "float64"),
    (7, esxcore.EsxError, ""),
    (None, esxcore.EsxError, ""),
]


@pytest.mark.parametrize(("data", "error", "word"), BAD_BYTES, ids=lambda value: repr(value)[:30])
def test_data_of_a_byte_write(
    byte_host: esxcore.Host, data: Any, error: type[Exception], word: str
) -> None:
    refused(byte_host, lambda h: h.write("web", [5], data), error, word)


ANY_LENGTH = [data for data, _, _ in (BAD_TOKENS[11], BAD_TOKENS[13], BAD_BYTES[2])]


@pytest.mark.parametrize("kind", KINDS)
def test_contents_at_power_on(kind: str) -> None:
    """The same data is refused here, but for its length, which is free."""
    host = a_host(kind)
    for data, error, word in BAD_TOKENS if kind == "tokens" else BAD_BYTES:
        if isinstance(data, np.ndarray) and not any(data is other for other in ANY_LENGTH):
            refused(host, lambda h, d=data: h.power_on("db", max="16KiB", contents=d), error, word)
    assert host.vms()["name"].tolist() == ["web"]


def test_contents_larger_than_the_vm(host: esxcore.Host) -> None:
    kind = "tokens" if host.peek("web", np.array([0])).dtype == np.uint64 else "bytes"
    big = pages(kind, [1, 2, 3])
    refused(
        host, lambda h: h.power_on("db", max="8KiB", contents=big), esxcore.ContentError, "3", "2"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_contents_larger_than_free_memory(kind: str) -> None:
    host = a_host(kind)
    free = host.stats()["free_pages"]
    big = pages(kind, range(free + 1))
    error = refused(
        host,
        lambda h: h.power_on("db", contents=big),
        esxcore.OutOfMachineMemoryError,
        str(free),
        str(free + 1),
    )
    assert (error.wanted_pages, error.free_pages) == (free + 1, free)
    host.power_on("db", contents=big[:free])
    assert host.stats()["free_pages"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_write_or_read_without_memory_says_how_far_it_got(kind: str) -> None:
    host = small_host(4, kind)
    host.power_on("web", max="40KiB", contents=pages(kind, [1, 2]))
    with pytest.raises(esxcore.OutOfMachineMemoryError) as caught:
        host.write("web", np.arange(6), pages(kind, range(10, 16)))
    assert (caught.value.done, caught.value.free_pages) == (4, 0)
    assert np.array_equal(host.peek("web", np.arange(6)), pages(kind, [10, 11, 12, 13, 0, 0]))
    with unchanged(host), pytest.raises(esxcore.OutOfMachineMemoryError) as caught:
        host.read("web", 7)
    assert caught.value.done == 0
    report = host.touch("web", np.arange(6))
    assert (report.done, report.stopped) == (4, "out-of-memory")
    host.audit()


def test_a_second_vm_of_one_name(host: esxcore.Host) -> None:
    refused(host, lambda h: h.power_on("web", max="4MiB"), esxcore.DuplicateVmError, "web")


@pytest.mark.parametrize("name", ["", None, 5, b"web"])
def test_a_name_is_a_text(host: esxcore.Host, name: Any) -> None:
    refused(host, lambda h: h.power_on(name, max="4MiB"), esxcore.EsxError)


UNKNOWN: dict[str, Call] = {
    "touch": lambda host: host.touch("db", 0),
    "write": lambda host: host.write("db", 0, 1),
    "read": lambda host: host.read("db", 0),
    "peek": lambda host: host.peek("db", 0),
    "pmap": lambda host: host.pmap("db"),
    "sampling": lambda host: host.sampling("db"),
    "power_off": lambda host: host.power_off("db"),
    "vm": lambda host: host.vm("db"),
}


@pytest.mark.parametrize("call", UNKNOWN.values(), ids=UNKNOWN)
def test_an_unknown_vm(tokens: esxcore.Host, call: Call) -> None:
    error = refused(tokens, call, esxcore.UnknownVmError, "db")
    assert isinstance(error, LookupError)


@pytest.mark.parametrize("vm", [None, 0, 1.5, b"web", ["web"]])
def test_what_is_no_vm_at_all(tokens: esxcore.Host, vm: Any) -> None:
    refused(tokens, lambda h: h.touch(vm, 0), esxcore.EsxError)


STALE: dict[str, Callable[[esxcore.Host, esxcore.Vm], Any]] = {
    "vm.touch": lambda host, vm: vm.touch(0),
    "vm.write": lambda host, vm: vm.write(0, 1),
    "vm.read": lambda host, vm: vm.read(0),
    "vm.peek": lambda host, vm: vm.peek(0),
    "vm.pmap": lambda host, vm: vm.pmap(),
    "vm.sampling": lambda host, vm: vm.sampling(),
    "vm.power_off": lambda host, vm: vm.power_off(),
    "host.touch": lambda host, vm: host.touch(vm, 0),
    "host.pmap": lambda host, vm: host.pmap(vm),
    "host.power_off": lambda host, vm: host.power_off(vm),
}


@pytest.mark.parametrize("call", STALE.values(), ids=STALE)
@pytest.mark.parametrize("again", [False, True], ids=["gone", "another of the name"])
def test_a_handle_dies_with_its_vm(
    tokens: esxcore.Host, call: Callable[[esxcore.Host, esxcore.Vm], Any], again: bool
) -> None:
    vm = tokens.power_on("db", max="40KiB")
    vm.power_off()
    if again:
        assert tokens.power_on("db", max="40KiB").touch(3).done == 1
    refused(tokens, lambda h: call(h, vm), esxcore.UnknownVmError, "db")


def test_a_handle_serves_its_own_host_only(tokens: esxcore.Host) -> None:
    stranger = a_host("tokens").vm("web")
    refused(tokens, lambda h: h.touch(stranger, 0), esxcore.UnknownVmError)


SETTINGS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "content": ({"content": "words"}, esxcore.ConfigError, "words"),
    "order": ({"scan_order": "random"}, esxcore.ConfigError, "random"),
    "salt": ({"salt": ""}, esxcore.EsxError, ""),
    "salt type": ({"salt": 5}, esxcore.ArgumentTypeError, "5"),
    "vm rate": ({"scan_vm_rate": -1}, esxcore.ConfigError, "-1"),
    "host rate": ({"scan_host_rate": -1}, esxcore.ConfigError, "-1"),
    "rate type": ({"scan_vm_rate": "fast"}, esxcore.EsxError, "fast"),
    "rate bool": ({"scan_host_rate": True}, esxcore.EsxError, ""),
    "seed": ({"seed": -1}, esxcore.ConfigError, "-1"),
    "seed type": ({"seed": 1.5}, esxcore.EsxError, "1.5"),
    "seed bool": ({"seed": True}, esxcore.EsxError, ""),
    "mask": ({"hash_mask": -1}, esxcore.ConfigError, "-1"),
    "wide mask": ({"hash_mask": 2**64}, esxcore.ConfigError, str(2**64)),
    "samples": ({"sample_pages": -1}, esxcore.ConfigError, "sample_pages: -1; expected 0 to"),
    "many samples": ({"sample_pages": 2**20 + 1}, esxcore.ConfigError, str(2**20 + 1)),
    "huge samples": ({"sample_pages": 10**40}, esxcore.ConfigError, str(10**40)),
    "samples type": ({"sample_pages": 1.5}, esxcore.ArgumentTypeError, "1.5"),
    "samples bool": ({"sample_pages": True}, esxcore.ArgumentTypeError, "True"),
    "samples text": ({"sample_pages": "100"}, esxcore.ArgumentTypeError, "'100'"),
    "no period": ({"sample_period": "0s"}, esxcore.ConfigError, "sample_period: '0s'; expected 1"),
    "period number": ({"sample_period": 0}, esxcore.ConfigError, "sample_period: 0; expected 1"),
    "long period": ({"sample_period": 2**31 + 1}, esxcore.ConfigError, str(2**31 + 1)),
    "endless period": ({"sample_period": "9" * 400 + "h"}, esxcore.ConfigError, "sample_period"),
    "odd period": ({"sample_period": "1500ms"}, esxcore.ConfigError, "1500ms"),
    "period unit": ({"sample_period": "30"}, esxcore.ConfigError, "no unit"),
    "period word": ({"sample_period": "30 days"}, esxcore.ConfigError, "days"),
    "period float": ({"sample_period": 30.0}, esxcore.ArgumentTypeError, "30.0"),
    "period none": ({"sample_period": None}, esxcore.ArgumentTypeError, "None"),
    "slow": ({"sample_slow_keep": 1.0}, esxcore.ConfigError, "sample_slow_keep is 1; expected"),
    "slow nan": ({"sample_slow_keep": float("nan")}, esxcore.ConfigError, "sample_slow_keep"),
    "slow text": ({"sample_slow_keep": "0.9"}, esxcore.ArgumentTypeError, "sample_slow_keep"),
    "fast": ({"sample_fast_keep": -0.1}, esxcore.ConfigError, "sample_fast_keep is -0.1"),
    "fast above slow": ({"sample_fast_keep": 0.95}, esxcore.ConfigError, "0.95; expected 0 to 0.9"),
    "no low memory": ({"low_memory": "0MiB"}, esxcore.ConfigError, "low_memory"),
    "much low memory": ({"low_memory": "1TiB"}, esxcore.ConfigError, "low_memory: '1TiB' is"),
    "low memory type": ({"low_memory": 1.5}, esxcore.ArgumentTypeError, "low_memory"),
    "io threshold": ({"io_threshold": 0}, esxcore.ConfigError, "io_threshold: 0; expected 1 to"),
    "io threshold type": ({"io_threshold": "16"}, esxcore.ArgumentTypeError, "io_threshold"),
    "no decay": ({"io_decay": 0}, esxcore.ConfigError, "io_decay: 0; expected 1"),
    "odd decay": ({"io_decay": "1500ms"}, esxcore.ConfigError, "io_decay: '1500ms'"),
    "endless decay": ({"io_decay": "9" * 400 + "h"}, esxcore.ConfigError, "io_decay"),
    "decay unit": ({"io_decay": "30"}, esxcore.ConfigError, "no unit"),
    "io mode": ({"io_mode": "dma"}, esxcore.ConfigError, "'dma'"),
    "io scarce": ({"io_scarce": "hottest"}, esxcore.ConfigError, "'hottest'"),
    "memory unit": ({"memory": "4"}, esxcore.ConfigError, "4"),
    "memory word": ({"memory": "4GB"}, esxcore.ConfigError, "GB"),
    "no memory": ({"memory": "0MiB"}, esxcore.ConfigError, "0"),
    "odd memory": ({"memory": "5KiB"}, esxcore.ConfigError, "5KiB"),
    "float memory": ({"memory": 4096.0}, esxcore.ArgumentTypeError, "float"),
    "bool memory": ({"memory": True}, esxcore.ArgumentTypeError, "bool"),
    "too much": ({"memory": 2**40}, esxcore.ConfigError, str(2**40)),
}


@pytest.mark.parametrize(("options", "error", "word"), SETTINGS.values(), ids=SETTINGS)
def test_settings_of_a_host(options: dict[str, Any], error: type[Exception], word: str) -> None:
    with pytest.raises(error) as caught:
        esxcore.Host(**{"memory": "4MiB", "policy": None, **options})
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(TypeError):
        esxcore.Host(memory="4MiB", sharring=True)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "max_size", ["40", "4 MB", "0KiB", "1KiB", 0, -5, 1.5, True, None, b"4MiB"]
)
def test_sizes_of_a_vm(host: esxcore.Host, max_size: Any) -> None:
    refused(host, lambda h: h.power_on("db", max=max_size), esxcore.EsxError)


def test_an_integer_that_was_surely_meant_as_mib(host: esxcore.Host) -> None:
    with pytest.warns(esxcore.SizeWarning, match=r"256 pages.*256MiB"):
        small = esxcore.Host(memory=256, policy=None)
    assert small.stats()["machine_pages"] == 256
    with pytest.warns(esxcore.SizeWarning, match="512MiB") as caught:
        assert host.power_on("db", max=512).max_pages == 512
    assert [warning.filename for warning in caught] == [__file__]
    assert esxcore.Host(memory=1024, policy=None).stats()["machine_pages"] == 1024
    assert host.power_on("cache", max=1024).max_pages == 1024


def test_the_warning_as_an_error_leaves_the_host_alone(host: esxcore.Host) -> None:
    refused(host, lambda h: h.power_on("db", max=1023), esxcore.SizeWarning, "1023")


def test_seconds_and_budgets(tokens: esxcore.Host) -> None:
    for seconds in (-1, -0.5, float("nan"), float("inf"), 1e30):
        refused(tokens, lambda h, s=seconds: h.advance(s), esxcore.EsxError)
    for seconds in ("1", None, True, [1]):
        refused(tokens, lambda h, s=seconds: h.advance(s), esxcore.EsxError)
    for budget in (-1, 1.0, True, "1", None, 2**64, [1]):
        refused(tokens, lambda h, b=budget: h.scan(b), esxcore.EsxError)
    assert tokens.now == 0


@pytest.mark.parametrize("salt", [5, b"red", ["red"], True])
def test_a_salt_is_a_name(host: esxcore.Host, salt: Any) -> None:
    refused(host, lambda h: h.power_on("db", max="40KiB", salt=salt), esxcore.EsxError)
