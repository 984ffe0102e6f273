"""Five Windows servers on 1 GB (paper, section 6.4, figure 8): what they are, what they do, a run.

Exchange, MetaFrame, SQL Server and two load generators are replaced by models of what they do to
memory. All of them boot together, and Windows zeroes all its memory at boot; the balloon drivers
are there late in boot; then the benchmarks start. MetaFrame's users log in one after the other, so
its working set grows; SQL Server has queries, then none, then one long query.

Key types: `FiveServers`, `Course`. Neighbour: `esxcore.paper.fig8` makes claims of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from esxcore.config import PAGE_SIZE
from esxcore.costs import Costs
from esxcore.guest import Guest
from esxcore.host import Host
from esxcore.paper.reproduction import chosen
from esxcore.policy import MinFunding
from esxcore.reports import BalloonDriver
from esxcore.simulation import Simulation
from esxcore.view import HostView
from esxcore.workload import Batch, files, zipf
from esxcore.workload.programs import Program

PAGES_PER_MB = 2**20 // PAGE_SIZE
SERVERS = (
    ("exchange", 256),
    ("exchange load", 256),
    ("metaframe", 320),
    ("metaframe load", 320),
    ("sql server", 320),
)
"""Names and MB, as recalled of the figure. Their editions of Windows 2000 count as one image."""
EXCHANGE, EXCHANGE_LOAD, METAFRAME, METAFRAME_LOAD, SQL_SERVER = (name for name, _ in SERVERS)
_MAIL = 100_000  # the first number of its files


@dataclass(frozen=True)
class FiveServers:
    """The machine, the guests and what they do; what the paper does not give says so."""

    machine_mb: int = chosen(
        1024, "1 GB available for VMs (recalled); the overhead of all five is part of it"
    )
    overhead_mb: int = chosen(32, "of each VM (secondary)")
    processors: int = chosen(8, "IBM Netfinity 8500R (recalled)")
    disks: int = chosen(
        5,
        "costs are those of 2002; the model has one disk, a server of this size had several: as if"
        " each VM had its own, getting to another place costs a fifth",
    )
    tax_rate: float = chosen(0.75, "the paper's (confirmed)")
    minutes: int = chosen(40, "tens of minutes (recalled); the length of the axis is not known")
    boot_s: int = chosen(60, "Windows 2000 boots in about a minute; the paper is silent")
    driver_s: int = chosen(
        45,
        "balloon drivers start late in boot (recalled): three quarters of it; when exactly decides"
        " how much has to be paged, so it is fitted to the 1200 MB of the peak",
        is_calibrated=True,
    )
    benchmarks_s: int = chosen(120, "the benchmarks start after boot; a minute later")
    apart_s: int = chosen(30, "from the start of one server's benchmark to the next one's")
    exchange_mb: int = chosen(
        140,
        "MB of the mail server's memory, fitted with the other loads: an idle SQL Server comes"
        " down to its min, and sharing saves something near 200 MB",
        is_calibrated=True,
    )
    mailboxes: int = chosen(300, "files of it, 64 to 512 KB; three tenths of operations write")
    load_mb: int = chosen(
        60, "MB of a load generator's memory, fitted together with that", is_calibrated=True
    )
    sessions: int = chosen(16, "users of MetaFrame, who log in one after the other")
    session_mb: float = chosen(
        14.0, "MB of a session, fitted together with that", is_calibrated=True
    )
    login_s: int = chosen(120, "from one login to the next: the set grows over half an hour")
    pool_mb: int = chosen(
        200,
        "MB of SQL Server's buffer pool, all of it in use by queries, fitted together with that",
        is_calibrated=True,
    )
    queries_until_s: int = chosen(600, "SQL Server has queries until then")
    long_query_s: int = chosen(1800, "a long query is issued then")
    long_query_for_s: int = chosen(420, "and takes so long")
    programs: int = chosen(
        60,
        "files of programs that all five read, the same, 64 to 512 KB, fitted together with that",
        is_calibrated=True,
    )
    write_fraction: float = chosen(0.3, "of references to memory that write")
    refs_per_s: int = chosen(
        2500,
        "references of a server a second: a pool fills with 10 MB a second, as a disk of the time"
        " reads, and most of it is referred to in each sampling period",
    )
    op_time: float = chosen(1e-4, "seconds of processor time of an operation")

    @property
    def seconds(self) -> int:
        """Length of a run."""
        return 60 * self.minutes

    @property
    def costs(self) -> Costs:
        """What things cost."""
        costs = Costs.preset("2002")
        return replace(costs, disk_position_ns=costs.disk_position_ns // self.disks)


class Variant(NamedTuple):
    """What is left out of a run."""

    name: str
    shares_before_swap: bool = True
    balloon: bool = True
    tax: bool = True
    sharing: bool = True


AS_IN_PAPER = Variant("as in the paper")
VARIANTS = (
    AS_IN_PAPER,
    Variant("no sharing before swap", shares_before_swap=False),
    Variant("no balloon drivers", balloon=False),
    Variant("no idle memory tax", tax=False),
    Variant("no page sharing", sharing=False, shares_before_swap=False),
)
"""The run and what it is compared with."""


class Decision(NamedTuple):
    """What the policy was shown and what it answered."""

    view: HostView
    targets: NDArray[np.int64]


class Watched:
    """The paper's policy, with a memory of what it was asked."""

    name = "esx2002"

    def __init__(self, tax_rate: float) -> None:
        self.decisions: list[Decision] = []
        self._policy = MinFunding(tax_rate)

    def targets(self, view: HostView) -> NDArray[np.int64]:
        """What `MinFunding` answers."""
        targets = self._policy.targets(view)
        self.decisions.append(Decision(view, targets))
        return targets


class Queries:
    """A database server's process: random pages of its pool while it has queries."""

    def __init__(self, parameters: FiveServers, start: int, seed: int) -> None:
        self._random = np.random.default_rng([seed, 8])
        self._pages = parameters.pool_mb * PAGES_PER_MB
        self._each = parameters.refs_per_s
        self._writes, self._op_time = parameters.write_fraction, parameters.op_time
        first, last = parameters.long_query_s, parameters.long_query_s + parameters.long_query_for_s
        self._busy = ((0, parameters.queries_until_s - start), (first - start, last - start))

    def batch(self, now: float) -> Batch | None:
        """A second of scans over the pool, or sleep until there are queries again."""
        for begin, end in self._busy:
            if now < begin:
                return Batch([], sleep_until=float(begin))
            if now < end:
                return self._second(int(now) + 1)
        return None

    def _second(self, until: int) -> Batch:
        pages = self._random.integers(self._pages, size=self._each)
        writes = self._random.random(self._each) < self._writes
        return Batch(pages, writes, ops=10, op_time=self._op_time, sleep_until=float(until))


def powered_on(parameters: FiveServers, variant: Variant, policy: Watched, seed: int) -> Host:
    """The machine with all five booting."""
    host = Host(
        memory=parameters.machine_mb * PAGES_PER_MB,
        content="tokens",
        seed=seed,
        policy=policy,
        sharing=variant.sharing,
        share_before_swap=variant.shares_before_swap,
        ledger_records=2**18,
    )
    driver = BalloonDriver(start=parameters.driver_s if variant.balloon else None)
    for name, megabytes in SERVERS:
        host.power_on(
            name,
            megabytes * PAGES_PER_MB,
            overhead=parameters.overhead_mb * PAGES_PER_MB,
            driver=driver,
            guest=Guest("windows", image="windows 2000", boot_time=parameters.boot_s),
        )
    return host


def work(parameters: FiveServers, seed: int) -> Iterator[tuple[str, Program | Queries, int]]:
    """Who does what, and after how many seconds."""
    refs = parameters.refs_per_s
    begin = {
        name: parameters.benchmarks_s + place * parameters.apart_s
        for place, (name, _) in enumerate(SERVERS)
    }
    for name, at in begin.items():
        yield name, _files(parameters, 0, parameters.programs, 1.0, refs // 20), at
    for name in (EXCHANGE_LOAD, METAFRAME_LOAD):
        yield name, _memory(parameters, parameters.load_mb, refs // 2), begin[name]
    yield EXCHANGE, _memory(parameters, parameters.exchange_mb, refs), begin[EXCHANGE]
    mail = _files(parameters, _MAIL, parameters.mailboxes, 0.7, refs // 10)
    yield EXCHANGE, mail, begin[EXCHANGE]
    for number in range(parameters.sessions):
        session = _memory(parameters, parameters.session_mb, refs // 10, number)
        yield METAFRAME, session, begin[METAFRAME] + number * parameters.login_s
    yield SQL_SERVER, Queries(parameters, begin[SQL_SERVER], seed), begin[SQL_SERVER]


def _memory(parameters: FiveServers, megabytes: float, refs_per_s: int, place: int = 0) -> Program:
    """A process on so much memory, behind others of its size."""
    pages = round(megabytes * PAGES_PER_MB)
    return zipf(
        pages,
        base=place * pages,
        exponent=0.3,
        write_fraction=parameters.write_fraction,
        op_refs=10,
        op_time=parameters.op_time,
        refs_per_s=refs_per_s,
    )


def _files(
    parameters: FiveServers, base: int, count: int, read_fraction: float, refs_per_s: int
) -> Program:
    return files(
        count,
        base=base,
        smallest="64KiB",
        largest="512KiB",
        read_fraction=read_fraction,
        op_time=parameters.op_time,
        refs_per_s=refs_per_s,
    )


_HOST = (
    "machine_pages",
    "allocated_pages",
    "reclaimed_pages",
    "overhead_pages",
    "free_pages",
    "zero_pages",
    "balloon_pages",
    "swapped_pages",
    "page_outs",
    "shared_before_swap_pages",
    "free_state",
)
_VM = ("allocated_pages", "active_pages", "target_pages")
_EVERY_S = 5  # columns of VMs cost a visit of each page


@dataclass(frozen=True)
class Course:
    """A run, second by second.

    Attributes
    ----------
    time_s : array of shape (samples,)
        One sample after each second.
    host : dict of arrays of shape (samples,)
        `Host.stats` at each.
    vm_time_s : array of shape (fewer samples,)
        A sample of the VMs every five seconds.
    vms : dict of arrays of shape (fewer samples, VMs)
        `Host.vms` at each.
    decided : array of shape (fewer samples,)
        The latest decision at each, by its place in `decisions`.
    decisions : tuple of Decision
        Everything the policy was asked.
    moments : tuple of (float, str)
        Free states as the ledger tells them, also within a second.
    operations : dict of str to int
        What each server's processes did.
    """

    variant: Variant
    time_s: NDArray[np.int64]
    host: dict[str, NDArray[np.int64]]
    vm_time_s: NDArray[np.int64]
    vms: dict[str, NDArray[np.int64]]
    decided: NDArray[np.int64]
    decisions: tuple[Decision, ...]
    moments: tuple[tuple[float, str], ...]
    operations: dict[str, int]

    def vm(self, column: str, name: str) -> NDArray[np.int64]:
        """A column of one server."""
        values: NDArray[np.int64] = self.vms[column][:, [one for one, _ in SERVERS].index(name)]
        return values

    def mb(self, column: str) -> NDArray[np.float64]:
        """A column of the host in MB."""
        return self.host[column] / PAGES_PER_MB


def run(parameters: FiveServers, variant: Variant, seed: int) -> Course:
    """All of it from power-on."""
    policy = Watched(parameters.tax_rate if variant.tax else 0.0)
    host = powered_on(parameters, variant, policy, seed)
    simulation = Simulation(host, processors=parameters.processors, costs=parameters.costs)
    for name, process, after in work(parameters, seed):
        simulation.start(name, process, after=after)
    rows: list[list[int]] = []
    tables: list[list[NDArray[np.int64]]] = []
    decided = []
    for second in range(1, parameters.seconds + 1):
        simulation.advance(1)
        stats = host.stats()
        rows.append([stats[name] for name in _HOST])
        if second % _EVERY_S == 0:
            vms = host.vms()
            tables.append([vms[name] for name in _VM])
            decided.append(len(policy.decisions) - 1)
    return Course(
        variant,
        np.arange(1, parameters.seconds + 1),
        dict(zip(_HOST, np.array(rows).T, strict=True)),
        np.arange(_EVERY_S, parameters.seconds + 1, _EVERY_S),
        dict(zip(_VM, np.array(tables).swapaxes(0, 1), strict=True)),
        np.array(decided),
        tuple(policy.decisions),
        tuple((moment["time_s"], moment["free_state"]) for moment in host.replay()),
        {name: simulation.report(name).operations for name, _ in SERVERS},
    )


def closed_form(view: HostView, tax_rate: float) -> NDArray[np.float64]:
    """The targets that equal prices give (paper, section 5.2), by bisection, in parts of a page.

    With a price of shares per page, S shares pay for S / price pages in use, as idle ones cost k
    = 1 / (1 - tax) times as much: who uses A pages has A * tax + S / (price * k) of them, but only
    S / price if that is less. Everyone is kept within min and max. The price is the one at which
    all together are what is available. Written by itself, not with the package's policy.
    """
    keep = 1 - tax_rate
    active, shares = view.active_pages.astype(np.float64), view.shares.astype(np.float64)

    def at(pages_a_share: float) -> NDArray[np.float64]:
        paid = shares * pages_a_share
        pages = np.where(paid < active, paid, tax_rate * active + keep * paid)
        return np.clip(pages, view.min_pages, view.max_pages)

    low, high = 0.0, float(view.max_pages.max()) / keep
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle).sum() <= view.available_pages else (low, middle)
    return at(low)
