"""The page of the report: what it says in words and numbers, and its pictures, put together."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from plotly.offline import get_plotlyjs

from esxcore.decisions import STATES, Change
from esxcore.report.colours import DARK, LIGHT, as_css
from esxcore.report.figures import free_figure, sharing_figure, vm_figure
from esxcore.report.series import VmLines, has_states, host_lines, vm_lines
from esxcore.report.thinning import limit_for
from esxcore.report.words import drawable, mib, percent, time_text, told

if TYPE_CHECKING:
    from esxcore.recording import Recording

_MOST_DECISIONS = 500

# Of the legend: what a trace is called, and what that means.
_MEANINGS = {
    "resident": ("resident", "pages that have machine memory"),
    "balloon": ("balloon", "pages that its balloon has taken"),
    "swapped": ("swapped", "pages in the server's swap file"),
    "target": ("target", "what the policy says it should have"),
    "active": ("active", "pages in use, by sampling"),
    "shared": ("shared", "resident pages that share their machine page"),
    "decision": ("decision", "the policy changed the target"),
    "ops": ("throughput", "operations a second"),
    "some": ("partly stalled", "part of the time in which some of its work stood still"),
    "full": ("stalled", "part of the time in which all of its work stood still"),
    "transfers": ("transfers", "pages that its devices transferred, a second"),
    "copied": ("copied", "of them, through a bounce buffer, as the device does not reach them"),
    "moved": ("moved", "pages moved to low memory because they were hot, a second"),
    "dropped": ("dropped", "packets for which there was no time or no memory, a second"),
}
_COUNTS = {
    "page_ins": "paged in",
    "page_outs": "paged out",
    "cow_breaks": "COW breaks",
    "zero_fills": "first touches",
    "io_pages": "pages of I/O",
    "io_copies": "copied for I/O",
    "io_remaps": "moved for I/O",
    "dropped_packets": "packets dropped",
}
_FAULTS = re.compile("faults_.+|.+_faults")


class Tile(NamedTuple):
    """A number that sums the run up."""

    name: str
    value: str
    note: str


class Row(NamedTuple):
    """A virtual machine of the page: what stands beside its picture."""

    name: str
    entitlement: list[tuple[str, str]]
    counts: list[tuple[str, str]]


def page(recording: Recording, title: str) -> str:
    """The whole page."""
    names = [drawable(name) for name in recording.vm_names]
    changes = _changes(recording)
    limit = limit_for(len(names) + 2)
    lines = [vm_lines(recording, position) for position in range(len(names))]
    host = host_lines(recording)
    figures = {
        f"vm-{position}": vm_figure(recording.time_s, of_vm, changes[position], names, limit)
        for position, of_vm in enumerate(lines)
    }
    if "free" in host:
        figures["free"] = free_figure(recording, host["free"], limit)
    figures["sharing"] = sharing_figure(recording, host, limit)
    decisions, more = told(recording.decisions, names, _MOST_DECISIONS)
    return _template().render(
        title=drawable(title),
        facts=_facts(recording),
        tiles=list(_tiles(recording)),
        states=_states(recording),
        legend=_legend(lines, any(changes)),
        rows=[_row(recording, position, name) for position, name in enumerate(names)],
        has_free="free" in host,
        has_census=bool(recording.counted.size),
        decisions=decisions,
        changed=len(recording.decisions),
        more=more,
        forgotten=recording.decisions.forgotten,
        scenario=recording.scenario,
        thinned=limit if len(recording.time_s) > limit else 0,
        samples=len(recording.time_s),
        version=recording.version,
        seed=recording.seed,
        light=as_css(LIGHT),
        dark=as_css(DARK),
        plotly=get_plotlyjs(),
        figures=script_json(figures),
    )


def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("esxcore.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")


def script_json(figures: dict[str, Any]) -> str:
    """Figures as JSON that can stand in a script element, whatever is in it."""
    bodies = (f"{json.dumps(name)}: {figure.to_json()}" for name, figure in figures.items())
    text = "{" + ",\n".join(bodies) + "}"
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _changes(recording: Recording) -> list[list[Change]]:
    """Changes of the target of each virtual machine."""
    changes: list[list[Change]] = [[] for _ in recording.vm_names]
    for change in recording.decisions:
        changes[change.vm].append(change)
    return changes


def _facts(recording: Recording) -> list[tuple[str, str]]:
    vms = len(recording.vm_names)
    return [
        ("Host", f"{mib(recording.host['machine_pages'][-1])} of memory"),
        ("Virtual machines", f"{vms:,}"),
        ("Policy", _policy(recording)),
        ("Virtual time", time_text(float(recording.time_s[-1]))),
        ("Seed", str(recording.seed)),
        ("esxcore", recording.version),
    ]


def _policy(recording: Recording) -> str:
    """Names of the policies in the order in which they decided; else what the scenario says."""
    if recording.decisions.policies:
        return drawable(", then ".join(recording.decisions.policies))
    try:
        section = tomllib.loads(recording.scenario).get("policy", {})
    except tomllib.TOMLDecodeError:
        return "not known"
    return drawable(str(section.get("name", "not known")))


def _tiles(recording: Recording) -> Iterator[Tile]:
    host = recording.host
    reclaimed, peak = host["reclaimed_pages"], recording.sharing_peak()
    if not recording.counted.size:
        note = f"most {mib(reclaimed.max())}; what contents would allow was not counted"
    elif peak is None:
        note = "no two pages were ever equal"
    elif peak.reclaimed_pages:
        best = f"at best {percent(peak.fraction)} of what contents allow"
        note = f"most {mib(reclaimed.max())}; {best}"
    else:
        possible = recording.census["reclaimed_pages"][recording.counted[-1]]
        note = f"contents would allow {mib(possible)}"
    yield Tile("Reclaimed by sharing", mib(reclaimed[-1]), note)
    if "balloon_pages" in host and has_states(recording):
        balloon = host["balloon_pages"]
        yield Tile("In balloons", mib(balloon[-1]), f"most {mib(balloon.max())}")
    if all(name in host for name in ("swapped_pages", "page_ins", "page_outs")):
        swapped = f"in the swap file at the end {mib(host['swapped_pages'][-1])}"
        into, out = host["page_ins"][-1], host["page_outs"][-1]
        yield Tile("Paged out", mib(out), swapped)
        yield Tile("Paged in", mib(into), "what guests wanted back")
    yield from _work_tiles(recording)


def _work_tiles(recording: Recording) -> Iterator[Tile]:
    held = recording.vms["stalled_s"][-1] if "stalled_s" in recording.vms else np.zeros(0)
    if held.sum() > 0:
        blocked = recording.vms["blocked_s"][-1].sum() if "blocked_s" in recording.vms else 0
        part = "all" if blocked == held.sum() else time_text(float(blocked))
        note = f"{part} of it blocked while memory was low"
        yield Tile("Guests stood still", time_text(float(held.sum())), note)
    if "ops" in recording.vms:
        done = int(np.clip(recording.vms["ops"].max(axis=0), 0, None).sum())
        span = float(recording.time_s[-1])
        note = f"{done / span:,.0f} a second" if span else ""
        yield Tile("Operations", f"{done:,}", note)
    if rows := recording.io():
        copied, moved, dropped = (
            sum(getattr(row, name) for row in rows)
            for name in ("io_copies", "io_remaps", "dropped_packets")
        )
        lost = f", {dropped:,} packets dropped" if dropped else ""
        note = f"{copied:,} copied, {moved:,} pages moved{lost}"
        yield Tile("Pages of I/O", f"{sum(row.io_pages for row in rows):,}", note)


def _states(recording: Recording) -> list[dict[str, Any]]:
    """Time in each free state, as parts of a bar; the states that occurred."""
    if not has_states(recording):
        return []
    seconds = recording.state_s()
    whole = sum(seconds.values())
    return [
        {"name": name, "time": time_text(seconds[name]), "part": seconds[name] / whole}
        for name in STATES
        if seconds.get(name)
    ]


def _legend(lines: list[VmLines], is_decided: bool) -> list[tuple[str, str, str]]:
    """What is drawn of any virtual machine: the trace, its name and its meaning."""
    drawn = {name for of_vm in lines for group in of_vm.groups() for name in group}
    if is_decided:
        drawn.add("decision")
    return [(role, *words) for role, words in _MEANINGS.items() if role in drawn]


def _row(recording: Recording, position: int, name: str) -> Row:
    columns = {key: column[:, position] for key, column in recording.vms.items()}
    on = np.flatnonzero(columns["max_pages"] >= 0)
    if not on.size:
        return Row(name, [("", "never powered on")], [])
    last = on[-1]
    entitlement = [
        (key, mib(columns[f"{key}_pages"][last]))
        for key in ("min", "max")
        if columns.get(f"{key}_pages", np.zeros(0)).size
    ]
    if "shares" in columns:
        entitlement.append(("shares", f"{columns['shares'][last]:,.0f}"))
    counts = {key: float(column[last]) for key, column in columns.items()}
    return Row(name, entitlement, list(_counts(counts)))


def _counts(counts: dict[str, float]) -> Iterator[tuple[str, str]]:
    """What a virtual machine met, where it met any."""
    faults = {key: key.replace("_", " ") for key in counts if _FAULTS.fullmatch(key)}
    for key, words in (_COUNTS | faults).items():
        amount = counts.get(key, 0)
        if amount > 0:
            yield words, mib(amount) if key.startswith("page_") else f"{amount:,.0f}"
    if counts.get("stalled_s", 0) > 0:
        yield "stood still", time_text(counts["stalled_s"])
