"""The logs of all functions as one, oldest first."""

import heapq
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from cutout.operations.deployment import Deployment
from remove_background.aws_errors import AwsError, error_code

FOLLOW_SECONDS = 2.0
# CloudWatch Logs may show an event this much later than its successors.
LATE_MILLISECONDS = 30_000


class Event(NamedTuple):
    """`time` is in milliseconds since the epoch."""

    time: int
    id: str
    message: str

    @property
    def fields(self) -> dict[str, Any] | None:
        """None for a line that is not JSON, such as Lambda's own."""
        try:
            found = json.loads(self.message)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None


def find_groups(deployed: Deployment) -> list[str]:
    """The log group of each function."""
    functions = filter(None, (deployed.function, deployed.outputs.get("ReopenIntakeName")))
    return [find_group(deployed, function) for function in functions]


def find_group(deployed: Deployment, function: str) -> str:
    configuration = deployed.lambda_.get_function_configuration(FunctionName=function)
    group: str = configuration.get("LoggingConfig", {}).get("LogGroup", f"/aws/lambda/{function}")
    return group


def read_retention(deployed: Deployment, group: str) -> int | None:
    """For how many days lines are kept; None if they do not expire, or the group does not exist."""
    found = deployed.logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    return next((one.get("retentionInDays") for one in found if one["logGroupName"] == group), None)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines: those with one of these codes, where any are named, and about this upload, if one is."""

    codes: Sequence[str] = ()
    source: str | None = None  # its s3:// URI

    def takes(self, event: Event) -> bool:
        fields = event.fields or {}
        return (not self.codes or fields.get("error_code") in self.codes) and (
            self.source is None or fields.get("source") == self.source
        )

    @property
    def pattern(self) -> str | None:
        """What CloudWatch Logs can leave out itself: it knows no escapes, and takes * for anything."""
        if self.codes:
            return f"{{ {' || '.join(f'$.error_code = {json.dumps(code)}' for code in self.codes)} }}"
        if self.source and re.fullmatch(r"[\w /.:-]+", self.source, re.ASCII):
            return f'{{ $.source = "{self.source}" }}'
        return None


def read(deployed: Deployment, groups: Sequence[str], since: datetime, wanted: Wanted) -> Iterator[Event]:
    return _read(deployed, groups, round(since.timestamp() * 1000), wanted)


def follow(deployed: Deployment, groups: Sequence[str], since: datetime, wanted: Wanted) -> Iterator[Event]:
    """The same, and then each as it comes, without an end."""
    start = newest = round(since.timestamp() * 1000)
    seen: dict[str, int] = {}
    while True:
        for event in _read(deployed, groups, start, wanted):
            if event.id not in seen:
                seen[event.id] = event.time
                newest = max(newest, event.time)
                yield event
        start = max(start, newest - LATE_MILLISECONDS)
        seen = {name: moment for name, moment in seen.items() if moment >= start}
        time.sleep(FOLLOW_SECONDS)


def _read(deployed: Deployment, groups: Sequence[str], start: int, wanted: Wanted) -> Iterator[Event]:
    events = heapq.merge(*(_read_group(deployed, group, start, wanted.pattern) for group in groups))
    return filter(wanted.takes, events)


def _read_group(deployed: Deployment, group: str, start: int, pattern: str | None) -> Iterator[Event]:
    """None where there is no such group: a function that has not run yet may have none."""
    chosen = {"filterPattern": pattern} if pattern else {}
    pages = deployed.logs.get_paginator("filter_log_events").paginate(logGroupName=group, startTime=start, **chosen)
    try:
        for page in pages:
            for event in page["events"]:
                yield Event(event["timestamp"], event["eventId"], event["message"].rstrip("\n"))
    except AwsError as error:
        if error_code(error) != "ResourceNotFoundException":
            raise
