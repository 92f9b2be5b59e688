"""`cutout download`: the cutouts, fetched into a folder."""

import functools
from pathlib import Path
from typing import Annotated

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.filesize import decimal

from cutout.commands.options import STACK_NAME, AsJson, EndpointUrl, StackName, Yes
from cutout.operations import deployment
from cutout.operations.download import Downloads, Fetched, Plan, plan
from cutout.terminal import agree, bar, print_json, printable
from cutout.words import count

EXAMPLES = 20  # keys that are named
_WORDS = {
    Fetched.NOT_A_CUTOUT: "left out, as they are not cutouts of this stack",
    Fetched.GONE: "gone since they were listed",
    Fetched.OUTSIDE: "left out, as they would be written outside the folder",
    Fetched.NOT_WRITTEN: "not written",
}


def download(
    out: Annotated[Path, typer.Option(file_okay=False, writable=True, help="Folder to fetch them into.")],
    prefix: Annotated[
        str, typer.Argument(metavar="PREFIX", show_default=False, help="Only cutouts whose keys begin so.")
    ] = "",
    stack_name: StackName = STACK_NAME,
    endpoint_url: EndpointUrl = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Fetch cutouts into a folder, each under its key.

    What is there already is not fetched again, so a call that was interrupted can be repeated. (Not from a bucket that
    encrypts with SSE-KMS: there the ETag does not tell.) It asks where files would be replaced.

    Example: cutout download photos/ --out cutouts/
    """
    deployed = deployment.find(stack_name, endpoint_url)
    found = plan(deployed, prefix, out, functools.partial(bar, "Looking"))
    downloads = Downloads(deployed)
    downloads.ends[Fetched.OUTSIDE] += found.outside
    if found.wanted:
        there = f" {found.there:,} are there already." if found.there else ""
        typer.echo(f"To be fetched: {count(len(found.wanted), 'file')}, {decimal(found.size)}.{there}", err=True)
        if found.replaced:
            typer.echo(f"{count(found.replaced, 'file')} in {printable(out)} will be replaced.", err=True)
            agree(yes=yes)
        try:
            downloads.run(found.wanted, functools.partial(bar, "Fetching"))
        except (KeyboardInterrupt, BotoCoreError, ClientError):
            fetched = len(downloads.ends[Fetched.FETCHED])
            typer.echo(
                f"Stopped. {fetched:,} of {count(len(found.wanted), 'file')} were fetched; the same call goes on with "
                "the others.",
                err=True,
            )
            raise
    _report(downloads, found, out, as_json=as_json)
    if downloads.ends[Fetched.OUTSIDE] or downloads.ends[Fetched.NOT_WRITTEN]:
        raise typer.Exit(1)


def _report(downloads: Downloads, found: Plan, out: Path, *, as_json: bool) -> None:
    ends = downloads.ends
    if as_json:
        print_json(
            {Fetched.FETCHED.value: len(ends[Fetched.FETCHED]), Fetched.THERE.value: found.there}
            | {end.value: ends[end] for end in _WORDS}
        )
    elif ends[Fetched.FETCHED]:
        typer.echo(f"{count(len(ends[Fetched.FETCHED]), 'cutout')} fetched into {printable(out)}.")
    elif found.there:
        typer.echo(f"{count(found.there, 'cutout')} in {printable(out)} already.")
    elif not any(ends.values()):
        typer.echo("There are no such cutouts.")
    for end, words in _WORDS.items():
        if keys := ends[end]:
            told = [downloads.reasons.get(key, key) for key in keys[:EXAMPLES]]
            more = ", ..." if len(keys) > EXAMPLES else ""
            typer.echo(f"{count(len(keys), 'object')} {words}: {printable(', '.join(told))}{more}", err=True)
