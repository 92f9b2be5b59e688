"""A slow peer harms only its own upload: each read and each send keeps to the deadline."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from remove_background import connections as connections_module
from remove_background.connections import Connections
from remove_background.deadline import Deadline
from remove_background.errors import Billed, CutoutError, ResultUnavailable, ServiceUnavailable
from remove_background.pixelcut import Pixelcut
from remove_background.results import Results
from tests.integration.peers import Peer, Step, answer, hang, say, serving, trickle, wait

# How late a call may end on a busy machine: less than a peer waits.
SECONDS = 2.0
LATE_SECONDS = 1.0

RESULT_URL = b'{"result_url": "https://assets.example.com/a.png"}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"
SLOW: dict[str, Sequence[Step]] = {
    "no answer": [hang],
    "a status by the byte": [trickle(b"HTTP/1.1 200 OK" + b" " * 5000)],
    "headers by the byte": [say(b"HTTP/1.1 200 OK\r\n"), trickle(b"X-Header: " + b"x" * 5000)],
    "headers without an end": [say(b"HTTP/1.1 200 OK\r\n"), hang],
    "interim answers without an end": [trickle(b"HTTP/1.1 100 Continue\r\n\r\n" * 500, 0.005)],
    "late headers, and no body": [trickle(HEAD, 0.02), hang],
    "a body by the byte": [say(HEAD), trickle(b" " * 5000)],
    "a body that stops": [say(HEAD + b" " * 400), hang],
    "chunks by the byte": [say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), trickle(b"1\r\n \r\n" * 999)],
    "the length of a chunk by the byte": [
        say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        trickle(b"0" * 5000),
    ],
    "a trailer by the byte": [
        say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n \r\n0\r\n"),
        trickle(b"X-Header: " + b"x" * 5000),
    ],
    "a compressed body by the byte": [
        say(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5000\r\n\r\n"),
        trickle(b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + b"\0\0\0\xff\xff" * 900),
    ],
    "a body without a length by the byte": [say(b"HTTP/1.1 200 OK\r\n\r\n"), trickle(b" " * 5000)],
}


def no_slot(_: Deadline) -> AbstractContextManager[None]:
    return nullcontext()


@pytest.fixture(params=["plain", "tls"])
def peer(request: pytest.FixtureRequest, certificate: Path) -> Iterator[Peer]:
    context = None
    if request.param == "tls":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    with serving(context) as running:
        yield running


@pytest.fixture
def connections(certificate: Path) -> Iterator[Connections]:
    connections = Connections(threads=30, context=ssl.create_default_context(cafile=str(certificate)))
    yield connections
    connections.api.close()
    connections.public.close()


def all_at_once(work: Callable[[str], tuple[CutoutError | str, float]]) -> dict[str, tuple[CutoutError | str, float]]:
    ends: dict[str, tuple[CutoutError | str, float]] = {}
    threads = [threading.Thread(target=lambda row=row: ends.update({row: work(row)})) for row in SLOW]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ends


def test_a_slow_service_loses_only_its_own_answer(peer: Peer, connections: Connections) -> None:
    peer.rows = {row.replace(" ", "-"): [steps] for row, steps in SLOW.items()}
    peer.rows["quick"] = [[say(answer("200 OK", RESULT_URL))]]

    def pay(row: str) -> tuple[CutoutError | str, float]:
        started = time.monotonic()
        pixelcut = Pixelcut(connections.api, f"{peer.url}/{row.replace(' ', '-')}", lambda _: "key", no_slot)
        try:
            return pixelcut.remove_background_of_url("https://x", Deadline(SECONDS)), time.monotonic() - started
        except CutoutError as error:
            return error, time.monotonic() - started

    neighbour = threading.Thread(target=lambda: quick.extend(pay("quick") for _ in range(20)))
    quick: list[tuple[CutoutError | str, float]] = []
    neighbour.start()
    ends = all_at_once(pay)
    neighbour.join()
    assert {row: round(seconds, 1) for row, (_, seconds) in ends.items() if seconds > SECONDS + LATE_SECONDS} == {}
    for error, _ in ends.values():
        assert isinstance(error, ServiceUnavailable)
        assert (error.billed, error.counts_as_charge) == (Billed.MAYBE, True)
        assert error.message == "Pixelcut did not answer in time."
    assert {peer.requests[row.replace(" ", "-")] for row in SLOW} == {1}
    assert {end for end, _ in quick} == {"https://assets.example.com/a.png"}


def test_a_slow_host_loses_only_its_own_result(
    peer: Peer, connections: Connections, make_png: Callable[..., bytes]
) -> None:
    peer.rows = {row.replace(" ", "-"): [steps] for row, steps in SLOW.items()}
    peer.rows["quick"] = [[say(answer("200 OK", make_png()))]]

    def fetch(row: str) -> tuple[CutoutError | str, float]:
        started = time.monotonic()
        try:
            url = f"{peer.url}/{row.replace(' ', '-')}/a.png"
            with Results(connections, peer.url).fetch(url, Deadline(SECONDS)):
                return "fetched", time.monotonic() - started
        except CutoutError as error:
            return error, time.monotonic() - started

    neighbour = threading.Thread(target=lambda: quick.extend(fetch("quick") for _ in range(20)))
    quick: list[tuple[CutoutError | str, float]] = []
    neighbour.start()
    ends = all_at_once(fetch)
    neighbour.join()
    assert {row: round(seconds, 1) for row, (_, seconds) in ends.items() if seconds > SECONDS + LATE_SECONDS} == {}
    for error, _ in ends.values():
        assert type(error) is ResultUnavailable
        assert error.billed is Billed.YES
    assert {end for end, _ in quick} == {"fetched"}


def test_a_peer_that_does_not_read_the_image_loses_only_that_upload(peer: Peer, connections: Connections) -> None:
    peer.rows["deaf"] = [[wait(20)]]
    peer.unread.add("deaf")
    started = time.monotonic()
    pixelcut = Pixelcut(connections.api, f"{peer.url}/deaf", lambda _: "key", no_slot)
    with pytest.raises(ServiceUnavailable, match="in time") as caught:
        pixelcut.remove_background_of_image([bytes(1_000_000)] * 20, "jpeg", Deadline(SECONDS))
    assert time.monotonic() - started < SECONDS + LATE_SECONDS
    assert (caught.value.billed, caught.value.counts_as_charge) == (Billed.MAYBE, True)


def test_a_peer_that_reads_slowly_is_waited_for(
    peer: Peer, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow line is not a failure while there is time: connecting and sending have different timeouts."""
    monkeypatch.setattr("remove_background.pixelcut.CONNECT_SECONDS", 0.3)

    def read_late(connection: socket.socket, over: threading.Event) -> None:
        over.wait(0.9)
        while not connection.recv(1_000_000).endswith(b"--\r\n"):
            pass
        connection.sendall(answer("200 OK", RESULT_URL))

    peer.rows["late"] = [[read_late]]
    peer.unread.add("late")
    pixelcut = Pixelcut(connections.api, f"{peer.url}/late", lambda _: "key", no_slot)
    assert pixelcut.remove_background_of_image([bytes(1_000_000)] * 20, "jpeg", Deadline(20))


def test_a_handshake_that_hangs_times_out_before_anything_is_sent(connections: Connections) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ServiceUnavailable) as caught:
            Pixelcut(connections.api, url, lambda _: "key", no_slot).remove_background_of_url("x", Deadline(SECONDS))
        assert time.monotonic() - started < SECONDS + LATE_SECONDS
        assert (caught.value.billed, caught.value.counts_as_charge) == (Billed.NO, False)


def test_a_name_server_that_does_not_answer_is_not_waited_for(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(10) and [])
    started = time.monotonic()
    with pytest.raises(ServiceUnavailable) as caught:
        Pixelcut(connections.api, "https://api.example.com", lambda _: "key", no_slot).remove_background_of_url(
            "x", Deadline(SECONDS)
        )
    over.set()
    assert time.monotonic() - started < SECONDS + LATE_SECONDS
    assert caught.value.billed is Billed.NO


def test_many_silent_addresses_share_one_connect_timeout(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody accepts from this queue, and it is full: the next connection waits.
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as full,
        socket.create_connection(full.getsockname()),
    ):
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", full.getsockname())] * 20
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        monkeypatch.setattr("remove_background.pixelcut.CONNECT_SECONDS", 0.2)
        started = time.monotonic()
        pixelcut = Pixelcut(connections.api, "http://api.example.com", lambda _: "key", no_slot)
        with pytest.raises(ServiceUnavailable) as caught:
            pixelcut.remove_background_of_url("x", Deadline(20))
        assert time.monotonic() - started < 0.2 * 2 + LATE_SECONDS  # it is tried twice
        assert caught.value.billed is Billed.NO


def test_each_thread_has_its_own_deadline(peer: Peer, connections: Connections) -> None:
    peer.rows["late"] = [[wait(SECONDS), say(answer("200 OK", RESULT_URL))]]
    pixelcut = Pixelcut(connections.api, f"{peer.url}/late", lambda _: "key", no_slot)
    with connections_module.call(Deadline(0.1), reserve=0):
        got: list[str] = []
        thread = threading.Thread(target=lambda: got.append(pixelcut.remove_background_of_url("x", Deadline(20))))
        thread.start()
        thread.join()
    assert got == ["https://assets.example.com/a.png"]
