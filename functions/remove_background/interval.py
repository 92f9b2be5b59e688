"""The time between two requests: longer after each 429, shorter again with each success.

As in TCP's CUBIC (RFC 9438), it returns quickly until it is near the interval that the last 429 came at, then slowly,
and the faster the longer no other 429 comes. So a single 429, of a request that arrived a little early, costs little;
and where the API permits less than the account was said to have, or limits how many requests run at once, few of them
end in a 429.
"""

import threading

LONGER, LONGEST = 1.05, 16.0  # after each 429; at most so many times the shortest
QUICKLY = 0.02  # the part by which a success shortens it, until it is as near to the refused interval as
NEAR = 1.03
SLOWLY = 0.0003  # that part from there on, doubled
DOUBLED_AFTER = 25  # for each so many successes in a row


class Interval:
    """Of one execution environment; `shortest`, in seconds, is never gone below."""

    def __init__(self, shortest: float) -> None:
        self._shortest = shortest
        self._lock = threading.Lock()
        self._refused = 0.0
        self._successes = 0  # since the last 429
        self.seconds = shortest

    def lengthen(self) -> None:
        """A request was answered 429."""
        with self._lock:
            self._refused, self._successes = self.seconds, 0
            self.seconds = min(self._shortest * LONGEST, self.seconds * LONGER)

    def shorten(self) -> None:
        """A request succeeded."""
        with self._lock:
            self._successes += 1
            near = self._refused * NEAR
            if self.seconds > near:
                shorter = max(near, self.seconds * (1 - QUICKLY))
            else:
                shorter = self.seconds * (1 - min(QUICKLY, SLOWLY * 2 ** (self._successes / DOUBLED_AFTER)))
            self.seconds = max(self._shortest, shorter)
