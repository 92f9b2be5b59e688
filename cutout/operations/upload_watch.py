"""Watches uploads that are added at any time, with few calls of AWS.

The function's log says first that one has ended, and one look at S3 confirms a cutout. As the log may be hidden from
these credentials, or late, those that were not looked at for the longest are looked at by turns.
"""

import itertools
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Sequence

from cutout.operations import endings
from cutout.operations.attempts import LETTER, Attempt
from cutout.operations.dead_letters import DeadLetters, Letter
from cutout.operations.deployment import Deployment
from cutout.operations.endings import CLOCKS_SECONDS, IDLE_SECONDS, UNFINISHED, End
from cutout.operations.files import Became, File
from cutout.operations.threads import work_through
from remove_background.errors import Billed
from remove_background.uploads import Outcome, Upload

# By turns, at most this many a second; and one of them not before so many seconds.
TURNS = 4
TURN_SECONDS = 10.0
TURN_SECONDS_WITHOUT_LOG = 2.0
# After this long without a cutout, check whether an upload was overwritten or deleted.
LONG_SECONDS = 60.0
# Reading letters hides them from others for a moment.
LETTERS_SECONDS = 60.0
EARLY = 1000
# What a later line of the log may change: a letter may be replayed.
_NOT_FINAL = (Became.SENT, Became.LETTER, Became.UNFINISHED)


class _Watched:
    """Times are those of time.monotonic(). `earlier` is what it has overwritten."""

    __slots__ = ("earlier", "file", "looked", "loss_due", "number", "upload")

    def __init__(self, number: int, file: File, upload: Upload, now: float, earlier: "_Watched | None") -> None:
        self.number = number
        self.file = file
        self.upload = upload
        self.earlier = earlier if earlier and earlier.upload.etag != upload.etag else None
        self.looked = now
        self.loss_due = now + LONG_SECONDS


class UploadWatch:
    """Records on each file what has become of it. `look` is for one thread, the others are for any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._by_source: dict[str, _Watched] = {}  # the newest upload of each key, unless it ended for good
        self._waiting: OrderedDict[int, _Watched] = OrderedDict()  # the longest not looked at first
        self._told: dict[int, _Watched] = {}  # by the log; S3 is to confirm it
        self._early: OrderedDict[str, Attempt] = OrderedDict()  # the last lines about what is not watched
        self._idle_since: float | None = None
        self._turns_due = self._letters_due = 0.0

    def add(self, file: File) -> None:
        """A file that was sent."""
        if file.upload is None:
            return
        with self._lock:
            earlier = self._by_source.get(file.upload.uri)
            watched = _Watched(next(self._numbers), file, file.upload, time.monotonic(), earlier)
            self._by_source[file.upload.uri] = self._waiting[watched.number] = watched
            early = self._early.pop(file.upload.uri, None)
        if early:
            self._hear(early)

    @property
    def is_waiting(self) -> bool:
        """Whether an upload has not ended."""
        return bool(self._waiting or self._told)

    @property
    def may_learn(self) -> bool:
        """Whether something may become of an upload: a letter may be replayed."""
        return bool(self._waiting or self._told or self._by_source)

    def look(self, deployed: Deployment, lines: Iterable[Attempt], *, log_is_read: bool, is_idle: bool) -> None:
        """Call this several times a second, with the lines since the last time. Raises ClientError and BotoCoreError.

        `is_idle` says whether the queues hold nothing that may still end an upload.
        """
        for line in lines:
            self._hear(line)
        if told := list(self._told.values()):
            work_through(told, lambda watched: self._confirm(deployed, watched), lambda _: None)
        now = time.monotonic()
        if now >= self._turns_due:
            self._turns_due = now + 1
            self._look_by_turns(deployed, TURN_SECONDS if log_is_read else TURN_SECONDS_WITHOUT_LOG)
        is_lost = self._is_lost(now, is_idle=is_idle)
        if self._waiting and (is_lost or not log_is_read) and now >= self._letters_due:
            self._read_letters(deployed)
            self._letters_due = time.monotonic() + LETTERS_SECONDS
        if is_lost:
            self._give_up()

    def _hear(self, line: Attempt) -> None:
        with self._lock:
            watched = self._by_source.get(source := line.source or "")
            if watched is None:  # it may have ended before S3's answer to its sender was here
                self._early[source] = line
                self._early.move_to_end(source)
                if len(self._early) > EARLY:
                    self._early.popitem(last=False)
                return
        if watched.upload.time and line.time.timestamp() < watched.upload.time - CLOCKS_SECONDS:
            return
        if line.outcome in (LETTER, Outcome.SUPERSEDED) and self._is_about_earlier(watched):
            return
        if line.outcome == LETTER:
            billed = Billed(line.billed) if line.billed in set(Billed) else Billed.MAYBE
            self._end(watched, End(Became.LETTER, line.code, line.message, billed))
        elif line.outcome in set(Outcome):
            with self._lock:
                self._told[watched.number] = watched

    def _is_about_earlier(self, watched: _Watched) -> bool:
        """Whether a line may be about the bytes before, whose end is not known. Their loss is looked at now."""
        with self._lock:
            earlier, watched.earlier = watched.earlier, None
            if earlier is None or earlier.number not in self._waiting:
                return False
            self._told[earlier.number] = earlier
            return True

    def _confirm(self, deployed: Deployment, watched: _Watched) -> None:
        """What the log says may be about an earlier upload of the key."""
        self._look_at(deployed, watched, also_for_loss=True)
        with self._lock:
            self._told.pop(watched.number, None)

    def _look_by_turns(self, deployed: Deployment, seconds: float) -> None:
        now = time.monotonic()
        with self._lock:
            longest = list(itertools.islice(self._waiting.values(), TURNS))
        turns = [watched for watched in longest if watched.looked <= now - seconds]
        for watched in turns:
            self._look_at(deployed, watched, also_for_loss=now > watched.loss_due)
            with self._lock:
                if watched.number in self._waiting:
                    self._waiting.move_to_end(watched.number)

    def _look_at(self, deployed: Deployment, watched: _Watched, *, also_for_loss: bool) -> None:
        now = time.monotonic()
        if self._find_cutout(deployed, watched):
            return
        if also_for_loss:
            loss = endings.find_loss(deployed, watched.upload)
            # Meanwhile the cutout may have been written, and the upload deleted.
            if loss and not self._find_cutout(deployed, watched):
                self._end(watched, loss)
            watched.loss_due = now + LONG_SECONDS
        watched.looked = now

    def _find_cutout(self, deployed: Deployment, watched: _Watched) -> bool:
        found = endings.find_cutout(deployed, watched.file, watched.upload)
        if found:
            self._end(watched, End(Became.CUTOUT, billed=found.billed))
        return found is not None

    def _is_lost(self, now: float, *, is_idle: bool) -> bool:
        if not is_idle:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        return self._idle_since is not None and now - self._idle_since > IDLE_SECONDS

    def _give_up(self) -> None:
        """End those that were looked at since the queues became idle."""
        with self._lock:
            lost = [one for one in self._waiting.values() if one.looked > (self._idle_since or one.looked)]
        for watched in lost:
            self._end(watched, UNFINISHED)

    def _read_letters(self, deployed: Deployment) -> None:
        waiting = defaultdict(list)
        with self._lock:
            for watched in self._waiting.values():
                waiting[endings.identity(watched.upload)].append(watched)

        def read(letters: Sequence[Letter]) -> list[Letter]:
            for letter in letters:
                for watched in (one for upload in letter.uploads for one in waiting.get(endings.identity(upload), ())):
                    if end := endings.read_letter(letter, watched.upload):
                        self._end(watched, end)
            return []

        DeadLetters(deployed.sqs, deployed.dead_letter_queue).work_through(read)

    def _end(self, watched: _Watched, end: End) -> None:
        file = watched.file
        with self._lock:
            file.became, file.code, file.reason, file.billed = end
            self._waiting.pop(watched.number, None)
            newest = self._by_source.get(watched.upload.uri) is watched
            if newest and end.became not in _NOT_FINAL:
                del self._by_source[watched.upload.uri]
