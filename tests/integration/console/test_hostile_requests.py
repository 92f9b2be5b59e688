"""Requests that other pages, other programs and guessers send to the console: none passes."""

import http.client
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cutout.console import connections
from cutout.console.app import make_app
from cutout.console.changes import Changes
from cutout.console.safety import Gate
from cutout.console.server import serving
from cutout.console.stack import Stack
from cutout.failures import Failure


@dataclass
class Console:
    port: int
    addresses: list[str]
    changes: Path

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> tuple[int, dict[str, str]]:
        """The status and the headers. Exactly these headers are sent, beside the body's length."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            if body or method == "POST":
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            answer.read()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}
        finally:
            connection.close()

    def enter(self) -> str:
        """The cookie of a browser that was let in."""
        path = self.addresses[-1].removeprefix(f"http://{self.host}")
        status, headers = self.ask("GET", path, {"Host": self.host})
        assert status == 303
        return headers["set-cookie"].split(";")[0]


def _no_stack() -> Any:  # noqa: ANN401
    raise Failure("There is no stack cutout.")


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    yield from _serve(tmp_path_factory.mktemp("console"), read_only=False)


@pytest.fixture(scope="module")
def reading_console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    yield from _serve(tmp_path_factory.mktemp("reading_console"), read_only=True)


def _serve(folder: Path, *, read_only: bool) -> Iterator[Console]:
    addresses: list[str] = []
    log = folder / "console.log"
    stack, changes = Stack("cutout", _no_stack), Changes(log, "cutout")
    with serving(stack, 0, changes, addresses.append, read_only=read_only) as port:
        yield Console(port, addresses, log)


OWN = "http://127.0.0.1:{port}"
# What a request differs in from one of the console's own pages; None takes a header away.
FOREIGN_HOSTS = [
    "evil.example",
    "evil.example:{port}",
    "127.0.0.1.evil.example:{port}",
    "localhost.evil.example:{port}",
    "127.0.0.1",
    "127.0.0.1:1",
    "0.0.0.0:{port}",
    "[::1]:{port}",
    "127.1:{port}",
    "2130706433:{port}",
    "user@127.0.0.1:{port}",
    "127.0.0.1:{port}, evil.example",
    "127.0.0.1:{port}@evil.example",
    "",
]
FOREIGN_SENDERS: list[dict[str, str | None]] = [
    {"Origin": "http://evil.example", "Sec-Fetch-Site": None},
    {"Origin": "null", "Sec-Fetch-Site": None},
    {"Origin": "https://127.0.0.1:{port}", "Sec-Fetch-Site": None},
    {"Origin": "http://127.0.0.1:1", "Sec-Fetch-Site": None},
    {"Origin": "http://127.0.0.1:{port}.evil.example", "Sec-Fetch-Site": None},
    {"Origin": "", "Sec-Fetch-Site": None},
    {"Origin": None, "Sec-Fetch-Site": "cross-site"},
    {"Origin": None, "Sec-Fetch-Site": "same-site"},
    {"Origin": None, "Sec-Fetch-Site": "none"},
    {"Origin": None, "Sec-Fetch-Site": ""},
    {"Origin": None, "Sec-Fetch-Site": "same-origin, cross-site"},
    {"Origin": OWN, "Sec-Fetch-Site": "cross-site"},
    {"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"},
    {"Origin": None, "Sec-Fetch-Site": None},
    {"Origin": None, "Sec-Fetch-Site": None, "Referer": OWN},
]
FOREIGN_READERS: list[dict[str, str | None]] = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
]
WRONG_COOKIES = ["", "{name}=", "{name}=guessed", "{name}=%00", "other={value}", "{name}={value}x", "{name}=é"]


def _paths(method: str) -> list[str]:
    """Of all views that take this method, but for the door."""
    with tempfile.TemporaryDirectory() as folder:
        gate, changes = Gate(1, print, read_only=False), Changes(Path(folder) / "console.log", "cutout")
        rules = make_app(Stack("cutout", _no_stack), gate, changes, read_only=False).url_map.iter_rules()
        return sorted(rule.rule for rule in rules if method in (rule.methods or ()) and rule.endpoint not in _OPEN)


_OPEN = ("_enter", "static")  # to everybody, with the right address
PAGES = _paths("GET")
CHANGES = _paths("POST")
READING = {"/cutouts/renew", "/cutouts/zip/chosen"}  # though by POST


def _own_headers(console: Console, cookie: str) -> dict[str, str]:
    return {
        "Host": console.host,
        "Cookie": cookie,
        "Origin": OWN.format(port=console.port),
        "Sec-Fetch-Site": "same-origin",
    }


def _with(headers: dict[str, str], changes: dict[str, str | None], port: int) -> dict[str, str]:
    headers = dict(headers)
    for name, value in changes.items():
        headers.pop(name, None)
        if value is not None:
            headers[name] = value.format(port=port)
    return headers


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_another_host_is_refused(console: Console, host: str) -> None:
    cookie = console.enter()
    headers = _own_headers(console, cookie) | {"Host": host.format(port=console.port)}

    for method in ("GET", "POST"):
        status, answered = console.ask(method, "/", headers)

        assert status in (400, 421)
        assert "set-cookie" not in answered


def test_another_host_cannot_use_up_the_address(console: Console) -> None:
    path = console.addresses[-1].removeprefix(f"http://{console.host}")

    assert console.ask("GET", path, {"Host": f"evil.example:{console.port}"})[0] == 421

    assert console.ask("GET", path, {"Host": console.host})[0] == 303


@pytest.mark.parametrize("sender", FOREIGN_SENDERS, ids=str)
@pytest.mark.parametrize("path", CHANGES)
def test_another_sender_changes_nothing(console: Console, sender: dict[str, str | None], path: str) -> None:
    headers = _with(_own_headers(console, console.enter()), sender, console.port)

    assert console.ask("POST", path, headers, b"reason=x")[0] == 403
    assert not console.changes.read_text()


@pytest.mark.parametrize("reader", FOREIGN_READERS, ids=str)
@pytest.mark.parametrize("path", PAGES)
def test_another_page_reads_nothing(console: Console, reader: dict[str, str | None], path: str) -> None:
    headers = _with({"Host": console.host, "Cookie": console.enter()}, reader, console.port)

    status, answered = console.ask("GET", path, headers)

    assert status == 403
    assert answered["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("cookie", WRONG_COOKIES)
@pytest.mark.parametrize("path", PAGES)
def test_nobody_passes_without_the_cookie(console: Console, cookie: str, path: str) -> None:
    name, value = console.enter().split("=", 1)
    headers = _own_headers(console, cookie.format(name=name, value=value).encode().decode("latin-1"))

    assert console.ask("GET", path, headers)[0] == 401


@pytest.mark.parametrize("token", ["", "guessed", "%00", "%F0%9F%98%80", "a" * 10_000])
def test_a_guessed_token_does_not_open(console: Console, token: str) -> None:
    status, headers = console.ask("GET", f"/enter?token={token}", {"Host": console.host})

    assert status == 401
    assert "set-cookie" not in headers


def test_an_address_opens_one_browser(console: Console) -> None:
    used = console.addresses[-1]
    path = used.removeprefix(f"http://{console.host}")
    console.enter()

    assert console.ask("GET", path, {"Host": console.host})[0] == 401
    assert console.addresses[-1] != used
    console.enter()


def test_head_does_not_use_up_the_address(console: Console) -> None:
    """Programs that look at a link before a person opens it ask with HEAD."""
    path = console.addresses[-1].removeprefix(f"http://{console.host}")

    assert console.ask("HEAD", path, {"Host": console.host})[0] == 401

    assert console.ask("GET", path, {"Host": console.host})[0] == 303


def test_the_cookie_is_kept_from_scripts_and_other_sites(console: Console) -> None:
    path = console.addresses[-1].removeprefix(f"http://{console.host}")

    cookie = console.ask("GET", path, {"Host": console.host})[1]["set-cookie"]

    assert {"HttpOnly", "SameSite=Strict"} <= set(cookie.split("; "))


def test_the_folder_that_the_cookie_is_for_is_told_to_nobody(console: Console) -> None:
    """Browsers send a cookie to all ports of this machine, where other users may listen."""
    path = console.addresses[-1].removeprefix(f"http://{console.host}")
    folder = path.partition("/enter")[0]

    cookie = console.ask("GET", path, {"Host": console.host})[1]["set-cookie"]

    assert f"Path={folder}/" in cookie.split("; ")
    assert len(folder) > 20
    for outside in ("/", "/none", "/enter", "/static/none", "/letters"):
        with socket.create_connection(("127.0.0.1", console.port)) as asking:
            asking.sendall(f"GET {outside} HTTP/1.0\r\nHost: {console.host}\r\n\r\n".encode())
            answer = b"".join(iter(lambda: asking.recv(65_536), b""))
        assert b" 40" in answer
        assert folder.encode() not in answer


def test_another_user_of_the_machine_cannot_enter(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sees the address in the list of programs, as one of them opens it in the browser."""
    path = console.addresses[-1].removeprefix(f"http://{console.host}")
    monkeypatch.setattr(connections, "_USER", 1000)
    monkeypatch.setattr(connections, "_find_owners", lambda *_: iter([1001]))

    assert console.ask("GET", path, {"Host": console.host})[0] == 403

    monkeypatch.setattr(connections, "_find_owners", lambda *_: iter([1000]))
    assert console.ask("GET", path, {"Host": console.host})[0] == 303


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells")
@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::ffff:127.0.0.1")], ids=["v4", "v6"]
)
@pytest.mark.parametrize("is_half_closed", [False, True])
def test_linux_tells_whose_a_connection_is(family: int, host: str, is_half_closed: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(family) as client:
        port = server.getsockname()[1]
        client.connect((host, port))
        if is_half_closed:
            client.shutdown(socket.SHUT_WR)

        assert set(connections._find_owners(client.getsockname()[1], port)) == {os.getuid()}


@pytest.mark.parametrize("path", CHANGES)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_only_post_changes_something(console: Console, path: str, method: str) -> None:
    headers = _own_headers(console, console.enter())

    status, answered = console.ask(method, path, headers)

    assert status in (404, 405) or (method == "OPTIONS" and status == 200)
    assert "access-control-allow-origin" not in answered
    assert not console.changes.read_text()


@pytest.mark.parametrize("path", sorted({*CHANGES} - READING))
def test_a_console_that_only_reads_changes_nothing(reading_console: Console, path: str) -> None:
    headers = _own_headers(reading_console, reading_console.enter())

    assert reading_console.ask("POST", path, headers)[0] == 403
    assert not reading_console.changes.read_text()


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static/%2fetc%2fpasswd",
        "/static/vendor/../../safety.py",
        "//evil.example/static/console.css",
        "/static/\\..\\app.py",
    ],
)
def test_only_static_files_are_given_out(console: Console, path: str) -> None:
    assert console.ask("GET", path, _own_headers(console, console.enter()))[0] in (400, 404)


def test_a_body_that_is_too_large_is_refused(console: Console) -> None:
    headers = _own_headers(console, console.enter()) | {"Content-Type": "application/x-www-form-urlencoded"}

    assert console.ask("POST", "/pause", headers, b"reason=" + b"x" * 2_000_000)[0] == 413


def test_every_answer_has_the_strict_headers(console: Console) -> None:
    headers = _own_headers(console, console.enter())
    for path in (*PAGES, "/none", "/static/console.css", "/enter"):
        _, answered = console.ask("GET", path, headers)

        assert "unsafe" not in answered["content-security-policy"]
        assert answered["content-security-policy"].startswith("default-src 'none'")
        assert answered["x-content-type-options"] == "nosniff"
        assert answered["referrer-policy"] == "same-origin"


def test_the_console_listens_on_this_machine_only(console: Console) -> None:
    for address in {str(found[4][0]) for found in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}:
        if address != "127.0.0.1":
            with pytest.raises(OSError, match="refused"):
                socket.create_connection((address, console.port), timeout=2)
