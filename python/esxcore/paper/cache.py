"""What was made of the paper before, kept by what it was made of: code, parameters, seed.

A file each in ``$ESXCORE_CACHE_DIR``, or ``esxcore`` in the user's folder for caches; all of it may
be deleted at any time.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from esxcore import _core
from esxcore.datafile import write_whole
from esxcore.paper.reproduction import Reproduction


def folder() -> Path:
    """Where it is kept."""
    own = os.environ.get("ESXCORE_CACHE_DIR")
    if own:
        return Path(own) / "paper"
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "esxcore" / "paper"


def key(name: str, parameters: Any, seed: int) -> str:
    """What a reproduction is kept by."""
    said = json.dumps([name, dataclasses.asdict(parameters), seed], default=str)
    return hashlib.sha256(f"{said}\n{_code()}\n{_load_file()}".encode()).hexdigest()[:32]


@cache
def _code() -> str:
    """A digest of the package: the engine and every module."""
    root = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for file in sorted([Path(str(_core.__file__)), *root.rglob("*.py")]):
        digest.update(file.name.encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _load_file() -> str:
    """Which load file of dbench there is, as figures use it where it is installed."""
    found = _core.find_load()
    return "" if found is None else f"{found} {os.stat(found).st_size}"


def kept(digest: str) -> Reproduction | None:
    """What was made before; None if there is nothing, or nothing that can be read."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return Reproduction.of(json.loads((folder() / f"{digest}.json").read_text()))
    return None


def keep(digest: str, made: Reproduction) -> None:
    """Keeps it for the next time; where that is not possible, it is made again then."""
    with suppress(OSError):
        folder().mkdir(parents=True, exist_ok=True)
        write_whole({folder() / f"{digest}.json": json.dumps(made.table()).encode()})
