"""The `cutout` command, put together from its parts. A part is imported only when it is called."""

import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

# Each command's module, its name there (a function or a Typer app), and its help in `cutout --help`: at most 64
# characters, which fit beside the names on a terminal of 80 columns.
COMMANDS = {
    "demo": ("cutout.commands.demo", "demo", "Turn some photos into cutouts, and show them on a page."),
    "local": ("cutout.commands.local", "local", "Keep the stack up on this machine until Ctrl-C."),
    "upload": ("cutout.commands.upload", "upload", "Send images to be turned into cutouts."),
    "download": ("cutout.commands.download", "download", "Fetch cutouts into a folder, each under its key."),
    "cancel": ("cutout.commands.cancel", "cancel", "Take back uploads that still wait in the queue."),
    "status": (
        "cutout.commands.status",
        "status",
        "Show the intake, the queue, the letters, and the credits left.",
    ),
    "logs": ("cutout.commands.logs", "logs", "Show what the functions have logged."),
    "explain": ("cutout.commands.explain", "explain_upload", "Tell what happened to one upload."),
    "console": ("cutout.commands.console", "console_page", "Show the stack on a page in the browser until Ctrl-C."),
    "open": ("cutout.commands.open", "open_console", "Open the dashboard and the buckets in the AWS console."),
    "backfill": (
        "cutout.commands.backfill",
        "backfill",
        "Tell which inputs have no current cutout, and enqueue them.",
    ),
    "pause": (
        "cutout.commands.intake",
        "pause",
        "Pause the intake: uploads wait in the queue, at no cost.",
    ),
    "resume": ("cutout.commands.intake", "resume", "Reopen the intake, whoever paused it."),
    "cap": ("cutout.commands.cap", "cap", "Show what is left of the caps on credits, or allow more."),
    "letters": (
        "cutout.commands.letters",
        "letters",
        "Read, replay or discard the letters of uploads that failed.",
    ),
}
# Plain help and plain tracebacks: one shows a sentence whole, the other no values of variables.
PLAIN: dict[str, Any] = {"rich_markup_mode": None, "pretty_exceptions_enable": False}
CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"]}  # which the commands inherit

app = typer.Typer(
    no_args_is_help=True,
    help="Remove the background of images through an S3 bucket.",
    context_settings=CONTEXT,
    **PLAIN,
)


class _Command(TyperCommand):
    """A placeholder in the list of commands. It loads the real command when it is called."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # passed on as they come
        return load(str(self.name)).make_context(*args, **kwargs)


def load(name: str) -> Any:  # noqa: ANN401  # a class that Typer keeps to itself
    """The command itself."""
    import logging  # noqa: PLC0415  # --help can do without

    logging.getLogger("urllib3").setLevel(logging.ERROR)  # lower levels log paths and queries
    module, attribute, _ = COMMANDS[name]
    part = getattr(import_module(module), attribute)
    parts = typer.Typer(**PLAIN)
    if isinstance(part, typer.Typer):
        parts.add_typer(part, name=name)
    else:
        parts.command(name)(part)
    return typer.main.get_group(parts).commands[name]


for _name, (_, _, _help) in COMMANDS.items():
    app.command(_name, cls=_Command, help=_help)(lambda: None)


def _print_version(value: bool) -> None:
    if value:
        from importlib.metadata import version  # noqa: PLC0415  # takes a tenth of the time of --help

        typer.echo(version("cutout"))
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None: ...


def main() -> None:
    """Exit codes: 0 success, 1 failure or declined, 2 usage, 130 Ctrl-C."""
    try:
        app()
    except Exception as error:
        from cutout.failures import describe, is_told  # noqa: PLC0415  # --help can do without
        from cutout.terminal import printable  # noqa: PLC0415  # as above

        if not is_told(error):
            raise
        typer.echo(f"Error: {printable(describe(error))}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
