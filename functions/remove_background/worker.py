"""One SQS message: what becomes of its records, the back-off, putting back, the letter."""

import random
import time
import traceback
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from aws_lambda_powertools import Logger

from .aws import Clients
from .aws_errors import AwsError, error_code
from .config import Config
from .connections import Connections
from .deadline import Deadline
from .errors import (
    BadNotification,
    Billed,
    CutoutError,
    InProgress,
    OutOfTime,
    OutputKeyTooLong,
    RateLimitExceeded,
    Rejected,
    StorageUnavailable,
    UnexpectedError,
    redact,
)
from .intake import Intake
from .ledger import Ledger
from .letters import Letters, notification
from .process_upload import BackgroundRemover
from .uploads import Outcome, Upload, read_records, read_upload

# Seconds kept back from the work on an upload, for its letter.
LETTER_SECONDS = 3.0
# Longest back-off, in seconds, of what only waits for its turn: the pace sees to that.
TURN_SECONDS = 2
MAX_DELAY_SECONDS = 900  # SQS's longest delay of a message
# Message attributes of a message that was put back as a new one: the attempts that were made before, and when the first
# of its messages was sent, in milliseconds since the epoch.
ATTEMPTS, FIRST_SENT = "Attempts", "FirstSent"

logger = Logger()


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message of the queue: `attempt` counts from 1 those that may have been the upload's own fault.

    `first_sent` is when the first message was sent that this one was put back for, in milliseconds since the epoch.
    """

    body: str
    receipt: str
    attempt: int
    first_sent: int
    request_id: str
    deadline: Deadline


@dataclass(frozen=True, slots=True)
class Ending:
    """What became of one record of a message, at this attempt."""

    outcome: str
    comes_back: bool = False
    counts: bool = True  # as an attempt
    seconds: int = 0  # until it is tried again
    age: float | None = None  # of a cutout's upload, in seconds


@dataclass(frozen=True, slots=True)
class Worker:
    """What an execution environment makes once and uses for all its invocations."""

    config: Config
    clients: Clients
    connections: Connections
    remover: BackgroundRemover
    ledger: Ledger
    letters: Letters
    intake: Intake
    threads: ThreadPoolExecutor
    credits: "deque[Billed]"  # charged in this invocation: what earlier calls for the same upload had cost

    def handle(self, delivery: Delivery) -> tuple[list[Ending], bool]:
        """What became of each record of a message, and whether the message is done with."""
        try:
            records = read_records(delivery.body)
        except BadNotification as error:
            ending = self._fail(delivery, delivery.body, None, error, time.monotonic())
            return [ending], not ending.comes_back
        endings = [self._handle_record(delivery, record) for record in records]
        left = [(record, ending) for record, ending in zip(records, endings, strict=True) if ending.comes_back]
        if not left:
            return endings, True
        counts = any(ending.counts for _, ending in left)
        seconds = max(ending.seconds for _, ending in left)
        if counts and len(left) == len(records):
            self._hide(delivery, seconds)
            return endings, False
        # A message comes back whole, and one attempt older. What is to come back otherwise goes on as a new message:
        # without the records that are done with, and without an attempt that was not the upload's fault.
        attempts = delivery.attempt if counts else delivery.attempt - 1
        return endings, self._put_back([record for record, _ in left], attempts, delivery.first_sent, seconds)

    def _handle_record(self, delivery: Delivery, record: Mapping[str, Any]) -> Ending:
        started = time.monotonic()
        upload = None
        try:
            upload = read_upload(record)
            if upload is None:
                return Ending("ignored")
            outcome = self.remover.process(upload, delivery.deadline)
        except CutoutError as error:
            return self._fail(delivery, notification([record]), upload, error, started)
        except Exception as error:  # noqa: BLE001  # whatever it is, the upload is tried again or gets its letter
            log_unexpected(error)
            unexpected = UnexpectedError(f"The function failed ({type(error).__name__}). Its log says where.")
            return self._fail(delivery, notification([record]), upload, unexpected, started)
        logger.info(outcome.value, extra=_fields(delivery, upload, started))
        if outcome is Outcome.CUTOUT:  # the others say nothing about the service
            self.intake.report_success()
            return Ending(outcome.value, age=max(0.0, time.time() - upload.time) if upload.time else None)
        return Ending(outcome.value)

    def _fail(self, delivery: Delivery, body: str, upload: Upload | None, error: CutoutError, started: float) -> Ending:
        """Write a letter when the upload is rejected, or is not to be tried again."""
        fields = _fields(delivery, upload, started) | {
            "error_code": error.code,
            "error_message": error.message,
            "billed": error.billed,
        }
        if not isinstance(error, Rejected):
            counts = self.intake.report_failure(error)
            if not error.is_final and (not counts or delivery.attempt < self.config.max_attempts):
                logger.warning("unavailable", extra=fields | {"counts": counts})
                return Ending("unavailable", True, counts, self._back_off(delivery.attempt, error))
        # Earlier attempts may have cost something, unless they ended for want of an output key.
        if upload and delivery.attempt > 1 and not isinstance(error, OutputKeyTooLong):
            billed = self.ledger.read_billed(self.remover.output_key.of(upload.key), upload)
            error.billed = billed.or_worse(error.billed)
            fields["billed"] = error.billed
        try:
            self.letters.write(
                body,
                error,
                source=upload.uri if upload else None,
                attempts=delivery.attempt,
                request_id=delivery.request_id,
            )
        except StorageUnavailable as failure:
            logger.error("letter not written", extra=fields | {"letter_error": failure.message})
            return Ending("unavailable", comes_back=True)
        logger.warning("letter", extra=fields)
        return Ending("letter")

    def _back_off(self, attempt: int, error: CutoutError) -> int:
        """Seconds until the next attempt: exponential with full jitter, and not before the service wants it.

        https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
        """
        # What waits for another delivery has not failed, however often it was tried.
        doubled = 0 if isinstance(error, InProgress) else attempt - 1
        most = self.config.backoff_seconds * 2**doubled
        if isinstance(error, RateLimitExceeded | OutOfTime):
            most = min(most, TURN_SECONDS)
        least = getattr(error, "retry_after", None) or 0
        return min(MAX_DELAY_SECONDS, round(least + random.uniform(0, most)))  # noqa: S311

    def _hide(self, delivery: Delivery, seconds: int) -> None:
        try:
            self.clients.sqs.change_message_visibility(
                QueueUrl=self.config.upload_queue_url, ReceiptHandle=delivery.receipt, VisibilityTimeout=seconds
            )
        except AwsError as error:  # it comes back all the same, after the queue's own visibility timeout
            logger.error("back-off not set", extra={"error_code": error_code(error)})

    def _put_back(self, records: Sequence[Mapping[str, Any]], attempts: int, first_sent: int, seconds: int) -> bool:
        try:
            self.clients.sqs.send_message(
                QueueUrl=self.config.upload_queue_url,
                MessageBody=notification(records),
                DelaySeconds=seconds,
                MessageAttributes={
                    name: {"DataType": "Number", "StringValue": str(number)}
                    for name, number in {ATTEMPTS: attempts, FIRST_SENT: first_sent}.items()
                },
            )
        except AwsError as error:
            logger.error("message not put back", extra={"error_code": error_code(error)})
            return False
        return True


def _fields(delivery: Delivery, upload: Upload | None, started: float) -> dict[str, object]:
    return {
        "source": upload.uri if upload else None,
        "attempt": delivery.attempt,
        "milliseconds": round((time.monotonic() - started) * 1000),
    }


def log_unexpected(error: BaseException | None) -> None:
    """Say what failed and where. Not by a traceback: that holds the text of errors, and this may hold a URL."""
    places = traceback.extract_tb(error.__traceback__ if error else None)
    at = [f"{place.filename}:{place.lineno} {place.name}" for place in places]
    logger.error(
        "unexpected error", extra={"error": type(error).__name__, "error_message": redact(str(error)), "at": at}
    )
