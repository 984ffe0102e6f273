"""A headless Chromium, spoken to in its DevTools protocol over two pipes: no port, no library.

Messages are JSON, each ended by a zero byte; Chromium reads them from descriptor 3 and answers on
descriptor 4. What the page logs, throws and asks the network for is kept as it comes.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

PATIENCE_S = 60  # after which Chromium is taken for dead; nothing is asserted about time

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",  # which root cannot have
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--remote-debugging-pipe",
)


def chromium_path() -> str | None:
    """Where Chromium is; None if it is not installed."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


class Page:
    """An open page, and what went wrong in it."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self.errors: list[str] = []
        self.requests: list[str] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)

    def look(self, *, width: int, height: int, scheme: str, phone: bool = False) -> None:
        """Sets the size of the window and whether the user prefers light or dark."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def open(self, url: str) -> None:
        """Goes there and waits until everything is loaded."""
        self.call("Page.navigate", url=url)
        self._browser.wait_for("Page.loadEventFired", self._session)

    def run(self, script: str) -> Any:
        """The value of an expression, awaited if it is a promise."""
        answer = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def screenshot(self, path: Path) -> Path:
        """The window as a PNG file."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))
        return path

    def hear(self, event: dict[str, Any]) -> None:
        """Keeps what an event says has gone wrong."""
        name, said = event["method"], event["params"]
        if name == "Network.requestWillBeSent":
            self.requests.append(said["request"]["url"])
        elif name == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(said["exceptionDetails"]))
        elif name == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning", "assert"):
            self.errors.append(json.dumps(said["args"]))
        elif name == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
            self.errors.append(json.dumps(said["entry"]))


class Browser:
    """A running Chromium, on both ends of its pipes."""

    def __init__(self, process: subprocess.Popen[bytes], to: int, back: int) -> None:
        self._process, self._to, self._back = process, to, back
        self._rest = b""
        self._number = 0
        self._pages: dict[str, Page] = {}
        self._events: list[dict[str, Any]] = []

    @classmethod
    @contextmanager
    def started(cls, folder: Path) -> Iterator[Self]:
        """Chromium while the block runs; what it writes goes into `folder`."""
        path = chromium_path()
        assert path is not None
        theirs_in, to = os.pipe()
        back, theirs_out = os.pipe()
        # Away from 3 and 4, which become Chromium's ends in the child.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (theirs_in, theirs_out)]
        for end in (theirs_in, theirs_out):
            os.close(end)

        def place() -> None:
            for end, number in zip(ends, (3, 4), strict=True):
                os.dup2(end, number)

        with (folder / "chromium.log").open("wb") as log:
            process = subprocess.Popen(
                [path, *_FLAGS, f"--user-data-dir={folder / 'profile'}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                close_fds=False,  # ours are closed on exec; Chromium's two are not
                preexec_fn=place,  # noqa: PLW1509  (the tests have no threads)
                env=os.environ | {"HOME": str(folder)},
            )
        for end in ends:
            os.close(end)
        try:
            yield cls(process, to, back)
        finally:
            os.close(to)  # upon which it ends
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            os.close(back)

    def page(self) -> Page:
        """An empty page that is listened to."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.call(f"{domain}.enable")
        return page

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Result of a command; what else comes meanwhile is kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                result: dict[str, Any] = answer["result"]
                return result
            self._keep(answer)

    def wait_for(self, method: str, session: str) -> None:
        """Waits for an event of a page, unless it has come already."""
        while True:
            for place, event in enumerate(self._events):
                if (event["method"], event.get("sessionId")) == (method, session):
                    del self._events[: place + 1]
                    return
            self._keep(self._read())

    def _keep(self, event: dict[str, Any]) -> None:
        self._events.append(event)
        page = self._pages.get(event.get("sessionId", ""))
        if page is not None:
            page.hear(event)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._back], [], [], PATIENCE_S)
            piece = os.read(self._back, 2**20) if ready else b""
            assert piece, f"Chromium says nothing more (exit code {self._process.poll()})"
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer
