"""A headless Chromium that a test looks at a page through, without a network.

Only servers on this machine can be reached.
"""

import base64
import json
import os
import pathlib
import select
import shutil
import subprocess
import time
from typing import Any

NAMES = "chromium", "chromium-browser", "google-chrome", "chrome"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--remote-debugging-pipe",
)
PATIENCE = 60.0  # Seconds until a page has to be as it is waited for.


def executable() -> str | None:
    """Returns the path of the browser; None if there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """A page in a browser of its own, driven by the DevTools protocol.

    Args:
        profile: An empty folder for the browser's files.

    Attributes:
        events: What the browser told, such as `Network.requestWillBeSent`.
    """

    def __init__(self, profile: pathlib.Path):
        ours, self._write = os.pipe()
        self._read, theirs = os.pipe()

        def connect():
            # The protocol's file descriptors. Duplicates first: these may be 3 or 4.
            copies = os.dup(ours), os.dup(theirs)
            for number, copy in zip((3, 4), copies, strict=True):
                os.dup2(copy, number)

        self._process = subprocess.Popen(
            [executable(), *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            preexec_fn=connect,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(ours)
        os.close(theirs)
        self._number, self._rest, self._session = 0, b"", None
        self.events: list[dict] = []
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(x["targetId"] for x in targets if x["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def close(self):
        """Ends the browser."""
        self._process.kill()
        self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def call(self, method: str, **params: Any) -> dict:
        """Calls a method of the protocol and returns its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def open(self, url: str, width: int = 1300, height: int = 900, dark: bool = False):
        """Opens a page in a window of some size and waits until it is loaded."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {
            "name": "prefers-color-scheme",
            "value": "dark" if dark else "light",
        }
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        """Returns the value of JavaScript on the page."""
        result = self.call(
            "Runtime.evaluate",
            expression=expression,
            returnByValue=True,
            awaitPromise=True,
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, expression: str):
        """Waits until JavaScript is true on the page."""
        end = time.monotonic() + PATIENCE
        while not self.evaluate(f"Boolean({expression})"):
            assert time.monotonic() < end, f"Not within {PATIENCE} s: {expression}"
            time.sleep(0.05)

    def screenshot(self) -> bytes:
        """Returns the window as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])

    def print(self) -> bytes:
        """Returns the page as PDF."""
        result = self.call("Page.printToPDF", printBackground=True)
        return base64.b64decode(result["data"])

    def _receive(self) -> dict:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], PATIENCE)
            assert ready, f"The browser has been silent for {PATIENCE} s."
            part = os.read(self._read, 1 << 20)
            assert part, "The browser has ended."
            self._rest += part
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)
