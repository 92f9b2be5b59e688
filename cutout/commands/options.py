"""Options that several commands have."""

import re
import threading
from typing import Annotated, Any

import typer

from cutout.operations import dead_letters, deployment
from cutout.operations.dead_letters import Letter
from cutout.presentation.advice import ADVICE
from cutout.presentation.letter import SHORT_ID

STACK_NAME = "cutout"
MOST_HOURS = 87_672  # ten years, as long as logs can be kept
COMPLETION_SECONDS = 3.0  # a person waits for it


def _complete_code(incomplete: str) -> list[tuple[str, str]]:
    """For the shell: the codes that begin so, each with what it means."""
    return [(code, advice.meaning) for code, advice in ADVICE.items() if code.startswith(incomplete)]


def _complete_id(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """For the shell: the ids of letters that begin so, of some; none where the stack does not answer soon.

    A shell may evaluate what it is given, so nothing of a letter is shown that an uploader can choose, such as its key.
    """
    found: list[Letter] = []

    def look() -> None:
        try:
            deployed = deployment.find(context.params["stack_name"], context.params["endpoint_url"])
            found.extend(dead_letters.peek(deployed.sqs, deployed.dead_letter_queue))
        except Exception:  # noqa: BLE001  # told in the middle of a line that is being typed, it would only disturb
            return

    looking = threading.Thread(target=look, daemon=True)  # it ends with the process
    looking.start()
    looking.join(COMPLETION_SECONDS)
    return [
        (letter.id[: None if len(incomplete) > SHORT_ID else SHORT_ID], _describe(letter))
        for letter in sorted(found, key=lambda letter: letter.sent)
        if letter.id.startswith(incomplete) and re.fullmatch(r"[\w-]+", letter.id, re.ASCII)
    ]


def _describe(letter: Letter) -> str:
    return f"{letter.code if letter.code in ADVICE else 'another code'}, since {letter.sent:%Y-%m-%d}"


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
_id_argument: Any = typer.Argument(
    metavar="ID", show_default=False, autocompletion=_complete_id, help="Ids of letters, or their first characters."
)
Id = Annotated[list[str], _id_argument]
Ids = Annotated[list[str] | None, _id_argument]
Codes = Annotated[list[str] | None, code_option("All letters with this code")]
Every = Annotated[bool, typer.Option("--all", help="All letters.")]
