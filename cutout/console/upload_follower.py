"""Learns what has become of the uploads of this page, in a thread that goes on while somebody looks."""

import threading
import time

from cutout.console.stack import Stack
from cutout.console.watch import Seen, Watch
from cutout.failures import describe, is_told
from cutout.operations.endings import is_idle
from cutout.operations.files import File
from cutout.operations.upload_watch import UploadWatch

ROUND_SECONDS = 0.25
REST_SECONDS = 1.0
RETRY_SECONDS = 5.0
# A window that is seen asks more often than this.
NOBODY_SECONDS = 12.0


class Follower:
    """`trouble` says why nothing is learned at the moment."""

    def __init__(self, stack: Stack, watch: Watch) -> None:
        self._stack = stack
        self._watch = watch
        self._uploads = UploadWatch()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._asked = 0.0
        self._position = 0
        self.trouble: str | None = None

    def add(self, file: File) -> None:
        """A file that was sent."""
        if not self._uploads.is_waiting:
            self._watch.hurry()  # it may be at rest
        self._uploads.add(file)
        self._begin()

    def look(self) -> Seen:
        """Call as long as somebody looks."""
        self._begin()
        return self._watch.look()

    @property
    def is_waiting(self) -> bool:
        return self._uploads.is_waiting

    def _begin(self) -> None:
        with self._lock:
            self._asked = time.monotonic()
            if self._thread is None and self._uploads.may_learn:
                self._thread = threading.Thread(target=self._work, name="uploads", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        try:
            while not self._is_over():
                time.sleep(self._go_round())
        except BaseException:
            with self._lock:
                self._thread = None
                self.trouble = "The console has failed: the terminal that it runs in says where."
            raise

    def _is_over(self) -> bool:
        with self._lock:
            if self._uploads.may_learn and time.monotonic() - self._asked < NOBODY_SECONDS:
                return False
            self._thread = None
            return True

    def _go_round(self) -> float:
        """Returns for how long to rest."""
        seen = self._watch.look()
        now = seen.snapshot if seen.trouble is None else None
        lines, position = self._watch.activity.since(self._position)
        try:
            self._uploads.look(
                self._stack.deployed,
                lines,
                log_is_read=now is not None and now.logs_cutouts,
                is_idle=now is not None and is_idle(now.queue, now.letters),
            )
        except Exception as error:
            if not is_told(error):
                raise
            self._stack.forget()
            self.trouble = describe(error)
            return RETRY_SECONDS
        self._position, self.trouble = position, None
        return ROUND_SECONDS if self._uploads.is_waiting else REST_SECONDS
