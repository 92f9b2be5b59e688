"""`cutout logs`: the functions' logs, in lines for a person."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from cutout.commands.options import MOST_HOURS, STACK_NAME, EndpointUrl, StackName, code_option
from cutout.operations import deployment
from cutout.operations import logs as function_logs
from cutout.presentation.log import to_line
from cutout.terminal import escape


def logs(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    code: Annotated[list[str] | None, code_option("Only lines with this error code")] = None,
    key: Annotated[
        str | None, typer.Option(show_default=False, help="Only lines about this upload: its key in the input bucket.")
    ] = None,
    hours: Annotated[float, typer.Option(min=0, max=MOST_HOURS, help="Begin so many hours ago.")] = 1,
    stack_name: StackName = STACK_NAME,
    endpoint_url: EndpointUrl = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the lines as they were logged, for programs.")] = False,
) -> None:
    """Show what the functions have logged.

    Times are UTC. Metrics and Lambda's own lines about each invocation are left out.

    Example: cutout logs --follow --code service_unavailable
    """
    deployed = deployment.find(stack_name, endpoint_url)
    groups = function_logs.find_groups(deployed)
    since = datetime.now(UTC) - timedelta(hours=hours)
    wanted = function_logs.Wanted(code or (), None if key is None else f"s3://{deployed.input_bucket}/{key}")
    shown = False
    try:
        for event in (function_logs.follow if follow else function_logs.read)(deployed, groups, since, wanted):
            line = escape(event.message) if as_json else to_line(event)
            if line:
                typer.echo(line)
                shown = True
    except KeyboardInterrupt:
        if not follow:
            raise
    if not shown and not follow:
        typer.echo("There are no such lines.", err=True)
