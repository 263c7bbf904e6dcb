"""A page in headless Chromium, looked at as a person would: what text it shows, what its pixels are.

Chromium's DevTools protocol over a pair of pipes (`--remote-debugging-pipe`): JSON messages, each ended by a zero byte.
Nothing but the browser itself is needed, and no port is opened.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import io
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

WINDOW = (1600, 1000)  # CSS pixels; a common reading-room laptop, and room for a 768-pixel page at full size
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # containers run as root; only pages of this machine are opened
    "--use-angle=swiftshader",  # WebGL in software: no machine needs a graphics card
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    f"--window-size={WINDOW[0]},{WINDOW[1]}",
)
LEAF = """(words) => [...document.querySelectorAll('body *')].filter(e => !e.closest('script,style')
  && [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.includes(words))
  && e.getBoundingClientRect().width > 0)"""
"""Visible elements with `words` in a text of their own."""


class BrowserError(RuntimeError):
    """Chromium is missing, ended, or does not answer."""


class Page:
    """One page, driven; every wait has a limit."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._buffer = b""
        self._messages = 0
        self._session: str | None = None
        self.faults: list[str] = []  # what the page's scripts threw

    # -------------------------------------------------------------- the protocol
    def call(self, method: str, *, limit_s: float = 60, **parameters: Any) -> dict[str, Any]:
        """One command and its answer; events in between are dropped, exceptions of the page noted."""
        self._messages += 1
        message: dict[str, Any] = {"id": self._messages, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + limit_s
        while True:
            answer = self._next(until, method)
            if answer.get("method") == "Runtime.exceptionThrown":
                self.faults.append(json.dumps(answer["params"]["exceptionDetails"])[:400])
            if answer.get("id") == self._messages:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']['message']}")
                return dict(answer["result"])

    def _next(self, until: float, what: str) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise BrowserError(f"Chromium did not answer {what} in time.")
            part = os.read(self._from, 1 << 20)
            if not part:
                raise BrowserError(f"Chromium ended during {what}.")
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(message))

    def attach(self) -> None:
        """Open the page in which everything happens."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Runtime.enable")
        self.resize(*WINDOW)

    # -------------------------------------------------------------- what a person does
    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, as JSON."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise BrowserError(f"{expression[:80]}: {result['exceptionDetails'].get('text')}")
        return result["result"].get("value")

    def text(self) -> str:
        """The text that the page displays."""
        return str(self.evaluate("document.body ? document.body.innerText : ''"))

    def wait_for(self, what: str, expression: str, *, limit_s: float = 90) -> Any:
        """The first truthy value of `expression`; fails with `what` when it does not come in time."""
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            if value := self.evaluate(expression):
                return value
            time.sleep(0.5)
        raise AssertionError(f"waited {limit_s} s in vain for: {what}")

    def box(self, words: str) -> tuple[float, float, float, float] | None:
        """(x, y, width, height) of the first visible element with `words` in it, scrolled into view."""
        found = self.evaluate(
            f"(() => {{ const e = ({LEAF})({json.dumps(words)})[0]; if (!e) return null;"
            " e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect();"
            " return [r.x, r.y, r.width, r.height]; })()"
        )
        return tuple(found) if found else None

    def click(self, words: str, *, times: int = 1, limit_s: float = 60) -> None:
        """Click on the element with `words` in it, as soon as it is there."""
        self.wait_for(f"{words!r} on the page", f"({LEAF})({json.dumps(words)}).length", limit_s=limit_s)
        box = self.box(words)
        assert box, f"{words!r} went away"
        x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
        for count in range(1, times + 1):
            for kind in ("mousePressed", "mouseReleased"):
                self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=count)

    def click_if_there(self, words: str) -> None:
        if self.box(words):
            self.click(words)

    def bottom_of(self, words: str) -> float:
        """Where the element with `words` in it ends, in pixels from the top of the window as it is scrolled now."""
        return float(self.evaluate(f"({LEAF})({json.dumps(words)})[0].getBoundingClientRect().bottom"))

    def resize(self, width: int, height: int) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def point_away(self) -> None:
        """The mouse into a corner, so that no hint covers the page."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=WINDOW[0] - 2, y=WINDOW[1] - 2)

    def picture(self, clip: tuple[float, float, float, float] | None = None) -> Image.Image:
        """What is displayed, or the part (x, y, width, height) of it."""
        more: dict[str, Any] = {}
        if clip:
            more["clip"] = {**dict(zip(("x", "y", "width", "height"), clip, strict=True)), "scale": 1}
        data = self.call("Page.captureScreenshot", format="png", **more)["data"]
        return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")


@contextlib.contextmanager
def chromium(folder: Path) -> Iterator[Page]:
    """A page in a headless Chromium with its profile and log in `folder`. Raises BrowserError without Chromium."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        raise BrowserError("Chromium is missing on this machine: install the Debian package chromium.")
    folder.mkdir(parents=True, exist_ok=True)
    (read, to_browser), (from_browser, write) = os.pipe(), os.pipe()
    # Chromium reads from 3 and writes to 4; from numbers above 9 neither redirection can tread on the other.
    high_read, high_write = (fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (read, write))
    redirected = f'exec "$@" 3<&{high_read} 4>&{high_write} {high_read}<&- {high_write}>&-'
    line = ["bash", "-c", redirected, "chromium", program, *FLAGS, "--remote-debugging-pipe"]
    with (folder / "chromium.log").open("w") as log:
        process = subprocess.Popen(
            [*line, f"--user-data-dir={folder / 'profile'}", "about:blank"],
            pass_fds=(high_read, high_write),
            stdout=log,
            stderr=log,
        )
    for fd in (read, write, high_read, high_write):
        os.close(fd)
    page = Page(to_browser, from_browser)
    try:
        page.attach()
        yield page
    finally:
        os.close(to_browser)  # Chromium ends when its pipe does
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        os.close(from_browser)
