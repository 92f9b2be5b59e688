"""The `cutout` command."""

import typer

from cutout.demo import demo
from cutout.local_command import local

# Plain help and plain tracebacks: one shows a sentence whole, the other no values of variables.
app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Remove the background of images through an S3 bucket.",
)
app.command()(demo)
app.command()(local)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
