"""What is read from the log of the function: each line once, the newest first, in few calls."""

import pytest

from cutout.operations import activity as activity_module
from cutout.operations.activity import Activity, Today
from tests.unit.cutout.fake_stack import DAY_START, FakeStack
from tests.unit.fakes import Clock, refusal


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(activity_module, "time", clock)
    return clock


@pytest.fixture
def stack(clock: Clock) -> FakeStack:
    return FakeStack()


def look(activity: Activity, stack: FakeStack, times: int = 1) -> Activity:
    deployed = stack.deployed
    for _ in range(times):
        activity.look(deployed)
    return activity


def keys(activity: Activity, position: int = 0) -> list[str]:
    return [(attempt.source or "").removeprefix("s3://input/") for attempt in activity.since(position)[0]]


def look_at_all(activity: Activity, stack: FakeStack) -> Activity:
    for _ in range(50):
        if look(activity, stack).today.is_complete:
            return activity
    raise AssertionError("it never ends")


def test_the_counts_of_today_are_those_of_the_metrics(stack: FakeStack, clock: Clock) -> None:
    stack.end(DAY_START - 1)
    stack.end(DAY_START)
    stack.end(DAY_START + 3600, "letter", error_code="malformed_image")
    stack.count(clock.now - 5, Cutout=3, Credits=4)  # the stack's LogLevel hides their lines

    assert look_at_all(Activity(), stack).today == Today(cutouts=4, letters=1, credits=5, is_complete=True)


def test_before_the_first_look_nothing_is_complete(clock: Clock) -> None:
    assert Activity().today == Today(0, 0, 0, is_complete=False)


def test_what_ends_is_given_once(stack: FakeStack, clock: Clock) -> None:
    stack.end(clock.now - 10, key="first.jpg")
    activity = look(Activity(), stack)
    position = activity.position

    clock.now += 2
    stack.end(clock.now - 1, key="second.jpg")
    stack.end(clock.now - 20, key="late.jpg")
    look(activity, stack, times=3)

    assert keys(activity) == ["first.jpg", "late.jpg", "second.jpg"]
    assert keys(activity, position) == ["late.jpg", "second.jpg"]
    assert activity.since(activity.position)[0] == []
    assert activity.today.cutouts == 3


def test_an_attempt_says_what_became_of_the_upload(stack: FakeStack, clock: Clock) -> None:
    stack.end(clock.now - 2, "unavailable", error_code="service_unavailable", error_message="Down.", billed="maybe")
    stack.end(clock.now - 1, "letter", error_code="malformed_image", error_message="Broken.", billed="no")
    stack.log(clock.now, message="something else")

    activity = look(Activity(), stack)

    retried, ended = activity.since(0)[0]
    assert (retried.is_last, retried.outcome, retried.billed) == (False, "unavailable", "maybe")
    assert (ended.is_last, ended.code, ended.message, ended.source) == (
        True,
        "malformed_image",
        "Broken.",
        "s3://input/a.jpg",
    )
    assert activity.recent(20) == [ended]


def test_those_who_ask_too_late_learn_how_many_were_forgotten(
    stack: FakeStack, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activity_module, "FEED", 3)
    for number in range(5):
        stack.end(clock.now - 5 + number, key=f"{number}.jpg")

    attempts, position = look(Activity(), stack).since(0)

    assert (len(attempts), position) == (3, 5)


def test_an_error_on_the_way_neither_loses_nor_repeats_a_line(stack: FakeStack, clock: Clock) -> None:
    stack.page = 3
    for number in range(4):
        stack.end(clock.now - 10 + number, key=f"{number}.jpg")
    activity = Activity()
    stack.failing["next_page"] = refusal("ThrottlingException", "FilterLogEvents")
    with pytest.raises(type(refusal(""))):
        look(activity, stack)
    stack.failing.clear()

    look_at_all(activity, stack)

    assert keys(activity) == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    assert activity.today.cutouts == 4


def test_earlier_hours_are_read_beside_what_is_new(stack: FakeStack, clock: Clock) -> None:
    stack.page = 50
    for number in range(1000):
        stack.end(DAY_START + number * 28, key=f"{number}.jpg")
    activity = Activity()
    looks = 0
    while not activity.today.is_complete:
        stack.calls.clear()
        stack.end(clock.now, key=f"new {looks}.jpg")
        look(activity, stack)
        looks += 1
        assert stack.calls["filter_log_events"] <= 2
        assert keys(activity)[-1] == f"new {looks - 1}.jpg"
        clock.now += 5

    assert activity.today.cutouts == 1000 + looks
    assert len(activity.recent(20)) == 20
    assert [attempt.time for attempt in activity.recent(99)] == sorted(
        (attempt.time for attempt in activity.recent(99)), reverse=True
    )


def test_the_last_ends_are_found_however_long_ago_they_were(stack: FakeStack) -> None:
    stack.end(DAY_START + 60, key="early.jpg")
    activity = look_at_all(Activity(), stack)

    assert [attempt.source for attempt in activity.recent(20)] == ["s3://input/early.jpg"]
    assert activity.since(0) == ([], 0)  # which nobody waits for


def test_what_came_while_nobody_looked_is_given_as_well(stack: FakeStack, clock: Clock) -> None:
    stack.end(clock.now - 1, key="before.jpg")
    activity = look_at_all(Activity(), stack)
    asked = clock.now
    clock.now += 7200
    for number in range(20):
        stack.end(asked + 300 * number, key=f"{number}.jpg")

    assert not look(activity, stack).today.is_complete
    look_at_all(activity, stack)

    assert sorted(keys(activity, 1)) == sorted(f"{number}.jpg" for number in range(20))
    assert activity.today.cutouts == 21


def test_a_pause_of_a_minute_is_no_gap(stack: FakeStack, clock: Clock) -> None:
    activity = look_at_all(Activity(), stack)
    clock.now += 60
    stack.end(clock.now - 50)

    assert look(activity, stack).today == Today(1, 0, 1, is_complete=True)


def test_after_a_quiet_hour_only_the_last_minutes_are_read_again(stack: FakeStack, clock: Clock) -> None:
    activity = look_at_all(Activity(), stack)
    for _ in range(60):
        clock.now += 60
        look(activity, stack)
    tail = activity._tail

    assert tail
    assert tail.start == pytest.approx((clock.now - 180) * 1000)
    assert not tail.seen


def test_at_midnight_the_counts_begin_anew(stack: FakeStack, clock: Clock) -> None:
    stack.end(clock.now)
    activity = look_at_all(Activity(), stack)
    midnight = DAY_START + 86_400
    for moment in range(round(clock.now), round(midnight), 100):
        clock.now = float(moment)
        look(activity, stack)
    clock.now = midnight + 5
    stack.end(midnight - 1)
    stack.end(midnight + 1, "letter")

    assert look(activity, stack).today == Today(cutouts=0, letters=1, credits=0, is_complete=True)


def test_the_rate_is_that_of_the_last_minutes(stack: FakeStack, clock: Clock) -> None:
    assert look(Activity(), stack).rate() is None
    stack.count(clock.now - 200, Cutout=500)
    for number in range(100):
        stack.count(clock.now - 100 + number, Cutout=1, Letter=1, Unavailable=7)
    activity = look(Activity(), stack)

    assert activity.rate() == pytest.approx(2)
    clock.now += 100
    look(activity, stack)
    assert activity.rate() == pytest.approx(2 * 20 / 120, rel=0.2)  # it falls while nothing ends
    clock.now += 60
    assert look(activity, stack).rate() is None


def test_the_rate_of_a_burst_is_not_exaggerated(stack: FakeStack, clock: Clock) -> None:
    stack.count(clock.now - 0.1, Cutout=30)

    assert look(Activity(), stack).rate() == 2


def test_a_function_that_has_not_run_yet_has_done_nothing(stack: FakeStack) -> None:
    stack.failing["filter_log_events"] = refusal("ResourceNotFoundException", "FilterLogEvents")

    assert look(Activity(), stack, times=20).today == Today(0, 0, 0, is_complete=True)
