"""Options that several commands have."""

from typing import Annotated, Any

import typer

from cutout.presentation.advice import ADVICE

STACK_NAME = "cutout"


def _complete_code(incomplete: str) -> list[tuple[str, str]]:
    """For the shell: the codes that begin so, each with what it means."""
    return [(code, advice.meaning) for code, advice in ADVICE.items() if code.startswith(incomplete)]


def code_option(help_: str) -> Any:  # noqa: ANN401  # as typer.Option
    return typer.Option(
        "--code", metavar="CODE", show_default=False, autocompletion=_complete_code, help=f"{help_}; may be repeated."
    )


StackName = Annotated[str, typer.Option("--stack-name", envvar="CUTOUT_STACK_NAME", help="Name of the deployed stack.")]
EndpointUrl = Annotated[
    str | None,
    typer.Option(
        "--endpoint-url",
        show_default=False,
        help="Where AWS is, for `cutout local`; AWS_ENDPOINT_URL says the same.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it without asking.")]
Wait = Annotated[bool, typer.Option("--wait", help="Follow each upload to its cutout or its letter.")]
Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", show_default=False, help="Ids of letters, or their first characters."),
]
Codes = Annotated[list[str] | None, code_option("All letters with this code")]
Every = Annotated[bool, typer.Option("--all", help="All letters.")]
