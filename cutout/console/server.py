"""Serves the console on this machine's loopback address."""

import logging
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from waitress import wasyncore
from waitress.server import create_server
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from cutout.console.app import make_app
from cutout.console.changes import Changes
from cutout.console.safety import ADDRESS, Gate
from cutout.console.stack import Stack
from cutout.console.upload import MOST_LIST_BYTES

_THREADS = 16  # pictures take their time
_CONNECTIONS = 1000  # browsers keep theirs open; waitress would stop at 100
# waitress stores a body before anybody asks who sends it. The list of names of an upload may be the largest.
_MOST_BODY_BYTES = MOST_LIST_BYTES
_REQUEST_ENDS_SECONDS = 1


@contextmanager
def serving(
    stack: Stack, port: int, changes: Changes, announce: Callable[[str], None], *, read_only: bool
) -> Iterator[int]:
    """Serves on `port` (0: a free one) until it is left, and yields the port. Raises OSError if it is taken.

    `announce` is called with each address that opens the console in a browser, see `Gate`.
    """
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # that a request waits is not worth a warning
    with socket.create_server((ADDRESS, port)) as listening:
        port = listening.getsockname()[1]
        folder = f"/{secrets.token_urlsafe(16)}"
        gate = Gate(port, announce, read_only=read_only, folder=folder)
        app = make_app(stack, gate, changes, read_only=read_only)
        sockets: dict[int, Any] = {}
        server: Any = create_server(
            DispatcherMiddleware(app, {folder: app}),
            map=sockets,
            sockets=[listening],
            threads=_THREADS,
            connection_limit=_CONNECTIONS,
            max_request_body_size=_MOST_BODY_BYTES,
            asyncore_use_poll=True,  # select takes no more than 1,024 files
            ident=None,
        )
        loop = threading.Thread(target=server.run, name="console")
        loop.start()
        try:
            announce(gate.address)
            yield port
        finally:
            server.task_dispatcher.shutdown(timeout=_REQUEST_ENDS_SECONDS)
            with suppress(OSError):  # the loop may have closed the trigger with the rest already
                server.trigger.pull_trigger(lambda: wasyncore.close_all(sockets))
            loop.join()
            stack.end()
