"""`cutout open`: the stack's pages in the AWS console."""

import sys
from urllib.parse import quote, urlsplit

import typer

from cutout.commands.options import STACK_NAME, AsJson, EndpointUrl, StackName
from cutout.failures import Failure
from cutout.operations import deployment
from cutout.operations.deployment import Deployment
from cutout.terminal import print_json


def open_console(stack_name: StackName = STACK_NAME, endpoint_url: EndpointUrl = None, as_json: AsJson = False) -> None:
    """Open the dashboard and the buckets in the AWS console.

    Their addresses are printed. Without a terminal, or with --json, no browser is opened.

    Example: cutout open
    """
    deployed = deployment.find(stack_name, endpoint_url)
    pages = _find_pages(deployed) if deployed.is_at_aws else {}
    if as_json:
        print_json({name: pages.get(name) for name in ("dashboard", "input", "output")})
        return
    if not pages:
        typer.echo(
            f"The stack is at {deployed.endpoint_url}, which has no AWS console. `cutout status` and `cutout logs` "
            f"show how it is; its buckets are s3://{deployed.input_bucket} and s3://{deployed.output_bucket}."
        )
    for name, url in pages.items():
        typer.echo(f"{name.capitalize()}: {url}")
    if sys.stdout.isatty():
        for url in pages.values():
            typer.launch(url)


def _find_pages(deployed: Deployment) -> dict[str, str]:
    """Their addresses, by what they are; the console has another host in each region and partition."""
    dashboard = deployed.outputs.get("DashboardUrl")
    if dashboard is None:
        raise Failure(f"The stack {deployed.stack_name} has no output DashboardUrl: deploy it again.")
    console = urlsplit(dashboard)
    buckets = {"input": deployed.input_bucket, "output": deployed.output_bucket}
    return {"dashboard": dashboard} | {
        name: console._replace(path=f"/s3/buckets/{quote(bucket)}", fragment="").geturl()
        for name, bucket in buckets.items()
    }
