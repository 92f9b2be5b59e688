"""The intake: a circuit breaker on the queue's event source mapping, which is paused while no upload can succeed.

One DynamoDB item holds its state, and only this module writes it: for the function, ReopenIntake and the command.
Times are in seconds since the epoch.

    paused_by, reason, since    who paused it ("function" or "operator"), the error's code or a person's words, and when
    reopened_at                 on probation: reopened, and no success yet
    fruitless                   how often the function paused it in a row without a success in between
    failing, failed_at          the uploads that failed in a row, and when the last of them did
    closed                      the mapping was disabled because of this pause: else it was by hand
    probe, probe_until          on probation only one upload at a time may be paid for: its token, and until when
    next_at                     the rate limiter's next slot (rate_limiter.py)
    day_..., month_...          the credits that are reserved (caps.py)
    switching                   tokens of those who are making the mapping follow this item

The item is the truth, and the mapping follows it. Every paid call reserves its slot by a conditional write on this very
item, so that all execution environments know of a pause at their next paid call, whatever state the mapping is in.
"""

import hashlib
import logging
import threading
import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from .aws_errors import AwsError, error_code, refused_item
from .caps import DAY, MONTH, REASONS, Caps, Counts, Part, Reserved
from .errors import (
    AccountBlocked,
    Billed,
    CutoutError,
    InProgress,
    IntakePaused,
    OutOfTime,
    RateLimitExceeded,
    StorageUnavailable,
    Unavailable,
    UnexpectedError,
)
from .uploads import Upload

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_lambda import LambdaClient

ITEM: dict[str, Any] = {"id": {"S": "intake"}}
FUNCTION, OPERATOR = "function", "operator"  # in `paused_by`
# Part of the condition of every paid call's slot. On probation a call needs the probe instead.
IS_OPEN = "attribute_not_exists(paused_by) AND attribute_not_exists(reopened_at)"

# Uploads that fail on probation until the intake is paused again.
FAILURES_ON_PROBATION = 3
# Seconds for which an environment trusts that the intake is open: after a longer wait for a slot, a call checks again.
TRUST_SECONDS = 5.0
# Failures further apart than this are not in a row.
IN_A_ROW_SECONDS = 600.0
# After this long, a switch of the mapping has ended: longer than ReopenIntake or a command may take.
SWITCHING_SECONDS = 120.0
SWITCH_REST_SECONDS = 1.0

# Lambda refuses to change a mapping that is changing its state.
_BUSY = ("ResourceInUseException", "ResourceConflictException", "TooManyRequestsException")
# What ends with a pause, and with a reopening.
_OF_A_PAUSE = "paused_by, reason, since, closed"
_OF_A_PROBATION = "reopened_at, probe, probe_until, failing, failed_at"

log = logging.getLogger(__name__)


class State(NamedTuple):
    """The item as it was read; `paused_by` is None while the intake is open or on probation."""

    paused_by: str | None = None
    reason: str | None = None
    since: float | None = None
    reopened_at: float | None = None
    fruitless: int = 0
    failing: frozenset[str] = frozenset()
    closed: bool = False
    switching: frozenset[str] = frozenset()
    counts: Counts = Counts()

    @property
    def is_at_cap(self) -> bool:
        """Nothing has failed: the function paused it until the period of a cap ends, or more is allowed."""
        return self.paused_by == FUNCTION and self.reason in REASONS.values()

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Self:
        def number(name: str) -> float | None:
            return float(item[name]["N"]) if name in item else None

        return cls(
            paused_by=item.get("paused_by", {}).get("S"),
            reason=item.get("reason", {}).get("S"),
            since=number("since"),
            reopened_at=number("reopened_at"),
            fruitless=int(number("fruitless") or 0),
            failing=frozenset(item.get("failing", {}).get("SS", ())),
            closed="closed" in item,
            switching=frozenset(item.get("switching", {}).get("SS", ())),
            counts=Counts.of(item),
        )


class Intake:
    """The item, as the function sees it. What it cannot write or read because DynamoDB fails, it logs."""

    def __init__(self, dynamodb: "DynamoDBClient", table: str, failures_in_a_row: int) -> None:
        """`failures_in_a_row`: this many failed uploads, without a success in between, pause the intake."""
        self._item = IntakeItem(dynamodb, table)
        self._failures_in_a_row = failures_in_a_row
        self._lock = threading.Lock()
        self._looking = threading.Lock()
        self._failed = False  # since this environment's last success
        self._paused = False
        self._at_cap = False
        self._open_at = 0.0  # when it was last asked for, and found open, on the monotonic clock
        self._began = 0.0  # the invocation
        self._probe: tuple[str, int] | None = None  # the probe that this environment holds, and the thread that does

    def begin(self) -> None:
        """Call at the start of every invocation: being invoked may mean that the intake was reopened.

        Or that Lambda still hands out messages: a mapping takes a while to be disabled.
        """
        self._began = time.time()
        if self._paused:
            try:
                self._look()
            except StorageUnavailable as error:  # it stays paused: the next invocation looks again
                log.error(error.message)  # the error's own trace says nothing more

    def check(self) -> None:
        """Raises IntakePaused if this environment knows that the intake is paused."""
        if self._paused:
            raise IntakePaused("The intake is paused. The upload waits until it is reopened.")

    def check_again(self, seconds: float) -> None:
        """The same for a call so many seconds from now: others may have paused the intake, or paused and reopened it.

        A pause at a cap is none for a call whose credit is reserved: given back, it would reopen the intake, for the
        same again. Raises StorageUnavailable where the state cannot be known.
        """
        probation = False
        with self._looking:
            if (not self._paused or self._at_cap) and time.monotonic() + seconds - self._open_at > TRUST_SECONDS:
                probation = self._look()
        if not self._at_cap:
            self.check()
        if probation and self._own_probe() is None:
            raise _on_probation()

    def note_open(self, asked: float) -> None:
        """DynamoDB was asked then, on the monotonic clock, and the intake was open."""
        self._open_at = asked

    def _look(self) -> bool:
        """Whether it is on probation: then no environment may trust that it is open."""
        asked = time.monotonic()
        try:
            seen = self._item.read()
        except AwsError as error:
            raise StorageUnavailable(
                f"DynamoDB did not let the function look whether the intake is open ({error_code(error)})."
            ) from None
        was_paused = self._paused
        self._note(seen)
        if was_paused and not self._paused:
            self._failed = False  # the reopening has forgotten what failed before
        if (not self._paused or self._at_cap) and seen.reopened_at is None:
            self.note_open(asked)
            if time.monotonic() - asked > TRUST_SECONDS:
                raise StorageUnavailable("DynamoDB answered too slowly whether the intake is open.")
        return seen.reopened_at is not None

    def _note(self, seen: State) -> None:
        # In this order: another thread may read both in between.
        self._at_cap = seen.is_at_cap
        self._paused = seen.paused_by is not None

    def admit(self, item: Mapping[str, Any], until: float, part: Part) -> bool:
        """Decides after a slot was refused, with the item at that time, whether the call may still be made.

        On probation it may while no other upload has the probe; this one then has it until `release`, or `until`, and
        a credit is reserved as `part` says. Raises IntakePaused where it may not, and StorageUnavailable.
        """
        state = State.of(item)
        if state.paused_by:
            self._note(state)
            self.check()
        if state.reopened_at is None:
            return False
        token = self._own_probe() or uuid.uuid4().hex
        try:
            taken = self._item.take_probe(token, until, part)
        except AwsError as error:
            raise StorageUnavailable(
                f"DynamoDB did not reserve a slot for the request ({error_code(error)})."
            ) from None
        if not taken:
            raise _on_probation()
        with self._lock:
            self._probe = token, threading.get_ident()
        return True

    def pause_at_cap(self, reason: str, condition: str, values: Mapping[str, Any]) -> None:
        """Pauses it if the condition holds: credits may have been given back or allowed since. Raises IntakePaused."""
        try:
            done, seen = self._item.pause_at_cap(reason, condition, values)
        except AwsError as error:
            raise StorageUnavailable(f"DynamoDB did not let the function pause ({error_code(error)}).") from None
        self._note(seen)
        if done:
            log.warning("The intake is paused: %s.", reason, extra={"error_code": reason})
        self.check()
        raise _waits("The last credit before the cap may be given back. The upload waits for the next attempt.")

    def release(self) -> None:
        """Call in the thread of an upload when its processing has ended: another one may become the probe."""
        if token := self._take_own_probe():
            self._write("REMOVE probe, probe_until", {":token": {"S": token}}, "probe = :token")

    def report_success(self) -> None:
        with self._lock:
            failed, self._failed = self._failed, False
        if token := self._take_own_probe():
            self._write(f"REMOVE {_OF_A_PROBATION}, fruitless", {":token": {"S": token}}, "probe = :token")
        elif failed:
            self._write("REMOVE failing, failed_at", {}, None)

    def report_failure(self, error: CutoutError, upload: Upload | None) -> bool:
        """Pauses the intake when it is time to. Whether the failure counts as one of the upload's attempts."""
        if isinstance(error, InProgress | IntakePaused | OutOfTime | RateLimitExceeded):
            return False
        if isinstance(error, AccountBlocked):
            self._pause(error.code)
            return False
        if not isinstance(error, Unavailable) or not error.may_be_general:
            return True
        return self._count(error.code, upload, refused_write=_is_refused_write(error)) or error.is_its_own

    def report_stopped(self, upload: Upload) -> None:
        """The function was stopped while it paid for this upload, as may happen with any upload."""
        self._count(UnexpectedError.code, upload, refused_write=False)

    def _count(self, reason: str, upload: Upload | None, *, refused_write: bool) -> bool:
        """Adds an upload to those that failed in a row, and pauses the intake when they are many.

        False if the failure says more about the service or about AWS than about the upload.
        """
        with self._lock:
            self._failed = True
        probe = self._own_probe()
        try:
            state = self._item.add_failure(_fingerprint(upload), probe, self._began)
        except AwsError as error:
            log.error("The state of the intake could not be written (%s).", error_code(error))
            return False
        if state.paused_by:
            self._note(state)
            return False
        limit = self._failures_in_a_row
        if state.reopened_at is not None:
            if probe is None and state.reopened_at >= self._began:
                return True
            limit = 1 if refused_write else FAILURES_ON_PROBATION
        if len(state.failing) < limit:
            return True
        self._pause(reason)
        return False

    def _pause(self, reason: str) -> None:
        """Does not take over an operator's pause, nor its own but one at a cap."""
        try:
            paused = self._item.pause(FUNCTION, reason)
        except AwsError as error:
            log.error("The intake could not be paused (%s). The next failure does.", error_code(error))
            return
        self._paused = True
        if paused:
            self._at_cap = False
            log.warning("The intake is paused: %s.", reason, extra={"error_code": reason})

    def _own_probe(self) -> str | None:
        """The token of the probe that this thread holds: its upload may need a second call, with a fresh key."""
        with self._lock:
            return self._probe[0] if self._probe and self._probe[1] == threading.get_ident() else None

    def _take_own_probe(self) -> str | None:
        with self._lock:
            if self._probe is None or self._probe[1] != threading.get_ident():
                return None
            token, self._probe = self._probe[0], None
            return token

    def _write(self, expression: str, values: dict[str, Any], condition: str | None) -> State | None:
        """The state after the update; None if its condition failed."""
        try:
            return self._item.update(expression, values, condition)
        except AwsError as error:
            if refused_item(error) is None:
                log.error("The state of the intake could not be written (%s).", error_code(error))
            return None


class IntakeItem:
    """The item itself: read, paused, reopened, and followed by the mapping. Raises what boto3 raises."""

    def __init__(self, dynamodb: "DynamoDBClient", table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def read(self) -> State:
        answer = self._dynamodb.get_item(TableName=self._table, Key=ITEM, ConsistentRead=True)
        return State.of(answer.get("Item", {}))

    def update(self, expression: str, values: Mapping[str, Any], condition: str | None) -> State:
        optional: dict[str, Any] = {"ExpressionAttributeValues": values} if values else {}
        if condition:
            optional["ConditionExpression"] = condition
        answer = self._dynamodb.update_item(
            TableName=self._table,
            Key=ITEM,
            UpdateExpression=expression,
            ReturnValues="ALL_NEW",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
            **optional,
        )
        return State.of(answer.get("Attributes", {}))

    def add_failure(self, name: str, probe: str | None, began: float) -> State:
        """The state with all uploads that failed in a row, in all environments.

        Unchanged while it is paused, and on probation by an upload without the probe whose invocation began before the
        reopening: it tells nothing about now.
        """
        now = time.time()
        values: dict[str, Any] = {":name": {"SS": [name]}, ":now": _time(now), ":lately": _time(now - IN_A_ROW_SECONDS)}
        if probe:
            counts = "probe = :token"
            values[":token"] = {"S": probe}
        else:
            counts = "attribute_not_exists(paused_by) AND (attribute_not_exists(reopened_at) OR reopened_at < :began)"
            values[":began"] = _time(began)
        seen = State()
        # Another upload may become the first in a row between the first two.
        for expression, condition in (_ONE_MORE, _THE_FIRST, _ONE_MORE):
            try:
                return self.update(expression, values, f"{condition} AND {counts}")
            except AwsError as error:
                if (item := refused_item(error)) is None:
                    raise
                seen = State.of(item)
                if seen.paused_by or (seen.reopened_at is not None and seen.reopened_at >= began and not probe):
                    break
        return seen

    def take_probe(self, token: str, until: float, part: Part) -> bool:
        """Whether this caller gets the probe, and the credit with it."""
        values = {":token": {"S": token}, ":until": _time(until), ":now": _time(time.time())}
        return self._apply(
            f"SET probe = :token, probe_until = :until{part.sets}{part.removes}",
            {**values, **part.values},
            "attribute_not_exists(paused_by) AND attribute_exists(reopened_at)"
            # `probe = :token`: it was applied before, and the SDK repeats it.
            f" AND (attribute_not_exists(probe) OR probe_until < :now OR probe = :token){part.condition}",
        )

    def pause(self, by: str, reason: str, token: str | None = None) -> bool:
        """Pause it unless it is paused; an operator takes over a pause of the function. Returns whether it was done.

        The function takes over its own pause at a cap, during which calls with a credit go on. It leaves `since` and
        `closed`, as the mapping may follow that pause already.

        With a token the caller goes on to `settle`.
        """
        values = {":by": {"S": by}, ":reason": {"S": reason}, ":now": _time(time.time())}
        condition = "attribute_not_exists(paused_by) OR "
        if by == FUNCTION:
            expression = (
                "SET paused_by = :by, reason = :reason, since = if_not_exists(since, :now),"
                f" fruitless = if_not_exists(fruitless, :none) + :one REMOVE {_OF_A_PROBATION}"
            )
            condition += "(paused_by = :by AND (reason = :of_the_day OR reason = :of_the_month))"
            values |= {":none": {"N": "0"}, ":one": {"N": "1"}}
            values |= {":of_the_day": {"S": REASONS[DAY]}, ":of_the_month": {"S": REASONS[MONTH]}}
        else:
            expression = f"{_PAUSED} REMOVE closed, {_OF_A_PROBATION}"
            condition += "paused_by <> :by"
        return self._apply(expression, values, condition, token)

    def pause_at_cap(self, reason: str, condition: str, values: Mapping[str, Any]) -> tuple[bool, State]:
        """Pause it unless it is paused, if the condition holds. Whether that was done, and the state after it.

        Nothing has failed: it counts as no pause in vain.
        """
        values = {":by": {"S": FUNCTION}, ":reason": {"S": reason}, ":now": _time(time.time()), **values}
        expression = f"{_PAUSED} REMOVE closed, {_OF_A_PROBATION}"
        try:
            return True, self.update(expression, values, f"attribute_not_exists(paused_by) AND {condition}")
        except AwsError as error:
            if (item := refused_item(error)) is None:
                raise
            return False, State.of(item)

    def give_back(self, reserved: Reserved) -> bool:
        """Whether a credit was given back that is reserved in a period which has not turned since.

        The client must not repeat a call whose answer was lost: it could give back what is reserved for another call.
        """
        for names in ((DAY, MONTH), (MONTH,)):  # the day may have turned, and the month not
            ends = {f":{name}_ends": {"N": str(round(getattr(reserved, f"{name}_ends")))} for name in names}
            if self._apply(
                "SET " + ", ".join(f"{name}_credits = {name}_credits - :one" for name in names),
                {":one": {"N": "1"}, **ends},
                " AND ".join(f"{name}_ends = :{name}_ends" for name in names),
            ):
                return True
        return False

    def allow(self, caps: Caps, name: str, credits_: int, reason: str, until: float | None = None) -> Counts | None:
        """Allow credits beyond the cap of the `name` (day or month) until that ends; returns the counts after it.

        None where the period ends at another time than `until`, or where others have changed it meanwhile. It is not
        tried again: it may have been applied before that, and be refused because the SDK repeats it.
        """
        token = new_token()
        expression, condition, values = caps.allowance(self.read().counts, time.time(), name, credits_, reason, token)
        if until is not None and float(values[":ends"]["N"]) != until:
            return None
        try:
            return self.update(expression, values, condition).counts
        except AwsError as error:
            if (item := refused_item(error)) is None:
                raise
            counts = Counts.of(item)
            return counts if token in (counts.day.change, counts.month.change) else None

    def adopt(self, seen: State) -> bool:
        """Record the operator as the owner of a mapping that was disabled by hand, if the item is unchanged."""
        values = {":by": {"S": OPERATOR}, ":reason": {"S": DISABLED_BY_HAND}, ":now": _time(time.time())}
        condition = "attribute_not_exists(switching) AND attribute_not_exists(closed)"
        unchanged = {"paused_by": seen.paused_by, "since": seen.since, "reopened_at": seen.reopened_at}
        for name, value in unchanged.items():
            if value is None:
                condition += f" AND attribute_not_exists({name})"
            else:
                condition += f" AND {name} = :{name}"
                values[f":{name}"] = {"S": value} if isinstance(value, str) else _time(value)
        return self._apply(f"{_PAUSED}, closed = :now REMOVE {_OF_A_PROBATION}", values, condition)

    def reopen(self, seen: State, token: str) -> bool:
        """Put it on probation if it is still paused as it was seen. The caller goes on to `settle`."""
        values = {":by": {"S": seen.paused_by or ""}, ":now": _time(time.time())}
        condition = "paused_by = :by"
        if seen.since is not None:
            condition += " AND since = :since"
            values[":since"] = _time(seen.since)
        if seen.reason is not None:
            condition += " AND reason = :reason"
            values[":reason"] = {"S": seen.reason}
        forget = ", fruitless" if seen.paused_by == OPERATOR else ""
        return self._apply(
            # Uploads that were in flight at the pause have failed since: that says nothing about now.
            f"SET reopened_at = :now REMOVE {_OF_A_PAUSE}, failing, failed_at{forget}",
            values,
            condition,
            token,
        )

    def settle(self, functions: "LambdaClient", mapping: str, token: str, seconds: float) -> bool:
        """Make the mapping follow the item; returns whether that was done within these seconds.

        Safe with several callers at once, and when they are killed: as long as a token is in the item, a mapping that
        contradicts it was not disabled by hand, and the next caller corrects it.
        """
        self.update("ADD switching :tokens", {":tokens": {"SS": [token]}}, None)
        ends = time.monotonic() + seconds
        while True:
            # The item after the mapping: what is written meanwhile is seen by this caller, or has one of its own.
            state = functions.get_event_source_mapping(UUID=mapping)["State"]
            seen = self.read()
            wanted = seen.paused_by is None
            if state == ("Enabled" if wanted else "Disabled"):
                if seen.since is not None:  # of this pause, unless another one has begun
                    self._apply("SET closed = since", {":since": _time(seen.since)}, "since = :since")
                done = [token, *filter(_is_stale, seen.switching)]
                self.update("DELETE switching :tokens", {":tokens": {"SS": done}}, None)
                return True
            if state in ("Enabled", "Disabled"):
                try:
                    functions.update_event_source_mapping(UUID=mapping, Enabled=wanted)
                except AwsError as error:
                    if error_code(error) not in _BUSY:
                        raise
            if time.monotonic() >= ends:
                return False
            time.sleep(SWITCH_REST_SECONDS)

    def _apply(self, expression: str, values: Mapping[str, Any], condition: str, token: str | None = None) -> bool:
        if token:
            expression += " ADD switching :tokens"
            values = {**values, ":tokens": {"SS": [token]}}
        try:
            self.update(expression, values, condition)
        except AwsError as error:
            if refused_item(error) is None:
                raise
            return False
        return True


_PAUSED = "SET paused_by = :by, reason = :reason, since = :now"
# Failures in a row, and the one that begins them.
_ONE_MORE = "ADD failing :name SET failed_at = :now", "failed_at > :lately"
_THE_FIRST = (
    "SET failing = :name, failed_at = :now",
    "(attribute_not_exists(failed_at) OR failed_at <= :lately)",
)
DISABLED_BY_HAND = "the event source mapping was disabled by hand"


def _on_probation() -> IntakePaused:
    return _waits("The intake was reopened a moment ago. The upload waits for the first success.")


def _waits(message: str) -> IntakePaused:
    waits = IntakePaused(message)
    waits.is_paused = False
    return waits


def new_token() -> str:
    """A token for a switch of the mapping: when it began, and a random part."""
    return f"{time.time():.3f}-{uuid.uuid4().hex}"


def _is_stale(token: str) -> bool:
    return float(token.partition("-")[0]) < time.time() - SWITCHING_SECONDS


def _is_refused_write(error: CutoutError) -> bool:
    """An output bucket that refuses a cutout which is paid for refuses the next one as well."""
    return isinstance(error, StorageUnavailable) and error.is_its_own and error.billed is Billed.YES


def _fingerprint(upload: Upload | None) -> str:
    text = f"{upload.uri} {upload.etag}" if upload else ""
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]


def _time(seconds: float) -> dict[str, str]:
    return {"N": f"{seconds:.3f}"}
