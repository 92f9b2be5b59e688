"""Estimates the time until all uploads have ended, from how many had ended at each look."""

# Assume that the rate falls when nothing has ended for this many times the longest wait so far.
PATIENCE = 2


class Estimate:
    """The count rises in bursts, so the rate is measured from the first rise to the last one.

    Until there are two, work is taken to go on at `most_per_second`, which the stack's rate limiter lets through.
    `total` is how many there are. Times are those of time.monotonic().
    """

    def __init__(self, total: int, most_per_second: float | None = None) -> None:
        self._total = total
        self._most_per_second = most_per_second
        self.restart()

    def restart(self) -> None:
        """Call when work stands still, or goes on: what was before tells nothing of what comes."""
        self._seen = 0
        self._first: tuple[float, int] | None = None
        self._last: tuple[float, int] | None = None
        self._risen_at = self._longest = 0.0  # when a rise was seen, and the longest time between two

    def see(self, ended: int) -> None:
        """Call when some have been looked at, with how many are known to have ended."""
        self._seen = ended

    def note(self, now: float, ended: int, moment: float | None = None) -> None:
        """Call when all have been looked at, with how many had ended at the `moment`, by default now."""
        self._seen = max(self._seen, ended)
        if ended <= (self._last[1] if self._last else 0):
            return
        self._last = (now if moment is None else moment), ended
        if self._first is None:
            self._first, since = self._last, self._last[0]
        else:
            since = self._risen_at
        self._longest = max(self._longest, now - since)
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
        if rate is None or not self._seen:
            return None
        if last is None:
            return (self._total - self._seen) / rate
        return max(0.0, last[0] + self._standstill(now) + (self._total - last[1]) / rate - now)

    def _standstill(self, now: float) -> float:
        """How much longer than usual nothing has ended."""
        return max(0.0, now - self._risen_at - PATIENCE * self._longest)
