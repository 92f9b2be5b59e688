"""What the function does, from its log: how uploads end as it happens, and the counts of the day.

The newest lines are read at each look. Earlier ones, of today or of the time when nobody looked, are read beside them,
a page at each look, the newest first.
"""

import heapq
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from cutout.operations import attempts, logs
from cutout.operations.attempts import LETTER, OUTCOMES, Attempt
from cutout.operations.deployment import Deployment
from cutout.operations.logs import Event, Tail
from remove_background.uploads import Outcome

# Attempts that are kept for those who ask `since`, and the last ends of uploads that are kept for a list.
FEED = 10_000
RECENT = 100
RATE_SECONDS = 120.0
# A rate is not measured over less than this: uploads end in bursts.
LEAST_RATE_SECONDS = 15.0
# At each look the lines of the last minutes count as new; clocks may differ by what is more than they may be late.
NEW_MILLISECONDS = 180_000
# What came while nobody has looked for longer than this is read beside the new lines.
GAP_MILLISECONDS = 120_000
FIRST_WINDOW_MILLISECONDS = 900_000
DAY_MILLISECONDS = 86_400_000

# https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
_METRICS = "($._aws.Timestamp > 0)"
_ENDS = " || ".join(f'($.message = "{outcome}")' for outcome in sorted(OUTCOMES))
METRICS_PATTERN = f"{{ {_METRICS} }}"
ALL_PATTERN = f"{{ {_METRICS} || {_ENDS} }}"
# The metrics that count uploads that have ended.
_ENDED = tuple(outcome.capitalize() for outcome in (*Outcome, LETTER))


class Today(NamedTuple):
    """What the function's metrics say of this day (UTC). Until it `is_complete`, its earlier hours are being read."""

    cutouts: int
    letters: int
    credits: int
    is_complete: bool


@dataclass(slots=True)
class _Unread:
    """Lines from `start` to before `end`, in milliseconds, that are still to be read, in windows from the end."""

    start: int
    end: int
    seen: frozenset[str]  # ids of lines that were read nevertheless
    feeds: bool  # attempts are for those who ask `since`
    window: int = FIRST_WINDOW_MILLISECONDS
    token: str | None = None  # of the next page in this window
    pattern: str = ""

    def next_window(self) -> None:
        self.end = self.window_start
        self.window *= 4

    @property
    def window_start(self) -> int:
        return max(self.start, self.end - self.window)


class Activity:
    """`look` in one thread; the others may ask from any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # of what follows, while it is not AWS that is waited for
        self._feed: deque[Attempt] = deque(maxlen=FEED)
        self._position = 0
        self._recent: list[Attempt] = []  # the newest first
        self._counts: Counter[str] = Counter()  # of the day
        self._ended: list[tuple[int, int]] = []  # when, and how many
        self._day = 0
        self._unread: list[_Unread] = []
        self._tail: Tail | None = None
        self._group: tuple[Deployment, str] | None = None

    def look(self, deployed: Deployment) -> None:
        """Read what is new, and a page of what is older. Raises boto3's errors; then call it again."""
        now = round(time.time() * 1000)
        group = self._find_group(deployed)
        tail = self._find_tail(now)
        events: list[Event] = []
        try:
            events.extend(tail.new(logs.read_lines(deployed, group, tail.start, ALL_PATTERN)))
        finally:  # what came before an error is not given again
            self._take(sorted(events), now, feeds=True)
        tail.skip_to(now - NEW_MILLISECONDS)
        if self._unread:
            self._read_back(deployed, group, self._unread[-1], now)

    @property
    def position(self) -> int:
        """Where those who want what comes from now on begin with `since`."""
        return self._position

    def since(self, position: int) -> tuple[list[Attempt], int]:
        """The attempts that came after this position, in the order in which they came, and the position after them.

        If the position rises by more than there are attempts, so many were forgotten: nobody asked for too long.
        """
        with self._lock:
            forgotten = self._position - len(self._feed)
            return list(islice(self._feed, max(0, position - forgotten), None)), self._position

    def recent(self, number: int) -> list[Attempt]:
        """How the last uploads have ended, the newest first."""
        with self._lock:
            return self._recent[:number]

    @property
    def today(self) -> Today:
        with self._lock:
            return Today(
                cutouts=self._counts["Cutout"],
                letters=self._counts["Letter"],
                credits=self._counts["Credits"],
                is_complete=self._tail is not None and not any(unread.end > self._day for unread in self._unread),
            )

    def rate(self) -> float | None:
        """Uploads that end per second, in the last minutes; None if none has."""
        now = time.time() * 1000
        with self._lock:
            ended = [(moment, number) for moment, number in self._ended if moment > now - RATE_SECONDS * 1000]
        if not ended:
            return None
        seconds = max((now - min(ended)[0]) / 1000, LEAST_RATE_SECONDS)
        return sum(number for _, number in ended) / seconds

    def _find_group(self, deployed: Deployment) -> str:
        if self._group is None or self._group[0] is not deployed:
            self._group = deployed, logs.find_group(deployed, deployed.function)
        return self._group[1]

    def _find_tail(self, now: int) -> Tail:
        with self._lock:
            day = now - now % DAY_MILLISECONDS
            if day != self._day:
                self._day = day
                self._counts.clear()
            start = now - NEW_MILLISECONDS
            if self._tail is None:
                self._tail = Tail(start)
                if day < start:
                    self._unread.append(_Unread(day, start, frozenset(), feeds=False))
            elif start - self._tail.start > GAP_MILLISECONDS:
                missed = max(self._tail.start, start - DAY_MILLISECONDS)
                self._unread.append(_Unread(missed, start, self._tail.seen, feeds=True))
                self._tail.skip_to(start)
            return self._tail

    def _read_back(self, deployed: Deployment, group: str, unread: _Unread, now: int) -> None:
        if unread.token is None:
            wants_attempts = unread.feeds or len(self._recent) < RECENT
            unread.pattern = ALL_PATTERN if wants_attempts else METRICS_PATTERN
        events, token = logs.read_page(
            deployed, group, unread.window_start, end=unread.end, pattern=unread.pattern, token=unread.token
        )
        self._take((event for event in events if event.id not in unread.seen), now, feeds=unread.feeds)
        with self._lock:
            unread.token = token
            if token is None:
                unread.next_window()
                if unread.end <= unread.start:
                    self._unread.remove(unread)

    def _take(self, events: Iterable[Event], now: int, *, feeds: bool) -> None:
        counts: Counter[str] = Counter()
        ended: list[tuple[int, int]] = []
        found: list[Attempt] = []
        for event in events:
            if attempt := attempts.read(event):
                found.append(attempt)
                continue
            metrics = dict(_read_metrics(event))
            if event.time >= self._day:
                counts.update(metrics)
            if number := sum(metrics.get(name, 0) for name in _ENDED):
                ended.append((event.time, number))
        oldest = now - RATE_SECONDS * 1000
        ends = (attempt for attempt in found if attempt.is_last)
        with self._lock:
            self._counts.update(counts)
            self._ended = [(moment, number) for moment, number in (*self._ended, *ended) if moment > oldest]
            self._recent = heapq.nlargest(RECENT, (*self._recent, *ends), key=lambda attempt: attempt.time)
            if feeds:
                self._feed.extend(found)
                self._position += len(found)


def _read_metrics(event: Event) -> Iterator[tuple[str, int]]:
    """The sums of the metrics that are counted here, in a line of CloudWatch's embedded metric format."""
    fields = event.fields or {}
    if "_aws" in fields:
        for name in (*_ENDED, "Credits"):
            values = fields.get(name, 0)
            yield name, round(sum(values) if isinstance(values, list) else values)
