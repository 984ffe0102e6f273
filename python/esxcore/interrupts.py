"""Ctrl-C pressed more than once: the first ends what goes on, the others do not tear up its end.

People press it again while workers are called off or files are written. Neither may stop half-way,
so meanwhile it is only noted. Only the main thread is told of Ctrl-C, and only where nobody else
has a handler for it; everywhere else nothing is changed here.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class CtrlC:
    """What becomes of Ctrl-C in a block; made by `ctrl_c`.

    Attributes
    ----------
    came : int
        How often it was pressed.
    """

    def __init__(self, notice: str | None) -> None:
        self.came = 0
        self._notice = notice
        self._is_held = False

    def hold(self) -> None:
        """From now on it is only noted, and the notice is printed once."""
        self._is_held = True

    def answer(self) -> None:
        """From now on it ends what goes on, once.

        For whoever sees that something goes on all the same: code of others may swallow it.
        """
        self._is_held = False

    def _pressed(self, _number: int, _frame: object) -> None:
        self.came += 1
        if not self._is_held:
            self._is_held = True
            raise KeyboardInterrupt
        if self._notice is not None:
            with suppress(OSError):  # not by print, which this may have interrupted
                os.write(2, f"{self._notice}\n".encode())
            self._notice = None


@contextmanager
def ctrl_c(notice: str | None = None) -> Iterator[CtrlC]:
    """Has Ctrl-C end what goes on in the block once; what comes after that is only noted.

    Parameters
    ----------
    notice : str, optional
        A line for stderr when it comes and is only noted.
    """
    pressed = CtrlC(notice)
    if not _is_ours():
        yield pressed
        return
    before = signal.signal(signal.SIGINT, pressed._pressed)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _is_ours() -> bool:
    is_main = threading.current_thread() is threading.main_thread()
    return is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
