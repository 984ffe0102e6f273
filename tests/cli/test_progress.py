"""Progress bars: what they show on a terminal, and that they show nothing elsewhere."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest

from esxcore.cli.progress import counted, shown


class Terminal(io.StringIO):
    """Somebody who watches."""

    def isatty(self) -> bool:
        return True

    def text(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue())


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Terminal]:
    def begin() -> Terminal:  # in the test itself: pytest changes stderr before it
        terminal = Terminal()
        monkeypatch.setattr("sys.stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "100")
        return terminal

    return begin


def test_work_is_counted(watch: Callable[[], Terminal]) -> None:
    terminal = watch()
    with counted("runs") as show:
        assert show is not None
        show(2, 3)
    assert "2 of 3 runs" in terminal.text()


def test_columns_are_told_in_words(watch: Callable[[], Terminal]) -> None:
    terminal = watch()
    columns = ("{task.description}", "bytes", "speed", "bar", "{task.fields[left]}")
    with shown(*columns, total=None, description="fig1", left="") as show:
        assert show is not None
        show(2**20, 2**21, left="soon")
        show(2**20, 2**21, description="fig2")
    assert "1.0/2.0 MiB" in terminal.text()
    assert "soon" in terminal.text()
    assert "fig2" in terminal.text()


@pytest.mark.parametrize("nobody", [io.StringIO(), None])
def test_nobody_is_shown_anything(
    nobody: io.StringIO | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", nobody)
    with counted("runs") as show:
        assert show is None
    assert nobody is None or nobody.getvalue() == ""
