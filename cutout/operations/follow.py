"""Follows uploads until each has ended: as a cutout, as a letter, or overwritten or deleted by its owner."""

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from http import HTTPStatus
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from cutout.failures import describe
from cutout.operations import endings, objects, queues
from cutout.operations import intake as stack_intake
from cutout.operations.dead_letters import DeadLetters, Letter
from cutout.operations.deployment import THREADS, Deployment
from cutout.operations.endings import End
from cutout.operations.estimate import Estimate
from cutout.operations.files import Became, File
from cutout.operations.intake import Intake
from remove_background.aws_errors import http_status
from remove_background.models import Cutout
from remove_background.uploads import Upload

# Uploads that are looked at in one round. Between rounds nothing is asked for REST_SHARE times as long as the round
# took, so that a cloud that is slow to answer, such as a local one, has time for its work.
ROUND = 200
FIRST_SECONDS = 0.5
REST_SECONDS = 1.0
REST_SHARE = 2
# Reading letters hides them from others for a moment, so it is done rarely, and only when their number has changed. But
# SQS's count is approximate, so from time to time they are read anyway.
LETTERS_SECONDS = 3.0
LETTERS_SHARE = 5
REREAD_SECONDS = 60.0
# After this long, check whether an upload was overwritten or deleted.
LONG_SECONDS = 60.0
STATE_SECONDS = 30.0
# AWS may be unreachable for this long: a laptop may lose its network.
OUTAGE_SECONDS = 900.0
# The rest while nothing is expected to happen.
LONG_REST_SECONDS = 10.0


class _Pending:
    """A file on its way. Times are those of time.monotonic()."""

    __slots__ = ("file", "looked", "source_due", "upload")

    def __init__(self, file: File, upload: Upload, now: float, source_due: float) -> None:
        self.file = file
        self.upload = upload
        self.looked = now
        self.source_due = source_due


class Following:
    """Records on each file what has become of it.

    `intake` is its last known state, `out` the folder that the cutouts are fetched to. `ended` is called with each file
    that has ended, `switched` when the intake is paused or open again, `say` with sentences for a person.

    Readable at any time, from any thread: `became` counts what has ended, of `total`; `ahead` is how many messages wait
    in the upload queue, from any sender, and None until they are counted; `estimate` gives the time left.
    """

    def __init__(
        self,
        deployed: Deployment,
        intake: Intake,
        out: Path | None,
        ended: Callable[[File], None],
        switched: Callable[[Intake], None],
        say: Callable[[str], None],
    ) -> None:
        self._deployed = deployed
        self._out = out
        self._ended = ended
        self._switched = switched
        self._say = say
        self._lock = threading.Lock()
        self.became: Counter[Became] = Counter()
        self.total = 0
        self.ahead: int | None = None
        self.estimate = Estimate(0)
        self._moments: list[float] = []  # when each that has ended did
        self._pending: dict[tuple[str, str, str | None], _Pending] = {}
        self._intake = intake
        self._letters_known = 0
        self._letters_due = self._reread_due = self._state_due = 0.0
        self._idle_since: float | None = None
        self._ended_at = 0.0  # when the last of them ended
        # A cycle checks each upload once. Until its end, the count of what has ended is partial.
        self._cycle_left = 0
        self._cycle_began = 0.0

    def follow(self, files: Iterable[File], patience: float = math.inf) -> None:
        """Returns when each of these files, which have been sent, has ended, or when none has for `patience` seconds.

        Raises ClientError and BotoCoreError when AWS refuses a call, or does not answer for OUTAGE_SECONDS.
        """
        now = self._ended_at = time.monotonic()
        sent = [(file, file.upload) for file in files if file.upload]
        for number, (file, upload) in enumerate(sent):
            # Not all at once, so that one cycle takes about as long as another.
            source_due = now + LONG_SECONDS * (1 + number / len(sent))
            self._pending[endings.identity(upload)] = _Pending(file, upload, now, source_due)
        turns = deque(self._pending.values())
        self.total = len(turns)
        self.estimate = Estimate(self.total, _read_most_per_second(self._deployed))
        self._cycle_left, self._cycle_began = len(turns), now
        failing_since = None
        rest = FIRST_SECONDS
        with ThreadPoolExecutor(THREADS) as threads:
            while self._pending and (left := self._ended_at + patience - time.monotonic()) > 0:
                time.sleep(min(rest, left))
                began = time.monotonic()
                try:
                    self._look_at_some(turns, threads)
                    least = LONG_REST_SECONDS if self._intake.paused_by else REST_SECONDS
                    rest = max(least, REST_SHARE * (time.monotonic() - began))
                    self._look_at_queues()
                    self._look_at_state()
                    failing_since = None
                except (BotoCoreError, ClientError) as error:
                    if not _may_pass(error) or began - (failing_since or began) > OUTAGE_SECONDS:
                        raise
                    if failing_since is None:
                        self._say(f"{describe(error)} It is asked again.")
                        failing_since = began
                    rest = LONG_REST_SECONDS

    def _look_at_some(self, turns: deque[_Pending], threads: ThreadPoolExecutor) -> None:
        batch: list[_Pending] = []
        while self._cycle_left and len(batch) < ROUND:
            pending = turns.popleft()
            self._cycle_left -= 1
            if pending.file.became is Became.SENT:
                batch.append(pending)
        looks = [threads.submit(self._look_at, pending) for pending in batch]
        try:
            wait(looks)
        finally:
            for look in looks:
                look.cancel()  # after Ctrl-C; running calls are finished
        turns.extend(pending for pending in batch if pending.file.became is Became.SENT)
        for look in looks:
            look.result()
        self.estimate.see(self.total - len(self._pending))
        if not self._cycle_left:
            now = time.monotonic()
            # What had ended when the cycle began is known by now; of what has since, only a part.
            known = sum(moment <= self._cycle_began for moment in self._moments)
            self.estimate.note(now, known, self._cycle_began)
            self._cycle_left, self._cycle_began = len(turns), now

    def _look_at(self, pending: _Pending) -> None:
        if self._find_cutout(pending):
            return
        now = time.monotonic()
        if now > pending.source_due:
            loss = endings.find_loss(self._deployed, pending.upload)
            # Meanwhile the cutout may have been written, and the upload deleted.
            if loss and not self._find_cutout(pending):
                self._end(pending, loss)
            pending.source_due = now + LONG_SECONDS
        pending.looked = now

    def _find_cutout(self, pending: _Pending) -> bool:
        """Ends the upload when its cutout is there."""
        found = endings.find_cutout(self._deployed, pending.file, pending.upload)
        if found is None:
            return False
        reason = None
        moment = time.monotonic() - found.seconds
        if self._out:
            try:
                if not self._fetch(pending.file.output_key, found.cutout, self._out):
                    return False
            except BotoCoreError:  # some are OSErrors, such as a timeout
                raise
            except OSError as error:
                reason = f"{error.filename or self._out}: {error.strerror}."
        became = Became.NOT_FETCHED if reason else Became.CUTOUT
        self._end(pending, End(became, reason=reason, billed=found.billed), moment)
        return True

    def _fetch(self, key: str, cutout: Cutout, out: Path) -> bool:
        """False if another cutout stands there by now. Raises OSError if the file cannot be written."""
        try:
            answer = self._deployed.s3.get_object(Bucket=self._deployed.output_bucket, Key=key, IfMatch=cutout.etag)
        except ClientError as error:
            if http_status(error) in (HTTPStatus.NOT_FOUND, HTTPStatus.PRECONDITION_FAILED):
                return False
            raise
        objects.write(answer["Body"], out / key)
        return True

    def _look_at_queues(self) -> None:
        began = time.monotonic()
        if began < self._letters_due:
            return
        uploads = queues.count(self._deployed.sqs, self._deployed.upload_queue)
        self.ahead = uploads.waiting + uploads.delayed
        waiting = queues.count(self._deployed.sqs, self._deployed.dead_letter_queue).waiting
        if waiting and (waiting != self._letters_known or began > self._reread_due):
            self._read_letters()
            self._reread_due = time.monotonic() + REREAD_SECONDS
        self._letters_known = waiting
        now = time.monotonic()
        self._letters_due = now + max(LETTERS_SECONDS, LETTERS_SHARE * (now - began))

    def _read_letters(self) -> None:
        DeadLetters(self._deployed.sqs, self._deployed.dead_letter_queue).work_through(self._read)

    def _read(self, letters: Sequence[Letter]) -> list[Letter]:
        for letter in letters:
            for upload in letter.uploads:
                pending = self._pending.get(endings.identity(upload))
                if pending and (end := endings.read_letter(letter, pending.upload)):
                    self._end(pending, end)
        return []

    def _look_at_state(self) -> None:
        """Reports a switch of the intake, and gives up uploads that have disappeared."""
        now = time.monotonic()
        if now < self._state_due:
            return
        self._state_due = now + STATE_SECONDS
        self._look_at_intake()
        if self._is_lost(now):
            self._read_letters()
            for pending in list(self._pending.values()):
                self._end(pending, endings.UNFINISHED)

    def _is_lost(self, now: float) -> bool:
        """Whether the remaining uploads will not end any more, or ended unseen, as by a letter that was discarded."""
        uploads = queues.count(self._deployed.sqs, self._deployed.upload_queue)
        letters = queues.count(self._deployed.sqs, self._deployed.dead_letter_queue)
        if not endings.is_idle(uploads, letters):
            self._idle_since = None
            return False
        if self._idle_since is None:
            self._idle_since = now
        idle_since = self._idle_since
        return now - idle_since > endings.IDLE_SECONDS and all(
            pending.looked > idle_since for pending in self._pending.values()
        )

    def _look_at_intake(self) -> None:
        intake = stack_intake.read(self._deployed)
        if bool(intake.paused_by) != bool(self._intake.paused_by):
            self._switched(intake)
            self.estimate.restart()
        self._intake = intake

    def _end(self, pending: _Pending, end: End, moment: float | None = None) -> None:
        """Does nothing for a file that has ended: the same letter may be there twice."""
        with self._lock:
            if self._pending.pop(endings.identity(pending.upload), None) is None:
                return
            self.became[end.became] += 1
            self._moments.append(time.monotonic() if moment is None else moment)
        file = pending.file
        file.became, file.code, file.reason, file.billed = end
        self._ended_at = time.monotonic()
        self._ended(file)


def _read_most_per_second(deployed: Deployment) -> float | None:
    """The rate that the stack's rate limiter allows; None if it is unknown."""
    try:
        return float(deployed.settings["REQUESTS_PER_SECOND"])
    except (KeyError, ValueError):
        return None


def _may_pass(error: BotoCoreError | ClientError) -> bool:
    return not isinstance(error, ClientError) or (http_status(error) or 0) >= HTTPStatus.INTERNAL_SERVER_ERROR
