"""The ledger of a study: one SQLite file with a row for each run that is done.

A row is written when its run ends, in a transaction of its own, by the driver alone; whatever
becomes of the process then, a row is there whole or not at all. Each is found by the key of its
run, a hash of everything that its numbers depend on, and the file says which study it belongs to.
So a study that was interrupted goes on with the same file, and a file of anything else is refused.

A file that is there already is first read without being opened for writing, and looked through to
its last row: SQLite's own check, a checksum for each row, the columns, the keys. Only one that
passes is opened; any other stays as it was, byte for byte. While a study goes on nobody else
writes, but everybody may read.

Neighbours: `esxcore.study.grid` makes the keys, `esxcore.study.driver` writes the rows.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from esxcore.errors import DataError

Metrics = dict[str, float | int]
"""What was measured in a run, by name."""

ROW_FORMAT = 1
"""Version of what stands in a row; part of the keys."""

_MAGIC = b"SQLite format 3\0"
_APPLICATION = 0x65737863  # "esxc", where SQLite files say what they are for
_SCHEMA = """
BEGIN;
CREATE TABLE study (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE rows (
    key TEXT PRIMARY KEY, metrics TEXT NOT NULL, checksum TEXT NOT NULL
) WITHOUT ROWID;
"""


class Ledger:
    """Rows by key, in a file or in memory; a context manager that closes it.

    Parameters
    ----------
    path : Path or None
        The file; in memory if None.
    study : mapping of str to str
        What the ledger is of: ``study`` is the hash of all keys, ``esxcore_version`` the version,
        and whatever else is to be read in it.
    resume : bool
        Whether to go on with a file that has rows.

    Raises
    ------
    DataError
        If there is such a file and it is no ledger, is corrupt, is of another study or version, is
        in use, or has rows and is not to be resumed. It is left as it was.
    OSError
        If the file cannot be made or opened.
    """

    def __init__(self, path: Path | None, study: Mapping[str, str], resume: bool = False) -> None:
        self.path = path
        self._lock: int | None = None
        self._rows: dict[str, Metrics] = {}
        try:
            if path is None:
                self._open(":memory:", study)
                return
            self._lock = _locked(path)
            if path.stat().st_size:
                self._rows = _read(path, study)
                if self._rows and not resume:
                    raise DataError(
                        f"ledger {path}: has {len(self._rows)} rows of this study already;"
                        " resume it (resume=True, --resume) or name another file"
                    )
            self._open(str(path), study)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    def get(self, key: str) -> Metrics | None:
        """A row; None if it is not there."""
        return self._rows.get(key)

    def add(self, key: str, metrics: Metrics) -> None:
        """Writes a row; one that is there already stays as it is."""
        if key in self._rows:
            return
        text = _text(metrics)
        with self._blaming():
            self._file.execute("INSERT INTO rows VALUES (?, ?, ?)", (key, text, _sum(key, text)))
        self._rows[key] = json.loads(text)

    def read_again(self) -> None:
        """Learns which rows are written: Ctrl-C may come when one is, and before it is noted."""
        with self._blaming():
            rows = self._file.execute("SELECT key, metrics FROM rows").fetchall()
        self._rows = {key: json.loads(text) for key, text in rows}

    def close(self) -> None:
        """Puts everything into the one file and lets go of it."""
        file = self.__dict__.pop("_file", None)
        if file is not None:
            file.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _open(self, name: str, study: Mapping[str, str]) -> None:
        with self._blaming():
            self._file = sqlite3.connect(name, isolation_level=None)
            self._file.execute("PRAGMA journal_mode = WAL")
            self._file.execute("PRAGMA synchronous = NORMAL")  # killed processes lose nothing
            if self._file.execute("PRAGMA application_id").fetchone()[0] == 0:
                self._file.executescript(_SCHEMA)
                self._file.executemany("INSERT INTO study VALUES (?, ?)", study.items())
                self._file.execute(f"PRAGMA application_id = {_APPLICATION}")
                self._file.execute(f"PRAGMA user_version = {ROW_FORMAT}")
                self._file.execute("COMMIT")

    @contextmanager
    def _blaming(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:  # a full disk, for one
            raise OSError(None, f"the ledger cannot be written: {error}", self._name) from error

    @property
    def _name(self) -> str:
        return "ledger in memory" if self.path is None else str(self.path)


def _locked(path: Path) -> int:
    """The file, made if it is not there, and locked against others who would write.

    Not by SQLite, whose lock would keep out readers too; it ends with the process, however that
    ends.
    """
    if path.is_dir():
        raise DataError(f"ledger {path}: it is a folder; expected the name of a file")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
    except OSError as error:
        raise DataError(f"ledger {path}: cannot be opened ({error.strerror})") from error
    try:
        if not os.path.isfile(path):
            raise DataError(f"ledger {path}: not a regular file")
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise DataError(f"ledger {path}: in use; another process works on this study") from None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _read(path: Path, study: Mapping[str, str]) -> dict[str, Metrics]:
    """The rows of a file that is a ledger of this study, unhurt."""
    try:
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise DataError(f"ledger {path}: corrupt or no ledger; left as it is")
        with _unchanging(path) as rows:
            return _checked(rows, path, study)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise DataError(f"ledger {path}: corrupt or no ledger ({error}); left as it is") from error


@contextmanager
def _unchanging(path: Path) -> Iterator[sqlite3.Connection]:
    """The file opened so that nothing is written to it nor made beside it.

    What a killed driver has left beside it belongs to it, and SQLite would put it into the file; so
    both are copied.
    """
    beside = Path(f"{path}-wal")
    with ExitStack() as stack:
        place = path.absolute()
        if beside.exists():
            place = Path(stack.enter_context(TemporaryDirectory())) / "ledger"
            shutil.copyfile(path, place)
            shutil.copyfile(beside, Path(f"{place}-wal"))
        # A question mark or a hash in a name would mean something in the URI.
        how = "mode=rw" if beside.exists() else "immutable=1"
        yield stack.enter_context(closing(sqlite3.connect(f"{place.as_uri()}?{how}", uri=True)))


def _checked(file: sqlite3.Connection, path: Path, study: Mapping[str, str]) -> dict[str, Metrics]:
    (application,) = file.execute("PRAGMA application_id").fetchone()
    (version,) = file.execute("PRAGMA user_version").fetchone()
    if application == 0 and not file.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        return {}  # whoever made it was ended before there was anything in it
    if application != _APPLICATION:
        raise DataError(f"ledger {path}: no ledger of esxcore; left as it is")
    if version != ROW_FORMAT:
        problem = f"of row format {version}, this esxcore writes {ROW_FORMAT}"
        raise DataError(f"ledger {path}: {problem}; left as it is")
    (health,) = file.execute("PRAGMA integrity_check(1)").fetchone()
    if health != "ok":
        problem = health.splitlines()[-1]
        raise DataError(f"ledger {path}: corrupt ({problem}); left as it is")
    of = dict(file.execute("SELECT name, value FROM study"))
    if of.get("esxcore_version") != study["esxcore_version"]:
        theirs = of.get("esxcore_version")
        problem = f"written by esxcore {theirs}, this is {study['esxcore_version']}"
        raise DataError(f"ledger {path}: {problem}; left as it is")
    if of.get("study") != study["study"]:
        raise DataError(
            f"ledger {path}: of another study (its scenario, grid, policies, seeds or the code of"
            " its policies differ); left as it is"
        )
    rows = {}
    for key, text, checksum in file.execute("SELECT key, metrics, checksum FROM rows"):
        if _sum(key, text) != checksum:
            raise DataError(f"ledger {path}: corrupt (row {key[:12]}); left as it is")
        rows[key] = json.loads(text)
    return rows


def _text(metrics: Mapping[str, Any]) -> str:
    """Metrics as JSON. Python writes the shortest digits that read back as the same double."""
    return json.dumps({name: plain_number(value, name) for name, value in metrics.items()})


def plain_number(value: Any, name: str) -> float | int:
    """A number as Python's own int or float.

    Raises
    ------
    DataError
        If it is none.
    """
    with suppress(AttributeError, ValueError):  # a number of NumPy
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"metric {name}: {value!r}; expected a number")
    return value


def same_number(one: float | int, other: float | int) -> bool:
    """Whether two numbers are the same to the bit, kind and all; NaN is the same as NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(other)
    return one == other and math.copysign(1, one) == math.copysign(1, other)


def _sum(key: str, text: str) -> str:
    return hashlib.sha256(f"{key}\n{text}".encode()).hexdigest()[:16]
