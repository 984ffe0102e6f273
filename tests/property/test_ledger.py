"""A ledger against a dict: whatever is done, crashes and is resumed, no row is lost or changed."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esxcore.errors import DataError
from esxcore.study.ledger import Ledger, Metrics, same_number

STUDY = {"study": "a hash", "esxcore_version": "1.2.3"}
KEYS = st.integers(0, 15).map(lambda number: f"{number:064x}")
METRICS = st.dictionaries(
    st.sampled_from(["ops_per_s", "stall_s", "ops_per_s:busy", "größe"]),
    st.floats() | st.integers(-(2**80), 2**80),
    max_size=4,
)
STEPS = st.lists(
    st.tuples(st.just("done"), KEYS, METRICS)
    | st.tuples(st.sampled_from(["crash", "close", "refused"]))
    | st.tuples(st.just("power"), st.floats(0, 1)),
    max_size=25,
)


def same(ledger: Ledger, known: dict[str, Metrics]) -> None:
    assert len(ledger) == len(known)
    for key, metrics in known.items():
        row = ledger.get(key)
        assert row is not None
        assert row.keys() == metrics.keys()
        assert all(same_number(row[name], value) for name, value in metrics.items())


def killed(path: Path, number: int) -> Path:
    """The files as a killed process leaves them: what SQLite had said to the system."""
    left = path.with_name(f"{number}.sqlite")
    for ending in ("", "-wal"):
        source = path.with_name(path.name + ending)
        if source.exists():
            shutil.copy(source, left.with_name(left.name + ending))
    return left


@settings(max_examples=60)  # each writes files
@given(STEPS)
def test_no_row_is_lost_or_changed(steps: list[tuple[object, ...]]) -> None:
    with TemporaryDirectory() as folder:
        live_through(Path(folder) / "0.sqlite", steps)


@pytest.mark.slow
@settings(settings.get_profile("slow"), max_examples=200)
@given(st.lists(STEPS, max_size=4).map(lambda parts: [step for part in parts for step in part]))
def test_no_row_is_lost_or_changed_in_long_histories(steps: list[tuple[object, ...]]) -> None:
    with TemporaryDirectory() as folder:
        live_through(Path(folder) / "0.sqlite", steps)


def live_through(path: Path, steps: list[tuple[object, ...]]) -> None:
    known: dict[str, Metrics] = {}
    ledger = Ledger(path, STUDY)
    try:
        for number, step in enumerate(steps, 1):
            match step:
                case ("done", str(key), dict(metrics)):
                    ledger.add(key, metrics)
                    known.setdefault(key, metrics)
                case ("refused",):
                    with pytest.raises(DataError, match="in use"):
                        Ledger(path, STUDY, resume=True)
                case ("close",):
                    ledger.close()
                    if known:
                        with pytest.raises(DataError, match=r"has .* rows of this study"):
                            Ledger(path, STUDY)
                    ledger = Ledger(path, STUDY, resume=True)
                case (str(what), *rest):
                    left = killed(path, number)
                    ledger.close()
                    path = left
                    if what == "power":  # the end of what was written last is lost
                        shorten(path.with_name(path.name + "-wal"), rest[0])
                    ledger = Ledger(path, STUDY, resume=True)
                    if what == "power":
                        assert len(ledger) <= len(known)
                        known = {key: known[key] for key in list(known)[: len(ledger)]}
            same(ledger, known)
    finally:
        ledger.close()
    with Ledger(path, STUDY, resume=True) as again:
        same(again, known)
    assert not path.with_name(path.name + "-wal").exists()


def shorten(file: Path, part: object) -> None:
    assert isinstance(part, float)
    if file.exists():
        content = file.read_bytes()
        file.write_bytes(content[: int(len(content) * part)])
