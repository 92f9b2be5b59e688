"""What moto's SQS gets wrong or is slow at: see moto_patches.py."""

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import copy
from types import SimpleNamespace
from typing import Any, TypeAlias
from urllib.parse import urlparse
from weakref import WeakValueDictionary

from moto.core.utils import camelcase_to_underscores
from moto.sqs import models
from moto.sqs.exceptions import ReceiptHandleIsInvalid
from moto.sqs.models import Message, Queue, SQSBackend

Untyped: TypeAlias = Any  # of moto, which has no types, or of JSON

RECEIPT_BYTES = 92


def replacements(endpoint_url: str) -> list[tuple[object, str, Callable[[Any], object]]]:
    return [
        # Speed: moto counts a queue's messages for each that is sent or received, and looks through them all for each
        # receipt.
        (SQSBackend, "is_message_valid_based_on_retention_period", _check_retention),
        (models, "unix_time_millis", lambda _: lambda: time.time() * 1000),
        (Message, "had_receipt_handle", lambda _: _had_receipt),
        # What is received is a copy with other attributes, of which moto also copies all that is in it.
        (
            models,
            "deepcopy",
            lambda original: lambda value: copy(value) if isinstance(value, Message) else original(value),
        ),
        # A receipt is drawn letter by letter.
        (models, "generate_receipt_handle", lambda _: lambda: secrets.token_hex(RECEIPT_BYTES)),
        (Message, "mark_received", _remember_receipt),
        (SQSBackend, "change_message_visibility", _change_visibility),
        # Not thread-safe: two receives at a time get the same messages, which AWS does seldom, and forget a receipt.
        (SQSBackend, "receive_message", _receive_in_turn),
        (Queue, "messages", lambda _: property(_visible)),
        (Queue, "approximate_number_of_messages_delayed", lambda _: property(_count_delayed)),
        (Queue, "approximate_number_of_messages_not_visible", lambda _: property(_count_hidden)),
        (Queue, "attributes", lambda original: property(lambda queue: _Attributes(queue, original.fget))),
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


def _receive_in_turn(original: Untyped) -> Untyped:
    """Moto would look for visible messages, and hide them afterwards: calls at the same time find the same ones."""
    receiving = threading.Lock()

    def receive_message(
        backend: SQSBackend, queue_name: str, count: int, wait_seconds: int, *more: Untyped, **named: Untyped
    ) -> Untyped:
        queue: Untyped = backend.get_queue(queue_name)
        ends = time.monotonic() + wait_seconds
        while True:
            with receiving:
                messages = original(backend, queue_name, count, 0, *more, **named)
            left = ends - time.monotonic()
            if messages or left <= 0:
                return messages
            queue.wait_for_messages(min(1, left))

    return receive_message


def _had_receipt(message: Message, receipt_handle: str) -> bool:
    """Called for every message of the queue that has the receipt of a kept state: moto would make a list each time."""
    return receipt_handle == message.receipt_handle or receipt_handle in message._old_receipt_handles  # noqa: SLF001


# The messages by each receipt that they were received with. Those of a kept state are not among them.
_by_receipt: WeakValueDictionary[str, Message] = WeakValueDictionary()


def _remember_receipt(original: Untyped) -> Untyped:
    """So that `_with_receipt` finds it."""

    def mark_received(message: Message, visibility_timeout: int | None = None) -> None:
        original(message, visibility_timeout)
        if message.receipt_handle:
            _by_receipt[message.receipt_handle] = message

    return mark_received


def _with_receipt(queue: Queue, receipt_handle: str) -> Sequence[Message]:
    """Those of the queue's messages that may have this receipt: the one that has it, if it is known."""
    messages = queue._messages  # noqa: SLF001
    message = _by_receipt.get(receipt_handle)
    if message is None:
        return list(messages)
    return [message] if message in messages else []


def _change_visibility(original: Untyped) -> Untyped:
    """Moto would look through all messages of the queue for each receipt."""

    def change_message_visibility(
        backend: SQSBackend, queue_name: str, receipt_handle: str, visibility_timeout: int
    ) -> None:
        queue: Untyped = backend.get_queue(queue_name)
        found = _with_receipt(queue, receipt_handle)
        narrowed = SimpleNamespace(_messages=found, pending_messages=queue.pending_messages)
        original(SimpleNamespace(get_queue=lambda _: narrowed), queue_name, receipt_handle, visibility_timeout)

    return change_message_visibility


def _visible(queue: Queue) -> list[Message]:
    """Moto would read the clock twice for each message."""
    now = time.time() * 1000
    messages = list(queue._messages)  # noqa: SLF001
    return [message for message in messages if message.visible_at < now and message.delayed_until <= now]


def _count_delayed(queue: Queue) -> int:
    now = time.time() * 1000
    return sum(message.delayed_until > now for message in list(queue._messages))  # noqa: SLF001


def _count_hidden(queue: Queue) -> int:
    now = time.time() * 1000
    return sum(message.visible_at >= now for message in list(queue._messages))  # noqa: SLF001


class _Attributes(Mapping[str, Untyped]):
    """A queue's attributes. Its messages are counted when that is asked for: moto would for each message sent."""

    def __init__(self, queue: Queue, read: Callable[[Untyped], dict[str, Untyped]]) -> None:
        self._queue = queue
        self._uncounted = read(_Uncounted(queue))

    def __getitem__(self, name: str) -> Untyped:
        attribute = camelcase_to_underscores(name)
        return getattr(self._queue, attribute) if attribute in vars(_Uncounted) else self._uncounted[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._uncounted)

    def __len__(self) -> int:
        return len(self._uncounted)


class _Uncounted:
    """A queue as if it held no messages."""

    approximate_number_of_messages = 0
    approximate_number_of_messages_delayed = 0
    approximate_number_of_messages_not_visible = 0

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def __getattr__(self, name: str) -> Untyped:
        return getattr(self._queue, name)


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
        for message in _with_receipt(queue, receipt_handle):
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
