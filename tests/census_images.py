"""Small memory images and the command that counts them, for the tests of ``esxcore census``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from click.testing import CliRunner, Result

from esxcore.cli import main
from esxcore.contents import page_bytes

PNG = b"\x89PNG\r\n\x1a\n"
WEB = (1, 2, 2, 3, 0, 0)
DB = (1, 4, 4, 4, 0)


def write_image(path: Path | str, tokens: Sequence[int]) -> None:
    """A raw image: equal tokens become equal pages, 0 the zero page."""
    Path(path).write_bytes(page_bytes(np.array(tokens, dtype=np.uint64)).tobytes())


def esxcore_census(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["census", *arguments])


def in_process(*arguments: str | bytes, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """The command as a process of its own, where what a user does is the same."""
    return subprocess.run(
        [sys.executable, "-m", "esxcore", "census", *arguments],
        env=os.environ | environment,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )
