"""What the virtual machines of a scenario are made of: its data files, opened and checked.

Contradictions between the scenario and its files come out before anything runs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from esxcore.config import parse_size_text
from esxcore.contents import ContentTrace
from esxcore.errors import DataError
from esxcore.experiment.workloads import Opened, opened_workload
from esxcore.images import ImageContents, TraceContents, VmContents, open_image
from esxcore.scenario import Scenario, VmSection
from esxcore.workload import ActivityRecord


@dataclass(frozen=True)
class Plan:
    """One ``[[vms]]`` section with its data files opened and checked."""

    section: VmSection
    source: VmContents | None
    workload: Opened | None


def open_plans(scenario: Scenario) -> list[Plan]:
    """Opens what the sections name, each file once, and finds contradictions before the run."""
    trace = functools.cache(lambda name: ContentTrace.load(scenario.data_path(name, "id")))
    image = functools.cache(lambda name: open_image(scenario.data_path(name)))
    record = functools.cache(lambda name: ActivityRecord.load(scenario.data_path(name, "read")))
    plans = []
    for position, section in enumerate(scenario.vms):
        field_name = f"vms[{position}]"
        with _named(scenario, f"{field_name}.contents"):
            source = _source(scenario, field_name, section, trace, image)
        pages = _vm_pages(scenario, field_name, section, source)
        with _named(scenario, f"{field_name}.workload"):
            workload = opened_workload(scenario, position, section, pages, record)
        plans.append(Plan(section, source, workload))
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
