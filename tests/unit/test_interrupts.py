"""Ctrl-C pressed once and again, and workers whose driver is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from esxcore.interrupts import ctrl_c
from esxcore.study.engines import worker


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def test_the_first_ends_what_goes_on_and_the_others_are_noted() -> None:
    with ctrl_c() as pressed:
        with pytest.raises(KeyboardInterrupt):
            press()
        press()
        press()
        assert pressed.came == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        press()


def test_it_can_be_held_from_the_beginning_with_one_notice(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with ctrl_c("saving; it is answered then") as pressed:
        pressed.hold()
        press()
        press()
    assert pressed.came == 2
    assert capfd.readouterr() == ("", "saving; it is answered then\n")


def test_what_was_swallowed_is_answered_again() -> None:
    with ctrl_c() as pressed:
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                press()
            press()
            pressed.answer()


def test_handlers_of_others_and_other_threads_are_left_alone() -> None:
    seen = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    try:
        with ctrl_c() as pressed:
            press()
        assert (len(seen), pressed.came) == (1, 0)
    finally:
        signal.signal(signal.SIGINT, before)

    def elsewhere() -> None:
        with ctrl_c():
            handlers.append(signal.getsignal(signal.SIGINT))

    handlers: list[object] = []
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert handlers == [signal.default_int_handler]


class Ended(BaseException):
    pass


@pytest.mark.parametrize("gone", ["driver", "parent"])
def test_a_worker_ends_when_its_driver_is_gone(gone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(code: int) -> None:
        raise Ended(code)

    done = subprocess.Popen([sys.executable, "-S", "-c", ""])
    done.wait()
    looks = iter([None, None])
    monkeypatch.setattr(worker.os, "_exit", end)
    monkeypatch.setattr(worker.time, "sleep", lambda _: next(looks))
    me, parent = os.getpid(), os.getppid()
    with pytest.raises(Ended):
        worker._watch(*((done.pid, parent) if gone == "driver" else (me, done.pid)))
    # As long as both are there it looks again.
    with pytest.raises((StopIteration, RuntimeError)):
        worker._watch(me, parent)
