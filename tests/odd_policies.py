"""Policies for hosts under test: well-behaved ones that tell what they saw, and hostile ones."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import esxcore
from division import check_view


class Trouble(Exception):  # noqa: N818  (not an error of the package)
    """What a policy raises of its own."""


@dataclass
class Asked:
    """A policy made of a function."""

    answer: Callable[[esxcore.HostView], Any]
    name: str = "asked"
    may_overcommit: bool = False

    def targets(self, view: esxcore.HostView) -> Any:
        return self.answer(view)


@dataclass
class Watched:
    """Another policy, whose views and answers are checked: targets fit what there was then."""

    policy: Any
    name: str = "watched"
    asked: int = 0

    def targets(self, view: esxcore.HostView) -> Any:
        check_view(view)
        answer = self.policy.targets(view)
        assert ((answer >= view.min_pages) & (answer <= view.max_pages)).all()
        assert view.min_pages.sum() <= view.available_pages, "admitted more than there is"
        assert answer.sum() <= view.available_pages
        self.asked += 1
        return answer


@dataclass
class Keeper:
    """Keeps every view, tries to write to it, and looks whether one of them ever changes."""

    name: str = "keeper"
    kept: list[tuple[esxcore.HostView, str]] = field(default_factory=list)

    def targets(self, view: esxcore.HostView) -> Any:
        for old, text in self.kept:
            assert repr(old) == text, "a view is a value"
        for column in (view.min_pages, view.max_pages, view.driver_ok):
            try:
                column[:] = 0
            except ValueError:
                continue
            raise AssertionError("a column of a view was written to")
        text = repr(view)
        self.kept = [*self.kept[-2:], (view, text)]
        return view.apportion(view.shares)


@dataclass
class Caller:
    """Calls the host that asks, which is busy, and answers all the same."""

    host: Callable[[], esxcore.Host]
    name: str = "caller"

    def targets(self, view: esxcore.HostView) -> Any:
        for call in (esxcore.Host.stats, esxcore.Host.audit, esxcore.Host.fork):
            with suppress(esxcore.HostBusyError):
                call(self.host())
        return view.apportion(np.ones(len(view)))


def trouble(view: esxcore.HostView) -> Any:
    raise Trouble(f"at {view.now_s} s")


HOSTILE: dict[str, Callable[[esxcore.HostView], Any]] = {
    "nothing": lambda view: None,
    "a generator": lambda view: (pages for pages in view.min_pages.tolist()),
    "a set": lambda view: set(view.min_pages.tolist()),
    "one number": lambda view: 20,
    "too short": lambda view: view.max_pages[1:],
    "too long": lambda view: [*view.min_pages.tolist(), 0],
    "ragged": lambda view: [[1], [2, 3]] + [[1]] * (len(view) - 2),
    "two axes": lambda view: [view.min_pages],
    "floats": lambda view: view.min_pages.astype(float),
    "NaN": lambda view: np.full(len(view), np.nan),
    "truths": lambda view: view.driver_ok,
    "text": lambda view: view.names,
    "objects": lambda view: view.min_pages.astype(object),
    "masked": lambda view: np.ma.array(view.min_pages, mask=[True] * len(view)),
    "beyond 64 bits": lambda view: np.full(len(view), 2**63, dtype=np.uint64),
    "beyond any": lambda view: [2**70] * len(view),
    "negative": lambda view: view.min_pages - view.min_pages - 1,
    "below min": lambda view: view.min_pages - 1,
    "above max": lambda view: view.max_pages + 1,
    "raising": trouble,
}
"""Answers that no host takes, by what is wrong with them."""
