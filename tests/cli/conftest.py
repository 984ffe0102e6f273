"""Where the tests of ``esxcore run`` and ``esxcore census`` run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from census_images import DB, WEB, write_image
from runs import TWINS


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run in; ``in/`` beside it has a scenario of two small equal VMs."""
    source = tmp_path / "in"
    source.mkdir()
    (source / "twins.toml").write_text(TWINS)
    np.savez(source / "twins.npz", id=np.arange(1024), vm_pages=np.array([1024]))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run in, with ``web.raw`` and ``db.raw``."""
    work = tmp_path / "images"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.delenv("ESXCORE_KEY", raising=False)
    write_image("web.raw", WEB)
    write_image("db.raw", DB)
    return work
