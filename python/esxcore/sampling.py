"""How many samples tell an active fraction how well: planning for section 5.3 of the paper.

All three functions speak of one finished period, in which `samples` different pages were watched
and a fraction of them touched, and of Wilson's score interval: the fractions p with ``|found - p|
<= z * sqrt(p * (1 - p) / samples)``, where z is the standard normal quantile of the confidence.
They take the samples for independent draws; a period's pages are all different, which makes the
interval wide enough at least. Nothing here speaks of the moving averages, or of their maximum.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import SupportsIndex

from esxcore import _core
from esxcore.arguments import in_range, real_number
from esxcore.errors import ConfigError

_MAX_SAMPLES = 2**32 - 1


def wilson_interval(
    touched: SupportsIndex, sampled: SupportsIndex, confidence: float = 0.95
) -> tuple[float, float]:
    """Where the active fraction lies when `touched` of `sampled` random pages were touched.

    Parameters
    ----------
    touched, sampled : int
        Pages; `sampled` from 1 to 2**32 - 1, `touched` at most as many.
    confidence : float
        How often such intervals hold the truth, on average; above 0 and below 1.

    Raises
    ------
    ConfigError, ArgumentTypeError
        If a number is out of range or of a wrong type.

    Examples
    --------
    >>> import esxcore
    >>> [round(end, 3) for end in esxcore.wilson_interval(10, 100)]
    [0.055, 0.174]
    """
    count = in_range(sampled, "sampled", 1, _MAX_SAMPLES)
    return _core.wilson(in_range(touched, "touched", 0, count) / count, count, _z(confidence))


def sampling_error(
    samples: SupportsIndex = 100, confidence: float = 0.95, *, fraction: float = 0.5
) -> float:
    """Half the width of the interval that `samples` pages give, as a fraction of all pages.

    Parameters
    ----------
    samples : int
        Pages sampled in a period, from 1 to 2**32 - 1.
    confidence : float
        Confidence of the interval, above 0 and below 1.
    fraction : float
        Active fraction found, from 0 to 1. The default is the worst case, where the half width is
        ``z / (2 * sqrt(samples + z**2))``.

    Raises
    ------
    ConfigError, ArgumentTypeError
        If a number is out of range or of a wrong type.

    Examples
    --------
    >>> import esxcore
    >>> round(esxcore.sampling_error(100), 3)
    0.096
    """
    count = in_range(samples, "samples", 1, _MAX_SAMPLES)
    low, high = _core.wilson(_fraction(fraction), count, _z(confidence))
    return (high - low) / 2


def plan_samples(error: float = 0.05, confidence: float = 0.95, *, fraction: float = 0.5) -> int:
    """How many pages to sample in a period for an interval of at most ± `error`.

    The smallest number for which `sampling_error` is no larger. With p the fraction and e the error
    it solves the quadratic equation of the interval's half width:
    ``z**2 * (p*q - 2*e**2 + sqrt((p*q)**2 - 4*e**2*p*q + e**2)) / (2*e**2)``, q = 1 - p, rounded
    up; in the worst case p = 1/2 that is ``z**2 * (1 / (4*e**2) - 1)``.

    Parameters
    ----------
    error : float
        Half the width of the interval, as a fraction of all pages; from 0.0001 to below 0.5.
    confidence : float
        Confidence of the interval, above 0 and below 1.
    fraction : float
        The active fraction to plan for, from 0 to 1. The default is the worst case.

    Raises
    ------
    ConfigError, ArgumentTypeError
        If a number is out of range or of a wrong type.

    Examples
    --------
    >>> import esxcore
    >>> esxcore.plan_samples(0.05), esxcore.plan_samples(0.05, fraction=0.1)
    (381, 141)
    """
    wanted, p = real_number(error, "error"), _fraction(fraction)
    if not 1e-4 <= wanted < 0.5:
        raise ConfigError(f"error: {error!r}; expected a number from 0.0001 to below 0.5")
    square, spread = _z(confidence) ** 2, p * (1 - p)
    root = math.sqrt(max(0.0, spread**2 - 4 * wanted**2 * spread + wanted**2))
    count = math.ceil(square * (spread - 2 * wanted**2 + root) / (2 * wanted**2))
    count = max(1, count - 1)  # rounding may have added one
    while sampling_error(count, confidence, fraction=p) > wanted:
        count += 1
    return count


def _fraction(fraction: float) -> float:
    found = real_number(fraction, "fraction")
    if not 0 <= found <= 1:
        raise ConfigError(f"fraction: {fraction!r}; expected a number from 0 to 1")
    return found


def _z(confidence: float) -> float:
    """The standard normal quantile of a two-sided confidence."""
    level = real_number(confidence, "confidence")
    if not 0 < level < 1 or level / 2 + 0.5 == 1:
        raise ConfigError(f"confidence: {confidence!r}; expected a number above 0 and below 1")
    return NormalDist().inv_cdf(level / 2 + 0.5)
