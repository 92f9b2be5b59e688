"""How long it takes until all uploads have ended, told from how many had when they were last looked at."""

# So many times longer than ever before nothing may be seen to end before the rate is taken to fall.
PATIENCE = 2


class Estimate:
    """Work is seen in bursts, so a burst tells no rate: it is taken from the first rise of the count to the last one.

    `total` is how many there are, `most_per_second` what the stack's rate limiter lets through. Times are those of
    time.monotonic().
    """

    def __init__(self, total: int, most_per_second: float | None = None) -> None:
        self._total = total
        self._most_per_second = most_per_second
        self.restart()

    def restart(self) -> None:
        """Call when work stands still, or goes on: what was before tells nothing of what comes."""
        self._first: tuple[float, int] | None = None
        self._last: tuple[float, int] | None = None
        self._risen_at = self._longest = 0.0  # when a rise was seen, and the longest time between two

    def note(self, now: float, ended: int, began: float | None = None) -> None:
        """Call when all have been looked at, from `began` on, with how many have ended."""
        if ended <= (self._last[1] if self._last else 0):
            return
        self._last = (now if began is None else (began + now) / 2), ended  # on average they were looked at then
        if self._first is None:
            self._first = self._last
        else:
            self._longest = max(self._longest, now - self._risen_at)
        self._risen_at = now

    def rate(self, now: float) -> float | None:
        """How many end in a second; None until two rises have been seen."""
        first, last = self._first, self._last
        if first is None or last is None or last[0] <= first[0]:
            return None
        seen = (last[1] - first[1]) / (last[0] + self._standstill(now) - first[0])
        return min(seen, self._most_per_second or seen)

    def seconds_left(self, now: float) -> float | None:
        """None until some have ended. At the rate that the stack allows, until theirs is known."""
        rate, last = self.rate(now) or self._most_per_second, self._last
        if rate is None or last is None:
            return None
        return max(0.0, last[0] + self._standstill(now) + (self._total - last[1]) / rate - now)

    def _standstill(self, now: float) -> float:
        """For how long nothing has been seen to end, beyond what is usual."""
        return max(0.0, now - self._risen_at - PATIENCE * self._longest)
