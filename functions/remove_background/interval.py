"""The time between two requests: longer after each 429, shorter again with each success.

As in TCP's CUBIC (RFC 9438), it returns quickly until it is near the interval at which the 429s began, then slowly, and
the faster the longer no other 429 comes. So a single 429, of a request that arrived a little early, costs little;
and where the API permits less than the account was said to have, or limits how many requests run at once, few of them
end in a 429.
"""

import threading

LONGER, LONGEST = 1.05, 16.0  # after each 429; at most so many times the shortest
QUICKLY = 0.02  # the part by which a success shortens it, until it is near what was refused
NEAR = 1.03  # times the refused interval
SLOWLY, FASTER = 0.0003, 2 ** (1 / 25)  # that part from there on, and by how much it grows with each success


class Interval:
    """Of one execution environment; `shortest`, in seconds, is never gone below."""

    def __init__(self, shortest: float) -> None:
        self._shortest = shortest
        self._lock = threading.Lock()
        self._refused, self._in_a_row = 0.0, False  # by the first 429 of a row
        self._part = QUICKLY  # by which the next success shortens it, near what was refused
        self.seconds = shortest

    def lengthen(self) -> None:
        """A request was answered 429."""
        with self._lock:
            if not self._in_a_row:
                self._refused = self.seconds
            self._in_a_row, self._part = True, SLOWLY
            self.seconds = min(self._shortest * LONGEST, self.seconds * LONGER)

    def shorten(self) -> None:
        """A request succeeded."""
        with self._lock:
            self._in_a_row = False
            near = self._refused * NEAR
            if self.seconds > near:
                shorter = max(near, self.seconds * (1 - QUICKLY))
            else:
                shorter = self.seconds * (1 - self._part)
                self._part = min(QUICKLY, self._part * FASTER)
            self.seconds = max(self._shortest, shorter)
