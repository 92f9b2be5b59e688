"""`cutout cap`: what is reserved and left of the caps, and more credits than they let through."""

from typing import Annotated, Any

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.box import SIMPLE
from rich.table import Table

from cutout.commands.options import STACK_NAME, AsJson, EndpointUrl, StackName, Yes
from cutout.failures import Failure
from cutout.operations import budget as caps
from cutout.operations import deployment
from cutout.operations import intake as stack_intake
from cutout.operations.budget import Budget, Price, Spending
from cutout.operations.deployment import Deployment
from cutout.operations.intake import Intake
from cutout.presentation.caps import (
    NAMES,
    PARAMETERS,
    caps_as_json,
    price_as_json,
    rows,
    word_allowance,
    word_allowed,
    word_now,
)
from cutout.presentation.intake import intake_as_json, word_not_switched, word_pause
from cutout.terminal import agree, console, print_json
from remove_background.caps import DAY, MONTH

MOST = 999_999_999  # as of the parameters
REASON_LENGTH = 200  # the reason is written again with each slot's update: DynamoDB charges by the item's size
RESERVED = "Reserved: charged, on their way, or not known to be either."


def cap(
    today: Annotated[
        str | None,
        typer.Option(metavar="+N", show_default=False, help="Allow so many more credits until the day ends."),
    ] = None,
    month: Annotated[
        str | None,
        typer.Option(metavar="+N", show_default=False, help="Allow so many more credits until the month ends."),
    ] = None,
    reason: Annotated[
        str, typer.Option(show_default=False, help="Why more are allowed, for whoever reads the status.")
    ] = "",
    stack_name: StackName = STACK_NAME,
    endpoint_url: EndpointUrl = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Show what is left of the day's and the month's credits, or allow more.

    The parameters DailyCredits and MonthlyCredits set the caps. A credit is reserved before its call; what turns out
    not to be charged is given back. At a cap the intake pauses, and uploads wait until the day or the month has ended.

    With --today or --month, more is allowed until the day or the month ends. A pause at the cap ends at once; what an
    operator paused stays paused.

    Example: cutout cap --today +500 --reason "Christmas catalogue" --yes
    """
    if today is not None and month is not None:
        raise typer.BadParameter("either --today or --month.", param_hint="--today")
    more = None
    if today is not None:
        more = _read_number(today, "--today")
    elif month is not None:
        more = _read_number(month, "--month")
    reason = _check_reason(reason, more)
    deployed = deployment.find(stack_name, endpoint_url)
    found = caps.read(deployed)
    if more is None:
        _show(deployed, found, as_json=as_json)
        return
    name = DAY if today is not None else MONTH
    of = _period(found, name) if found else None
    if found is None or of is None or of.cap is None:
        raise Failure(f"The stack has no {NAMES[name]} cap: {PARAMETERS[name]} sets one. Nothing was done.")
    _allow(deployed, found, of, more, reason, yes=yes, as_json=as_json)


def _read_number(text: str, option: str) -> int:
    digits = text.removeprefix("+").lstrip("0")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= len(str(MOST)) and int(digits) <= MOST):
        raise typer.BadParameter(f"must be a whole number from 1 to {MOST}, not {text!r}.", param_hint=option)
    return int(digits)


def _check_reason(reason: str, more: int | None) -> str:
    reason = reason.strip()
    if more is None and reason:
        raise typer.BadParameter("goes with --today or --month.", param_hint="--reason")
    if more is not None and not reason:
        raise typer.BadParameter("say why more credits are allowed.", param_hint="--reason")
    if len(reason) > REASON_LENGTH:
        raise typer.BadParameter(f"must have at most {REASON_LENGTH} characters.", param_hint="--reason")
    return reason


def _period(budget: Budget, name: str) -> Spending:
    return budget.day if name == DAY else budget.month


def _show(deployed: Deployment, found: Budget | None, *, as_json: bool) -> None:
    price, intake = caps.price(deployed), stack_intake.read(deployed)
    if as_json:
        print_json(_as_json(deployed, found, price, intake))
        return
    if found is None:
        typer.echo("The stack has no cap: its parameters DailyCredits and MonthlyCredits set them.")
        return
    table = Table(show_header=False, box=SIMPLE)
    table.add_row("Stack", deployed.stack_name)
    for label, text in rows(found, price, why=True):
        table.add_row(label, text)
    console().print(table)
    typer.echo(word_now(found, price))
    if intake.paused_by:
        typer.echo(word_pause(intake))
    typer.echo(RESERVED)


def _as_json(deployed: Deployment, found: Budget | None, price: Price | None, intake: Intake) -> dict[str, Any]:
    return {
        "stack": deployed.stack_name,
        "caps": caps_as_json(found) if found else None,
        "credit_price": price_as_json(price),
        "intake": {"open": intake.paused_by is None} | intake_as_json(intake),
    }


def _allow(
    deployed: Deployment, found: Budget, of: Spending, more: int, reason: str, *, yes: bool, as_json: bool
) -> None:
    price, intake = caps.price(deployed), stack_intake.read(deployed)
    for sentence in word_allowance(found, of, more, price):
        typer.echo(sentence, err=True)
    if intake.is_at_cap:
        typer.echo("The intake is paused at a cap. It is reopened once credits are left: what waits is paid.", err=True)
    elif intake.paused_by:
        typer.echo(f"{word_pause(intake)} It stays paused.", err=True)
    agree(yes=yes)
    try:
        after = caps.allow(deployed, of.name, more, reason, until=of.ends)
    except (KeyboardInterrupt, BotoCoreError, ClientError):
        typer.echo("`cutout cap` shows whether it was recorded.", err=True)
        raise
    allowed = word_allowed(of, more, price)
    try:
        change = stack_intake.reopen_from_cap(deployed)
        now = stack_intake.read(deployed)
    except (KeyboardInterrupt, Failure, BotoCoreError, ClientError):
        typer.echo(f"{allowed} A pause at the cap ends within five minutes.", err=True)
        raise
    if change and change.trouble:
        typer.echo(word_not_switched(change.trouble), err=True)
    if as_json:
        print_json(_as_json(deployed, after, price, now) | {"allowed": more, "reopened": change is not None})
        return
    typer.echo(allowed)
    typer.echo(word_now(after, price))
    if now.paused_by:
        typer.echo(word_pause(now))
    elif change:
        typer.echo("The intake was paused at the cap, and is open again.")
