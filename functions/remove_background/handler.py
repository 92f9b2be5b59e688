"""The Lambda function: a batch of SQS messages in; out, the ones that must come back."""
# ruff: noqa: E402  # the garbage collector is told first

import gc

gc.disable()  # Objects made during import live forever; collecting them costs about 10 % of the cold start.

import asyncio
import contextlib
import functools
import logging
import os
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.logging.utils import copy_config_to_registered_loggers
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import AsyncBatchProcessor, EventType, async_process_partial_response
from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.parameters import SecretsProvider
from aws_lambda_powertools.utilities.typing import LambdaContext

from .api_key import ApiKey
from .aws import Clients
from .config import Config, ConfigError
from .connections import Connections
from .deadline import Deadline
from .errors import Billed
from .intake import Intake
from .ledger import Ledger
from .letters import Letters
from .output_key import OutputKey
from .pixelcut import Pixelcut
from .process_upload import BackgroundRemover
from .rate_limiter import RateLimiter
from .rejections import Rejections
from .results import Results
from .storage import Storage
from .worker import (
    ATTEMPTS,
    FIRST_SENT,
    LETTER_SECONDS,
    MAY_BE_BILLED,
    Delivery,
    Ending,
    Worker,
    log_unexpected,
    logger,
)

# A thread whose slot begins must not wait for the turns of the others, of 5 ms each: its request would be late.
sys.setswitchinterval(0.0005)

# Uploads worked on at the same time: the batch size of the queue's event source mapping.
THREADS = 10

metrics = Metrics()


class NotDoneError(Exception):
    """The message must come back; what happened to its uploads is in the log."""


# What the other modules log comes out as its lines do.
logging.getLogger("remove_background")
copy_config_to_registered_loggers(logger, include={"remove_background"})


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> PartialItemFailureResponse:
    worker = _worker()
    worker.connections.refresh()
    worker.intake.begin()
    deadline = Deadline(context.get_remaining_time_in_millis() / 1000 - LETTER_SECONDS)
    endings: list[Ending] = []
    tried: list[float] = []

    async def handle(record: SQSRecord) -> None:
        attempts = _read_number(record, ATTEMPTS) or 0
        received = int(record.attributes.approximate_receive_count)
        delivery = Delivery(
            body=record.body,
            attempt=attempts + 1,
            may_be_billed=attempts > 0 or received > 1 or _read_number(record, MAY_BE_BILLED) is not None,
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
            log_unexpected(error)
    _count(endings, worker.credits, tried)
    return response


def _read_number(record: SQSRecord, name: str) -> int | None:
    attribute = record.message_attributes[name]  # None where there is none
    # Letters have an `Attempts`, too, which is a String: one that AWS's redrive moved here begins anew.
    value = attribute.string_value if attribute and attribute.data_type == "Number" else None
    return int(value) if value and value.isascii() and value.isdecimal() else None


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
    intake = Intake(clients.dynamodb, config.ledger_table, config.failures_in_a_row)
    limiter = RateLimiter(clients, config.ledger_table, config.requests_per_second, intake, config.caps)
    credits_charged: deque[Billed] = deque()
    ledger = Ledger(clients.dynamodb, config.ledger_table, credits_charged.append, intake.report_stopped)
    remover = BackgroundRemover(
        storage=Storage(clients.s3, config.output_bucket),
        service=Pixelcut(connections.api, config.pixelcut_api_url, api_key, limiter.slot),
        results=Results(connections, config.pixelcut_api_url),
        ledger=ledger,
        output_key=output_key,
        presigned_url_seconds=config.presigned_url_seconds if config.image_delivery == "url" else None,
    )
    letters = Letters(clients, config.dead_letter_queue_url)
    rejections = Rejections(clients.dynamodb, config.ledger_table)
    threads = ThreadPoolExecutor(THREADS)
    return Worker(config, clients, connections, remover, ledger, letters, rejections, intake, threads, credits_charged)


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


# Build the worker during init: Lambda gives more CPU then than the function's memory brings afterwards.
with contextlib.suppress(ConfigError):  # each invocation says it
    _worker()
gc.freeze()  # Exclude these objects from later collections.
gc.enable()
