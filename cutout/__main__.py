"""The `cutout` command: its parts, put together."""

import sys

import typer
from botocore.exceptions import BotoCoreError, ClientError

from cutout.backfill_command import backfill
from cutout.demo import demo
from cutout.failures import Failure, describe
from cutout.intake_command import pause, resume
from cutout.letters_command import letters
from cutout.local_command import local
from cutout.status_command import status
from cutout.upload_command import upload

# Plain help and plain tracebacks: one shows a sentence whole, the other no values of variables.
app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Remove the background of images through an S3 bucket.",
)
for command in (demo, local, upload, status, backfill, pause, resume):
    app.command()(command)
app.add_typer(letters, name="letters")


def main() -> None:
    """Exit codes: 0 done, 1 something failed, 2 wrong usage, 130 Ctrl-C."""
    try:
        app()
    except (Failure, BotoCoreError, ClientError) as error:
        typer.echo(f"Error: {describe(error)}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
