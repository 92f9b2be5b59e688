"""`cutout local`: the local cloud with the stack deployed, kept up for as long as a person works with it."""

import errno
import os
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cutout.local_stack import LocalStack

TEMPLATE = Path(__file__).parent.parent / "template.yaml"


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
) -> None:
    """Keep the stack up on this machine until Ctrl-C."""
    api = None
    if pixelcut_url:
        key = os.environ.get("PIXELCUT_API_KEY", "").strip()
        if not key:
            raise typer.BadParameter("set PIXELCUT_API_KEY to the key of that API.", param_hint="--pixelcut-url")
        api = (pixelcut_url.rstrip("/"), key)

    # They load moto and OpenCV, which --help can do without.
    from cutout.local.stack import DeployError  # noqa: PLC0415
    from cutout.local_stack import local_stack  # noqa: PLC0415

    # Both end it: a shell starts what runs in the background deaf to SIGINT, and SIGTERM would leave no time to stop.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    typer.echo("Starting the local cloud ...")
    try:
        with local_stack(template, Path(tempfile.mkdtemp(prefix="cutout-")), port=port, api=api) as stack:
            typer.echo(_how_to_use(stack, stand_in=api is None))
            signal.pause()
    except KeyboardInterrupt:
        typer.echo("Stopped.")
    except DeployError as error:
        raise typer.BadParameter(str(error), param_hint="--template") from error
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise typer.BadParameter(f"{port} is taken.", param_hint="--port") from error


def _how_to_use(stack: "LocalStack", *, stand_in: bool) -> str:
    region = stack.cloud.region
    aws = f"aws --endpoint-url {stack.cloud.endpoint_url}"
    outputs = stack.outputs
    if stand_in:
        from cutout.local.pixelcut import API_KEY  # noqa: PLC0415  # as above

        pixelcut = f"the stand-in at {stack.pixelcut_url} (key {API_KEY}; its switches are under /_stand_in/)"
    else:
        pixelcut = f"{stack.pixelcut_url}, which may charge for each image"
    return f"""
The clients of AWS want credentials, and any will do:

  export AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local AWS_REGION={region} AWS_DEFAULT_REGION={region}

Upload an image, and fetch its cutout a few seconds later:

  {aws} s3 cp photo.jpg s3://{outputs["InputBucketName"]}/
  {aws} s3 cp s3://{outputs["OutputBucketName"]}/photo.png .

Read the letters of what could not become a cutout:

  {aws} sqs receive-message --queue-url {outputs["DeadLetterQueueUrl"]} --message-attribute-names All

The function's log: {stack.function_log}
Pixelcut: {pixelcut}

Ready at {stack.cloud.endpoint_url} until Ctrl-C."""
