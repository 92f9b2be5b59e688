"""`cutout cancel`: takes back uploads that still wait in the queue."""

import functools
import shlex
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Annotated

import typer
from botocore.exceptions import BotoCoreError, ClientError

from cutout.commands.options import STACK_NAME, AsJson, EndpointUrl, StackName, Yes
from cutout.operations import cancel as cancelling
from cutout.operations import deployment, key_file
from cutout.operations import intake as stack_intake
from cutout.operations.cancel import Waiting
from cutout.operations.deployment import Deployment
from cutout.terminal import agree, bar, name_some, print_json, printable
from cutout.words import count
from remove_background.uploads import Upload

A_FEW = 5


def cancel(
    keys: Annotated[
        list[str] | None, typer.Argument(metavar="KEY", show_default=False, help="Keys of uploads in the input bucket.")
    ] = None,
    prefix: Annotated[str, typer.Option(show_default=False, help="All uploads in this folder of the bucket.")] = "",
    every: Annotated[bool, typer.Option("--all", help="All uploads.")] = False,
    keep: Annotated[
        Path | None,
        typer.Option(dir_okay=False, show_default=False, help="New file for their keys, to send them again later."),
    ] = None,
    stack_name: StackName = STACK_NAME,
    endpoint_url: EndpointUrl = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Take back uploads that still wait in the queue.

    The images stay in the input bucket, and `cutout backfill` finds them again; with --keep it sends just these again.
    What the function works on, or retries later, cannot be taken back; the number of such messages is printed. Call
    `cutout pause` first, so that the function does not take more of them meanwhile.

    Example: cutout cancel --prefix 2024/trip --keep trip.keys
    """
    if sum(map(bool, (keys, prefix, every))) != 1:
        raise typer.BadParameter("say which uploads: by their keys, by --prefix, or --all.", param_hint="KEY")
    deployed = deployment.find(stack_name, endpoint_url)
    waiting = cancelling.find(deployed, _choose(deployed, keys, prefix), functools.partial(bar, "Reading the queue"))
    _tell_unreachable(waiting)
    absent = sorted(set(keys or ()).difference(waiting.keys, waiting.partly))
    if waiting.messages:
        _tell(deployed, waiting)
        agree(yes=yes)
        if keep:
            key_file.write(keep, sorted(waiting.keys))
        try:
            cancelling.remove(deployed, waiting, functools.partial(bar, "Removing"))
        except (KeyboardInterrupt, BotoCoreError, ClientError):
            uploads = count(len(waiting.keys), "upload")
            typer.echo(f"{len(waiting.removed):,} of {uploads} were removed; the others are in the queue.", err=True)
            if keep:
                _tell_kept(keep)
            raise
    if as_json:
        print_json(_as_json(waiting, absent))
    else:
        _report(waiting, absent)
    if keep and waiting.messages:
        _tell_kept(keep)
    if waiting.not_removed or waiting.partly or absent:
        raise typer.Exit(1)


def _choose(deployed: Deployment, keys: Collection[str] | None, prefix: str) -> Callable[[Upload], bool]:
    folder = f"{prefix.removesuffix('/')}/" if prefix else ""
    chosen = frozenset(keys or ())

    def takes(upload: Upload) -> bool:
        return (
            upload.bucket == deployed.input_bucket
            and upload.key.startswith(folder)
            and (not chosen or upload.key in chosen)
        )

    return takes


def _tell_unreachable(waiting: Waiting) -> None:
    if waiting.in_flight or waiting.delayed:
        typer.echo(
            f"SQS counts, approximately, {count(waiting.in_flight, 'message')} in flight and {waiting.delayed:,} "
            "delayed until a retry. It does not show of which uploads; these cannot be taken back now.",
            err=True,
        )


def _tell(deployed: Deployment, waiting: Waiting) -> None:
    typer.echo(f"To be removed from the queue: {count(len(waiting.keys), 'upload')}: {_name(waiting.keys)}.", err=True)
    typer.echo(
        f"The images stay in s3://{deployed.input_bucket}; `cutout backfill` finds them again.",
        err=True,
    )
    if not stack_intake.read(deployed).paused_by:
        typer.echo(
            "The intake is open: the function may take some of them first. `cutout pause` prevents it.", err=True
        )


def _report(waiting: Waiting, absent: Sequence[str]) -> None:
    if waiting.messages:
        typer.echo(f"{count(len(waiting.removed), 'upload')} removed.")
    elif not waiting.partly:
        typer.echo("No such uploads wait in the queue.")
    if left := waiting.not_removed:
        typer.echo(
            f"{count(len(left), 'upload')} not removed, as the function or another command has taken them: "
            f"{_name(left)}.",
            err=True,
        )
    if waiting.partly:
        typer.echo(
            f"{count(len(waiting.partly), 'upload')} not removed, as their messages hold others, too: "
            f"{_name(waiting.partly)}.",
            err=True,
        )
    if absent:
        typer.echo(f"Not waiting (done, in flight, delayed or never uploaded): {_name(absent)}.", err=True)


def _tell_kept(keep: Path) -> None:
    command = f"cutout backfill --keys {shlex.quote(str(keep))} --yes"
    typer.echo(f"To send them again, without what has become a cutout meanwhile: {printable(command)}", err=True)


def _as_json(waiting: Waiting, absent: Sequence[str]) -> dict[str, object]:
    return {
        "removed": waiting.removed,
        "not_found_again": waiting.not_removed,
        "in_messages_with_others": waiting.partly,
        "not_waiting": absent,
        "messages_in_flight": waiting.in_flight,
        "messages_delayed": waiting.delayed,
    }


def _name(keys: Sequence[str]) -> str:
    return name_some(sorted(keys), A_FEW)
