"""A single 429 costs little; where the API permits less than was said, few requests end in one; it comes back up."""

from collections.abc import Callable

import pytest

from remove_background.interval import LONGER, LONGEST, NEAR, Interval

SHORTEST = 0.2


@pytest.fixture
def interval() -> Interval:
    return Interval(SHORTEST)


def send(interval: Interval, seconds: float, permits: Callable[[float], bool]) -> tuple[int, int]:
    """Requests for that long, one after the other; how many were answered 429, and how many were sent."""
    refused = sent = 0
    while seconds > 0:
        seconds -= interval.seconds
        sent += 1
        if permits(interval.seconds):
            interval.shorten()
        else:
            refused += 1
            interval.lengthen()
    return refused, sent


def test_it_begins_with_the_shortest_and_is_never_shorter(interval: Interval) -> None:
    assert interval.seconds == SHORTEST
    for _ in range(100):
        interval.shorten()
    assert interval.seconds == SHORTEST


def test_a_429_makes_it_longer(interval: Interval) -> None:
    interval.lengthen()
    assert interval.seconds == pytest.approx(SHORTEST * LONGER)


def test_it_has_an_end(interval: Interval) -> None:
    for _ in range(100):
        interval.lengthen()
    assert interval.seconds == pytest.approx(SHORTEST * LONGEST)


def test_a_single_429_costs_less_than_one_request(interval: Interval) -> None:
    interval.lengthen()
    late = 0.0
    while interval.seconds > SHORTEST:
        late += interval.seconds - SHORTEST
        interval.shorten()
    assert late < SHORTEST


def test_it_returns_quickly_until_it_is_near_what_was_refused_and_then_slowly(interval: Interval) -> None:
    refused = interval.seconds
    interval.lengthen()
    interval.shorten()
    assert interval.seconds == pytest.approx(refused * NEAR)
    interval.shorten()
    assert refused * (NEAR - 0.001) < interval.seconds < refused * NEAR


@pytest.mark.parametrize("permitted", [SHORTEST * 1.3, SHORTEST * 3, SHORTEST * 10])
def test_where_less_is_permitted_few_requests_end_in_a_429_and_most_of_it_is_used(
    interval: Interval, permitted: float
) -> None:
    def permits(seconds: float) -> bool:
        return seconds >= permitted

    send(interval, 100 * permitted, permits)  # it finds the limit
    refused, sent = send(interval, 1000 * permitted, permits)
    assert refused / sent < 0.025
    assert (sent - refused) / 1000 > 0.95


def test_it_comes_back_once_the_limit_is_gone(interval: Interval) -> None:
    send(interval, 100, lambda seconds: seconds >= 3 * SHORTEST)
    used = 0
    while interval.seconds > SHORTEST:
        interval.shorten()
        used += 1
    assert used < 250


def test_it_works_for_as_long_as_an_environment_lives(interval: Interval) -> None:
    interval.lengthen()
    for _ in range(100_000):
        interval.shorten()
    assert interval.seconds == SHORTEST


def test_a_row_of_429s_is_left_as_quickly_as_one(interval: Interval) -> None:
    for _ in range(60):
        interval.lengthen()
    successes = 0
    while interval.seconds > SHORTEST:
        interval.shorten()
        successes += 1
    assert successes < 250
