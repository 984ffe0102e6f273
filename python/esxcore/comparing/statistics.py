"""Means with intervals: Student's t over seeds, and paired differences.

A seed gives one number of each metric and policy; seeds are independent of each other. The mean
over n of them has the 95 % interval of Student's t with n - 1 degrees of freedom. Policies live
through the same seeds, so a difference between two is taken seed by seed: what a seed does to both
alike drops out, and the interval is that of the mean difference.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95


class Estimate(NamedTuple):
    """A mean and where the true one lies with 95 % confidence.

    Attributes
    ----------
    mean : float
        NaN if there is no value.
    half : float
        Half the width of the interval; NaN if there are fewer than two values.
    """

    mean: float
    half: float

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.mean + self.half

    @property
    def is_significant(self) -> bool:
        """Whether 0 lies outside, so that a difference is not chance; never of a single value."""
        return self.low > 0 or self.high < 0


def estimate(values: NDArray[np.float64]) -> Estimate:
    """The mean of values and its interval; values that nobody knows (NaN) do not count.

    Examples
    --------
    >>> found = estimate(np.array([1.0, 2.0, 3.0]))
    >>> round(found.low, 3), round(found.high, 3)
    (-0.484, 4.484)
    """
    known = [value for value in values.tolist() if not math.isnan(value)]
    if not known:
        return Estimate(math.nan, math.nan)
    if any(map(math.isinf, known)):
        return Estimate(sum(known), math.nan)
    if len(set(known)) == 1:  # nothing that rounding could blur
        return Estimate(known[0], 0.0 if len(known) > 1 else math.nan)
    count = len(known)
    mean = math.fsum(known) / count
    variance = math.fsum((value - mean) ** 2 for value in known) / (count - 1)
    return Estimate(mean, t_quantile(count - 1) * math.sqrt(variance / count))


def difference(values: NDArray[np.float64], baseline: NDArray[np.float64]) -> Estimate:
    """The mean of the differences seed by seed; a seed of which either is unknown does not count.

    Where both are infinite there is no difference to tell.
    """
    with np.errstate(invalid="ignore"):
        return estimate(values - baseline)


@functools.cache
def t_quantile(freedom: int, level: float = LEVEL) -> float:
    """The number that Student's t stays below in absolute value with that probability.

    Found by bisection of `t_probability`, to the last digit or two.

    Examples
    --------
    >>> round(t_quantile(9), 4)
    2.2622
    """
    if freedom < 1:
        return math.nan
    low, high = 0.0, 1.0
    while t_probability(high, freedom) < level:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if t_probability(middle, freedom) < level:
            low = middle
        else:
            high = middle
    return high


def t_probability(t: float, freedom: int) -> float:
    """The probability that Student's t is within plus and minus `t`.

    With whole degrees of freedom it is a finite sum (Abramowitz and Stegun, 26.7.3 and 26.7.4).
    """
    sine, cosine = t / math.sqrt(freedom + t * t), math.sqrt(freedom / (freedom + t * t))
    is_odd = freedom % 2
    term = cosine if is_odd else 1.0
    total = 0.0 if freedom == 1 else term
    for step in range(1, (freedom - is_odd) // 2):
        ratio = 2 * step / (2 * step + 1) if is_odd else (2 * step - 1) / (2 * step)
        term *= cosine * cosine * ratio
        total += term
    if is_odd:
        return 2 / math.pi * (math.atan2(t, math.sqrt(freedom)) + sine * total)
    return sine * total
