"""Devices of a scenario, as a host takes them."""

from __future__ import annotations

from typing import Any

from esxcore.costs import Costs, competitive_threshold
from esxcore.devices import Disk, Nic
from esxcore.scenario import NEVER, IoSection, VmSection
from esxcore.scenario.devices import COMPETITIVE


def io_settings(section: IoSection, costs: Costs) -> dict[str, Any]:
    """What `Host` takes about transfers of pages that devices do not reach."""
    threshold = section.threshold
    return {
        "io_threshold": competitive_threshold(costs) if threshold == COMPETITIVE else threshold,
        "io_decay": None if section.decay == NEVER else section.decay,
        "io_mode": section.mode,
        "io_scarce": section.scarce,
    }


def devices(section: VmSection) -> dict[str, Any]:
    """What `Host.power_on` takes about the devices of a virtual machine; nothing without any."""
    given: dict[str, Any] = {}
    if section.nic is not None:
        given["nic"] = Nic(**section.nic.model_dump())
    if section.disk is not None:
        given["disk"] = Disk(**section.disk.model_dump())
    return given
