"""One letter: as a line of a list, and with everything about it."""

import itertools
import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.box import SIMPLE
from rich.table import Column, Table

from cutout.operations.dead_letters import NO_REASON, NOT_DELIVERED, Letter
from cutout.operations.deployment import Deployment
from cutout.operations.replay import State, look_at
from cutout.presentation.advice import advise
from cutout.terminal import console, printable

ATTEMPTS_HOURS = 24  # before it became a letter
SHORT_ID = 8  # characters of an id that a list shows


@dataclass(frozen=True, slots=True, order=True)
class Line:
    """A letter as it is listed, without its body."""

    since: datetime
    id: str
    code: str
    sources: tuple[str, ...]
    attempts: int | None
    billed: str
    message: str


def to_line(letter: Letter) -> Line:
    return Line(
        since=letter.sent,
        id=letter.id,
        code=letter.code,
        sources=tuple(letter.sources),
        attempts=_attempts(letter),
        billed=letter.billed,
        message=_message(letter),
    )


def line_as_json(line: Line) -> dict[str, Any]:
    return {
        "id": line.id,
        "since": line.since.isoformat(timespec="seconds"),
        "code": line.code,
        "uploads": list(line.sources),
        "attempts": line.attempts,
        "billed": line.billed,
        "message": line.message or None,
    }


def describe(deployed: Deployment, letter: Letter) -> dict[str, Any]:
    advice = advise(letter.code)
    return line_as_json(to_line(letter)) | {
        "uploads": [{"source": upload.uri, "state": look_at(deployed.s3, upload)} for upload in letter.uploads],
        "meaning": advice.meaning,
        "remedy": advice.remedy,
        "failed_at": letter.attributes.get("FailedAt"),
        "request_id": letter.attributes.get("RequestId"),
        "log": _word_log(deployed, letter),
        "body": letter.body,
    }


_STATES = {
    State.THERE: "it is there, as it was",
    State.OVERWRITTEN: "it was overwritten since, by an upload with an event of its own",
    State.GONE: "it is gone",
}


def rows(letter: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """What `describe` returned, with the names and lines that a person reads; without the body."""
    tries = letter["attempts"]
    facts = {
        "Letter": letter["id"],
        "Code": letter["code"],
        "What it means": letter["meaning"],
        "What to do": letter["remedy"],
        "Message": letter["message"],
        "Billed": letter["billed"],
        "Attempts": None if tries is None else str(tries),
        "In the queue since": letter["since"],
        "Failed at": letter["failed_at"],
        "Request": letter["request_id"],
        "Log": letter["log"],
    }
    for name, value in facts.items():
        if value:
            yield name, [value]
        if name == "Message":
            uploads = [(upload["source"], f"  {_STATES[upload['state']]}") for upload in letter["uploads"]]
            yield "Upload", list(itertools.chain(*uploads)) or ["none that can be read"]


def print_letter(letter: Mapping[str, Any], *, body: bool) -> None:
    table = Table(Column(no_wrap=True), Column(overflow="fold"), show_header=False, box=SIMPLE)
    for name, lines in rows(letter):
        table.add_row(name, "\n".join(map(printable, lines)))
    screen = console()
    screen.print(table)
    if body:
        screen.print("Its body:")
        screen.print("\n".join(printable(line) for line in indent(letter["body"]).splitlines()), soft_wrap=True)


def indent(body: str) -> str:
    """JSON on lines that a person can read; anything else as it is."""
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return body


def _word_log(deployed: Deployment, letter: Letter) -> str | None:
    """How to find what the function logged of it: all that was logged, where no line has its key or its code."""
    if letter.code == NOT_DELIVERED:
        return None
    upload = next(iter(letter.uploads), None)
    words = ["cutout", "logs"]
    if letter.code != NO_REASON:
        is_input = upload is not None and upload.bucket == deployed.input_bucket
        words += ["--key", upload.key] if upload and is_input else ["--code", letter.code]
    hours = (datetime.now(UTC) - letter.sent) // timedelta(hours=1) + 1
    return shlex.join([*words, "--hours", str(hours + ATTEMPTS_HOURS)])


def _message(letter: Letter) -> str:
    if letter.code == NO_REASON:
        return "SQS moved it here itself: the function was killed at each attempt, or refused its settings."
    if letter.code == NOT_DELIVERED:
        told = (letter.attributes.get(name) for name in ("ERROR_CODE", "ERROR_MESSAGE"))
        return ": ".join(text for text in told if text)
    return letter.attributes.get("ErrorMessage", "")


def _attempts(letter: Letter) -> int | None:
    text = letter.attributes.get("Attempts", "")
    # In a letter that SQS moved itself, the attribute is the function's count of earlier attempts.
    return int(text) if text.isdecimal() and letter.code != NO_REASON else None
