"""`cutout pause` and `cutout resume`: the operator's switch of the intake."""

import typer

from cutout.commands.options import STACK_NAME, AsJson, EndpointUrl, StackName, Yes
from cutout.operations import deployment
from cutout.operations import intake as stack_intake
from cutout.operations.deployment import Deployment
from cutout.operations.intake import Change
from cutout.presentation.intake import (
    intake_as_json,
    word_not_switched,
    word_pause,
    word_paused_already,
    word_plan_to_pause,
    word_plan_to_resume,
)
from cutout.terminal import agree, print_json
from remove_background.intake import State


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
    typer.echo(word_plan_to_pause(stack_name), err=True)
    agree(yes=yes)
    found = _finish(stack_intake.pause(deployed, reason))
    if found is None:
        _tell(deployed, "The intake is paused. `cutout resume` reopens it.", as_json=as_json)
    else:
        _tell(deployed, word_paused_already(found), as_json=as_json)


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
    for sentence in word_plan_to_resume(stack_name, stack_intake.read(deployed)):
        typer.echo(sentence, err=True)
    agree(yes=yes)
    _finish(stack_intake.resume(deployed))
    found = stack_intake.read(deployed)
    _tell(deployed, word_pause(found) if found.paused_by else "The intake is open.", as_json=as_json)


def _finish(change: Change) -> State | None:
    """The state if the item needed no change."""
    if change.trouble:
        typer.echo(word_not_switched(change.trouble), err=True)
    return change.found


def _tell(deployed: Deployment, text: str, *, as_json: bool) -> None:
    if as_json:
        print_json(intake_as_json(stack_intake.read(deployed)))
    else:
        typer.echo(text)
