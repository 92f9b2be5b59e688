"""The intake: in sentences, and as JSON."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from cutout.operations.intake import Intake
from remove_background.intake import FUNCTION, State


def word_pause(intake: Intake) -> str:
    why = f" ({intake.reason})" if intake.reason else ""
    return f"The intake is paused by the {intake.paused_by}{why}: uploads wait. `cutout status` says how it goes on."


def word_intake(intake: Intake) -> str:
    """`open`, or who paused it, since when, and why."""
    if intake.paused_by is None:
        return "open"
    why = f": {intake.reason}" if intake.reason else ""
    return f"paused by the {intake.paused_by}{word_since(intake.since)}{why}"


def word_plan_to_pause(stack_name: str) -> str:
    return f"The intake of {stack_name} is to be paused. The queue keeps uploads for 13 days."


def word_plan_to_resume(stack_name: str, found: Intake) -> Iterator[str]:
    """In sentences; `found` is what it is now."""
    if found.paused_by == FUNCTION:
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
