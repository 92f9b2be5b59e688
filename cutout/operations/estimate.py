"""Estimates the time until all uploads have ended, from how many had ended at each look."""

# Assume that the rate falls when nothing has ended for this many times the longest wait so far.
PATIENCE = 2


class Estimate:
    """The count rises in bursts, so the rate is measured from the first rise to the last one.

    `total` is how many there are, `most_per_second` what the stack's rate limiter lets through. Times are those of
    time.monotonic().
    """

    def __init__(self, total: int, most_per_second: float | None = None) -> None:
        self._total = total
        self._most_per_second = most_per_second
        self.restart()

    def restart(self) -> None:
        """Call when work stops or resumes: earlier progress says nothing about what follows."""
        self._first: tuple[float, int] | None = None
        self._last: tuple[float, int] | None = None
        self._risen_at = self._longest = 0.0  # when a rise was seen, and the longest time between two

    def note(self, now: float, ended: int, began: float | None = None) -> None:
        """Call after a look at all uploads that started at `began`, with how many have ended."""
        if ended <= (self._last[1] if self._last else 0):
            return
        self._last = (now if began is None else (began + now) / 2), ended  # the mean time of the looks
        if self._first is None:
            self._first = self._last
        else:
            self._longest = max(self._longest, now - self._risen_at)
        self._risen_at = now

    def rate(self, now: float) -> float | None:
        """Uploads that end per second; None until two rises have been seen."""
        first, last = self._first, self._last
        if first is None or last is None or last[0] <= first[0]:
            return None
        seen = (last[1] - first[1]) / (last[0] + self._standstill(now) - first[0])
        return min(seen, self._most_per_second or seen)

    def seconds_left(self, now: float) -> float | None:
        """None until some have ended. Uses the rate that the stack allows until the real one is known."""
        rate, last = self.rate(now) or self._most_per_second, self._last
        if rate is None or last is None:
            return None
        return max(0.0, last[0] + self._standstill(now) + (self._total - last[1]) / rate - now)

    def _standstill(self, now: float) -> float:
        """How much longer than usual nothing has ended."""
        return max(0.0, now - self._risen_at - PATIENCE * self._longest)
