"""`cutout console`: the page on this machine that shows the stack, and does what the commands do."""

import errno
import threading
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from cutout.commands.options import STACK_NAME, EndpointUrl, StackName
from cutout.extras import require_console
from cutout.operations import deployment


def console_page(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0 lets the system choose one.")] = 0,
    read_only: Annotated[bool, typer.Option("--read-only", help="Show everything, and change nothing.")] = False,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    log: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            show_default=False,
            help="File that gets a line for each change; without it, console.log in the folder of this program's data.",
        ),
    ] = None,
    stack_name: StackName = STACK_NAME,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Show the stack on a page in the browser until Ctrl-C.

    The page shows what waits and what has become of it, takes pictures that are dropped on it, shows cutouts beside
    their originals, replays and discards letters, and explains what happened to an upload. It uses your AWS
    credentials, and runs on this machine only: no other machine reaches it.

    Each address that it prints opens one browser. Then it prints the next one, for another browser.

    Example: cutout console --stack-name cutout-production --open
    """
    require_console()
    from cutout.console.changes import Changes  # noqa: PLC0415  # they load Flask, which --help can do without
    from cutout.console.server import serving  # noqa: PLC0415
    from cutout.console.stack import Stack  # noqa: PLC0415

    stack = Stack(stack_name, lambda: deployment.find(stack_name, endpoint_url))
    _ = stack.deployed  # a wrong name is told before there is a page
    path = log or Path(typer.get_app_dir("cutout")) / "console.log"
    try:
        changes = Changes(path, stack_name)
    except OSError as error:
        raise typer.BadParameter(f"{error.filename}: {error.strerror}.", param_hint="--log") from None
    addresses: list[str] = []

    def announce(address: str) -> None:
        if addresses:
            typer.echo(f"It was opened. For another browser: {address}")
        else:
            typer.echo(f"Open {address}")
            typer.echo("Ctrl-C ends it." if read_only else f"Ctrl-C ends it. Each change is a line in {path}.")
        addresses.append(address)

    try:
        with serving(stack, port, changes, announce, read_only=read_only):
            if open_page and not webbrowser.open(addresses[0]):
                typer.echo("No browser could be opened.", err=True)
            _wait()
    except KeyboardInterrupt:
        typer.echo("Stopped.")
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise typer.BadParameter(f"{port} is taken.", param_hint="--port") from error


def _wait() -> None:
    """Until Ctrl-C."""
    threading.Event().wait()
