"""`cutout explain`: what happened to one upload."""

import functools
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from cutout.commands.options import MOST_HOURS, STACK_NAME, AsJson, EndpointUrl, StackName
from cutout.failures import Failure
from cutout.operations import deployment
from cutout.operations.deployment import Deployment
from cutout.operations.explanation import Happened, explain, read_key
from cutout.presentation.explanation import explanation_as_json, print_explanation
from cutout.terminal import bar, print_json


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
    try:
        return read_key(deployed, text)
    except Failure as error:
        raise typer.BadParameter(str(error), param_hint="KEY") from None
