"""`cutout pause` and `cutout resume`: an operator's hand on the intake."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import typer

from cutout.commands.options import STACK_NAME, AsJson, EndpointUrl, StackName, Yes
from cutout.failures import Failure
from cutout.operations import deployment
from cutout.operations.deployment import Deployment
from cutout.terminal import agree, print_json
from remove_background.aws_errors import AwsError, error_code
from remove_background.intake import DISABLED_BY_HAND, FUNCTION, OPERATOR, IntakeItem, State, new_token

# States of an event source mapping that somebody has disabled.
_CLOSED = ("Disabled", "Disabling")
# For how long a mapping that is changing its state is waited for.
SETTLE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Intake:
    """`paused_by` is None while it is open; `since` is in seconds since the epoch, where that is known."""

    paused_by: str | None
    reason: str | None = None
    since: float | None = None


def read(deployed: Deployment) -> Intake:
    """What the item says; a mapping that was disabled by hand counts as paused by the operator."""
    state = _mapping(deployed)["State"]  # before the item: a pause that follows has its owner
    seen = _item(deployed).read()
    if seen.paused_by is not None:
        return Intake(seen.paused_by, seen.reason, seen.since)
    if state in _CLOSED and not seen.switching:
        return Intake(OPERATOR, DISABLED_BY_HAND)
    return Intake(None)


def word_pause(intake: Intake) -> str:
    why = f" ({intake.reason})" if intake.reason else ""
    return f"The intake is paused by the {intake.paused_by}{why}: uploads wait. `cutout status` says how it goes on."


def pause(
    reason: str = typer.Option("", help="Why, for whoever reads the status."),
    stack_name: StackName = STACK_NAME,
    endpoint_url: EndpointUrl = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Pause the intake: uploads wait in the queue, at no cost, until `cutout resume`.

    The function does not reopen what an operator paused. Uploads that are being worked on are finished.

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
    found = read(deployed)
    if found.paused_by == FUNCTION:
        typer.echo(f"The function paused the intake ({found.reason}); it does so again if that lasts.", err=True)
    typer.echo(
        f"The intake of {stack_name} is to be reopened. What waits in the queue is worked on, and paid.", err=True
    )
    agree(yes=yes)
    _change(deployed, lambda item, token: item.reopen(item.read(), token))
    found = read(deployed)
    _tell(deployed, word_pause(found) if found.paused_by else "The intake is open.", as_json=as_json)


def _item(deployed: Deployment) -> IntakeItem:
    return IntakeItem(deployed.dynamodb, deployed.settings["LEDGER_TABLE"])


def _mapping(deployed: Deployment) -> Any:  # noqa: ANN401  # JSON
    found = deployed.lambda_.list_event_source_mappings(FunctionName=deployed.function)["EventSourceMappings"]
    if not found:
        raise Failure(f"The function {deployed.function} has no event source mapping: deploy the stack again.")
    return found[0]


def _change(deployed: Deployment, change: Callable[[IntakeItem, str], bool]) -> State | None:
    """Change the item, and make the mapping follow it. The state where the item needed no change.

    The item counts: from its change on no execution environment begins a paid call, or each may. Where the mapping
    cannot be switched, ReopenIntake does it within five minutes.
    """
    uuid = _mapping(deployed)["UUID"]  # where there is none, nothing is written
    item, token = _item(deployed), new_token()
    found = None if change(item, token) else item.read()
    try:
        settled = item.settle(deployed.lambda_, uuid, token, SETTLE_SECONDS)
        trouble = None if settled else "it is busy"
    except AwsError as error:
        trouble = error_code(error)
    if trouble:
        typer.echo(f"The event source mapping is not switched yet ({trouble}): ReopenIntake goes on with it.", err=True)
    return found


def _word_paused_already(found: State) -> str:
    since = f" since {datetime.fromtimestamp(found.since, UTC):%Y-%m-%d %H:%M} UTC" if found.since else ""
    why = f' ("{found.reason}")' if found.reason else ""
    return f"Already paused{since}{why}."


def _tell(deployed: Deployment, text: str, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(read(deployed)))
    else:
        typer.echo(text)
