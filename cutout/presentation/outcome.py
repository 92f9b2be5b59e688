"""What became of the letters that a command selected."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import typer

from cutout.operations.deletion import Deletion, Left
from cutout.operations.replay import Kept
from cutout.operations.selection import Chosen, Done
from cutout.presentation.letter import SHORT_ID
from cutout.terminal import name_some, print_json
from cutout.words import count

MOST_IDS = 20  # in a sentence


def report(
    chosen: Chosen,
    done: Done,
    word: str,
    kept: Mapping[Kept, Sequence[str]],
    *,
    as_json: bool,
    more: Mapping[str, Any],
) -> None:
    """`more` are further fields of the JSON."""
    missing = len(chosen.ids) - len(done.met)
    if as_json:
        print_json(
            {
                "chosen": len(chosen.ids),
                "codes": dict(chosen.codes.most_common()),
                word: len(done.done),
                "not_deleted": len(done.undeleted),
                "not_found_again": missing,
            }
            | ({why.value: list(kept.get(why, ())) for why in Kept} if word == "replayed" else {})
            | dict(more)
        )
    else:
        typer.echo(f"{count(len(done.done), 'letter')} {word}." if chosen.ids else "There are no such letters.")
    for why, ids in kept.items():
        typer.echo(f"{word_kept(why, ids)}\n  {_word_command(why, ids)}", err=True)
    if done.undeleted:
        typer.echo(
            f"SQS has kept {count(len(done.undeleted), 'letter')} of those: they are in the queue still.", err=True
        )
    if missing:
        typer.echo(
            f"{count(missing, 'letter')} not found again: another command has them, or has deleted them.", err=True
        )


def word_kept(why: Kept, ids: Sequence[str]) -> str:
    return f"{count(len(ids), 'letter')} not replayed: {_WORDS[why]}"


def word_stopped(chosen: Chosen, done: Done, word: str) -> Iterator[str]:
    """What was done before an error or Ctrl-C."""
    were = "was" if len(chosen.ids) == 1 else "were"
    yield f"{len(done.done):,} of {count(len(chosen.ids), 'letter')} {were} {word}; the others are in the queue."
    if done.undeleted:
        yield f"Of those {word}, {count(len(done.undeleted), 'letter')} may be in the queue still."


def word_deletion(deletion: Deletion) -> Iterator[str]:
    """Also where the letters could not all be handled."""
    yield f"{count(deletion.deleted, 'image')} deleted."
    for why, uris in deletion.left.items():
        yield f"{count(len(uris), 'image')} left, {_WORDS_LEFT[why]}: {name_some(uris, MOST_IDS)}"


def deletion_as_json(deletion: Deletion) -> dict[str, Any]:
    return {
        "images_deleted": deletion.deleted,
        "images_left": {why.value: list(deletion.left.get(why, ())) for why in Left},
    }


_WORDS_LEFT = {
    Left.OVERWRITTEN: "overwritten since by an upload with an event of its own",
    Left.ELSEWHERE: "not among the stack's inputs",
}
_WORDS = {
    Kept.GONE: "the upload is gone.",
    Kept.OVERWRITTEN: "the upload was overwritten since, by one with an event of its own.",
    Kept.NO_UPLOAD: "it describes no upload, and would be a letter again.",
    Kept.NOT_SENT: "SQS did not take it.",
}


def _word_command(why: Kept, ids: Sequence[str]) -> str:
    """What to call for letters that were not replayed, ready to be copied."""
    command = "replay" if why == Kept.NOT_SENT else "discard"
    more = f"  (and {len(ids) - MOST_IDS:,} more, which --json names)" if len(ids) > MOST_IDS else ""
    return f"cutout letters {command} {' '.join(letter_id[:SHORT_ID] for letter_id in ids[:MOST_IDS])}{more}"
