"""Chromium without a window, led through its debugging pipe: https://chromedevtools.github.io/devtools-protocol/"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SECONDS = 60  # for a page to come to what is waited for
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--no-proxy-server",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe",
)  # fmt: skip


class Refused(Exception):
    """The browser does not do what it was asked, such as in a page that is just being left, or begins to load."""


def find() -> str | None:
    """The program, where there is one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """One page at a time, in a window of one size."""

    def __init__(self, ask: Callable[..., dict[str, Any]]) -> None:
        self._ask = ask

    def open(self, url: str) -> None:
        """Returns when the page and its pictures are loaded."""
        self._ask("Page.navigate", url=url)
        self.wait_until("document.readyState === 'complete'")
        assert self.run("location.href") == url

    def run(self, script: str) -> Any:  # noqa: ANN401  # JSON
        """What the script comes to, awaited."""
        answer = self._ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise Refused(answer["exceptionDetails"]["exception"]["description"])
        return answer["result"].get("value")

    def wait_until(self, condition: str) -> None:
        ends = time.monotonic() + SECONDS
        while True:
            with suppress(Refused):
                if self.run(condition):
                    return
            assert time.monotonic() < ends, f"not within {SECONDS} s: {condition}"
            time.sleep(0.05)

    def resize(self, width: int, height: int) -> None:
        self._ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    @property
    def text(self) -> str:
        """As a person reads it."""
        return str(self.run("document.body.innerText"))

    @property
    def broken_pictures(self) -> list[str]:
        """The addresses of those that the browser cannot show, also where nobody has scrolled yet."""
        found: list[str] = self.run("""Promise.all([...document.images].map(async picture => {
            picture.loading = "eager";
            try { await picture.decode(); return null; } catch { return picture.src; }
        })).then(broken => broken.filter(Boolean))""")
        return found

    @property
    def is_too_wide(self) -> bool:
        return bool(self.run("document.documentElement.scrollWidth > innerWidth"))


@contextmanager
def page(program: str, profile: Path) -> Iterator[Page]:
    """`profile` is an empty folder of its own."""
    (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
    arguments = [program, *OPTIONS, f"--user-data-dir={profile}", "about:blank"]
    with (
        os.fdopen(ours_out, "wb", buffering=0) as out,
        os.fdopen(ours_in, "rb") as answers,
        subprocess.Popen(
            ["bash", "-c", f'exec 3<&{theirs_in} 4>&{theirs_out}; exec "$@"', "bash", *arguments],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as browser,
    ):
        os.close(theirs_in)
        os.close(theirs_out)
        number = 0

        def ask(method: str, session: str | None = None, **parameters: object) -> dict[str, Any]:
            nonlocal number
            number += 1
            request = {"id": number, "method": method, "params": parameters}
            out.write(json.dumps(request | ({"sessionId": session} if session else {})).encode() + b"\0")
            while (answer := json.loads(_read(answers))).get("id") != number:
                pass  # an event
            if "error" in answer:
                raise Refused(answer["error"]["message"])
            found: dict[str, Any] = answer["result"]
            return found

        try:
            target = ask("Target.createTarget", url="about:blank")["targetId"]
            session = ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            yield Page(lambda method, **parameters: ask(method, session, **parameters))
        finally:
            browser.kill()


def _read(answers: Any) -> bytes:  # noqa: ANN401  # a file
    """Up to the next zero byte."""
    found = bytearray()
    while byte := answers.read(1):
        if byte == b"\0":
            return bytes(found)
        found += byte
    raise EOFError("the browser has ended")
