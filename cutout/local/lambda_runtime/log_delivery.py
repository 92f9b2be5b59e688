"""Delivers what functions print to CloudWatch Logs: a moment later, many lines per call, as Lambda does."""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

DELIVER_SECONDS = 0.5
MOST_LINES = 10_000  # waiting lines, as many as PutLogEvents accepts; more than that are lost

Event: TypeAlias = Mapping[str, int | str]  # what PutLogEvents accepts


class LogDelivery:
    """`put` is called with a log group, a stream and its events, always from the same thread."""

    def __init__(self, put: Callable[[str, str, Sequence[Event]], None]) -> None:
        self._put = put
        self._lines: deque[tuple[str, str, Event]] = deque(maxlen=MOST_LINES)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="log-delivery")
        self._thread.start()

    def add(self, group: str, stream: str, line: str) -> None:
        self._lines.append((group, stream, {"timestamp": int(time.time() * 1000), "message": f"{line}\n"}))

    def stop(self) -> None:
        """Returns when everything that was added is delivered."""
        self._stopped.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stopped.wait(DELIVER_SECONDS):
            self._deliver()
        self._deliver()

    def _deliver(self) -> None:
        streams = defaultdict(list)
        for _ in range(len(self._lines)):
            group, stream, event = self._lines.popleft()
            streams[group, stream].append(event)
        for (group, stream), events in streams.items():
            # In order even if the clock was set back.
            self._put(group, stream, sorted(events, key=lambda event: event["timestamp"]))
