"""A host, its virtual machines, and what they report: the engine in Python.

A `Host` has machine memory; `Host.power_on` gives a `Vm` with "physical" memory of its own. Guests
access their pages with `touch`, `write` and `read`; the host finds pages of equal content with
`scan`, or by itself while virtual time passes in `advance`, and keeps one copy of them until
somebody writes (paper, section 4).

Pages hold real bytes, or *tokens*: 64-bit integers that stand for the content of a page, equal
tokens for equal pages and 0 for the zero page. Tokens let a host of a terabyte run on a laptop with
every mechanism unchanged.
"""

from __future__ import annotations

from typing import Any, Literal, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from esxcore import _core
from esxcore.arguments import (
    Ppns,
    byte_contents,
    choice,
    in_range,
    need_real_memory,
    one_page,
    page_numbers,
    real_number,
    salt_name,
    sampling_settings,
    scan_rate,
    seed_sequence,
    token_contents,
    unwrap,
    vm_name,
)
from esxcore.config import PAGE_SIZE, parse_pages, size_text
from esxcore.errors import ConfigError, HostBusyError
from esxcore.host.tables import HostTables, VmLike
from esxcore.reports import ScanReport, TouchReport
from esxcore.vm import Vm

_MUCH = 2**26
"""Bytes of a result from which it is asked whether real memory has them."""


class Host(HostTables):
    """A machine that runs virtual machines.

    Parameters
    ----------
    memory : str or int
        Machine memory: a size such as ``"4GiB"``, or whole 4 KiB pages.
    seed : int, numpy.random.SeedSequence or None
        What everything random comes from. The same seed gives the same result on any machine; None
        takes fresh entropy, which `seed_entropy` tells.
    content : {"bytes", "tokens"}
        What pages hold.
    sharing : bool
        Whether the scanner works while time passes.
    scan_order : {"permutation", "draws"}
        Each pass a fresh permutation of a virtual machine's clusters of up to 16 neighbouring
        pages, or independent draws of pages as in the paper.
    scan_vm_rate, scan_host_rate : int
        Pages a second scanned of one virtual machine, and of all together (paper, section 4.3).
    sample_pages : int
        Pages of each virtual machine sampled in a period to estimate how many are active, from 0 to
        2**20 (paper, section 5.3); all of a smaller one. 0 switches sampling off.
    sample_period : str or int
        Length of a period in a virtual machine's own time: a duration such as ``"30s"``, or whole
        seconds, from 1 to 2**31.
    sample_slow_keep, sample_fast_keep : float
        What the slow and the fast moving average of the periods keep of their old value, at least 0
        and below 1; the slow one at least as much as the fast one.
    salt : str
        With whom virtual machines share that say nothing themselves: ``"none"`` with all such,
        ``"per-vm"`` with nobody, any other text with those of the same text.
    hash_path : {"fastest", "portable"}
        Hash pages with the processor's AES rounds if it has them, or alike on every processor. Only
        hash values depend on it, unless `hash_mask` makes different pages collide.
    hash_mask : int
        What is kept of a page's 64-bit hash. A seam for experiments: fewer bits make collisions
        happen.

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

    def __init__(  # noqa: PLR0913  (keyword-only settings of one machine)
        self,
        memory: str | SupportsIndex,
        *,
        seed: int | np.random.SeedSequence | None = 0,
        content: Literal["bytes", "tokens"] = "bytes",
        sharing: bool = True,
        scan_order: Literal["permutation", "draws"] = "permutation",
        scan_vm_rate: int | None = None,
        scan_host_rate: int | None = None,
        sample_pages: int = 100,
        sample_period: str | SupportsIndex = "30s",
        sample_slow_keep: float = 0.9,
        sample_fast_keep: float = 0.3,
        salt: str = "none",
        hash_path: Literal["fastest", "portable"] = "fastest",
        hash_mask: int = 2**64 - 1,
    ) -> None:
        sequence = seed_sequence(seed)
        self.seed_entropy = sequence.entropy
        self.content: Literal["bytes", "tokens"] = content
        self._core = _core.Host(
            parse_pages(memory, "memory"),
            tokens=choice(content, "content", ("bytes", "tokens")) == "tokens",
            seed=list(sequence.generate_state(8, np.uint32).astype("<u4").tobytes()),
            draws=choice(scan_order, "scan_order", ("permutation", "draws")) == "draws",
            vm_rate=scan_rate(scan_vm_rate, "scan_vm_rate", sharing),
            host_rate=scan_rate(scan_host_rate, "scan_host_rate", sharing),
            portable_hash=choice(hash_path, "hash_path", ("fastest", "portable")) == "portable",
            hash_mask=in_range(hash_mask, "hash_mask", 0, 2**64 - 1),
            salt=salt_name(salt),
            sampling=sampling_settings(
                sample_pages, sample_period, sample_slow_keep, sample_fast_keep
            ),
        )

    def power_on(
        self,
        name: str,
        max: str | SupportsIndex | None = None,
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
            What its first pages hold: uint8 of shape (pages, 4096), or integer tokens from 0 to
            2**63 - 1 of shape (pages,). All of them are allocated at once, zero pages included; the
            other pages start empty.
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
        RealMemoryError
            If the system does not have the real memory behind that many simulated pages.
        """
        name = vm_name(name)
        pages = None if contents is None else self._contents(contents)
        if max is not None:
            max_pages = parse_pages(max, "max")
        elif pages is not None:
            max_pages = len(pages)
        else:
            raise ConfigError(f"VM {name!r}: neither max nor contents is given; expected one")
        domain = None if salt is None else salt_name(salt)
        need_real_memory(self._core.real_bytes_wanted(max_pages), f"VM {name!r}")
        return Vm(self, self._core.power_on(name, max_pages, pages, domain), max_pages)

    def power_off(self, vm: VmLike) -> None:
        """Powers off a virtual machine and frees all its pages. Cost: one visit of each page.

        After Ctrl-C the machine is gone; the next call on the host frees what is left of it first.
        """
        self._core.power_off(self._ref(vm))

    def vm(self, name: str) -> Vm:
        """The virtual machine of that name; raises `UnknownVmError` if there is none."""
        number, name, max_pages = self._core.find(name)
        return Vm(self, (number, name), max_pages)

    def touch(self, vm: VmLike, ppns: Ppns, write: bool = False) -> TouchReport:
        """The guest accesses pages in turn.

        A write gives the page fresh content of its own, different from every other page's. A batch
        for which no machine page is left stops before the reference it cannot serve; call again
        with the rest.

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
        return _touch_report(self._core.touch(self._ref(vm), self._ppns(vm, ppns), bool(write)))

    def write(self, vm: VmLike, ppns: Ppns, data: ArrayLike) -> TouchReport:
        """The guest writes `data` to pages in turn.

        Parameters
        ----------
        vm : Vm or str
            Whose pages.
        ppns : int or integer array of shape (k,)
            Which pages.
        data : array
            uint8 of shape (k, 4096), or integer tokens of shape (k,); without the first axis for a
            single page. Bytes are not copied first: nobody should change them meanwhile.

        Raises
        ------
        PageRangeError, ContentError, ArgumentTypeError
            If an argument is wrong; no page was touched.
        OutOfMachineMemoryError
            If no machine page is left; its attribute `done` tells how many pages were written.
        """
        numbers = self._ppns(vm, ppns)
        data = one_page(data) if np.ndim(ppns) == 0 else data  # type: ignore[arg-type]
        return _touch_report(self._core.write(self._ref(vm), numbers, self._contents(data)))

    def read(self, vm: VmLike, ppns: Ppns) -> Any:
        """What the guest reads from pages in turn.

        Returns
        -------
        array or int
            uint8 of shape (k, 4096), or uint64 tokens of shape (k,); for a single page uint8 of
            shape (4096,), or the token. Tokens from 2**63 up are contents that the engine made.

        Raises
        ------
        PageRangeError
            If a page is out of range; no page was read.
        OutOfMachineMemoryError
            If no machine page is left for a first touch; `done` pages were read.
        """
        return unwrap(self._core.read(self._ref(vm), self._wanted(vm, ppns)), ppns)

    def peek(self, vm: VmLike, ppns: Ppns) -> Any:
        """What the guest would read, as `read` returns it; not an access, so nothing changes."""
        return unwrap(self._core.peek(self._ref(vm), self._wanted(vm, ppns)), ppns)

    def scan(self, pages: SupportsIndex) -> ScanReport:
        """Scans pages for sharing now (paper, section 4.3).

        Every pick counts, also of a page that cannot be shared. Each cluster of up to 16 pages is
        taken of the virtual machine that hand scans have brought least far, so that on a fresh host
        as many picks as there are pages are one pass over each. A pass over quiet guests finds all there is.

        Parameters
        ----------
        pages : int
            Pages to pick.
        """
        count = in_range(pages, "pages", 0, 2**63 - 1)
        return ScanReport(*self._core.scan(count))

    def advance(self, seconds: float) -> ScanReport:
        """Lets virtual time pass; at each whole second scanner and sampler do their part.

        Parameters
        ----------
        seconds : float
            How long, to the nanosecond.

        Returns
        -------
        ScanReport
            What the scanner did in this time. After Ctrl-C, the host is at the second it has
            reached.
        """
        elapsed = real_number(seconds, "seconds")
        if not 0 <= elapsed <= 2**33:  # nor is NaN
            raise ConfigError(f"seconds: {seconds!r}; expected a number from 0 to 2**33")
        return ScanReport(*self._core.advance(round(elapsed * 1e9)))

    @property
    def now(self) -> float:
        """Virtual time in seconds since the host was made."""
        return self._core.now_ns() / 1e9

    def fork(self) -> Host:
        """An independent, identical copy; its virtual machines have the same names (`Host.vm`)."""
        need_real_memory(self._core.stats()["real_bytes"], "a fork of this host")
        copy = object.__new__(Host)
        copy.seed_entropy = self.seed_entropy
        copy.content = self.content
        copy._core = self._core.fork()
        return copy

    def audit(self) -> None:
        """Checks every invariant of the host's state; `InvariantError` names the first broken."""
        self._core.audit()

    def state_digest(self) -> str:
        """The state as 32 hexadecimal digits, equal for hosts of one seed and history."""
        return self._core.digest()

    def __reduce__(self) -> str:
        raise TypeError("a Host cannot be pickled; Host.fork() copies it within a process")

    def __copy__(self) -> Host:
        return self.fork()

    def __deepcopy__(self, memo: dict[int, Any]) -> Host:
        return self.fork()

    def __repr__(self) -> str:
        try:
            stats = self.stats()
        except HostBusyError:
            return "<Host, serving a call>"
        names = ("machine_pages", "free_pages", "reclaimed_pages")
        memory, free, reclaimed = (size_text(stats[name]) for name in names)
        return f"<Host {memory}, {stats['vms']} VMs, {free} free, {reclaimed} reclaimed by sharing>"

    def _ppns(self, vm: VmLike, ppns: Ppns) -> NDArray[np.uint32] | NDArray[np.int64]:
        return page_numbers(ppns, lambda: self._core.find(self._ref(vm)))

    def _wanted(self, vm: VmLike, ppns: Ppns) -> NDArray[np.uint32] | NDArray[np.int64]:
        """Page numbers whose contents fit into real memory."""
        count = ppns.size if isinstance(ppns, np.ndarray) else 0  # a list that long exists already
        wanted = count * (PAGE_SIZE if self.content == "bytes" else 8)
        if wanted > _MUCH:
            need_real_memory(wanted, f"an array of {count} pages")
        return self._ppns(vm, ppns)

    def _contents(self, contents: ArrayLike) -> NDArray[Any]:
        return byte_contents(contents) if self.content == "bytes" else token_contents(contents)


def _touch_report(row: tuple[int, bool, int, int, int]) -> TouchReport:
    done, stopped, *events = row
    return TouchReport(done, "out-of-memory" if stopped else None, *events)
