"""HTTP connections to Pixelcut: made safely, shared by all threads, never repeating a request by themselves.

A read timeout starts again with each byte, so that a slow peer could hold up an invocation until it is killed. Within
`call()`, each read and each send keeps to what is left of the deadline instead.
"""

import http.client
import io
import ipaddress
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from http.cookiejar import DefaultCookiePolicy
from typing import Any, TypeAlias

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from . import tls
from .deadline import Deadline

CONNECT_SECONDS = 5.0
# A server closes an idle connection after about a minute. An environment that was frozen meanwhile did not see it
# happen, and would send its next request, which may be a paid one, into a connection that is dead.
IDLE_SECONDS = 30.0
CHUNK_BYTES = 65_536

# All that the layers of HTTP raise. Not all of it becomes an error of requests: a host whose label is too long is
# urllib3's, a redirect that is not UTF-8 is Python's.
FAILURES = (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError)

# Only a connection that could not be opened is retried: the request has not left yet.
_CONNECT_AGAIN_ONCE = urllib3.Retry(total=None, connect=1, read=False, redirect=False, status=False, other=False)


Check: TypeAlias = Callable[[], object]


class PrivateAddressError(OSError):
    """The host's address is not a public one."""


class Call:
    """What a thread is fetching: `sent` once the server may have received any of its request."""

    def __init__(self, deadline: Deadline, reserve: float, check: Check | None) -> None:
        self._deadline = deadline
        self._reserve = reserve
        self._check = check
        self.sent = False

    @property
    def is_over(self) -> bool:
        return self._deadline.left(reserve=self._reserve) <= 0

    def begin(self) -> None:
        """Call before anything is sent. Raises what `check` does, and TimeoutError when the deadline has passed."""
        if not self.sent and self._check:
            self._check()
            self.limit(None)
        self.sent = True

    def limit(self, seconds: float | None) -> float:
        """The seconds that a step may take. Raises TimeoutError when the deadline has passed."""
        left = self._deadline.left(reserve=self._reserve)
        if left <= 0:
            raise TimeoutError("The deadline has passed.")
        return left if seconds is None else min(seconds, left)

    def check(self) -> None:
        """Raises TimeoutError when the deadline has passed."""
        self.limit(None)


_CALL: ContextVar[Call | None] = ContextVar("call", default=None)


@contextmanager
def call(deadline: Deadline, *, reserve: float, check: Check | None = None) -> Iterator[Call]:
    """Hold what this thread sends and receives to a deadline.

    `check` is called when it is connected and about to send: it raises if the request may not begin any more.
    """
    current = Call(deadline, reserve, check)
    token = _CALL.set(current)
    try:
        yield current
    finally:
        _CALL.reset(token)


def read(response: requests.Response) -> Iterator[bytes]:
    """The body as it arrives: `iter_content` would wait until a whole chunk is there."""
    while chunk := response.raw.read1(CHUNK_BYTES, decode_content=True):
        yield chunk


def _limit(seconds: float | None) -> float | None:
    current = _CALL.get()
    return current.limit(seconds) if current else seconds


class _Reader(io.RawIOBase):
    """The raw stream of a socket, each read of which keeps to the deadline and to the socket's timeout."""

    def __init__(self, stream: io.RawIOBase, connection: socket.socket) -> None:
        self._stream = stream
        self._connection = connection
        self._seconds = connection.gettimeout()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401  # a buffer has no type before Python 3.12
        self._connection.settimeout(_limit(self._seconds))
        return self._stream.readinto(buffer)

    def close(self) -> None:
        self._stream.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, connection: socket.socket, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(connection, *args, **kwargs)
        self.fp: io.BufferedReader = io.BufferedReader(_Reader(self.fp.detach(), connection))

    def _read_status(self) -> tuple[str, int, str]:
        """http.client passes over a 100 only, and would take a 103 for the answer that comes after it."""
        version, status, reason = super()._read_status()  # type: ignore[misc]  # private: a test watches over it
        is_interim = http.HTTPStatus.SWITCHING_PROTOCOLS < status < http.HTTPStatus.OK
        return version, http.HTTPStatus.CONTINUE if is_interim else status, reason


class _Connection(HTTPConnection):
    response_class = _Response
    public_only = False

    def _new_conn(self) -> socket.socket:
        """Connect within one timeout, however many addresses the host has: urllib3 starts it again for each."""
        ends = time.monotonic() + float(_limit(self.timeout) or CONNECT_SECONDS)
        try:
            addresses = _resolve(self._dns_host.strip("[]"), self.port, ends - time.monotonic())
            return self._connect_to_any(addresses, ends)
        except PrivateAddressError:
            raise
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "The connection timed out.") from error
        except OSError as error:
            raise NewConnectionError(self, f"The connection failed: {error}") from error

    def _connect_to_any(self, addresses: "list[_Address]", ends: float) -> socket.socket:
        failure: OSError = PrivateAddressError("The host's address is not a public one.")
        for family, kind, protocol, _, address in addresses:
            if self.public_only and not _is_public(address[0]):
                continue
            seconds = ends - time.monotonic()
            if seconds <= 0:
                raise TimeoutError
            connection = socket.socket(family, kind, protocol)
            try:
                for option in self.socket_options or ():
                    connection.setsockopt(*option)
                connection.settimeout(seconds)
                connection.connect(address)
                connection.settimeout(_limit(self.timeout))  # of the TLS handshake
            except OSError as error:
                connection.close()
                failure = error
            else:
                return connection
        raise failure

    def send(self, data: Any) -> None:  # noqa: ANN401  # as http.client has it: urllib3 passes bytes
        if self.sock is None:
            self.connect()
        if current := _CALL.get():
            current.begin()
        left = memoryview(data)
        while left:
            # Not the timeout of the connection: it is the one for connecting.
            self.sock.settimeout(_limit(None) or self.timeout)
            left = left[self.sock.send(left) :]


class _HTTPSConnection(_Connection, HTTPSConnection):
    pass


class _PublicHTTPSConnection(_HTTPSConnection):
    public_only = True


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


class _PublicHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _PublicHTTPSConnection


_Address = tuple[int, int, int, str, Any]


def _resolve(host: str, port: int, seconds: float) -> list[_Address]:
    """The addresses of a host. `getaddrinfo` has no timeout: a slow name server holds up a thread of its own."""
    found: Future[list[_Address]] = Future()

    def ask() -> None:
        try:
            found.set_result(list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
        except (OSError, ValueError) as error:
            found.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    return found.result(seconds)


def _is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address)
    return (getattr(ip, "ipv4_mapped", None) or ip).is_global


class _Adapter(HTTPAdapter):
    def __init__(self, context: ssl.SSLContext, *, public_only: bool, connections: int) -> None:
        self._context = context
        self._public_only = public_only
        super().__init__(pool_maxsize=connections, max_retries=_CONNECT_AGAIN_ONCE)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # passed on as they come
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)
        self.poolmanager.pool_classes_by_scheme = (
            {"https": _PublicHTTPSPool} if self._public_only else {"http": _HTTPPool, "https": _HTTPSPool}
        )


class _Session(requests.Session):
    def get_redirect_target(self, _: requests.Response) -> None:
        """None: redirects are followed, or refused, by the caller. requests would read their bodies whole first."""


class Connections:
    """Two sessions: `api` reaches the configured API wherever it is, `public` only https on public addresses."""

    def __init__(self, *, threads: int, context: ssl.SSLContext = tls.CONTEXT) -> None:
        # Below ERROR, urllib3 logs the path and query of what it fetches.
        logging.getLogger("urllib3").setLevel(logging.ERROR)
        self.api = _session(_Adapter(context, public_only=False, connections=threads), "https://", "http://")
        self.public = _session(_Adapter(context, public_only=True, connections=threads), "https://")
        self._used = time.time()

    def refresh(self) -> None:
        """Call at the start of an invocation: drops the connections that may have died since the last one."""
        now = time.time()  # not the monotonic clock: that one may stand still while the environment is frozen
        if now - self._used > IDLE_SECONDS:
            self.api.close()
            self.public.close()
        self._used = now


def _session(adapter: HTTPAdapter, *schemes: str) -> requests.Session:
    session = _Session()
    session.trust_env = False  # no proxy, no .netrc: what is checked here is what is connected to
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # none from one upload's answer to the next
    session.adapters.clear()
    for scheme in schemes:
        session.mount(scheme, adapter)
    return session
