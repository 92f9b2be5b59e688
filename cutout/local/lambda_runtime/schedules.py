"""EventBridge's scheduled rules: each invokes its functions at its rate while it is enabled."""

import json
import re
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from cutout.local.lambda_runtime.runtime_api import Outcome

LOOK_SECONDS = 0.2  # how often the rules are read
SECONDS = {"minute": 60, "hour": 3600, "day": 86400}
_RATE = re.compile(r"rate\((?:1 (minute|hour|day)|([2-9]|[1-9]\d+) (minute|hour|day)s)\)")


def period(expression: str) -> int:
    """The seconds of a rate(...). Raises ValueError for any other expression."""
    rate = _RATE.fullmatch(expression)
    if rate is None:
        raise ValueError(f"the schedule {expression!r} is not a rate(...), the only kind that the local cloud supports")
    one, number, many = rate.groups()
    return int(number or 1) * SECONDS[one or many]


class Schedules:
    """Follows the rules in its own thread. A failed invocation is not retried: the next one follows."""

    def __init__(self, events: Any, invoke: Callable[[str, object], Outcome], speed: float) -> None:  # noqa: ANN401
        """`events` is a client of EventBridge; schedules run `speed` times as fast."""
        self._events = events
        self._invoke = invoke
        self._speed = speed
        self._running: list[threading.Thread] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="schedules")
        self._thread.start()

    def stop(self) -> None:
        """Begins no more invocations; `join` waits for those that run."""
        self._stopped.set()
        self._thread.join()

    def join(self) -> None:
        for thread in self._running:
            thread.join()

    def _follow(self) -> None:
        due: dict[tuple[str, str], float] = {}  # on the monotonic clock, by the rule and its rate
        while not self._stopped.wait(LOOK_SECONDS):
            now = time.monotonic()
            enabled = {
                (rule["Arn"], rule["ScheduleExpression"]): rule
                for rule in self._events.list_rules()["Rules"]
                if rule["State"] == "ENABLED" and "ScheduleExpression" in rule
            }
            due = {key: due.get(key, now + period(key[1]) / self._speed) for key in enabled}
            for key, rule in enabled.items():
                if due[key] <= now:
                    due[key] = now + period(key[1]) / self._speed
                    self._fire(rule)

    def _fire(self, rule: dict[str, Any]) -> None:
        try:
            targets = self._events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
        except self._events.exceptions.ResourceNotFoundException:  # it has just been deleted
            return
        self._running = [thread for thread in self._running if thread.is_alive()]
        for target in targets:
            event = json.loads(target["Input"]) if "Input" in target else _event(rule["Arn"])
            thread = threading.Thread(target=self._run, args=(target["Arn"], event), name="schedule")
            thread.start()
            self._running.append(thread)

    def _run(self, arn: str, event: object) -> None:
        try:
            self._invoke(arn, event)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":  # the stack is being deleted
                raise


def _event(rule: str) -> dict[str, object]:
    """https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-rule-schedule.html"""
    _, _, _, region, account, _ = rule.split(":")
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": account,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "region": region,
        "resources": [rule],
        "detail": {},
    }
