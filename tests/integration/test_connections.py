"""The function's HTTP connections on real sockets: TLS, private addresses, failed requests."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import requests

from remove_background import connections as connections_module
from remove_background import tls
from remove_background.aws import Clients
from remove_background.connections import IDLE_SECONDS, Connections
from remove_background.deadline import Deadline
from remove_background.errors import (
    Billed,
    CutoutError,
    IntakePaused,
    OutOfTime,
    ResultInvalid,
    ResultUnavailable,
    ServiceUnavailable,
)
from remove_background.pixelcut import Pixelcut
from remove_background.results import FETCH_ATTEMPTS, Results


def no_slot(_: Deadline) -> AbstractContextManager[None]:
    return nullcontext()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"


@dataclass
class Server:
    """Answers each request with the next of `answers`; an empty one closes the connection without an answer."""

    port: int
    answers: list[bytes] = field(default_factory=list)
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(listener.getsockname()[1])

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:  # the listener was closed: the test is over
                    return
                server.connections += 1
                connection.settimeout(10)  # no test may hang here
                with connection:
                    try:
                        with tls.wrap_socket(connection, server_side=True) if tls else connection as secured:
                            answer(secured)
                    except OSError:  # the client went away
                        continue

        def answer(connection: socket.socket) -> None:
            stream = connection.makefile("rb")
            while head := b"".join(takewhile(lambda line: line != b"\r\n", stream)):
                length = next(
                    (line for line in head.lower().splitlines() if line.startswith(b"content-length:")), b":0"
                )
                server.requests.append(head + stream.read(int(length.partition(b":")[2])))
                reply = server.answers.pop(0) if server.answers else b""
                if not reply:
                    return
                connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.fixture
def tls_server(certificate: Path) -> Iterator[Server]:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with serving(tls) as server:
        yield server


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def connections(certificate: Path) -> Iterator[Connections]:
    connections = Connections(threads=2, context=ssl.create_default_context(cafile=str(certificate)))
    yield connections
    connections.api.close()
    connections.public.close()


def pay(connections: Connections, api_url: str, seconds: float = 60) -> str:
    return Pixelcut(connections.api, api_url, lambda _: "key", no_slot).remove_background_of_url(
        "https://x", Deadline(seconds)
    )


def test_the_api_may_be_on_a_private_address_with_tls(tls_server: Server, connections: Connections) -> None:
    tls_server.answers = [OK % (19, b'{"result_url": "u"}')]
    assert pay(connections, f"https://127.0.0.1:{tls_server.port}") == "u"


def test_the_ca_bundle_is_read_once_for_all_connections_to_aws(
    tls_server: Server, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundles: list[object] = []
    read = ssl.SSLContext.load_verify_locations

    def read_and_note(context: ssl.SSLContext, bundle: str, *nothing: None) -> None:
        bundles.append(bundle)
        read(context, bundle, *nothing)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", read_and_note)
    monkeypatch.setattr(tls, "CONTEXT", tls.Context(ssl.PROTOCOL_TLS_CLIENT))
    variables = {"ACCESS_KEY_ID": "testing", "SECRET_ACCESS_KEY": "testing", "DEFAULT_REGION": "us-east-1"}
    variables |= {"ENDPOINT_URL": f"https://127.0.0.1:{tls_server.port}", "CA_BUNDLE": str(certificate)}
    for name, value in variables.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    tls_server.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"] * 3
    clients = Clients(threads=1)
    for _ in range(2):
        clients.dynamodb.get_item(TableName="ledger", Key={"id": {"S": "a"}})
    clients.secrets.get_secret_value(SecretId="key")
    assert (tls_server.connections, bundles) == (3, [str(certificate)])


def test_an_untrusted_certificate_is_refused_before_anything_is_sent(tls_server: Server) -> None:
    with pytest.raises(ServiceUnavailable) as caught:
        pay(Connections(threads=1), f"https://127.0.0.1:{tls_server.port}")
    assert caught.value.billed is Billed.NO
    assert tls_server.requests == []


@pytest.mark.parametrize("host", ["127.0.0.1", "[::ffff:127.0.0.1]"])
def test_a_result_on_a_private_address_is_refused_before_any_request(
    tls_server: Server, connections: Connections, host: str
) -> None:
    results = Results(connections, "https://api.example.com")
    url = f"https://{host}:{tls_server.port}/5ec4e7.png"
    with pytest.raises(ResultInvalid, match="not on a public address") as caught, results.fetch(url, Deadline(60)):
        pass
    assert caught.value.__suppress_context__
    assert tls_server.connections == 0


def test_connections_are_kept(server: Server, connections: Connections) -> None:
    server.answers = [OK % (19, b'{"result_url": "u"}')] * 3
    for _ in range(3):
        connections.refresh()
        pay(connections, f"http://127.0.0.1:{server.port}")
    assert server.connections == 1


def test_connections_that_may_have_died_while_frozen_are_dropped(
    server: Server, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers = [OK % (19, b'{"result_url": "u"}')] * 2
    pay(connections, f"http://127.0.0.1:{server.port}")
    now = time.time() + IDLE_SECONDS + 1
    monkeypatch.setattr("remove_background.connections.time.time", lambda: now)
    connections.refresh()
    pay(connections, f"http://127.0.0.1:{server.port}")
    assert server.connections == 2


def test_a_request_that_may_have_arrived_is_never_sent_again(server: Server, connections: Connections) -> None:
    server.answers = [b""]
    with pytest.raises(ServiceUnavailable) as caught:
        pay(connections, f"http://127.0.0.1:{server.port}")
    assert caught.value.billed is Billed.MAYBE
    assert len(server.requests) == 1


def test_a_truncated_answer_is_not_requested_again(server: Server, connections: Connections) -> None:
    server.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"]
    with pytest.raises(ServiceUnavailable) as caught:
        pay(connections, f"http://127.0.0.1:{server.port}", seconds=0.4)
    assert caught.value.billed is Billed.MAYBE
    assert len(server.requests) == 1


def test_a_connection_that_cannot_be_opened_is_retried_once(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[object] = []

    def refuse(_: socket.socket, address: object) -> None:
        tries.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(ServiceUnavailable) as caught:
        pay(connections, "http://127.0.0.1:9")
    assert caught.value.billed is Billed.NO
    assert len(tries) == 2


def test_a_service_that_does_not_answer_in_time_may_have_billed(server: Server, connections: Connections) -> None:
    server.answers = [b"HTTP/1.1 200 OK\r\n"]  # the headers never end
    with pytest.raises(ServiceUnavailable, match=r"in time|failed") as caught:
        pay(connections, f"http://127.0.0.1:{server.port}", seconds=0.4)
    assert caught.value.billed is Billed.MAYBE


@pytest.mark.parametrize("error", [None, OutOfTime.of_the_day(), IntakePaused("The intake is paused.")])
def test_a_request_that_may_not_begin_once_it_is_connected_is_not_sent(
    server: Server, connections: Connections, monkeypatch: pytest.MonkeyPatch, error: CutoutError | None
) -> None:
    """The day has ended for which its credit is reserved, or the intake was paused, while the name was resolved."""
    server.answers = [OK % (19, b'{"result_url": "u"}')]
    resolve, errors = connections_module._resolve, []

    def resolve_slowly(*asked: Any) -> Any:  # noqa: ANN401
        if error:
            errors.append(error)
        return resolve(*asked)

    def check() -> None:
        for found in errors:
            raise found

    monkeypatch.setattr(connections_module, "_resolve", resolve_slowly)
    pixelcut = Pixelcut(
        connections.api, f"http://127.0.0.1:{server.port}", lambda _: "key", lambda _: nullcontext(check)
    )
    if error:
        with pytest.raises(type(error)) as caught:
            pixelcut.remove_background_of_url("https://x", Deadline(60))
        assert caught.value is error
        assert (caught.value.billed, caught.value.counts_as_charge) == (Billed.NO, False)
    else:
        assert pixelcut.remove_background_of_url("https://x", Deadline(60)) == "u"
    assert len(server.requests) == (error is None)


def test_a_request_whose_deadline_passes_before_it_begins_is_not_sent(
    server: Server, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DynamoDB was slow to say whether the intake is open."""
    monotonic = time.monotonic

    def check() -> None:
        monkeypatch.setattr(time, "monotonic", lambda: monotonic() + 60)

    pixelcut = Pixelcut(
        connections.api, f"http://127.0.0.1:{server.port}", lambda _: "key", lambda _: nullcontext(check)
    )
    with pytest.raises(ServiceUnavailable, match=r"^Pixelcut did not answer in time\.$") as caught:
        pixelcut.remove_background_of_url("https://x", Deadline(60))
    assert (caught.value.billed, caught.value.counts_as_charge) == (Billed.NO, False)
    assert not server.requests


def test_a_request_that_has_begun_is_sent_to_its_end(
    server: Server, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers = [OK % (19, b'{"result_url": "u"}')]
    send, sent = socket.socket.send, []

    def send_slowly(connection: socket.socket, data: bytes, *flags: int) -> int:
        sent.append(len(data))
        return send(connection, data[: max(1, len(data) // 2)], *flags)

    def check() -> None:
        assert not sent

    monkeypatch.setattr(socket.socket, "send", send_slowly)
    pixelcut = Pixelcut(
        connections.api, f"http://127.0.0.1:{server.port}", lambda _: "key", lambda _: nullcontext(check)
    )
    assert pixelcut.remove_background_of_url("https://x", Deadline(60)) == "u"
    assert len(sent) > 1


def test_a_truncated_download_is_retried(
    server: Server, connections: Connections, make_png: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("remove_background.results.READ_SECONDS", 0.3)
    png = make_png()
    cut_short = OK % (len(png) + 9, png)
    server.answers = [cut_short, OK % (len(png), png)]
    url = f"http://127.0.0.1:{server.port}"
    with Results(connections, url).fetch(f"{url}/5ec4e7.png", Deadline(60)) as result:
        assert result.file.read() == png


def test_a_download_that_never_comes_is_unavailable(
    server: Server, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("remove_background.results.READ_SECONDS", 0.1)
    server.answers = [b"HTTP/1.1 200 OK\r\n"] * FETCH_ATTEMPTS
    url = f"http://127.0.0.1:{server.port}"
    with (
        pytest.raises(ResultUnavailable) as caught,
        Results(connections, url).fetch(f"{url}/5ec4e7.png", Deadline(60)),
    ):
        pass
    assert "5ec4e7" not in f"{caught.value!r} {caught.value.__cause__}"
    assert caught.value.__suppress_context__


def test_proxies_and_passwords_of_the_environment_are_ignored(
    server: Server, connections: Connections, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password 5ec4e7")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    server.answers = [OK % (2, b"{}")]
    response = connections.api.get(f"http://127.0.0.1:{server.port}/", timeout=5)
    assert response.status_code == requests.codes.ok
    assert b"Authorization" not in server.requests[0]
