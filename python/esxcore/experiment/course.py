"""The course of a run: virtual machines come, live and go, and what a scenario changes meanwhile.

At a second of virtual time those virtual machines go first whose time is up, then others come in
the order of the scenario, then its events happen, in its order too. What is sampled at that second
is what is so after all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from esxcore.config import parse_duration
from esxcore.costs import Costs
from esxcore.errors import (
    ConfigError,
    NotAdmittedError,
    OutOfMachineMemoryError,
    RealMemoryError,
    ScenarioError,
)
from esxcore.experiment.devices import devices, io_settings
from esxcore.experiment.plans import Plan
from esxcore.experiment.policies import blame, make_policy
from esxcore.guest import Guest as OperatingSystem
from esxcore.host import Host
from esxcore.images import contents_reader
from esxcore.policy import Policy
from esxcore.reports import BalloonDriver
from esxcore.scenario import (
    NEVER,
    PolicySection,
    ReclaimSection,
    Scenario,
    VmSection,
    is_nothing,
)
from esxcore.scenario.division import policies_after
from esxcore.scenario.guests import GuestSection
from esxcore.scenario_text import abridged
from esxcore.simulation import Simulation, WorkReport
from esxcore.vm import Vm
from esxcore.workload.processes import AnyWorkload


@dataclass
class Guest:
    """A virtual machine of the scenario, what runs in it, and its handle while it is powered on."""

    workloads: list[AnyWorkload]
    vm: Vm | None = None
    report: WorkReport | None = None


class Course:
    """A host and its guests, and what becomes of them second by second.

    Parameters
    ----------
    scenario : Scenario
        What happens when.
    plans : list of Plan
        Its sections of virtual machines with their data.
    seed : int
        What everything random comes from.
    workloads : mapping of str to Workload or PacedWorkload
        Workloads that take the place of the scenario's, by name of virtual machine.

    Raises
    ------
    ScenarioError
        If a policy of the scenario is none.
    """

    def __init__(
        self,
        scenario: Scenario,
        plans: list[Plan],
        seed: int,
        workloads: Mapping[str, AnyWorkload],
    ) -> None:
        self._scenario = scenario
        self._policy = scenario.policy
        self._policies = _policies(scenario)
        policy = scenario.own_policy()
        if policy is None and not scenario.policy.is_bare:
            policy = make_policy(scenario, "policy", scenario.policy)
        with _fields_named(scenario):
            self.host = _host(scenario, seed, policy)
        run = scenario.run
        self.simulation = Simulation(self.host, processors=run.processors, costs=_costs(scenario))
        self._plans = plans
        self._contents_of = contents_reader([plan.source for plan in plans], scenario.host.content)
        self.guests = {
            name: Guest(_workloads(plan, workloads.get(name)))
            for plan in plans
            for name in plan.section.names()
        }

    def live(self, seconds: int = 1) -> None:
        """Virtual time passes for guests and host."""
        try:
            self.simulation.advance(seconds)
        except (Exception, SystemExit) as error:  # Ctrl-C is no policy's doing
            blame(error, self._policy.name, self.host.now)
            raise

    def decisions(self, after_s: float | None) -> list[dict[str, Any]]:
        """What was decided after a time, as `Host.decisions` tells it; nothing without a ledger."""
        if self.host.policy is None or not self._scenario.reclaim.ledger_records:
            return []
        return self.host.decisions(after_s)

    def happen(self, second: int) -> None:
        """Lets happen what the scenario has for that second.

        Raises
        ------
        ScenarioError
            If a virtual machine is not admitted or finds no room, or a change is refused.
        """
        for plan in self._plans:
            if plan.section.stop_s == second:
                self._power_off(plan.section)
        for position, plan in enumerate(self._plans):
            if plan.section.start_s == second:
                self._power_on(position, plan)
        for position, event in enumerate(self._scenario.events):
            if event.at_s == second:
                self._change(position)

    def _power_off(self, section: VmSection) -> None:
        for name in section.names():
            guest = self.guests[name]
            if guest.vm is not None:
                guest.report = self.simulation.report(guest.vm)
                guest.vm.power_off()
            guest.vm = None

    def _power_on(self, position: int, plan: Plan) -> None:
        section, contents = plan.section, self._contents_of(plan.source)
        for name in section.names():
            try:
                guest = self.guests[name]
                guest.vm = self.host.power_on(
                    name, max=section.max, contents=contents, **_settings(section)
                )
                self._start(guest, plan)
            except (NotAdmittedError, OutOfMachineMemoryError, RealMemoryError) as error:
                raise _no_room(self._scenario, position, name, error) from error
            except ConfigError as error:
                problem = f"vms[{position}] (VM {abridged(name)}): {error}"
                raise self._scenario.refusal(problem) from error

    def _start(self, guest: Guest, plan: Plan) -> None:
        """Starts what is done in a guest, once it has booted unless the scenario says when."""
        if guest.vm is None:
            return
        after = plan.workload.start_s if plan.workload else None
        writes = plan.workload.writes if plan.workload else "unique"
        for workload in guest.workloads:
            self.simulation.start(
                guest.vm,
                workload,
                writes=writes,
                after=_boot_s(plan.section) if after is None else after,
            )

    def _change(self, position: int) -> None:
        """Does what an event says; one about the policy has had it made before the run."""
        event = self._scenario.events[position]
        if event.vm is None:
            self._policy, self.host.policy = self._policies[position]
            return
        changes = {key: _in_pages(value) for key, value in event.changes.items()}
        try:
            self.host.configure(event.vm, **changes)
        except ConfigError as error:
            problem = f"events[{position}] (VM {abridged(event.vm)}) at {event.at}: {_said(error)}"
            raise self._scenario.refusal(problem) from error


def _policies(scenario: Scenario) -> dict[int, tuple[PolicySection, Policy]]:
    """The policy after each event that changes it, by the position of the event."""
    first = None if scenario.has_own_policy else scenario.policy
    return {
        position: (section, make_policy(scenario, field_name, section))
        for position, field_name, section in policies_after(first, scenario.events)
    }


def _host(scenario: Scenario, seed: int, policy: Policy | None) -> Host:
    sharing = scenario.sharing
    return Host(
        memory=scenario.host.memory,
        seed=seed,
        content=scenario.host.content,
        sharing=sharing.enabled,
        scan_order=sharing.order,
        scan_vm_rate=sharing.vm_rate,
        scan_host_rate=sharing.host_rate,
        salt=sharing.salt,
        sample_pages=scenario.sampling.pages,
        sample_period=scenario.sampling.period,
        swap=scenario.host.swap,
        low_memory=scenario.host.low_memory,
        **io_settings(scenario.io, _costs(scenario)),
        policy=policy,
        **scenario.reclaim.model_dump(),
    )


@contextmanager
def _fields_named(scenario: Scenario) -> Iterator[None]:
    """Has errors of the host about its settings say which field of the scenario it was."""
    try:
        yield
    except ConfigError as error:
        raise scenario.refusal(_field_of(str(error))) from error


def _costs(scenario: Scenario) -> Costs:
    costs = scenario.run.costs
    return replace(Costs.preset(costs.preset), **costs.changes)


def _field_of(refusal: str) -> str:
    """What the host says of one of its settings, said of the scenario's field."""
    setting = refusal.partition(" ")[0].rstrip(":")
    if setting.endswith("_threshold"):
        return f"reclaim.thresholds: {refusal}"
    if setting == "low_memory":
        return f"host.{refusal}"
    return f"reclaim.{refusal}" if setting in ReclaimSection.model_fields else refusal


def _said(error: ConfigError) -> str:
    """What the host says of virtual machines, with its settings as scenarios call them."""
    return str(error).replace("Host(swap=...)", "host.swap")


def _settings(section: VmSection) -> dict[str, Any]:
    """What `Host.power_on` takes beyond size and contents; what is not given is left out."""
    keys = ("min", "shares", "balloon_limit", "overhead", "salt")
    said = {key: getattr(section, key) for key in keys}
    given: dict[str, Any] = {
        key: _in_pages(value) for key, value in said.items() if value is not None
    }
    driver = section.driver
    if driver is not None:
        given["driver"] = BalloonDriver(
            start=None if driver.start == NEVER else driver.start or "guest",
            max_rate=driver.max_rate,
            limit=_in_pages(driver.limit),
            stuck_at=driver.stuck_at,
        )
    if section.guest is not None:
        given["guest"] = _guest(section.guest)
    given |= devices(section)
    return given


def _guest(section: GuestSection) -> OperatingSystem:
    said = section.model_dump(exclude_none=True)
    return OperatingSystem(**{key: _in_pages(value) for key, value in said.items()})


def _boot_s(section: VmSection) -> float:
    """How long a guest boots; one that manages nothing of its own does not."""
    if section.guest is None or section.guest.kind == "default":
        return 0
    return parse_duration(str(_guest(section.guest).boot_time))


def _workloads(plan: Plan, own: AnyWorkload | None) -> list[AnyWorkload]:
    """What is done in a virtual machine: its own objects, made before the run."""
    if own is not None:
        return [own]
    return plan.workload.make() if plan.workload else []


def _in_pages(value: Any) -> Any:
    """No size at all as a number of pages; everything else is understood as it stands."""
    return 0 if isinstance(value, str) and is_nothing(value) else value


def _no_room(
    scenario: Scenario, position: int, name: str, error: NotAdmittedError | MemoryError
) -> ScenarioError:
    """The field that is to blame for a virtual machine that cannot be powered on."""
    section, by = scenario.vms[position], f"VM {abridged(name)}: {error}"
    if isinstance(error, OutOfMachineMemoryError):
        expected = f"room for the contents of vms[{position}] ({by})"
        return scenario.error("host.memory", scenario.host.memory, expected)
    if isinstance(error, NotAdmittedError) and "swap space" in str(error):
        swap = scenario.host.swap or scenario.host.memory  # as large as memory if it is not given
        return scenario.error("host.swap", swap, f"room for what is promised ({_said(error)})")
    key, expected = (
        ("contents" if section.max is None else "max"),
        "what this system has memory for",
    )
    if isinstance(error, NotAdmittedError):
        key = key if section.min is None else "min"
        expected, by = f"what the host can promise at {section.start}", str(error)
    value = section.model_dump(exclude_none=True)[key]
    return scenario.error(f"vms[{position}].{key}", value, f"{expected} ({by})")
