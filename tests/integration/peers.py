"""A server on raw sockets: it can misbehave in every way that a client must survive."""

import os
import socket
import ssl
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

# Does something to a connection, and checks the event between two waits: once it is set, the test is over.
Step = Callable[[socket.socket, threading.Event], None]

# Longest that a connection is kept, should a test go wrong.
_LONGEST_SECONDS = 30.0
_SLICE = 65_536


def say(data: bytes) -> Step:
    return lambda connection, _: connection.sendall(data)


def trickle(data: bytes, seconds: float = 0.05) -> Step:
    """A byte at a time."""

    def step(connection: socket.socket, over: threading.Event) -> None:
        for index in range(len(data)):
            connection.sendall(data[index : index + 1])
            if over.wait(seconds):
                return

    return step


def endlessly(data: bytes, most: int = 2**40) -> Step:
    """Sends the same again and again, until the client leaves, or `most` bytes are sent."""

    def step(connection: socket.socket, over: threading.Event) -> None:
        block = data * (1 + _SLICE // len(data))
        sent = 0
        while sent < most and not over.is_set():
            connection.sendall(block)
            sent += len(block)

    return step


def wait(seconds: float) -> Step:
    return lambda _, over: (over.wait(seconds), None)[1]


def hang(connection: socket.socket, over: threading.Event) -> None:
    """Sends nothing more, until the client leaves."""
    while not over.is_set():
        with suppress(TimeoutError):
            connection.settimeout(0.1)
            if not connection.recv(_SLICE):
                return


def close(connection: socket.socket, _: threading.Event) -> None:
    raise ConnectionAbortedError


def reset(connection: socket.socket, _: threading.Event) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise ConnectionAbortedError


def not_tls(connection: socket.socket, _: threading.Event) -> None:
    """Sends bytes in a TLS connection that are not TLS records."""
    with _raw(connection) as raw:
        raw.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 9)
    raise ConnectionAbortedError


def _raw(connection: socket.socket) -> socket.socket:
    """The TCP connection under a TLS connection, duplicated so that another thread can use it."""
    return socket.socket(fileno=os.dup(connection.fileno()))


class Peer:
    """Answers by path: the first part of it names a row, and a row has its answers in order; the last one stays."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.rows: dict[str, Sequence[Sequence[Step]]] = {}
        self.requests: Counter[str] = Counter()
        self.sent: dict[str, list[bytes]] = {}
        # These rows' requests are not read beyond their head.
        self.unread: set[str] = set()
        self._tls = tls
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed: the test is over
                return
            thread = threading.Thread(target=self._serve, args=[connection], daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with suppress(OSError), _raw(connection) as raw:
                    raw.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(_LONGEST_SECONDS)
        with suppress(OSError), connection if self._tls is None else self._secure(connection) as opened:
            with self._lock:
                self._open.add(opened)
            try:
                self._answer(opened)
            finally:
                with self._lock:
                    self._open.discard(opened)

    def _secure(self, connection: socket.socket) -> socket.socket:
        assert self._tls
        with connection:
            return self._tls.wrap_socket(connection, server_side=True)

    def _answer(self, connection: socket.socket) -> None:
        while not self._over.is_set():
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                byte = connection.recv(1)
                if not byte:
                    return
                head += byte
            row = head.split()[1].decode().strip("/").partition("/")[0]
            with self._lock:
                number = self.requests[row]
                self.requests[row] += 1
            if row not in self.unread:
                self._read_body(connection, row, head)
            answers = self.rows[row]
            for step in answers[min(number, len(answers) - 1)]:
                step(connection, self._over)
                connection.settimeout(_LONGEST_SECONDS)

    def _read_body(self, connection: socket.socket, row: str, head: bytes) -> None:
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        left = int(lengths[0].partition(b":")[2]) if lengths else 0
        body = b""
        while left > len(body):
            data = connection.recv(min(_SLICE, left - len(body)))
            if not data:
                raise ConnectionAbortedError
            body += data
        with self._lock:
            self.sent.setdefault(row, []).append(head + body)


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Peer]:
    peer = Peer(tls)
    thread = threading.Thread(target=peer.accept)
    thread.start()
    try:
        yield peer
    finally:
        peer.stop()
        thread.join()


def answer(status: str = "200 OK", body: bytes = b"", *headers: str, keep: bool = False) -> bytes:
    """A whole answer. The connection is used again for others only when it is to be kept."""
    return head(*headers, f"Content-Length: {len(body)}", status=status, keep=keep) + body


def head(*headers: str, status: str = "200 OK", keep: bool = False) -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, *([] if keep else ["Connection: close"]), "", ""]
    return "\r\n".join(lines).encode("latin-1")
