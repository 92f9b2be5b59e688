"""`cutout pause` and `cutout resume`: the operator's switch of the intake."""

from collections.abc import Callable

import typer

from cutout.commands.options import STACK_NAME, AsJson, EndpointUrl, StackName, Yes
from cutout.operations import deployment
from cutout.operations import intake as stack_intake
from cutout.operations.deployment import Deployment
from cutout.presentation.intake import intake_as_json, word_pause, word_since
from cutout.terminal import agree, print_json
from remove_background.intake import FUNCTION, OPERATOR, IntakeItem, State


def pause(
    reason: str = typer.Option("", help="Why, for whoever reads the status."),
    stack_name: StackName = STACK_NAME,
    endpoint_url: EndpointUrl = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Pause the intake: uploads wait in the queue, at no cost, until `cutout resume`.

    The function does not reopen what an operator paused. Uploads in flight are finished.

    Example: cutout pause --reason "new price list" --yes
    """
    deployed = deployment.find(stack_name, endpoint_url)
    typer.echo(f"The intake of {stack_name} is to be paused. The queue keeps uploads for 13 days.", err=True)
    agree(yes=yes)
    found = _change(deployed, lambda item, token: item.pause(OPERATOR, reason, token))
    if found is None:
        _tell(deployed, "The intake is paused. `cutout resume` reopens it.", as_json=as_json)
    else:
        _tell(deployed, _word_paused_already(found), as_json=as_json)


def resume(
    stack_name: StackName = STACK_NAME,
    endpoint_url: EndpointUrl = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Reopen the intake, whoever paused it.

    Example: cutout resume --yes
    """
    deployed = deployment.find(stack_name, endpoint_url)
    found = stack_intake.read(deployed)
    if found.paused_by == FUNCTION:
        typer.echo(f"The function paused the intake ({found.reason}); it does so again if that lasts.", err=True)
    typer.echo(
        f"The intake of {stack_name} is to be reopened. What waits in the queue is worked on, and paid.", err=True
    )
    agree(yes=yes)
    _change(deployed, lambda item, token: item.reopen(item.read(), token))
    found = stack_intake.read(deployed)
    _tell(deployed, word_pause(found) if found.paused_by else "The intake is open.", as_json=as_json)


def _change(deployed: Deployment, write: Callable[[IntakeItem, str], bool]) -> State | None:
    """The state if the item needed no change."""
    changed = stack_intake.change(deployed, write)
    if changed.trouble:
        typer.echo(
            f"The event source mapping is not switched yet ({changed.trouble}): ReopenIntake goes on with it.", err=True
        )
    return changed.found


def _word_paused_already(found: State) -> str:
    why = f' ("{found.reason}")' if found.reason else ""
    return f"Already paused{word_since(found.since)}{why}."


def _tell(deployed: Deployment, text: str, *, as_json: bool) -> None:
    if as_json:
        print_json(intake_as_json(stack_intake.read(deployed)))
    else:
        typer.echo(text)
