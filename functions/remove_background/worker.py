"""One SQS message: what becomes of its records, the backoff, putting back, the letter."""

import random
import time
import traceback
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

from aws_lambda_powertools import Logger

from .aws_errors import AwsError, error_code
from .config import Config
from .connections import Connections
from .deadline import Deadline
from .errors import (
    BadNotification,
    Billed,
    CutoutError,
    InProgress,
    IntakePaused,
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
from .letters import HasQueues, Letters, notification
from .process_upload import BackgroundRemover
from .rejections import Rejections
from .uploads import Outcome, Upload, read_records, read_upload

# Seconds reserved for the letter of an upload.
LETTER_SECONDS = 3.0
# Longest backoff, in seconds, of an upload that only waits for its slot: the rate limiter spaces these.
SLOT_SECONDS = 2
# How many times the first backoff an upload waits while the intake is paused.
PAUSED_BACKOFFS = 10
MAX_DELAY_SECONDS = 900  # SQS's longest delay of a message
# Attributes of a message that was put back: the failed attempts that count so far; when the first of its messages was
# sent, in milliseconds since the epoch; and, where none counts, whether one may have been billed. All are Numbers: a
# letter that AWS moves back has a String `Attempts`.
ATTEMPTS, FIRST_SENT, MAY_BE_BILLED = "Attempts", "FirstSent", "MayBeBilled"

logger = Logger()


class Delivery(NamedTuple):
    """One message of the queue: `attempt`, from 1, counts attempts that may have failed by the upload's own fault.

    `may_be_billed`: an earlier attempt may have cost something. It did not where it only waited; but of one that SQS
    has counted nobody knows: it also counts receives that never reached the function, as when the account's concurrency
    is used up. `first_sent` is when the first message was sent that this one was put back for, in
    milliseconds since the epoch.
    """

    body: str
    attempt: int
    may_be_billed: bool
    first_sent: int
    request_id: str
    deadline: Deadline


class Ending(NamedTuple):
    """What became of one record of a message, at this attempt."""

    outcome: str
    comes_back: bool = False
    counts: bool = True  # as an attempt
    seconds: int = 0  # until it is retried
    age: float | None = None  # of a cutout's upload, in seconds
    may_be_billed: bool = False  # this attempt, of one that comes back
    stays: bool = False  # its message itself must return to the queue, as its successor could not be written


@dataclass(frozen=True, slots=True)
class Worker:
    """Created once per execution environment, and used for all its invocations."""

    config: Config
    clients: HasQueues
    connections: Connections
    remover: BackgroundRemover
    ledger: Ledger
    letters: Letters
    rejections: Rejections
    intake: Intake
    threads: ThreadPoolExecutor
    credits: "deque[Billed]"  # charged in this invocation: what earlier calls for the same upload had cost

    def handle(self, delivery: Delivery) -> tuple[list[Ending], bool]:
        """What became of each record of a message, and whether the message is finished."""
        try:
            records = read_records(delivery.body)
        except BadNotification as error:
            ending = self._fail(delivery, delivery.body, None, error, time.monotonic())
            return [ending], not ending.stays
        endings = [self._handle_record(delivery, record) for record in records]
        if any(ending.stays for ending in endings):
            return endings, False
        left = [(record, ending) for record, ending in zip(records, endings, strict=True) if ending.comes_back]
        if not left:
            return endings, True
        # Put back as a new message with our own counts: SQS would count every receive.
        attempts = delivery.attempt - (not any(ending.counts for _, ending in left))
        numbers = {ATTEMPTS: attempts, FIRST_SENT: delivery.first_sent}
        # Attempts that count say so by themselves.
        if not attempts and (delivery.may_be_billed or any(ending.may_be_billed for _, ending in left)):
            numbers[MAY_BE_BILLED] = 1
        seconds = max(ending.seconds for _, ending in left)
        return endings, self._put_back([record for record, _ in left], numbers, seconds)

    def _handle_record(self, delivery: Delivery, record: Mapping[str, Any]) -> Ending:
        started = time.monotonic()
        upload = None
        try:
            upload = read_upload(record)
            if upload is None:
                return Ending("ignored")
            self._check_bucket(upload)
            self.intake.check()
            outcome = self.remover.process(upload, delivery.first_sent / 1000, delivery.deadline)
            if outcome is Outcome.CUTOUT:  # the others say nothing about the service
                self.intake.report_success()
        except CutoutError as error:
            return self._fail(delivery, notification([record]), upload, error, started)
        except Exception as error:  # noqa: BLE001  # whatever it is, the upload is retried or gets its letter
            log_unexpected(error)
            unexpected = UnexpectedError(f"The function failed ({type(error).__name__}). Its log says where.")
            return self._fail(delivery, notification([record]), upload, unexpected, started)
        finally:
            self.intake.release()
        logger.info(outcome.value, extra=_fields(delivery, upload, started))
        if outcome is Outcome.CUTOUT and upload.time:
            return Ending(outcome.value, age=max(0.0, time.time() - upload.time))
        return Ending(outcome.value)

    def _check_bucket(self, upload: Upload) -> None:
        """A notification of the output bucket, for example, would make cutouts of cutouts without an end."""
        if upload.bucket != self.config.input_bucket or not upload.key.startswith(self.config.input_prefix):
            raise BadNotification("The notification is about an object outside the input bucket, or InputPrefix.")

    def _fail(self, delivery: Delivery, body: str, upload: Upload | None, error: CutoutError, started: float) -> Ending:
        """Write a letter when the upload is rejected, or is not to be retried."""
        fields = _fields(delivery, upload, started) | {
            "error_code": error.code,
            "error_message": error.message,
            "billed": error.billed,
        }
        if not isinstance(error, Rejected):
            counts = self.intake.report_failure(error, upload)
            if not error.is_final and (not counts or delivery.attempt < self.config.max_attempts):
                logger.warning("unavailable", extra=fields | {"counts": counts})
                seconds = self._back_off(delivery.attempt, error)
                return Ending("unavailable", True, counts, seconds, may_be_billed=error.billed is not Billed.NO)
        # Earlier deliveries may have cost something, unless there is no output key to pay for.
        key = account = None
        if upload and not isinstance(error, BadNotification | OutputKeyTooLong):
            key = self.remover.output_key.of(upload.key)
            account = self.ledger.read(key, upload, retried=delivery.may_be_billed)
            error.billed = account.billed.or_worse(error.billed)
            fields["billed"] = error.billed
        written = time.time()
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
            return Ending("unavailable", comes_back=True, stays=True)
        if key and upload and account:
            self.ledger.close(key, upload, account, error, sent=delivery.first_sent / 1000, written=written)
        if upload and isinstance(error, Rejected) and error.is_about_image:
            self.rejections.note(upload, error)
        logger.warning("letter", extra=fields)
        return Ending("letter")

    def _back_off(self, attempt: int, error: CutoutError) -> int:
        """Seconds until the next attempt: exponential with full jitter, and not before the service wants it.

        https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
        """
        # An upload that waits for another delivery has not failed, however often it was retried.
        doubled = 0 if isinstance(error, InProgress | IntakePaused) else min(attempt, self.config.max_attempts) - 1
        most = self.config.backoff_seconds * 2**doubled
        least = getattr(error, "retry_after", None) or 0
        if isinstance(error, RateLimitExceeded | OutOfTime):
            most = min(most, SLOT_SECONDS)
        elif isinstance(error, IntakePaused) and error.is_paused:
            least, most = most * PAUSED_BACKOFFS / 2, most * PAUSED_BACKOFFS / 2
        return min(MAX_DELAY_SECONDS, round(least + random.uniform(0, most)))  # noqa: S311

    def _put_back(self, records: Sequence[Mapping[str, Any]], numbers: Mapping[str, int], seconds: int) -> bool:
        try:
            self.clients.sqs.send_message(
                QueueUrl=self.config.upload_queue_url,
                MessageBody=notification(records),
                DelaySeconds=seconds,
                MessageAttributes={
                    name: {"DataType": "Number", "StringValue": str(number)} for name, number in numbers.items()
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
    """Log what failed and where. No traceback: it holds the text of errors, which may hold a URL."""
    places = traceback.extract_tb(error.__traceback__ if error else None)
    at = [f"{place.filename}:{place.lineno} {place.name}" for place in places]
    logger.error(
        "unexpected error", extra={"error": type(error).__name__, "error_message": redact(str(error)), "at": at}
    )
