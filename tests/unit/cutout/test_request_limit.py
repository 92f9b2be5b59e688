"""Each way to count allows the rate, evenly sent, and refuses what is above; they differ in what follows a pause."""

import pytest

from cutout.local.pixelcut.limits import CountedBy, RequestLimit

WAYS: list[CountedBy] = ["sliding_window", "fixed_window", "token_bucket"]


def admitted(counted_by: CountedBy, times: list[float], limit: int = 5) -> int:
    counter = RequestLimit()
    return sum(counter.admits(limit, counted_by, time) for time in times)


@pytest.mark.parametrize("counted_by", WAYS)
def test_the_rate_is_admitted(counted_by: CountedBy) -> None:
    assert admitted(counted_by, [0.21 * number for number in range(100)]) == 100


@pytest.mark.parametrize("counted_by", WAYS)
def test_no_more_than_the_rate_is_admitted(counted_by: CountedBy) -> None:
    seconds = 20
    times = [0.05 * number for number in range(20 * seconds)]
    assert 5 * seconds <= admitted(counted_by, times) <= 5 * (seconds + 1)


@pytest.mark.parametrize("counted_by", WAYS)
def test_of_a_burst_the_requests_of_one_second_are_admitted(counted_by: CountedBy) -> None:
    assert admitted(counted_by, [10.5] * 20) == 5


@pytest.mark.parametrize(("counted_by", "count"), [("sliding_window", 5), ("fixed_window", 10), ("token_bucket", 6)])
def test_two_bursts_at_the_turn_of_a_second(counted_by: CountedBy, count: int) -> None:
    assert admitted(counted_by, [0.9] * 10 + [1.1] * 10) == count


@pytest.mark.parametrize("counted_by", WAYS)
def test_a_request_that_is_counted_late_makes_no_room_for_another(counted_by: CountedBy) -> None:
    assert admitted(counted_by, [1.001, *[0.999] * 10, *[1.002] * 10]) == 5
