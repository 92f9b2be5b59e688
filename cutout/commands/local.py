"""`cutout local`: keeps the local cloud up, with or without the stack, while a person works with it."""

import errno
import os
import shlex
import shutil
import signal
import sys
import tempfile
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Annotated

import typer

from cutout.extras import require_local
from cutout.project import TEMPLATE
from cutout.terminal import printable

if TYPE_CHECKING:
    from cutout.local.cloud import LocalCloud
    from cutout.local.stack import LocalStack, Pixelcut


# Version 1 of the AWS CLI ignores the variable for some services, and older ones for all.
_AWS = 'aws --endpoint-url "$AWS_ENDPOINT_URL"'


def local(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the local cloud; 0 lets the system choose one.")
    ] = 0,
    pixelcut_url: Annotated[
        str | None,
        typer.Option(help="Base URL of another API than the stand-in; its key is read from PIXELCUT_API_KEY."),
    ] = None,
    template: Annotated[
        Path,
        typer.Option(
            exists=True, dir_okay=False, show_default=False, help="SAM template to deploy instead of template.yaml."
        ),
    ] = TEMPLATE,
    no_deploy: Annotated[
        bool, typer.Option("--no-deploy", help="Leave it to `sam deploy` to deploy the stack.")
    ] = False,
    open_page: Annotated[bool, typer.Option("--open", help="Open the console in the browser.")] = False,
    state: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            writable=True,
            show_default=False,
            help="Folder that keeps what is in the stack for the next start.",
        ),
    ] = None,
) -> None:
    """Keep the stack up on this machine until Ctrl-C.

    What it prints says how to use it, in the browser or from another terminal; then it shows each upload, and what
    becomes of it.

    With --state, the next start with the same folder begins with what was in the buckets, the queues and the ledger
    when this one was stopped. Killed (kill -9), it leaves the folder as it was. Not kept are the logs, the API key, and
    what the stand-in for Pixelcut has charged.

    Example: cutout local --port 4566 --state local-cloud/
    """
    require_local()
    if no_deploy and (state or open_page):
        option = "--state" if state else "--open"
        raise typer.BadParameter("not with --no-deploy, which leaves the stack to you.", param_hint=option)
    api = _read_api(pixelcut_url)

    # They load moto and OpenCV, which --help can do without.
    from cutout.local.aws.deploy import DeployError  # noqa: PLC0415
    from cutout.local.cloud import LocalCloud  # noqa: PLC0415
    from cutout.local.happenings import Happenings  # noqa: PLC0415
    from cutout.local.stack import local_stack, pixelcut  # noqa: PLC0415

    # All end it: a shell starts what runs in the background deaf to SIGINT; SIGTERM, and SIGHUP of a terminal that is
    # closed, would leave no time to stop and to clean up.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    typer.echo("Starting the local cloud ...")
    happened: SimpleQueue[str] = SimpleQueue()
    watcher = Happenings(happened.put)
    try:
        with tempfile.TemporaryDirectory(prefix="cutout-") as folder:
            log_dir = Path(folder)
            if no_deploy:
                with LocalCloud(port=port, log_dir=log_dir, watcher=watcher) as cloud, pixelcut(api) as service:
                    _tell(cloud, _how_to_deploy(service, log_dir, stand_in=api is None), happened)
            else:
                with (
                    local_stack(template, log_dir, port=port, api=api, watcher=watcher, state=state) as stack,
                    _console(stack, log_dir, happened, open_page=open_page) as address,
                ):
                    _tell(stack.cloud, _how_to_use(stack, address, stand_in=api is None), happened)
    except KeyboardInterrupt:
        typer.echo("Stopped.")
    except DeployError as error:
        raise typer.BadParameter(str(error), param_hint="--template") from error
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise typer.BadParameter(f"{port} is taken.", param_hint="--port") from error


def _read_api(url: str | None) -> tuple[str, str] | None:
    """Another API's base URL and key."""
    if not url:
        return None
    key = os.environ.get("PIXELCUT_API_KEY", "").strip()
    if not key:
        raise typer.BadParameter("set PIXELCUT_API_KEY to the key of that API.", param_hint="--pixelcut-url")
    return url.rstrip("/"), key


@contextmanager
def _console(stack: "LocalStack", log_dir: Path, happened: SimpleQueue[str], *, open_page: bool) -> Iterator[str]:
    """Serves the console of the stack, and yields the address to open."""
    from cutout.console.changes import Changes  # noqa: PLC0415  # as above
    from cutout.console.server import serving  # noqa: PLC0415
    from cutout.console.stack import Stack  # noqa: PLC0415

    addresses: list[str] = []

    def announce(address: str) -> None:
        if addresses:
            happened.put(f"The console was opened. For another browser: {address}")
        addresses.append(address)

    shown = Stack(stack.deployed.stack_name, lambda: stack.deployed)
    changes = Changes(log_dir / "console.log", shown.name)
    with serving(shown, 0, changes, announce, read_only=False):
        if open_page and not webbrowser.open(addresses[0]):
            typer.echo("No browser could be opened.", err=True)
        yield addresses[0]


def _tell(cloud: "LocalCloud", text: str, happened: SimpleQueue[str]) -> None:
    """How the cloud is reached, and `text`; then what happens, until Ctrl-C."""
    typer.echo(f"""
Paste these two lines into each terminal from which you use it; it takes any credentials:

  export AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local AWS_REGION={cloud.region} AWS_DEFAULT_REGION={cloud.region}
  export AWS_ENDPOINT_URL={cloud.endpoint_url}

{text}

Ready at {cloud.endpoint_url} until Ctrl-C.""")
    while True:
        typer.echo(printable(happened.get()))


def _program() -> str:
    """How the command is called from another terminal in the same folder."""
    if shutil.which("cutout"):
        return "cutout"
    called = Path(sys.argv[0])
    return f"{shlex.quote(sys.executable)} -m cutout" if called.name == "__main__.py" else shlex.quote(sys.argv[0])


def _how_to_use(stack: "LocalStack", console: str, *, stand_in: bool) -> str:
    outputs = stack.outputs
    cutout = _program()
    return f"""Open the console, to drop pictures on it and to see what becomes of them:

  {console}

Upload an image, and fetch its cutout a few seconds later:

  {_AWS} s3 cp photo.jpg s3://{outputs["InputBucketName"]}/
  {_AWS} s3 cp s3://{outputs["OutputBucketName"]}/photo.png .

Or with the command, which also reads the letters of what could not become a cutout:

  {cutout} upload photos/ --wait --out cutouts/
  {cutout} status
  {cutout} letters list
  {cutout} logs -f

The function's log as a file, until Ctrl-C: {stack.function_log}
Pixelcut: {_describe(stack.pixelcut_url, stand_in=stand_in)}"""


def _how_to_deploy(service: "Pixelcut", log_dir: Path, *, stand_in: bool) -> str:
    parameters = " ".join(f"{name}={value}" for name, value in service.parameters.items())
    key = service.key if stand_in else '"$PIXELCUT_API_KEY"'
    return f"""Deploy the stack, and fill in the API key; SECRET is the stack's output ApiKeySecretName:

  sam build
  sam deploy --parameter-overrides {parameters}
  {_AWS} secretsmanager put-secret-value --secret-id SECRET --secret-string {key}

The functions' logs, until Ctrl-C: {log_dir}
Pixelcut: {_describe(service.url, stand_in=stand_in)}"""


def _describe(url: str, *, stand_in: bool) -> str:
    if stand_in:
        from cutout.local.pixelcut.server import API_KEY  # noqa: PLC0415  # as above

        return f"the stand-in at {url} (key {API_KEY})\nMake it fail: {url}/_stand_in/"
    return f"{url}, which may charge for each image"
