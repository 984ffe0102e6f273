"""What things cost in time: the numbers of a simulation, by name."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Self

from esxcore import _core
from esxcore.errors import ArgumentTypeError, ConfigError

_PRESETS = {name: dict(costs) for name, costs in _core.cost_presets()}
_MOST_NS = 10**12


@dataclass(frozen=True, slots=True)
class Costs:
    """Costs of a simulation, in nanoseconds; processor time unless it says otherwise.

    The numbers of both presets, ``"2002"`` and ``"nvme"``, and their sources are listed in
    docs/costs.md.

    Parameters
    ----------
    access_ns : int
        A reference that does not fault, at least 1.
    zero_fill_ns : int
        A page zeroed at its first touch, or by the guest.
    cow_break_ns : int
        A shared page copied for its writer.
    scan_page_ns, compare_ns : int
        A page that the scanner hashes, and two that it compares; the host's own time.
    balloon_page_ns : int
        A page that goes into or out of a balloon; the guest's time.
    sample_fault_ns : int
        The fault by which a sampled page is counted.
    io_copy_ns : int
        A page copied for a device that cannot reach it; the guest's time.
    io_remap_ns : int
        A page moved to low memory, or up to make room there; the guest's time (paper, section 7).
    dma_setup_ns, interrupt_ns : int
        A page handed to a device, and an interrupt of a device; the guest's time.
    fault_ns : int
        A fault that is none of these.
    disk_position_ns, disk_page_ns : int
        To get to another place of the one disk that holds the swap file and the guests' disks, and
        to transfer a page.

    Examples
    --------
    >>> Costs.preset("2002").disk_position_ns
    8000000
    """

    access_ns: int
    zero_fill_ns: int
    cow_break_ns: int
    scan_page_ns: int
    compare_ns: int
    balloon_page_ns: int
    sample_fault_ns: int
    io_copy_ns: int
    io_remap_ns: int
    dma_setup_ns: int
    interrupt_ns: int
    fault_ns: int
    disk_position_ns: int
    disk_page_ns: int

    def __post_init__(self) -> None:
        for field in fields(self):
            value, least = getattr(self, field.name), int(field.name == "access_ns")
            if isinstance(value, bool) or not isinstance(value, int):
                raise ArgumentTypeError(f"{field.name}: {value!r}; expected whole nanoseconds")
            if not least <= value <= _MOST_NS:
                raise ConfigError(f"{field.name}: {value}; expected {least} to {_MOST_NS}")

    @classmethod
    def preset(cls, name: str) -> Self:
        """``"2002"``, a server and a disk of that year, or ``"nvme"``, of today."""
        if name not in _PRESETS:
            expected = " or ".join(map(repr, _PRESETS))
            raise ConfigError(f"costs: {name!r}; expected {expected}, or Costs")
        return cls(**_PRESETS[name])

    def as_dict(self) -> dict[str, int]:
        """The numbers by name."""
        return asdict(self)


def competitive_threshold(costs: str | Costs = "nvme") -> int:
    """Copies after which a hot page is best moved to low memory, by what copies and moves cost.

    With this as `Host`'s ``io_threshold``, no page ever costs more than twice what the best course
    chosen in hindsight would have cost, while low memory lasts and counts do not decay.

    Parameters
    ----------
    costs : {"nvme", "2002"} or Costs
        Whose ``io_copy_ns`` and ``io_remap_ns`` count.

    Examples
    --------
    >>> competitive_threshold("nvme"), competitive_threshold("2002")
    (8, 4)
    """
    return _core.competitive_threshold(resolve_costs(costs).as_dict())


def resolve_costs(costs: object) -> Costs:
    """Costs given as such or by the name of a preset."""
    if isinstance(costs, Costs):
        return costs
    if not isinstance(costs, str):
        raise ArgumentTypeError(f"costs: {costs!r}; expected the name of a preset, or Costs")
    return Costs.preset(costs)
