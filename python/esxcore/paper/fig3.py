"""Figure 3: a page is scanned, its hash leads to a hint frame, and both pages share one.

Paper, section 4.3. The values are those of the figure as they are recalled: PPN 0x2868 of VM 2
meets the hint that PPN 0x43f8 of VM 3 left, both end on the machine page of the hint, and a sample
shared frame has four references. Hashes are this engine's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from esxcore.host import Host
from esxcore.paper.charts import Arrow, Box, Chart, Panel
from esxcore.paper.claims import Claim, Confidence, mechanism
from esxcore.paper.reproduction import Laboratory, Reproduction, chosen
from esxcore.reports import FrameKind, PageState

TITLE = "Figure 3: content-based page sharing"

_CONTENT, _OTHER = 0x06AF, 0x8F44


@dataclass(frozen=True)
class Parameters:
    """What the figure shows."""

    candidate_ppn: int = chosen(0x2868, "the figure's, as it is recalled")
    hinted_ppn: int = chosen(0x43F8, "the figure's, as it is recalled")
    candidate_mpn: int = chosen(0x1096, "the figure's, as it is recalled")
    hinted_mpn: int = chosen(0x123B, "the figure's, as it is recalled")
    references: int = chosen(4, "of the figure's sample shared frame, as it is recalled")


def reproduce(laboratory: Laboratory, parameters: Parameters) -> Reproduction:
    """Lives through the figure, step by step."""
    host = Host(memory="64MiB", content="tokens", seed=laboratory.seed, policy=None)
    for name, size in (("vm1", "24MiB"), ("vm2", "48MiB"), ("vm3", "72MiB")):
        host.power_on(name, max=size)
    _place(host, parameters)
    _scan_all(host)
    (hint,) = (row for row in _frames(host) if row["ppn"] == parameters.hinted_ppn)
    before = _entry(host, "vm3", parameters.hinted_ppn)
    host.write("vm2", [parameters.candidate_ppn], [_CONTENT])
    candidate = _entry(host, "vm2", parameters.candidate_ppn)
    free = host.stats()["free_pages"]
    _scan_all(host)
    (shared,) = (row for row in _frames(host) if row["kind"] == FrameKind.SHARED)
    freed = host.stats()["free_pages"] - free
    entries = [
        _entry(host, vm, ppn)
        for vm, ppn in (("vm2", parameters.candidate_ppn), ("vm3", parameters.hinted_ppn))
    ]
    claims = [
        mechanism(
            "the first scan leaves a hint and does not write-protect the page",
            hint["kind"] == FrameKind.HINT and before["state"] == PageState.PRIVATE,
            f"hint frame for PPN {parameters.hinted_ppn:#x} of VM 3, page private",
            paper="a hint frame; not marked copy-on-write",
            confidence=Confidence.SECONDARY,
        ),
        mechanism(
            "a page of equal content makes it a shared frame of two references",
            (shared["kind"], shared["count"]) == (FrameKind.SHARED, 2),
            f"shared frame, count {shared['count']}",
            paper="both PPNs map to one MPN, copy-on-write",
            confidence=Confidence.SECONDARY,
        ),
        mechanism(
            "both pages end on the machine page of the hint; the candidate's is freed",
            all(entry["mpn"] == hint["mpn"] for entry in entries)
            and candidate["mpn"] != hint["mpn"]
            and freed == 1,
            f"both on MPN {hint['mpn']:#x}; MPN {candidate['mpn']:#x} is free",
            paper="both on MPN 0x123b; MPN 0x1096 is freed",
            confidence=Confidence.RECALLED,
            why="machine pages are given out in turn; the two were touched at the right moment",
        ),
    ]
    claims += _further(host, parameters)
    host.audit()
    chart = _chart(parameters, hint, shared, candidate)
    return Reproduction(TITLE, tuple(claims), chart)


def _further(host: Host, parameters: Parameters) -> list[Claim]:
    """More references to another frame, then a write by one of them."""
    where = [("vm1", 7), ("vm2", 1), ("vm3", 2), ("vm1", 9)][: parameters.references]
    for vm, ppn in where:
        host.write(vm, [ppn], [_OTHER])
    _scan_all(host)
    counts = [row["count"] for row in _frames(host) if row["kind"] == FrameKind.SHARED]
    breaks = host.stats()["cow_breaks"]
    host.write("vm2", [1], [_OTHER])
    left = max(row["count"] for row in _frames(host))
    return [
        mechanism(
            "every further copy adds a reference to the frame",
            max(counts) == parameters.references,
            f"count {max(counts)}",
            paper=f"MPN 0x8f44 with {parameters.references} references",
            confidence=Confidence.RECALLED,
        ),
        mechanism(
            "a write gives the writer a private copy and takes one reference away",
            host.stats()["cow_breaks"] == breaks + 1 and left == parameters.references - 1,
            f"one copy-on-write break, count {left}",
            paper="a private copy for the writer",
            confidence=Confidence.SECONDARY,
        ),
    ]


def _place(host: Host, parameters: Parameters) -> None:
    """Has the two pages on the machine pages of the figure, which are given out in turn."""
    first, second = parameters.candidate_mpn, parameters.hinted_mpn
    host.touch("vm1", range(first), write=True)
    host.write("vm2", [parameters.candidate_ppn], [_OTHER])
    host.touch("vm1", range(first, second - 1), write=True)
    host.write("vm3", [parameters.hinted_ppn], [_CONTENT])
    host.power_off("vm1")
    host.power_on("vm1", max="24MiB")


def _scan_all(host: Host) -> None:
    """Scans until each page was looked at, however far the order had come."""
    host.scan(2 * sum(host.vms()["max_pages"].tolist()))


def _frames(host: Host) -> list[dict[str, int]]:
    frames = host.frames()
    rows = range(len(frames["mpn"]))
    return [{name: int(column[row]) for name, column in frames.items()} for row in rows]


def _entry(host: Host, vm: str, ppn: int) -> dict[str, int]:
    return {name: int(column[ppn]) for name, column in host.pmap(vm).items()}


def _chart(
    parameters: Parameters, hint: dict[str, Any], shared: dict[str, Any], candidate: dict[str, Any]
) -> Chart:
    hashed = f"hash {shared['hash'] >> 48:04x}…"
    page = Box(2, 62, 26, 30, f"page to scan\nVM 2, PPN {parameters.candidate_ppn:#x}\n"
               f"MPN {candidate['mpn']:#x}\n{hashed}", "blue")  # fmt: skip
    table = Box(38, 40, 18, 52, "hash table\nof frames,\nby hash", "grey")
    hinted = Box(66, 62, 32, 30, f"hint frame\nVM 3, PPN {parameters.hinted_ppn:#x}\n"
                 f"MPN {hint['mpn']:#x}\nhash {hint['hash'] >> 48:04x}…, 40 bits",
                 "orange")  # fmt: skip
    frame = Box(66, 8, 32, 30, f"shared frame\nMPN {shared['mpn']:#x}, count {shared['count']}\n"
                f"{hashed}, 64 bits", "green")  # fmt: skip
    freed = Box(2, 8, 26, 20, f"MPN {candidate['mpn']:#x}\nfree again", "grey")
    arrows = (
        Arrow(28, 77, 38, 77),
        Arrow(56, 77, 66, 77),
        Arrow(82, 62, 82, 38, "compared in full: equal"),
        Arrow(15, 62, 15, 28, "remapped"),
    )
    return Chart((Panel("", boxes=(page, table, hinted, frame, freed), arrows=arrows),), height=3.6)
