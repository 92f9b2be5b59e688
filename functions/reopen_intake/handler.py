"""The Lambda function that reopens the intake once the cause of the pause is gone."""

import contextlib
import functools
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parameters import SecretsProvider
from aws_lambda_powertools.utilities.typing import LambdaContext

from remove_background.api_key import ApiKey
from remove_background.aws import Clients
from remove_background.caps import DAY, MONTH, REASONS
from remove_background.config import ReopenConfig
from remove_background.connections import Connections
from remove_background.deadline import Deadline
from remove_background.errors import (
    CutoutError,
    Forbidden,
    InsufficientCredits,
    Rejected,
    RequestRefused,
    UnexpectedAnswer,
)
from remove_background.intake import FUNCTION, OPERATOR, IntakeItem, State, new_token
from remove_background.pixelcut import Pixelcut

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

logger = Logger()
metrics = Metrics()


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, str]:  # noqa: ARG001
    """Returns what it found; does nothing while the intake is open, or was paused by an operator."""
    watch = _watch()
    _connections().refresh()
    found = watch.look()
    logger.info(found.intake)
    metrics.add_metric(name="IntakePaused", unit=MetricUnit.Count, value=int(found.is_trouble))
    for period, share in watch.config.caps.shares(found.seen.counts, time.time()).items():
        metrics.add_metric(name=CAP_METRICS[period], unit=MetricUnit.Percent, value=share)
    metrics.flush_metrics()
    return {"intake": found.intake}


class Found(NamedTuple):
    """The result of a run, in words, and the item as it was at its start."""

    intake: str
    seen: State

    @property
    def is_trouble(self) -> bool:
        """It is paused, and not just until the period of a cap ends: the caps have alarms of their own.

        With two alarms at each cap that is reached, nobody would look at this one any more.
        """
        waits_for_its_period = self.seen.is_at_cap and self.intake in AT_CAP
        return self.intake not in (IS_OPEN, REOPENED) and not waits_for_its_period


@dataclass(frozen=True, slots=True)
class Watch:
    config: ReopenConfig
    functions: "LambdaClient"
    item: IntakeItem
    pixelcut: Pixelcut

    def look(self) -> Found:
        seen = self.item.read()
        return Found(self._follow(seen), seen)

    def _follow(self, seen: State) -> str:
        mapping = self.config.event_source_mapping
        state = self.functions.get_event_source_mapping(UUID=mapping)["State"]
        closed = seen.paused_by is not None
        by_hand = state == "Disabled" and not seen.closed and not seen.switching
        if by_hand and seen.paused_by != OPERATOR and self.item.adopt(seen):
            return BY_OPERATOR
        # The function only writes that the intake is paused; and a switch may have been killed.
        if seen.switching or (closed and state != "Disabled"):
            self._settle(new_token())
        if not closed:
            return IS_OPEN
        if seen.paused_by != FUNCTION:
            return BY_OPERATOR
        if (waits := self._wait(seen)) > 0:
            return f"{STILL_PAUSED}{seen.reason}, for {waits:.0f} more seconds"
        if (trouble := self._trouble(seen)) is not None:
            return STILL_PAUSED + trouble
        token = new_token()
        if not self.item.reopen(seen, token):
            return BY_OPERATOR if self.item.read().paused_by == OPERATOR else CHANGED
        self._settle(token)
        return REOPENED

    def _settle(self, token: str) -> None:
        if not self.item.settle(self.functions, self.config.event_source_mapping, token, SETTLE_SECONDS):
            logger.warning("The event source mapping is busy. The next run makes it follow the intake.")

    def _wait(self, seen: State) -> float:
        """Seconds until it may be reopened: the more often it was in vain, the longer.

        After the first pause, and one at a cap, it is enough that the visible cause is gone.
        """
        least = 0.0
        if seen.is_at_cap:
            return least
        if (in_vain := seen.fruitless - 1) > 0:
            least = min(MOST_WAIT_SECONDS, self.config.reopen_seconds * 2.0 ** min(in_vain - 1, 20))
        return (seen.since or 0) + least - time.time()

    def _trouble(self, seen: State) -> str | None:
        """The code of the error that still prevents success, or the cap that is still reached."""
        if reached := self.config.caps.reached(seen.counts, time.time()):
            return reached
        credits_left = None
        try:
            credits_left = self.pixelcut.read_credits()
        except (Rejected, RequestRefused, Forbidden, UnexpectedAnswer) as error:
            # A firewall may answer so for good, and about this request only. Whether uploads succeed, the probe tells.
            logger.warning(f"the credits left are not known: {error.code}", extra={"error_message": error.message})
        except CutoutError as error:
            return error.code
        if seen.reason == InsufficientCredits.code and credits_left is not None and credits_left < 1:
            return seen.reason
        return None


# The results of a run: the intake is not paused, or must stay paused.
IS_OPEN, REOPENED, BY_OPERATOR, STILL_PAUSED = "open", "reopened", "paused by an operator", "still paused: "
CHANGED = f"{STILL_PAUSED}it was changed a moment ago"
AT_CAP = {STILL_PAUSED + reason for reason in REASONS.values()}
CAP_METRICS = {DAY: "DailyCapUsed", MONTH: "MonthlyCapUsed"}
# Share of the function's 60 seconds; settling may take it twice.
SETTLE_SECONDS = 15.0
# However often it was in vain, it is reopened at least once an hour: one upload is tried, and the cause may be gone.
MOST_WAIT_SECONDS = 3600.0


def _no_slot(_: Deadline) -> contextlib.AbstractContextManager[None]:
    """The request for the credits is free, and needs no slot."""
    return contextlib.nullcontext()


@functools.cache
def _connections() -> Connections:
    return Connections(threads=1)


@functools.cache
def _watch() -> Watch:
    config = ReopenConfig.from_environment(os.environ)
    clients = Clients(threads=1)
    api_key = ApiKey(SecretsProvider(boto3_client=clients.secrets), config.pixelcut_api_key_secret)
    pixelcut = Pixelcut(_connections().api, config.pixelcut_api_url, api_key, _no_slot)
    return Watch(config, clients.functions, IntakeItem(clients.dynamodb, config.ledger_table), pixelcut)
