"""Ledgers that are none, are hurt, or of something else: refused, and left as they were."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from esxcore.errors import DataError
from esxcore.study.ledger import Ledger

STUDY = {"study": "this one", "esxcore_version": "1.2.3", "scenario": "[host]"}
ROWS = {f"{number:064x}": {"ops_per_s": number / 3, "stall_s": number} for number in range(200)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger of 200 rows."""
    path = tmp_path / "a ledger#1?.sqlite"
    with Ledger(path, STUDY) as ledger:
        for key, metrics in ROWS.items():
            ledger.add(key, metrics)
    return path


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as file:
        for statement in statements:
            file.execute(statement)
        file.commit()


def flipped(path: Path) -> None:
    """A digit of a number changes, which SQLite does not notice."""
    content = path.read_bytes()
    place = content.index(b"0.3333333333333333")
    path.write_bytes(content[:place] + b"9" + content[place + 1 :])


def shortened(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwritten(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:8192] = os.urandom(4096)
    path.write_bytes(content)


HARM: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (lambda path: path.write_text("no ledger at all, but some text\n" * 40), "corrupt"),
    "a byte": (lambda path: path.write_bytes(b"x"), "corrupt or no ledger"),
    "shortened": (shortened, "corrupt"),
    "overwritten": (overwritten, "corrupt"),
    "a digit": (flipped, "corrupt .row 0000000000"),
    "a row": (lambda path: execute(path, "UPDATE rows SET metrics = '{}'"), "corrupt .row"),
    "no table": (lambda path: execute(path, "DROP TABLE rows"), "corrupt or no ledger"),
    "another application": (
        lambda path: execute(path, "PRAGMA application_id = 7"),
        "no ledger of esxcore",
    ),
    "another format": (
        lambda path: execute(path, "PRAGMA user_version = 2"),
        "row format 2, this esxcore writes 1",
    ),
    "another version": (
        lambda path: execute(path, "UPDATE study SET value = '0.9' WHERE name = 'esxcore_version'"),
        r"written by esxcore 0\.9, this is 1\.2\.3",
    ),
    "another study": (
        lambda path: execute(path, "UPDATE study SET value = 'that' WHERE name = 'study'"),
        "of another study",
    ),
}


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize(("harm", "problem"), HARM.values(), ids=HARM)
def test_what_is_no_ledger_of_this_is_refused_and_left_as_it_was(
    path: Path, harm: Callable[[Path], object], problem: str, resume: bool
) -> None:
    harm(path)
    before = path.read_bytes()
    with pytest.raises(DataError, match=problem) as caught:
        Ledger(path, STUDY, resume)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_one_that_has_rows_is_not_written_to_unless_resumed(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(DataError, match="has 200 rows of this study already; resume"):
        Ledger(path, STUDY)
    assert path.read_bytes() == before
    with Ledger(path, STUDY, resume=True) as ledger:
        assert len(ledger) == 200
        assert all(ledger.get(key) == metrics for key, metrics in ROWS.items())
        assert ledger.get("no such key") is None


def test_what_a_killed_driver_had_not_put_into_the_file_is_left_as_it_was_too(
    tmp_path: Path,
) -> None:
    """Its rows are in a second file; reading them must not put them into the first."""
    live = tmp_path / "live.sqlite"
    left = tmp_path / "left" / "ledger.sqlite"
    left.parent.mkdir()
    with Ledger(live, STUDY) as ledger:
        for key, metrics in ROWS.items():
            ledger.add(key, metrics)
        for ending in ("", "-wal"):
            copy = left.with_name(left.name + ending)
            copy.write_bytes(live.with_name(live.name + ending).read_bytes())
    before = {ending: Path(f"{left}{ending}").read_bytes() for ending in ("", "-wal")}
    with pytest.raises(DataError, match="another study"):
        Ledger(left, STUDY | {"study": "that"}, resume=True)
    assert before == {ending: Path(f"{left}{ending}").read_bytes() for ending in ("", "-wal")}
    with Ledger(left, STUDY, resume=True) as ledger:
        assert len(ledger) == 200


def test_one_without_rows_is_as_good_as_none(tmp_path: Path) -> None:
    empty = tmp_path / "empty.sqlite"
    empty.touch()
    for _ in range(2):
        with Ledger(empty, STUDY) as ledger:
            assert len(ledger) == 0
    bare = tmp_path / "bare.sqlite"
    execute(bare, "PRAGMA journal_mode = WAL")
    with Ledger(bare, STUDY) as ledger:
        ledger.add("key", {"a": 1})
        assert len(ledger) == 1


def test_others_may_read_while_one_writes_and_may_not_write(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger(path, STUDY) as ledger:
        ledger.add("key", {"a": 0.5})
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as reader:
            assert reader.execute("SELECT count(*) FROM rows").fetchone() == (1,)
            assert reader.execute("SELECT value FROM study WHERE name = 'scenario'").fetchall()
        with pytest.raises(DataError, match="in use"):
            Ledger(path, STUDY, resume=True)
        ledger.add("key 2", {"a": 0.5})
    with Ledger(path, STUDY, resume=True) as ledger:
        assert len(ledger) == 2


def test_places_where_no_file_can_be(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder"):
        Ledger(tmp_path, STUDY)
    with pytest.raises(DataError, match=r"cannot be opened .No such file"):
        Ledger(tmp_path / "nowhere" / "ledger.sqlite", STUDY)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="not a regular file"):
        Ledger(tmp_path / "pipe", STUDY)


def test_what_is_no_number_is_refused() -> None:
    with Ledger(None, STUDY) as ledger:
        for value in ("1", None, True, [1]):
            with pytest.raises(DataError, match=r"metric a: .*; expected a number"):
                ledger.add("key", {"a": value})  # type: ignore[dict-item]
        assert len(ledger) == 0
        assert "key" not in ledger
