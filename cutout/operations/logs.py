"""The logs of all functions as one, oldest first."""

import heapq
import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
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
    tail = Tail(round(since.timestamp() * 1000))
    while True:
        yield from tail.new(_read(deployed, groups, tail.start, wanted))
        time.sleep(FOLLOW_SECONDS)


class Tail:
    """Gives each event of a log that grows once. The last of it is read again, as events may be late."""

    def __init__(self, start: int) -> None:
        """`start`, in milliseconds since the epoch, is where to read from."""
        self.start = self._newest = start
        self._seen: dict[str, int] = {}

    def new(self, events: Iterable[Event]) -> Iterator[Event]:
        """Those of these events that are new. They are all that there are from `start` on, now."""
        for event in events:
            if event.id not in self._seen:
                self._seen[event.id] = event.time
                self._newest = max(self._newest, event.time)
                yield event
        self.skip_to(self._newest - LATE_MILLISECONDS)

    def skip_to(self, start: int) -> None:
        """Call when nothing new comes from before `start`."""
        if start > self.start:
            self.start = start
            self._seen = {name: moment for name, moment in self._seen.items() if moment >= start}

    @property
    def seen(self) -> frozenset[str]:
        """The ids of the events that were given, from `start` on."""
        return frozenset(self._seen)


def _read(deployed: Deployment, groups: Sequence[str], start: int, wanted: Wanted) -> Iterator[Event]:
    events = heapq.merge(*(read_lines(deployed, group, start, wanted.pattern) for group in groups))
    return filter(wanted.takes, events)


def read_lines(deployed: Deployment, group: str, start: int, pattern: str | None) -> Iterator[Event]:
    token = None
    while True:
        events, token = read_page(deployed, group, start, pattern=pattern, token=token)
        yield from events
        if not token:
            return


def read_page(
    deployed: Deployment,
    group: str,
    start: int,
    *,
    end: int | None = None,
    pattern: str | None = None,
    token: str | None = None,
) -> tuple[list[Event], str | None]:
    """A page of the events from `start` to before `end`, and the token of the next one. An empty page may have one.

    Nothing where there is no such group: a function that has not run yet may have none.
    """
    chosen: dict[str, Any] = {"endTime": end - 1} if end is not None else {}
    chosen |= {"filterPattern": pattern} if pattern else {}
    chosen |= {"nextToken": token} if token else {}
    try:
        page = deployed.logs.filter_log_events(logGroupName=group, startTime=start, **chosen)
    except AwsError as error:
        if error_code(error) != "ResourceNotFoundException":
            raise
        return [], None
    events = [Event(event["timestamp"], event["eventId"], event["message"].rstrip("\n")) for event in page["events"]]
    return events, page.get("nextToken")
