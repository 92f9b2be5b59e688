"""One TLS context for all connections, to AWS and to Pixelcut, that reads the CA bundle once."""

import ssl
import threading
from typing import Any


class Context(ssl.SSLContext):
    """Reads no bundle twice: urllib3 would read it again for every connection, 20 ms of CPU each."""

    def __init__(self, *_: object) -> None:
        self._reading = threading.Lock()
        self._read: set[tuple[Any, ...]] = set()

    def load_verify_locations(self, *bundle: Any) -> None:  # noqa: ANN401  # passed on as it comes
        with self._reading:
            if bundle not in self._read:
                super().load_verify_locations(*bundle)
                self._read.add(bundle)


CONTEXT = Context(ssl.PROTOCOL_TLS_CLIENT)
