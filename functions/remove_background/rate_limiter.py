"""Keeps the whole stack under the account's request rate, whatever the backlog.

All environments take their turns from one DynamoDB item, `next_at`: the time of the next request, in seconds since the
epoch. Shares of the rate, one for each environment, would leave those of the idle ones unused.
"""

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from .aws_errors import AwsError, error_code
from .deadline import Deadline
from .errors import OutOfTime, RateLimitExceeded, StorageUnavailable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# Requests do not arrive as evenly as they are sent: with 1.015, some did not keep within the rate on one busy machine.
MARGIN = 1.025
# Seconds by which a turn is taken ahead. One that has begun when it is known makes its request late, and the next one
# follows too closely.
LEAD = 0.15
# A single 429 is a request that arrived a little early, and costs little time. Many of them add up.
SLOWER, FASTER, SLOWEST = 1.05, 0.98, 16.0
# Share of an invocation's time that must be left after the turn, for the paid call and what follows it.
RESERVE = 1 / 3
TRIES = 20

_ITEM = {"id": {"S": "pace"}}


class Pace:
    def __init__(self, dynamodb: "DynamoDBClient", table: str, requests_per_second: float) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._shortest = MARGIN / requests_per_second
        self._interval = self._shortest
        self._lock = threading.Lock()
        self._taking = threading.Lock()  # held by the thread that takes turns for all that want one
        self._wanted = 0
        self._taken: deque[float] = deque()

    @contextmanager
    def turn(self, deadline: Deadline) -> Iterator[None]:
        """Waits for the turn of one request, and learns from its end: a 429 lowers the pace, successes raise it.

        Raises OutOfTime when the turn would come too late, StorageUnavailable when DynamoDB fails.
        """
        turn = self._take(deadline)
        if turn is None:
            # Others have all the turns of the next minutes: this environment would only put its uploads back and take
            # them up again, as fast as it can.
            time.sleep(deadline.remaining(reserve=RESERVE))
            raise OutOfTime("Too many requests wait for their turn. It is tried again.")
        time.sleep(max(0.0, turn - time.time()))
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
        """The time of a turn that nobody else has; None when it would come too late, and is left to others.

        Threads that want one at the same time share a call to DynamoDB.
        """
        with self._lock:
            self._wanted += 1
        with self._taking:  # who has it counts as one that wants a turn: each turn that is taken is used at once
            try:
                if not self._taken:
                    self._taken.extend(self._take_turns(deadline))
                return self._taken.popleft() if self._taken else None
            finally:
                with self._lock:
                    self._wanted -= 1

    def _take_turns(self, deadline: Deadline) -> list[float]:
        """One for each thread that wants one; where so many would not come in time, one, or none."""
        wanted, interval = self._wanted, self._interval
        for turns in dict.fromkeys((wanted, 1)):
            latest = time.time() + deadline.remaining(reserve=RESERVE) - (turns - 1) * interval
            if (first := self._take_first_of(turns * interval, latest)) is not None:
                return [first + number * interval for number in range(turns)]
        return []

    def _take_first_of(self, seconds: float, latest: float) -> float | None:
        """The first of the turns that these seconds hold; no other environment has one of them."""
        for _ in range(TRIES):
            soon = time.time() + LEAD
            if soon > latest:
                return None
            # A queue of turns: behind the last of them.
            behind = "next_at >= :soon AND next_at <= :latest"
            values = {":soon": soon, ":step": seconds}
            done, next_at = self._update("next_at + :step", behind, values | {":latest": latest})
            if done:
                return next_at
            if next_at is not None and next_at > latest:
                return None
            # Nobody waits.
            done, _ = self._update(":soon + :step", "attribute_not_exists(next_at) OR next_at < :soon", values)
            if done:
                return soon
        raise StorageUnavailable("Too many environments took their turns at once. It is tried again.")

    def _update(self, next_at: str, condition: str, values: Mapping[str, float]) -> tuple[bool, float | None]:
        """Whether the condition held, and what `next_at` was before; None where it was nothing."""
        try:
            answer = self._dynamodb.update_item(
                TableName=self._table,
                Key=_ITEM,
                UpdateExpression=f"SET next_at = {next_at}",
                ConditionExpression=condition,
                ExpressionAttributeValues={name: {"N": f"{value:.6f}"} for name, value in values.items()},
                ReturnValues="UPDATED_OLD",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except AwsError as error:
            if error_code(error) != "ConditionalCheckFailedException" or not isinstance(error, ClientError):
                raise StorageUnavailable(
                    f"DynamoDB did not give the function its turn ({error_code(error)}). It is tried again."
                ) from None
            return False, _next_at(error.response.get("Item", {}))  # type: ignore[arg-type]  # not in the stubs
        return True, _next_at(answer.get("Attributes", {}))


def _next_at(item: Mapping[str, Any]) -> float | None:
    return float(item["next_at"]["N"]) if "next_at" in item else None
