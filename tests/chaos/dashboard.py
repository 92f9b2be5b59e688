"""Draws the dashboard of template.yaml from the metrics of a chaos run, as an operator would see it.

The functions' metrics are read from their logs, durations from Lambda's own lines there; the queues are counted each
second. The dashboard's periods of five minutes are shortened to PERIOD_SECONDS.
"""

import json
import re
import statistics
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import matplotlib.pyplot as plt

from testbed.harness import Testbed, deployed
from tests.chaos import chaos

PERIOD_SECONDS = 5
PICTURE = Path(__file__).parents[2] / "bench" / "dashboard.svg"
REPORT = re.compile(r"REPORT RequestId: \S+\tDuration: ([\d.]+) ms")

# By namespace, name and the dimension's value: the moments (seconds since the epoch) and values.
Points = dict[tuple[str, str, str], list[tuple[float, float]]]


def read_logs(folder: Path) -> Points:
    """A REPORT line has no time: the time of the metric before it is used."""
    points: Points = defaultdict(list)
    for log in folder.glob("*.log"):
        moment = 0.0
        for line in log.read_text().splitlines():
            if '"_aws"' in line:
                content = json.loads(line)
                moment = content["_aws"]["Timestamp"] / 1000
                for directive in content["_aws"]["CloudWatchMetrics"]:
                    ((dimension,),) = directive["Dimensions"]
                    for metric in directive["Metrics"]:
                        key = (directive["Namespace"], metric["Name"], content[dimension])
                        points[key] += [(moment, value) for value in content[metric["Name"]]]
            elif (found := REPORT.match(line)) and moment:
                points["AWS/Lambda", "Duration", log.stem].append((moment, float(found[1])))
    return points


def count_queues(testbed: Testbed, points: Points, stop: threading.Event) -> None:
    while not stop.wait(1):
        for output in ("UploadQueueUrl", "DeadLetterQueueUrl"):
            url = testbed.outputs[output]
            found = testbed.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
            waiting = float(found["Attributes"]["ApproximateNumberOfMessages"])
            points["AWS/SQS", "ApproximateNumberOfMessagesVisible", url.rsplit("/", 1)[1]].append(
                (time.time(), waiting)
            )


def reduce(values: list[float], stat: str) -> float:
    if stat == "Sum":
        return sum(values)
    if stat.startswith("p"):
        return statistics.quantiles(values, n=100, method="inclusive")[int(stat[1:]) - 1] if values[1:] else values[0]
    return max(values)


def draw(body: dict[str, Any], points: Points, begun: float) -> None:
    widgets = [widget["properties"] for widget in body["widgets"] if widget["type"] == "metric"]
    figure, places = plt.subplots(2, 2, figsize=(14, 9), layout="constrained")
    for place, widget in zip(places.flat, widgets, strict=True):
        right = None
        for namespace, name, _, value, *options in widget["metrics"]:
            how = options[0] if options else {}
            periods: dict[float, list[float]] = defaultdict(list)
            for moment, number in points.get((namespace, name, value), []):
                periods[(moment - begun) // PERIOD_SECONDS * PERIOD_SECONDS].append(number)
            axis = place
            if how.get("yAxis") == "right":
                axis = right = right or place.twinx()
            stat = how.get("stat", widget.get("stat", "Sum"))
            line = sorted((moment, reduce(numbers, stat)) for moment, numbers in periods.items())
            label = how.get("label", name) + ("" if line else " (no data)")
            style = "--" if axis is right else "-"
            axis.plot([x for x, _ in line], [y for _, y in line], style, marker=".", label=label)
        place.set_title(widget["title"])
        place.set_xlabel(f"seconds of the run (periods of {PERIOD_SECONDS})")
        lines = [*place.get_lines(), *(right.get_lines() if right else [])]
        place.legend(
            handles=lines, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, fontsize="small", frameon=False
        )
    figure.savefig(PICTURE, metadata={"Date": None})


@contextmanager
def watched(*args: Any, **options: Any) -> Iterator[Testbed]:  # noqa: ANN401  # of deployed
    with deployed(*args, **options) as testbed:
        counted: Points = defaultdict(list)
        stop, begun = threading.Event(), time.time()
        counter = threading.Thread(target=count_queues, args=(testbed, counted, stop))
        counter.start()
        try:
            yield testbed
        finally:
            stop.set()
            counter.join()
        cloudwatch = testbed.cloud.client("cloudwatch")
        (dashboard,) = cloudwatch.list_dashboards()["DashboardEntries"]
        body = json.loads(cloudwatch.get_dashboard(DashboardName=dashboard["DashboardName"])["DashboardBody"])
        draw(body, read_logs(testbed.cloud.log_dir) | counted, begun)


def main() -> int:
    with mock.patch.object(chaos, "deployed", watched):
        return chaos.main()


if __name__ == "__main__":
    sys.exit(main())
