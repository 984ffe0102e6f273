"""Experiments: a scenario lived through, second by second, and recorded.

`run` checks every data file the scenario names, powers the virtual machines on, and then for each
second of virtual time lets the workloads touch their pages, advances the host (whose scanner looks
for equal pages at its rates, paper section 4.3), and samples what there is to see. One seed gives
one recording, to the byte.

Neighbours: it composes scenario, contents, workload and host; commands and scripts call it.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esxcore import __version__
from esxcore.config import parse_size_text, whole_number
from esxcore.contents import ContentTrace
from esxcore.errors import (
    ArgumentTypeError,
    ConfigError,
    DataError,
    OutOfMachineMemoryError,
    RealMemoryError,
    ScenarioError,
)
from esxcore.host import Host
from esxcore.images import ImageContents, TraceContents, VmContents, contents_reader, open_image
from esxcore.recording import Recording
from esxcore.scenario import SEED_LIMIT, Scenario, VmSection
from esxcore.scenario_text import abridged
from esxcore.vm import Vm
from esxcore.workload import Activity, ActivityRecord, Workload

Progress = Callable[[int, int], None]
"""Called after each virtual second with the seconds done and the seconds in all."""


def run(
    scenario: Scenario,
    *,
    seed: int | None = None,
    workloads: Mapping[str, Workload] | None = None,
    progress: Progress | None = None,
) -> Recording:
    """Runs a scenario and records it.

    Parameters
    ----------
    scenario : Scenario
        What to run.
    seed : int, optional
        Used in place of the scenario's own.
    workloads : mapping of str to Workload, optional
        Workloads written in Python by name of virtual machine; each takes the place of the
        scenario's.
    progress : callable, optional
        Called as ``progress(done_s, total_s)`` after each virtual second.

    Returns
    -------
    Recording
        Samples from second 0, before anything happened, to the last second.

    Raises
    ------
    ScenarioError
        If the scenario and its data files contradict each other, or the virtual machines do not fit
        the host or the system running esxcore (the cause is an `OutOfMachineMemoryError` or a
        `RealMemoryError`); nothing has been run then. A guest that finds no free page later on
        stands still instead, and the recording says for how long.
    DataError
        If a data file is missing or corrupt.

    Examples
    --------
    >>> scenario = Scenario.from_mapping(
    ...     {
    ...         "host": {"memory": "64MiB"},
    ...         "vms": [{"name": "web", "max": "16MiB"}],
    ...         "run": {"duration": "5s"},
    ...     }
    ... )
    >>> run(scenario).time_s.tolist()
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    """
    seed = _seed(scenario, seed)
    plans = _plans(scenario)
    own = dict(workloads or {})
    _check_workloads(own, scenario.vm_names())
    host = _power_on(scenario, plans, seed)
    guests = [
        _Guest(host.vm(name), own.get(name, plan.activity))
        for plan in plans
        for name in plan.section.names()
    ]
    samples = _Samples(host, guests)
    samples.take()
    duration, sample = scenario.run.duration_s, scenario.run.sample_s
    for second in range(1, duration + 1):
        for guest in guests:
            guest.live_one_second()
        host.advance(1)
        if second % sample == 0 or second == duration:
            samples.take()
        if progress is not None:
            progress(second, duration)
    return samples.recording(scenario, seed)


def build_host(scenario: Scenario, *, seed: int | None = None) -> Host:
    """The host of a scenario, its virtual machines powered on, for experiments by hand.

    Raises
    ------
    ScenarioError, DataError
        As `run` does.
    """
    return _power_on(scenario, _plans(scenario), _seed(scenario, seed))


def _seed(scenario: Scenario, seed: int | None) -> int:
    if seed is None:
        return scenario.host.seed
    seed = whole_number(seed, "seed")
    if not 0 <= seed < SEED_LIMIT:
        raise ConfigError(f"seed: {seed}; expected 0 to 2**128 - 1")
    return seed


@dataclass(frozen=True)
class _Plan:
    """One ``[[vms]]`` section with its data files opened and checked."""

    section: VmSection
    source: VmContents | None
    activity: Activity | None


def _plans(scenario: Scenario) -> list[_Plan]:
    """Opens what the sections name, each file once, and finds contradictions before the run."""
    trace = functools.cache(lambda name: ContentTrace.load(scenario.data_path(name)))
    image = functools.cache(lambda name: open_image(scenario.data_path(name)))
    record = functools.cache(lambda name: ActivityRecord.load(scenario.data_path(name)))
    plans = []
    for position, section in enumerate(scenario.vms):
        field_name = f"vms[{position}]"
        with _named(scenario, f"{field_name}.contents"):
            source = _source(scenario, field_name, section, trace, image)
        pages = _vm_pages(scenario, field_name, section, source)
        with _named(scenario, f"{field_name}.workload"):
            activity = _activity(scenario, field_name, section, pages, record)
        plans.append(_Plan(section, source, activity))
    return plans


@contextmanager
def _named(scenario: Scenario, field_name: str) -> Iterator[None]:
    """Has errors of data files say which field named the file."""
    try:
        yield
    except DataError as error:
        raise scenario.data_error(field_name, error) from error


def _source(
    scenario: Scenario,
    field_name: str,
    section: VmSection,
    trace: Callable[[str], ContentTrace],
    image: Callable[[str], ImageContents],
) -> VmContents | None:
    """The contents of the section's virtual machines, opened."""
    wanted = section.contents
    if wanted is None:
        return None
    if wanted.image is not None:
        return image(wanted.image)
    if wanted.trace is None or wanted.vm is None:
        raise AssertionError("a scenario has a trace and a VM of it, or an image")
    found = trace(wanted.trace)
    if wanted.vm >= found.vms:
        raise scenario.error(
            f"{field_name}.contents.vm",
            wanted.vm,
            f"0 to {found.vms - 1}, a VM of {wanted.trace}",
        )
    return TraceContents(found, wanted.vm)


def _vm_pages(
    scenario: Scenario, field_name: str, section: VmSection, source: VmContents | None
) -> int:
    """Size of the section's virtual machines, which its contents must fit."""
    given = 0 if source is None else source.vm_pages
    if section.max is None:
        return given
    pages = parse_size_text(section.max)
    if pages < given:
        raise scenario.error(
            f"{field_name}.max", section.max, f"at least {given * 4}KiB, the size of its contents"
        )
    return pages


def _activity(
    scenario: Scenario,
    field_name: str,
    section: VmSection,
    pages: int,
    load: Callable[[str], ActivityRecord],
) -> Activity | None:
    """The section's workload; its record may name only pages that the virtual machine has."""
    if section.workload is None:
        return None
    wanted = section.workload
    record = load(wanted.activity)
    if record.pages > pages:
        raise scenario.error(
            f"{field_name}.workload.activity",
            wanted.activity,
            f"a record of at most {pages} pages, the size of the VM; this one is of {record.pages}",
        )
    if wanted.offset_s >= record.seconds:
        raise scenario.error(
            f"{field_name}.workload.offset",
            wanted.offset,
            f"less than {record.seconds}s, the length of the record",
        )
    return Activity(record, wanted.start_s, wanted.offset_s, wanted.repeat)


def _power_on(scenario: Scenario, plans: list[_Plan], seed: int) -> Host:
    sharing = scenario.sharing
    host = Host(
        memory=scenario.host.memory,
        seed=seed,
        content=scenario.host.content,
        policy=None,
        sharing=sharing.enabled,
        scan_order=sharing.order,
        scan_vm_rate=sharing.vm_rate,
        scan_host_rate=sharing.host_rate,
        salt=sharing.salt,
        sample_pages=scenario.sampling.pages,
        sample_period=scenario.sampling.period,
    )
    contents_of = contents_reader([plan.source for plan in plans], scenario.host.content)
    for position, plan in enumerate(plans):
        section, contents = plan.section, contents_of(plan.source)
        for name in section.names():
            try:
                host.power_on(name, max=section.max, contents=contents, salt=section.salt)
            except (OutOfMachineMemoryError, RealMemoryError) as error:
                raise _no_room(scenario, position, name, error) from error
    return host


def _no_room(scenario: Scenario, position: int, name: str, error: MemoryError) -> ScenarioError:
    """The field that is to blame for a virtual machine that cannot be powered on."""
    section = scenario.vms[position]
    if isinstance(error, OutOfMachineMemoryError):
        field_name, value = "host.memory", scenario.host.memory
        expected = f"room for the contents of vms[{position}]"
    else:
        sized_by = "contents" if section.max is None else "max"
        field_name, value = (
            f"vms[{position}].{sized_by}",
            section.model_dump(exclude_none=True)[sized_by],
        )
        expected = "what this system has memory for"
    return scenario.error(field_name, value, f"{expected} (VM {abridged(name)}: {error})")


def _check_workloads(workloads: Mapping[str, Workload], names: tuple[str, ...]) -> None:
    for name, workload in workloads.items():
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(names)}"
            raise ConfigError(f"workloads: no virtual machine {name!r}; {hint}")
        if not isinstance(workload, Workload):
            raise ArgumentTypeError(
                f"workloads[{name!r}]: {type(workload).__name__} has no method accesses(second)"
            )


@dataclass
class _Guest:
    """One virtual machine, its workload and its clock, which stands still while it is starved."""

    vm: Vm
    workload: Workload | None
    second: int = 0
    stalled_s: int = 0
    waiting: list[tuple[NDArray[Any], bool]] = field(default_factory=list)

    def live_one_second(self) -> None:
        """Touches the pages of the guest's next second, or goes on with those it was starved in."""
        if self.workload is None:
            return
        if not self.waiting:
            reads, writes = self.workload.accesses(self.second)
            self.waiting = [(reads, False), (writes, True)]
        while self.waiting:
            ppns, write = self.waiting[0]
            report = self.vm.touch(ppns, write=write)
            if report.stopped is not None:
                self.waiting[0] = (ppns[report.done :], write)
                self.stalled_s += 1
                return
            del self.waiting[0]
        self.second += 1


class _Samples:
    """Rows of counters, gathered while a run goes on and turned into columns at its end."""

    def __init__(self, host: Host, guests: list[_Guest]) -> None:
        self._host = host
        self._guests = guests
        self._rows: list[dict[str, Mapping[str, Any]]] = []
        self._times: list[float] = []

    def take(self) -> None:
        """Adds a row of everything that can be seen now."""
        vms = {
            name: column for name, column in self._host.vms().items() if column.dtype.kind in "iuf"
        }
        vms["stalled_s"] = np.array([guest.stalled_s for guest in self._guests])
        self._times.append(self._host.now)
        self._rows.append({"host": self._host.stats(), "census": self._host.census(), "vms": vms})

    def recording(self, scenario: Scenario, seed: int) -> Recording:
        """All rows as columns."""
        return Recording(
            np.array(self._times),
            self._columns("host"),
            self._columns("census"),
            self._columns("vms"),
            scenario.vm_names(),
            scenario.to_toml(),
            seed,
            __version__,
        )

    def _columns(self, group: str) -> dict[str, NDArray[Any]]:
        first = self._rows[0][group]
        return {name: np.array([row[group][name] for row in self._rows]) for name in first}
