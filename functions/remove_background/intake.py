"""The intake: the queue's event source mapping, which is paused while no upload can succeed.

The DynamoDB item `intake` says who paused it, so that what an operator paused is not reopened by the function:
`paused_by`, `reason` (an error's code), `since` and `reopened_at`, in seconds since the epoch.
"""

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from .aws import AwsError, Clients, error_code
from .errors import AccountBlocked, CutoutError, InProgress, OutOfTime, RateLimitExceeded, Unavailable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import UpdateItemInputTypeDef

FUNCTION, OPERATOR = "function", "operator"
# Failures in a row that pause the intake soon after it was reopened, when there was no success yet; and for how long.
FAILURES_ON_PROBATION = 3
PROBATION_SECONDS = 600.0

log = logging.getLogger(__name__)


class Intake:
    def __init__(self, clients: Clients, table: str, function_name: str, failures_in_a_row: int) -> None:
        """`failures_in_a_row`, without a success between them, pause the intake."""
        self._failures_in_a_row = failures_in_a_row
        self._clients = clients
        self._table = table
        self._function_name = function_name
        self._lock = threading.Lock()
        self._failures = 0
        self._on_probation = False
        self._succeeded_at = 0.0
        self._paused = False

    def begin(self) -> None:
        """Call at the start of an invocation: that there is one may mean that the intake was reopened."""
        self._paused = False

    def report_success(self) -> None:
        with self._lock:
            self._failures = 0
            self._on_probation = False
            self._succeeded_at = time.time()

    def report_failure(self, error: CutoutError) -> bool:
        """Pauses the intake when it is time to. Whether the failure counts as one of the upload's attempts."""
        if isinstance(error, InProgress | OutOfTime | RateLimitExceeded):
            return False
        with self._lock:
            if isinstance(error, AccountBlocked):
                self._pause(error.code)
                return False
            if not isinstance(error, Unavailable):
                return True
            self._failures += 1
            if self._failures == 1:
                self._on_probation = self._was_reopened_lately()
            if self._failures >= (FAILURES_ON_PROBATION if self._on_probation else self._failures_in_a_row):
                self._pause(error.code)
                return False
            return not self._on_probation

    def _was_reopened_lately(self) -> bool:
        try:
            item = self._clients.dynamodb.get_item(TableName=self._table, Key=ITEM).get("Item", {})
        except AwsError as error:
            log.error("The state of the intake could not be read (%s).", error_code(error))
            return False
        reopened_at = float(item.get("reopened_at", {}).get("N", 0))
        return reopened_at > max(self._succeeded_at, time.time() - PROBATION_SECONDS)

    def _pause(self, reason: str) -> None:
        if self._paused:  # by one of the uploads that fail together
            return
        try:
            self._clients.dynamodb.update_item(**pausing(self._table, reason))
        except AwsError as error:
            if error_code(error) != "ConditionalCheckFailedException":
                log.error("The intake could not be paused (%s). The next failure tries again.", error_code(error))
                return
            # An operator paused it: that stays so.
        try:
            lambda_ = self._clients.make_lambda()
            for mapping in lambda_.list_event_source_mappings(FunctionName=self._function_name)["EventSourceMappings"]:
                lambda_.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
        except AwsError as error:
            log.error("The intake could not be paused (%s). The next failure tries again.", error_code(error))
            return
        self._paused = True
        log.warning("The intake is paused: %s.", reason)


ITEM: dict[str, Any] = {"id": {"S": "intake"}}


def pausing(table: str, reason: str) -> "UpdateItemInputTypeDef":
    """The update that says that the function paused the intake; its condition fails when an operator did.

    Written before the mapping is disabled: one that is disabled without it counts as an operator's.
    """
    return {
        "TableName": table,
        "Key": ITEM,
        "UpdateExpression": "SET paused_by = :function, reason = :reason, since = :now REMOVE reopened_at",
        "ConditionExpression": "attribute_not_exists(paused_by) OR paused_by = :function",
        "ExpressionAttributeValues": {
            ":function": {"S": FUNCTION},
            ":reason": {"S": reason},
            ":now": {"N": f"{time.time():.3f}"},
        },
    }
