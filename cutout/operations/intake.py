"""Reads and switches the intake of a deployed stack."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from cutout.failures import Failure
from cutout.operations import budget
from cutout.operations.budget import Budget
from cutout.operations.deployment import Deployment
from remove_background.aws_errors import AwsError, error_code
from remove_background.caps import Counts
from remove_background.intake import DISABLED_BY_HAND, OPERATOR, IntakeItem, State, new_token

# States of an event source mapping that was disabled.
_CLOSED = ("Disabled", "Disabling")
# How long to wait for a mapping that is changing its state.
SETTLE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Intake:
    """`paused_by` is None while it is open; `since` is in seconds since the epoch, or None.

    `budget` is known where the function paused it at a cap, `counts` wherever a cap is set.
    """

    paused_by: str | None
    reason: str | None = None
    since: float | None = None
    budget: Budget | None = field(default=None, compare=False)
    counts: Counts = field(default_factory=Counts)

    @property
    def is_at_cap(self) -> bool:
        return State(self.paused_by, self.reason).is_at_cap


@dataclass(frozen=True, slots=True)
class Change:
    """`found` is the state if the item needed no change; `trouble`, why the mapping is not switched yet."""

    found: State | None
    trouble: str | None


def read(deployed: Deployment) -> Intake:
    """What the item says; a mapping that was disabled by hand counts as paused by the operator."""
    state = _mapping(deployed)["State"]  # before the item: a pause that follows has its owner
    seen = _item(deployed).read()
    if seen.paused_by is not None:
        return _paused(deployed, seen)
    if state in _CLOSED and not seen.switching:
        return Intake(OPERATOR, DISABLED_BY_HAND, counts=seen.counts)
    return Intake(None, counts=seen.counts)


def read_item(deployed: Deployment) -> Intake:
    """The same in one call, but for a mapping that was disabled by hand."""
    seen = _item(deployed).read()
    return _paused(deployed, seen) if seen.paused_by is not None else Intake(None, counts=seen.counts)


def _paused(deployed: Deployment, seen: State) -> Intake:
    found = Intake(seen.paused_by, seen.reason, seen.since, counts=seen.counts)
    if not found.is_at_cap:
        return found
    try:
        caps = budget.read_settings(deployed)
    except Failure:  # the function refuses these settings as well
        return found
    return replace(found, budget=budget.make(caps, seen.counts, time.time()))


def pause(deployed: Deployment, reason: str) -> Change:
    """Pause it by the operator, who also takes over a pause of the function."""
    return change(deployed, lambda item, token: item.pause(OPERATOR, reason, token))


def resume(deployed: Deployment) -> Change:
    """Reopen it, whoever paused it."""
    return change(deployed, lambda item, token: item.reopen(item.read(), token))


def reopen_from_cap(deployed: Deployment) -> Change | None:
    """Reopen it if the function paused it at a cap and credits are left now; None if it was not to be done.

    Any other pause stays, also one that an operator makes meanwhile.
    """
    found = read_item(deployed)
    if not found.is_at_cap or found.budget is None or found.budget.reached:
        return None

    def write(item: IntakeItem, token: str) -> bool:
        seen = item.read()
        is_same = (seen.paused_by, seen.reason, seen.since) == (found.paused_by, found.reason, found.since)
        return is_same and item.reopen(seen, token)

    changed = change(deployed, write)
    return None if changed.found else changed


def change(deployed: Deployment, write: Callable[[IntakeItem, str], bool]) -> Change:
    """Change the item, and make the mapping follow it.

    The item decides: once it says so, no execution environment begins a paid call, or each may again. If the mapping
    cannot be switched, ReopenIntake does it within five minutes.
    """
    uuid = _mapping(deployed)["UUID"]  # raises if there is none, before anything is written
    item, token = _item(deployed), new_token()
    found = None if write(item, token) else item.read()
    try:
        settled = item.settle(deployed.lambda_, uuid, token, SETTLE_SECONDS)
    except AwsError as error:
        return Change(found, trouble=error_code(error))
    return Change(found, trouble=None if settled else "it is busy")


def _item(deployed: Deployment) -> IntakeItem:
    return IntakeItem(deployed.dynamodb, deployed.settings["LEDGER_TABLE"])


def _mapping(deployed: Deployment) -> Any:  # noqa: ANN401  # JSON
    found = deployed.lambda_.list_event_source_mappings(FunctionName=deployed.function)["EventSourceMappings"]
    if not found:
        raise Failure(f"The function {deployed.function} has no event source mapping: deploy the stack again.")
    return found[0]
