"""Simulations: processes of guests live through virtual time and pay for what they meet.

Neighbours: `esxcore.workload` says what processes do, `esxcore.costs` what things cost,
`esxcore.host` what becomes of their pages; `esxcore.experiment` runs scenarios on a simulation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from esxcore import _core
from esxcore.arguments import in_range, need_real_memory, real_number
from esxcore.config import parse_duration
from esxcore.costs import Costs, resolve_costs
from esxcore.errors import ArgumentTypeError, ConfigError
from esxcore.host import Host
from esxcore.reports import ScanReport
from esxcore.vm import Vm
from esxcore.workload import core_workload
from esxcore.workload.processes import AnyWorkload, copying
from esxcore.workload.programs import Program

_PERCENTILES = (500, 950, 990)


@dataclass(frozen=True, slots=True)
class WorkReport:
    """What became of the processes of a virtual machine since it was powered on.

    Attributes
    ----------
    operations : int
        Operations that are through. What is begun is served whole, so the last one of a process may
        count a little before its time.
    p50_ns, p95_ns, p99_ns : int
        The time within which so many percent of them were, to a sixteenth; -1 without operations.
    stall_some_s, stall_full_s : float
        How long at least one process stood for want of memory, and how long one stood and none of
        the others ran, as Linux's pressure stall information counts it.
    held_s : int
        Seconds in which the whole virtual machine stood, because no memory was free or it was
        blocked; this time is lost to its processes.
    blocked_s : int
        Of these, seconds in which it was blocked (paper, section 6.3).
    double_paged_pages : int
        Pages that the server paged in only because the guest was paging them out (section 3.1).
    living, killed : int
        Processes that live, and those that were killed for want of guest memory.
    packets, dropped_packets : int
        Packets that the network card transferred, and those for which there was no processor time
        or no memory.
    device_s : float
        Processor time that transfers of network card and disk took, copies and moves included.
    """

    operations: int
    p50_ns: int
    p95_ns: int
    p99_ns: int
    stall_some_s: float
    stall_full_s: float
    held_s: int
    blocked_s: int
    double_paged_pages: int
    living: int
    killed: int
    packets: int = 0
    dropped_packets: int = 0
    device_s: float = 0.0


class Simulation:
    """Virtual machines at work on the processors and the disk of one machine.

    Whoever has something to do gets a processor; if there are more of them than processors, all
    are slower alike. A virtual machine has one virtual processor, of which its devices (`Nic`,
    `Disk`) take theirs before its processes do. Time is virtual and results are
    the same for a seed on any machine, wherever time is cut.

    Parameters
    ----------
    host : Host
        Their host. Its time passes with the simulation's: call `advance` here. Through what passes
        for the host alone its processes sleep.
    processors : int
        Processors of the machine; the paper's had two.
    costs : {"nvme", "2002"} or Costs
        What things cost.

    Examples
    --------
    >>> import esxcore
    >>> host = esxcore.Host(memory="256MiB", content="tokens")
    >>> web = host.power_on("web", "64MiB", overhead=0)
    >>> class Sweep:
    ...     def batch(self, now):
    ...         return esxcore.Batch(range(1000), writes=True, ops=100, op_time=1e-3)
    >>> simulation = esxcore.Simulation(host)
    >>> simulation.start(web, Sweep())
    >>> _ = simulation.advance(10)
    >>> 9900 < simulation.report(web).operations < 10_000
    True
    """

    def __init__(self, host: Host, *, processors: int = 2, costs: str | Costs = "nvme") -> None:
        if not isinstance(host, Host):
            raise ArgumentTypeError(f"host: {host!r}; expected a Host")
        self.host = host
        self.costs = resolve_costs(costs)
        self._core = _core.Simulation(
            in_range(processors, "processors", 1, 2**20), self.costs.as_dict()
        )
        self._before: dict[int, Any] = {}  # by the serial number of a virtual machine

    def __repr__(self) -> str:
        return f"<Simulation at {self.host.now:g} s of {self.host!r}>"

    def start(
        self,
        vm: Vm | str,
        workload: AnyWorkload,
        *,
        writes: str | tuple[str, int] = "unique",
        after: str | float = 0,
    ) -> None:
        """Starts a process in a virtual machine, or the processes of a `Program`.

        Parameters
        ----------
        vm : Vm or str
            Where.
        workload : Workload, PacedWorkload or Program
            What it does.
        writes : {"unique", "same"} or ("pool", n)
            What its writes store: content of its own each time; what the page holds already, which
            breaks sharing but lets it be found again; or one of n contents, the same for all.
        after : str or float
            How long from now it begins: a duration such as ``"10s"``, or seconds.

        Raises
        ------
        UnknownVmError
            If the virtual machine is not powered on.
        ArgumentTypeError
            If the workload is none.
        """
        process, stored = core_workload(workload, "workload"), _writes(writes)
        delay_ns = _nanoseconds(after, "after")
        for number in range(workload.processes if isinstance(workload, Program) else 1):
            self._core.start(self.host._core, self.host._ref(vm), process, number, stored, delay_ns)

    def advance(self, seconds: float) -> ScanReport:
        """Lets virtual time pass for processes, and for host and guests at each whole second.

        Raises
        ------
        WorkloadError
            If a workload yields neither references nor a time to sleep until. What a workload
            written in Python raises comes out as it is. `now` is the moment of it, and time goes on
            from there in the next call.
        PageRangeError
            If a process refers to memory that its virtual machine has not, where the guest manages
            none; that process is killed.
        PolicyError
            As `Host.advance`.
        """
        return ScanReport(*self._core.advance(self.host._core, _nanoseconds(seconds, "seconds")))

    @property
    def now(self) -> float:
        """Virtual time in seconds, which is `Host.now`.

        After an advance that an error of a process ended it is the moment of the error, or the end
        of its slice of 10 ms if an operation took longer; after Ctrl-C the end of the last slice
        that was lived, the last one of a second left out.
        """
        return self.host.now

    def fork(self) -> Simulation:
        """An independent, identical copy of it and of its host, which is the copy's `host`.

        Its virtual machines have the same names (`Host.vm`). What runs in them goes on from where
        it is, with the same results if the same is done to both. Workloads that are built in are
        copied; one written in Python by its own method ``fork()``, if it has one, or else by
        `copy.deepcopy`: two processes of one object have one copy, and a reference to this
        simulation, its host or its policy becomes one to the copy's. Functions are not copied:
        what a closure remembers is shared, so keep it in attributes. A policy is shared, unless it
        has a method ``fork()``, as `Host.fork` says.

        Raises
        ------
        WorkloadError
            If a workload of a process that lives cannot be copied; the line names its virtual
            machine.

        Examples
        --------
        >>> import esxcore
        >>> host = esxcore.Host(memory="256MiB", content="tokens")
        >>> web = host.power_on("web", "64MiB", overhead=0)
        >>> simulation = esxcore.Simulation(host)
        >>> simulation.start(web, esxcore.zipf("32MiB"))
        >>> _ = simulation.advance(10)
        >>> other = simulation.fork()
        >>> _ = simulation.advance(10), other.advance(10)
        >>> other.report("web") == simulation.report("web")
        True
        >>> other.host.state_digest() == host.state_digest()
        True
        """
        need_real_memory(self.host.stats()["real_bytes"], "a fork of this simulation")
        fork, host = object.__new__(Simulation), object.__new__(Host)
        policy = self.host._policy_of_fork()
        memo = {id(self): fork, id(self.host): host}
        if policy is not None:
            memo[id(self.host._policy)] = policy  # a workload that has it has the copy's
        fork.host, fork.costs, fork._before = host, self.costs, dict(self._before)
        fork._core, core = self._core.fork(self.host._core, copying(memo))
        host._become_fork(self.host, core, policy)
        return fork

    def __reduce__(self) -> str:
        raise TypeError(
            "a Simulation cannot be pickled; Simulation.fork() copies it within a process"
        )

    def __copy__(self) -> Simulation:
        return self.fork()

    def __deepcopy__(self, memo: dict[int, Any]) -> Simulation:
        return self.fork()

    def report(self, vm: Vm | str) -> WorkReport:
        """What became of the processes of a virtual machine since it was powered on."""
        facts = self._core.report(self.host._core, self.host._ref(vm))
        return _report(facts, None)

    def look(self, vm: Vm | str) -> WorkReport:
        """As `report`, but with the percentiles of the operations since the last look."""
        facts = self._core.report(self.host._core, self.host._ref(vm))
        before = self._before.get(facts["serial"])
        self._before[facts["serial"]] = facts["latencies"]
        return _report(facts, before)


def _report(facts: dict[str, Any], before: Any) -> WorkReport:
    latencies = facts["latencies"]
    times = [latencies.permille(permille, before) for permille in _PERCENTILES]
    p50, p95, p99 = (-1 if time is None else time for time in times)
    return WorkReport(
        operations=facts["operations"],
        p50_ns=p50,
        p95_ns=p95,
        p99_ns=p99,
        stall_some_s=facts["stall_some_ns"] / 1e9,
        stall_full_s=facts["stall_full_ns"] / 1e9,
        held_s=facts["held_s"],
        blocked_s=facts["blocked_s"],
        double_paged_pages=facts["double_paged_pages"],
        living=facts["living"],
        killed=facts["killed"],
        packets=facts["packets"],
        dropped_packets=facts["dropped_packets"],
        device_s=facts["device_ns"] / 1e9,
    )


def _writes(writes: object) -> tuple[str, int]:
    if writes in ("unique", "same"):
        return str(writes), 0
    match writes:
        case ("pool", contents):
            return "pool", in_range(contents, "writes: contents of the pool", 1, 2**32 - 1)
    raise ConfigError(f"writes: {writes!r}; expected 'unique', 'same' or ('pool', contents)")


def _nanoseconds(value: object, what: str) -> int:
    seconds = parse_duration(value, what) if isinstance(value, str) else real_number(value, what)
    if not 0 <= seconds <= 2**33:  # nor is NaN
        raise ConfigError(f"{what}: {value!r}; expected a number from 0 to 2**33")
    return round(seconds * 1e9)
