"""A headless Chromium that tests drive over a pipe (DevTools protocol), without any library."""

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)
KEY_CODES = {
    "Tab": 9, "Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39,
    "ArrowDown": 40,
}  # fmt: skip


class Browser:
    """One tab; everything that happened in it is in ``events``."""

    def __init__(self, write: int, read: int) -> None:
        self._write = write
        self._read = os.fdopen(read, "rb", buffering=0)
        self._rest = b""
        self._ids = itertools.count(1)
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command and its answer."""
        message = {"id": next(self._ids), "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != message["id"]:
            self.events.append(answer)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def open(self, page: Path | str) -> None:
        """Load a page and wait until all of it is there."""
        address = page.resolve().as_uri() if isinstance(page, Path) else page
        self.events.clear()
        self.call("Page.navigate", url=address)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def broken_images(self) -> int:
        """How many cannot be shown; those further down are only loaded when somebody asks."""
        each = "i => (i.loading = 'eager', i.decode().then(() => 0, () => 1))"
        shown = "[...document.images].filter(i => i.hasAttribute('src'))"
        answer = self.call(
            "Runtime.evaluate",
            expression=f"Promise.all({shown}.map({each})).then(all => all.filter(Boolean).length)",
            awaitPromise=True,
            returnByValue=True,
        )
        assert "exceptionDetails" not in answer, answer
        return int(answer["result"]["value"])

    def press(self, key: str) -> None:
        """Press and release a key: one of ``KEY_CODES``, or a character."""
        text = {"text": {"Enter": "\r"}.get(key, key)} if len(key) == 1 or key == "Enter" else {}
        code = KEY_CODES.get(key) or ord(key.upper())
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", **common, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def look(self, *, width: int, height: int = 800, dark: bool = False) -> None:
        """Take the size of a window, and light or dark mode."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 700}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def requests(self) -> list[str]:
        """Addresses that the page asked for, apart from what is inside it."""
        asked = [
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        ]
        return [address for address in asked if not address.startswith("data:")]

    def complaints(self) -> list[str]:
        """Errors and warnings on the console, and uncaught exceptions."""
        found = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
        return [
            json.dumps(event["params"]) for event in self.events if event.get("method") in found
        ]

    def close(self) -> None:
        """Let go of the pipe, which ends the browser."""
        self._read.close()
        os.close(self._write)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            piece = self._read.read(1 << 16)
            assert piece, "the browser is gone"
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        parsed: dict[str, Any] = json.loads(message)
        return parsed


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """Start one with a profile of its own; skips the test where there is none."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("no Chromium here (Debian: apt-get install chromium)")
    their_read, our_write = os.pipe()
    our_read, their_write = os.pipe()
    # The protocol is spoken on descriptors 3 and 4; a shell puts them there.
    command = f'exec "$@" 3<&{their_read} 4>&{their_write}'
    process = subprocess.Popen(
        ["bash", "-c", command, "bash", program, *FLAGS, f"--user-data-dir={profile}"],
        pass_fds=(their_read, their_write),
        stderr=subprocess.DEVNULL,
    )
    os.close(their_read)
    os.close(their_write)
    browser = Browser(our_write, our_read)
    try:
        yield browser
    finally:
        browser.close()
        process.terminate()
        process.wait(timeout=20)
