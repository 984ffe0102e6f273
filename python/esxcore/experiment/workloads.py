"""Workloads of a scenario: found by kind, or imported from the folder of its file; checked.

A workload of one's own is ``module:Class``, found as `esxcore.experiment.classes` says; every
process of it is an object of its own. Whatever is wrong comes out as one line, before anything
runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from esxcore.experiment.classes import Sort, found_class
from esxcore.scenario import Scenario, VmSection, WorkloadSection
from esxcore.scenario.named import RAISED, check_parameters, told
from esxcore.scenario.programs import OWN_KINDS, made_program, need_kind
from esxcore.scenario_text import abridged
from esxcore.workload import KINDS, Activity, ActivityRecord, AnyWorkload

_SORT = Sort(
    "workload",
    ("batch", "accesses"),
    "a class with a method batch(now) or accesses(second)",
)
_Record = Callable[[str], ActivityRecord]


@dataclass(frozen=True)
class Opened:
    """What a section says is done in its virtual machines, checked."""

    make: Callable[[], list[AnyWorkload]]
    writes: str | tuple[str, int]
    start_s: int | None

    @classmethod
    def of(cls, section: WorkloadSection, make: Callable[[], list[AnyWorkload]]) -> Opened:
        """That of a section."""
        writes = section.writes or "unique"
        stored = writes if isinstance(writes, str) else ("pool", writes["pool"])
        return cls(make, stored, section.start_s)


def opened_workload(
    scenario: Scenario, position: int, vm: VmSection, pages: int, record: _Record
) -> Opened | None:
    """The workload of a section of VMs, there, with so many pages; None if it has none.

    Raises
    ------
    ScenarioError
        If there is no such kind, or it does not take what is given.
    DataError
        If a file that it names is missing or damaged.
    """
    section = vm.workload
    if section is None:
        return None
    field_name = f"vms[{position}].workload"
    if scenario.has_own_workload(position):
        count = section.processes or 1
        return Opened.of(section, lambda: [scenario.own_workload(position) for _ in range(count)])
    if section.name is None:
        activity = _activity(scenario, field_name, section, pages, record)
        opened = Opened.of(section, lambda: [activity])
        # The replay itself waits for its start, in the time of the guest.
        return opened if section.start is None else replace(opened, start_s=0)
    need_kind(scenario, field_name, vm)
    if section.name not in KINDS:
        return Opened.of(section, _own(scenario, field_name, section))
    program = made_program(scenario, field_name, section)
    return Opened.of(section, lambda: [program])


def _activity(
    scenario: Scenario, field_name: str, section: WorkloadSection, pages: int, load: _Record
) -> Activity:
    """The replay of a record, which may name only pages that the virtual machine has."""
    name = section.activity
    if name is None:
        raise AssertionError("a workload without a kind replays a record")
    record = load(name)
    if record.pages > pages:
        raise scenario.error(
            f"{field_name}.activity",
            name,
            f"a record of at most {pages} pages, the size of the VM; this one is of {record.pages}",
        )
    if section.offset_s >= record.seconds:
        raise scenario.error(
            f"{field_name}.offset",
            section.offset,
            f"less than {record.seconds}s, the length of the record",
        )
    return Activity(record, section.start_s or 0, section.offset_s, bool(section.repeat))


def _own(
    scenario: Scenario, field_name: str, section: WorkloadSection
) -> Callable[[], list[AnyWorkload]]:
    """What makes the processes of a workload of one's own."""
    name = str(section.kind)
    factory = found_class(scenario, f"{field_name}.kind", name, OWN_KINDS, _SORT)
    called = f"workload {abridged(name)}"
    check_parameters(scenario, field_name, called, section.parameters, factory)

    def make() -> list[AnyWorkload]:
        try:
            return [factory(**section.parameters) for _ in range(section.processes or 1)]
        except RAISED as error:
            problem = f"{field_name}: {called} cannot be made: {told(error)}"
            raise scenario.refusal(problem) from error

    return make
