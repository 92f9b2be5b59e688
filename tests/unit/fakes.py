"""Fakes of what takes time: the clock, and Lambda's event source mappings."""

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError


class Clock:
    """Replaces the module `time` in a module under test: time passes only by sleeping."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")  # as the real one does
        self.now += seconds


class EventSourceMapping:
    """Lambda's control plane for one mapping. An update starts a transition, which ends after `reads` looks at it;
    while it lasts, every update is refused.
    """

    def __init__(self, state: str = "Enabled", reads: int = 2) -> None:
        self.state = state
        self.reads = reads
        self.updates: list[bool] = []
        self.refused = 0
        self._left = 0
        self._ends_as = state

    def begin(self, transition: str, ends_as: str) -> None:
        self.state, self._ends_as, self._left = transition, ends_as, self.reads
        self._end_if_over()

    def finish(self) -> None:
        """Ends the transition."""
        self._left = 0
        self._end_if_over()

    def list_event_source_mappings(self, *, FunctionName: str) -> dict[str, Any]:  # noqa: N803  # boto3's names
        assert FunctionName == "remove-background"
        return {"EventSourceMappings": [self.get_event_source_mapping(UUID="uuid-1")]}

    def get_event_source_mapping(self, *, UUID: str) -> dict[str, Any]:  # noqa: N803
        assert UUID == "uuid-1"
        found = self.state
        self._left -= 1
        self._end_if_over()
        return {"UUID": UUID, "State": found}

    def update_event_source_mapping(self, *, UUID: str, Enabled: bool) -> None:  # noqa: N803
        assert UUID == "uuid-1"
        if self.state not in ("Enabled", "Disabled"):
            self.refused += 1
            raise refusal("ResourceInUseException")
        self.updates.append(Enabled)
        wanted = "Enabled" if Enabled else "Disabled"
        transition = "Updating" if wanted == self.state else {"Enabled": "Enabling", "Disabled": "Disabling"}[wanted]
        self.begin(transition, wanted)

    def _end_if_over(self) -> None:
        if self._left <= 0:
            self.state = self._ends_as


def refusal(code: str, operation: str = "UpdateEventSourceMapping") -> ClientError:
    return ClientError({"Error": {"Code": code}}, operation)


def as_stored(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item as DynamoDB stores it. moto keeps the zeros at the end of a number.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html
    """
    return {name: {"N": _trimmed(value["N"])} if "N" in value else value for name, value in item.items()}


def _trimmed(number: str) -> str:
    return number.rstrip("0").rstrip(".") if "." in number else number
