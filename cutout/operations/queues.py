"""How many messages a queue holds, by SQS's approximate count; and SQS's clock."""

from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


@dataclass(frozen=True, slots=True)
class Counts:
    """`in_work` are messages in flight: received, and not deleted yet."""

    waiting: int
    in_work: int
    delayed: int


def count(sqs: "SQSClient", queue_url: str) -> Counts:
    found = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])["Attributes"]
    return Counts(
        waiting=int(found["ApproximateNumberOfMessages"]),
        in_work=int(found["ApproximateNumberOfMessagesNotVisible"]),
        delayed=int(found["ApproximateNumberOfMessagesDelayed"]),
    )


def now(sqs: "SQSClient", queue_url: str) -> datetime:
    """The time by SQS's clock, in whole seconds: the clock of this machine may be wrong."""
    answer = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])
    return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
