"""Serves the console on this machine's loopback address."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from waitress.server import create_server

from cutout.console.app import make_app
from cutout.console.changes import Changes
from cutout.console.safety import ADDRESS, Gate
from cutout.console.stack import Stack

_THREADS = 16  # pictures take their time
_CONNECTIONS = 1000  # browsers keep theirs open; waitress would stop at 100


@contextmanager
def serve(
    stack: Stack, port: int, changes: Changes, announce: Callable[[str], None], *, read_only: bool
) -> Iterator[Callable[[], None]]:
    """Yields what serves until it is interrupted. Raises OSError if the port is taken."""
    with socket.create_server((ADDRESS, port)) as listening:
        port = listening.getsockname()[1]
        gate = Gate(port, announce, read_only=read_only)
        app = make_app(stack, gate, changes, read_only=read_only)
        server = create_server(
            app,
            sockets=[listening],
            threads=_THREADS,
            connection_limit=_CONNECTIONS,
            ident=None,
            clear_untrusted_proxy_headers=True,
        )
        announce(gate.address)
        try:
            yield server.run
        finally:
            server.close()
