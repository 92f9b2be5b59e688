"""`cutout letters`: which uploads could not become cutouts, why, and what is to become of them."""

import json
import shlex
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.box import SIMPLE
from rich.table import Column, Table

from cutout.commands.options import STACK_NAME, AsJson, Codes, EndpointUrl, Every, Ids, StackName, Yes
from cutout.failures import Failure
from cutout.operations import credits as balance
from cutout.operations import deployment, queues
from cutout.operations import intake as stack_intake
from cutout.operations.dead_letters import (
    HIDDEN,
    HIDDEN_UNTIL,
    NO_REASON,
    NOT_DELIVERED,
    VISIBILITY_SECONDS,
    DeadLetters,
    Letter,
)
from cutout.operations.deployment import Deployment
from cutout.operations.replay import Kept, Replay, State, look_at
from cutout.presentation.advice import advise
from cutout.terminal import agree, console, print_json, printable, progress
from remove_background.errors import Billed

SHORT_ID = 8  # characters of an id that a list shows
MOST_IDS = 20  # in a sentence

letters = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Read the letters of uploads that could not become cutouts; replay or discard them.",
)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which letters a command is for; all, where it names neither ids nor codes."""

    ids: Collection[str] = ()  # or their first characters
    codes: Collection[str] = ()

    def takes(self, letter: Letter) -> bool:
        return (not self.codes or letter.code in self.codes) and (
            not self.ids or any(letter.id.startswith(start) for start in self.ids)
        )

    def check(self, found: Collection[str], hidden: int) -> None:
        """Raises Failure unless each id that was named is that of just one letter that was found."""
        for start in self.ids:
            matches = sum(letter_id.startswith(start) for letter_id in found)
            if matches > 1:
                raise Failure(f"The ids of {matches} letters begin with {start}: give more of it.")
            if not matches:
                other = f" Another command reads {_count(hidden)}: try again later." if hidden else ""
                raise Failure(f"No letter has the id {start}: `cutout letters list --all` shows them.{other}")


@dataclass(slots=True)
class Chosen:
    """The letters that a command was found to be for: `uploads` is how many they tell of."""

    ids: set[str] = field(default_factory=set)
    codes: Counter[str] = field(default_factory=Counter)
    uploads: int = 0

    def __str__(self) -> str:
        codes = ", ".join(f"{count:,} {printable(code)}" for code, count in self.codes.most_common())
        return f"{_count(len(self.ids))} ({codes})"


@dataclass(slots=True)
class Done:
    """What has become of the chosen letters: `met` were still there, `undeleted` are left though they are `done`."""

    met: int = 0
    done: int = 0
    undeleted: int = 0


@letters.command("list")
def list_letters(
    code: Codes = None,
    every: Every = False,
    limit: Annotated[int, typer.Option(min=1, help="Letters on a page of --code or --all.")] = 50,
    page: Annotated[int, typer.Option(min=1, help="Which page.")] = 1,
    stack_name: StackName = STACK_NAME,
    endpoint_url: EndpointUrl = None,
    as_json: AsJson = False,
) -> None:
    """Count the letters by code, or list them.

    With --code or --all they are listed, oldest first. The queue stays as it was. SQS hides letters while somebody
    reads them, and shows them to nobody else.

    Example: cutout letters list --code malformed_image
    """
    if code and every:
        raise typer.BadParameter("either --code or --all.", param_hint="--code")
    deployed = deployment.find(stack_name, endpoint_url)
    if code or every:
        _list_page(deployed, Choice(codes=code or ()), limit, page, as_json=as_json)
    else:
        _list_codes(deployed, as_json=as_json)


@letters.command("show")
def show_letters(
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="Ids of letters, or their first characters.")],
    stack_name: StackName = STACK_NAME,
    endpoint_url: EndpointUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show all that is known of a letter.

    That is what it means, what to do about it, and where to look.

    Example: cutout letters show 3f2a91c0
    """
    deployed = deployment.find(stack_name, endpoint_url)
    choice = Choice(ids=ids)
    found: dict[str, Letter] = {}

    def look(letter: Letter) -> None:
        if choice.takes(letter):
            found[letter.id] = letter

    choice.check(found, hidden=read_all(deployed, look))
    shown = [_describe(deployed, letter) for letter in sorted(found.values(), key=lambda letter: letter.sent)]
    if as_json:
        print_json(shown)
        return
    for letter in shown:
        _print_letter(letter)


@letters.command("replay")
def replay_letters(
    ids: Ids = None,
    code: Codes = None,
    every: Every = False,
    stack_name: StackName = STACK_NAME,
    endpoint_url: EndpointUrl = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Send letters to the function again.

    A letter stays when its upload is gone, was overwritten by one with an event of its own, or never was one.
    What fails again is a new letter.

    Example: cutout letters replay --code service_unavailable --yes
    """
    choice = _choose(ids, code, every=every)
    deployed = deployment.find(stack_name, endpoint_url)
    chosen = _find(deployed, choice)
    replay = Replay(deployed)
    done = Done()
    if chosen.ids:
        left = balance.read(deployed)
        known = f"{left:,.0f} are left" if isinstance(left, float) else f"how many are left is not known: {left}"
        typer.echo(
            f"To be replayed: {chosen}.\nThat may cost {_count(chosen.uploads, 'credit')}, less where a paid "
            f"result can be used again; {known.rstrip('.')}.",
            err=True,
        )
        if stack_intake.read(deployed).paused_by:
            typer.echo("The intake is paused: what is replayed waits in the queue until `cutout resume`.", err=True)
        agree(yes=yes)
        done = _work_off(deployed, chosen, replay, "replayed")
    _report(chosen, done, "replayed", replay.kept, as_json=as_json)


@letters.command("discard")
def discard_letters(
    ids: Ids = None,
    code: Codes = None,
    every: Every = False,
    stack_name: StackName = STACK_NAME,
    endpoint_url: EndpointUrl = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete letters. The images stay in the input bucket.

    Example: cutout letters discard --code unsupported_image_format --yes
    """
    choice = _choose(ids, code, every=every)
    deployed = deployment.find(stack_name, endpoint_url)
    chosen = _find(deployed, choice)
    done = Done()
    if chosen.ids:
        typer.echo(f"To be discarded, for good: {chosen}.", err=True)
        agree(yes=yes)
        done = _work_off(deployed, chosen, list, "discarded")
    _report(chosen, done, "discarded", {}, as_json=as_json)


def _choose(ids: list[str] | None, codes: list[str] | None, *, every: bool) -> Choice:
    if sum(map(bool, (ids, codes, every))) != 1:
        raise typer.BadParameter("say which letters: by their ids, by --code, or --all.", param_hint="ID")
    return Choice(ids or (), codes or ())


def read_all(deployed: Deployment, look: Callable[[Letter], None]) -> int:
    """Shows every letter to `look`, one at a time. Returns how many were hidden from it."""
    before = queues.count(deployed.sqs, deployed.dead_letter_queue)
    lock = threading.Lock()
    read = 0
    with progress() as bar:
        task = bar.add_task("Reading letters", total=before.waiting)

        def handle(found: Sequence[Letter]) -> list[Letter]:
            nonlocal read
            with lock:
                for letter in found:
                    look(letter)
                read += len(found)
            bar.advance(task, len(found))
            return []

        DeadLetters(deployed.sqs, deployed.dead_letter_queue).work_through(handle)
    if before.in_work:
        typer.echo(f"Not among these: {_count(before.in_work)} {HIDDEN}. {HIDDEN_UNTIL}", err=True)
    if read < before.waiting:  # such as those of an answer that was lost on its way
        typer.echo(
            f"SQS counted {_count(before.waiting - read)} more than it gave. Its counts lag by a minute; letters that "
            f"are there come back within {VISIBILITY_SECONDS // 60}.",
            err=True,
        )
    return before.in_work


def _find(deployed: Deployment, choice: Choice) -> Chosen:
    chosen = Chosen()

    def look(letter: Letter) -> None:
        if choice.takes(letter):
            chosen.ids.add(letter.id)
            chosen.codes[letter.code] += 1
            chosen.uploads += len(letter.uploads)

    choice.check(chosen.ids, hidden=read_all(deployed, look))
    return chosen


def _work_off(
    deployed: Deployment, chosen: Chosen, act: Callable[[Sequence[Letter]], Sequence[Letter]], word: str
) -> Done:
    """`act` returns those of the letters, at most ten, that are done with."""
    done, lock = Done(), threading.Lock()
    dead_letters = DeadLetters(deployed.sqs, deployed.dead_letter_queue)
    try:
        with progress() as bar:
            task = bar.add_task("Letters", total=len(chosen.ids))

            def handle(found: Sequence[Letter]) -> Sequence[Letter]:
                # No others than were agreed to: more may have come in since.
                mine = [letter for letter in found if letter.id in chosen.ids]
                finished = act(mine) if mine else []
                with lock:
                    done.met += len(mine)
                    done.done += len(finished)
                bar.advance(task, len(mine))
                return finished

            dead_letters.work_through(handle)
    except (KeyboardInterrupt, BotoCoreError, ClientError):
        typer.echo(f"{done.done:,} of {_count(len(chosen.ids))} were {word}; the others are in the queue.", err=True)
        raise
    done.undeleted = dead_letters.undeleted
    return done


def _list_codes(deployed: Deployment, *, as_json: bool) -> None:
    billed: dict[str, Counter[str]] = defaultdict(Counter)
    oldest: dict[str, datetime] = {}

    def look(letter: Letter) -> None:
        billed[letter.code][letter.billed] += 1
        oldest[letter.code] = min(letter.sent, oldest.get(letter.code, letter.sent))

    hidden = read_all(deployed, look)
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
            _minute(oldest[code]),
            f"{printable(code)}\n{advise(code).meaning}",
        )
    screen.print(table)
    screen.print(
        f"`cutout letters list --code {printable(codes[0])}` lists those, `cutout letters show ID` says what to do.\n"
        "`cutout letters replay` tries letters again, `cutout letters discard` deletes them."
    )


@dataclass(frozen=True, slots=True, order=True)
class _Line:
    """A letter as it is listed, without its body."""

    since: datetime
    id: str
    code: str
    sources: tuple[str, ...]
    attempts: int | None
    billed: str
    message: str


def _list_page(deployed: Deployment, choice: Choice, limit: int, page: int, *, as_json: bool) -> None:
    count = 0
    oldest: list[_Line] = []

    def look(letter: Letter) -> None:
        nonlocal count
        if not choice.takes(letter):
            return
        count += 1
        oldest.append(_line(letter))
        if len(oldest) >= 2 * limit * page:  # those of the page and of the ones before it are all that is kept
            oldest.sort()
            del oldest[limit * page :]

    hidden = read_all(deployed, look)
    lines = sorted(oldest)[limit * (page - 1) : limit * page]
    if as_json:
        print_json({"letters": [_as_json(line) for line in lines], "page": page, "count": count, "hidden": hidden})
        return
    screen = console()
    if not count:
        screen.print("There are no such letters.")
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
        # The bucket stands only where it is another one.
        keys = [source.removeprefix(f"s3://{deployed.input_bucket}/") for source in line.sources]
        table.add_row(
            line.id[:SHORT_ID],
            _minute(line.since),
            "" if line.attempts is None else str(line.attempts),
            printable(line.billed),
            "\n".join(printable(text) for text in [*keys, f"{line.code}: {line.message}"]),
        )
    screen.print(table)
    pages = -(-count // limit)
    screen.print(f"Page {page:,} of {pages:,}; {_count(count)}. `cutout letters show ID` says what to do.")


def _line(letter: Letter) -> _Line:
    return _Line(
        since=letter.sent,
        id=letter.id,
        code=letter.code,
        sources=tuple(letter.sources),
        attempts=_attempts(letter),
        billed=letter.billed,
        message=_message(letter),
    )


def _as_json(line: _Line) -> dict[str, Any]:
    return {
        "id": line.id,
        "since": line.since.isoformat(timespec="seconds"),
        "code": line.code,
        "uploads": list(line.sources),
        "attempts": line.attempts,
        "billed": line.billed,
        "message": line.message,
    }


def _describe(deployed: Deployment, letter: Letter) -> dict[str, Any]:
    advice = advise(letter.code)
    return _as_json(_line(letter)) | {
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


def _print_letter(letter: Mapping[str, Any]) -> None:
    table = Table(Column(no_wrap=True), Column(overflow="fold"), show_header=False, box=SIMPLE)
    uploads = [f"{printable(upload['source'])}\n  {_STATES[upload['state']]}" for upload in letter["uploads"]]
    tries = letter["attempts"]
    rows = {
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
    for name, value in rows.items():
        if value:
            table.add_row(name, printable(value))
        if name == "Message":
            table.add_row("Upload", "\n".join(uploads) or "none that can be read")
    screen = console()
    screen.print(table)
    screen.print("Its body:")
    screen.print("\n".join(printable(line) for line in _indent(letter["body"]).splitlines()), soft_wrap=True)


def _indent(body: str) -> str:
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return body


def _word_log(deployed: Deployment, letter: Letter) -> str | None:
    """Where the function's log tells of a letter. Each line of an upload names its source; Lambda's, the request."""
    if letter.code == NOT_DELIVERED:
        return None
    client = deployed.lambda_
    source, request = next(iter(letter.sources), None), letter.attributes.get("RequestId")
    if urlsplit(client.meta.endpoint_url).hostname in {"localhost", "127.0.0.1"}:
        return f"Look for {source or request} in the file that `cutout local` has named."
    if letter.code == NO_REASON:
        pattern = '?"Task timed out" ?"Runtime.ExitError" ?"OutOfMemory" ?"ConfigError"'
    elif source:
        pattern = f"{{ $.source = {json.dumps(source, ensure_ascii=False)} }}"
    else:
        pattern = json.dumps(request)
    configuration = client.get_function_configuration(FunctionName=deployed.function)
    group = configuration.get("LoggingConfig", {}).get("LogGroup", f"/aws/lambda/{deployed.function}")
    return f"aws logs tail {group} --since 14d --filter-pattern {shlex.quote(pattern)}"


def _report(chosen: Chosen, done: Done, word: str, kept: Mapping[Kept, Sequence[str]], *, as_json: bool) -> None:
    """Raises Exit with 1 unless all that was chosen is done."""
    missing = len(chosen.ids) - done.met
    if as_json:
        print_json(
            {
                "chosen": len(chosen.ids),
                "codes": dict(chosen.codes.most_common()),
                word: done.done,
                "not_deleted": done.undeleted,
                "not_found_again": missing,
            }
            | ({why.value: list(kept.get(why, ())) for why in Kept} if word == "replayed" else {})
        )
    else:
        typer.echo(f"{_count(done.done)} {word}." if chosen.ids else "There are no such letters.")
    for why, ids in kept.items():
        typer.echo(f"{_count(len(ids))} not replayed: {_WORDS[why]}\n  {_word_command(why, ids)}", err=True)
    if done.undeleted:
        typer.echo(f"SQS has kept {_count(done.undeleted)} of those: they are in the queue still.", err=True)
    if missing:
        typer.echo(f"{_count(missing)} not found again: another command has them, or has deleted them.", err=True)
    if done.done < len(chosen.ids) or done.undeleted:
        raise typer.Exit(1)


_WORDS = {
    Kept.GONE: "the upload is gone.",
    Kept.OVERWRITTEN: "the upload was overwritten since, by one with an event of its own.",
    Kept.NO_UPLOAD: "it tells of no upload, and would be a letter again.",
    Kept.NOT_SENT: "SQS did not take it.",
}


def _word_command(why: Kept, ids: Sequence[str]) -> str:
    """What to call for letters that were not replayed, ready to be copied."""
    command = "replay" if why == Kept.NOT_SENT else "discard"
    more = f"  (and {len(ids) - MOST_IDS:,} more, which --json names)" if len(ids) > MOST_IDS else ""
    return f"cutout letters {command} {' '.join(letter_id[:SHORT_ID] for letter_id in ids[:MOST_IDS])}{more}"


def _message(letter: Letter) -> str:
    if letter.code == NO_REASON:
        return "SQS moved it here itself: the function was killed at each attempt, or refused its settings."
    if letter.code == NOT_DELIVERED:
        told = (letter.attributes.get(name) for name in ("ERROR_CODE", "ERROR_MESSAGE"))
        return ": ".join(text for text in told if text)
    return letter.attributes.get("ErrorMessage", "")


def _attempts(letter: Letter) -> int | None:
    text = letter.attributes.get("Attempts", "")
    # Of one that SQS moved itself, the attribute is the function's note of earlier attempts.
    return int(text) if text.isdecimal() and letter.code != NO_REASON else None


def _count(number: int, what: str = "letter") -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _minute(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"
