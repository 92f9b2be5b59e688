"""The caps: what is reserved and left of them, when credits can be spent, and what more is allowed; also as JSON."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from cutout.operations.budget import Budget, Portion, Price, Spending
from cutout.presentation.credits import word_credits, word_money
from cutout.terminal import printable
from remove_background.caps import DAY

PARAMETERS = {"day": "DailyCredits", "month": "MonthlyCredits"}
NAMES = {"day": "daily", "month": "monthly"}
COMMANDS = {"day": "`cutout cap --today +N --reason ...`", "month": "`cutout cap --month +N --reason ...`"}
KEPT_DAYS = 13  # that the queue of a paused intake keeps uploads
# How many portions of possibly many are named.
_SHOWN = 3
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def word_turn(budget: Budget, at: float) -> str:
    """`00:00 Europe/Berlin, in 5 h`; with its date where it is further than a day."""
    left = at - budget.now
    if left < 1.5 * _HOUR:
        rest = f"{max(1, round(left / _MINUTE))} min"
    else:
        rest = f"{round(left / _HOUR)} h" if left < 2 * _DAY else f"{round(left / _DAY)} days"
    date = "" if left <= _DAY + _HOUR else "%Y-%m-%d "  # a day of 25 hours is one
    return f"{budget.caps.local(at):{date}%H:%M} {budget.caps.zone}, in {rest}"


def word_period(budget: Budget, of: Spending, price: Price | None) -> list[str]:
    """What is reserved, what is left and until when; in lines."""
    cap = f"{of.cap or 0:,}{f' + {of.extra:,}' if of.extra else ''}"
    left = of.left or 0
    reserved = f"{of.reserved:,}{word_money(of.reserved, price)} of {cap} credits reserved"
    return [
        f"{reserved}, {left:,} left{word_money(left, price)}",
        f"until {word_turn(budget, of.ends)}",
    ]


def rows(budget: Budget, price: Price | None, *, why: bool = False) -> list[tuple[str, str]]:
    """Of a table: each period that has a cap; and `why` more was allowed."""
    found = []
    for of in (budget.day, budget.month):
        if of.cap is None:
            continue
        lines = word_period(budget, of, price)
        if why and of.extra:
            lines.append(f"{of.extra:,} of them allowed beyond the cap: {printable(of.reason)}")
        found.append(("Today" if of.name == DAY else "This month", "\n".join(lines)))
    return found


def word_now(budget: Budget, price: Price | None) -> str:
    return f"The caps leave {word_credits(budget.left or 0, price)} now."


def word_plan(budget: Budget | str | None, credits_: int) -> Iterator[str]:
    """When so many credits can be spent, if the caps do not let them through at once.

    `budget` is None without a cap, and a sentence where it is not known.
    """
    if isinstance(budget, str):
        yield f"Whether a cap will be reached is not known: {budget}"
    if budget is None or isinstance(budget, str):
        return
    portions = budget.plan(credits_)
    if _fits(portions, credits_):
        return
    missing = credits_ - sum(portion.credits for portion in portions)
    parts = [_word_portion(budget, portion) for portion in portions]
    if missing:
        parts = [*parts[:_SHOWN], "and so on, for more than a month"]
    elif parts[_SHOWN + 1 :]:
        parts = [*parts[:_SHOWN], f"and so on, the last {parts[-1]}"]
    reached = "will be" if portions[0].begins is None else "is"
    yield f"The cap {reached} reached: {', '.join(parts)}, if nothing else spends credits. Uploads wait in the queue."
    if missing or (portions[-1].begins or 0) > budget.now + timedelta(days=KEPT_DAYS).total_seconds():
        yield f"The queue keeps them for {KEPT_DAYS} days: take fewer at a time, or raise the cap."


def plan_as_json(budget: Budget | str | None, credits_: int) -> list[dict[str, Any]] | None:
    """None without a cap, or where that is not known; a portion that begins now has no time."""
    if budget is None or isinstance(budget, str):
        return None
    return [
        {"credits": portion.credits, "from": None if portion.begins is None else _moment(budget, portion.begins)}
        for portion in budget.plan(credits_)
    ]


def _fits(portions: list[Portion], credits_: int) -> bool:
    return not credits_ or (portions[0].begins is None and portions[0].credits == credits_)


def _word_portion(budget: Budget, portion: Portion) -> str:
    if portion.begins is None:
        return f"{portion.credits:,} today"
    begins = budget.caps.local(portion.begins)
    is_tomorrow = begins.date() == budget.caps.local(budget.now).date() + timedelta(days=1)
    return f"{portion.credits:,} from " + (
        f"tomorrow {begins:%H:%M} {budget.caps.zone}" if is_tomorrow else f"{begins:%Y-%m-%d}"
    )


def word_allowance(budget: Budget, of: Spending, more: int, price: Price | None) -> Iterator[str]:
    """What allowing so many more would do."""
    beside = f", beside the {of.extra:,} allowed before" if of.extra else ""
    yield (
        f"To be allowed beyond the {NAMES[of.name]} cap of {of.cap or 0:,}{beside}: {more:,} more, until "
        f"{word_turn(budget, of.ends)}."
    )
    yield f"That may cost up to {word_credits(more, price)}."
    room = (of.cap or 0) + of.extra + more - of.reserved
    if room <= 0:
        yield f"It is not enough: {of.reserved:,} are reserved already. More than {more - room:,} open the intake."
    other = budget.month if of is budget.day else budget.day
    if other.left is not None and other.left < room:
        yield f"The {NAMES[other.name]} cap leaves only {other.left:,}."


def word_allowed(of: Spending, more: int, price: Price | None) -> str:
    when = "today" if of.name == DAY else "this month"
    return f"{word_credits(more, price)} more {'is' if more == 1 else 'are'} allowed {when}."


def caps_as_json(budget: Budget) -> dict[str, Any]:
    """A period without a cap is null."""
    return {
        "time_zone": budget.caps.zone,
        "left": budget.left,
        "day": _as_json(budget, budget.day),
        "month": _as_json(budget, budget.month),
    }


def price_as_json(price: Price | None) -> dict[str, str] | None:
    return {"amount": str(price.amount), "currency": price.currency} if price else None


def _as_json(budget: Budget, of: Spending) -> dict[str, Any] | None:
    return (
        None
        if of.cap is None
        else {
            "cap": of.cap,
            "reserved": of.reserved,
            "extra": of.extra,
            "reason": of.reason or None,
            "left": of.left,
            "ends": _moment(budget, of.ends),
        }
    )


def _moment(budget: Budget, at: float) -> str:
    return budget.caps.local(at).isoformat(timespec="seconds")
