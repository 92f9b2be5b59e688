"""The Lambda function that reopens the intake, once the reason for which the other one paused it is gone."""

import contextlib
import functools
import os
import time
from dataclasses import dataclass
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parameters import SecretsProvider
from aws_lambda_powertools.utilities.typing import LambdaContext

from remove_background.api_key import ApiKey
from remove_background.aws import Clients
from remove_background.config import ReopenConfig
from remove_background.connections import Connections
from remove_background.deadline import Deadline
from remove_background.errors import CutoutError, InsufficientCredits
from remove_background.intake import FUNCTION, ITEM
from remove_background.pixelcut import Pixelcut

logger = Logger()
metrics = Metrics()


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, str]:  # noqa: ARG001
    """Returns what it found; does nothing while the intake is open, or was paused by an operator."""
    watch = _watch()
    watch.connections.refresh()
    found = watch.look()
    logger.info(found)
    metrics.add_metric(name="IntakePaused", unit=MetricUnit.Count, value=int(found not in (IS_OPEN, REOPENED)))
    metrics.flush_metrics()
    return {"intake": found}


@dataclass(frozen=True, slots=True)
class Watch:
    config: ReopenConfig
    clients: Clients
    connections: Connections
    pixelcut: Pixelcut

    def look(self) -> str:
        functions = self.clients.functions
        state = functions.get_event_source_mapping(UUID=self.config.event_source_mapping)["State"]
        item = self.clients.dynamodb.get_item(TableName=self.config.ledger_table, Key=ITEM, ConsistentRead=True)
        paused = item.get("Item", {}).get("paused_by", {}).get("S") == FUNCTION
        if not paused:
            return IS_OPEN if state in OPEN else BY_OPERATOR
        if state not in OPEN:
            if (trouble := self._trouble(item["Item"]["reason"]["S"])) is not None:
                return f"still paused: {trouble}"
            functions.update_event_source_mapping(UUID=self.config.event_source_mapping, Enabled=True)
        # Only now: an intake that is closed while nobody is said to have paused it counts as an operator's.
        try:
            self.clients.dynamodb.update_item(
                TableName=self.config.ledger_table,
                Key=ITEM,
                UpdateExpression="SET reopened_at = :now REMOVE paused_by, reason, since",
                ConditionExpression="paused_by = :function",
                ExpressionAttributeValues={":now": {"N": f"{time.time():.3f}"}, ":function": {"S": FUNCTION}},
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self.clients.dynamodb.exceptions.ConditionalCheckFailedException as error:
            # An operator has reopened it, or paused it, a moment ago.
            if "paused_by" in error.response.get("Item", {}):  # type: ignore[operator]  # not in the stubs
                functions.update_event_source_mapping(UUID=self.config.event_source_mapping, Enabled=False)
                return BY_OPERATOR
        return REOPENED

    def _trouble(self, reason: str) -> str | None:
        """The code of what still keeps uploads from succeeding."""
        try:
            credits_left = self.pixelcut.read_credits()
        except CutoutError as error:
            return error.code
        if reason == InsufficientCredits.code and credits_left is not None and credits_left < 1:
            return reason
        return None


# What `Watch.look` finds: where the intake is not paused, and where it must stay so.
IS_OPEN, REOPENED, BY_OPERATOR = "open", "reopened", "paused by an operator"

# States of an event source mapping that is open, or on its way there:
# https://docs.aws.amazon.com/lambda/latest/api/API_GetEventSourceMapping.html
OPEN = ("Enabled", "Enabling", "Creating")


def _no_turn(_: Deadline) -> contextlib.AbstractContextManager[None]:
    """The request for the credits is free, and is not paced."""
    return contextlib.nullcontext()


@functools.cache
def _watch() -> Watch:
    config = ReopenConfig.from_environment(os.environ)
    clients = Clients(threads=1)
    connections = Connections(threads=1)
    api_key = ApiKey(SecretsProvider(boto3_client=clients.secrets), config.pixelcut_api_key_secret)
    return Watch(config, clients, connections, Pixelcut(connections.api, config.pixelcut_api_url, api_key, _no_turn))
