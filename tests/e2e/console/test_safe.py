"""What the browser gives away of the console to others on this machine."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

from tests.e2e.console.conftest import Console

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext


def test_another_server_of_this_machine_learns_nothing(
    console: Console, open_browser: "Callable[..., BrowserContext]"
) -> None:
    """Browsers send cookies to all ports of a host. A page of that server is led to by the console's own tab."""
    heard: list[str] = []

    class Listener(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(f"{self.path}\n{self.headers}")
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Listener) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            page = console.enter(open_browser())
            page.evaluate("address => { location.href = address }", f"http://127.0.0.1:{server.server_port}/led")
            page.wait_for_url("**/led")
            page.goto(f"http://127.0.0.1:{server.server_port}/typed")
        finally:
            server.shutdown()
    told = "".join(heard)
    assert "/led" in told
    assert "/typed" in told
    assert "cutout_console" not in told
    assert console.url.rpartition("/")[2] not in told
