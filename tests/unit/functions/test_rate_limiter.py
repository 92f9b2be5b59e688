"""All environments together stay under the rate; a 429 lowers it, successes raise it. A pause ends all slots."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest

from remove_background.aws import Clients
from remove_background.caps import Caps, Part
from remove_background.deadline import Deadline
from remove_background.errors import IntakePaused, OutOfTime, RateLimitExceeded, StorageUnavailable
from remove_background.intake import FUNCTION, ITEM, Intake, IntakeItem
from remove_background.rate_limiter import LEAD, MARGIN, RESERVE, RateLimiter
from tests.unit.fakes import Clock, as_stored, refusal

RATE = 5
NO_CAP = Caps(None, None, "UTC")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("remove_background.rate_limiter.time", clock)
    monkeypatch.setattr("remove_background.deadline.time", clock)
    return clock


@pytest.fixture
def make_limiter(clients: Clients) -> Callable[..., RateLimiter]:
    """A rate limiter for each environment."""

    def make(table: str = "ledger", rate: float = RATE) -> RateLimiter:
        return RateLimiter(clients, table, rate, Intake(clients.dynamodb, table, failures_in_a_row=10), NO_CAP)

    return make


@pytest.fixture
def limiter(make_limiter: Callable[..., RateLimiter]) -> RateLimiter:
    return make_limiter()


def use_slots(clock: Clock, limiters: list[RateLimiter], count: int) -> list[float]:
    times = []
    for number in range(count):
        with limiters[number % len(limiters)].slot(Deadline(100)):
            times.append(clock.now)
    return times


def take(limiter: RateLimiter, seconds: float) -> float | None:
    """The time of a slot that is reserved within an invocation that has so many seconds left."""
    slot = limiter._take(Deadline(seconds))
    return slot.at if slot else None


def stored(clients: Clients) -> dict[str, Any]:
    return clients.dynamodb.get_item(TableName="ledger", Key=ITEM).get("Item", {})


def test_environments_share_one_rate_and_keep_a_little_under_it(
    clock: Clock, make_limiter: Callable[..., RateLimiter]
) -> None:
    times = use_slots(clock, [make_limiter() for _ in range(3)], 16)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert 1 < MARGIN < 1.01  # 99 % of the rate are used
    # The first request is sent at once, and the others where they would be had it waited.
    assert gaps == pytest.approx([MARGIN / RATE + LEAD] + [MARGIN / RATE] * 14, abs=1e-4)


def test_idle_time_is_not_made_up_for(clock: Clock, limiter: RateLimiter) -> None:
    use_slots(clock, [limiter], 2)
    clock.sleep(60)
    asked = clock.now
    times = use_slots(clock, [limiter], 3)
    assert times[0] == asked
    assert times[2] - times[0] == pytest.approx(LEAD + 2 * MARGIN / RATE, abs=1e-4)


def test_an_upload_that_comes_alone_waits_for_nothing(clock: Clock, limiter: RateLimiter) -> None:
    before = clock.now
    assert use_slots(clock, [limiter], 1) == [before]


def test_an_upload_that_follows_another_soon_waits_only_until_its_slot(clock: Clock, limiter: RateLimiter) -> None:
    began = clock.now
    use_slots(clock, [limiter], 1)
    clock.sleep(LEAD + MARGIN / RATE - 0.1)  # a slot would be due 0.1 s later, less than is reserved ahead
    assert use_slots(clock, [limiter], 1) == pytest.approx([began + LEAD + MARGIN / RATE], abs=1e-4)


def test_a_slot_that_has_begun_when_dynamodb_answers_is_used_at_once(
    clock: Clock, limiter: RateLimiter, before_update: Callable[..., None]
) -> None:
    before_update(lambda call: clock.sleep(1))
    asked = clock.now
    assert use_slots(clock, [limiter], 1) == [asked + 2]  # two updates: nobody has a slot, and the slot itself


def test_two_environments_never_get_the_same_slot(
    make_limiter: Callable[..., RateLimiter], clock: Clock, before_update: Callable[..., None]
) -> None:
    first, second = make_limiter(), make_limiter()
    between: list[float | None] = []

    def let_the_other_be_quicker(call: dict[str, Any]) -> None:
        if ":soon + :step" in call["UpdateExpression"] and not between:
            between.append(None)
            between[0] = take(second, 100)

    before_update(let_the_other_be_quicker)
    slot = take(first, 100)
    assert between[0] is not None
    assert slot == pytest.approx(between[0] + LEAD + MARGIN / RATE, abs=1e-4)


def test_slots_that_threads_reserve_together_belong_to_no_other_environment(
    make_limiter: Callable[..., RateLimiter], clock: Clock
) -> None:
    first, second = make_limiter(), make_limiter()
    first._wanted = 3  # and the one that reserves
    slot = take(first, 100)
    reserved = [slot, *(reserved.at for reserved in first._reserved)]
    assert len(reserved) == 4
    ahead = [clock.now + LEAD + number * MARGIN / RATE for number in range(1, 4)]
    assert reserved == pytest.approx([clock.now, *ahead], abs=1e-4)
    assert take(second, 100) == pytest.approx(clock.now + LEAD + 4 * MARGIN / RATE, abs=1e-4)


def test_as_many_slots_are_reserved_together_as_come_in_time(limiter: RateLimiter, clock: Clock) -> None:
    limiter._wanted = 90  # and the one that reserves: the last slot begins in 18.6 seconds, of 20
    take(limiter, 30)
    assert len(limiter._reserved) == 90


def test_a_429_lowers_the_rate_and_successes_raise_it_again(clock: Clock, limiter: RateLimiter) -> None:
    for _ in range(5):
        with pytest.raises(RateLimitExceeded), limiter.slot(Deadline(100)):
            raise RateLimitExceeded("Too many.")
    slow = use_slots(clock, [limiter], 3)
    assert slow[2] - slow[1] > 1.1 * MARGIN / RATE
    use_slots(clock, [limiter], 200)
    fast = use_slots(clock, [limiter], 2)
    assert fast[1] - fast[0] == pytest.approx(MARGIN / RATE, abs=1e-4)


@pytest.mark.parametrize("error", [IntakePaused("Paused."), StorageUnavailable("Down."), ZeroDivisionError()])
def test_no_other_failure_changes_the_rate(clock: Clock, limiter: RateLimiter, error: Exception) -> None:
    with pytest.raises(RateLimitExceeded), limiter.slot(Deadline(100)):
        raise RateLimitExceeded("Too many.")
    lowered = limiter._interval.seconds
    with pytest.raises(type(error)), limiter.slot(Deadline(100)):
        raise error
    assert limiter._interval.seconds == lowered > MARGIN / RATE


def test_a_slot_that_would_come_too_late_is_left_to_others(clock: Clock, limiter: RateLimiter) -> None:
    began = clock.now
    for _ in range(10):
        take(limiter, 100)
    with pytest.raises(OutOfTime), limiter.slot(Deadline(2)):
        raise AssertionError("there was no time for it")
    assert clock.now - began == pytest.approx(2 * (1 - RESERVE), abs=0.1)  # its environment would only ask again
    with pytest.raises(OutOfTime), limiter.slot(Deadline(0)):
        raise AssertionError("there was no time for it")
    assert take(limiter, 100) == pytest.approx(began + LEAD + 10 * MARGIN / RATE, abs=1e-3)


def test_a_third_of_the_time_is_left_after_the_last_slot(
    clock: Clock, make_limiter: Callable[..., RateLimiter]
) -> None:
    fleet, began = [make_limiter() for _ in range(3)], clock.now
    reserved = [take(fleet[number % 3], 30) for number in range(120)]
    used = [slot for slot in reserved if slot is not None]
    assert max(used) <= began + 20
    assert len(used) == pytest.approx(20 * RATE / MARGIN, abs=2)
    assert None not in reserved[: len(used)]
    clock.sleep(10)
    assert take(fleet[0], 30) == pytest.approx(max(used) + MARGIN / RATE, abs=1e-3)


def test_no_slot_is_reserved_when_not_even_the_next_one_would_do(limiter: RateLimiter, clients: Clients) -> None:
    assert take(limiter, LEAD) is None
    assert stored(clients) == {}


def test_it_gives_up_when_others_are_always_faster(
    limiter: RateLimiter, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(**_: object) -> None:
        raise refusal("ConditionalCheckFailedException", "UpdateItem")

    monkeypatch.setattr(clients.dynamodb, "update_item", lose)
    with pytest.raises(StorageUnavailable, match=r"^Too many environments reserved their slots at once\.$"):
        take(limiter, 100)


def test_some_threads_get_slots_when_there_are_too_few(clock: Clock, limiter: RateLimiter) -> None:
    with ThreadPoolExecutor(10) as threads:
        slots = list(threads.map(lambda _: take(limiter, 1.5), range(10)))
    assert sum(slot is not None for slot in slots) == 5  # those that begin within two thirds of the 1.5 s
    assert (limiter._wanted, list(limiter._reserved)) == (0, [])


@pytest.mark.parametrize("code", ["ThrottlingException", "ProvisionedThroughputExceededException"])
def test_without_dynamodb_nothing_is_sent(
    limiter: RateLimiter, clients: Clients, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    calls = []

    def fail(**call: object) -> None:
        calls.append(call)
        raise refusal(code, "UpdateItem")

    monkeypatch.setattr(clients.dynamodb, "update_item", fail)
    said = rf"^DynamoDB did not reserve a slot for the request \({code}\)\.$"
    with pytest.raises(StorageUnavailable, match=said), limiter.slot(Deadline(100)):
        raise AssertionError("there was no slot")
    assert len(calls) == 1


def test_threads_that_want_a_slot_at_the_same_time_share_a_call(
    clock: Clock, limiter: RateLimiter, before_update: Callable[..., None]
) -> None:
    calls, all_wait = [], threading.Event()

    def wait_for_all(call: dict[str, Any]) -> None:
        calls.append(call)
        assert all_wait.wait(10)

    before_update(wait_for_all)
    with ThreadPoolExecutor(10) as threads:
        slots = [threads.submit(take, limiter, 100) for _ in range(10)]
        while limiter._wanted < 10:
            time.sleep(0.001)
        all_wait.set()
        times = sorted(slot.result() or 0 for slot in slots)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps == pytest.approx([MARGIN / RATE + LEAD] + [MARGIN / RATE] * 8, abs=1e-4)
    assert len(calls) <= 4  # the first thread's own, and one for the nine others; each may be tried in two ways
    assert (limiter._wanted, list(limiter._reserved)) == (0, [])


def test_a_thread_that_gets_no_slot_does_not_stop_another(
    make_limiter: Callable[..., RateLimiter],
) -> None:
    limiter = make_limiter("nowhere")
    with pytest.raises(StorageUnavailable):
        take(limiter, 100)
    limiter._table = "ledger"
    take(limiter, 100)
    assert (limiter._wanted, list(limiter._reserved)) == (0, [])


def test_the_rate_is_kept_in_real_time(make_limiter: Callable[..., RateLimiter]) -> None:
    limiter, started = make_limiter(rate=50), time.time()
    for _ in range(11):
        with limiter.slot(Deadline(100)):
            pass
    assert time.time() - started >= 10 * MARGIN / 50


def test_a_slot_costs_one_call_while_others_wait(
    limiter: RateLimiter, clock: Clock, before_update: Callable[..., None]
) -> None:
    take(limiter, 100)
    calls: list[object] = []
    before_update(calls.append)
    take(limiter, 100)
    assert len(calls) == 1


def test_threads_whose_slots_would_not_all_come_in_time_reserve_one_each(
    limiter: RateLimiter, clients: Clients, clock: Clock
) -> None:
    limiter._wanted = 9  # others wait; there is time for about five slots
    assert take(limiter, 1.5) == clock.now
    assert list(limiter._reserved) == []
    assert float(stored(clients)["next_at"]["N"]) == pytest.approx(clock.now + LEAD + MARGIN / RATE, abs=1e-4)


# The pause


def pause(clients: Clients) -> None:
    assert IntakeItem(clients.dynamodb, "ledger").pause(FUNCTION, "service_unavailable")


@pytest.mark.parametrize("others_wait", [True, False])
def test_no_slot_is_reserved_while_the_intake_is_paused(
    limiter: RateLimiter, clients: Clients, clock: Clock, others_wait: bool
) -> None:
    take(limiter, 100)
    if not others_wait:
        clock.sleep(60)
    pause(clients)
    before = stored(clients)
    with pytest.raises(IntakePaused), limiter.slot(Deadline(100)):
        raise AssertionError("it is paused")
    assert stored(clients) == before
    assert (limiter._wanted, list(limiter._reserved)) == (0, [])


def test_a_pause_between_the_two_updates_for_a_slot_ends_the_call(
    limiter: RateLimiter, clients: Clients, clock: Clock, before_update: Callable[..., None]
) -> None:
    paused: list[None] = []

    def pause_before_the_second(call: dict[str, Any]) -> None:
        if ":soon + :step" in call["UpdateExpression"] and not paused:
            paused.append(None)
            pause(clients)

    before_update(pause_before_the_second)
    with pytest.raises(IntakePaused):
        take(limiter, 100)
    assert "next_at" not in stored(clients)


def test_a_pause_leaves_the_slots_of_the_rate_limiter_alone(
    limiter: RateLimiter, clients: Clients, clock: Clock
) -> None:
    take(limiter, 100)
    before = stored(clients)["next_at"]
    pause(clients)
    item = IntakeItem(clients.dynamodb, "ledger")
    item.reopen(item.read(), "1-token")
    assert stored(clients)["next_at"] == before


def test_a_pause_that_is_learnt_of_shortly_before_the_slot_ends_the_call(
    limiter: RateLimiter, clients: Clients, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        take(limiter, 100)
    checked: list[float] = []

    def check(seconds: float) -> None:
        checked.append(seconds)
        if seconds == 0:
            raise IntakePaused("Paused.")

    monkeypatch.setattr(limiter._admission, "check_again", check)
    with pytest.raises(IntakePaused), limiter.slot(Deadline(100)):
        raise AssertionError("it is paused")
    assert checked == [LEAD, 0]


def test_a_pause_while_the_request_is_being_connected_ends_the_call(
    limiter: RateLimiter, clients: Clients, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("remove_background.intake.time", clock)
    with limiter.slot(Deadline(100)) as check:
        check()
        pause(clients)
        clock.sleep(4)
        check()  # nobody asks DynamoDB again within five seconds
        clock.sleep(2)
        with pytest.raises(IntakePaused):
            check()


class Admission:
    """Decides as configured, and records its calls."""

    def __init__(self, *, admits: bool) -> None:
        self.admits = admits
        self.asked: list[tuple[dict[str, Any], float]] = []

    def admit(self, item: Any, until: float, part: Part) -> bool:  # noqa: ANN401
        self.asked.append((item, until))
        return self.admits

    def note_open(self, asked: float) -> None:
        pass

    def check_again(self, seconds: float) -> None:
        pass

    def pause_at_cap(self, reason: str, condition: str, values: Any) -> None:  # noqa: ANN401
        raise AssertionError("there is no cap")


def test_the_probe_gets_a_slot_soon_and_keeps_its_admission_for_the_whole_invocation(
    clients: Clients, clock: Clock
) -> None:
    clients.dynamodb.put_item(TableName="ledger", Item=ITEM | {"reopened_at": {"N": "1"}})
    admission = Admission(admits=True)
    limiter = RateLimiter(clients, "ledger", RATE, admission, NO_CAP)
    limiter._wanted = 9  # others wait, too
    assert take(limiter, 90) == pytest.approx(clock.now + LEAD)
    assert list(limiter._reserved) == []
    ((item, until),) = admission.asked
    assert item["reopened_at"] == {"N": "1"}
    assert 90 < until - clock.now <= 100


@pytest.mark.parametrize("seconds", [-60, 1])
def test_on_probation_no_slot_is_reserved_without_admission(clients: Clients, clock: Clock, seconds: float) -> None:
    before = ITEM | {"reopened_at": {"N": "1"}, "next_at": {"N": str(clock.now + seconds)}}
    clients.dynamodb.put_item(TableName="ledger", Item=before)
    admission = Admission(admits=True)
    assert take(RateLimiter(clients, "ledger", RATE, admission, NO_CAP), 100) == clock.now + LEAD
    assert len(admission.asked) == 1
    admission.admits = False  # it was open again for a moment
    with pytest.raises(StorageUnavailable, match=r"^Too many environments reserved their slots at once\.$"):
        take(RateLimiter(clients, "ledger", RATE, admission, NO_CAP), 100)
    assert as_stored(stored(clients)) == as_stored(before)


def test_on_probation_a_slot_that_would_come_too_late_is_not_even_requested(clients: Clients, clock: Clock) -> None:
    clients.dynamodb.put_item(TableName="ledger", Item=ITEM | {"reopened_at": {"N": "1"}})
    admission = Admission(admits=True)
    assert take(RateLimiter(clients, "ledger", RATE, admission, NO_CAP), LEAD) is None
    assert admission.asked == []


def test_the_state_is_read_only_after_a_slot_was_refused(clients: Clients, clock: Clock) -> None:
    admission = Admission(admits=False)
    limiter = RateLimiter(clients, "ledger", RATE, admission, NO_CAP)
    take(limiter, 100)
    assert len(admission.asked) == 1  # nobody had a slot
    for _ in range(5):
        take(limiter, 100)
    assert len(admission.asked) == 1
