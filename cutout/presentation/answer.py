"""The sentence that answers "What happened to this upload?", and what to do."""

from datetime import datetime
from typing import NamedTuple

from cutout.operations.attempts import LETTER, NOT_WRITTEN, UNAVAILABLE
from cutout.operations.comparison import Finding
from cutout.operations.explanation import Explanation, Happened, Part
from cutout.presentation.advice import advise
from cutout.presentation.intake import word_pause
from cutout.presentation.letter import SHORT_ID
from remove_background.errors import Billed
from remove_background.uploads import Outcome

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


class Answer(NamedTuple):
    sentence: str
    remedy: str | None = None


_FIXED = {
    Happened.NEVER_UPLOADED: Answer(
        "Nothing is known of it: nothing stands under this key, and no trace of an upload was found.",
        "Compare the key with those in the bucket; upper and lower case differ.",
    ),
    Happened.NOT_TAKEN: Answer(
        "It does not become a cutout: it is a folder, or its key does not begin with the `InputPrefix`."
    ),
    Happened.CONFLICT: Answer(
        "It has no cutout: its output key is taken by another upload's cutout, or by an object that is not a cutout.",
        advise("output_key_conflict").remedy,
    ),
}


def answer(found: Explanation) -> Answer:
    return _FIXED.get(found.happened) or _ANSWERS[found.happened](found)


def _deleted(found: Explanation) -> Answer:
    deletion = next((put for put in found.puts if put.is_deletion), None)
    gone = f"It was deleted on {_minute(deletion.time)} UTC" if deletion else "It was uploaded once, and is gone"
    if Part.OUTPUT in found.unknown:
        return Answer(f"{gone}.")
    if found.standing and found.finding is Finding.STALE:
        return Answer(f"{gone}; its cutout of {_minute(found.standing.written)} UTC is still there.")
    return Answer(f"{gone}; no cutout of it is there.")


def _cutout(found: Explanation) -> Answer:
    written = found.standing.written if found.standing else found.asked
    letter = found.letter
    remedy = f"Its old letter is still there: `cutout letters discard {letter.id[:SHORT_ID]}`." if letter else None
    if found.uploaded and written < found.uploaded:
        return Answer(
            f"The cutout of the same bytes was there already, since {_minute(written)} UTC; nothing was charged again.",
            remedy,
        )
    outcomes = [attempt.outcome for attempt in found.current_attempts]
    at = ""
    if LETTER in outcomes:
        at = ", after its letter was replayed"
    elif Outcome.CUTOUT in outcomes:
        at = f", at {_ordinal(found.current_attempts[outcomes.index(Outcome.CUTOUT)].number)}"
    return Answer(f"It became a cutout on {_minute(written)} UTC{at}{_word_cost(found)}.", remedy)


def _letter(found: Explanation) -> Answer:
    if letter := found.letter:
        return Answer(f"It is a letter: {letter.code}{_word_cost(found)}.", advise(letter.code).remedy)
    last = found.current_attempts[-1]
    return Answer(
        f"It became a letter on {_minute(last.time)} UTC: {last.code}{_word_cost(found)}. The letter was not among "
        "those that were read.",
        advise(str(last.code)).remedy,
    )


def _rejected(found: Explanation) -> Answer:
    code = found.rejection.code if found.rejection else ""
    return Answer(
        f"It was rejected for good: {code}{_word_cost(found)}. It has no letter any more: that was discarded or "
        "replayed, or is older than 14 days.",
        advise(code).remedy,
    )


def _in_flight(found: Explanation) -> Answer:
    return Answer(f"It is in flight{_word_last(found)}: the function asks Pixelcut for its cutout.", "Ask again soon.")


def _waiting(found: Explanation) -> Answer:
    remedy = None
    if found.intake and found.intake.paused_by:
        remedy = "The intake is paused: `cutout status` says why, and how it goes on."
        if found.intake.is_at_cap:
            remedy = word_pause(found.intake)
    last = found.current_attempts[-1] if found.current_attempts else None
    if last and last.outcome in (UNAVAILABLE, NOT_WRITTEN):
        return Answer(f"It waits in the queue to be retried{_word_last(found)}{_word_cost(found)}.", remedy)
    if last and last.outcome == LETTER:
        return Answer(
            f"It became a letter on {_minute(last.time)} UTC: {last.code}{_word_cost(found)}. The letter is gone: it "
            "was discarded, or replayed and waits in the queue.",
            remedy or "Ask again when the queue is empty.",
        )
    return Answer("It has neither a cutout nor a letter yet: most likely it waits in the queue.", remedy)


def _unfinished(found: Explanation) -> Answer:
    return Answer(
        f"It has neither a cutout nor a letter{_word_last(found)}, and the queue is empty.",
        "SQS's counts lag by a minute: ask again then. If it is still so, `cutout backfill` finds it.",
    )


def _unknown(found: Explanation) -> Answer:
    if found.letters_unread and not {Part.INPUT, Part.OUTPUT} & set(found.unknown):
        return Answer(
            f"It has no cutout, and no letter among those that were read{_word_last(found)}: it may wait in the queue, "
            f"or be one of the {found.letters_unread:,} other letters.",
            "`cutout letters list --all` reads all letters.",
        )
    return Answer("What happened to it is not known: not everything could be read.")


_ANSWERS = {
    Happened.DELETED: _deleted,
    Happened.CUTOUT: _cutout,
    Happened.LETTER: _letter,
    Happened.REJECTED: _rejected,
    Happened.IN_FLIGHT: _in_flight,
    Happened.WAITING: _waiting,
    Happened.UNFINISHED: _unfinished,
    Happened.UNKNOWN: _unknown,
}


def _word_last(found: Explanation) -> str:
    """How the last attempt ended, in brackets."""
    if not found.current_attempts:
        return ""
    last = found.current_attempts[-1]
    ended = f"failed with {last.code}" if last.code else f"ended as {last.outcome}"
    return f" ({_ordinal(last.number)} {ended} on {_minute(last.time)} UTC)"


def _word_cost(found: Explanation) -> str:
    """Behind what happened."""
    cost = word_cost(found)
    return f"; {cost}" if cost else ""


def word_cost(found: Explanation) -> str | None:
    """What was charged for what stands under the key, by the ledger, its letter or the log; None if none says it."""
    account, letter = found.account, found.letter
    last = found.current_attempts[-1] if found.current_attempts else None
    told = letter.billed if letter else last.billed if last else None
    billed = [Billed(told)] if told in set(Billed) else []
    if account:
        billed.append(account.worst_billed)
    if not billed:
        return None
    return word_billed(billed[0].or_worse(billed[-1]), account.charges if account else 1)


def word_billed(billed: Billed, charges: int) -> str:
    """`charges` are the calls that were or may have been charged."""
    if billed is Billed.NO:
        return "nothing was charged"
    if charges > 1:
        return f"up to {charges:,} credits {'were' if billed is Billed.YES else 'may have been'} charged"
    return f"one credit {'was' if billed is Billed.YES else 'may have been'} charged"


def _ordinal(number: int | None) -> str:
    if number is None:
        return "the last attempt"
    return f"the {_ORDINALS[number - 1]} attempt" if 0 < number <= len(_ORDINALS) else f"attempt {number:,}"


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"
