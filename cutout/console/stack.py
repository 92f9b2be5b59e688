"""The stack that the console shows, and how it is found again."""

import threading
import time
from collections.abc import Callable

from cutout.operations.deployment import Deployment

# What was found is kept this long. A page full of pictures that AWS refuses would have it found for each.
KEPT_SECONDS = 5.0


class Stack:
    """Finds the deployment when it is first needed, and again after `forget`.

    A session of boto3 keeps the credentials that it has read: those of a new login are used only once the stack was
    found again.
    """

    def __init__(self, name: str, find: Callable[[], Deployment]) -> None:
        self.name = name
        self._find = find
        self._lock = threading.Lock()
        self._deployed: Deployment | None = None
        self._found = 0.0
        self._endings: list[Callable[[], None]] = []

    @property
    def deployed(self) -> Deployment:
        """Raises Failure, ClientError and BotoCoreError while it cannot be found."""
        with self._lock:
            if self._deployed is None:
                self._deployed = self._find()
                self._found = time.monotonic()
            return self._deployed

    def forget(self) -> None:
        """Call after AWS has refused or not answered a call."""
        with self._lock:
            if time.monotonic() - self._found >= KEPT_SECONDS:
                self._deployed = None

    def at_end(self, end: Callable[[], None]) -> None:
        """Have `end` called when the console ends, such as to stop a thread that is in the middle of something."""
        self._endings.append(end)

    def end(self) -> None:
        """Call when nothing is asked of the console any more."""
        for end in self._endings:
            end()
