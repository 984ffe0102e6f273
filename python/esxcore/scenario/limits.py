"""What cannot be in a scenario whatever comes of it: too late, too large, or of no effect.

Each check tells the first thing it finds, in the words of the file. What only a run can know, such
as whether all virtual machines together find room at some time, is left to the host's admission.

Neighbours: `esxcore.scenario.model` asks once its sections are what they should be.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from esxcore.config import paper_parameters, parse_size_text, size_text
from esxcore.scenario.devices import IoSection
from esxcore.scenario.fields import is_nothing
from esxcore.scenario_text import abridged

if TYPE_CHECKING:
    from esxcore.scenario.division import EventSection
    from esxcore.scenario.model import ScenarioModel
    from esxcore.scenario.sections import VmSection

_PAGES_PER_MIB = 256
_OVERHEAD_PAGES = _PAGES_PER_MIB * next(
    int(parameter.value) for parameter in paper_parameters() if parameter.name == "overhead_mib"
)
REACHED_PAGES = 4 * 1024 * _PAGES_PER_MIB
"""What every device reaches of a machine, unless a scenario says so."""


def impossible(model: ScenarioModel) -> Iterator[str]:
    """What is wrong with a scenario, one line each."""
    yield from _too_late(model)
    yield from _memory_above_memory(model)
    if not model.policy.is_bare:
        for position, vm in enumerate(model.vms):
            yield from _promised_too_much(model, position, vm)
        yield from _changed_too_much(model)
    yield from _without_effect(model)


def _too_late(model: ScenarioModel) -> Iterator[str]:
    """Moments after the end, at which nothing happens."""
    end = model.run.duration_s
    expected = f"expected at most {abridged(model.run.duration)}, which is run.duration"
    for position, vm in enumerate(model.vms):
        if vm.start_s > end:  # one that is there and has nothing to do until then is another thing
            yield f"vms[{position}].start is {abridged(vm.start)}; {expected}"
    for position, event in enumerate(model.events):
        if event.at_s > end:
            yield f"events[{position}].at is {abridged(event.at)}; {expected}"


def _memory_above_memory(model: ScenarioModel) -> Iterator[str]:
    low, memory = model.host.low_memory, model.host.memory
    if low is not None and parse_size_text(low) > parse_size_text(memory):
        yield f"host.low_memory is {abridged(low)}; expected at most {_of_memory(model)}"


def _promised_too_much(model: ScenarioModel, position: int, vm: VmSection) -> Iterator[str]:
    """What one virtual machine alone is promised beyond all that there is (paper, section 6.2)."""
    place, memory = f"vms[{position}]", parse_size_text(model.host.memory)
    least = _least(vm)
    overhead = _OVERHEAD_PAGES if vm.overhead is None else _pages(vm.overhead)
    if overhead > memory and vm.overhead is not None:
        yield f"{place}.overhead is {abridged(vm.overhead)}; expected at most {_of_memory(model)}"
    elif least is not None and least + overhead > memory:
        given, said = (vm.max, "half of it") if vm.min is None else (vm.min, "it")
        key = "max" if vm.min is None else "min"
        yield (
            f"{place}.{key} is {abridged(given)}; expected {said} and an overhead of"
            f" {_size(overhead)} within {_of_memory(model)}"
        )
    swap = model.host.swap or model.host.memory  # as large as memory if it is not given
    if least is not None and _pages(vm.max) - least > parse_size_text(swap):
        yield (
            f"{place}.max is {abridged(vm.max)}; expected what is above its min, {_size(least)},"
            f" within {abridged(swap)}, which is host.swap"
        )


def _changed_too_much(model: ScenarioModel) -> Iterator[str]:
    """Changes of a virtual machine that its size, or what was set before, does not allow."""
    changed = {event.vm for event in model.events}
    sections = {
        name: vm
        for vm in (model.vms if changed - {None} else ())
        for name in vm.names()
        if name in changed and vm.max is not None
    }
    now = {name: (_pages(vm.max), _least(vm) or 0) for name, vm in sections.items()}
    for position, event in sorted(enumerate(model.events), key=lambda numbered: numbered[1].at_s):
        if event.vm not in now:
            continue
        vm, place = sections[event.vm], f"events[{position}]"
        most, least = _after(event, *now[event.vm])
        if event.max is not None and most > _pages(vm.max):
            expected = f"{abridged(vm.max)}, the size of VM {abridged(event.vm)} since power-on"
            yield f"{place}.max is {abridged(event.max)}; expected at most {expected}"
        elif least > most and (event.max is not None or event.min is not None):
            key, word, bound = (
                ("max", "at least its min", least)
                if event.min is None
                else ("min", "at most its max", most)
            )
            value = abridged(getattr(event, key))
            yield f"{place}.{key} is {value}; expected {word}, {_size(bound)} by then"
        now[event.vm] = most, least


def _after(event: EventSection, most: int, least: int) -> tuple[int, int]:
    """Max and min of a virtual machine after an event."""
    return (
        most if event.max is None else _pages(event.max),
        least if event.min is None else _pages(event.min),
    )


def _without_effect(model: ScenarioModel) -> Iterator[str]:
    """Settings of transfers that need no help, as every device reaches all memory."""
    default = IoSection()
    changed = [key for key in IoSection.model_fields if _differs(model.io, default, key)]
    if changed and reaches_all(model.host.memory, model.host.low_memory):
        value = abridged(getattr(model.io, changed[0]))
        yield (
            f"io.{changed[0]} is {value}, but every device reaches all of host.memory,"
            f" {abridged(model.host.memory)}; expected host.low_memory, which is less"
        )


def reaches_all(memory: str, low_memory: str | None) -> bool:
    """Whether every device reaches all memory of such a machine."""
    low = REACHED_PAGES if low_memory is None else parse_size_text(low_memory)
    return low >= parse_size_text(memory)


def _differs(section: IoSection, default: IoSection, key: str) -> bool:
    return bool(getattr(section, key) != getattr(default, key))


def _least(vm: VmSection) -> int | None:
    """Its min in pages: half of max if not given; None if that is not known."""
    if vm.min is not None:
        return _pages(vm.min)
    return None if vm.max is None else _pages(vm.max) // 2


def _pages(size: str | None) -> int:
    return 0 if size is None or is_nothing(size) else parse_size_text(size)


def _size(pages: int) -> str:
    return size_text(pages) if pages else "nothing"


def _of_memory(model: ScenarioModel) -> str:
    return f"{abridged(model.host.memory)}, which is host.memory"
