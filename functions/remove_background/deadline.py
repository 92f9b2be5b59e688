"""The time that an invocation has left."""

import time

from .errors import OutOfTime


class Deadline:
    """Moment at which the work on an upload must be over, in seconds from now.

    `reserve` is the share of all that time that is kept back for what must still follow.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends = time.monotonic() + seconds

    def remaining(self, *, reserve: float = 0) -> float:
        """Seconds left before the reserve is touched. Raises OutOfTime when there are none."""
        left = self.left(reserve=reserve)
        if left <= 0:
            raise OutOfTime("The invocation had too little time left for this upload.")
        return left

    def left(self, *, reserve: float = 0) -> float:
        """Seconds left before the reserve is touched; it has been when they are none or less."""
        return self._ends - time.monotonic() - reserve * self._seconds
