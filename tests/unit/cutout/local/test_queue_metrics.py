from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.sqs.models import sqs_backends

import cutout.local.aws.queue_metrics  # noqa: F401 moto finds it by its being defined
from cutout.operations import queues


@pytest.fixture
def sqs(aws_environment: None) -> Iterator[Any]:
    with mock_aws():
        yield boto3.client("sqs")


def age(url: str) -> float | None:
    found = queues.age_of_oldest(boto3.client("cloudwatch"), url)
    return found.seconds if found else None


def test_the_age_of_the_oldest_message_is_a_metric_of_each_queue(sqs: Any) -> None:  # noqa: ANN401
    url, other = (sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("uploads", "other"))
    sqs.send_message(QueueUrl=url, MessageBody="old")
    (message,) = sqs_backends[DEFAULT_ACCOUNT_ID]["eu-central-1"].queues["uploads"]._messages
    message.sent_timestamp -= 90_000  # type: ignore[assignment, operator]
    sqs.send_message(QueueUrl=url, MessageBody="new")
    sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=1)  # one that is in flight counts

    assert age(url) == pytest.approx(90, abs=5)
    assert age(other) == 0


def test_a_queue_that_is_not_measured_has_no_age(sqs: Any) -> None:  # noqa: ANN401
    assert age("https://sqs.example/123456789012/none") is None
