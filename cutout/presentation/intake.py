"""The intake: in sentences, and as JSON."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from cutout.operations.intake import Intake
from cutout.presentation.caps import COMMANDS, NAMES, PARAMETERS, word_turn
from remove_background.caps import REASONS
from remove_background.intake import FUNCTION, OPERATOR, State


def word_pause(intake: Intake) -> str:
    if intake.is_at_cap:
        return f"The intake is paused: {_word_cap(intake)}. Uploads wait. {word_way_on(intake)}"
    why = f" ({intake.reason})" if intake.reason else ""
    return f"The intake is paused by the {intake.paused_by}{why}: uploads wait. `cutout status` says how it goes on."


def word_intake(intake: Intake) -> str:
    """`open`, or who paused it, since when, and why."""
    if intake.paused_by is None:
        return "open"
    reason = _word_cap(intake) if intake.is_at_cap else intake.reason
    why = f": {reason}" if reason else ""
    return f"paused by the {intake.paused_by}{word_since(intake.since)}{why}"


def word_way_on(intake: Intake) -> str:
    """How a pause ends."""
    if intake.paused_by == OPERATOR:
        return "`cutout resume` reopens it."
    if not intake.is_at_cap:
        return "It is reopened when the cause is gone."
    if _is_over(intake):
        return "Credits are left again: it opens by itself within five minutes."
    opens = intake.budget.opens if intake.budget else None
    when = f"soon after {word_turn(intake.budget, opens)}" if intake.budget and opens else "when its period has ended"
    names = _reached(intake)
    commands = " and ".join(COMMANDS[name] for name in names)
    parameters = " and ".join(PARAMETERS[name] for name in names)
    earlier = f", or higher {parameters}, open" if len(names) > 1 else f" or a higher {parameters} opens"
    return f"It opens by itself {when}. {commands}{earlier} it earlier."


def _word_cap(intake: Intake) -> str:
    names = _reached(intake)
    caps = " and the ".join(f"{NAMES[name]} cap" for name in names)
    return f"the {caps} {'was' if _is_over(intake) else 'are' if len(names) > 1 else 'is'} reached"


def _is_over(intake: Intake) -> bool:
    """Credits are left: the cap has turned, or more is allowed."""
    return intake.budget is not None and not intake.budget.reached


def _reached(intake: Intake) -> list[str]:
    """The caps that keep it paused; that of the pause's reason where none does any more."""
    reached = [of.name for of in intake.budget.reached] if intake.budget else []
    return reached or [name for name, reason in REASONS.items() if reason == intake.reason]


def word_plan_to_pause(stack_name: str) -> str:
    return f"The intake of {stack_name} is to be paused. The queue keeps uploads for 13 days."


def word_plan_to_resume(stack_name: str, found: Intake) -> Iterator[str]:
    """In sentences; `found` is what it is now."""
    if found.is_at_cap:
        again = "" if _is_over(found) else " While nothing is left, it does so again."
        yield f"The function paused the intake: {_word_cap(found)}.{again} {word_way_on(found)}"
    elif found.paused_by == FUNCTION:
        yield f"The function paused the intake ({found.reason}); it does so again if that lasts."
    yield f"The intake of {stack_name} is to be reopened. What waits in the queue is worked on, and paid."


def word_paused_already(found: State) -> str:
    why = f' ("{found.reason}")' if found.reason else ""
    return f"Already paused{word_since(found.since)}{why}."


def word_not_switched(trouble: str) -> str:
    return f"The event source mapping is not switched yet ({trouble}): ReopenIntake goes on with it."


def word_since(since: float | None) -> str:
    """` since 2026-11-29 08:30 UTC`; nothing where that is not known."""
    return f" since {datetime.fromtimestamp(since, UTC):%Y-%m-%d %H:%M} UTC" if since else ""


def intake_as_json(intake: Intake) -> dict[str, Any]:
    since = datetime.fromtimestamp(intake.since, UTC) if intake.since else None
    return {
        "paused_by": intake.paused_by,
        "reason": intake.reason or None,
        "since": since.isoformat(timespec="seconds") if since else None,
    }
