"""What is spent and left of the caps, and when a number of credits can be spent."""

from datetime import datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from cutout.failures import Failure
from cutout.operations import budget
from cutout.operations.budget import Portion
from remove_background.caps import Caps, Counts, Period

ZONE = "Europe/Berlin"


def moment(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(ZONE)).timestamp()


NOW = moment("2026-11-29 12:00")
DAY, MONTH = moment("2026-11-30"), moment("2026-12-01")


def make(
    daily: int | None, monthly: int | None, day: Period | None = None, month: Period | None = None
) -> budget.Budget:
    return budget.make(Caps(daily, monthly, ZONE), Counts(day or Period(), month or Period()), NOW)


def test_what_is_left_is_what_the_lower_cap_leaves() -> None:
    found = make(1000, 5000, Period(DAY, 400, 100, "a rush"), Period(MONTH, 4800))
    assert (found.day.left, found.day.extra, found.day.reason, found.month.left) == (700, 100, "a rush", 200)
    assert found.left == 200


def test_a_period_that_has_ended_has_spent_nothing() -> None:
    found = make(1000, None, Period(NOW - 1, 400, 100, "old"), Period(NOW - 1, 400))
    assert (found.day.left, found.day.extra, found.day.reason, found.day.ends) == (1000, 0, "", DAY)
    assert (found.month.left, found.month.reserved, found.month.ends) == (None, 0, MONTH)


def test_a_cap_that_was_lowered_leaves_nothing() -> None:
    assert make(100, None, Period(DAY, 400)).left == 0


@pytest.mark.parametrize(
    ("daily", "monthly", "spent", "credits_", "portions"),
    [
        (2000, None, 0, 1500, [Portion(1500, None)]),
        (2000, None, 0, 3000, [Portion(2000, None), Portion(1000, DAY)]),
        (2000, None, 2000, 100, [Portion(100, DAY)]),
        (2000, None, 500, 4000, [Portion(1500, None), Portion(2000, DAY), Portion(500, MONTH)]),
        (None, 5000, 4000, 3000, [Portion(1000, None), Portion(2000, MONTH)]),
        (2000, 5000, 4000, 3000, [Portion(1000, None), Portion(2000, MONTH)]),
        (2000, 2500, 0, 3000, [Portion(2000, None), Portion(500, DAY), Portion(500, MONTH)]),
    ],
)
def test_the_rest_waits_for_the_next_day_or_month(
    daily: int | None, monthly: int | None, spent: int, credits_: int, portions: list[Portion]
) -> None:
    # What was spent in the month was spent today, unless that is more than a day allows.
    today = spent if daily is None or spent <= daily else 0
    found = make(daily, monthly, Period(DAY, today), Period(MONTH, spent))
    assert found.plan(credits_) == portions


def test_no_plan_is_longer_than_a_month() -> None:
    portions = make(1, None).plan(1000)
    assert [portion.credits for portion in portions] == [1] * budget.MOST_DAYS


def test_a_price_has_its_currency() -> None:
    deployed: Any = SimpleNamespace(settings={"CREDIT_PRICE": "0.10 USD"})
    assert budget.price(deployed) == (Decimal("0.10"), "USD")
    for settings in ({}, {"CREDIT_PRICE": ""}):
        deployed.settings = settings
        assert budget.price(deployed) is None


def test_on_the_last_day_of_a_month_the_rest_waits_for_the_next_one() -> None:
    counts = Counts(Period(MONTH, 4000), Period(MONTH, 4000))
    found = budget.make(Caps(None, 5000, ZONE), counts, moment("2026-11-30 12:00"))
    assert found.plan(3000) == [Portion(1000, None), Portion(2000, MONTH)]


@pytest.mark.parametrize(
    ("day", "month", "reached", "opens"),
    [
        (10, 50, [], None),
        (1000, 50, ["day"], DAY),
        (10, 5000, ["month"], MONTH),
        (1000, 5000, ["day", "month"], MONTH),
    ],
)
def test_credits_are_left_again_when_each_cap_that_is_reached_has_turned(
    day: int, month: int, reached: list[str], opens: float | None
) -> None:
    found = make(1000, 5000, Period(DAY, day), Period(MONTH, month))
    assert ([period.name for period in found.reached], found.opens) == (reached, opens)


@pytest.mark.parametrize("settings", [{"DAILY_CREDITS": "many"}, {"DAILY_CREDITS": "5", "CAP_TIME_ZONE": "Mars/Base"}])
def test_settings_that_cannot_be_read_are_a_sentence(settings: dict[str, str]) -> None:
    deployed: Any = SimpleNamespace(settings=settings)
    told = budget.look(deployed)
    assert isinstance(told, str)
    assert told.startswith("The caps of the stack cannot be read. The environment variable ")
    with pytest.raises(Failure):
        budget.read(deployed)


def test_without_a_cap_nothing_is_asked() -> None:
    deployed: Any = SimpleNamespace(settings={})
    assert budget.look(deployed) is None
