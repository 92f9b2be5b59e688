"""The intake, in sentences."""

from cutout.operations.intake import Intake


def word_pause(intake: Intake) -> str:
    why = f" ({intake.reason})" if intake.reason else ""
    return f"The intake is paused by the {intake.paused_by}{why}: uploads wait. `cutout status` says how it goes on."
