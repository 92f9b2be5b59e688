"""`cutout backfill`: the inputs compared with their cutouts and letters, and those with neither enqueued."""

import functools
import tempfile
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import IO, Annotated

import typer

from cutout.commands.options import STACK_NAME, AsJson, EndpointUrl, StackName, Wait
from cutout.failures import Failure
from cutout.operations import budget, deployment, key_file, output_keys, queues
from cutout.operations import credits as balance
from cutout.operations.budget import Budget, Price
from cutout.operations.comparison import EXAMPLES, REASONS, Comparison, Finding, compare, identity
from cutout.operations.dead_letters import Letter
from cutout.operations.deployment import Deployment
from cutout.operations.enqueue import Enqueuer, read_uploads
from cutout.operations.files import Became, File
from cutout.presentation.caps import plan_as_json, word_plan
from cutout.presentation.credits import word_credits, word_money
from cutout.presentation.letters import read_letters
from cutout.presentation.requeued import ends_as_json, follow, word_ends
from cutout.terminal import bar, print_json, printable
from cutout.words import count

EXAMPLE_LENGTH = 60


def backfill(
    prefix: Annotated[str, typer.Option(help="Look only at inputs whose keys begin with this.")] = "",
    keys: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            show_default=False,
            help="Look only at inputs that this file of `cutout cancel --keep` names.",
        ),
    ] = None,
    retry_rejected: Annotated[
        bool, typer.Option("--retry-rejected", help="Take in what was rejected for good.")
    ] = False,
    wait: Wait = False,
    stack_name: StackName = STACK_NAME,
    endpoint_url: EndpointUrl = None,
    yes: Annotated[bool, typer.Option("--yes", help="Enqueue them. Otherwise they are only counted.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the inputs without a current cutout, and enqueue them.

    Each costs a credit at most. Started again, it skips what has a cutout by then. What has a letter is left to
    `cutout letters`. What was rejected for good is left out for as long as the object stands, also when its letter is
    discarded.

    Example: cutout backfill --prefix photos/ --yes
    """
    deployed = deployment.find(stack_name, endpoint_url)
    output_key = output_keys.output_key(deployed)
    taken = deployed.settings["INPUT_PREFIX"]  # uploads elsewhere in the bucket are not the stack's
    if not taken.startswith(prefix) and not prefix.startswith(taken):
        raise typer.BadParameter(f"the stack takes only keys that begin with {taken}.", param_hint="--prefix")
    prefix = max(prefix, taken, key=len)
    only = _choose(keys, prefix) if keys else None
    lettered, hidden = _read_letters(deployed)
    with tempfile.TemporaryFile("w+", encoding="utf-8") as wanted:
        looking = functools.partial(bar, "Looking")
        found = compare(
            deployed, prefix, output_key, lettered, wanted, looking, only=only, retry_rejected=retry_rejected
        )
        credits_left = balance.read(deployed)
        caps, price = budget.look(deployed), budget.price(deployed)
        for line in _report(found, credits_left, queues.count(deployed.sqs, deployed.upload_queue), caps, price):
            typer.echo(line, err=as_json)
        if only and (gone := len(only) - found.counts.total()):
            typer.echo(
                f"Not in the bucket any more: {gone:,} of {count(len(only), 'key')} in {printable(keys)}.", err=True
            )
        if hidden:
            typer.echo(
                f"{count(hidden, 'letter')} could not be looked at: an upload with one counts as missing.", err=True
            )
        enqueuer = Enqueuer(deployed)
        followed = None
        try:
            if yes:
                followed = _enqueue(deployed, enqueuer, wanted, found.wanted, wait=wait)
        except KeyboardInterrupt:
            typer.echo(
                "Interrupted. Let the queue become empty before you start it again: it skips what has a cutout or a "
                "letter then.",
                err=True,
            )
            raise
        finally:
            if as_json:
                print_json(
                    {"inputs": found.counts.total()}
                    | {finding.value: found.counts[finding] for finding in Finding}
                    | {
                        "letters_hidden": hidden,
                        "enqueued": enqueuer.enqueued,
                        "credits_left": credits_left if isinstance(credits_left, float) else None,
                        "cap_plan": plan_as_json(caps, found.wanted),
                    }
                    | ends_as_json(followed)
                )
            elif found.wanted:
                enqueued = f"{enqueuer.enqueued:,} of {found.wanted:,} were enqueued."
                typer.echo(enqueued if yes else "Nothing was enqueued: add --yes.")
    if followed and not as_json:
        typer.echo(word_ends(followed))
    _fail_unless_all_are_done(enqueuer, followed or ())


def _choose(keys: Path, prefix: str) -> frozenset[str]:
    return frozenset(key for key in key_file.read(keys) if key.startswith(prefix))


def _fail_unless_all_are_done(enqueuer: Enqueuer, followed: Sequence[File]) -> None:
    if enqueuer.refused:
        raise Failure(
            f"SQS did not take {enqueuer.refused.total():,} ({', '.join(enqueuer.refused)}). "
            "Let the queue become empty, and call the command again."
        )
    if any(file.became is not Became.CUTOUT for file in followed):
        raise typer.Exit(1)


def _enqueue(deployed: Deployment, enqueuer: Enqueuer, wanted: IO[str], total: int, *, wait: bool) -> list[File] | None:
    """What became of them, if that is waited for."""
    began = queues.now(deployed.sqs, deployed.upload_queue)
    wanted.seek(0)
    enqueuer.send(wanted, total, functools.partial(bar, "Enqueuing"))
    if not wait:
        return None
    wanted.seek(0)
    return follow(deployed, read_uploads(deployed.input_bucket, wanted), began)


def _read_letters(deployed: Deployment) -> tuple[Set[tuple[str, str]], int]:
    """The identity of each upload that has a letter; and how many letters another command hides."""
    uploads: set[tuple[str, str]] = set()

    def look(letter: Letter) -> None:
        uploads.update(map(identity, letter.uploads))

    hidden = read_letters(deployed, look)
    return uploads, hidden


def _report(
    found: Comparison, credits_left: float | str, queue: queues.Counts, caps: Budget | str | None, price: Price | None
) -> Iterator[str]:
    inputs, wanted = found.counts.total(), found.wanted
    if wanted:
        yield (
            f"{wanted:,} of {inputs:,} inputs have no current cutout "
            f"({found.counts[Finding.MISSING]:,} missing, {found.counts[Finding.STALE]:,} stale)."
        )
    elif inputs:
        yield f"{found.counts[Finding.CURRENT]:,} of {inputs:,} inputs have a current cutout."
    else:
        yield "There are no such inputs."
    for finding, reason in REASONS.items():
        if number := found.counts[finding]:
            examples = ", ".join(map(_example, found.examples[finding]))
            yield f"Not enqueued: {number:,} {reason}: {examples}{', ...' if number > EXAMPLES else ''}"
    if not wanted:
        return
    cost = f"Enqueuing {wanted:,} costs up to {word_credits(wanted, price)}"
    if isinstance(credits_left, str):
        yield f"{cost}. How many are left is not known: {credits_left}"
    else:
        yield f"{cost}; {credits_left:,.0f}{word_money(credits_left, price)} are left."
        if credits_left < wanted:
            yield "Those may not do: when they are used up, the intake is paused, and the rest waits in the queue."
    yield from word_plan(caps, wanted)
    if waiting := queue.waiting + queue.in_work + queue.delayed:
        yield (
            f"{waiting:,} messages are in the queue already, and may be of the same uploads. Rather wait until "
            "`cutout status` shows that it is empty; what is enqueued twice is paid once, though."
        )


def _example(key: str) -> str:
    """A key, not too long for a line of a terminal."""
    return printable(key if len(key) <= EXAMPLE_LENGTH else f"{key[:EXAMPLE_LENGTH]}[...]")
