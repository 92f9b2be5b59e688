"""The lines of the function's log that end an attempt at an upload."""

from datetime import UTC, datetime
from typing import NamedTuple

from cutout.operations.logs import Event
from remove_background.uploads import Outcome

# The outcomes in the log, beside those of `Outcome`.
UNAVAILABLE, LETTER, NOT_WRITTEN = "unavailable", "letter", "letter not written"
OUTCOMES = {*Outcome, UNAVAILABLE, LETTER, NOT_WRITTEN}


class Attempt(NamedTuple):
    """A line of the function's log. `counts` is None where the line does not say whether the attempt does."""

    time: datetime
    source: str | None  # the upload's s3:// URI
    outcome: str
    number: int | None
    milliseconds: int | None
    code: str | None
    message: str | None
    billed: str | None
    counts: bool | None

    @property
    def is_last(self) -> bool:
        """Whether the upload has ended; otherwise it is retried."""
        return self.outcome not in (UNAVAILABLE, NOT_WRITTEN)


def read(line: Event) -> Attempt | None:
    """None for a line that does not end an attempt."""
    fields = line.fields or {}
    outcome = str(fields.get("message"))
    if outcome not in OUTCOMES:
        return None
    return Attempt(
        time=datetime.fromtimestamp(line.time / 1000, UTC),
        source=fields.get("source"),
        outcome=outcome,
        number=fields.get("attempt"),
        milliseconds=fields.get("milliseconds"),
        code=fields.get("error_code"),
        message=fields.get("error_message"),
        billed=fields.get("billed"),
        counts=fields.get("counts"),
    )
