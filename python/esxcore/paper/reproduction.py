"""What a figure of the paper came to here, and the laboratory in which it is made."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any, Self, TypeVar

from esxcore.paper.charts import Chart
from esxcore.paper.claims import Claim

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
Progress = Callable[[int, int], None]
"""Called with the pieces of work that are done and with all that are known of."""


@dataclass(frozen=True)
class Reproduction:
    """A figure, a table or a section of the paper, made again.

    Attributes
    ----------
    title : str
        What it is.
    claims : tuple of Claim
        The comparison, line by line.
    chart : Chart
        The figure in the paper's form.
    notes : tuple of str
        What a reader should know: what is modelled, what is simply reported.
    numbers : dict
        Further numbers that came out, plain values by name.
    """

    title: str
    claims: tuple[Claim, ...]
    chart: Chart
    notes: tuple[str, ...] = ()
    numbers: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def failed(self) -> tuple[Claim, ...]:
        """Mechanisms that did not emerge."""
        return tuple(claim for claim in self.claims if claim.fails)

    def table(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            "title": self.title,
            "claims": [claim.table() for claim in self.claims],
            "chart": self.chart.table(),
            "notes": list(self.notes),
            "numbers": self.numbers,
        }

    @classmethod
    def of(cls, table: dict[str, Any]) -> Self:
        """From what `table` gives."""
        return cls(
            table["title"],
            tuple(Claim.of(claim) for claim in table["claims"]),
            Chart.of(table["chart"]),
            tuple(table["notes"]),
            table["numbers"],
        )


class Laboratory:
    """Where figures are made: a seed, threads to work in, and somebody who watches.

    Parameters
    ----------
    seed : int
        What everything random comes from.
    jobs : int, optional
        Pieces of work at a time; as many as there are processors if not given. Results do not
        depend on it.
    progress : callable, optional
        Called as ``progress(done, known)`` after each piece of work.
    """

    def __init__(
        self, seed: int = 2002, *, jobs: int | None = None, progress: Progress | None = None
    ) -> None:
        self.seed = seed
        self.jobs = jobs or len(os.sched_getaffinity(0))
        self._progress = progress
        self._done = self._known = 0
        self._lock = Lock()

    def map(self, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
        """What the function makes of each item, in their order; several are made at a time."""
        pieces = list(items)
        self._known += len(pieces)
        with ThreadPoolExecutor(self.jobs) as pool:
            waiting = [pool.submit(self._piece, function, piece) for piece in pieces]
            try:
                return [piece.result() for piece in waiting]
            except BaseException:
                for piece in waiting:
                    piece.cancel()
                raise

    def _piece(self, function: Callable[[_Item], _Result], item: _Item) -> _Result:
        result = function(item)
        with self._lock:
            self._done += 1
            if self._progress is not None:
                self._progress(self._done, self._known)
        return result


def chosen(default: Any, why: str, *, is_calibrated: bool = False) -> Any:
    """A field of a figure's parameters: its default, and why it is that.

    Parameters
    ----------
    default : object
        The value.
    why : str
        The source, or the reason for which it was chosen.
    is_calibrated : bool
        Whether it was fitted so that the figure can be drawn. Such a number may be moved by a fifth
        without breaking a mechanism, which is tested.
    """
    return dataclasses.field(default=default, metadata={"why": why, "calibrated": is_calibrated})
