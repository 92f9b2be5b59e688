"""A credit is reserved with its slot. Charges never exceed a cap, and nothing else than uncertainty uses it up."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from remove_background.aws import Clients
from remove_background.caps import (
    DAY,
    LAST_REQUEST_SECONDS,
    LAST_SLOT_SECONDS,
    MONTH,
    Caps,
    Counts,
    Period,
    Reserved,
)
from remove_background.deadline import Deadline
from remove_background.errors import (
    Billed,
    CutoutError,
    InsufficientCredits,
    IntakePaused,
    InvalidApiKey,
    MalformedImage,
    OutOfTime,
    RateLimitExceeded,
    ServiceUnavailable,
    StorageUnavailable,
    UnexpectedAnswer,
)
from remove_background.intake import ITEM, Intake, IntakeItem
from remove_background.rate_limiter import LEAD, RateLimiter
from tests.unit.fakes import Clock, refusal

BERLIN = "Europe/Berlin"


def moment(text: str, zone: str = BERLIN) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """It is noon in Berlin."""
    clock = Clock()
    for module in ("rate_limiter", "deadline", "intake"):
        monkeypatch.setattr(f"remove_background.{module}.time", clock)
    clock.now = moment("2026-11-29 12:00")
    return clock


@pytest.fixture
def make_limiter(clients: Clients, clock: Clock) -> Callable[..., RateLimiter]:
    """A rate limiter for each environment."""

    def make(daily: int | None = 3, monthly: int | None = None, zone: str = BERLIN) -> RateLimiter:
        intake = Intake(clients.dynamodb, "ledger", failures_in_a_row=10)
        return RateLimiter(clients, "ledger", 100, intake, Caps(daily, monthly, zone))

    return make


@pytest.fixture
def limiter(make_limiter: Callable[..., RateLimiter]) -> RateLimiter:
    return make_limiter()


def stored(clients: Clients) -> dict[str, Any]:
    return clients.dynamodb.get_item(TableName="ledger", Key=ITEM).get("Item", {})


def counts(clients: Clients) -> Counts:
    """Without when the periods began."""
    day, month = Counts.of(stored(clients))
    return Counts(day._replace(begins=0.0), month._replace(begins=0.0))


def pay(limiter: RateLimiter, error: Exception | None = None, seconds: float = 100) -> None:
    with limiter.slot(Deadline(seconds)):
        if error:
            raise error


# Periods


@pytest.mark.parametrize(
    ("zone", "at", "day_ends"),
    [
        ("UTC", "2026-11-29 12:00", "2026-11-30 00:00"),
        ("UTC", "2026-11-29 00:00", "2026-11-30 00:00"),
        (BERLIN, "2026-11-29 23:59:59", "2026-11-30 00:00"),
        (BERLIN, "2027-03-28 01:00", "2027-03-29 00:00"),  # 23 hours long
        (BERLIN, "2026-10-25 01:00", "2026-10-26 00:00"),  # 25 hours long
        ("America/Havana", "2027-03-13 12:00", "2027-03-14 00:00"),  # which is one o'clock
        ("Pacific/Kiritimati", "2026-12-31 12:00", "2027-01-01 00:00"),
    ],
)
def test_a_day_ends_at_midnight_of_its_zone(zone: str, at: str, day_ends: str) -> None:
    assert Caps(1, None, zone).end_of(DAY, moment(at, zone)) == moment(day_ends, zone)


@pytest.mark.parametrize(
    ("at", "ends"),
    [("2026-11-29 12:00", "2026-12-01"), ("2026-12-31 23:59", "2027-01-01"), ("2028-02-29", "2028-03-01")],
)
def test_a_month_ends_with_its_last_day(at: str, ends: str) -> None:
    assert Caps(1, None, BERLIN).end_of(MONTH, moment(at)) == moment(ends)


def test_days_of_a_change_to_daylight_saving_are_as_long_as_they_are() -> None:
    caps = Caps(1, None, BERLIN)
    for day, hours in (("2027-03-28", 23), ("2026-10-25", 25), ("2026-11-29", 24)):
        assert caps.end_of(DAY, moment(day)) - moment(day) == hours * 3600


def test_it_tells_its_zone_and_utc_needs_no_database() -> None:
    assert Caps(1, None, BERLIN).zone == BERLIN
    assert Caps(1, None, "UTC")._zone is UTC


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "../etc/passwd", "/etc/localtime", " "])
def test_a_zone_that_is_not_known_is_an_error(zone: str) -> None:
    with pytest.raises(ValueError, match="is not a time zone"):
        Caps(1, None, zone)


def test_shares_are_of_what_may_be_spent_and_only_of_caps() -> None:
    now = moment("2026-11-29 12:00")
    seen = Counts(Period(now + 1, 3, extra=2), Period(now + 1, 12))
    assert Caps(10, 10, BERLIN).shares(seen, now) == {DAY: 25, MONTH: 120}  # the cap was lowered
    assert Caps(10, 10, BERLIN).shares(seen, now + 1) == {DAY: 0, MONTH: 0}
    assert Caps(10, None, BERLIN).shares(seen, now) == {DAY: 25}
    assert Caps(None, 48, BERLIN).shares(seen, now) == {MONTH: 25}
    assert Caps(None, None, BERLIN).shares(seen, now) == {}
    assert Caps(3, 7, BERLIN).shares(Counts(Period(now + 1, 3), Period(now + 1, 7)), now) == {DAY: 100, MONTH: 100}


# Reserving


def test_without_a_cap_nothing_is_counted(make_limiter: Callable[..., RateLimiter], clients: Clients) -> None:
    limiter = make_limiter(None, None)
    pay(limiter)
    with pytest.raises(RateLimitExceeded):
        pay(limiter, RateLimitExceeded("Too many."))
    assert set(stored(clients)) == {"id", "next_at"}


def test_a_credit_is_reserved_with_its_slot(limiter: RateLimiter, clients: Clients) -> None:
    pay(limiter)
    assert counts(clients) == (Period(moment("2026-11-30"), 1), Period(moment("2026-12-01"), 1))
    pay(limiter)
    assert counts(clients) == (Period(moment("2026-11-30"), 2), Period(moment("2026-12-01"), 2))


def test_a_success_costs_the_calls_that_it_costs_without_a_cap(
    make_limiter: Callable[..., RateLimiter], clients: Clients, clock: Clock, before_update: Callable[..., None]
) -> None:
    made: list[int] = []
    calls: list[object] = []
    before_update(calls.append)
    for daily in (None, 1000):
        clients.dynamodb.delete_item(TableName="ledger", Key=ITEM)
        limiter = make_limiter(daily)
        for number in range(10):
            pay(limiter)
            clock.sleep((number + 1) % 2)  # the first of the day comes alone; then each second one follows at once
        made.append(len(calls))
        calls.clear()
    assert made[0] == made[1]


def test_at_the_cap_the_intake_pauses_and_nothing_is_paid(
    limiter: RateLimiter, make_limiter: Callable[..., RateLimiter], clients: Clients
) -> None:
    for _ in range(3):
        pay(limiter)
    for other in (limiter, make_limiter()):
        with pytest.raises(IntakePaused) as raised, other.slot(Deadline(100)):
            raise AssertionError("the cap is reached")
        assert raised.value.is_paused
    state = IntakeItem(clients.dynamodb, "ledger").read()
    assert (state.paused_by, state.reason, state.fruitless) == ("function", "daily_cap", 0)
    assert state.counts.day.credits == 3


def test_an_environment_that_finds_the_intake_paused_at_the_cap_makes_one_call(
    limiter: RateLimiter, make_limiter: Callable[..., RateLimiter], before_update: Callable[..., None]
) -> None:
    for _ in range(3):
        pay(limiter)
    with pytest.raises(IntakePaused):
        pay(limiter)
    calls: list[object] = []
    before_update(calls.append)
    with pytest.raises(IntakePaused):
        pay(make_limiter())
    assert len(calls) == 1


def test_the_month_has_a_cap_of_its_own(
    make_limiter: Callable[..., RateLimiter], clients: Clients, clock: Clock
) -> None:
    limiter = make_limiter(3, 4)
    for _ in range(3):
        pay(limiter)
    clock.now += 24 * 3600
    clients.dynamodb.update_item(TableName="ledger", Key=ITEM, UpdateExpression="REMOVE paused_by")
    pay(limiter)
    with pytest.raises(IntakePaused):
        pay(limiter)
    assert IntakeItem(clients.dynamodb, "ledger").read().reason == "monthly_cap"
    assert counts(clients) == (Period(moment("2026-12-01"), 1), Period(moment("2026-12-01"), 4))


def test_a_day_that_has_turned_begins_anew(limiter: RateLimiter, clients: Clients, clock: Clock) -> None:
    for _ in range(3):
        pay(limiter)
    clock.now = moment("2026-11-30 00:00:01")
    pay(limiter)
    assert counts(clients) == (Period(moment("2026-12-01"), 1), Period(moment("2026-12-01"), 4))
    clock.now = moment("2026-12-01 08:00")
    pay(limiter)
    assert counts(clients) == (Period(moment("2026-12-02"), 1), Period(moment("2027-01-01"), 1))


def test_an_environment_whose_clock_is_late_counts_for_the_day_that_has_turned(
    make_limiter: Callable[..., RateLimiter], clients: Clients, clock: Clock
) -> None:
    first, second = make_limiter(), make_limiter()
    pay(second)
    clock.now = moment("2026-11-30 00:00:00.5")
    pay(first)
    clock.now -= 1
    pay(second)
    assert counts(clients).day == Period(moment("2026-12-01"), 2)


def test_no_slot_begins_in_the_last_seconds_of_a_day(limiter: RateLimiter, clients: Clients, clock: Clock) -> None:
    pay(limiter)
    for late in (LAST_SLOT_SECONDS - 1, 0.1):
        clock.now = moment("2026-11-30") - late
        slot = limiter._take(Deadline(100))
        assert slot
        assert slot.at >= moment("2026-11-30")
        assert slot.reserved == Reserved(moment("2026-12-01"), moment("2026-12-01"))
    assert counts(clients).day == Period(moment("2026-12-01"), 2)


def test_a_slot_that_would_wait_for_midnight_is_not_reserved_when_that_is_too_late(
    limiter: RateLimiter, clients: Clients, clock: Clock
) -> None:
    last = moment("2026-11-30") - LAST_SLOT_SECONDS
    clock.now = last - 2
    clients.dynamodb.put_item(TableName="ledger", Item={**ITEM, "next_at": {"N": str(last + 1)}})
    assert limiter._take(Deadline(6)) is None
    assert float(stored(clients)["next_at"]["N"]) == last + 1


@pytest.mark.parametrize(("late", "is_today"), [(-0.5, True), (0.5, False)])
def test_a_single_slot_is_of_the_day_in_which_it_begins_in_time(late: float, is_today: bool) -> None:
    midnight = moment("2026-11-30")
    part = Caps(3, None, BERLIN).part(Counts(), midnight - LAST_SLOT_SECONDS + late, 1)
    assert (part.begins < midnight) == is_today


def test_what_was_allowed_for_a_day_and_for_a_month_ends_with_both() -> None:
    ended = moment("2026-12-01")
    seen = Counts(Period(ended, 5, extra=2), Period(ended, 9, extra=3))
    part = Caps(3, 7, BERLIN).part(seen, ended + 1, 1)
    assert part.removes == " REMOVE day_extra, day_reason, day_change, month_extra, month_reason, month_change"


def test_slots_that_are_reserved_together_are_of_one_day(limiter: RateLimiter, clients: Clients, clock: Clock) -> None:
    clock.now = moment("2026-11-30") - LAST_SLOT_SECONDS - LEAD - 0.005
    limiter._wanted = 2  # and the one that reserves
    slot = limiter._take(Deadline(100))
    assert slot
    assert slot.at >= moment("2026-11-30")
    assert len(limiter._reserved) == 2
    assert counts(clients).day == Period(moment("2026-12-01"), 3)


def test_each_of_slots_that_are_reserved_together_can_give_its_credit_back(limiter: RateLimiter) -> None:
    limiter._wanted = 2
    slots = limiter._reserve(Deadline(100))
    day_ends = moment("2026-11-30")
    assert [slot[1:] for slot in slots] == 2 * [
        (day_ends - LAST_REQUEST_SECONDS, Reserved(day_ends, moment("2026-12-01")))
    ]


@pytest.mark.parametrize("queued", [0, 60])
@pytest.mark.parametrize(("left", "is_today"), [(1, True), (-1, False)])
def test_the_last_of_slots_that_are_reserved_together_begins_in_time(
    clients: Clients, clock: Clock, left: float, is_today: bool, queued: float
) -> None:
    """Three of them, ten seconds apart: `left` are the seconds left when the last one begins.

    The first is free in `queued` seconds.
    """
    intake = Intake(clients.dynamodb, "ledger", failures_in_a_row=10)
    limiter = RateLimiter(clients, "ledger", 0.1, intake, Caps(3, None, BERLIN))
    limiter._wanted = 3
    midnight = moment("2026-11-30")
    first = midnight - LAST_SLOT_SECONDS - 2 * limiter._interval.seconds - left
    clock.now = first - LEAD - queued
    if queued:
        clients.dynamodb.put_item(TableName="ledger", Item={**ITEM, "next_at": {"N": str(first)}})
    slots = limiter._reserve(Deadline(1000))
    assert len(slots) == 3
    assert (slots[0].at < midnight) == is_today


@pytest.mark.parametrize("idle", [True, False])
def test_an_upload_that_comes_alone_is_sent_in_the_day_it_counts_for(
    make_limiter: Callable[..., RateLimiter], clock: Clock, idle: bool
) -> None:
    limiter, midnight = make_limiter(5), moment("2026-11-30")
    clock.now = midnight - (3 * 24 * 3600 if idle else 3600)
    pay(limiter)
    clock.now = midnight - LEAD / 2
    with limiter.slot(Deadline(100)):
        assert midnight <= clock.now < midnight + LEAD


def test_a_request_must_begin_to_be_sent_two_seconds_before_midnight(limiter: RateLimiter, clock: Clock) -> None:
    midnight = moment("2026-11-30")
    clock.now = midnight - 60
    with limiter.slot(Deadline(100)) as check:
        clock.now = midnight - 2.001
        check()
        clock.now = midnight - 2
        with pytest.raises(OutOfTime, match=r"^The day in which the request was to be sent has ended\.$") as caught:
            check()
    assert caught.value.billed is Billed.NO


def test_slots_behind_a_backlog_count_for_the_day_in_which_they_begin(
    limiter: RateLimiter, clients: Clients, clock: Clock
) -> None:
    pay(limiter)
    clock.now = moment("2026-11-30") - 30
    clients.dynamodb.update_item(
        TableName="ledger",
        Key=ITEM,
        UpdateExpression="SET next_at = :at",
        ExpressionAttributeValues={":at": {"N": str(clock.now + 40)}},
    )
    slot = limiter._take(Deadline(100))
    assert slot
    assert slot.at == pytest.approx(clock.now + 40)
    assert counts(clients).day == Period(moment("2026-12-01"), 1)


def test_a_request_is_not_sent_once_its_day_has_ended(limiter: RateLimiter, clients: Clients, clock: Clock) -> None:
    clock.now = moment("2026-11-30") - LAST_SLOT_SECONDS - 2 * LEAD
    sleep = clock.sleep
    clock.sleep = lambda seconds: sleep(seconds + LAST_SLOT_SECONDS - LAST_REQUEST_SECONDS + 1)  # type: ignore[method-assign]
    with pytest.raises(OutOfTime, match="day"):
        pay(limiter)
    assert counts(clients).day == Period(moment("2026-11-30"), 0)


def test_fewer_are_reserved_together_than_the_cap_has_left(
    make_limiter: Callable[..., RateLimiter], clients: Clients
) -> None:
    limiter = make_limiter(7)
    limiter._wanted = 9
    assert limiter._take(Deadline(100))
    assert len(limiter._reserved) == 6
    assert counts(clients).day.credits == 7


def test_what_is_left_is_used_one_by_one(make_limiter: Callable[..., RateLimiter], clients: Clients) -> None:
    limiter = make_limiter(7)
    for _ in range(5):
        pay(limiter)
    limiter._wanted = 9
    assert limiter._take(Deadline(100))
    assert (len(limiter._reserved), counts(clients).day.credits) == (0, 6)


def test_many_threads_and_environments_never_exceed_a_cap(
    make_limiter: Callable[..., RateLimiter], clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    update, one_at_a_time = clients.dynamodb.update_item, threading.Lock()

    def update_as_dynamodb_does(**call: Any) -> Any:  # noqa: ANN401
        with one_at_a_time:  # moto looks at the condition, and then writes
            return update(**call)

    monkeypatch.setattr(clients.dynamodb, "update_item", update_as_dynamodb_does)
    fleet = [make_limiter(25) for _ in range(3)]
    paid: list[int] = []

    def run(number: int) -> None:
        try:
            with fleet[number % 3].slot(Deadline(100)):
                paid.append(number)
        except CutoutError:
            pass

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(run, range(60)))
    assert len(paid) == 25
    assert counts(clients).day.credits == 25


def test_another_zone_lets_the_counted_day_end_when_it_was_to(
    limiter: RateLimiter, make_limiter: Callable[..., RateLimiter], clients: Clients, clock: Clock
) -> None:
    pay(limiter)
    moved = make_limiter(zone="Asia/Tokyo")  # where it is the evening
    clock.now = moment("2026-11-30 00:30", "Asia/Tokyo")
    pay(moved)
    assert counts(clients).day == Period(moment("2026-11-30"), 2)
    clock.now = moment("2026-11-30 00:00")
    pay(moved)
    assert counts(clients).day == Period(moment("2026-12-01", "Asia/Tokyo"), 1)


# Giving back


@pytest.mark.parametrize(
    ("error", "left"),
    [
        (RateLimitExceeded("Too many."), 0),
        (MalformedImage("Bad."), 0),
        (IntakePaused("Paused."), 0),
        (OutOfTime("Late."), 0),
        (ServiceUnavailable("Never sent."), 0),
        (UnexpectedAnswer("Odd."), 1),
        (ZeroDivisionError(), 1),
    ],
)
def test_a_credit_is_given_back_only_if_it_is_certain_that_nothing_was_charged(
    limiter: RateLimiter, clients: Clients, error: Exception, left: int
) -> None:
    if isinstance(error, UnexpectedAnswer):
        error.billed = error.billed.MAYBE
    with pytest.raises(type(error)):
        pay(limiter, error)
    assert [period.credits for period in counts(clients)] == [left, left]


def test_what_was_given_back_can_be_used(limiter: RateLimiter, clients: Clients) -> None:
    for _ in range(9):
        with pytest.raises(MalformedImage):
            pay(limiter, MalformedImage("Bad."))
    for _ in range(3):
        pay(limiter)
    assert counts(clients).day.credits == 3


def test_a_credit_of_a_day_that_has_turned_is_given_back_to_the_month_only(
    limiter: RateLimiter, clients: Clients, clock: Clock
) -> None:
    pay(limiter)
    old = Reserved(moment("2026-11-30"), moment("2026-12-01"))
    clock.now = moment("2026-11-30 00:00:01")
    pay(limiter)
    assert IntakeItem(clients.dynamodb, "ledger").give_back(old)
    assert [period.credits for period in counts(clients)] == [1, 1]
    clock.now = moment("2026-12-01 00:00:01")
    pay(limiter)
    assert not IntakeItem(clients.dynamodb, "ledger").give_back(old)
    assert [period.credits for period in counts(clients)] == [1, 1]


def test_a_credit_that_cannot_be_given_back_counts_as_spent(
    limiter: RateLimiter, clients: Clients, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**_: object) -> None:
        raise refusal("InternalServerError", "UpdateItem")

    monkeypatch.setattr(clients.dynamodb_once, "update_item", fail)
    with pytest.raises(MalformedImage):
        pay(limiter, MalformedImage("Bad."))
    assert counts(clients).day.credits == 1
    assert caplog.messages == ["A credit of the cap could not be given back (InternalServerError). It counts as spent."]


def test_a_give_back_is_sent_once(clients: Clients) -> None:
    config: Any = clients.dynamodb_once.meta.config
    assert config.retries == {"mode": "standard", "total_max_attempts": 1}


# The pause


def test_the_intake_is_not_paused_if_a_credit_was_given_back_meanwhile(
    limiter: RateLimiter, clients: Clients, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("remove_background.intake.log.parent.propagate", True)
    for _ in range(3):
        pay(limiter)
    update = clients.dynamodb.update_item

    def give_back_before_the_pause(**call: Any) -> Any:  # noqa: ANN401
        if "paused_by = :by" in call["UpdateExpression"]:
            IntakeItem(clients.dynamodb_once, "ledger").give_back(Reserved(moment("2026-11-30"), moment("2026-12-01")))
        return update(**call)

    monkeypatch.setattr(clients.dynamodb, "update_item", give_back_before_the_pause)
    with pytest.raises(IntakePaused) as raised:
        pay(limiter)
    assert not raised.value.is_paused
    assert str(raised.value) == (
        "The last credit before the cap may be given back. The upload waits for the next attempt."
    )
    assert IntakeItem(clients.dynamodb, "ledger").read().paused_by is None
    assert caplog.messages == []
    pay(limiter)


def test_a_pause_at_the_cap_is_logged_with_its_code(
    limiter: RateLimiter,
    make_limiter: Callable[..., RateLimiter],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("remove_background.intake.log.parent.propagate", True)
    for _ in range(3):
        pay(limiter)
    for other in (limiter, make_limiter()):
        with pytest.raises(IntakePaused):
            pay(other)
    logged = {(record.getMessage(), vars(record)["error_code"]) for record in caplog.records}
    assert logged == {("The intake is paused: daily_cap.", "daily_cap")}


def test_a_pause_at_the_cap_that_dynamodb_does_not_take_is_tried_again(
    limiter: RateLimiter, clients: Clients, before_update: Callable[..., None]
) -> None:
    for _ in range(3):
        pay(limiter)
    refusals = [refusal("InternalServerError", "UpdateItem")]

    def refuse_the_first_pause(call: Mapping[str, Any]) -> None:
        if refusals and "paused_by = :by" in call["UpdateExpression"]:
            raise refusals.pop()

    before_update(refuse_the_first_pause)
    with pytest.raises(StorageUnavailable) as raised:
        pay(limiter)
    assert str(raised.value) == "DynamoDB did not let the function pause (InternalServerError)."
    assert counts(clients).day.credits == 3
    with pytest.raises(IntakePaused):
        pay(limiter)


@pytest.mark.parametrize("own", [True, False])
def test_a_key_that_is_refused_at_a_cap_stops_calls_whose_credit_is_reserved(
    limiter: RateLimiter, clients: Clients, clock: Clock, *, own: bool
) -> None:
    intakes = [Intake(clients.dynamodb, "ledger", failures_in_a_row=10) for _ in range(2)]
    item = IntakeItem(clients.dynamodb, "ledger")
    for _ in range(3):
        pay(limiter)
    for intake in intakes:
        with pytest.raises(IntakePaused):
            intake.pause_at_cap("daily_cap", *Caps(3, None, BERLIN).is_reached(item.read().counts, "daily_cap"))
        intake.check_again(0)
    intakes[0].report_failure(InvalidApiKey("Put the right one there."), None)
    clock.sleep(0 if own else 5.001)
    with pytest.raises(IntakePaused):
        intakes[not own].check_again(0)
    assert item.read().reason == "invalid_auth_token"


def test_a_failure_that_pauses_after_a_cap_stops_a_call_that_waits_for_its_slot(
    limiter: RateLimiter, clients: Clients
) -> None:
    """This environment knew of the pause at the cap, and not of its end."""
    intake = Intake(clients.dynamodb, "ledger", failures_in_a_row=10)
    item = IntakeItem(clients.dynamodb, "ledger")
    for _ in range(3):
        pay(limiter)
    with pytest.raises(IntakePaused):
        intake.pause_at_cap("daily_cap", *Caps(3, None, BERLIN).is_reached(item.read().counts, "daily_cap"))
    clients.dynamodb.update_item(TableName="ledger", Key=ITEM, UpdateExpression="REMOVE paused_by")
    intake.check_again(0)
    assert item.pause_at_cap("daily_cap", *Caps(3, None, BERLIN).is_reached(item.read().counts, "daily_cap"))[0]
    intake.check_again(10)
    clients.dynamodb.update_item(TableName="ledger", Key=ITEM, UpdateExpression="REMOVE paused_by")
    intake.report_failure(InsufficientCredits("Buy some."), None)
    with pytest.raises(IntakePaused):
        intake.check_again(0)


def test_what_is_allowed_moves_the_count_at_which_the_intake_pauses() -> None:
    ends = moment("2026-11-30")
    seen = Counts(Period(ends, 5, extra=2))
    condition, values = Caps(3, None, BERLIN).is_reached(seen, "daily_cap")
    assert condition == "day_extra = :extra AND day_ends = :ends AND day_credits >= :cap"
    assert values == {":ends": {"N": str(round(ends))}, ":cap": {"N": "5"}, ":extra": {"N": "2"}}


def test_an_operators_pause_is_not_taken_over(limiter: RateLimiter, clients: Clients) -> None:
    for _ in range(3):
        pay(limiter)
    IntakeItem(clients.dynamodb, "ledger").pause("operator", "stocktaking")
    with pytest.raises(IntakePaused):
        pay(limiter)
    assert IntakeItem(clients.dynamodb, "ledger").read().reason == "stocktaking"


@pytest.mark.parametrize(("spent", "is_paid"), [(2, True), (3, False)])
def test_a_probe_needs_a_credit_as_well(limiter: RateLimiter, clients: Clients, spent: int, is_paid: bool) -> None:
    for _ in range(spent):
        pay(limiter)
    item = IntakeItem(clients.dynamodb, "ledger")
    item.pause("function", "service_unavailable")
    assert item.reopen(item.read(), "1-token")
    if is_paid:
        pay(limiter)
    else:
        with pytest.raises(IntakePaused):
            pay(limiter)
    state = item.read()
    assert state.counts.day.credits == 3
    assert state.reason == (None if is_paid else "daily_cap")


# What an operator allows on top


@pytest.fixture
def item(clients: Clients, clock: Clock) -> IntakeItem:
    return IntakeItem(clients.dynamodb, "ledger")


def test_credits_can_be_allowed_on_top_until_the_day_ends(
    limiter: RateLimiter, clients: Clients, clock: Clock, item: IntakeItem
) -> None:
    for _ in range(3):
        pay(limiter)
    caps = Caps(3, None, BERLIN)
    after = item.allow(caps, "day", 2, "Christmas")
    assert after
    assert (after.day.extra, after.day.reason, after.day.credits) == (2, "Christmas", 3)
    for _ in range(2):
        pay(limiter)
    with pytest.raises(IntakePaused):
        pay(limiter)
    assert caps.reached(item.read().counts, clock.now) == "daily_cap"
    clock.now = moment("2026-11-30 00:00:01")
    assert caps.reached(item.read().counts, clock.now) is None
    assert item.reopen(item.read(), "1-token")
    clients.dynamodb.update_item(TableName="ledger", Key=ITEM, UpdateExpression="REMOVE reopened_at")
    for _ in range(3):
        pay(limiter)
    with pytest.raises(IntakePaused):
        pay(limiter)
    assert counts(clients).day == Period(moment("2026-12-01"), 3)


def test_what_is_allowed_adds_up(limiter: RateLimiter, item: IntakeItem, clock: Clock) -> None:
    caps = Caps(3, 10, BERLIN)
    for _ in range(2):
        after = item.allow(caps, "month", 5, "more")
    assert after
    assert (after.month.extra, after.month.credits, after.month.ends) == (10, 0, moment("2026-12-01"))
    clock.now = moment("2026-12-01 09:00")
    after = item.allow(caps, "month", 5, "more")
    assert after
    assert (after.month.extra, after.month.ends) == (5, moment("2027-01-01"))
    pay(limiter)
    assert item.read().counts.month[:3] == (moment("2027-01-01"), 1, 5)


def test_credits_can_be_allowed_before_any_is_spent(item: IntakeItem) -> None:
    after = item.allow(Caps(3, None, BERLIN), "day", 2, "Christmas")
    assert after
    assert after.day[:3] == (moment("2026-11-30"), 0, 2)


@pytest.mark.parametrize("paid_at", [None, "2026-11-28 12:00", "2026-11-29 12:00"])
def test_what_is_refused_because_another_was_quicker_or_the_sdk_repeats_it_is_not_tried_again(
    limiter: RateLimiter,
    item: IntakeItem,
    clients: Clients,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    paid_at: str | None,
) -> None:
    if paid_at:
        clock.now = moment(paid_at)
        pay(limiter)
        clock.now = moment("2026-11-29 13:00")
    caps = Caps(3, None, BERLIN)
    update = clients.dynamodb.update_item
    quicker: list[object] = []

    def let_another_be_quicker(**call: Any) -> Any:  # noqa: ANN401
        if not quicker:
            quicker.append(None)
            item.allow(caps, "day", 5, "mine")
        return update(**call)

    monkeypatch.setattr(clients.dynamodb, "update_item", let_another_be_quicker)
    assert item.allow(caps, "day", 5, "yours") is None

    def repeat(**call: Any) -> Any:  # noqa: ANN401
        update(**call)
        return update(**call)

    monkeypatch.setattr(clients.dynamodb, "update_item", repeat)
    after = item.allow(caps, "day", 5, "again")
    assert after
    assert after.day.extra == 10


def test_what_was_agreed_to_for_one_day_is_not_allowed_for_the_next(item: IntakeItem, clock: Clock) -> None:
    clock.now = moment("2026-11-30 00:00:01")
    assert item.allow(Caps(3, None, BERLIN), "day", 5, "late", until=moment("2026-11-30")) is None
    assert item.read().counts.day == Period()


def test_a_clock_that_is_fast_turns_a_day_and_nothing_begins_before_midnight(
    limiter: RateLimiter, make_limiter: Callable[..., RateLimiter], item: IntakeItem, clock: Clock
) -> None:
    for _ in range(3):
        pay(limiter)
    clock.now = moment("2026-11-30 00:00:30")
    assert item.allow(Caps(3, None, BERLIN), "day", 1, "a fast clock")
    clock.now = moment("2026-11-29 23:59:00")
    slot = limiter._take(Deadline(200))
    assert slot
    assert slot.at >= moment("2026-11-30")
    clock.now = moment("2026-11-29 23:50:00")
    for environment in (limiter, make_limiter()):  # the other one has not seen yet that the day was turned
        assert environment._take(Deadline(200)) is None


def test_no_probe_is_taken_that_could_only_be_sent_too_late(
    limiter: RateLimiter,
    make_limiter: Callable[..., RateLimiter],
    item: IntakeItem,
    clients: Clients,
    clock: Clock,
) -> None:
    """A fast clock has turned the day; the probe would have to wait for midnight."""
    pay(limiter)
    clock.now = moment("2026-11-30 00:00:30")
    assert item.allow(Caps(3, None, BERLIN), "day", 1, "a fast clock")
    item.pause("function", "service_unavailable")
    assert item.reopen(item.read(), "1-token")
    clock.now = moment("2026-11-29 23:59:00")
    assert make_limiter()._take(Deadline(40)) is None
    assert "probe" not in stored(clients)
    assert make_limiter()._take(Deadline(200))
    assert "probe" in stored(clients)


def test_a_pause_at_the_cap_does_not_stop_the_call_that_has_the_last_credit(
    make_limiter: Callable[..., RateLimiter], clients: Clients, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = make_limiter(1), make_limiter(1)
    sleep = clock.sleep

    def let_the_other_reach_the_cap(seconds: float) -> None:
        monkeypatch.setattr(clock, "sleep", sleep)
        with pytest.raises(IntakePaused):
            pay(second)
        clock.sleep(seconds + 6)  # so long that it looks again

    monkeypatch.setattr(clock, "sleep", let_the_other_reach_the_cap)
    pay(first)
    state = IntakeItem(clients.dynamodb, "ledger").read()
    assert (state.reason, state.counts.day.credits) == ("daily_cap", 1)


def test_an_operators_pause_stops_the_call_that_has_the_last_credit(
    make_limiter: Callable[..., RateLimiter], clients: Clients, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    limiter, sleep = make_limiter(1), clock.sleep

    def pause_meanwhile(seconds: float) -> None:
        IntakeItem(clients.dynamodb, "ledger").pause("operator", "stocktaking")
        sleep(seconds + 6)

    monkeypatch.setattr(clock, "sleep", pause_meanwhile)
    with pytest.raises(IntakePaused):
        pay(limiter)
    assert counts(clients).day.credits == 0
