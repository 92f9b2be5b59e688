"""Learns what has become of the uploads of this page, in a thread that goes on while somebody looks."""

from cutout.console.stack import Stack
from cutout.console.watch import Seen, Watch
from cutout.failures import describe, is_told
from cutout.operations.endings import is_idle
from cutout.operations.files import File
from cutout.operations.rounds import Rounds
from cutout.operations.upload_watch import UploadWatch

ROUND_SECONDS = 0.25
REST_SECONDS = 1.0
RETRY_SECONDS = 5.0


class Follower:
    """`trouble` says why nothing is learned at the moment."""

    def __init__(self, stack: Stack, watch: Watch) -> None:
        self._stack = stack
        self._watch = watch
        self._uploads = UploadWatch()
        self._rounds = Rounds("uploads", self._go_round, goes_on=lambda: self._uploads.may_learn)
        stack.at_end(self._rounds.end)
        self._position = 0
        self.trouble: str | None = None

    def add(self, file: File) -> None:
        """A file that was sent."""
        if not self._uploads.is_waiting:
            self._watch.hurry()  # it may be at rest
        self._uploads.add(file)
        self._rounds.look()

    def look(self) -> Seen:
        """Call as long as somebody looks."""
        self._rounds.look()
        return self._watch.look()

    @property
    def is_waiting(self) -> bool:
        return self._uploads.is_waiting

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
                self.trouble = "The console has failed: the terminal that it runs in says where."
                raise
            self._stack.forget()
            self.trouble = describe(error)
            return RETRY_SECONDS
        self._position, self.trouble = position, None
        return ROUND_SECONDS if self._uploads.is_waiting else REST_SECONDS
