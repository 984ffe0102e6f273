"""A scenario as people see it: TOML, one line, a small table of HTML."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from esxcore.config import parse_size_text, size_text
from esxcore.scenario.model import ScenarioModel
from esxcore.scenario_text import toml_key, toml_value

if TYPE_CHECKING:
    from esxcore.scenario.sections import VmSection

_MOST_NAMES = 6
_MOST_ROWS = 40
_HEADS = ("virtual machine", "max", "min", "shares", "guest", "workload", "powered on")


def toml_text(model: ScenarioModel) -> str:
    """All sections as TOML, every default spelled out."""
    lines = []
    for section, content in model.model_dump(exclude_none=True).items():
        if section == "reclaim" and model.policy.is_bare:
            continue
        head = f"[[{section}]]" if isinstance(content, tuple) else f"[{section}]"
        for table in content if isinstance(content, tuple) else (content,):
            rows = (f"{toml_key(key)} = {toml_value(item)}" for key, item in table.items())
            lines += [head, *rows, ""]
    return "\n".join(lines)


def line(model: ScenarioModel) -> str:
    """One line with the numbers that matter."""
    given = [f"{key} {toml_value(value)}" for key, value in model.policy.parameters.items()]
    policy = f"policy {model.policy.name}" + (f" ({', '.join(given)})" if given else "")
    parts = [
        f"{model.host.memory} for {model.run.duration}",
        policy,
        _machines(model),
        *([_counted(len(model.events), "event")] if model.events else []),
        f"seed {model.host.seed}",
    ]
    return f"<Scenario: {'; '.join(parts)}>"


def _machines(model: ScenarioModel) -> str:
    """How many virtual machines there are, of what size together, and which."""
    if not model.vms:
        return "no VMs yet"
    count = sum(vm.count for vm in model.vms)
    sizes = [parse_size_text(vm.max) * vm.count for vm in model.vms if vm.max is not None]
    names = [f"{_called(vm)} {vm.max or 'of its contents'}" for vm in model.vms[:_MOST_NAMES]]
    more = len(model.vms) - len(names)
    size = f" of {size_text(sum(sizes))} in all" if len(sizes) == len(model.vms) > 1 else ""
    listed = ", ".join(names) + (f" and {more} more" if more else "")
    return f"{_counted(count, 'VM')}{size}: {listed}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count > 1)}"


def _called(vm: VmSection) -> str:
    return vm.name if vm.count == 1 else f"{vm.name} x {vm.count}"


def html(model: ScenarioModel) -> str:
    """A small table, without styles of its own beyond alignment, and without scripts."""
    rows = [_row("th", _HEADS), *(_row("td", _cells(vm)) for vm in model.vms[:_MOST_ROWS])]
    if len(model.vms) > _MOST_ROWS:
        rows.append(_row("td", (f"and {len(model.vms) - _MOST_ROWS} more",)))
    caption = f"<caption>{escape(line(model)[1:-1])}</caption>"
    return f"<table>{caption}{''.join(rows)}</table>"


def _row(tag: str, cells: tuple[str, ...]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"


def _cells(vm: VmSection) -> tuple[str, ...]:
    workload = vm.workload
    return (
        _called(vm),
        vm.max or "of its contents",
        vm.min or "half of max",
        str(vm.shares or "normal") if vm.shares != 0 else "0",
        vm.guest.kind if vm.guest else "default",
        "idle" if workload is None else workload.name or f"replay of {workload.activity}",
        f"from {vm.start}" + (f" to {vm.stop}" if vm.stop else ""),
    )


def comments(places: Iterator[tuple[str, object]]) -> str:
    """What a text says in front of the objects that it can only name."""
    return "".join(
        f"# {place} was an object of class {type(own).__qualname__}; here is only its name\n"
        for place, own in places
    )
