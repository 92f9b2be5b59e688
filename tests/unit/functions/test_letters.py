import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from botocore.stub import Stubber
from hypothesis import given
from hypothesis import strategies as st

from remove_background.aws import Clients
from remove_background.errors import FileSizeTooLarge, ResultGone, StorageUnavailable
from remove_background.letters import Letters, notification
from remove_background.uploads import read_records


def receive(clients: Clients, url: str) -> tuple[str, dict[str, str]]:
    (message,) = clients.sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"])["Messages"]
    return message["Body"], {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}


@pytest.fixture
def queue(clients: Clients) -> str:
    return clients.sqs.create_queue(QueueName="letters")["QueueUrl"]


def test_a_letter_says_what_why_and_when(
    clients: Clients, queue: str, make_record: Callable[..., dict[str, Any]]
) -> None:
    body = notification([make_record("caf%C3%A9.jpg")])
    Letters(clients, queue).write(
        body, FileSizeTooLarge("Too large."), source="s3://input/café.jpg", attempts=2, request_id="r-1"
    )
    received, attributes = receive(clients, queue)
    assert received == body
    assert datetime.fromisoformat(attributes.pop("FailedAt")).tzinfo is not None
    assert attributes == {
        "ErrorCode": "file_size_too_large",
        "ErrorMessage": "Too large.",
        "Source": "s3://input/café.jpg",
        "Billed": "no",
        "Attempts": "2",
        "RequestId": "r-1",
    }


def test_a_letter_says_what_was_billed(clients: Clients, queue: str) -> None:
    Letters(clients, queue).write("foreign", ResultGone("Gone."), source=None, attempts=5, request_id="r-1")
    body, attributes = receive(clients, queue)
    assert (body, attributes["Billed"]) == ("foreign", "yes")
    assert "Source" not in attributes


def test_a_key_with_control_characters_can_be_written(clients: Clients, queue: str) -> None:
    Letters(clients, queue).write(
        "{}", ResultGone("Gone."), source="s3://input/a\x01b\ufffe.jpg", attempts=1, request_id="r-1"
    )
    assert receive(clients, queue)[1]["Source"] == "s3://input/a%01b%EF%BF%BE.jpg"


@pytest.mark.parametrize("text", ["\ud800", "before \udfff after"])
def test_a_message_with_a_lone_surrogate_can_be_written(clients: Clients, queue: str, text: str) -> None:
    """JSON can hold one, and UTF-8 cannot."""
    error = ResultGone(text)
    error.code = text  # type: ignore[misc]
    Letters(clients, queue).write("{}", error, source=f"s3://input/{text}", attempts=1, request_id="r-1")
    attributes = receive(clients, queue)[1]
    expected = text.replace("\ud800", "%ED%A0%80").replace("\udfff", "%ED%BF%BF")
    assert (attributes["ErrorMessage"], attributes["ErrorCode"]) == (expected, expected)
    assert attributes["Source"] == f"s3://input/{expected}"


@given(keys=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1))
def test_the_body_of_a_letter_is_a_notification_again(keys: list[str]) -> None:
    records = [{"s3": {"object": {"key": key}}} for key in keys]
    assert read_records(notification(records)) == records
    assert json.loads(notification(records)) == {"Records": records}


def test_a_queue_that_fails_keeps_the_upload(clients: Clients, queue: str) -> None:
    with Stubber(clients.sqs) as stub:
        stub.add_client_error("send_message", "KmsThrottled")
        with pytest.raises(StorageUnavailable, match=r"^SQS did not take the letter \(KmsThrottled\)\.$"):
            Letters(clients, queue).write("{}", ResultGone("Gone."), source=None, attempts=1, request_id="r")
