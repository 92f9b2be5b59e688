"""The rate limiter: keeps the whole stack under the account's request rate, whatever the backlog.

All execution environments reserve slots from one DynamoDB item, the intake's: `next_at` is the time of the next free
slot, in seconds since the epoch. Shares of the rate, one per environment, would leave those of the idle ones unused. A
slot is reserved only while the intake is open: so that costs no call of its own.
"""

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from .aws_errors import AwsError, error_code, refused_item
from .deadline import Deadline
from .errors import OutOfTime, RateLimitExceeded, StorageUnavailable
from .intake import IS_OPEN, ITEM

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# Requests do not arrive as evenly as they are sent: with 1.015, some did not keep within the rate on one busy machine.
MARGIN = 1.025
# Seconds by which slots are reserved ahead. If a slot has started by the time DynamoDB answers, its request is late and
# the next one follows too closely.
LEAD = 0.15
# A single 429 is a request that arrived a little early, and costs little time. Many of them add up.
SLOWER, FASTER, SLOWEST = 1.05, 0.98, 16.0
# Share of an invocation's time that must be left after the slot has begun, for the paid call and what follows it.
RESERVE = 1 / 3
# Seconds by which the probe outlives the invocation that holds it.
PROBE_MARGIN = 5.0
TRIES = 20


class Admission(Protocol):
    def admit(self, item: Mapping[str, Any], until: float) -> bool:
        """Whether a call may be made although its slot was refused; raises a CutoutError where it may not."""

    def note_open(self, asked: float) -> None:
        """A slot was reserved, and so the intake was open after `asked`, on the monotonic clock."""


class RateLimiter:
    def __init__(
        self, dynamodb: "DynamoDBClient", table: str, requests_per_second: float, admission: Admission
    ) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._admission = admission
        self._shortest = MARGIN / requests_per_second
        self._interval = self._shortest
        self._lock = threading.Lock()
        self._reserving = threading.Lock()  # held by the thread that reserves slots for all that want one
        self._wanted = 0
        self._reserved: deque[float] = deque()

    @contextmanager
    def slot(self, deadline: Deadline) -> Iterator[None]:
        """Waits for the slot of one request, and learns from its end: a 429 lowers the rate, successes raise it.

        Raises OutOfTime when the slot would come too late, StorageUnavailable when DynamoDB fails, and IntakePaused.
        """
        slot = self._take(deadline)
        if slot is None:
            # Others have all the slots of the next minutes: this environment would only put its uploads back and take
            # them up again, as fast as it can.
            time.sleep(deadline.remaining(reserve=RESERVE))
            raise OutOfTime("Too many requests wait for their slots.")
        time.sleep(max(0.0, slot - time.time()))
        try:
            yield
        except RateLimitExceeded:
            self._slow_down()
            raise
        with self._lock:
            self._interval = max(self._shortest, self._interval * FASTER)

    def _slow_down(self) -> None:
        with self._lock:
            self._interval = min(self._shortest * SLOWEST, self._interval * SLOWER)

    def _take(self, deadline: Deadline) -> float | None:
        """The time of a slot that nobody else has; None when it would come too late, and is left to others.

        Threads that want one at the same time share a call to DynamoDB.
        """
        with self._lock:
            self._wanted += 1
        # Who holds the lock counts as one that wants a slot: each slot that is reserved is used at once.
        with self._reserving:
            try:
                if not self._reserved:
                    self._reserved.extend(self._reserve(deadline))
                return self._reserved.popleft() if self._reserved else None
            finally:
                with self._lock:
                    self._wanted -= 1

    def _reserve(self, deadline: Deadline) -> list[float]:
        """One slot for each thread that wants one; where so many would not come in time, one, or none."""
        wanted, interval = self._wanted, self._interval
        for slots in dict.fromkeys((wanted, 1)):
            latest = time.time() + deadline.remaining(reserve=RESERVE) - (slots - 1) * interval
            until = time.time() + deadline.remaining() + PROBE_MARGIN
            if reserved := self._reserve_next(slots, interval, latest, until):
                return reserved
        return []

    def _reserve_next(self, slots: int, interval: float, latest: float, until: float) -> list[float]:
        """The next slots; no other environment has one of them."""
        for _ in range(TRIES):
            soon, asked = time.time() + LEAD, time.monotonic()
            if soon > latest:
                return []
            # A queue of slots: behind the last of them.
            behind = "next_at >= :soon AND next_at <= :latest"
            values = {":soon": soon, ":step": slots * interval}
            done, item = self._update("next_at + :step", behind, values | {":latest": latest})
            first = _next_at(item)
            if not done:
                if self._admission.admit(item, until):
                    return [soon]  # the only call in the whole stack
                if first is not None and first > latest:
                    return []
                # Nobody waits.
                first = soon
                done, _ = self._update(":soon + :step", "(attribute_not_exists(next_at) OR next_at < :soon)", values)
            if done and first is not None:
                self._admission.note_open(asked)
                return [first + number * interval for number in range(slots)]
        raise StorageUnavailable("Too many environments reserved their slots at once.")

    def _update(self, next_at: str, condition: str, values: Mapping[str, float]) -> tuple[bool, Mapping[str, Any]]:
        """Whether the condition held, and what the item was before."""
        try:
            answer = self._dynamodb.update_item(
                TableName=self._table,
                Key=ITEM,
                UpdateExpression=f"SET next_at = {next_at}",
                ConditionExpression=f"{condition} AND {IS_OPEN}",
                ExpressionAttributeValues={name: {"N": f"{value:.6f}"} for name, value in values.items()},
                ReturnValues="UPDATED_OLD",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except AwsError as error:
            if (item := refused_item(error)) is None:
                raise StorageUnavailable(
                    f"DynamoDB did not reserve a slot for the request ({error_code(error)})."
                ) from None
            return False, item
        return True, answer.get("Attributes", {})


def _next_at(item: Mapping[str, Any]) -> float | None:
    return float(item["next_at"]["N"]) if "next_at" in item else None
