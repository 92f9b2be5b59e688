"""One watcher of the stack for all windows: it asks AWS as often for many as for one, and not while nobody looks."""

import threading
import time
from dataclasses import dataclass

from cutout.console.stack import Stack
from cutout.failures import describe, is_told
from cutout.operations.activity import Activity
from cutout.operations.deployment import Deployment
from cutout.operations.rounds import END_SECONDS, Rounds
from cutout.operations.snapshot import Slow, Snapshot, SnapshotReader, read_slow

ROUND_SECONDS = 1.0
SLOW_ROUND_SECONDS = 2.0
# Rounds become slow when nothing has moved for this long.
REST_SECONDS = 30.0
# How often credits and the age of the oldest upload are asked for.
SLOW_SECONDS = 60.0
# A window that was just opened waits for a snapshot that is not older, as long as its patience lasts.
FRESH_SECONDS = 2.0
# A round that takes longer is told.
LATE_SECONDS = 10.0
MOST_RETRY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Seen:
    """`snapshot` and `slow` are what was read last; `trouble` says why nothing newer was."""

    snapshot: Snapshot | None
    slow: Slow | None
    trouble: str | None
    moves: bool


class Watch:
    """`activity` may be asked from any thread. It goes on only while somebody calls `look`."""

    def __init__(self, stack: Stack) -> None:
        self.activity = Activity()
        self._stack = stack
        self._reader = SnapshotReader(self.activity)
        self._changed = threading.Condition()  # holds the lock of what follows
        self._rounds = Rounds("watch", self._round, ended=self._tell)
        self._slow_thread: threading.Thread | None = None
        # Times of time.monotonic(): of the last movement, and begin of a round, also of one that was answered.
        self._began = self._answered = self._moved = -REST_SECONDS
        self._slow_due = 0.0
        self._wants_everything = False
        self._snapshot: Snapshot | None = None
        self._slow: Slow | None = None
        self._trouble: str | None = None
        self._failures = 0
        stack.at_end(self._end)

    def look(self, *, patience: float = 0) -> Seen:
        """What is known. With patience, in seconds, it waits for something fresh: for a window that was just opened."""
        now = time.monotonic()
        with self._changed:
            if not self._rounds.is_running:
                self._began = now
            self._rounds.look()
            if patience and not self._is_fresh(now):
                self._rounds.wake()
                self._changed.wait_for(lambda: self._is_fresh(now), patience)
            late = time.monotonic() - self._began if self._answered < self._began else 0.0
            trouble = self._trouble
            if late > LATE_SECONDS:
                trouble = "AWS does not answer. The console goes on asking. Look at the network."
            return Seen(self._snapshot, self._slow, trouble, moves=now - self._moved < REST_SECONDS)

    def hurry(self, *, patience: float = 0) -> None:
        """Call when something was changed: the next round comes at once, and others soon.

        With patience it returns when a snapshot has seen the change.
        """
        now = time.monotonic()
        with self._changed:
            self._moved = now
            self._wants_everything = True
            self._rounds.wake()
            self._changed.wait_for(lambda: self._answered >= now or not self._rounds.is_running, patience)

    def _end(self) -> None:
        """The console ends: AWS is not asked any more."""
        self._rounds.end()
        if self._slow_thread:
            self._slow_thread.join(END_SECONDS)

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _is_fresh(self, now: float) -> bool:
        return self._answered >= now - FRESH_SECONDS

    def _round(self) -> float:
        with self._changed:
            self._began = began = time.monotonic()
            everything = self._wants_everything or began - self._moved >= REST_SECONDS
            self._wants_everything = False
        try:
            pause = self._go_round(began, everything=everything)
        except BaseException:
            with self._changed:
                self._answered = began
                self._trouble = "The console has failed: the terminal that it runs in says where."
            raise
        self._rounds.pause(began + ROUND_SECONDS - time.monotonic())  # also where it was woken meanwhile
        return max(0.0, began + pause - time.monotonic())

    def _go_round(self, began: float, *, everything: bool) -> float:
        """Returns for how long to rest afterwards, counted from its begin."""
        try:
            deployed = self._stack.deployed
            snapshot = self._reader.read(deployed, everything=everything)
        except Exception as error:
            if not is_told(error):
                raise
            self._stack.forget()
            with self._changed:
                self._failures += 1
                self._trouble = describe(error)
                self._answered = began
                self._changed.notify_all()
            return min(ROUND_SECONDS * (1 << min(self._failures, 4)), MOST_RETRY_SECONDS)
        with self._changed:
            self._answered, now = began, time.monotonic()
            if snapshot.moves_since(self._snapshot):
                self._moved = now
            self._snapshot, self._trouble, self._failures = snapshot, None, 0
            self._changed.notify_all()
            moves = now - self._moved < REST_SECONDS
        self._begin_slow(deployed, now)
        return ROUND_SECONDS if moves else SLOW_ROUND_SECONDS

    def _begin_slow(self, deployed: Deployment, now: float) -> None:
        """In a thread of its own: Pixelcut may take its time."""
        if now < self._slow_due or (self._slow_thread and self._slow_thread.is_alive()):
            return
        self._slow_due = now + SLOW_SECONDS
        self._slow_thread = threading.Thread(target=self._read_slow, args=(deployed,), name="watch-slow", daemon=True)
        self._slow_thread.start()

    def _read_slow(self, deployed: Deployment) -> None:
        slow = read_slow(deployed)
        with self._changed:
            self._slow = slow
