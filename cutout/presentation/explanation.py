"""What happened to one upload: the answer, the facts behind it, and its history; or all of it as JSON."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

from rich.box import SIMPLE
from rich.filesize import decimal
from rich.table import Column, Table

from cutout.operations import originals
from cutout.operations.attempts import LETTER, NOT_WRITTEN, UNAVAILABLE, Attempt
from cutout.operations.comparison import Finding
from cutout.operations.dead_letters import Letter
from cutout.operations.deployment import Deployment
from cutout.operations.explanation import Explanation, Happened, Part, Put, Standing
from cutout.presentation.answer import answer, word_billed, word_cost
from cutout.presentation.intake import intake_as_json, word_pause
from cutout.presentation.letter import SHORT_ID, line_as_json, to_line
from cutout.terminal import console, printable
from cutout.words import count
from remove_background.uploads import Outcome

_PARTS = {
    Part.INPUT: "What stands under the key",
    Part.VERSIONS: "Earlier versions and deletions of the key",
    Part.OUTPUT: "What stands under its output key",
    Part.LOG: "Its attempts",
    Part.RETENTION: "How long the log is kept",
    Part.LEDGER: "What was paid",
    Part.REJECTION: "Whether it was rejected for good",
    Part.LETTERS: "Its letters",
    Part.QUEUE: "Whether the queue is empty",
    Part.INTAKE: "Whether the intake is open",
}
_ENDS = {
    Outcome.CUTOUT: "it became a cutout",
    Outcome.DUPLICATE: "a duplicate: its cutout or its letter was there already",
    Outcome.SUPERSEDED: "superseded: other bytes stood under the key",
    Outcome.DELETED: "it was gone",
    UNAVAILABLE: "failed, and went back to the queue",
    LETTER: "failed, and became a letter",
    NOT_WRITTEN: "failed; its letter could not be written, so it is retried",
}


def print_explanation(deployed: Deployment, found: Explanation) -> None:
    screen = console()
    told = answer(found)
    screen.print(printable(told.sentence), soft_wrap=True)
    if told.remedy:
        screen.print(f"Next: {printable(told.remedy)}", soft_wrap=True)
    table = Table(Column(no_wrap=True), Column(overflow="fold"), show_header=False, box=SIMPLE)
    for name, lines in _facts(deployed, found):
        table.add_row(name, "\n".join(map(printable, lines)))
    screen.print(table)
    history = sorted(_history(found), key=itemgetter(0))
    if history:
        screen.print("History (UTC)")
    for moment, text in history:
        screen.print(f"  {_second(moment)}  {printable(text)}", soft_wrap=True)
    for part, why in found.unknown.items():
        screen.print(f"{_PARTS[part]} could not be read: {printable(why)}", soft_wrap=True)


def _facts(deployed: Deployment, found: Explanation) -> Iterator[tuple[str, list[str]]]:
    if Part.INPUT not in found.unknown:
        now = found.upload
        yield "Upload", [now.uri, _word_upload(found) if found.is_there else "not there"]
    if Part.OUTPUT not in found.unknown and found.is_taken:
        place = f"s3://{deployed.output_bucket}/{found.output_key}" if found.output_key else "none"
        yield "Output", [place, _word_standing(found)]
    if found.is_taken and (paid := _paid(found)):
        yield "Paid", paid
    if Part.LETTERS not in found.unknown:
        lines = [line for letter in found.letters for line in _word_letter(found, letter)] or ["none about it"]
        if found.letters_unread:
            lines.append(f"{count(found.letters_unread, 'letter')} of the queue not looked at: one may be about it")
        yield "Letters", lines
    if found.rejection:
        of = "" if found.is_rejected else ", of earlier bytes"
        yield "Rejected for good", [found.rejection.code + of]
    if found.happened not in (Happened.CUTOUT, Happened.LETTER, Happened.NOT_TAKEN):
        yield "Queue", list(_word_queue(found))
    if found.log_since and Part.LOG not in found.unknown:
        yield "Log", [_word_log(found)]


def _word_upload(found: Explanation) -> str:
    version = f", version {found.upload.version_id}" if found.upload.version_id else ""
    return f"{decimal(found.upload.size or 0)}, since {_second(found.uploaded)} UTC{version}"


def _word_standing(found: Explanation) -> str:
    standing = found.standing
    match found.finding:
        case Finding.TOO_LONG:
            return "its output key would be longer than the 1,024 bytes that S3 allows"
        case Finding.CURRENT:
            what = "its cutout"
        case Finding.STALE:
            what = "the cutout of other bytes of the key" if found.is_there else "its cutout"
        case Finding.CONFLICT:
            other = "the cutout of another upload"
            what = f"{other}, {_source(found) or 'of a very long key'}" if _is_cutout(standing) else "not a cutout"
        case _:
            return "nothing is there"
    return f"{what}, {decimal(standing.size)}, since {_second(standing.written)} UTC" if standing else what


def _is_cutout(standing: Standing | None) -> bool:
    return standing is not None and standing.cutout.source_key is not None


def _source(found: Explanation) -> str | None:
    """The URI of the upload that the cutout was made of; None if nothing says so, or only a hash of a long key."""
    if found.standing is None:
        return None
    cutout = found.standing.cutout
    if cutout.is_of_key(found.upload):
        return found.upload.uri
    key = originals.key_of(cutout)
    return f"s3://{cutout.source_bucket}/{key}" if key else None


def _paid(found: Explanation) -> list[str]:
    seen = found.seen
    if Part.LEDGER in found.unknown:
        return []
    if seen is None and (cost := word_cost(found)):
        return [cost]
    if seen is None:
        return ["the ledger has no record of it: nothing was paid, or it is longer ago than the 14 days that it keeps"]
    if not seen.is_of_key(found.upload):
        return [f"the ledger's record is about another upload of the same output key, {seen.source}"]
    of = "" if found.account or not found.is_there else " for other bytes of the key"
    now = found.asked.timestamp()
    lines = [
        f"{word_billed(seen.worst_billed, seen.charges)}{of}; the last call began on {_second(seen.claimed_at)} UTC"
    ]
    if seen.is_valid(now):
        lines.append(f"the paid result is held until {_second(seen.valid_until)} UTC: a retry or a replay uses it")
    if seen.is_leased(now):
        lines.append(f"an attempt may be paying until {_second(seen.lease)} UTC")
    elif seen.lease is not None:
        lines.append("the function was stopped during the paid call: whether that was charged is not known")
    if seen.failed_as:
        lines.append(f"the last charged call brought no cutout: {seen.failed_as}")
    if seen.reuses:
        lines.append(f"the paid result was used again {count(seen.reuses, 'time')}")
    return lines


def _word_letter(found: Explanation, letter: Letter) -> Iterator[str]:
    line = to_line(letter)
    of = "" if found.is_about_current(letter) else ", about an earlier upload"
    attempts = f", {count(line.attempts, 'attempt')}" if line.attempts is not None else ""
    yield f"{line.id[:SHORT_ID]}, since {_second(line.since)} UTC{attempts}, billed: {line.billed}{of}"
    yield f"{line.code}: {line.message}"


def _word_queue(found: Explanation) -> Iterator[str]:
    if found.intake and found.intake.paused_by:
        yield word_pause(found.intake)
    queue = found.queue
    if queue is None:
        return
    if not found.may_wait:
        yield "empty, by SQS's approximate count: it does not wait there"
    else:
        yield (
            f"{queue.waiting:,} wait, {queue.in_work:,} in flight, {queue.delayed:,} delayed; SQS does not say "
            "whether it is among them"
        )


def _word_log(found: Explanation) -> str:
    read = f"read since {_second(found.log_since)} UTC"
    if not found.log_misses:
        return read
    kept = f"kept for {count(found.log_days, 'day')}, " if found.log_days else ""
    return f"{kept}{read}: the upload is older, and earlier attempts may be missing here"


def _history(found: Explanation) -> Iterator[tuple[datetime, str]]:
    for put in reversed(found.puts):
        yield put.time, _word_put(put)
    if found.uploaded and Part.VERSIONS in found.unknown:
        yield found.uploaded, f"uploaded, {decimal(found.upload.size or 0)}"
    for attempt in found.attempts:
        yield attempt.time, _word_attempt(attempt)


def _word_put(put: Put) -> str:
    if put.is_deletion:
        return "deleted"
    version = f", version {put.version}" if put.version else ""
    return f"uploaded, {decimal(put.size or 0)}{version}"


def _word_attempt(attempt: Attempt) -> str:
    at = "attempt" if attempt.number is None else f"attempt {attempt.number}"
    after = "" if attempt.milliseconds is None else f" after {attempt.milliseconds:,} ms"
    why = f": {attempt.code}, {attempt.message}" if attempt.code else ""
    waited = " It does not count as an attempt." if attempt.counts is False else ""
    return f"{at}{after}: {_ENDS[attempt.outcome]}{why}{waited}"


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
        "source": _source(found),
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


def _moment(moment: datetime | float | None) -> datetime | None:
    return datetime.fromtimestamp(moment, UTC) if isinstance(moment, int | float) else moment


def _second(moment: datetime | float | None) -> str:
    return f"{_moment(moment):%Y-%m-%d %H:%M:%S}"


def _iso(moment: datetime | float | None, timespec: str = "seconds") -> str | None:
    found = _moment(moment)
    return found.isoformat(timespec=timespec) if found else None
