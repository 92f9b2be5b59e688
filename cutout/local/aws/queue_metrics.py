"""The age of the oldest message of each queue, as a metric of CloudWatch: moto's SQS has none.

SQS measures it once a minute; here it is measured when it is asked for.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
"""

import time
from typing import Any

from moto.cloudwatch.models import MetricDatum
from moto.core.common_models import CloudWatchMetricProvider
from moto.core.utils import utcnow
from moto.sqs.models import sqs_backends


class QueueMetrics(CloudWatchMetricProvider):
    """moto finds it as a subclass of its own."""

    @staticmethod
    def get_cloudwatch_metrics(account_id: str, region: str) -> list[MetricDatum]:
        queues: dict[str, Any] = sqs_backends[account_id][region].queues
        return [
            MetricDatum(
                namespace="AWS/SQS",
                name="ApproximateAgeOfOldestMessage",
                value=_age_of_oldest(queue),
                dimensions=[{"Name": "QueueName", "Value": name}],
                timestamp=utcnow(),  # without a zone, as moto compares it
                unit="Seconds",
            )
            for name, queue in tuple(queues.items())
        ]


def _age_of_oldest(queue: Any) -> float:  # noqa: ANN401  # moto has no types
    """Of all that are not deleted, also those in flight."""
    sent = (int(message.sent_timestamp) for message in tuple(queue._messages))  # noqa: SLF001
    oldest = min(sent, default=None)
    return 0.0 if oldest is None else max(0.0, time.time() - oldest / 1000)
