"""`cutout letters`: which uploads could not become cutouts, why, and what is to become of them."""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated

import typer
from botocore.exceptions import BotoCoreError, ClientError

from cutout.commands.options import STACK_NAME, AsJson, Codes, EndpointUrl, Every, Id, Ids, StackName, Wait, Yes
from cutout.operations import budget, deployment, queues, selection
from cutout.operations import credits as balance
from cutout.operations import intake as stack_intake
from cutout.operations.dead_letters import Letter
from cutout.operations.deletion import Deletion
from cutout.operations.deployment import Deployment
from cutout.operations.files import Became
from cutout.operations.replay import Replay
from cutout.operations.selection import Choice, Chosen, Done
from cutout.presentation.intake import word_way_on
from cutout.presentation.letter import describe, print_letter
from cutout.presentation.letters import list_codes, list_page, read_letters, word_discard, word_replay
from cutout.presentation.outcome import deletion_as_json, report, word_deletion, word_stopped
from cutout.presentation.requeued import ends_as_json, follow, word_ends
from cutout.terminal import agree, bar, print_json

letters = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Read the letters of uploads that could not become cutouts; replay or discard them.",
)


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

    With --code or --all they are listed, oldest first. The queue stays as it was. SQS hides letters from others
    while one command reads them.

    Example: cutout letters list --code malformed_image
    """
    if code and every:
        raise typer.BadParameter("either --code or --all.", param_hint="--code")
    deployed = deployment.find(stack_name, endpoint_url)
    if code or every:
        list_page(deployed, Choice(codes=code or ()), limit, page, as_json=as_json)
    else:
        list_codes(deployed, as_json=as_json)


@letters.command("show")
def show_letters(
    ids: Id,
    body: Annotated[
        bool, typer.Option("--body", help="Show the S3 notification as well, which JSON always holds.")
    ] = False,
    stack_name: StackName = STACK_NAME,
    endpoint_url: EndpointUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show everything about a letter.

    It says what the code means, what to do, and where to look.

    Example: cutout letters show 3f2a91c0
    """
    choice = Choice(ids=_check_ids(ids))
    deployed = deployment.find(stack_name, endpoint_url)
    found: dict[str, Letter] = {}

    def look(letter: Letter) -> None:
        if choice.takes(letter):
            found[letter.id] = letter

    choice.check(found, hidden=read_letters(deployed, look))
    shown = [describe(deployed, letter) for letter in sorted(found.values(), key=lambda letter: letter.sent)]
    if as_json:
        print_json(shown)
        return
    for letter in shown:
        print_letter(letter, body=body)


@letters.command("replay")
def replay_letters(
    ids: Ids = None,
    code: Codes = None,
    every: Every = False,
    wait: Wait = False,
    stack_name: StackName = STACK_NAME,
    endpoint_url: EndpointUrl = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Send letters to the function again.

    A letter stays when its upload was deleted, or overwritten by one with an event of its own, or when it describes
    none.
    What fails again is a new letter.

    Example: cutout letters replay --code service_unavailable --yes
    """
    choice = _choose(ids, code, every=every)
    deployed, chosen = _find(choice, stack_name, endpoint_url)
    replay = Replay(deployed)
    done = Done()
    followed = None
    if chosen.ids:
        left = balance.read(deployed)
        intake = stack_intake.read(deployed)
        is_paused, caps, price = intake.paused_by is not None, budget.look(deployed), budget.price(deployed)
        _say(word_replay(chosen, left, is_paused=is_paused, caps=caps, price=price))
        if intake.is_at_cap:
            _say([word_way_on(intake)])
        agree(yes=yes)
        began = queues.now(deployed.sqs, deployed.dead_letter_queue)
        replay.look_ahead(chosen.objects)
        done = _work_off(deployed, chosen, replay, "replayed")
        if wait:
            followed = follow(deployed, replay.sent, began)
    report(chosen, done, "replayed", replay.kept, as_json=as_json, more=ends_as_json(followed))
    if followed and not as_json:
        typer.echo(word_ends(followed))
    _fail_unless(_is_done(chosen, done) and all(file.became is Became.CUTOUT for file in followed or ()))


@letters.command("discard")
def discard_letters(
    ids: Ids = None,
    code: Codes = None,
    every: Every = False,
    delete_upload: Annotated[
        bool, typer.Option("--delete-upload", help="Delete the images as well, where they are as the letters say.")
    ] = False,
    stack_name: StackName = STACK_NAME,
    endpoint_url: EndpointUrl = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete letters. The images stay in the input bucket, unless --delete-upload is given.

    In a bucket with versions, --delete-upload deletes only the version that the letter is about: an older one of its
    key becomes current.

    Example: cutout letters discard --code unsupported_image_format --yes
    """
    choice = _choose(ids, code, every=every)
    deployed, chosen = _find(choice, stack_name, endpoint_url)
    done = Done()
    deletion = Deletion(deployed) if delete_upload else None
    if chosen.ids:
        _say(word_discard(chosen, deployed.input_bucket if deletion else None))
        agree(yes=yes)
        try:
            done = _work_off(deployed, chosen, deletion or list, "discarded")
        finally:
            if deletion:
                _say(word_deletion(deletion))
    report(chosen, done, "discarded", {}, as_json=as_json, more=deletion_as_json(deletion) if deletion else {})
    _fail_unless(_is_done(chosen, done))


def _choose(ids: list[str] | None, codes: list[str] | None, *, every: bool) -> Choice:
    if sum(map(bool, (ids, codes, every))) != 1:
        raise typer.BadParameter("say which letters: by their ids, by --code, or --all.", param_hint="ID")
    return Choice(_check_ids(ids or ()), codes or ())


def _check_ids(ids: Sequence[str]) -> Sequence[str]:
    """An id that is empty, such as that of a variable that is not set, would be the beginning of any."""
    if "" in ids:
        raise typer.BadParameter("an id is empty.", param_hint="ID")
    return ids


def _find(choice: Choice, stack_name: str, endpoint_url: str | None) -> tuple[Deployment, Chosen]:
    deployed = deployment.find(stack_name, endpoint_url)
    return deployed, selection.find(choice, functools.partial(read_letters, deployed))


def _work_off(
    deployed: Deployment, chosen: Chosen, act: Callable[[Sequence[Letter]], Sequence[Letter]], word: str
) -> Done:
    done = Done()
    try:
        selection.work_off(deployed, chosen, act, done, functools.partial(bar, "Letters"))
    except (KeyboardInterrupt, BotoCoreError, ClientError):
        _say(word_stopped(chosen, done, word))
        raise
    return done


def _is_done(chosen: Chosen, done: Done) -> bool:
    return done.done == chosen.ids and not done.undeleted


def _say(sentences: Iterable[str]) -> None:
    for sentence in sentences:
        typer.echo(sentence, err=True)


def _fail_unless(all_is_well: bool) -> None:
    if not all_is_well:
        raise typer.Exit(1)
