"""How many messages a queue holds, by SQS's approximate count; the age of the oldest; and SQS's clock."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

MEASURED_WITHIN = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Counts:
    """`in_work` are messages in flight: received, and not deleted yet."""

    waiting: int
    in_work: int
    delayed: int

    @property
    def total(self) -> int:
        return self.waiting + self.in_work + self.delayed


def count(sqs: "SQSClient", queue_url: str) -> Counts:
    found = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])["Attributes"]
    return Counts(
        waiting=int(found["ApproximateNumberOfMessages"]),
        in_work=int(found["ApproximateNumberOfMessagesNotVisible"]),
        delayed=int(found["ApproximateNumberOfMessagesDelayed"]),
    )


class Age(NamedTuple):
    seconds: float
    measured: datetime


def age_of_oldest(cloudwatch: Any, queue_url: str) -> Age | None:  # noqa: ANN401  # a client without stubs here
    """The age of the oldest message, which SQS measures once a minute; None if it has not lately."""
    now = datetime.now(UTC)
    points = cloudwatch.get_metric_statistics(
        Namespace="AWS/SQS",
        MetricName="ApproximateAgeOfOldestMessage",
        Dimensions=[{"Name": "QueueName", "Value": queue_url.rpartition("/")[2]}],
        StartTime=now - MEASURED_WITHIN,
        EndTime=now + timedelta(minutes=1),
        Period=60,
        Statistics=["Maximum"],
    )["Datapoints"]
    last = max(points, key=lambda point: point["Timestamp"], default=None)
    return Age(last["Maximum"], last["Timestamp"]) if last else None


def now(sqs: "SQSClient", queue_url: str) -> datetime:
    """The time by SQS's clock, in whole seconds: the clock of this machine may be wrong."""
    answer = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])
    return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
