"""All environments together stay under the rate; a 429 lowers it, successes raise it again."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest
from botocore.exceptions import ClientError

from remove_background.aws import Clients
from remove_background.deadline import Deadline
from remove_background.errors import OutOfTime, RateLimitExceeded, StorageUnavailable
from remove_background.rate_limiter import LEAD, MARGIN, RESERVE, SLOWEST, Pace


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("remove_background.rate_limiter.time.time", lambda: clock.now)
    monkeypatch.setattr("remove_background.rate_limiter.time.sleep", clock.sleep)
    return clock


@pytest.fixture
def make_pace(clients: Clients) -> Callable[[], Pace]:
    """A Pace for each environment."""
    return lambda: Pace(clients.dynamodb, "ledger", 5)


def turns(clock: Clock, paces: list[Pace], count: int) -> list[float]:
    times = []
    for number in range(count):
        with paces[number % len(paces)].turn(Deadline(100)):
            times.append(clock.now)
    return times


def test_environments_share_one_rate(clock: Clock, make_pace: Callable[[], Pace]) -> None:
    times = turns(clock, [make_pace(), make_pace(), make_pace()], 16)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps == pytest.approx([MARGIN / 5] * 15, abs=1e-4)


def test_time_in_which_nobody_asked_is_not_made_up_for(clock: Clock, make_pace: Callable[[], Pace]) -> None:
    pace = make_pace()
    turns(clock, [pace], 2)
    clock.sleep(60)
    times = turns(clock, [pace], 3)
    assert times[2] - times[0] == pytest.approx(2 * MARGIN / 5, abs=1e-4)


def test_the_first_turn_is_near_and_lies_ahead(clock: Clock, make_pace: Callable[[], Pace]) -> None:
    before = clock.now
    assert turns(clock, [make_pace()], 1) == pytest.approx([before + LEAD], abs=1e-4)


def test_a_429_lowers_the_pace_and_successes_raise_it_again(clock: Clock, make_pace: Callable[[], Pace]) -> None:
    pace = make_pace()
    for _ in range(5):
        with pytest.raises(RateLimitExceeded), pace.turn(Deadline(100)):
            raise RateLimitExceeded("Too many.")
    slow = turns(clock, [pace], 3)
    assert slow[2] - slow[1] > 1.1 * MARGIN / 5
    turns(clock, [pace], 30)
    fast = turns(clock, [pace], 2)
    assert fast[1] - fast[0] == pytest.approx(MARGIN / 5, abs=1e-4)


def test_the_pace_has_a_floor(clock: Clock, make_pace: Callable[[], Pace]) -> None:
    pace = make_pace()
    for _ in range(80):
        with pytest.raises(RateLimitExceeded), pace.turn(Deadline(1e6)):
            raise RateLimitExceeded("Too many.")
    assert pace._interval == pytest.approx(SLOWEST * MARGIN / 5)


def test_a_turn_that_would_come_too_late_is_left_to_others(clock: Clock, make_pace: Callable[[], Pace]) -> None:
    pace, began = make_pace(), clock.now
    for _ in range(10):
        pace._take(Deadline(100))
    with pytest.raises(OutOfTime), pace.turn(Deadline(2)):
        raise AssertionError("there was no time for it")
    assert clock.now - began == pytest.approx(2 * (1 - RESERVE), abs=0.1)  # its environment would only ask again
    with pytest.raises(OutOfTime), pace.turn(Deadline(0)):
        raise AssertionError("there was no time for it")
    assert pace._take(Deadline(100)) == pytest.approx(began + LEAD + 10 * MARGIN / 5, abs=1e-3)


def test_however_many_want_a_turn_no_more_are_taken_than_can_be_used(
    clock: Clock, make_pace: Callable[[], Pace]
) -> None:
    fleet = [make_pace() for _ in range(3)]
    taken = [fleet[number % 3]._take(Deadline(30)) for number in range(300)]
    used = [turn for turn in taken if turn is not None]
    assert max(used) <= clock.now + 30 * (1 - RESERVE)
    assert len(used) == pytest.approx(30 * (1 - RESERVE) * 5 / MARGIN, abs=2)
    assert None not in taken[: len(used)]
    clock.sleep(10)
    assert fleet[0]._take(Deadline(30)) == pytest.approx(max(used) + MARGIN / 5, abs=1e-3)


def test_a_turn_is_not_taken_when_not_even_the_next_one_would_do(make_pace: Callable[[], Pace]) -> None:
    assert make_pace()._take(Deadline(LEAD)) is None


def test_it_gives_up_where_others_are_always_quicker(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(**_: object) -> None:
        raise ClientError({"Error": {"Code": "ConditionalCheckFailedException"}}, "UpdateItem")

    monkeypatch.setattr(clients.dynamodb, "update_item", lose)
    with pytest.raises(StorageUnavailable, match="Too many environments"):
        Pace(clients.dynamodb, "ledger", 5)._take(Deadline(100))


def test_of_threads_that_want_more_turns_than_there_are_some_get_theirs(clients: Clients) -> None:
    pace = Pace(clients.dynamodb, "ledger", 5)
    with ThreadPoolExecutor(10) as threads:
        turns = list(threads.map(lambda _: pace._take(Deadline(1.5)), range(10)))
    assert 2 <= sum(turn is not None for turn in turns) <= 6
    assert (pace._wanted, list(pace._taken)) == (0, [])


def test_without_the_table_nothing_is_sent(clients: Clients) -> None:
    with (
        pytest.raises(StorageUnavailable, match="ResourceNotFoundException"),
        Pace(clients.dynamodb, "nowhere", 5).turn(Deadline(100)),
    ):
        raise AssertionError("there was no turn")


def test_threads_that_want_a_turn_at_the_same_time_share_a_call(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    pace = Pace(clients.dynamodb, "ledger", 5)
    update, calls, all_wait = clients.dynamodb.update_item, [], threading.Event()

    def update_when_all_wait(**call: Any) -> Any:  # noqa: ANN401
        calls.append(call)
        assert all_wait.wait(10)
        return update(**call)

    monkeypatch.setattr(clients.dynamodb, "update_item", update_when_all_wait)
    with ThreadPoolExecutor(10) as threads:
        turns = [threads.submit(pace._take, Deadline(100)) for _ in range(10)]
        while pace._wanted < 10:
            time.sleep(0.001)
        all_wait.set()
        times = sorted(turn.result() or 0 for turn in turns)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps == pytest.approx([MARGIN / 5] * 9, abs=1e-4)
    assert len(calls) <= 4  # the first thread's own, and one for the nine others; each may be tried in two ways
    assert (pace._wanted, list(pace._taken)) == (0, [])


def test_a_turn_that_cannot_be_had_keeps_no_other_thread_from_its_own(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    pace = Pace(clients.dynamodb, "nowhere", 5)
    with pytest.raises(StorageUnavailable):
        pace._take(Deadline(100))
    pace._table = "ledger"
    pace._take(Deadline(100))
    assert (pace._wanted, list(pace._taken)) == (0, [])


def test_real_time_is_kept(clients: Clients) -> None:
    pace = Pace(clients.dynamodb, "ledger", 50)
    started = time.time()
    for _ in range(11):
        with pace.turn(Deadline(100)):
            pass
    assert time.time() - started >= 10 * MARGIN / 50
