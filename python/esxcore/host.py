"""A host, its virtual machines, and what they report: the engine in Python.

A `Host` has machine memory; `Host.power_on` gives a `Vm` with "physical" memory of its own. Guests access their
pages with `touch`, `write` and `read`; the host finds pages of equal content with `scan`, or by itself while virtual
time passes in `advance`, and keeps one copy of them until somebody writes (paper, section 4).

Pages hold real bytes, or *tokens*: 64-bit integers that stand for the content of a page, equal tokens for equal
pages and 0 for the zero page. Tokens let a host of a terabyte run on a laptop with every mechanism unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal, SupportsIndex, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from esxcore import _core
from esxcore.config import MAX_PAGES, PAGE_SIZE, parse_pages, whole_number
from esxcore.errors import (
    ArgumentTypeError,
    ConfigError,
    ContentError,
    PageRangeError,
    UnknownVmError,
)

Ppns: TypeAlias = SupportsIndex | Sequence[int] | NDArray[np.integer[Any]]
VmLike: TypeAlias = "Vm | str"


class PageState(IntEnum):
    """Where a page of a virtual machine is (`Host.pmap`, column ``state``)."""

    EMPTY = 0
    PRIVATE = 1
    SHARED = 2
    SWAPPED = 3
    BALLOONED = 4


class FrameKind(IntEnum):
    """What a frame of the hash table is (`Host.frames`, column ``kind``)."""

    HINT = 1
    SHARED = 2


@dataclass(frozen=True, slots=True)
class TouchReport:
    """What a batch of guest accesses did.

    Attributes
    ----------
    done : int
        References served, from the first.
    stopped : str or None
        Why the next one was not served: ``"out-of-memory"``; None if all were.
    zero_fills, cow_breaks, page_ins : int
        What the served ones met: first touches, writes to shared pages, pages in the swap file.
    """

    done: int
    stopped: Literal["out-of-memory"] | None
    zero_fills: int
    cow_breaks: int
    page_ins: int


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What a scan did (paper, section 4.3); ``picked = skipped + hashed``.

    Attributes
    ----------
    picked : int
        Pages taken from the scan order.
    skipped : int
        Of these, pages that are shared already, not resident, or not eligible.
    hashed : int
        Of these, pages hashed and looked up.
    hints : int
        Hint frames left.
    published : int
        Hints that proved true; the page they name got a shared frame.
    merged : int
        Pages merged into a shared page, each of which freed a machine page.
    false_matches : int
        Pages with the hash of another and other content, ineligible from then on.
    stale_hints : int
        Hints removed because their page had changed.
    """

    picked: int
    skipped: int
    hashed: int
    hints: int
    published: int
    merged: int
    false_matches: int
    stale_hints: int


class Host:
    """A machine that runs virtual machines.

    Parameters
    ----------
    memory : str or int
        Machine memory: a size such as ``"4GiB"``, or whole 4 KiB pages.
    seed : int, numpy.random.SeedSequence or None
        What everything random comes from. The same seed gives the same result on any machine; None takes fresh
        entropy, which `seed_entropy` tells.
    content : {"bytes", "tokens"}
        What pages hold.
    sharing : bool
        Whether the scanner works while time passes.
    scan_order : {"permutation", "draws"}
        Each pass a fresh permutation of a virtual machine's pages, or independent draws as in the paper.
    scan_vm_rate, scan_host_rate : int
        Pages a second scanned of one virtual machine, and of all together (paper, section 4.3).
    salt : str
        With whom virtual machines share that say nothing themselves: ``"none"`` with all such, ``"per-vm"`` with
        nobody, any other text with those of the same text.
    hash_mask : int
        What is kept of a page's 64-bit hash. A seam for experiments: fewer bits make collisions happen.

    Raises
    ------
    ConfigError, ArgumentTypeError
        If a setting is out of range or of a wrong type.

    Examples
    --------
    >>> import esxcore
    >>> host = esxcore.Host(memory="64MiB", seed=7, content="tokens")
    >>> web = host.power_on("web", max="16MiB", contents=[0, 5, 5, 6])
    >>> host.scan(web.max_pages).merged
    1
    >>> host.stats()["shared_pages"], web.peek(1)
    (2, 5)
    >>> web.write(1, 8).cow_breaks, web.read([1, 2]).tolist()
    (1, [8, 5])
    """

    def __init__(
        self,
        memory: str | SupportsIndex,
        *,
        seed: int | np.random.SeedSequence | None = 0,
        content: Literal["bytes", "tokens"] = "bytes",
        sharing: bool = True,
        scan_order: Literal["permutation", "draws"] = "permutation",
        scan_vm_rate: int | None = None,
        scan_host_rate: int | None = None,
        salt: str = "none",
        hash_mask: int = 2**64 - 1,
    ) -> None:
        sequence = _seed_sequence(seed)
        self.seed_entropy = sequence.entropy
        self.content: Literal["bytes", "tokens"] = content
        self._core = _core.Host(
            parse_pages(memory, "memory"),
            tokens=_choice(content, "content", ("bytes", "tokens")) == "tokens",
            seed=list(sequence.generate_state(8, np.uint32).astype("<u4").tobytes()),
            draws=_choice(scan_order, "scan_order", ("permutation", "draws")) == "draws",
            vm_rate=_rate(scan_vm_rate, "scan_vm_rate", sharing),
            host_rate=_rate(scan_host_rate, "scan_host_rate", sharing),
            hash_mask=_in_range(hash_mask, "hash_mask", 0, 2**64 - 1),
            salt=_salt(salt),
        )

    def power_on(
        self,
        name: str,
        max: str | SupportsIndex | None = None,  # noqa: A002  (the paper's word)
        *,
        contents: ArrayLike | None = None,
        salt: str | None = None,
    ) -> Vm:
        """Powers on a virtual machine.

        Parameters
        ----------
        name : str
            Its name, unique on the host.
        max : str or int, optional
            Its "physical" memory (paper, section 6.1); as many pages as `contents` has if left out.
        contents : array, optional
            What its first pages hold: uint8 of shape (pages, 4096), or integer tokens from 0 to 2**63 - 1 of shape
            (pages,). All of them are allocated at once, zero pages included; the other pages start empty.
        salt : str, optional
            With whom it shares, instead of the host's rule.

        Raises
        ------
        DuplicateVmError
            If a virtual machine of that name is powered on.
        ContentError
            If `contents` has a wrong shape, or more pages than `max`.
        OutOfMachineMemoryError
            If fewer machine pages are free than `contents` has; nothing has changed.
        """
        if not isinstance(name, str) or not name:
            raise ArgumentTypeError(f"name: {name!r}; expected text")
        pages = None if contents is None else self._contents(contents)
        if max is None and pages is None:
            raise ConfigError(f"VM {name!r}: neither max nor contents is given; expected one of them")
        max_pages = len(pages) if max is None and pages is not None else parse_pages(max or 0, "max")
        handle = self._core.power_on(name, max_pages, pages, None if salt is None else _salt(salt))
        return Vm(self, handle, max_pages)

    def power_off(self, vm: VmLike) -> None:
        """Powers off a virtual machine and frees all its pages. Cost: one visit of each page."""
        self._core.power_off(self._ref(vm))

    def vm(self, name: str) -> Vm:
        """The virtual machine of that name; raises `UnknownVmError` if there is none."""
        number, name, max_pages = self._core.find(name)
        return Vm(self, (number, name), max_pages)

    def touch(self, vm: VmLike, ppns: Ppns, write: bool = False) -> TouchReport:
        """The guest accesses pages in turn.

        A write gives the page fresh content of its own, different from every other page's. A batch for which no
        machine page is left stops before the reference it cannot serve; call again with the rest.

        Parameters
        ----------
        vm : Vm or str
            Whose pages.
        ppns : int or integer array of shape (references,)
            Which pages; duplicates are fine.
        write : bool
            Whether the accesses are stores.

        Raises
        ------
        PageRangeError
            If a page is out of range; no page was touched.
        """
        return _touch_report(self._core.touch(self._ref(vm), _ppns(ppns), bool(write)))

    def write(self, vm: VmLike, ppns: Ppns, data: ArrayLike) -> TouchReport:
        """The guest writes `data` to pages in turn.

        Parameters
        ----------
        vm : Vm or str
            Whose pages.
        ppns : int or integer array of shape (k,)
            Which pages.
        data : array
            uint8 of shape (k, 4096), or integer tokens of shape (k,); without the first axis for a single page.

        Raises
        ------
        PageRangeError, ContentError, ArgumentTypeError
            If an argument is wrong; no page was touched.
        OutOfMachineMemoryError
            If no machine page is left; its attribute `done` tells how many pages were written.
        """
        numbers = _ppns(ppns)
        data = _one_page(data) if np.ndim(ppns) == 0 else data  # type: ignore[arg-type]
        return _touch_report(self._core.write(self._ref(vm), numbers, self._contents(data)))

    def read(self, vm: VmLike, ppns: Ppns) -> Any:
        """What the guest reads from pages in turn.

        Returns
        -------
        array or int
            uint8 of shape (k, 4096), or uint64 tokens of shape (k,); for a single page uint8 of shape (4096,), or
            the token. Tokens from 2**63 up are contents that the engine made.

        Raises
        ------
        PageRangeError
            If a page is out of range; no page was read.
        OutOfMachineMemoryError
            If no machine page is left for a first touch; `done` pages were read.
        """
        return _unwrap(self._core.read(self._ref(vm), _ppns(ppns)), ppns)

    def peek(self, vm: VmLike, ppns: Ppns) -> Any:
        """What the guest would read, as `read` returns it; not an access: nothing is counted, nothing changes."""
        return _unwrap(self._core.peek(self._ref(vm), _ppns(ppns)), ppns)

    def scan(self, pages: SupportsIndex) -> ScanReport:
        """Scans pages for sharing now (paper, section 4.3).

        Every pick counts, also of a page that cannot be shared. Each is taken of the virtual machine whose pass has
        got least far, so on a quiet host as many picks as there are pages find everything there is.

        Parameters
        ----------
        pages : int
            Pages to pick.
        """
        count = _in_range(pages, "pages", 0, 2**63 - 1)
        return ScanReport(*self._core.scan(count))

    def advance(self, seconds: float) -> ScanReport:
        """Lets virtual time pass; at each whole second the scanner does its part.

        Parameters
        ----------
        seconds : float
            How long, to the nanosecond.

        Returns
        -------
        ScanReport
            What the scanner did in this time. After Ctrl-C, the host is at the second it has reached.
        """
        if isinstance(seconds, bool) or not isinstance(seconds, int | float | np.number):
            raise ArgumentTypeError(f"seconds: {seconds!r}; expected a number")
        if not math.isfinite(seconds) or not 0 <= seconds <= 2**33:
            raise ConfigError(f"seconds: {seconds!r}; expected a number from 0 to 2**33")
        return ScanReport(*self._core.advance(round(float(seconds) * 1e9)))

    @property
    def now(self) -> float:
        """Virtual time in seconds since the host was made."""
        return self._core.now_ns() / 1e9

    def fork(self) -> Host:
        """An independent, identical copy; its virtual machines have the same names (`Host.vm`)."""
        copy = object.__new__(Host)
        copy.seed_entropy = self.seed_entropy
        copy.content = self.content
        copy._core = self._core.fork()
        return copy

    def stats(self) -> dict[str, int]:
        """Whole-host numbers, in pages unless the name says otherwise."""
        return self._core.stats()

    def vms(self) -> dict[str, NDArray[Any]]:
        """Columns of numbers, a row a virtual machine in power-on order.

        ``consumed`` is its part of machine memory, the sum over its resident pages of 1 / sharers, and ``reclaimed``
        what sharing spares it; both are fractions of pages that sum to the host's numbers.
        """
        return {name: np.asarray(column) for name, column in self._core.vms().items()}

    def pmap(self, vm: VmLike) -> dict[str, NDArray[Any]]:
        """Columns of a virtual machine's pmap, a row a page.

        ``state`` is a `PageState`, ``mpn`` the machine page or -1, ``shared`` whether it has two or more sharers,
        ``hint`` whether a hint frame stands for it, ``traced`` whether its next access is to be counted.
        """
        return self._core.pmap(self._ref(vm))

    def frames(self) -> dict[str, NDArray[Any]]:
        """Columns of the hash table's frames (paper, section 4.3), a row a frame, by machine page.

        ``kind`` is a `FrameKind`; ``hash`` has only its 40 highest bits in a hint; ``vm`` (row of `vms`) and ``ppn``
        are of a hint and -1 otherwise; ``count`` is of a shared frame and 0 otherwise.
        """
        return self._core.frames()

    def census(self) -> dict[str, int]:
        """What sharing could save: the resident contents, counted.

        Returns
        -------
        dict
            ``pages`` resident, ``zero_pages`` of them, ``distinct_pages`` contents, ``shared_pages`` whose content
            occurs at least twice, ``reclaimed_pages`` = pages - distinct. Contents of two sharing domains differ.
            Exact with tokens; bytes are told apart by 128-bit hashes.
        """
        return self._core.census()

    def audit(self) -> None:
        """Checks every invariant of the host's state; raises `InvariantError` naming the first one broken."""
        self._core.audit()

    def state_digest(self) -> str:
        """The state as 32 hexadecimal digits, equal for hosts of one seed and history."""
        return self._core.digest()

    def __repr__(self) -> str:
        stats = self.stats()
        mib = PAGE_SIZE / 2**20
        return (
            f"<Host {stats['machine_pages'] * mib:g} MiB, {stats['vms']} VMs, {stats['free_pages'] * mib:g} MiB free,"
            f" {stats['reclaimed_pages'] * mib:g} MiB reclaimed by sharing>"
        )

    def _ref(self, vm: VmLike) -> tuple[int, str] | str:
        if isinstance(vm, str):
            return vm
        if not isinstance(vm, Vm):
            raise ArgumentTypeError(f"vm: {vm!r}; expected a Vm or the name of one")
        if vm.host is not self:
            raise UnknownVmError(f"VM {vm.name!r} belongs to another host; use its name for this one")
        return vm._handle

    def _contents(self, contents: ArrayLike) -> NDArray[Any]:
        return _bytes(contents) if self.content == "bytes" else _tokens(contents)


class Vm:
    """A virtual machine that is powered on; made by `Host.power_on`.

    Its methods are those of `Host` with this machine filled in.

    Attributes
    ----------
    host : Host
        Where it runs.
    name : str
        Its name.
    max_pages : int
        Its "physical" memory, in pages.
    """

    __slots__ = ("_handle", "host", "max_pages")

    def __init__(self, host: Host, handle: tuple[int, str], max_pages: int) -> None:
        self.host = host
        self.max_pages = max_pages
        self._handle = handle

    @property
    def name(self) -> str:
        """Its name."""
        return self._handle[1]

    def touch(self, ppns: Ppns, write: bool = False) -> TouchReport:
        """See `Host.touch`."""
        return self.host.touch(self, ppns, write)

    def write(self, ppns: Ppns, data: ArrayLike) -> TouchReport:
        """See `Host.write`."""
        return self.host.write(self, ppns, data)

    def read(self, ppns: Ppns) -> Any:
        """See `Host.read`."""
        return self.host.read(self, ppns)

    def peek(self, ppns: Ppns) -> Any:
        """See `Host.peek`."""
        return self.host.peek(self, ppns)

    def pmap(self) -> dict[str, NDArray[Any]]:
        """See `Host.pmap`."""
        return self.host.pmap(self)

    def power_off(self) -> None:
        """See `Host.power_off`."""
        self.host.power_off(self)

    def __repr__(self) -> str:
        return f"<Vm {self.name!r}, {self.max_pages * PAGE_SIZE / 2**20:g} MiB>"


def _touch_report(row: tuple[int, bool, int, int, int]) -> TouchReport:
    done, stopped, *events = row
    return TouchReport(done, "out-of-memory" if stopped else None, *events)


def _ppns(ppns: object) -> NDArray[np.uint32]:
    """Page numbers as the core takes them: a private copy, so that no other thread changes them meanwhile."""
    numbers = np.asarray(ppns)
    if numbers.size == 0 and not isinstance(ppns, np.ndarray):
        numbers = numbers.astype(np.uint32)  # an empty list has no dtype of its own
    if numbers.dtype.kind not in "iu":
        raise ArgumentTypeError(f"ppns: dtype {numbers.dtype}; expected page numbers of an integer dtype")
    if numbers.ndim > 1:
        raise ArgumentTypeError(f"ppns: shape {numbers.shape}; expected one page number or a 1-D array")
    if numbers.dtype != np.uint32 and numbers.size:
        low, high = numbers.min(), numbers.max()
        if low < 0 or high >= MAX_PAGES:
            raise PageRangeError(f"page {low if low < 0 else high} is out of range: pages count from 0")
    return np.array(numbers, dtype=np.uint32, ndmin=1, copy=True)


def _bytes(contents: object) -> NDArray[np.uint8]:
    pages = np.asarray(contents)
    if pages.dtype != np.uint8:
        raise ArgumentTypeError(f"contents: dtype {pages.dtype}; expected uint8 on a host with bytes")
    if pages.ndim != 2 or pages.shape[1] != PAGE_SIZE:
        raise ContentError(f"contents: shape {pages.shape}; expected (pages, {PAGE_SIZE})")
    return np.ascontiguousarray(pages)


def _tokens(contents: object) -> NDArray[np.uint64]:
    tokens = np.asarray(contents)
    if tokens.size == 0 and not isinstance(contents, np.ndarray):
        tokens = tokens.astype(np.uint64)
    if tokens.dtype.kind not in "iu":
        expected = "integer tokens from 0 to 2**63 - 1 on a host with tokens"
        error = ContentError if tokens.dtype == object else ArgumentTypeError
        raise error(f"contents: dtype {tokens.dtype}; expected {expected}")
    if tokens.ndim != 1:
        raise ContentError(f"contents: shape {tokens.shape}; expected (pages,)")
    if tokens.dtype.kind == "i" and tokens.size and tokens.min() < 0:
        raise ContentError(f"contents: token {tokens.min()}; expected 0 to 2**63 - 1")
    return np.ascontiguousarray(tokens, dtype=np.uint64)


def _one_page(data: object) -> NDArray[Any]:
    page = np.asarray(data)
    if page.ndim and page.shape != (PAGE_SIZE,):
        raise ContentError(f"data: shape {page.shape} for a single page; expected ({PAGE_SIZE},) or one token")
    return page[np.newaxis]


def _unwrap(pages: NDArray[Any], ppns: object) -> Any:
    if np.ndim(ppns):  # type: ignore[arg-type]
        return pages
    return pages[0] if pages.ndim == 2 else int(pages[0])


def _seed_sequence(seed: object) -> np.random.SeedSequence:
    if isinstance(seed, np.random.SeedSequence):
        return seed
    if seed is None:
        return np.random.SeedSequence()
    number = whole_number(seed, "seed", "a whole number, a SeedSequence or None")
    if number < 0:
        raise ConfigError(f"seed: {number}; expected 0 or more")
    return np.random.SeedSequence(number)


def _choice(value: object, what: str, choices: tuple[str, ...]) -> object:
    if value not in choices:
        raise ConfigError(f"{what}: {value!r}; expected one of {', '.join(map(repr, choices))}")
    return value


def _in_range(value: object, what: str, low: int, high: int) -> int:
    number = whole_number(value, what)
    if not low <= number <= high:
        raise ConfigError(f"{what}: {number}; expected {low} to {high}")
    return number


_DEFAULT_RATES: Mapping[str, int] = {
    name: int(value) for name, value, *_ in _core.paper_parameters() if name.startswith("scan_")
}


def _rate(value: object, what: str, sharing: bool) -> int:
    if not sharing:
        return 0
    return _DEFAULT_RATES[what] if value is None else _in_range(value, what, 0, 2**32 - 1)


def _salt(salt: object) -> str:
    if not isinstance(salt, str) or not salt:
        raise ArgumentTypeError(f"salt: {salt!r}; expected 'none', 'per-vm' or the name of a group")
    return salt
