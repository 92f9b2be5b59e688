"""The rate limiter: keeps the whole stack under the account's request rate, whatever the backlog.

All execution environments reserve slots from one DynamoDB item, the intake's: `next_at` is the time of the next free
slot, in seconds since the epoch. Shares of the rate, one per environment, would leave those of the idle ones unused. A
slot is reserved only while the intake is open, and with it a credit of the caps (caps.py): neither costs a call of its
own.
"""

import functools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from .aws_errors import AwsError, error_code, refused_item
from .caps import Caps, Counts, Part, Reserved
from .deadline import Deadline
from .errors import Billed, CutoutError, OutOfTime, RateLimitExceeded, StorageUnavailable
from .intake import IS_OPEN, ITEM, IntakeItem
from .interval import Interval

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# Requests do not arrive as evenly as they are sent: by so much of a second one may be later than the one a second after
# it, where the API counts those of the last second.
MARGIN = 1.006
# Seconds by which slots are reserved ahead, and by which the intake is looked at before a slot. If a slot has started
# by the time DynamoDB answers, its request is late and the next one follows too closely.
LEAD = 0.15
# Share of an invocation's time that must be left after the slot has begun, for the paid call and what follows it.
RESERVE = 1 / 3
# Seconds by which the probe outlives the invocation that holds it.
PROBE_MARGIN = 5.0
TRIES = 20


log = logging.getLogger(__name__)


class Admission(Protocol):
    def admit(self, item: Mapping[str, Any], until: float, part: Part) -> bool:
        """Whether a call may be made although its slot was refused; raises a CutoutError where it may not.

        Where it may, `part` was written.
        """

    def check_again(self, seconds: float) -> None:
        """Raises a CutoutError where a call may not be made any more whose slot begins in so many seconds."""

    def pause_at_cap(self, reason: str, condition: str, values: Mapping[str, Any]) -> None:
        """Pauses the intake if the condition holds, and raises IntakePaused."""

    def note_open(self, asked: float) -> None:
        """A slot was reserved, and so the intake was open after `asked`, on the monotonic clock."""


class Slot(NamedTuple):
    """When a request may be sent, by when at the latest, and what is reserved for it where there is a cap."""

    at: float
    ends: float = float("inf")
    reserved: Reserved | None = None


class HasDynamoDB(Protocol):
    """`dynamodb_once` repeats no call."""

    @property
    def dynamodb(self) -> "DynamoDBClient": ...
    @property
    def dynamodb_once(self) -> "DynamoDBClient": ...


class RateLimiter:
    def __init__(
        self, clients: HasDynamoDB, table: str, requests_per_second: float, admission: Admission, caps: Caps
    ) -> None:
        self._clients = clients
        self._table = table
        self._admission = admission
        self._caps = caps
        self._counts = Counts()  # seen last
        self._interval = Interval(MARGIN / requests_per_second)
        self._lock = threading.Lock()
        self._reserving = threading.Lock()  # held by the thread that reserves slots for all that want one
        self._wanted = 0
        self._reserved: deque[Slot] = deque()

    @contextmanager
    def slot(self, deadline: Deadline) -> Iterator[Callable[[], None]]:
        """Waits for the slot of one request, and learns from its end: a 429 lowers the rate, successes raise it.

        Gives what is to be called when the request is about to be sent: it raises a CutoutError if the intake was
        paused meanwhile, or the day has ended that a credit was reserved for.
        Raises OutOfTime when the slot would come too late, StorageUnavailable when DynamoDB fails, and IntakePaused.
        """
        slot = self._take(deadline)
        if slot is None:
            # Others have all the slots of the next minutes: this environment would only put its uploads back and take
            # them up again, as fast as it can.
            time.sleep(deadline.remaining(reserve=RESERVE))
            raise OutOfTime("Too many requests wait for their slots.")
        try:
            if slot.at - LEAD > time.time():
                # A look takes a call, and would make the request late if it were only taken when the slot begins.
                _sleep_until(slot.at - LEAD)
                self._admission.check_again(LEAD)
            _sleep_until(slot.at)
            self._check(slot)
            yield functools.partial(self._check, slot)
        except CutoutError as error:
            if isinstance(error, RateLimitExceeded):
                self._interval.lengthen()
            if slot.reserved and error.billed is Billed.NO:
                self._give_back(slot.reserved)
            raise
        self._interval.shorten()

    def _check(self, slot: Slot) -> None:
        self._admission.check_again(0)
        if time.time() >= slot.ends:
            raise OutOfTime.of_the_day()

    def _give_back(self, reserved: Reserved) -> None:
        try:
            IntakeItem(self._clients.dynamodb_once, self._table).give_back(reserved)
        except AwsError as error:
            log.error("A credit of the cap could not be given back (%s). It counts as spent.", error_code(error))

    def _take(self, deadline: Deadline) -> Slot | None:
        """A slot that nobody else has; None when it would come too late, and is left to others.

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

    def _reserve(self, deadline: Deadline) -> list[Slot]:
        """One slot for each thread that wants one; where so many would not come in time, one, or none."""
        wanted, interval = int(min(self._wanted, self._caps.least)), self._interval.seconds
        for slots in dict.fromkeys((wanted, 1)):
            latest = time.time() + deadline.remaining(reserve=RESERVE) - (slots - 1) * interval
            until = time.time() + deadline.remaining() + PROBE_MARGIN
            if reserved := self._reserve_next(slots, interval, latest, until):
                return reserved
        return []

    def _reserve_next(self, slots: int, interval: float, latest: float, until: float) -> list[Slot]:
        """The next slots; no other environment has one of them."""
        queued, seconds = 0.0, (slots - 1) * interval
        for _ in range(TRIES):
            soon, asked = time.time() + LEAD, time.monotonic()
            part = self._caps.part(self._counts, max(soon, queued), slots, seconds)
            first = max(soon, part.begins)
            if first > latest:
                return []
            # A queue of slots: behind the last of them.
            behind = "next_at >= :soon AND next_at <= :latest"
            values = {":soon": first, ":step": slots * interval}
            done, item = self._update("next_at + :step", behind, values | {":latest": min(latest, part.last)}, part)
            queued = _next_at(item)
            if done:
                first = queued
            else:
                self._counts = Counts.of(item)
                if self._is_used_up(item, max(soon, queued), slots):
                    return []
                probe = self._caps.part(self._counts, soon, 1)
                if "reopened_at" in item and probe.begins > latest:
                    return []
                if self._admission.admit(item, until, probe):
                    return _slots(max(soon, probe.begins), 1, interval, probe)  # the only call in the whole stack
                if queued > latest:
                    return []
                part = self._caps.part(self._counts, max(soon, queued), slots, seconds)
                first = max(soon, part.begins)
                if queued >= first or first > latest:
                    continue
                # Nobody waits.
                values = {":soon": first, ":step": slots * interval}
                nobody = "(attribute_not_exists(next_at) OR next_at < :soon)"
                done, item = self._update(":soon + :step", nobody, values, part)
                # The first request need not wait for the time that is reserved ahead, but for the day it counts for.
                early = self._caps.part(self._counts, soon - LEAD, slots, seconds)
                queued = max(_next_at(item), part.begins, early.begins, soon - LEAD)
            if done:
                self._admission.note_open(asked)
                return [Slot(queued, part.ends, part.reserved), *_slots(first, slots, interval, part)[1:]]
        raise StorageUnavailable("Too many environments reserved their slots at once.")

    def _is_used_up(self, item: Mapping[str, Any], at: float, slots: int) -> bool:
        """Whether a cap leaves fewer credits than that; where it leaves none, the intake is paused.

        Raises IntakePaused then.
        """
        if "paused_by" in item or (reason := self._caps.reached(self._counts, at, slots)) is None:
            return False
        if slots == 1:
            self._admission.pause_at_cap(reason, *self._caps.is_reached(self._counts, reason))
        return True

    def _update(
        self, next_at: str, condition: str, values: Mapping[str, float], part: Part
    ) -> tuple[bool, Mapping[str, Any]]:
        """Whether the condition held, and what the item was before."""
        try:
            answer = self._clients.dynamodb.update_item(
                TableName=self._table,
                Key=ITEM,
                UpdateExpression=f"SET next_at = {next_at}{part.sets}{part.removes}",
                ConditionExpression=f"{condition} AND {IS_OPEN}{part.condition}",
                ExpressionAttributeValues={**_times(values), **part.values},
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


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.time()))


def _times(values: Mapping[str, float]) -> dict[str, dict[str, str]]:
    return {name: {"N": f"{value:.6f}"} for name, value in values.items()}


def _slots(first: float, slots: int, interval: float, part: Part) -> list[Slot]:
    return [Slot(first + number * interval, part.ends, part.reserved) for number in range(slots)]


def _next_at(item: Mapping[str, Any]) -> float:
    """0 where no slot was ever reserved."""
    return float(item["next_at"]["N"]) if "next_at" in item else 0.0
