import random
from collections.abc import Iterator

import pytest

from cutout.operations.estimate import Estimate

TOTAL = 2000
RATE = 4.9
TRUTH = TOTAL / RATE  # seconds that all of them take


def burst_times(gap: float, spread: float, chance: random.Random) -> Iterator[float]:
    moment = 0.0
    while moment < TRUTH:
        moment += gap + chance.uniform(-spread, spread)
        yield moment


@pytest.mark.parametrize(("gap", "spread"), [(1, 0), (5, 4), (20, 0), (20, 8)])
@pytest.mark.parametrize("limit", [None, 5.0])
def test_bursts_do_not_mislead_the_estimate(gap: float, spread: float, limit: float | None) -> None:
    estimate = Estimate(TOTAL, limit)
    bursts = burst_times(gap, spread, random.Random(7))
    burst = next(bursts)
    seen = 0
    for now in range(int(TRUTH)):
        if now >= burst:
            seen, burst = int(now * RATE), next(bursts)
        estimate.note(now, seen)
        if now * RATE >= TOTAL / 10 + gap * RATE:  # two bursts have been seen
            left = estimate.seconds_left(now)
            assert left is not None
            assert 0.8 * TRUTH < now + left < 1.2 * TRUTH, now


def test_the_time_for_two_thousand_is_estimated_once_a_tenth_has_ended() -> None:
    estimate = Estimate(TOTAL, 5.0)
    for now in range(int(TRUTH)):
        estimate.note(now, int(now // 20 * 20 * RATE))
        if now * RATE >= TOTAL / 10:
            assert now + (estimate.seconds_left(now) or 0) == pytest.approx(TRUTH, rel=0.2), now


def test_what_ended_before_the_first_look_sets_no_rate() -> None:
    estimate = Estimate(100)
    estimate.note(0, 0)
    assert estimate.seconds_left(0) is None
    estimate.note(1, 50)
    assert estimate.seconds_left(1) is None
    estimate.note(11, 60)
    assert (estimate.rate(11), estimate.seconds_left(11)) == (1.0, 40.0)


def test_the_rate_is_not_above_what_the_stack_allows() -> None:
    estimate = Estimate(1000, 5.0)
    estimate.note(10, 1)
    estimate.note(11, 101)
    assert estimate.rate(11) == 5.0


def test_until_two_bursts_are_seen_the_allowed_rate_gives_the_time_left() -> None:
    estimate = Estimate(1000, 5.0)
    assert estimate.seconds_left(9) is None
    estimate.note(10, 500)
    assert (estimate.rate(12), estimate.seconds_left(12)) == (None, 100.0)


def test_the_time_left_shrinks_between_bursts_and_grows_at_a_standstill() -> None:
    estimate = Estimate(100)
    for now in (0, 10, 20):
        estimate.note(now, 10 + now)
    assert [estimate.seconds_left(now) for now in (20, 30, 40)] == [70.0, 60.0, 50.0]
    assert (estimate.seconds_left(200) or 0) > 500


def test_after_a_pause_the_rate_is_measured_again() -> None:
    estimate = Estimate(100)
    estimate.note(0, 10)
    estimate.note(10, 20)
    estimate.restart()
    assert estimate.rate(11) is None
    estimate.note(3600, 30)
    estimate.note(3610, 40)
    assert estimate.rate(3610) == 1.0
