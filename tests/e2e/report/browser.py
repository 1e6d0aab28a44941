"""Headless Chromium over the WebDriver protocol, with nothing but the standard library."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
]


def missing_browser() -> str:
    """Return why there is no browser to test with, or nothing."""
    absent = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"needs {' and '.join(absent)} (Debian: chromium, chromium-driver)" if absent else ""


class Browser:
    """One page of one browser."""

    def __init__(self, session: str) -> None:
        self.session = session

    def open(self, page: Path | str) -> None:
        """Open a file or an address."""
        _call(f"{self.session}/url", {"url": page if isinstance(page, str) else page.as_uri()})

    def run(self, script: str, *arguments: object) -> Any:
        """Return what the script returns."""
        return _call(f"{self.session}/execute/sync", {"script": script, "args": arguments})

    def devtools(self, command: str, **parameters: object) -> Any:
        return _call(f"{self.session}/goog/cdp/execute", {"cmd": command, "params": parameters})

    def resize(self, width: int, height: int) -> None:
        """Show the page as a device of this size would."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    def prefer(self, scheme: str) -> None:
        """Ask for the light or the dark scheme."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.devtools("Emulation.setEmulatedMedia", features=features)

    def wait_for(self, condition: str, timeout_seconds: float = 60) -> None:
        """Wait until a condition in JavaScript holds."""
        deadline = time.monotonic() + timeout_seconds
        while not self.run(f"return Boolean({condition})"):
            assert time.monotonic() < deadline, f"not within {timeout_seconds} s: {condition}; {self.console()}"
            time.sleep(0.05)

    def press(self, key: str, code: int, text: str = "", *, shift: bool = False) -> None:
        """Press and release a key, named as in ``KeyboardEvent.key``; ``code`` is its Windows key code."""
        for kind in ("keyDown", "keyUp"):
            self.devtools(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                text=text if kind == "keyDown" else "",
                windowsVirtualKeyCode=code,
                modifiers=8 if shift else 0,
            )

    def type(self, text: str) -> None:
        """Type into the element that has the focus."""
        self.devtools("Input.insertText", text=text)

    def console(self) -> list[str]:
        """Return the messages of the console since the last call."""
        return [entry["message"] for entry in _call(f"{self.session}/se/log", {"type": "browser"})]


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start a browser with an empty profile, and end it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        driver = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL)
        try:
            root = f"http://127.0.0.1:{port}"
            _wait(f"{root}/status")
            options = {"args": [*FLAGS, f"--user-data-dir={profile}"], "binary": shutil.which("chromium")}
            wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            opened = _call(f"{root}/session", {"capabilities": {"alwaysMatch": wanted}})
            browser = Browser(f"{root}/session/{opened['sessionId']}")
            try:
                yield browser
            finally:
                _call(browser.session, method="DELETE")
        finally:
            driver.terminate()
            driver.wait(timeout=10)


def _call(address: str, body: object = None, method: str = "POST") -> Any:
    data = json.dumps(body).encode() if method == "POST" else None
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"}, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as answer:
        return json.load(answer)["value"]


def _wait(address: str, timeout_seconds: float = 20) -> None:
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            _call(address, method="GET")
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
