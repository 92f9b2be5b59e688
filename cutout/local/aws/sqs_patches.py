"""What moto's SQS gets wrong or is slow at: see moto_patches.py."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias
from urllib.parse import urlparse

from moto.sqs import models
from moto.sqs.exceptions import ReceiptHandleIsInvalid
from moto.sqs.models import Message, Queue, SQSBackend

Untyped: TypeAlias = Any  # of moto, which has no types, or of JSON


def replacements(endpoint_url: str) -> list[tuple[object, str, Callable[[Any], object]]]:
    return [
        # Speed: moto counts a queue's messages for each that is received, and more.
        (SQSBackend, "is_message_valid_based_on_retention_period", _check_retention),
        (models, "unix_time_millis", lambda _: lambda: time.time() * 1000),
        (Message, "had_receipt_handle", lambda _: _had_receipt),
        # Not thread-safe, and a deletion replaces the queue by a copy.
        (Queue, "pending_message_groups", lambda _: property(_pending_groups)),
        (Queue, "delete_message", _delete_in_place),
        # CloudFormation gives queues URLs of AWS.
        (Queue, "physical_resource_id", lambda _: _queue_url(endpoint_url)),
    ]


def _check_retention(_original: Untyped) -> Untyped:
    """For each message received moto would count all those of the queue, three times over."""

    def is_message_valid(backend: SQSBackend, queue_name: str, message: Message) -> bool:
        queue: Untyped = backend.get_queue(queue_name)
        return bool(queue.message_retention_period + (message.sent_timestamp or 0) / 1000 > time.time())

    return is_message_valid


def _had_receipt(message: Message, receipt_handle: str) -> bool:
    """Called for every message of the queue at each deletion: moto would make a list each time."""
    return receipt_handle == message.receipt_handle or receipt_handle in message._old_receipt_handles  # noqa: SLF001


def _pending_groups(queue: Queue) -> set[str]:
    """Only FIFO queues have groups. moto iterates over a set that other calls change meanwhile, and fails."""
    return (
        {message.group_id for message in list(queue.pending_messages) if message.group_id}
        if queue.fifo_queue
        else set()
    )


def _delete_in_place(_original: Untyped) -> Untyped:
    """Moto would replace the queue by a copy without the message: two deletions at a time undo each other."""

    def delete_message(queue: Queue, receipt_handle: str) -> None:
        for message in list(queue._messages):  # noqa: SLF001
            if message.had_receipt_handle(receipt_handle):
                queue.pending_messages.discard(message)
                queue.deleted_messages.update(handle for handle in message.all_receipt_handles if handle)
                with suppress(ValueError):  # another call has deleted it meanwhile
                    queue._messages.remove(message)  # noqa: SLF001
                return
        if receipt_handle not in queue.deleted_messages:
            raise ReceiptHandleIsInvalid

    return delete_message


def _queue_url(endpoint_url: str) -> property:
    """For SDKs that send their calls to the URL of the queue; moto's would lead them to AWS.

    Since https://github.com/getmoto/moto/pull/4864
    """
    return property(lambda queue: queue.url(urlparse(endpoint_url)))
