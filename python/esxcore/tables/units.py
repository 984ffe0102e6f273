"""Units of everything a recording holds, in one place.

The last word of a name tells the unit, as names do throughout the package: ``free_pages``,
``stalled_s``, ``cow_breaks``. A name whose last word stands in no row here has no unit yet, and a
test fails until it gets one.
"""

from __future__ import annotations

_WORDS = {
    "pages": "pages consumed reclaimed",
    "bytes": "bytes",
    "MiB": "mib",
    "s": "s",
    "ms": "ms",
    "ns": "ns",
    "fraction": "fraction",
    "shares": "shares",
    "count": (
        "backs breaks copies decisions drops evictions failures faults fills frames hints hits ins "
        "kills matches merges misses ops outs packets passes pops reads refaults references "
        "refused remaps samples vms writes zeroed"
    ),
    "code": "state",  # the position in `esxcore.recording.STATES`
    "flag": "blocked significant",  # 1 or 0
    "name": "vm policy seed metric unit",
}
_WHOLE_NAMES = {
    "ops_per_s": "1/s",
    "churn": "MiB/min",
    "fairness": "fraction",
    "worst_slowdown": "ratio",
}
"""Metrics of runs whose last word is no unit."""
_UNITS = {word: unit for unit, words in _WORDS.items() for word in words.split()}


def unit_of(column: str) -> str | None:
    """Unit of a column by its name; None for a name that this version does not know.

    Examples
    --------
    >>> unit_of("stalled_s"), unit_of("cow_breaks"), unit_of("consumed")
    ('s', 'count', 'pages')
    """
    name = column.partition(":")[0]  # a metric of one virtual machine: "ops_per_s:web"
    return _WHOLE_NAMES.get(name) or _UNITS.get(name.rpartition("_")[2])


def attribute(key: str, column: str) -> dict[str, str]:
    """The unit of a column under a key, as metadata; empty if it has none."""
    unit = unit_of(column)
    return {key: unit} if unit else {}
