"""The alarms and the dashboard watch what the functions write."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cutout.local.lambda_runtime.delivery_faults import DeliveryFault
from cutout.local.pixelcut.faults import Rule

# A metric: namespace, name, dimension, its value.
Metric = tuple[str, str, str, str]

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
# https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
OF_AWS = {
    ("AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName"),
    ("AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName"),
    ("AWS/Lambda", "Errors", "FunctionName"),
    ("AWS/Lambda", "Throttles", "FunctionName"),
    ("AWS/Lambda", "Duration", "FunctionName"),
}


def alarmed(cloud: Any) -> set[Metric]:  # noqa: ANN401
    alarms = cloud.client("cloudwatch").describe_alarms()["MetricAlarms"]
    return {
        (alarm["Namespace"], alarm["MetricName"], dimension["Name"], dimension["Value"])
        for alarm in alarms
        for dimension in alarm["Dimensions"]
    }


def shown(cloud: Any) -> set[Metric]:  # noqa: ANN401
    cloudwatch = cloud.client("cloudwatch")
    (dashboard,) = cloudwatch.list_dashboards()["DashboardEntries"]
    body = json.loads(cloudwatch.get_dashboard(DashboardName=dashboard["DashboardName"])["DashboardBody"])
    return {tuple(metric[:4]) for widget in body["widgets"] for metric in widget["properties"].get("metrics", [])}


def written(folder: Path) -> Iterator[Metric]:
    """Each metric that is in the logs, in CloudWatch's embedded metric format."""
    for log in folder.glob("*.log"):
        for line in log.read_text().splitlines():
            if '"_aws"' in line:
                content = json.loads(line)
                for directive in content["_aws"]["CloudWatchMetrics"]:
                    ((dimension,),) = directive["Dimensions"]
                    for metric in directive["Metrics"]:
                        yield directive["Namespace"], metric["Name"], dimension, content[dimension]


@pytest.fixture(scope="module")
def parameters() -> dict[str, str]:
    return {"DailyCredits": "1000", "MonthlyCredits": "10000", "CapTimeZone": "Europe/Berlin"}


@pytest.fixture(scope="module")
def all_ends(deployed: Any, make_picture: Callable[..., bytes]) -> Any:  # noqa: ANN401
    """The stack after one upload has reached each possible end."""
    stack, cloud = deployed, deployed.cloud
    bucket = stack.outputs["InputBucketName"]
    functions = cloud.client("lambda")
    stack.switch_mapping(enabled=False)
    stack.upload("deleted.png", make_picture(1))
    stack.s3.delete_object(Bucket=bucket, Key="deleted.png")
    stack.upload("superseded.png", make_picture(2))
    stack.upload("superseded.png", make_picture(3))
    stack.upload("letter.png", make_picture(4, size=20))
    stack.upload("unavailable.png", make_picture(5))
    stack.stand_in.set_faults(Rule(on="removal", source="/unavailable.", status=500))
    again = make_picture(6)
    (ledger,) = cloud.client("dynamodb").list_tables()["TableNames"]
    texts = {
        "id": "cutout:again.png",
        "source": f"s3://{bucket}/again.png",
        "etag": hashlib.md5(again, usedforsecurity=False).hexdigest(),
        "holder": "an earlier delivery",
        "billed": "maybe",
    }
    numbers = {"charges": "1", "writing_until": "0"}
    item = {name: {"S": text} for name, text in texts.items()} | {
        name: {"N": number} for name, number in numbers.items()
    }
    cloud.client("dynamodb").put_item(TableName=ledger, Item=item)
    stack.upload("again.png", again)
    cloud.set_delivery_faults(DeliveryFault("repeated", contains="again.png", times=1))  # a duplicate
    stack.switch_mapping(enabled=True)
    stack.wait_for_cutout("again.png")
    names = [function["FunctionName"] for function in functions.list_functions()["Functions"]]
    (reopen,) = (name for name in names if "ReopenIntake" in name)
    functions.invoke(FunctionName=reopen)
    return stack


def test_each_metric_that_is_watched_is_written(all_ends: Any) -> None:  # noqa: ANN401
    watched = alarmed(all_ends.cloud) | shown(all_ends.cloud)
    ours = {metric for metric in watched if metric[0] == "Cutout"}
    assert len(ours) == 12 + 2  # of the caps
    all_ends.wait_until(lambda: ours <= set(written(all_ends.log.parent)), f"metrics {ours}")
    assert ours == set(written(all_ends.log.parent))  # nor is a metric written that is not watched


def test_each_metric_of_aws_that_is_watched_exists(all_ends: Any) -> None:  # noqa: ANN401
    watched = {metric for metric in alarmed(all_ends.cloud) | shown(all_ends.cloud) if metric[0] != "Cutout"}
    assert {metric[:3] for metric in watched} == OF_AWS
    queues = {url.rsplit("/", 1)[1] for url in all_ends.sqs.list_queues()["QueueUrls"]}
    functions = {f["FunctionName"] for f in all_ends.cloud.client("lambda").list_functions()["Functions"]}
    assert {metric[3] for metric in watched} <= queues | functions


def test_each_alarm_is_sent_and_shown(all_ends: Any) -> None:  # noqa: ANN401
    cloudwatch = all_ends.cloud.client("cloudwatch")
    alarms = cloudwatch.describe_alarms()["MetricAlarms"]
    assert {tuple(alarm["AlarmActions"]) for alarm in alarms} == {(all_ends.outputs["AlarmTopicArn"],)}
    (dashboard,) = cloudwatch.list_dashboards()["DashboardEntries"]
    body = json.loads(cloudwatch.get_dashboard(DashboardName=dashboard["DashboardName"])["DashboardBody"])
    assert set(body["widgets"][0]["properties"]["alarms"]) == {alarm["AlarmArn"] for alarm in alarms}
    assert all_ends.outputs["DashboardUrl"].endswith(f"/{dashboard['DashboardName']}")
