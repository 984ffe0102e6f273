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

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from esxcore import _core
from esxcore.arguments import (
    Shares,
    Size,
    choice,
    division_settings,
    driver_settings,
    entitlement,
    guest_settings,
    in_range,
    need_real_memory,
    page_count,
    salt_name,
    sampling_settings,
    scan_rate,
    seed_sequence,
    vm_name,
)
from esxcore.config import parse_pages, size_text
from esxcore.devices import Disk, Nic, disk_settings, nic_settings
from esxcore.errors import ConfigError, HostBusyError
from esxcore.guest import Guest
from esxcore.host.clock import HostClock
from esxcore.host.division import HostDivision
from esxcore.host.tables import VmLike
from esxcore.host.transfers import IoMode, IoScarce, io_settings
from esxcore.policy import Policy, core_form, resolve_policy
from esxcore.reports import BalloonDriver
from esxcore.vm import Vm


class Host(HostClock, HostDivision):
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
    swap : str or int, optional
        The server's swap space (paper, section 3.3); as much as memory if left out.
    low_memory : str or int, optional
        Machine memory that every device reaches, from its first page on (section 7), at most all;
        4 GiB, or all of a smaller machine, if left out.
    io_threshold : int
        Copies after which a page is hot, at least 1.
    io_decay : str, int or None
        Time after which copies and transfers of a page count half, whole seconds; None counts them
        for ever.
    io_mode : {"remap", "first-use", "copy", "iommu"}
        What is done about transfers of high pages: hot pages are moved to low memory; pages are
        moved before their first transfer; each transfer is copied; devices reach all memory.
    io_scarce : {"coldest", "fair", "refuse"}
        Who makes room where no low page is free: the low page with the fewest recent transfers,
        if these are fewer than the hot page's; where all low pages are in I/O, a page of the
        virtual machine that has most of them for its shares; or nobody.
    policy : str, object or None
        Who decides how much memory each virtual machine should have (section 5): the name of a
        policy (``"esx2002"``, the paper's; ``"proportional"``, ``"equal"``, ``"static"``, by size
        once and for all, ``"proxmox"``, ``"squeezed"``), or an object with a method
        ``targets(view)`` such as `MinFunding`. With None memory is not divided: it
        goes to those who come first, and nothing is reserved, reclaimed or held back.
    balance_period : str or int
        Time between two computations of targets (section 6.3).
    thresholds : tuple of four floats
        Free memory, as fractions of the machine, of the states high, soft, hard and low: below soft
        balloons inflate, below hard the server pages, below low virtual machines above their target
        are blocked; reclaiming aims at high.
    state_margin : float
        How far beyond the threshold of the better state free memory must rise before the state
        improves, in intervals between the two.
    shared_charge : {"full", "fraction"}
        Whether a shared page counts in full for each who has it, or in part.
    share_before_swap : bool
        Whether a page is offered for sharing before it is paged out (section 4.3).
    balloon_cap, balloon_host_cap : float
        Largest balloon as a fraction of max, of a virtual machine that has no limit of its own and
        of any.
    balloon_guest_caps : mapping of str to float, optional
        Largest balloon by the type of the guest, such as ``{"linux": 0.65}``, also as a fraction of
        max. The least of all caps counts; types that are not named have none of their own.
    swap_out_rate : int
        Pages that are paged out a second, of all virtual machines together; at least 1.
    ledger_records : int
        Records of decisions that are kept for `explain` and `replay`; 0 keeps none.
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

    Notes
    -----
    Guests are admitted only if what they are promised fits: min and overhead of all within memory
    less the high threshold, and the rest of their max within swap space (section 6.2).

    Examples
    --------
    >>> import esxcore
    >>> host = esxcore.Host(memory="256MiB", seed=7, content="tokens")
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
        memory: Size,
        *,
        seed: int | np.random.SeedSequence | None = 0,
        content: Literal["bytes", "tokens"] = "bytes",
        sharing: bool = True,
        scan_order: Literal["permutation", "draws"] = "permutation",
        scan_vm_rate: int | None = None,
        scan_host_rate: int | None = None,
        sample_pages: int = 100,
        sample_period: Size = "30s",
        sample_slow_keep: float = 0.9,
        sample_fast_keep: float = 0.3,
        swap: Size | None = None,
        low_memory: Size | None = None,
        io_threshold: int = 16,
        io_decay: Size | None = "60s",
        io_mode: IoMode = "remap",
        io_scarce: IoScarce = "coldest",
        policy: str | Policy | None = "esx2002",
        balance_period: Size = "15s",
        thresholds: tuple[float, float, float, float] = (0.06, 0.04, 0.02, 0.01),
        state_margin: float = 0.25,
        shared_charge: Literal["full", "fraction"] = "full",
        share_before_swap: bool = True,
        balloon_cap: float = 0.5,
        balloon_host_cap: float = 0.65,
        balloon_guest_caps: Mapping[str, float] | None = None,
        swap_out_rate: int = 4096,
        ledger_records: int = 16_384,
        salt: str = "none",
        hash_path: Literal["fastest", "portable"] = "fastest",
        hash_mask: int = 2**64 - 1,
    ) -> None:
        sequence = seed_sequence(seed)
        self.seed_entropy = sequence.entropy
        self.content: Literal["bytes", "tokens"] = content
        memory_pages = parse_pages(memory, "memory")
        division = division_settings(
            balance_period=balance_period,
            thresholds=thresholds,
            state_margin=state_margin,
            shared_charge=shared_charge,
            share_before_swap=share_before_swap,
            balloon_cap=balloon_cap,
            balloon_host_cap=balloon_host_cap,
            balloon_guest_caps=balloon_guest_caps,
            swap_out_rate=swap_out_rate,
            ledger_records=ledger_records,
        )
        self._policy = None if policy is None else resolve_policy(policy)
        self._core = _core.Host(
            memory_pages,
            swap_pages=memory_pages if swap is None else page_count(swap, "swap"),
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
            io=io_settings(memory_pages, low_memory, io_threshold, io_decay, io_mode, io_scarce),
            division=division,
            divides=policy is not None,
        )
        if self._policy is not None:
            self._core.set_policy(core_form(self._policy))

    def power_on(  # noqa: PLR0913  (keyword-only settings of one virtual machine)
        self,
        name: str,
        max: Size | None = None,
        *,
        contents: ArrayLike | None = None,
        min: Size | None = None,
        shares: Shares = "normal",
        balloon_limit: Size | None = None,
        overhead: Size | None = None,
        driver: BalloonDriver | None = None,
        guest: str | Guest = "default",
        nic: Nic | None = None,
        disk: Disk | None = None,
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
        min : str or int, optional
            What it gets in any case (section 6.1); half of max if left out.
        shares : {"low", "normal", "high"} or int
            Its entitlement relative to others (section 5.1): 5, 10 or 20 for each MiB of max, or a
            number.
        balloon_limit : str or int, optional
            Most that its balloon may take (section 3.2), instead of the host's fraction of max.
        overhead : str or int, optional
            What the server itself needs for it (section 6.2): 32 MiB, and 32 MiB for each GiB of
            max beyond 512 MiB, if left out; nothing on a host that does not divide memory.
        driver : BalloonDriver, optional
            The balloon driver in its guest; a healthy one, loaded when the guest does that (`Guest`
            says when), if left out.
        guest : {"default", "linux", "windows"} or Guest
            Its operating system. Processes of a `Simulation` live in it, and its balloon driver
            takes its pages.
        nic : Nic, optional
            Its network card, which transfers packets while a `Simulation` goes on.
        disk : Disk, optional
            How its disk reaches memory; for a guest with files, in a `Simulation`.
        salt : str, optional
            With whom it shares, instead of the host's rule.

        Raises
        ------
        NotAdmittedError
            If its min and overhead, or swap space for the rest of its max, do not fit beside what
            others are promised.
        DuplicateVmError
            If a virtual machine of that name is powered on.
        ConfigError
            If a setting is out of range, or the rings of the network card do not fit the memory.
        ContentError
            If `contents` has a wrong shape, or more pages than `max`.
        OutOfMachineMemoryError
            If memory is not divided and fewer machine pages are free than `contents` has; nothing
            has changed. Where it is divided, others are paged out to make room.
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
        system = guest_settings(guest)
        settings = {
            "min_pages": None if min is None else page_count(min, "min"),
            "shares": entitlement(shares),
            "overhead_pages": None if overhead is None else page_count(overhead, "overhead"),
            "balloon_limit": None
            if balloon_limit is None
            else page_count(balloon_limit, "balloon_limit"),
            "driver": driver_settings(BalloonDriver() if driver is None else driver, system),
            "guest": system,
            "nic": nic_settings(nic),
            "disk": disk_settings(disk),
            "salt": None if salt is None else salt_name(salt),
        }
        need_real_memory(self._core.real_bytes_wanted(max_pages), f"VM {name!r}")
        return Vm(self, self._core.power_on(name, max_pages, pages, settings), max_pages)

    def power_off(self, vm: VmLike) -> None:
        """Powers off a virtual machine and frees all its pages. Cost: one visit of each page.

        After Ctrl-C the machine is gone; the next call on the host frees what is left of it first.
        """
        self._core.power_off(self._ref(vm))

    def vm(self, name: str) -> Vm:
        """The virtual machine of that name; raises `UnknownVmError` if there is none."""
        number, name, max_pages = self._core.find(name)
        return Vm(self, (number, name), max_pages)

    def fork(self) -> Host:
        """An independent, identical copy; its virtual machines have the same names (`Host.vm`).

        A policy that remembers anything has a method ``fork()``, and the copy gets what that
        returns. One without it is the same object for both.
        """
        need_real_memory(self._core.stats()["real_bytes"], "a fork of this host")
        copy = object.__new__(Host)
        copy._become_fork(self, self._core.fork(), self._policy_of_fork())
        return copy

    def _policy_of_fork(self) -> Policy | None:
        split = getattr(self._policy, "fork", None)
        return resolve_policy(split()) if callable(split) else self._policy

    def _become_fork(self, host: Host, core: _core.Host, policy: Policy | None) -> None:
        self.seed_entropy, self.content = host.seed_entropy, host.content
        self._policy, self._core = policy, core
        if policy is not None and policy is not host._policy:
            core.exchange_policy(core_form(policy))

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
