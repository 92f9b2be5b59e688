"""The caps and what credits cost, in sentences."""

from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from cutout.operations import budget
from cutout.operations.budget import Budget, Price
from cutout.operations.intake import Intake
from cutout.presentation.caps import plan_as_json, word_plan, word_turn
from cutout.presentation.credits import word_credits, word_left, word_money
from cutout.presentation.intake import word_intake, word_pause, word_plan_to_resume, word_way_on
from cutout.presentation.sending import word_cost
from remove_background.caps import Caps, Counts, Period

ZONE = "Europe/Berlin"


def moment(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(ZONE)).timestamp()


NOW = moment("2026-11-28 19:00")
DAY, MONTH = moment("2026-11-29"), moment("2026-12-01")


def make(daily: int | None, monthly: int | None, day: int = 0, month: int = 0, now: float = NOW) -> Budget:
    return budget.make(Caps(daily, monthly, ZONE), Counts(Period(DAY, day), Period(MONTH, month)), now)


@pytest.mark.parametrize(
    ("number", "amount", "words"),
    [
        (2000, "0.10", " (200.00 USD)"),
        (1, "0.10", " (0.10 USD)"),
        (0, "0.10", " (0.00 USD)"),
        (250.0, "0.10", " (25.00 USD)"),
        (1_000_000, "0.125", " (125,000.00 USD)"),
        (1, "0.0035", " (0.0035 USD)"),
        (1000, "0.00355", " (3.55 USD)"),
        (999, "0.00355", " (3.55 USD)"),
        (3, "15", " (45 USD)"),
        (999_999_999, "999999.999999", " (999,999,998,999,000.00 USD)"),
    ],
)
def test_credits_in_money(number: float, amount: str, words: str) -> None:
    assert word_money(number, Price(Decimal(amount), "USD")) == words


def test_without_a_price_no_money_is_said() -> None:
    assert word_money(2000, None) == ""
    assert word_credits(1, None) == "1 credit"
    assert word_left(5.0) == "5 are left."


def test_what_sending_costs_is_said_in_money() -> None:
    price = Price(Decimal("0.10"), "USD")
    assert word_cost(2000, 5000.0, price) == (
        "That may cost up to 2,000 credits (200.00 USD); 5,000 (500.00 USD) are left."
    )
    assert word_cost(2000, 50.0, price).startswith(
        "That may cost up to 2,000 credits (200.00 USD); only 50 (5.00 USD) are left."
    )


@pytest.mark.parametrize(
    ("now", "ends", "words"),
    [
        ("2026-11-28 19:00", "2026-11-29 00:00", "00:00 Europe/Berlin, in 5 h"),
        ("2026-11-28 22:29", "2026-11-29 00:00", "00:00 Europe/Berlin, in 2 h"),
        ("2026-11-28 23:15", "2026-11-29 00:00", "00:00 Europe/Berlin, in 45 min"),
        ("2026-11-28 23:59:50", "2026-11-29 00:00", "00:00 Europe/Berlin, in 1 min"),
        ("2026-11-29 00:00", "2026-12-01 00:00", "2026-12-01 00:00 Europe/Berlin, in 2 days"),
        ("2026-11-28 19:00", "2026-12-01 00:00", "2026-12-01 00:00 Europe/Berlin, in 2 days"),
        ("2026-10-25 00:00", "2026-10-26 00:00", "00:00 Europe/Berlin, in 25 h"),
        ("2026-11-30 19:00", "2026-12-01 00:00", "00:00 Europe/Berlin, in 5 h"),
    ],
)
def test_when_a_period_turns(now: str, ends: str, words: str) -> None:
    found = make(1, 1, now=moment(now))
    assert word_turn(found, moment(ends)) == words


@pytest.mark.parametrize(
    ("daily", "monthly", "day", "month", "credits_", "words"),
    [
        (2000, None, 0, 0, 3000, "will be reached: 2,000 today, 1,000 from tomorrow 00:00 Europe/Berlin"),
        (2000, None, 2000, 0, 5, "is reached: 5 from tomorrow 00:00 Europe/Berlin"),
        (2000, None, 1990, 0, 4000, ("will be reached: 10 today, 2,000 from tomorrow 00:00 Europe/Berlin, 1,990 from "
         "2026-11-30")),
        (None, 2000, 0, 500, 2000, "will be reached: 1,500 today, 500 from 2026-12-01"),
        (10, None, 0, 0, 45, ("will be reached: 10 today, 10 from tomorrow 00:00 Europe/Berlin, 10 from 2026-11-30, "
         "and so on, the last 5 from 2026-12-02")),
        (10, None, 0, 0, 35, ("will be reached: 10 today, 10 from tomorrow 00:00 Europe/Berlin, 10 from 2026-11-30, "
         "5 from 2026-12-01")),
    ],
)  # fmt: skip
def test_when_a_cap_will_be_reached(
    daily: int | None, monthly: int | None, day: int, month: int, credits_: int, words: str
) -> None:
    told = list(word_plan(make(daily, monthly, day, month), credits_))
    assert told == [f"The cap {words}, if nothing else spends credits. Uploads wait in the queue."]


@pytest.mark.parametrize("credits_", [0, 1, 2000])
def test_nothing_is_said_of_a_cap_that_will_not_be_reached(credits_: int) -> None:
    assert list(word_plan(make(2000, None), credits_)) == []
    assert list(word_plan(None, credits_)) == []


def test_a_cap_that_is_not_known_is_said() -> None:
    assert list(word_plan("AWS does not answer.", 5)) == [
        "Whether a cap will be reached is not known: AWS does not answer."
    ]
    assert plan_as_json("AWS does not answer.", 5) is None


@pytest.mark.parametrize(("credits_", "is_said"), [(14, False), (15, True), (1000, True)])
def test_uploads_that_the_queue_would_not_keep_are_warned_of(credits_: int, is_said: bool) -> None:
    told = list(word_plan(make(1, None), credits_))
    assert (told[1:] == ["The queue keeps them for 13 days: take fewer at a time, or raise the cap."]) == is_said


def test_a_plan_longer_than_a_month_says_so() -> None:
    told = next(word_plan(make(1, None), 1000))
    assert "1 from 2026-11-30, and so on, for more than a month, if nothing else" in told


def test_a_plan_as_json() -> None:
    assert plan_as_json(make(2000, None), 3000) == [
        {"credits": 2000, "from": None},
        {"credits": 1000, "from": "2026-11-29T00:00:00+01:00"},
    ]
    assert plan_as_json(None, 3000) is None


def paused(reason: str, found: Budget | None) -> Intake:
    return Intake("function", reason, None, found)


TODAY = "`cutout cap --today +N --reason ...`"
THIS_MONTH = "`cutout cap --month +N --reason ...`"


@pytest.mark.parametrize(
    ("intake", "cap", "way_on"),
    [
        (
            paused("daily_cap", make(10, 100, 10, 50)),
            "the daily cap is reached",
            (
                f"It opens by itself soon after 00:00 Europe/Berlin, in 5 h. {TODAY} or a higher DailyCredits opens it "
                "earlier."
            ),
        ),
        (
            paused("monthly_cap", make(10, 100, 5, 100)),
            "the monthly cap is reached",
            (
                f"It opens by itself soon after 2026-12-01 00:00 Europe/Berlin, in 2 days. {THIS_MONTH} or a higher "
                "MonthlyCredits opens it earlier."
            ),
        ),
        (
            paused("daily_cap", make(10, 100, 10, 100)),
            "the daily cap and the monthly cap are reached",
            (
                f"It opens by itself soon after 2026-12-01 00:00 Europe/Berlin, in 2 days. {TODAY} and {THIS_MONTH}, "
                "or higher DailyCredits and MonthlyCredits, open it earlier."
            ),
        ),
        (
            paused("daily_cap", make(20, 100, 10, 50)),
            "the daily cap was reached",
            "Credits are left again: it opens by itself within five minutes.",
        ),
        (
            paused("monthly_cap", None),
            "the monthly cap is reached",
            f"It opens by itself when its period has ended. {THIS_MONTH} or a higher MonthlyCredits opens it earlier.",
        ),
    ],
)
def test_a_pause_at_a_cap_is_a_sentence_with_its_remedy(intake: Intake, cap: str, way_on: str) -> None:
    assert word_pause(intake) == f"The intake is paused: {cap}. Uploads wait. {way_on}"
    assert word_intake(intake) == f"paused by the function: {cap}"
    assert word_way_on(intake) == way_on
    again = " While nothing is left, it does so again." if cap.endswith(" is reached") or "are" in cap else ""
    assert next(word_plan_to_resume("cutout", intake)) == f"The function paused the intake: {cap}.{again} {way_on}"


def test_other_pauses_are_worded_as_ever() -> None:
    mine = Intake("operator", "daily_cap", None)
    assert word_pause(mine).startswith("The intake is paused by the operator (daily_cap): uploads wait.")
    assert word_way_on(mine) == "`cutout resume` reopens it."
    assert word_way_on(Intake("function", "invalid_auth_token")) == "It is reopened when the cause is gone."
