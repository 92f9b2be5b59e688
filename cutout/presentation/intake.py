"""The intake: in sentences, and as JSON."""

from datetime import UTC, datetime
from typing import Any

from cutout.operations.intake import Intake


def word_pause(intake: Intake) -> str:
    why = f" ({intake.reason})" if intake.reason else ""
    return f"The intake is paused by the {intake.paused_by}{why}: uploads wait. `cutout status` says how it goes on."


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
