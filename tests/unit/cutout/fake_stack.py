"""A deployed stack of which each call is counted: its log, its queues and its intake."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from cutout.operations.activity import METRICS_PATTERN
from cutout.operations.deployment import Deployment
from tests.unit.fakes import refusal

DAY_START = 1_799_971_200.0  # of the day of tests.unit.fakes.Clock, which begins at 8:00
OUTPUTS = {
    "InputBucketName": "input",
    "OutputBucketName": "output",
    "UploadQueueUrl": "https://sqs.test/1/uploads",
    "DeadLetterQueueUrl": "https://sqs.test/1/letters",
    "FunctionName": "remove-background",
}


class FakeStack:
    """Every client is this object. `failing` has what each operation raises."""

    def __init__(self, page: int = 10_000) -> None:
        self.page = page
        self.events: list[tuple[int, int, str]] = []
        self.calls: Counter[str] = Counter()
        self.failing: dict[str, Exception] = {}
        self.uploads = self.letters = 0
        self.paused_by: str | None = None
        self.item: dict[str, Any] = {}  # the intake's, beside who paused it
        self.settings = {"LEDGER_TABLE": "ledger", "PIXELCUT_API_KEY_SECRET": "key"}
        self.mapping = "Enabled"

    @property
    def deployed(self) -> Deployment:
        return Deployment("cutout", OUTPUTS, lambda _: self)

    def log(self, at: float, **fields: object) -> None:
        self.events.append((round(at * 1000), len(self.events), json.dumps(fields)))

    def end(self, at: float, outcome: str = "cutout", key: str = "a.jpg", **fields: object) -> None:
        """The lines of an invocation with one upload."""
        self.log(at, message=outcome, source=f"s3://input/{key}", attempt=1, milliseconds=900, **fields)
        self.count(at, **{outcome.capitalize(): 1}, **({"Credits": 1} if outcome == "cutout" else {}))

    def count(self, at: float, **metrics: int) -> None:
        """A line of metrics, as the function prints it."""
        self.log(at, _aws={"Timestamp": round(at * 1000)}, **{name: [value] for name, value in metrics.items()})

    def _call(self, name: str) -> None:
        self.calls[name] += 1
        if name in self.failing:
            raise self.failing[name]

    def filter_log_events(
        self,
        *,
        logGroupName: str,  # noqa: N803  # boto3's names
        startTime: int,  # noqa: N803
        endTime: int | None = None,  # noqa: N803
        filterPattern: str | None = None,  # noqa: N803
        nextToken: str | None = None,  # noqa: N803
    ) -> Mapping[str, Any]:
        assert logGroupName == "/aws/lambda/remove-background"
        self._call("filter_log_events")
        if nextToken:
            self._call("next_page")
        found = [event for event in self.events if startTime <= event[0] and (endTime is None or event[0] <= endTime)]
        if filterPattern == METRICS_PATTERN:
            found = [event for event in found if '"_aws"' in event[2]]
        found.sort()
        begin = int(nextToken or 0)
        more = {"nextToken": str(begin + self.page)} if len(found) > begin + self.page else {}
        return {"events": _as_events(found[begin : begin + self.page])} | more

    def get_function_configuration(self, *, FunctionName: str) -> Mapping[str, Any]:  # noqa: N803
        self._call("get_function_configuration")
        return {"Environment": {"Variables": self.settings}}

    def get_queue_attributes(self, *, QueueUrl: str, AttributeNames: Sequence[str]) -> Mapping[str, Any]:  # noqa: N803
        self._call("get_queue_attributes")
        waiting = self.uploads if QueueUrl.endswith("uploads") else self.letters
        numbers = {"": waiting, "NotVisible": 0, "Delayed": 0}
        return {"Attributes": {f"ApproximateNumberOfMessages{name}": str(number) for name, number in numbers.items()}}

    def list_event_source_mappings(self, *, FunctionName: str) -> Mapping[str, Any]:  # noqa: N803
        self._call("list_event_source_mappings")
        return {"EventSourceMappings": [{"UUID": "uuid-1", "State": self.mapping}]}

    def get_item(self, **_: object) -> Mapping[str, Any]:
        self._call("get_item")
        return {"Item": self.item | ({"paused_by": {"S": self.paused_by}} if self.paused_by else {})}

    def get_metric_statistics(self, **_: object) -> Mapping[str, Any]:
        self._call("get_metric_statistics")
        return {"Datapoints": []}

    def get_secret_value(self, **_: object) -> Mapping[str, Any]:
        self._call("get_secret_value")
        raise refusal("ResourceNotFoundException", "GetSecretValue")  # so that nobody asks Pixelcut


def _as_events(found: Sequence[tuple[int, int, str]]) -> list[dict[str, Any]]:
    return [{"timestamp": at, "eventId": str(number), "message": f"{line}\n"} for at, number, line in found]
