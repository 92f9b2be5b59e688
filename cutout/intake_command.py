"""`cutout pause` and `cutout resume`: an operator's hand on the intake."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import typer
from botocore.exceptions import BotoCoreError, ClientError

from cutout import deployment
from cutout.deployment import STACK_NAME, Deployment, EndpointUrl, StackName
from cutout.failures import Failure
from cutout.terminal import AsJson, Yes, agree, print_json
from remove_background.aws_errors import error_code
from remove_background.intake import FUNCTION, ITEM

# In the item's `paused_by`. The function leaves alone what it has not paused itself.
OPERATOR = "operator"
# States of an event source mapping that is open, or on its way there.
_OPEN = ("Enabled", "Enabling", "Creating")
_CLOSED = ("Disabled", "Disabling")
# Lambda refuses to switch a mapping that is changing its state; so long is waited for it, with a rest between calls.
_BUSY = ("ResourceInUseException", "ResourceConflictException")
BUSY_SECONDS = 60.0
BUSY_REST_SECONDS = 1.0
# All of the item's that `pause` and `resume` write or remove.
_FIELDS = ("paused_by", "reason", "since", "reopened_at", "failures", "failed_at")


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
    item = _read_item(deployed)
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
    now = {"N": f"{time.time():.3f}"}
    _change(deployed, {"paused_by": {"S": OPERATOR}, "reason": {"S": reason}, "since": now}, enabled=False)
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
    _change(deployed, {"reopened_at": {"N": f"{time.time():.3f}"}}, enabled=True)
    _tell(deployed, "The intake is open.", as_json=as_json)


def _mapping(deployed: Deployment) -> Any:  # noqa: ANN401  # JSON
    found = deployed.lambda_.list_event_source_mappings(FunctionName=deployed.function)["EventSourceMappings"]
    if not found:
        raise Failure(f"The function {deployed.function} has no event source mapping: deploy the stack again.")
    return found[0]


def _change(deployed: Deployment, fields: Mapping[str, Any], *, enabled: bool) -> None:
    """Writes the item's fields, and switches the mapping.

    The item first: what an operator is said to have paused, the function does not reopen. Where the mapping is not
    switched, the item becomes what it was, for the same reason.
    """
    _mapping(deployed)  # where there is none, nothing is written
    before = _read_item(deployed)
    try:
        _write(deployed, fields)
        _switch(deployed, enabled=enabled)
    except BaseException:  # Ctrl-C too
        try:
            if _mapping(deployed)["State"] not in (_OPEN if enabled else _CLOSED):
                _write(deployed, before, instead_of=fields)
        except (BotoCoreError, ClientError) as failure:
            if error_code(failure) != "ConditionalCheckFailedException":  # somebody else has written it since
                typer.echo("Who is said to have paused the intake is not known: call the command again.", err=True)
        raise


def _read_item(deployed: Deployment) -> dict[str, Any]:
    answer = deployed.dynamodb.get_item(TableName=deployed.settings["LEDGER_TABLE"], Key=ITEM, ConsistentRead=True)
    return dict(answer.get("Item", {}))


def _write(deployed: Deployment, fields: Mapping[str, Any], instead_of: Mapping[str, Any] | None = None) -> None:
    """Gives the item those of _FIELDS, and no others; raises ClientError unless it has those that they replace."""
    kept = [name for name in _FIELDS if name in fields]
    removed = [name for name in _FIELDS if name not in fields]
    replaced = instead_of or {}
    expressions = [
        f"SET {', '.join(f'{name} = :{name}' for name in kept)}" if kept else "",
        f"REMOVE {', '.join(removed)}" if removed else "",
    ]
    values = {f":{name}": fields[name] for name in kept} | {f":old_{name}": old for name, old in replaced.items()}
    optional: dict[str, Any] = {"ExpressionAttributeValues": values} if values else {}
    if replaced:
        optional["ConditionExpression"] = " AND ".join(f"{name} = :old_{name}" for name in replaced)
    deployed.dynamodb.update_item(
        TableName=deployed.settings["LEDGER_TABLE"], Key=ITEM, UpdateExpression=" ".join(expressions), **optional
    )


def _switch(deployed: Deployment, *, enabled: bool) -> None:
    uuid = _mapping(deployed)["UUID"]
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            deployed.lambda_.update_event_source_mapping(UUID=uuid, Enabled=enabled)
        except ClientError as error:
            if error.response["Error"]["Code"] not in _BUSY or time.monotonic() >= deadline:
                raise
            time.sleep(BUSY_REST_SECONDS)
        else:
            return


def _tell(deployed: Deployment, text: str, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(read(deployed)))
    else:
        typer.echo(text)
