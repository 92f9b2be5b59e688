"""Letters as lists: the number of each code, or one page of them."""

import functools
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime

import typer
from rich.box import SIMPLE
from rich.table import Column, Table

from cutout.operations import selection
from cutout.operations.budget import Budget, Price
from cutout.operations.dead_letters import HIDDEN, HIDDEN_UNTIL, VISIBILITY_SECONDS, Letter
from cutout.operations.deployment import Deployment
from cutout.operations.selection import Choice, Chosen, Look, Read
from cutout.presentation.advice import advise
from cutout.presentation.caps import word_plan
from cutout.presentation.credits import word_credits, word_left
from cutout.presentation.letter import SHORT_ID, Line, line_as_json, to_line
from cutout.terminal import bar, console, print_json, printable
from cutout.words import count
from remove_background.errors import Billed


def read_letters(deployed: Deployment, look: Look) -> int:
    """Calls `look` with every letter, one at a time; prints how many it did not see. Returns how many were hidden."""
    read = selection.read_all(deployed, look, functools.partial(bar, "Reading letters"))
    for sentence in word_unread(read):
        typer.echo(sentence, err=True)
    return read.hidden


def word_unread(read: Read) -> Iterator[str]:
    if read.hidden:
        yield f"Not among these: {count(read.hidden, 'letter')} {HIDDEN}. {HIDDEN_UNTIL}"
    if read.missing:  # such as those of an answer that was lost on its way
        yield (
            f"SQS counted {count(read.missing, 'letter')} more than it gave. Its counts lag by a minute; letters that "
            f"are there come back within {VISIBILITY_SECONDS // 60}."
        )


def word_replay(
    chosen: Chosen, left: float | str, *, is_paused: bool, caps: Budget | str | None, price: Price | None
) -> Iterator[str]:
    """What a replay would do and cost, with the credits that are `left`, or why that is not known.

    `caps` is None without a cap, and a sentence where they are not known.
    """
    yield f"To be replayed: {word_chosen(chosen)}."
    yield (
        f"That may cost {word_credits(chosen.uploads, price)}, less where a paid result can be used again; "
        f"{word_left(left, price).rstrip('.')}."
    )
    yield from word_plan(caps, chosen.uploads)
    if is_paused:
        yield "The intake is paused: what is replayed waits in the queue until it is reopened."


def word_discard(chosen: Chosen, bucket: str | None) -> Iterator[str]:
    """What a discard would do; with the `bucket`, if the images in it are to be deleted as well."""
    yield f"To be discarded, for good: {word_chosen(chosen)}."
    if bucket:
        yield f"To be deleted with them, for good: {count(chosen.uploads, 'image')} in s3://{bucket}."


def word_chosen(chosen: Chosen) -> str:
    codes = ", ".join(f"{number:,} {printable(code)}" for code, number in chosen.codes.most_common())
    return f"{count(len(chosen.ids), 'letter')} ({codes})"


def list_codes(deployed: Deployment, *, as_json: bool) -> None:
    billed: dict[str, Counter[str]] = defaultdict(Counter)
    oldest: dict[str, datetime] = {}

    def look(letter: Letter) -> None:
        billed[letter.code][letter.billed] += 1
        oldest[letter.code] = min(letter.sent, oldest.get(letter.code, letter.sent))

    hidden = read_letters(deployed, look)
    codes = sorted(billed, key=lambda code: -billed[code].total())
    if as_json:
        print_json(
            {
                "codes": [
                    {
                        "code": code,
                        "letters": billed[code].total(),
                        "billed": {word.value: billed[code][word] for word in Billed},
                        "oldest": oldest[code].isoformat(timespec="seconds"),
                        "meaning": advise(code).meaning,
                    }
                    for code in codes
                ],
                "hidden": hidden,
            }
        )
        return
    screen = console()
    if not codes:
        screen.print("There are no letters.")
        return
    table = Table(
        Column("Letters", justify="right"),
        "Billed",
        Column("Oldest (UTC)", no_wrap=True),
        Column("Code, and what it means", overflow="fold"),
        box=SIMPLE,
    )
    for code in codes:
        counts = [f"{billed[code][word]:,} {word}" for word in Billed if billed[code][word]]
        table.add_row(
            f"{billed[code].total():,}",
            ", ".join(counts),
            _word_minute(oldest[code]),
            f"{printable(code)}\n{advise(code).meaning}",
        )
    screen.print(table)
    screen.print(
        f"`cutout letters list --code {printable(codes[0])}` lists those, `cutout letters show ID` says what to do.\n"
        "`cutout letters replay` tries letters again, `cutout letters discard` deletes them."
    )


def list_page(deployed: Deployment, choice: Choice, limit: int, page: int, *, as_json: bool) -> None:
    number = 0
    oldest: list[Line] = []

    def look(letter: Letter) -> None:
        nonlocal number
        if not choice.takes(letter):
            return
        number += 1
        oldest.append(to_line(letter))
        if len(oldest) >= 2 * limit * page:  # those of the page and of the ones before it are all that is kept
            oldest.sort()
            del oldest[limit * page :]

    hidden = read_letters(deployed, look)
    lines = sorted(oldest)[limit * (page - 1) : limit * page]
    if as_json:
        print_json({"letters": [line_as_json(line) for line in lines], "page": page, "count": number, "hidden": hidden})
        return
    screen = console()
    if not number:
        screen.print("There are no such letters.")
        return
    pages = -(-number // limit)
    if page > pages:
        screen.print(f"There is no page {page:,}: the last one is {pages:,}.")
        return
    table = Table(
        "Id",
        Column("Since (UTC)", no_wrap=True),
        Column("Attempts", justify="right"),
        "Billed",
        Column("Upload, code and message", overflow="fold"),
        box=SIMPLE,
    )
    for line in lines:
        # The bucket is shown only if it is another one.
        keys = [source.removeprefix(f"s3://{deployed.input_bucket}/") for source in line.sources]
        table.add_row(
            line.id[:SHORT_ID],
            _word_minute(line.since),
            "" if line.attempts is None else str(line.attempts),
            printable(line.billed),
            "\n".join(printable(text) for text in [*keys, f"{line.code}: {line.message}"]),
        )
    screen.print(table)
    screen.print(f"Page {page:,} of {pages:,}; {count(number, 'letter')}. `cutout letters show ID` says what to do.")


def _word_minute(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"
