"""HTTP connections to Pixelcut: made safely, shared by all threads, never repeating a request by themselves."""

import ipaddress
import logging
import ssl
import time
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool

from . import tls

CONNECT_SECONDS = 5.0
# A server closes an idle connection after about a minute. An environment that was frozen meanwhile did not see it
# happen, and would send its next request, which may be a paid one, into a connection that is dead.
IDLE_SECONDS = 30.0

# Only a connection that could not be opened is tried again: the request has not left yet.
_CONNECT_AGAIN_ONCE = urllib3.Retry(total=None, connect=1, read=False, redirect=False, status=False, other=False)


class PrivateAddressError(OSError):
    """The host's address is not a public one."""


class _PublicHTTPSConnection(HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        # The address that was really connected to: a name can resolve to another one the next moment.
        address = ipaddress.ip_address(self.sock.getpeername()[0])
        if not (getattr(address, "ipv4_mapped", None) or address).is_global:
            self.close()
            raise PrivateAddressError("The host's address is not a public one.")


class _PublicHTTPSConnectionPool(HTTPSConnectionPool):
    ConnectionCls = _PublicHTTPSConnection


class _Adapter(HTTPAdapter):
    def __init__(self, context: ssl.SSLContext, *, public_only: bool, connections: int) -> None:
        self._context = context
        self._public_only = public_only
        super().__init__(pool_maxsize=connections, max_retries=_CONNECT_AGAIN_ONCE)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # passed on as they come
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)
        if self._public_only:
            self.poolmanager.pool_classes_by_scheme = {"https": _PublicHTTPSConnectionPool}


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
    session = requests.Session()
    session.trust_env = False  # no proxy, no .netrc: what is checked here is what is connected to
    session.adapters.clear()
    for scheme in schemes:
        session.mount(scheme, adapter)
    return session


def was_sent(error: requests.RequestException) -> bool:
    """Whether the server may have received the request that ended in this error."""
    if isinstance(error, requests.ConnectTimeout):
        return False
    cause = error.args[0] if error.args else None
    return not (
        isinstance(cause, urllib3.exceptions.MaxRetryError)
        and isinstance(cause.reason, urllib3.exceptions.NewConnectionError | urllib3.exceptions.SSLError)
    )
