"""Uploads that were sent to the queue again: followed on the screen, and summed up in a sentence."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import typer

from cutout.operations import intake as stack_intake
from cutout.operations import output_keys
from cutout.operations.deployment import Deployment
from cutout.operations.files import Became, File
from cutout.presentation import following
from cutout.presentation.intake import word_pause
from cutout.terminal import printable
from cutout.words import count
from remove_background.errors import OutputKeyTooLong
from remove_background.uploads import Upload


def follow(deployed: Deployment, uploads: Iterable[Upload], sent: datetime) -> list[File]:
    """Each of these, which were sent to the queue from then on, when it has ended."""
    output_key = output_keys.output_key(deployed)
    files: dict[object, File] = {}
    for upload in uploads:
        try:
            key = output_key.of(upload.key)
        except OutputKeyTooLong:
            key = upload.key  # under which no cutout of it will be found
        file = File(Path(upload.key), upload.size or 0, upload.key, key, Became.SENT)
        file.upload = upload._replace(time=sent.timestamp())  # letters from before are not about this attempt
        files[upload.uri, upload.etag, upload.version_id] = file
    intake = stack_intake.read(deployed)
    if intake.paused_by:
        typer.echo(word_pause(intake), err=True)
    try:
        following.follow(deployed, list(files.values()), intake)
    except KeyboardInterrupt:
        typer.echo(f"Stopped. {word_ends(list(files.values()))} These go on without this command.", err=True)
        raise
    return list(files.values())


def word_ends(files: Sequence[File]) -> str:
    """`Of 12 uploads: 10 cutouts, 1 letter (1 malformed_image), 1 deleted.`"""
    became, codes = _count(files)
    words = [_word(Became(kind), number, codes) for kind, number in became.items()]
    return f"Of {count(len(files), 'upload')}: {', '.join(words) or 'none'}."


def ends_as_json(files: Sequence[File] | None) -> dict[str, Any]:
    """Null if they were not followed."""
    if files is None:
        return {"became": None, "became_letters": None}
    became, codes = _count(files)
    return {"became": became, "became_letters": codes}


def _count(files: Sequence[File]) -> tuple[dict[str, int], dict[str, int]]:
    """By what became of them; and the codes of their letters, the most frequent first."""
    became = Counter(file.became for file in files)
    codes = Counter(file.code for file in files if file.code)
    return {kind.value: became[kind] for kind in Became if became[kind]}, dict(codes.most_common())


def _word(kind: Became, number: int, codes: Mapping[str, int]) -> str:
    match kind:
        case Became.CUTOUT:
            return count(number, "cutout")
        case Became.LETTER:
            told = ", ".join(f"{number:,} {printable(code)}" for code, number in codes.items())
            return f"{count(number, 'letter')} ({told})"
        case Became.SENT:
            return f"{number:,} on their way"
        case _:
            return f"{number:,} {kind.replace('_', ' ')}"
