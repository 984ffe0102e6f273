"""What callers give a host, checked and worded before the core sees it.

Each function returns what the core takes, or raises the one error that says which value was wrong
and what was expected.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, SupportsIndex, TypeAlias

import numpy as np
from numpy.typing import NDArray

from esxcore import _core
from esxcore.config import MAX_PAGES, PAGE_SIZE, parse_duration, parse_pages, whole_number
from esxcore.errors import (
    ArgumentTypeError,
    ConfigError,
    ContentError,
    PageRangeError,
    RealMemoryError,
)
from esxcore.guest import Guest
from esxcore.reports import BalloonDriver

Ppns: TypeAlias = SupportsIndex | Sequence[int] | NDArray[np.integer[Any]]
"""One page number, or a 1-D array of them."""

Size: TypeAlias = str | SupportsIndex
"""A size with a unit such as ``"256MiB"``, or whole pages."""

Shares: TypeAlias = Literal["low", "normal", "high"] | int
"""Entitlement: so many for each MiB of max, or a number."""

_NOTHING = re.compile(r"\s*0+(\.0+)?\s*(KiB|MiB|GiB|TiB)\s*")

MEMINFO = Path("/proc/meminfo")
_LONGEST_NAME = 255
_LONGEST_PERIOD = 2**31
_WINDOWS_DRIVER_S = 5
"""After boot, when a Windows guest loads its balloon driver."""
_TOKENS = "0 to 2**63 - 1"
_DEFAULT_RATES: Mapping[str, int] = {
    name: int(value)
    for name, value, *_ in _core.paper_parameters()
    if name in ("scan_vm_rate", "scan_host_rate")
}


def page_numbers(
    ppns: object, find: Callable[[], tuple[int, str, int]]
) -> NDArray[np.uint32] | NDArray[np.int64]:
    """Page numbers as the core takes them: uint32 or int64, of shape (references,), contiguous.

    The core checks their range; numbers beyond 64 bits, which it cannot take, raise the same error
    here, for which `find` tells handle, name and pages of the virtual machine.
    """
    numbers = _integers(ppns, "ppns", "page numbers of an integer dtype")
    if numbers.ndim > 1:
        raise ArgumentTypeError(f"ppns: shape {numbers.shape}; expected one page or a 1-D array")
    if numbers.dtype == np.uint32:
        return np.ascontiguousarray(numbers)
    if numbers.dtype in (object, np.uint64):
        for wrong in (numbers.min(), numbers.max()) if numbers.size else ():
            if not 0 <= int(wrong) < MAX_PAGES:
                _, vm, pages = find()
                raise PageRangeError(
                    f'page {wrong} of VM "{vm}" is out of range:'
                    f" it has {pages} pages, 0 to {pages - 1}"
                )
    return np.ascontiguousarray(numbers, dtype=np.int64)


def column(values: object, what: str) -> NDArray[np.int64]:
    """A column with a whole number for each virtual machine: int64 of shape (VMs,), contiguous.

    The core checks ranges; numbers beyond 64 bits, which it cannot take, are refused here.
    """
    numbers = _integers(values, what, "whole numbers of an integer dtype, one for each VM")
    if numbers.ndim != 1:
        raise ArgumentTypeError(f"{what}: shape {numbers.shape}; expected (VMs,)")
    if numbers.dtype in (object, np.uint64):
        for vm, number in enumerate(numbers.tolist()):
            if not -(2**63) <= number < 2**63:
                raise ConfigError(f"{what} of VM {vm} is {number}; expected a number below 2**63")
    return np.ascontiguousarray(numbers, dtype=np.int64)


def byte_contents(contents: object) -> NDArray[np.uint8]:
    """Contents of a host with bytes: uint8 of shape (pages, 4096), contiguous."""
    pages = np.asarray(contents)
    if pages.dtype != np.uint8:
        raise ArgumentTypeError(
            f"contents: dtype {pages.dtype}; expected uint8 on a host with bytes"
        )
    if pages.ndim != 2 or pages.shape[1] != PAGE_SIZE:
        raise ContentError(f"contents: shape {pages.shape}; expected (pages, {PAGE_SIZE})")
    return np.ascontiguousarray(pages)


def token_contents(contents: object) -> NDArray[np.uint64]:
    """Contents of a host with tokens: uint64 of shape (pages,), contiguous."""
    expected = f"integer tokens from {_TOKENS} on a host with tokens"
    tokens = _integers(contents, "contents", expected)
    if tokens.ndim != 1:
        raise ContentError(f"contents: shape {tokens.shape}; expected (pages,)")
    for wrong in (tokens.min(), tokens.max()) if tokens.size else ():
        if not 0 <= int(wrong) < 2**63:
            raise ContentError(f"contents: token {wrong}; expected {_TOKENS}")
    # A copy: what was checked is what the core takes, whatever another thread does meanwhile.
    return np.array(tokens, dtype=np.uint64)


def one_page(data: object) -> NDArray[Any] | list[int]:
    """The contents of a single page as a batch of one."""
    if isinstance(data, int) and not isinstance(data, bool):
        return [data]
    page = np.asarray(data)
    if page.ndim and page.shape != (PAGE_SIZE,):
        raise ContentError(
            f"data: shape {page.shape} for one page; expected ({PAGE_SIZE},) or one token"
        )
    return page[np.newaxis]


def unwrap(pages: NDArray[Any], ppns: object) -> Any:
    """The contents that were read: of a single page without the first axis."""
    if np.ndim(ppns):  # type: ignore[arg-type]
        return pages
    return pages[0] if pages.ndim == 2 else int(pages[0])


def seed_sequence(seed: object) -> np.random.SeedSequence:
    """The seed sequence that a whole number, None (fresh entropy) or a seed sequence stands for."""
    if isinstance(seed, np.random.SeedSequence):
        return seed
    if seed is None:
        return np.random.SeedSequence()
    number = whole_number(seed, "seed", "a whole number, a SeedSequence or None")
    if number < 0:
        raise ConfigError(f"seed: {number}; expected 0 or more")
    return np.random.SeedSequence(number)


def choice(value: object, what: str, choices: tuple[str, ...]) -> object:
    """The value, if it is one of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise ConfigError(f"{what}: {value!r}; expected one of {', '.join(map(repr, choices))}")
    return value


def in_range(value: object, what: str, low: int, high: int) -> int:
    """The whole number, if it is from `low` to `high`."""
    number = whole_number(value, what)
    if not low <= number <= high:
        raise ConfigError(f"{what}: {number}; expected {low} to {high}")
    return number


def real_number(value: object, what: str) -> float:
    """The number, of whatever real type, as a float; what is beyond floats is infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise ArgumentTypeError(f"{what}: {value!r}; expected a number")
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def scan_rate(value: object, what: str, sharing: bool) -> int:
    """The pages a second to scan: the paper's if none is given, 0 without sharing."""
    if not sharing:
        return 0
    return _DEFAULT_RATES[what] if value is None else in_range(value, what, 0, 2**32 - 1)


def sampling_settings(
    pages: object, period: object, slow_keep: object, fast_keep: object
) -> tuple[int, int, float, float]:
    """Pages and seconds of a sampling period, and what the averages keep; the core bounds those."""
    return (
        in_range(pages, "sample_pages", 0, _core.MAX_SAMPLE_PAGES),
        whole_seconds(period, "sample_period"),
        real_number(slow_keep, "sample_slow_keep"),
        real_number(fast_keep, "sample_fast_keep"),
    )


def whole_seconds(value: object, what: str) -> int:
    """Seconds of a duration given as text with a unit or as a whole number of seconds."""
    if isinstance(value, str):
        seconds = parse_duration(value, what)
    else:
        seconds = whole_number(value, what, "a duration such as '30s' or whole seconds")
    if not 1 <= seconds <= _LONGEST_PERIOD or seconds != int(seconds):
        raise ConfigError(f"{what}: {value!r}; expected 1 to {_LONGEST_PERIOD} whole seconds")
    return int(seconds)


def division_settings(  # noqa: PLR0913  (keyword-only settings of one host)
    *,
    balance_period: object,
    thresholds: object,
    state_margin: object,
    shared_charge: object,
    share_before_swap: object,
    balloon_cap: object,
    balloon_host_cap: object,
    balloon_guest_caps: object,
    swap_out_rate: object,
    ledger_records: object,
) -> dict[str, Any]:
    """How a host divides its memory, as the core takes it; the core bounds fractions."""
    if not isinstance(thresholds, Sequence) or len(thresholds) != 4:
        raise ArgumentTypeError(
            f"thresholds: {thresholds!r}; expected four fractions: high, soft, hard, low"
        )
    if not isinstance(share_before_swap, bool):
        raise ArgumentTypeError(f"share_before_swap: {share_before_swap!r}; expected True or False")
    charge = choice(shared_charge, "shared_charge", ("full", "fraction"))
    return {
        "balance_period_s": whole_seconds(balance_period, "balance_period"),
        "thresholds": tuple(real_number(part, "thresholds") for part in thresholds),
        "state_margin": real_number(state_margin, "state_margin"),
        "charge_fraction": charge == "fraction",
        "share_before_swap": share_before_swap,
        "balloon_cap": real_number(balloon_cap, "balloon_cap"),
        "balloon_host_cap": real_number(balloon_host_cap, "balloon_host_cap"),
        "balloon_guest_caps": guest_caps(balloon_guest_caps),
        "swap_out_rate": in_range(swap_out_rate, "swap_out_rate", 1, 2**32 - 1),
        "ledger_records": in_range(ledger_records, "ledger_records", 0, _core.MAX_LEDGER_RECORDS),
    }


def guest_caps(caps: object) -> list[tuple[str, float]]:
    """Largest balloons by guest type: fractions of a virtual machine's size."""
    what = "balloon_guest_caps"
    if caps is None:
        return []
    if not isinstance(caps, Mapping):
        raise ArgumentTypeError(
            f"{what}: {caps!r}; expected fractions by guest type, such as {{'linux': 0.65}}"
        )
    checked = []
    for name, cap in caps.items():
        if not isinstance(name, str):
            raise ArgumentTypeError(f"{what}: {name!r}; expected the name of a guest type")
        if not name or not name.isprintable():
            raise ConfigError(f"{what}: {name[:40]!r}; expected one or more printable characters")
        fraction = real_number(cap, f"{what}[{name!r}]")
        if not 0 <= fraction <= 1:  # nor is NaN
            raise ConfigError(f"{what}[{name!r}]: {cap!r}; expected 0 to 1")
        checked.append((name, fraction))
    return checked


def entitlement(shares: object) -> int | str:
    """Shares as a number, or as one of the words for so many for each MiB of max."""
    if isinstance(shares, str):
        return str(choice(shares, "shares", ("low", "normal", "high")))
    return in_range(shares, "shares", 0, 2**32 - 1)


def page_count(value: object, what: str) -> int:
    """Pages, 0 included, given as a size with a unit or as whole pages."""
    if isinstance(value, str):
        return 0 if _NOTHING.fullmatch(value) else parse_pages(value, what)
    number = whole_number(value, what, "a size such as '256MiB' or a whole number of pages")
    if not 0 <= number <= MAX_PAGES:
        raise ConfigError(f"{what}: {number} pages; expected 0 to {MAX_PAGES}")
    return number


def driver_settings(
    driver: BalloonDriver, guest: Mapping[str, Any]
) -> tuple[int | None, int, int, int | None]:
    """A balloon driver in a guest, whose settings are checked, as the core takes it."""
    if not isinstance(driver, BalloonDriver):
        raise ArgumentTypeError(f"driver: {driver!r}; expected a BalloonDriver")
    most = 2**32 - 1
    rate, limit, start = driver.max_rate, driver.limit, driver.start
    if isinstance(start, str) and start == "guest":
        boot = guest["boot_s"]
        start = {"linux": boot // 2, "windows": boot + _WINDOWS_DRIVER_S}.get(guest["kind"], 0)
    return (
        None if start is None else moment(start, "driver start"),
        most if rate is None else in_range(rate, "driver max_rate", 0, most),
        most if limit is None else page_count(limit, "driver limit"),
        None if driver.stuck_at is None else moment(driver.stuck_at, "driver stuck_at"),
    )


def guest_settings(guest: object) -> dict[str, Any]:
    """A guest's operating system as the core takes it; a text is a kind with its defaults."""
    if isinstance(guest, str):
        guest = Guest(kind=guest)  # type: ignore[arg-type]
    if not isinstance(guest, Guest):
        raise ArgumentTypeError(f"guest: {guest!r}; expected the name of a kind, or a Guest")
    if guest.image is not None and not isinstance(guest.image, str):
        raise ArgumentTypeError(f"guest image: {guest.image!r}; expected text")
    return {
        "kind": choice(guest.kind, "guest", ("default", "linux", "windows")),
        "replacement": choice(guest.replacement, "guest replacement", ("two-list", "clock", "lru")),
        "image": guest.image,
        "swap_pages": None if guest.swap is None else page_count(guest.swap, "guest swap"),
        "kernel_pages": page_count(guest.kernel, "guest kernel"),
        "metadata_bytes": in_range(guest.metadata_bytes, "guest metadata_bytes", 0, PAGE_SIZE),
        "boot_pages": page_count(guest.boot, "guest boot"),
        "boot_s": moment(guest.boot_time, "guest boot_time"),
        "dirty_expire_s": moment(guest.dirty_expire, "guest dirty_expire"),
        "zero_rate": in_range(guest.zero_rate, "guest zero_rate", 0, 2**32 - 1),
    }


def moment(value: object, what: str) -> int:
    """Seconds after power-on, 0 included."""
    if isinstance(value, str):
        seconds = parse_duration(value, what)
    else:
        seconds = whole_number(value, what, "a duration such as '30s' or whole seconds")
    if not 0 <= seconds <= _LONGEST_PERIOD or seconds != int(seconds):
        raise ConfigError(f"{what}: {value!r}; expected 0 to {_LONGEST_PERIOD} whole seconds")
    return int(seconds)


def salt_name(salt: object) -> str:
    """The text, if it names a sharing domain."""
    if not isinstance(salt, str) or not salt.isprintable() or not 1 <= len(salt) <= _LONGEST_NAME:
        raise ArgumentTypeError(f"salt: {salt!r}; expected 'none', 'per-vm' or a group's name")
    return salt


def need_real_memory(wanted: int, what: str) -> None:
    """Refuses what the system could only answer by killing the process.

    Where the system does not say how much memory is available, nothing is refused.
    """
    try:
        rows = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
        available = int(rows["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return
    if wanted > available:
        raise RealMemoryError(
            f"{what} takes {wanted / 2**30:.1f} GiB of real memory, {available / 2**30:.1f} GiB are"
            ' available; content="tokens" takes 34 bytes a page'
        )


def vm_name(name: object) -> str:
    """The text, if a virtual machine can be named so: 1 to 255 printable characters."""
    if not isinstance(name, str):
        raise ArgumentTypeError(f"name: {name!r}; expected text")
    if not 1 <= len(name) <= _LONGEST_NAME or not name.isprintable():
        raise ConfigError(
            f"name: {name[:40]!r}; expected 1 to {_LONGEST_NAME} printable characters"
        )
    return name


def _integers(values: object, what: str, expected: str) -> NDArray[Any]:
    if isinstance(values, np.ma.MaskedArray):
        raise ArgumentTypeError(f"{what}: a masked array; expected {expected}, none of them masked")
    array = values if isinstance(values, np.ndarray) else _listed(values, what, expected)
    if array.dtype.kind not in "iu" and not (array.dtype == object and array is not values):
        raise ArgumentTypeError(f"{what}: dtype {array.dtype}; expected {expected}")
    return array


def _listed(values: object, what: str, expected: str) -> NDArray[Any]:
    """A list as an array: of 64 bits where they are enough, of Python integers otherwise."""
    try:
        array = np.asarray(values)
        items = np.asarray(values, dtype=object)
    except (ValueError, OverflowError, TypeError):
        raise ArgumentTypeError(f"{what}: {values!r}; expected {expected}") from None
    if array.size == 0:
        return array.astype(np.uint64)  # an empty list has no dtype of its own
    for item in items.flat:
        if isinstance(item, bool | np.bool_) or not isinstance(item, int | np.integer):
            kind = array.dtype if array.dtype != object else type(item).__name__
            raise ArgumentTypeError(f"{what}: {item!r} of dtype {kind}; expected {expected}")
    return array if array.dtype.kind in "iu" else items
