"""The Lambda function: a batch of SQS messages in; out, the ones that must come back."""

import asyncio
import functools
import os
import time
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
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
from .cutout import BackgroundRemover, OutputKey
from .deadline import Deadline
from .errors import BadNotification, CutoutError, Rejected, StorageUnavailable, UnexpectedError, redact
from .letters import Letters, notification
from .pixelcut import Pixelcut
from .results import Results
from .storage import Storage
from .uploads import Upload, read_records, read_upload

# Uploads worked on at the same time: the batch size of the queue's event source mapping.
THREADS = 10
# Seconds kept back from the work on an upload, for its letter.
LETTER_SECONDS = 3.0

logger = Logger()
metrics = Metrics()


class NotDoneError(Exception):
    """The message must come back; what happened to its uploads is in the log."""


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> PartialItemFailureResponse:
    worker = _worker()
    worker.connections.refresh()
    deadline = Deadline(context.get_remaining_time_in_millis() / 1000 - LETTER_SECONDS)
    endings: list[Ending] = []

    async def handle(record: SQSRecord) -> None:
        delivery = Delivery(
            body=record.body,
            attempt=int(record.attributes.approximate_receive_count),
            request_id=context.aws_request_id,
            deadline=deadline,
        )
        loop = asyncio.get_running_loop()
        ended, done = await loop.run_in_executor(worker.threads, worker.handle, delivery)
        endings.extend(ended)
        if not done:
            raise NotDoneError

    # A batch of which nothing succeeded is answered like any other: raising would count as an error of the function.
    processor = AsyncBatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)
    response = async_process_partial_response(event, handle, processor, context)
    for _, error, _ in processor.exceptions:
        if not isinstance(error, NotDoneError):
            _log_unexpected(error)
    _count(endings)
    return response


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message of the queue: `attempt` counts its deliveries from 1."""

    body: str
    attempt: int
    request_id: str
    deadline: Deadline


@dataclass(frozen=True, slots=True)
class Ending:
    """What became of one record of a message, at this attempt."""

    outcome: str
    comes_back: bool = False


@dataclass(frozen=True, slots=True)
class Worker:
    """What an execution environment makes once and uses for all its invocations."""

    config: Config
    clients: Clients
    connections: Connections
    remover: BackgroundRemover
    letters: Letters
    threads: ThreadPoolExecutor

    def handle(self, delivery: Delivery) -> tuple[list[Ending], bool]:
        """What became of each record of a message, and whether the message is done with."""
        try:
            records = read_records(delivery.body)
        except BadNotification as error:
            ending = self._fail(delivery, delivery.body, None, error, time.monotonic())
            return [ending], not ending.comes_back
        endings = [self._handle_record(delivery, record) for record in records]
        left = [record for record, ending in zip(records, endings, strict=True) if ending.comes_back]
        if not left:
            return endings, True
        # A message comes back whole. What is left of one goes on as a message of its own, so that the records that
        # are done with, or have a letter, are not handled again.
        return endings, len(left) < len(records) and self._put_back(left)

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
        return Ending(outcome.value)

    def _fail(self, delivery: Delivery, body: str, upload: Upload | None, error: CutoutError, started: float) -> Ending:
        """Write a letter when the upload is rejected or this was its last attempt."""
        fields = _fields(delivery, upload, started) | {
            "error_code": error.code,
            "error_message": error.message,
            "billed": error.billed,
        }
        if not isinstance(error, Rejected) and delivery.attempt < self.config.max_attempts:
            logger.warning("unavailable", extra=fields)
            return Ending("unavailable", comes_back=True)
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

    def _put_back(self, records: Sequence[Mapping[str, Any]]) -> bool:
        try:
            self.clients.sqs.send_message(QueueUrl=self.config.upload_queue_url, MessageBody=notification(records))
        except AwsError as error:
            logger.error("message not put back", extra={"error_code": error_code(error)})
            return False
        return True


@functools.cache
def _worker() -> Worker:
    """Raises ConfigError, at every invocation, until the stack's settings are right."""
    config = Config.from_environment(os.environ)
    try:
        output_key = OutputKey(config.output_key)
    except ValueError as error:
        raise ConfigError(f"The environment variable OUTPUT_KEY {error}.") from None
    clients = Clients(threads=THREADS)
    connections = Connections(threads=THREADS)
    api_key = ApiKey(SecretsProvider(boto3_client=clients.secrets), config.pixelcut_api_key_secret)
    remover = BackgroundRemover(
        storage=Storage(clients.s3, config.output_bucket),
        service=Pixelcut(connections.api, config.pixelcut_api_url, api_key),
        results=Results(connections, config.pixelcut_api_url),
        output_key=output_key,
        presigned_url_seconds=config.presigned_url_seconds if config.image_delivery == "url" else None,
    )
    letters = Letters(clients.sqs, config.dead_letter_queue_url)
    return Worker(config, clients, connections, remover, letters, ThreadPoolExecutor(THREADS))


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


def _count(endings: Sequence[Ending]) -> None:
    for outcome, count in Counter(ending.outcome for ending in endings).items():
        metrics.add_metric(name=outcome.capitalize(), unit=MetricUnit.Count, value=count)
    if endings:
        metrics.flush_metrics()
