"""The Lambda function: a batch of SQS messages in; out, the ones that must come back."""
# ruff: noqa: E402  # the garbage collector is told first

import gc

gc.disable()  # what is made until the first event stays: to look for garbage in it takes a tenth of the start

import asyncio
import contextlib
import functools
import os
import random
import time
import traceback
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import AsyncBatchProcessor, EventType, async_process_partial_response
from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.parameters import SecretsProvider
from aws_lambda_powertools.utilities.typing import LambdaContext

from .api_key import ApiKey
from .aws import AwsError, Clients, error_code
from .config import Config, ConfigError
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
from .pixelcut import Pixelcut
from .process_upload import BackgroundRemover, OutputKey
from .rate_limiter import Pace
from .results import Results
from .storage import Storage
from .uploads import Outcome, Upload, read_records, read_upload

# Uploads worked on at the same time: the batch size of the queue's event source mapping.
THREADS = 10
# Seconds kept back from the work on an upload, for its letter.
LETTER_SECONDS = 3.0
# Longest back-off, in seconds, of what only waits for its turn: the pace sees to that.
TURN_SECONDS = 2
MAX_DELAY_SECONDS = 900  # SQS's longest delay of a message
# Message attributes of a message that was put back as a new one: the attempts that were made before, and when the first
# of its messages was sent, in milliseconds since the epoch.
ATTEMPTS, FIRST_SENT = "Attempts", "FirstSent"

logger = Logger()
metrics = Metrics()


class NotDoneError(Exception):
    """The message must come back; what happened to its uploads is in the log."""


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> PartialItemFailureResponse:
    worker = _worker()
    worker.connections.refresh()
    worker.intake.begin()
    deadline = Deadline(context.get_remaining_time_in_millis() / 1000 - LETTER_SECONDS)
    endings: list[Ending] = []
    tried: list[float] = []

    async def handle(record: SQSRecord) -> None:
        delivery = Delivery(
            body=record.body,
            receipt=record.receipt_handle,
            attempt=int(record.attributes.approximate_receive_count) + (_read_number(record, ATTEMPTS) or 0),
            first_sent=_read_number(record, FIRST_SENT) or int(record.attributes.sent_timestamp),
            request_id=context.aws_request_id,
            deadline=deadline,
        )
        loop = asyncio.get_running_loop()
        ended, done = await loop.run_in_executor(worker.threads, worker.handle, delivery)
        endings.extend(ended)
        if any(ending.comes_back for ending in ended):
            tried.append(time.time() - delivery.first_sent / 1000)
        if not done:
            raise NotDoneError

    # A batch of which nothing succeeded is answered like any other: raising would count as an error of the function.
    processor = AsyncBatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)
    response = async_process_partial_response(event, handle, processor, context)
    for _, error, _ in processor.exceptions:
        if not isinstance(error, NotDoneError):
            _log_unexpected(error)
    _count(endings, worker.credits, tried)
    return response


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
            _log_unexpected(error)
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


def _read_number(record: SQSRecord, name: str) -> int | None:
    attribute = record.message_attributes[name]  # None where there is none
    value = attribute.string_value if attribute else None
    return int(value) if value and value.isdecimal() else None


@functools.cache
def _worker() -> Worker:
    """Raises ConfigError, at every invocation, until the stack's settings are right."""
    config = Config.from_environment(os.environ)
    try:
        output_key = OutputKey(config.output_key)
    except ValueError as error:
        raise ConfigError(f"The environment variable OUTPUT_KEY {error}.") from None
    if config.input_bucket == config.output_bucket and not output_key.keeps_clear_of(config.input_prefix):
        raise ConfigError(
            "Uploads and cutouts share a bucket, and OUTPUT_KEY may begin with INPUT_PREFIX: "
            "each cutout would be taken for an upload."
        )
    clients = Clients(threads=THREADS)
    connections = Connections(threads=THREADS)
    api_key = ApiKey(SecretsProvider(boto3_client=clients.secrets), config.pixelcut_api_key_secret)
    pace = Pace(clients.dynamodb, config.ledger_table, config.requests_per_second)
    intake = Intake(clients, config.ledger_table, config.function_name, config.failures_in_a_row)

    @contextlib.contextmanager
    def turn(deadline: Deadline) -> Iterator[None]:
        with pace.turn(deadline):
            intake.check()
            yield

    credits_charged: deque[Billed] = deque()
    ledger = Ledger(clients.dynamodb, config.ledger_table, credits_charged.append)
    remover = BackgroundRemover(
        storage=Storage(clients.s3, config.output_bucket),
        service=Pixelcut(connections.api, config.pixelcut_api_url, api_key, turn),
        results=Results(connections, config.pixelcut_api_url),
        ledger=ledger,
        output_key=output_key,
        presigned_url_seconds=config.presigned_url_seconds if config.image_delivery == "url" else None,
    )
    letters = Letters(clients, config.dead_letter_queue_url)
    threads = ThreadPoolExecutor(THREADS)
    return Worker(config, clients, connections, remover, ledger, letters, intake, threads, credits_charged)


def _fields(delivery: Delivery, upload: Upload | None, started: float) -> dict[str, object]:
    return {
        "source": upload.uri if upload else None,
        "attempt": delivery.attempt,
        "milliseconds": round((time.monotonic() - started) * 1000),
    }


def _log_unexpected(error: BaseException | None) -> None:
    """Say what failed and where. Not by a traceback: that holds the text of errors, and this may hold a URL."""
    places = traceback.extract_tb(error.__traceback__ if error else None)
    at = [f"{place.filename}:{place.lineno} {place.name}" for place in places]
    logger.error(
        "unexpected error", extra={"error": type(error).__name__, "error_message": redact(str(error)), "at": at}
    )


def _count(endings: Sequence[Ending], credits_charged: "deque[Billed]", tried: Sequence[float]) -> None:
    """`tried`: for how many seconds each message that comes back has been tried already."""
    for outcome, count in Counter(ending.outcome for ending in endings).items():
        metrics.add_metric(name=outcome.capitalize(), unit=MetricUnit.Count, value=count)
    for ending in endings:
        if ending.age is not None:
            metrics.add_metric(name="SecondsToCutout", unit=MetricUnit.Seconds, value=ending.age)
    if tried:
        metrics.add_metric(name="SecondsTried", unit=MetricUnit.Seconds, value=max(tried))
    earlier = [credits_charged.popleft() for _ in range(len(credits_charged))]
    if earlier:
        metrics.add_metric(name="Credits", unit=MetricUnit.Count, value=len(earlier))
        metrics.add_metric(name="CreditsAgain", unit=MetricUnit.Count, value=earlier.count(Billed.YES))
        metrics.add_metric(name="CreditsMaybeAgain", unit=MetricUnit.Count, value=earlier.count(Billed.MAYBE))
    if endings:
        metrics.flush_metrics()


# Lambda lends an environment more CPU while it starts than 512 MB get later.
with contextlib.suppress(ConfigError):  # each invocation says it
    _worker()
gc.freeze()  # nor is it looked at ever after
gc.enable()
