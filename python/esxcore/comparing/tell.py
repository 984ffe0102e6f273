"""Comparisons as tables to read: plain text, and HTML for notebooks, of the same cells.

Neighbours: `esxcore.comparing.results` shows itself with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

from esxcore.comparing.statistics import Estimate, estimate
from esxcore.experiment.metrics import METRICS

if TYPE_CHECKING:
    from esxcore.comparing.results import Comparison

_SHOWN = (
    "ops_per_s",
    "op_p99_ms",
    "stall_s",
    "swapped_mib",
    "guest_swapped_mib",
    "fairness",
    "churn",
    "relief_s",
    "worst_slowdown",
)
"""What of the metrics tables show, in their order."""
_WORDS = {
    "ops_per_s": ("ops/s", ""),
    "op_p99_ms": ("p99", "ms"),
    "stall_s": ("stall", "s"),
    "swapped_mib": ("swapped", "MiB"),
    "guest_swapped_mib": ("swapped by guests", "MiB"),
    "fairness": ("fairness", ""),
    "churn": ("churn", "MiB/min"),
    "relief_s": ("relief", "s"),
    "worst_slowdown": ("worst slowdown", ""),
}
_MARK = "*"
_ARROWS = {"more": "↑", "less": "↓"}


def telling(comparison: Comparison) -> list[str]:
    """The metrics that are shown: all but those that are the same in every run."""
    shown = [name for name in _SHOWN if name in comparison.metrics]
    return [name for name in shown if _same(comparison, name) is None or name == "ops_per_s"]


def heading(comparison: Comparison) -> str:
    """What was compared."""
    minutes, seconds = divmod(comparison.scenario.run.duration_s, 60)
    length = " ".join(
        f"{value} {unit}" for value, unit in ((minutes, "min"), (seconds, "s")) if value
    )
    policies, seeds = len(comparison.policies), len(comparison.seeds)
    return (
        f"{policies} {'policy' if policies == 1 else 'policies'},"
        f" {seeds} {'run' if seeds == 1 else 'runs'} of {length} each"
    )


def text(comparison: Comparison) -> str:
    """The comparison as plain text."""
    names = telling(comparison)
    heads = ["", *(_head(name) for name in names)]
    lines = [f"{heading(comparison)}; mean ± 95 % interval, best throughput first", ""]
    lines += _aligned([heads, *_means(comparison, names)])
    if len(comparison) > 1 and len(comparison.seeds) > 1:
        lines += ["", _difference_title(comparison), ""]
        lines += _aligned([heads, *_differences(comparison, names)])
    return "\n".join([*lines, "", *_notes(comparison)])


def html(comparison: Comparison) -> str:
    """The comparison as HTML tables, everything escaped."""
    names = telling(comparison)
    heads = ["", *(_head(name) for name in names)]
    title = f"{heading(comparison)}; mean ± 95 % interval, best throughput first"
    parts = [_html_table(title, heads, list(_means(comparison, names)))]
    if len(comparison) > 1 and len(comparison.seeds) > 1:
        rows = list(_differences(comparison, names))
        parts.append(_html_table(_difference_title(comparison), heads, rows))
    parts += [f"<p>{escape(note)}</p>" for note in _notes(comparison)]
    return "\n".join(parts)


def with_interval(found: Estimate, is_signed: bool = False) -> str:
    """A mean and half its interval, with two digits of the latter."""
    if math.isnan(found.mean):
        return "-"
    sign = "+" if is_signed else ""
    digits = _digits(found)
    mean = f"{found.mean:{sign},.{digits}f}" if math.isfinite(found.mean) else str(found.mean)
    if is_signed and not mean.strip("+-0.,"):
        mean = "0"
    return (
        mean if math.isnan(found.half) or not found.half else f"{mean} ± {found.half:,.{digits}f}"
    )


def _digits(found: Estimate) -> int:
    """Digits after the point: two of the half interval, or else four of the mean."""
    size, wanted = (found.half, 2) if found.half > 0 else (abs(found.mean), 4)
    if not (size > 0 and math.isfinite(size)):
        return 0
    return min(max(wanted - 1 - math.floor(math.log10(size)), 0), 4)


def _means(comparison: Comparison, names: Sequence[str]) -> Iterator[list[str]]:
    for label in comparison.ranked:
        yield [label, *(with_interval(comparison.estimate(name, label)) for name in names)]


def _differences(comparison: Comparison, names: Sequence[str]) -> Iterator[list[str]]:
    for label in comparison.ranked:
        if label == comparison.policies[0]:
            continue
        found = [comparison.difference(name, label) for name in names]
        marks = [_MARK if one.is_significant else " " for one in found]
        told = (with_interval(one, True) + mark for one, mark in zip(found, marks, strict=True))
        yield [label, *told]


def _difference_title(comparison: Comparison) -> str:
    baseline = comparison.policies[0]
    return f"Difference to {baseline} by paired seeds; {_MARK} 0 lies outside the 95 % interval"


def _notes(comparison: Comparison) -> list[str]:
    """What the table leaves out, and where its words are explained."""
    same = {name: _same(comparison, name) for name in _SHOWN[1:] if name in comparison.metrics}
    told = [f"{_title(name)} {value}" for name, value in same.items() if value is not None]
    notes = [f"The same in all runs: {', '.join(told)}."] if told else []
    return [*notes, "↑ more is better, ↓ less is better; esxcore.METRICS says what each means."]


def _same(comparison: Comparison, name: str) -> str | None:
    """The value that all runs have, if they have one."""
    values = comparison.values(name).ravel()
    different = {value for value in values.tolist() if not math.isnan(value)}
    if len(different) > 1:
        return None
    return with_interval(estimate(values)) if different else "unknown"


def _head(name: str) -> str:
    return f"{_title(name)} {_ARROWS[METRICS[name].better]}"


def _title(name: str) -> str:
    word, unit = _WORDS[name]
    return f"{word} {unit}" if unit else word


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Names to the left, numbers to the right, two blanks between columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *cells in rows:
        padded = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        lines.append("  ".join([name.ljust(widths[0]), *padded]).rstrip())
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]]


def _html_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def cells(row: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row) + "</tr>"

    body = "".join(
        f"<tr><th>{escape(name)}</th>"
        + "".join(f"<td>{escape(cell.rstrip())}</td>" for cell in rest)
        + "</tr>"
        for name, *rest in rows
    )
    return (
        f"<table><caption>{escape(title)}</caption><thead>{cells(heads, 'th')}</thead>"
        f"<tbody>{body}</tbody></table>"
    )
