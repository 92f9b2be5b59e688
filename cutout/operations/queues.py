"""How many messages a queue holds, as SQS counts them: approximately."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


@dataclass(frozen=True, slots=True)
class Counts:
    """`in_work` are those that somebody has received and not deleted yet."""

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
