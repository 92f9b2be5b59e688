"""What happened to one upload: the answer, the facts behind it, and its history; or all of it as JSON."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from rich.box import SIMPLE
from rich.table import Column, Table

from cutout.operations.deployment import Deployment
from cutout.operations.explanation import Explanation, Part
from cutout.presentation.answer import answer
from cutout.presentation.facts import facts, history, moment_of, second, source_of, unread
from cutout.presentation.intake import intake_as_json
from cutout.presentation.letter import line_as_json, to_line
from cutout.terminal import console, printable


def print_explanation(deployed: Deployment, found: Explanation) -> None:
    screen = console()
    told = answer(found)
    screen.print(printable(told.sentence), soft_wrap=True)
    if told.remedy:
        screen.print(f"Next: {printable(told.remedy)}", soft_wrap=True)
    table = Table(Column(no_wrap=True), Column(overflow="fold"), show_header=False, box=SIMPLE)
    for name, lines in facts(deployed, found):
        table.add_row(name, "\n".join(map(printable, lines)))
    screen.print(table)
    events = history(found)
    if events:
        screen.print("History (UTC)")
    for moment, text in events:
        screen.print(f"  {second(moment)}  {printable(text)}", soft_wrap=True)
    for sentence in unread(found):
        screen.print(printable(sentence), soft_wrap=True)


def explanation_as_json(deployed: Deployment, found: Explanation) -> dict[str, Any]:
    told = answer(found)
    now = found.upload
    return {
        "key": now.key,
        "source": now.uri,
        "happened": found.happened,
        "answer": told.sentence,
        "remedy": told.remedy,
        "input": {
            "size": now.size,
            "etag": now.etag,
            "version": now.version_id,
            "since": _iso(found.uploaded),
        }
        if found.is_there
        else None,
        "versions": [
            {
                "time": _iso(put.time),
                "deleted": put.is_deletion,
                "version": put.version,
                "etag": put.etag,
                "size": put.size,
            }
            for put in found.puts
        ],
        "output": _output_as_json(deployed, found),
        "attempts": [
            {
                "time": _iso(attempt.time, "milliseconds"),
                "outcome": attempt.outcome,
                "attempt": attempt.number,
                "counts": attempt.counts,
                "milliseconds": attempt.milliseconds,
                "code": attempt.code,
                "message": attempt.message,
                "billed": attempt.billed,
            }
            for attempt in found.attempts
        ],
        "log": {"since": _iso(found.log_since), "kept_days": found.log_days, "may_miss_attempts": found.log_misses},
        "ledger": _ledger_as_json(found),
        "letters": [
            line_as_json(to_line(letter)) | {"current": found.is_about_current(letter)} for letter in found.letters
        ],
        "letters_not_looked_at": found.letters_unread,
        "rejected": {"code": found.rejection.code, "current": found.is_rejected} if found.rejection else None,
        "queue": asdict(found.queue) if found.queue else None,
        "intake": intake_as_json(found.intake) if found.intake else None,
        "unknown": {part.value: why for part, why in found.unknown.items()},
    }


def _output_as_json(deployed: Deployment, found: Explanation) -> dict[str, Any]:
    standing = found.standing
    return {
        "bucket": deployed.output_bucket,
        "key": found.output_key,
        "state": None if Part.OUTPUT in found.unknown else found.finding,
        "source": source_of(found),
        "size": standing.size if standing else None,
        "etag": standing.cutout.etag.strip('"') if standing else None,
        "since": _iso(standing.written) if standing else None,
    }


def _ledger_as_json(found: Explanation) -> dict[str, Any] | None:
    """Never the result's URL: whoever has it can fetch the cutout."""
    seen = found.seen
    if seen is None:
        return None
    return {
        "source": seen.source,
        "current": found.account is not None,
        "claimed_at": _iso(seen.claimed_at),
        "billed": seen.worst_billed,
        "charges": seen.charges,
        "failed_as": seen.failed_as or None,
        "result_held_until": _iso(seen.valid_until) if seen.is_valid(found.asked.timestamp()) else None,
        "lease_until": _iso(seen.lease),
        "reuses": seen.reuses,
        "letter_written_at": _iso(seen.ended_at),
        "letter_code": seen.ended_as or None,
    }


def _iso(moment: datetime | float | None, timespec: str = "seconds") -> str | None:
    found = moment_of(moment)
    return found.isoformat(timespec=timespec) if found else None
