"""The paper, made again: each figure and table from one command, ``esxcore paper``.

Each target is a module here that uses nothing but the public interface, as a notebook would. It has
``TITLE``, a frozen dataclass ``Parameters`` whose fields say why they are what they are, and
``reproduce(laboratory, parameters)``, which gives a `Reproduction`: claims, a chart, notes.

Neighbours: `esxcore.paper.drawing` and `esxcore.paper.interactive` draw charts,
`esxcore.paper.page` puts everything on one page, `esxcore.paper.cache` keeps what was made.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any, Protocol

from esxcore.errors import ConfigError
from esxcore.hints import did_you_mean
from esxcore.paper.claims import Claim, Kind
from esxcore.paper.reproduction import Laboratory, Reproduction

__all__ = ["TARGETS", "Claim", "Kind", "Laboratory", "Reproduction", "reproduce", "targets"]

TARGETS = {
    "fig1": "a balloon inflates and deflates, and what the guest does",
    "fig2": "balloon performance, native and ballooned",
    "disco": "hooks that see copies made, against sharing by content",
    "fig3": "content hash, hint frame, shared frame",
    "fig4": "page sharing among identical virtual machines",
    "fig5": "page sharing in three production workloads",
    "fig6": "sampled active memory, rise, fall and zero-page thread",
    "fig7": "idle memory tax 0, then 75 %",
    "fig8": "five servers on 1 GB, from boot on",
    "tax": "idle memory tax 0 to 99 %, and what waking costs",
    "remap": "copies of hot I/O pages, with and without remapping",
}
"""Targets by name, in the order of the paper, with what each shows."""


class Target(Protocol):
    """A module that makes one of them."""

    TITLE: str
    Parameters: type[Any]

    def reproduce(self, laboratory: Laboratory, parameters: Any) -> Reproduction:
        """Makes it."""
        ...


def target(name: str) -> Target:
    """The module of a target."""
    module: Any = importlib.import_module(f"esxcore.paper.{name}")
    found: Target = module
    return found


def targets(names: Iterable[str]) -> tuple[str, ...]:
    """Names of targets in the order of the paper; ``all`` and nothing are all of them.

    Raises
    ------
    ConfigError
        If there is no such target; the nearest is told.
    """
    wanted = set(names) or {"all"}
    for name in wanted - set(TARGETS) - {"all"}:
        raise ConfigError(f"target: {name!r}; {did_you_mean(name, [*TARGETS, 'all'])}")
    return tuple(name for name in TARGETS if "all" in wanted or name in wanted)


def reproduce(
    name: str, laboratory: Laboratory | None = None, parameters: Any = None
) -> Reproduction:
    """Makes a figure, a table or a section of the paper again.

    Parameters
    ----------
    name : str
        One of `TARGETS`.
    laboratory : Laboratory, optional
        Seed and threads.
    parameters : Parameters of its module, optional
        In place of the defaults.

    Examples
    --------
    >>> made = reproduce("fig3")
    >>> made.failed
    ()
    """
    (name,) = targets([name])
    module = target(name)
    return module.reproduce(laboratory or Laboratory(), parameters or module.Parameters())
