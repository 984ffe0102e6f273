"""Who should have how much memory: the paper's policy as a plain function (sections 5.1, 5.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, SupportsIndex, TypeAlias

import numpy as np
from numpy.typing import NDArray

from esxcore import _core
from esxcore.arguments import column, in_range, real_number

WholeNumbers: TypeAlias = Sequence[int] | NDArray[np.integer[Any]]
"""A column: a list of integers or a 1-D array of an integer dtype, a number for each VM."""


def min_funding_targets(
    *,
    shares: WholeNumbers,
    min_pages: WholeNumbers,
    max_pages: WholeNumbers,
    active_pages: WholeNumbers,
    available_pages: SupportsIndex,
    tax_rate: float = 0.75,
) -> NDArray[np.int64]:
    """Targets by min-funding revocation with the idle memory tax (paper, sections 5.1 and 5.2).

    Everyone starts at its max. While that is more than there is, one page is taken from the virtual
    machine that pays least for its memory: the one with the smallest ``S / (P * (f + k * (1 -
    f)))`` among those above their min, with its shares S, its pages P, its active fraction f =
    min(1, active / P) and the idle page cost k = 1 / (1 - tax_rate). In a tie the lower index loses
    the page. The answer is exactly that, in whole pages, without taking them one by one.

    A virtual machine without shares loses first, but keeps its max while memory is free.

    Parameters
    ----------
    shares : array of int, shape (VMs,)
        Entitlement relative to others, 0 or more.
    min_pages, max_pages : array of int, shape (VMs,)
        What each gets in any case, and what it gets while there is enough; from 0 to 2**32 - 1.
    active_pages : array of int, shape (VMs,)
        Pages in use, by estimate. More than a virtual machine holds counts as all it holds.
    available_pages : int
        Pages there are for all of them.
    tax_rate : float
        Most of a virtual machine's idle pages that may be taken, as a fraction of at least 0 and
        below 1, to the nearest millionth below 1. With 0 memory is divided by shares alone.

    Returns
    -------
    array of int64, shape (VMs,)
        Pages for each, from min to max. They add up to `available_pages`, or to all max if that is
        less.

    Raises
    ------
    MinOvercommittedError
        If all min together are more than available.
    ConfigError
        If a number or the tax rate is out of range, a min is above its max, or columns differ in
        length.
    ArgumentTypeError
        If a column is not of an integer dtype or not one-dimensional.

    Examples
    --------
    Two guests of 256 MiB with equal shares on 358 MiB, as in figure 7. Without the tax each gets
    half; with it the idle one, 20 MiB active, makes room for the busy one, 150 MiB active.

    >>> import esxcore
    >>> guests = dict(shares=[1, 1], min_pages=[0, 0], max_pages=[65536, 65536],
    ...               active_pages=[20 * 256, 150 * 256], available_pages=358 * 256)
    >>> esxcore.min_funding_targets(**guests, tax_rate=0) / 256
    array([179., 179.])
    >>> esxcore.min_funding_targets(**guests) / 256
    array([130.25, 227.75])
    """
    return _core.min_funding_targets(
        shares=column(shares, "shares"),
        min_pages=column(min_pages, "min_pages"),
        max_pages=column(max_pages, "max_pages"),
        active_pages=column(active_pages, "active_pages"),
        available_pages=in_range(available_pages, "available_pages", 0, 2**63 - 1),
        tax_rate=real_number(tax_rate, "tax_rate"),
    )
