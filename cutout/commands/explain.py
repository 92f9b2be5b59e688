"""`cutout explain`: what happened to one upload."""

import functools
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from cutout.commands.options import MOST_HOURS, STACK_NAME, AsJson, EndpointUrl, StackName
from cutout.operations import deployment
from cutout.operations.deployment import Deployment
from cutout.operations.explanation import Happened, explain
from cutout.presentation.explanation import explanation_as_json, print_explanation
from cutout.terminal import bar, print_json
from remove_background.output_key import MAX_KEY_BYTES

_SCHEME = "s3://"


def explain_upload(
    key: Annotated[
        str, typer.Argument(metavar="KEY", show_default=False, help="Its key in the input bucket, or its s3:// URI.")
    ],
    hours: Annotated[
        float | None,
        typer.Option(
            min=0, max=MOST_HOURS, show_default=False, help="Begin so many hours ago in the log, not with the upload."
        ),
    ] = None,
    stack_name: StackName = STACK_NAME,
    endpoint_url: EndpointUrl = None,
    as_json: AsJson = False,
) -> None:
    """Tell what happened to one upload.

    It looks at the input bucket, the output bucket, the log, the ledger of what was paid, and at up to 1,000 letters,
    and changes nothing. Times are UTC. What cannot be read is named, and the rest is told. It fails if nothing is
    known of the upload.

    Example: cutout explain photos/cat.jpg
    """
    deployed = deployment.find(stack_name, endpoint_url)
    since = None if hours is None else datetime.now(UTC) - timedelta(hours=hours)
    found = explain(deployed, _read_key(deployed, key), since, functools.partial(bar, "Looking"))
    if as_json:
        print_json(explanation_as_json(deployed, found))
    else:
        print_explanation(deployed, found)
    if found.happened in (Happened.NEVER_UPLOADED, Happened.UNKNOWN):
        raise typer.Exit(1)


def _read_key(deployed: Deployment, text: str) -> str:
    key = text
    if text.startswith(_SCHEME):
        bucket, _, key = text.removeprefix(_SCHEME).partition("/")
        if bucket != deployed.input_bucket:
            raise typer.BadParameter(
                f"the stack's input bucket is {deployed.input_bucket}: give the key of an upload in it.",
                param_hint="KEY",
            )
    try:
        fits = 0 < len(key.encode()) <= MAX_KEY_BYTES
    except UnicodeEncodeError:  # an argument that is not UTF-8
        fits = False
    if not fits:
        raise typer.BadParameter("a key has 1 to 1,024 bytes of UTF-8.", param_hint="KEY")
    return key
