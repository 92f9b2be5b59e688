"""A replay or a discard that was begun on the console's page: what it is, and what it has done."""

from collections.abc import Iterator

from cutout.operations.dead_letters import HIDDEN, HIDDEN_UNTIL
from cutout.operations.letter_job import Action, Job, State
from cutout.presentation.outcome import word_deletion, word_kept
from cutout.words import count

WORDS = {Action.REPLAY: "replayed", Action.DISCARD: "discarded", Action.DELETE: "discarded"}


def word_action(action: Action, number: int, what: str = "letter") -> str:
    """What it does, as on a button: `Replay 4,812 letters`."""
    letters = count(number, what)
    match action:
        case Action.REPLAY:
            return f"Replay {letters}"
        case Action.DISCARD:
            return f"Discard {letters}"
        case Action.DELETE:
            return f"Discard {letters} and delete {'its upload' if number == 1 else 'their uploads'}"


def word_end(job: Job) -> Iterator[str]:
    """Exactly what was done, and what was not."""
    done, word = job.done, WORDS[job.action]
    if job.trouble:
        yield f"An error ended it: {job.trouble}"
    elif job.state is State.CANCELLED:
        yield "It was cancelled."
    were = "was" if len(job.chosen.ids) == 1 else "were"
    yield f"{len(done.done):,} of {count(len(job.chosen.ids), 'letter')} {were} {word}."
    if done.undeleted:
        yield f"Of those {word}, {count(len(done.undeleted), 'letter')} may be in the queue still."
    for why, ids in job.kept.items():
        yield word_kept(why, ids)
    if job.deletion:
        yield from word_deletion(job.deletion)
    if job.not_met:
        yield from _word_not_met(job)


def _word_not_met(job: Job) -> Iterator[str]:
    if job.state is not State.DONE:
        yield f"{count(job.not_met, 'letter')} not {WORDS[job.action]} yet: they are in the queue."
        if job.unsure:
            yield f"Of these, {count(job.unsure, 'letter')} may have been sent already: the answer of AWS was lost."
        return
    if job.hidden:
        yield f"{count(job.hidden, 'letter')} not met, {HIDDEN}. {HIDDEN_UNTIL}"
    if gone := job.not_met - job.hidden:
        yield f"{count(gone, 'letter')} not met any more: another command has deleted them."
