"""SQS, which sqs_patches.py makes thread-safe and faster."""

import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.sqs import models
from moto.sqs.models import Message, Queue, SQSBackend, sqs_backends

from tests.unit.cutout.local.moto_without_patches.plain_moto import REGION, Make, Untyped


def a_queue() -> Untyped:
    return sqs_backends[DEFAULT_ACCOUNT_ID][REGION].get_queue("queue")


def test_a_deletion_replaces_the_messages_of_a_queue_by_a_copy(aws: Make, queue_url: str) -> None:
    aws("sqs").send_message(QueueUrl=queue_url, MessageBody="body")
    (message,) = aws("sqs").receive_message(QueueUrl=queue_url)["Messages"]
    before = a_queue()._messages
    aws("sqs").delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
    assert a_queue()._messages is not before, "_delete_in_place: two deletions at a time lose one"


def test_the_groups_of_a_queue_are_read_from_a_set_that_another_call_may_change(aws: Make, queue_url: str) -> None:
    queue = a_queue()

    class Late(Message):
        """Another message arrives while the group of this one is read."""

        @property
        def group_id(self) -> None:
            queue.pending_messages.add(Message("2", "body"))

        @group_id.setter
        def group_id(self, group_id: str | None) -> None:
            """The queue is none with groups."""

    queue.pending_messages.add(Late("1", "body"))
    with pytest.raises(RuntimeError, match="changed size during iteration"):
        _ = queue.pending_message_groups  # _pending_groups


def test_each_received_message_makes_moto_count_the_whole_queue(
    aws: Make, queue_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws("sqs").send_message(QueueUrl=queue_url, MessageBody="body")
    asked = []
    messages: Untyped = Queue.messages

    def read(queue: Queue) -> list[Message]:
        asked.append(queue)
        return list(messages.fget(queue))

    monkeypatch.setattr(Queue, "messages", property(read))
    backend: Untyped = sqs_backends[DEFAULT_ACCOUNT_ID][REGION]
    (message,) = a_queue()._messages
    assert SQSBackend.is_message_valid_based_on_retention_period(backend, "queue", message)
    assert asked, "_check_retention"


def test_a_message_that_two_calls_receive_at_a_time_forgets_a_receipt(monkeypatch: pytest.MonkeyPatch) -> None:
    message: Untyped = Message("1", "body")
    receipts = iter(["late", "early"])

    def generate() -> str:
        receipt = next(receipts)
        if receipt == "late":
            message.mark_received()
        return receipt

    monkeypatch.setattr(models, "generate_receipt_handle", generate)
    message.mark_received()
    assert message.had_receipt_handle("late")
    assert not message.had_receipt_handle("early"), "_receive_in_turn"


def test_two_receives_at_a_time_get_the_same_message(
    aws: Make, queue_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws("sqs").send_message(QueueUrl=queue_url, MessageBody="body")
    backend: Untyped = sqs_backends[DEFAULT_ACCOUNT_ID][REGION]
    others: list[Message] = []
    mark_received = Message.mark_received

    def mark_late(message: Message, visibility_timeout: int | None = None) -> None:
        if not others:
            others.append(message)  # so that the other call does not call a third one
            others[:] = backend.receive_message("queue", 1, 0, 30)
        mark_received(message, visibility_timeout)

    monkeypatch.setattr(Message, "mark_received", mark_late)
    (message,) = backend.receive_message("queue", 1, 0, 30)
    assert [other.id for other in others] == [message.id], "_receive_in_turn"


def test_each_sent_message_makes_moto_count_the_whole_queue(
    aws: Make, queue_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def count(queue: Queue) -> list[Message]:
        asked.append(queue)
        return []

    monkeypatch.setattr(Queue, "messages", property(count))
    aws("sqs").send_message(QueueUrl=queue_url, MessageBody="body")
    assert asked, "_Attributes"
