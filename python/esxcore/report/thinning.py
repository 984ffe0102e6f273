"""Which samples of a long run are drawn: fewer, but with every low and high of every line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

FEWEST = 300
"""Samples that a picture may have in any case."""

_ALL = 2000
_TOGETHER = 100_000


def limit_for(pictures: int) -> int:
    """Most samples of one picture where there are so many, so that the page stays light."""
    return int(np.clip(_TOGETHER // max(pictures, 1), FEWEST, _ALL))


def thinned(columns: Sequence[NDArray[Any]], limit: int) -> NDArray[np.intp]:
    """Places of the samples to draw, rising; all if there are no more than `limit`.

    The samples are cut into stretches of equal length. Of each stretch those are kept at which a
    column is lowest or highest, so a line through them goes as high and as low as the whole one,
    and every point of it was measured. The first and the last sample are always kept.

    Parameters
    ----------
    columns : sequence of array, each of shape (samples,)
        What is drawn; NaN where there is nothing.
    limit : int
        Most samples to keep; more only if two for each column are more.
    """
    samples = len(columns[0])
    if samples <= limit:
        return np.arange(samples)
    stretches = limit // 2
    while True:
        kept = _extremes(columns, max(stretches, 1))
        if len(kept) <= limit or stretches <= 1:
            return kept
        # A line that stands still keeps one sample a stretch, not two: how many come is seen then.
        stretches = min(stretches - 1, int(stretches * limit / len(kept)))


def _extremes(columns: Sequence[NDArray[Any]], stretches: int) -> NDArray[np.intp]:
    samples = len(columns[0])
    length = -(-samples // stretches)
    padded = -samples % length
    starts = np.arange(0, samples + padded, length)
    kept = [np.array([0, samples - 1])]
    for column in columns:
        values = np.asarray(column, np.float64)
        for absent, find in ((np.inf, np.argmin), (-np.inf, np.argmax)):
            known = np.where(np.isnan(values), absent, values)
            rows = np.append(known, np.full(padded, absent)).reshape(-1, length)
            kept.append(starts + find(rows, axis=1))
    places: NDArray[np.intp] = np.unique(np.concatenate(kept))
    return places[places < samples]


def worst(states: NDArray[Any], limit: int) -> tuple[NDArray[np.intp], NDArray[Any]]:
    """Where stretches of one state begin, and the state of each: the worst where many are in one.

    Parameters
    ----------
    states : array, shape (samples,)
        Numbers, larger ones worse.
    limit : int
        Most stretches.
    """
    starts = np.append(0, np.flatnonzero(np.diff(states)) + 1)
    if len(starts) > limit:
        # As long as a stretch of drawing: what is narrower could not be seen.
        length = -(-len(states) // limit)
        blocks = np.arange(0, len(states), length)
        coarse = np.maximum.reduceat(states, blocks)
        changed = np.append(0, np.flatnonzero(np.diff(coarse)) + 1)
        return blocks[changed], coarse[changed]
    return starts, states[starts]
