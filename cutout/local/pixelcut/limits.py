"""How the stand-in counts an account's requests. Pixelcut says how many it allows, and not how it counts them."""

from collections import deque
from typing import Literal

CountedBy = Literal["sliding_window", "fixed_window", "token_bucket"]


class RequestLimit:
    """Of a number of requests a second; what is refused counts for nothing. Times are in seconds.

    A request that arrived before one that is counted already counts as if they had come together, and so may be
    admitted where it would have been refused in its turn.
    """

    def __init__(self) -> None:
        self._latest = float("-inf")
        self._recent: deque[float] = deque()  # when the requests of the last second came
        self._second, self._in_second = -1, 0
        self._filled_at, self._tokens = float("-inf"), 0.0

    def admits(self, limit: int, counted_by: CountedBy, now: float) -> bool:
        self._latest = now = max(now, self._latest)
        match counted_by:
            case "sliding_window":
                return self._within_the_last_second(limit, now)
            case "fixed_window":
                return self._within_this_second(limit, now)
            case "token_bucket":
                return self._takes_a_token(limit, now)

    def _within_the_last_second(self, limit: int, now: float) -> bool:
        while self._recent and self._recent[0] <= now - 1:
            self._recent.popleft()
        if len(self._recent) >= limit:
            return False
        self._recent.append(now)
        return True

    def _within_this_second(self, limit: int, now: float) -> bool:
        if self._second != int(now):
            self._second, self._in_second = int(now), 0
        if self._in_second >= limit:
            return False
        self._in_second += 1
        return True

    def _takes_a_token(self, limit: int, now: float) -> bool:
        """The bucket holds the tokens of one second."""
        self._tokens = min(limit, self._tokens + (now - self._filled_at) * limit)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
