"""What is known about one upload, and its history: in words, for a terminal and for a page."""

from collections.abc import Iterator
from datetime import UTC, datetime
from operator import itemgetter

from rich.filesize import decimal

from cutout.operations import originals
from cutout.operations.attempts import LETTER, NOT_WRITTEN, UNAVAILABLE, Attempt
from cutout.operations.comparison import Finding
from cutout.operations.dead_letters import Letter
from cutout.operations.deployment import Deployment
from cutout.operations.explanation import Explanation, Happened, Part, Put, Standing
from cutout.presentation.answer import word_billed, word_cost
from cutout.presentation.intake import word_pause
from cutout.presentation.letter import SHORT_ID, to_line
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


def facts(deployed: Deployment, found: Explanation) -> Iterator[tuple[str, list[str]]]:
    """The name of each, and its lines."""
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
    return f"{decimal(found.upload.size or 0)}, since {second(found.uploaded)} UTC{version}"


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
            what = f"{other}, {source_of(found) or 'of a very long key'}" if _is_cutout(standing) else "not a cutout"
        case _:
            return "nothing is there"
    return f"{what}, {decimal(standing.size)}, since {second(standing.written)} UTC" if standing else what


def _is_cutout(standing: Standing | None) -> bool:
    return standing is not None and standing.cutout.source_key is not None


def source_of(found: Explanation) -> str | None:
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
        f"{word_billed(seen.worst_billed, seen.charges)}{of}; the last call began on {second(seen.claimed_at)} UTC"
    ]
    if seen.is_valid(now):
        lines.append(f"the paid result is held until {second(seen.valid_until)} UTC: a retry or a replay uses it")
    if seen.is_leased(now):
        lines.append(f"an attempt may be paying until {second(seen.lease)} UTC")
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
    yield f"{line.id[:SHORT_ID]}, since {second(line.since)} UTC{attempts}, billed: {line.billed}{of}"
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
    read = f"read since {second(found.log_since)} UTC"
    if not found.log_misses:
        return read
    kept = f"kept for {count(found.log_days, 'day')}, " if found.log_days else ""
    return f"{kept}{read}: the upload is older, and earlier attempts may be missing here"


def history(found: Explanation) -> list[tuple[datetime, str]]:
    """When what happened, in UTC; the oldest first."""
    return sorted(_events(found), key=itemgetter(0))


def _events(found: Explanation) -> Iterator[tuple[datetime, str]]:
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


def unread(found: Explanation) -> Iterator[str]:
    """What could not be read, and why."""
    for part, why in found.unknown.items():
        yield f"{_PARTS[part]} could not be read: {why}"


def moment_of(moment: datetime | float | None) -> datetime | None:
    return datetime.fromtimestamp(moment, UTC) if isinstance(moment, int | float) else moment


def second(moment: datetime | float | None) -> str:
    return f"{moment_of(moment):%Y-%m-%d %H:%M:%S}"
