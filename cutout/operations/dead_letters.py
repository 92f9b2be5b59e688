"""The dead-letter queue, worked through from end to end.

SQS shows a message only to those who receive it. Letters are hidden while they are read, and released afterwards; a
command that is killed leaves them hidden for at most VISIBILITY_SECONDS. A letter is deleted only after it was handled:
a command that is stopped may handle one twice, but never loses one.
SQS hides no more than 120,000 messages of a queue at a time.
"""

import functools
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cutout.operations import queues
from remove_background.errors import BadNotification, Billed
from remove_background.uploads import Upload, read_records, read_upload

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

# The code of a letter that SQS moved itself: the function was killed at each attempt, or refused its settings.
NO_REASON = "no_reason"
# The code of an event that EventBridge could not deliver to the upload queue. Its attributes are EventBridge's:
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html
NOT_DELIVERED = "not_delivered"
VISIBILITY_SECONDS = 900
# Wording for letters in flight.
HIDDEN = "that another command reads, or did a moment ago"
HIDDEN_UNTIL = f"What a killed command has left hidden comes back within {VISIBILITY_SECONDS // 60} minutes."
BATCH = 10  # SQS takes no more at a time
THREADS = 8
# Long polling asks all of SQS's servers; short polling may miss letters.
WAIT_SECONDS = 1
# Give up after this many receives in a row without a letter to handle: there may be more letters than can be read.
VAIN_RECEIVES = 10
# To look at a few letters for a moment, such as to complete an id.
PEEK_RECEIVES = 5
PEEK_VISIBILITY_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Letter:
    """`sent` is when it entered the queue; for a letter that SQS moved, when its upload did."""

    id: str
    receipt: str
    body: str
    sent: datetime
    attributes: Mapping[str, str]

    @property
    def code(self) -> str:
        return self.attributes.get("ErrorCode", NOT_DELIVERED if "RULE_ARN" in self.attributes else NO_REASON)

    @property
    def billed(self) -> str:
        return self.attributes.get("Billed", Billed.NO if self.code == NOT_DELIVERED else Billed.MAYBE)

    @property
    def uploads(self) -> list[Upload]:
        """Those that can be read; none if the body is not an S3 notification."""
        found = []
        with suppress(BadNotification):
            for record in read_records(self.body):
                with suppress(BadNotification):
                    found.append(read_upload(record))
        return [upload for upload in found if upload]

    @property
    def sources(self) -> list[str]:
        """The s3:// URIs of its uploads."""
        return [upload.uri for upload in self.uploads]


def peek(
    sqs: "SQSClient",
    queue_url: str,
    receives: int = PEEK_RECEIVES,
    visibility_seconds: int = PEEK_VISIBILITY_SECONDS,
    wait_seconds: int = 0,
) -> list[Letter]:
    """Some of the letters, soon: those of a few receives, which are visible again afterwards.

    `wait_seconds` is for the receives after the first: without it, letters may be missed.
    """
    found: dict[str, Letter] = {}
    try:
        for number in range(receives):
            letters = _receive(sqs, queue_url, visibility_seconds, wait_seconds if number else WAIT_SECONDS)
            found.update((letter.id, letter) for letter in letters)
            if not letters:
                break
    finally:
        receipts = [letter.receipt for letter in found.values()]
        for start in range(0, len(receipts), BATCH):
            _release(sqs, queue_url, receipts[start : start + BATCH])
    return list(found.values())


class DeadLetters:
    def __init__(self, sqs: "SQSClient", queue_url: str) -> None:
        self._sqs = sqs
        self._queue_url = queue_url
        self._lock = threading.Lock()
        self._held: dict[str, str] = {}  # the receipts of letters that are hidden, by id
        self._seen: set[str] = set()
        # The ids of letters that were handled: those that SQS deleted, and those that it may have kept.
        self.deleted: set[str] = set()
        self.undeleted: set[str] = set()

    def work_through(
        self,
        handle: Callable[[Sequence[Letter]], Iterable[Letter]],
        is_stopped: Callable[[], bool] = lambda: False,
        finish: Callable[[], Iterable[Sequence[Letter]]] = tuple,
    ) -> None:
        """Passes each letter once to `handle`, at most ten at a time, from several threads; deletes those it returns.

        It may keep letters and return them later, at most ten at a time. `finish` handles those that it has kept until
        the end, and yields them in the same way; it is called also where `is_stopped`.

        The others are visible again at the end, even if `handle` raises, or `is_stopped` or Ctrl-C ends it: running
        calls are finished first, and what they return is deleted. Letters that arrive meanwhile are left alone: a
        replay may make new ones.
        """
        stop = threading.Event()
        begun = self._now()
        with self._released(), ThreadPoolExecutor(THREADS) as threads:
            running = [
                threads.submit(self._work, handle, begun, lambda: stop.is_set() or is_stopped()) for _ in range(THREADS)
            ]
            try:
                _await(running)
                _await([threads.submit(self._finish, finish, stop.is_set)])
            finally:
                stop.set()

    def _work(
        self, handle: Callable[[Sequence[Letter]], Iterable[Letter]], begun: datetime, is_stopped: Callable[[], bool]
    ) -> None:
        """Runs until a receive brings no letter, or too many in a row bring none to handle."""
        vain = 0
        while vain < VAIN_RECEIVES and not is_stopped() and (received := self._receive()):
            letters = [letter for letter in self._unseen(received) if letter.sent < begun]
            vain = 0 if letters else vain + 1
            if letters and not is_stopped():
                self._delete(list(handle(letters)))

    def _finish(self, finish: Callable[[], Iterable[Sequence[Letter]]], is_stopped: Callable[[], bool]) -> None:
        batches = iter(finish())
        while not is_stopped() and (letters := next(batches, None)) is not None:
            self._delete(letters)

    def _now(self) -> datetime:
        # SQS counts whole seconds: only the next second is certainly later than every letter in the queue.
        return queues.now(self._sqs, self._queue_url) + timedelta(seconds=1)

    def _receive(self) -> list[Letter]:
        letters = _receive(self._sqs, self._queue_url, VISIBILITY_SECONDS, WAIT_SECONDS)
        with self._lock:
            self._held.update((letter.id, letter.receipt) for letter in letters)
        return letters

    def _unseen(self, letters: Sequence[Letter]) -> list[Letter]:
        """Leaves out letters seen before: SQS may deliver one twice, and one hidden for too long is visible again."""
        with self._lock:
            new = {letter.id: letter for letter in letters if letter.id not in self._seen}
            self._seen.update(new)
        return list(new.values())

    def _delete(self, letters: Sequence[Letter]) -> None:
        if not letters:
            return
        with self._lock:  # the last receipt of each: with an older one, SQS may keep the message
            receipts = [self._held.get(letter.id, letter.receipt) for letter in letters]
        entries = [{"Id": str(number), "ReceiptHandle": receipt} for number, receipt in enumerate(receipts)]
        with self._lock:  # until SQS says otherwise: its answer may be lost
            self.undeleted.update(letter.id for letter in letters)
        answer = self._sqs.delete_message_batch(QueueUrl=self._queue_url, Entries=entries)  # type: ignore[arg-type]
        kept = {int(failure["Id"]) for failure in answer.get("Failed", [])}
        with self._lock:
            for number, letter in enumerate(letters):
                if number not in kept:
                    self.undeleted.discard(letter.id)
                    self.deleted.add(letter.id)
                    self._held.pop(letter.id, None)

    @contextmanager
    def _released(self) -> "Iterator[None]":
        try:
            yield
        finally:
            held = list(self._held.values())
            batches = [held[start : start + BATCH] for start in range(0, len(held), BATCH)]
            with ThreadPoolExecutor(THREADS) as threads:
                list(threads.map(functools.partial(_release, self._sqs, self._queue_url), batches))
            self._held.clear()


def _await(running: "Sequence[Future[None]]") -> None:
    """Until all have ended. Raises what the first of them raises, without waiting for the others."""
    done, _ = wait(running, return_when=FIRST_EXCEPTION)
    for future in done:
        future.result()


def _receive(sqs: "SQSClient", queue_url: str, visibility_seconds: int, wait_seconds: int) -> list[Letter]:
    answer = sqs.receive_message(
        QueueUrl=queue_url,
        MaxNumberOfMessages=BATCH,
        VisibilityTimeout=visibility_seconds,
        WaitTimeSeconds=wait_seconds,
        MessageAttributeNames=["All"],
        MessageSystemAttributeNames=["SentTimestamp"],
    )
    return [_letter(message) for message in answer.get("Messages", [])]


def _release(sqs: "SQSClient", queue_url: str, receipts: Sequence[str]) -> None:
    """Those that are not released, such as one that another command has deleted, come back by themselves."""
    sqs.change_message_visibility_batch(
        QueueUrl=queue_url,
        Entries=[
            {"Id": str(number), "ReceiptHandle": receipt, "VisibilityTimeout": 0}
            for number, receipt in enumerate(receipts)
        ],
    )


def _letter(message: "MessageTypeDef") -> Letter:
    return Letter(
        id=message["MessageId"],
        receipt=message["ReceiptHandle"],
        body=message["Body"],
        sent=datetime.fromtimestamp(int(message["Attributes"]["SentTimestamp"]) / 1000, UTC),
        attributes={name: value.get("StringValue", "") for name, value in message.get("MessageAttributes", {}).items()},
    )
