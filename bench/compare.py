"""Prints the results of bench runs.

::

    python bench/compare.py bench/results/latest.json                    # as text
    python bench/compare.py before.json after.json                       # side by side
    python bench/compare.py --table bench/results/latest.json            # as Markdown
    python bench/compare.py --table bench/results/latest.json --into bench/README.md
    python bench/compare.py --merge bench/results/latest.json bench/results/partial.json

The last puts the benches of a partial run, each as a whole, into the results of a whole one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Results = dict[str, Any]
Row = Sequence[str]

_FACT_HEADER = ("bench", "case", "what", "value")
_BEGIN, _END = "<!-- results: begin -->", "<!-- results: end -->"


def ratio_tables(results: Results) -> list[list[Row]]:
    """A table for each set of peers and clock of a bench: a row each of ours, a column each peer.

    A cell has the median ratio, its range over the rounds, and the ratio of the quickest rounds.
    """
    groups: dict[tuple[str, ...], list[Results]] = {}
    for record in results["records"]:
        if "ratios" in record:
            peers = dict.fromkeys(ratio["peer"] for ratio in record["ratios"])
            groups.setdefault((record["bench"], _second(record), *peers), []).append(record)
    return [_ratio_table(group, records) for group, records in groups.items()]


def _ratio_table(group: Sequence[str], records: Sequence[Results]) -> list[Row]:
    bench, second, *peers = group
    rows: list[Row] = [(bench, "ours", second, *(f"÷ {peer}" for peer in peers), "load")]
    for record in records:
        for ours in dict.fromkeys(ratio["ours"] for ratio in record["ratios"]):
            rate = f"{_millions(record['per_second'][ours])} {record['unit']}"
            cells = [_cell(ratio) for ratio in record["ratios"] if ratio["ours"] == ours]
            rows.append((record["case"], ours, rate, *cells, f"{record['load']:.1f}"))
    return rows


def _on_cpu_clock(record: Results) -> bool:
    return bool(record.get("clock", "CPU") == "CPU")


def _second(record: Results) -> str:
    return "a second" if _on_cpu_clock(record) else "a second on the clock"


def _millions(value: float) -> str:
    return f"{value / 1e6:.0f} M" if value >= 1e9 else f"{value / 1e6:.3g} M"


def _cell(ratio: Results) -> str:
    low, high = _number(ratio["low"]), _number(ratio["high"])
    return f"{_number(ratio['median'])} ({low}–{high}; {_number(ratio['best'])})"


def fact_table(results: Results) -> list[Row]:
    """A row a number that is not a ratio of times, headed by names."""
    rows: list[Row] = [_FACT_HEADER]
    for record in results["records"]:
        if "fact" in record:
            value = f"{record['value']:.4g} {record['unit']}"
            rows.append((record["bench"], record["case"], record["fact"], value))
    return rows


def text(results: Results) -> list[str]:
    """All tables as lines of text."""
    lines = [line for rows in _tables(results) for line in [*_aligned(rows), ""]]
    return [*lines, *abouts(results)]


def markdown(results: Results) -> list[str]:
    """All tables in Markdown."""
    lines = [line for rows in _tables(results) for line in [*_piped(rows), ""]]
    return [line for said in abouts(results) for line in [said, ""]] + lines


def _tables(results: Results) -> list[list[Row]]:
    facts = fact_table(results)
    return [*ratio_tables(results), *([facts] if len(facts) > 1 else [])]


def abouts(results: Results) -> list[str]:
    """On what the results were measured: the whole run, and each bench that was merged in."""
    later = results.get("later", {})
    records = results["records"]
    whole = _about(results["run"], [record for record in records if record["bench"] not in later])
    parts = [
        f"{bench}: {_about(run, [record for record in records if record['bench'] == bench])}"
        for bench, run in later.items()
    ]
    return [whole, *parts]


def _about(run: Results, records: Sequence[Results]) -> str:
    on_cpu = [
        record["on_cpu"] for record in records if "on_cpu" in record and _on_cpu_clock(record)
    ]
    share = f", {min(on_cpu):.0%} to {max(on_cpu):.0%} of the time on the CPU" if on_cpu else ""
    return (
        f"Scale {run['scale']}, {run['seconds']:.0f} s, {run['date']}: {run['cpu']},"
        f" {run['cores']} cores, esxcore {run['esxcore']}, Python {run['python']},"
        f" NumPy {run['numpy']};"
        f" load average {run['load'][0]:.1f} at the start and {run['load'][1]:.1f} at the"
        f" end{share}."
    )


def merged(whole: Results, part: Results) -> Results:
    """The results of `whole` with the benches that `part` has replaced by its; each says when."""
    scales = [results["run"]["scale"] for results in (whole, part)]
    if scales[0] != scales[1]:
        raise SystemExit(f"scale {scales[1]} cannot be merged into scale {scales[0]}")
    benches = list(dict.fromkeys(record["bench"] for record in part["records"]))
    kept = [record for record in whole["records"] if record["bench"] not in benches]
    left = {record["bench"] for record in kept}
    later = {bench: run for bench, run in whole.get("later", {}).items() if bench in left}
    return {
        "run": whole["run"],
        "later": later | dict.fromkeys(benches, part["run"]),
        "records": [*kept, *part["records"]],
    }


def side_by_side(before: Results, after: Results) -> list[str]:
    """The median ratios of two runs, and by how much they changed."""
    old, new = _medians(before), _medians(after)
    rows: list[Row] = [("bench", "case", "ours", "÷ peer", "before", "after", "change")]
    for key in dict.fromkeys([*old, *new]):
        was, now = old.get(key), new.get(key)
        change = "" if was is None or now is None else f"{now / was - 1:+.0%}"
        rows.append((*key, _number(was), _number(now), change))
    said = [
        f"{when}: {line}"
        for when, results in (("before", before), ("after", after))
        for line in abouts(results)
    ]
    return [*_aligned(rows), "", *said]


def load(path: Path) -> Results:
    """Results that a run has left."""
    try:
        results = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SystemExit(f"{path}: {error}") from None
    if not isinstance(results, dict) or "records" not in results:
        raise SystemExit(f"{path}: not a results file of these benches")
    return results


def save(results: Results, path: Path) -> None:
    """Writes what `load` reads."""
    path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")


def _medians(results: Results) -> dict[tuple[str, str, str, str], float]:
    return {
        (record["bench"], record["case"], ratio["ours"], ratio["peer"]): ratio["median"]
        for record in results["records"]
        for ratio in record.get("ratios", ())
    }


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}" if value >= 0.1 else f"{value:.2g}"


def _aligned(rows: Sequence[Row]) -> Iterable[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _piped(rows: Sequence[Row]) -> Iterable[str]:
    head, *body = rows
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in body:
        yield f"| {' | '.join(row)} |"


def _insert(lines: Sequence[str], path: Path) -> None:
    page = path.read_text()
    if _BEGIN not in page or _END not in page:
        raise SystemExit(f"{path}: no place marked {_BEGIN} ... {_END}")
    head, tail = page.split(_BEGIN)[0], page.split(_END)[1]
    table = "\n".join(lines).rstrip("\n")
    path.write_text(f"{head}{_BEGIN}\n\n{table}\n\n{_END}{tail}")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Prints the results of one bench run, or of two.")
    parser.add_argument("results", type=Path, nargs="+", help="results files, at most two")
    parser.add_argument("--table", action="store_true", help="Markdown instead of text")
    parser.add_argument("--into", type=Path, help="with --table: the file whose table to replace")
    parser.add_argument(
        "--merge", action="store_true", help="put the benches of the second file into the first"
    )
    options = parser.parse_args()
    if len(options.results) > 2 or (options.table and len(options.results) > 1):
        parser.error("one results file, or two without --table")
    if options.into and not options.table:
        parser.error("--into goes with --table")
    if options.merge and len(options.results) != 2:
        parser.error("--merge needs two results files, the whole run and the part")
    loaded = [load(path) for path in options.results]
    if options.merge:
        save(merged(*loaded), options.results[0])
        return
    if len(loaded) == 2:
        lines = side_by_side(*loaded)
    else:
        lines = markdown(loaded[0]) if options.table else text(loaded[0])
    if options.into:
        _insert(lines, options.into)
    else:
        print("\n".join(lines))


if __name__ == "__main__":
    main()
