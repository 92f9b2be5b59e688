"""`cutout pause` and `cutout resume`: an operator's hand on the intake."""

import time
from dataclasses import asdict, dataclass
from typing import Any

import typer

from cutout import deployment
from cutout.deployment import STACK_NAME, Deployment, EndpointUrl, StackName
from cutout.failures import Failure
from cutout.terminal import AsJson, Yes, agree, print_json
from remove_background.intake import FUNCTION, ITEM

# In the item's `paused_by`. The function leaves alone what it has not paused itself.
OPERATOR = "operator"
# States of an event source mapping that is open, or on its way there.
_OPEN = ("Enabled", "Enabling", "Creating")


@dataclass(frozen=True, slots=True)
class Intake:
    """`paused_by` is None while it is open; `since` is in seconds since the epoch, where that is known."""

    paused_by: str | None
    reason: str | None = None
    since: float | None = None


def read(deployed: Deployment) -> Intake:
    is_open = _mapping(deployed)["State"] in _OPEN
    if is_open:
        return Intake(None)
    answer = deployed.dynamodb.get_item(TableName=deployed.settings["LEDGER_TABLE"], Key=ITEM, ConsistentRead=True)
    item = answer.get("Item", {})
    return Intake(
        paused_by=item.get("paused_by", {}).get("S", OPERATOR),  # somebody disabled the mapping without saying so
        reason=item.get("reason", {}).get("S"),
        since=float(item["since"]["N"]) if "since" in item else None,
    )


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
    _write(
        deployed,
        "SET paused_by = :operator, reason = :reason, since = :now REMOVE reopened_at, failures, failed_at",
        {":operator": {"S": OPERATOR}, ":reason": {"S": reason}, ":now": {"N": f"{time.time():.3f}"}},
    )
    _switch(deployed, enabled=False)
    _tell(deployed, "The intake is paused. `cutout resume` reopens it.", as_json=as_json)


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
    # First: what an operator is said to have paused, the function does not reopen.
    _write(
        deployed,
        "SET reopened_at = :now REMOVE paused_by, reason, since, failures, failed_at",
        {":now": {"N": f"{time.time():.3f}"}},
    )
    _switch(deployed, enabled=True)
    _tell(deployed, "The intake is open.", as_json=as_json)


def _mapping(deployed: Deployment) -> Any:  # noqa: ANN401  # JSON
    found = deployed.lambda_.list_event_source_mappings(FunctionName=deployed.function)["EventSourceMappings"]
    if not found:
        raise Failure(f"The function {deployed.function} has no event source mapping: deploy the stack again.")
    return found[0]


def _write(deployed: Deployment, expression: str, values: dict[str, Any]) -> None:
    deployed.dynamodb.update_item(
        TableName=deployed.settings["LEDGER_TABLE"],
        Key=ITEM,
        UpdateExpression=expression,
        ExpressionAttributeValues=values,
    )


def _switch(deployed: Deployment, *, enabled: bool) -> None:
    deployed.lambda_.update_event_source_mapping(UUID=_mapping(deployed)["UUID"], Enabled=enabled)


def _tell(deployed: Deployment, text: str, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(read(deployed)))
    else:
        typer.echo(text)
