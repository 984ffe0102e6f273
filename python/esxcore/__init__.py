"""The memory manager of ESX Server (Waldspurger, OSDI 2002) as an engine people can use.

Virtual machines share equal pages copy-on-write on a host of simulated machine memory. Start with
`Host`; the shell command ``esxcore run`` shows it at work on the memory of five real guests.

Names are loaded when first used: importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from esxcore._core import __version__ as __version__
    from esxcore.comparing import Comparison as Comparison
    from esxcore.comparing import Estimate as Estimate
    from esxcore.comparing import PolicyRuns as PolicyRuns
    from esxcore.comparing import compare as compare
    from esxcore.config import PAGE_SIZE as PAGE_SIZE
    from esxcore.config import paper_parameters as paper_parameters
    from esxcore.contents import ContentTrace as ContentTrace
    from esxcore.costs import Costs as Costs
    from esxcore.costs import competitive_threshold as competitive_threshold
    from esxcore.counting import Census as Census
    from esxcore.counting import census as census
    from esxcore.devices import Disk as Disk
    from esxcore.devices import Nic as Nic
    from esxcore.errors import ArgumentTypeError as ArgumentTypeError
    from esxcore.errors import ConfigError as ConfigError
    from esxcore.errors import ContentError as ContentError
    from esxcore.errors import DataError as DataError
    from esxcore.errors import DuplicateVmError as DuplicateVmError
    from esxcore.errors import EngineError as EngineError
    from esxcore.errors import EsxError as EsxError
    from esxcore.errors import HostBusyError as HostBusyError
    from esxcore.errors import InvariantError as InvariantError
    from esxcore.errors import MinOvercommittedError as MinOvercommittedError
    from esxcore.errors import MissingLibraryError as MissingLibraryError
    from esxcore.errors import NotAdmittedError as NotAdmittedError
    from esxcore.errors import OutOfMachineMemoryError as OutOfMachineMemoryError
    from esxcore.errors import PageRangeError as PageRangeError
    from esxcore.errors import PolicyError as PolicyError
    from esxcore.errors import RealMemoryError as RealMemoryError
    from esxcore.errors import ScenarioError as ScenarioError
    from esxcore.errors import SizeWarning as SizeWarning
    from esxcore.errors import SweepError as SweepError
    from esxcore.errors import UnknownVmError as UnknownVmError
    from esxcore.errors import VmBlockedError as VmBlockedError
    from esxcore.errors import WorkloadError as WorkloadError
    from esxcore.experiment import RunInterrupted as RunInterrupted
    from esxcore.experiment import build_host as build_host
    from esxcore.experiment import run as run
    from esxcore.experiment.measure import measure as measure
    from esxcore.experiment.metrics import METRICS as METRICS
    from esxcore.experiment.metrics import Metric as Metric
    from esxcore.fleet import fleet_census as fleet_census
    from esxcore.guest import Guest as Guest
    from esxcore.host import Host as Host
    from esxcore.policy import Equal as Equal
    from esxcore.policy import MinFunding as MinFunding
    from esxcore.policy import Policy as Policy
    from esxcore.policy import Proportional as Proportional
    from esxcore.policy import Proxmox as Proxmox
    from esxcore.policy import Static as Static
    from esxcore.policy import min_funding_targets as min_funding_targets
    from esxcore.recording import Recording as Recording
    from esxcore.reports import BalloonDriver as BalloonDriver
    from esxcore.reports import Explanation as Explanation
    from esxcore.reports import FrameKind as FrameKind
    from esxcore.reports import IoReport as IoReport
    from esxcore.reports import PageState as PageState
    from esxcore.reports import SamplingReport as SamplingReport
    from esxcore.reports import ScanReport as ScanReport
    from esxcore.reports import TouchReport as TouchReport
    from esxcore.sampling import plan_samples as plan_samples
    from esxcore.sampling import sampling_error as sampling_error
    from esxcore.sampling import wilson_interval as wilson_interval
    from esxcore.scenario import Scenario as Scenario
    from esxcore.simulation import Simulation as Simulation
    from esxcore.simulation import WorkReport as WorkReport
    from esxcore.squeezed import Squeezed as Squeezed
    from esxcore.study import SweepInterrupted as SweepInterrupted
    from esxcore.study import SweepResult as SweepResult
    from esxcore.study import sweep as sweep
    from esxcore.traces import PageTrace as PageTrace
    from esxcore.traces import miss_ratios as miss_ratios
    from esxcore.view import HostView as HostView
    from esxcore.vm import Vm as Vm
    from esxcore.workload import Accesses as Accesses
    from esxcore.workload import Activity as Activity
    from esxcore.workload import ActivityRecord as ActivityRecord
    from esxcore.workload import Batch as Batch
    from esxcore.workload import PacedWorkload as PacedWorkload
    from esxcore.workload import Program as Program
    from esxcore.workload import Workload as Workload
    from esxcore.workload import dbench as dbench
    from esxcore.workload import files as files
    from esxcore.workload import idle as idle
    from esxcore.workload import phases as phases
    from esxcore.workload import replay as replay
    from esxcore.workload import scan as scan
    from esxcore.workload import toucher as toucher
    from esxcore.workload import zipf as zipf

_HOMES = {
    "_core": ("__version__",),
    "comparing": ("Comparison", "Estimate", "PolicyRuns", "compare"),
    "config": ("PAGE_SIZE", "paper_parameters"),
    "errors": (
        "ArgumentTypeError",
        "ConfigError",
        "ContentError",
        "DataError",
        "DuplicateVmError",
        "EngineError",
        "EsxError",
        "HostBusyError",
        "InvariantError",
        "MinOvercommittedError",
        "MissingLibraryError",
        "NotAdmittedError",
        "OutOfMachineMemoryError",
        "PageRangeError",
        "PolicyError",
        "RealMemoryError",
        "ScenarioError",
        "SizeWarning",
        "SweepError",
        "UnknownVmError",
        "VmBlockedError",
        "WorkloadError",
    ),
    "contents": ("ContentTrace",),
    "costs": ("Costs", "competitive_threshold"),
    "devices": ("Disk", "Nic"),
    "fleet": ("fleet_census",),
    "guest": ("Guest",),
    "simulation": ("Simulation", "WorkReport"),
    "counting": ("Census", "census"),
    "experiment": ("RunInterrupted", "build_host", "run"),
    "experiment.measure": ("measure",),
    "experiment.metrics": ("METRICS", "Metric"),
    "host": ("Host",),
    "policy": (
        "Equal",
        "MinFunding",
        "Policy",
        "Proportional",
        "Proxmox",
        "Static",
        "min_funding_targets",
    ),
    "squeezed": ("Squeezed",),
    "recording": ("Recording",),
    "reports": (
        "BalloonDriver",
        "Explanation",
        "FrameKind",
        "IoReport",
        "PageState",
        "SamplingReport",
        "ScanReport",
        "TouchReport",
    ),
    "sampling": ("plan_samples", "sampling_error", "wilson_interval"),
    "scenario": ("Scenario",),
    "study": ("SweepInterrupted", "SweepResult", "sweep"),
    "traces": ("PageTrace", "miss_ratios"),
    "view": ("HostView",),
    "vm": ("Vm",),
    "workload": (
        "Accesses",
        "Activity",
        "ActivityRecord",
        "Batch",
        "PacedWorkload",
        "Program",
        "Workload",
        "dbench",
        "files",
        "idle",
        "phases",
        "replay",
        "scan",
        "toucher",
        "zipf",
    ),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME)  # noqa: PLE0605  (the table above is the list)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'esxcore' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"esxcore.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
