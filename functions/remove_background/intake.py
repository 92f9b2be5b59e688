"""The intake: the queue's event source mapping, which is paused while no upload can succeed.

The DynamoDB item `intake` says who paused it, so that what an operator paused is not reopened by the function:
`paused_by`, `reason` (an error's code), `since` and `reopened_at`, in seconds since the epoch. It also counts the
failures of all environments: `failures`, the last of them at `failed_at`.
"""

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from .aws_errors import AwsError, error_code
from .errors import AccountBlocked, CutoutError, InProgress, IntakePaused, OutOfTime, RateLimitExceeded, Unavailable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import UpdateItemInputTypeDef

    from .aws import Clients  # it changes botocore, also for the command, which imports this module

FUNCTION = "function"  # in `paused_by`; anything else there is an operator
# Failures in a row that pause the intake soon after it was reopened, when there was no success yet; and how many
# seconds "soon" are.
FAILURES_ON_PROBATION = 3
PROBATION_SECONDS = 600.0

log = logging.getLogger(__name__)


class Intake:
    def __init__(self, clients: "Clients", table: str, function_name: str, failures_in_a_row: int) -> None:
        """`failures_in_a_row`, without a success between them, pause the intake."""
        self._failures_in_a_row = failures_in_a_row
        self._clients = clients
        self._table = table
        self._function_name = function_name
        self._lock = threading.Lock()
        self._failures = 0  # since this environment's last success
        self._succeeded_at = 0.0
        self._paused = False

    def begin(self) -> None:
        """Call at the start of an invocation: that there is one may mean that the intake was reopened.

        Or that Lambda still hands out what it had received: it takes a while to disable a mapping.
        """
        if self._paused:
            self._paused = self._is_still_paused()

    def _is_still_paused(self) -> bool:
        try:
            item = self._clients.dynamodb.get_item(TableName=self._table, Key=ITEM, ConsistentRead=True)
        except AwsError as error:
            log.error("The state of the intake could not be read (%s).", error_code(error))
            return False
        return "paused_by" in item.get("Item", {})

    def check(self) -> None:
        """Call before each paid call. Raises IntakePaused when it is known to be paused: the call would be wasted."""
        if self._paused:
            raise IntakePaused("The intake is paused. The upload waits until it is reopened.")

    def report_success(self) -> None:
        with self._lock:
            self._succeeded_at = time.time()
            if self._failures:
                self._failures = 0
                self._update("REMOVE failures, failed_at, reopened_at", {})

    def report_failure(self, error: CutoutError) -> bool:
        """Pauses the intake when it is time to. Whether the failure counts as one of the upload's attempts."""
        if isinstance(error, InProgress | IntakePaused | OutOfTime | RateLimitExceeded):
            return False
        with self._lock:
            if isinstance(error, AccountBlocked):
                self._pause(error.code)
                return False
            if not isinstance(error, Unavailable):
                return True
            self._failures += 1
            item = self._count_failure()
            reopened_at = float(item.get("reopened_at", {}).get("N", 0))
            on_probation = reopened_at > max(self._succeeded_at, time.time() - PROBATION_SECONDS)
            failures = max(self._failures, int(item.get("failures", {}).get("N", 0)))
            paused = item.get("paused_by", {}).get("S") == FUNCTION  # by another environment, a moment ago
            if paused or failures >= (FAILURES_ON_PROBATION if on_probation else self._failures_in_a_row):
                self._pause(error.code)
                return error.is_its_own
            return error.is_its_own or not on_probation

    def _count_failure(self) -> dict[str, Any]:
        """The item, with the failures of all environments since one of them, that had failed, succeeded."""
        now = time.time()
        values = {":one": {"N": "1"}, ":now": {"N": f"{now:.3f}"}}
        counted = self._update(
            "SET failures = failures + :one, failed_at = :now",
            values | {":lately": {"N": f"{now - PROBATION_SECONDS:.3f}"}},
            condition="failed_at > :lately",
        )
        # Those of long ago say nothing about now.
        return counted or self._update("SET failures = :one, failed_at = :now", values) or {}

    def _update(self, expression: str, values: dict[str, Any], condition: str | None = None) -> dict[str, Any] | None:
        """The item after the update; None when it could not be made. What this environment knows has to do then."""
        optional: dict[str, Any] = {"ExpressionAttributeValues": values} if values else {}
        if condition:
            optional["ConditionExpression"] = condition
        try:
            answer = self._clients.dynamodb.update_item(
                TableName=self._table, Key=ITEM, UpdateExpression=expression, ReturnValues="ALL_NEW", **optional
            )
        except AwsError as error:
            if error_code(error) != "ConditionalCheckFailedException":
                log.error("The state of the intake could not be written (%s).", error_code(error))
            return None
        return answer.get("Attributes", {})

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
            functions = self._clients.functions
            answer = functions.list_event_source_mappings(FunctionName=self._function_name)
            for mapping in answer["EventSourceMappings"]:
                functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
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
        "UpdateExpression": "SET paused_by = :function, reason = :reason, since = :now"
        " REMOVE reopened_at, failures, failed_at",
        "ConditionExpression": "attribute_not_exists(paused_by) OR paused_by = :function",
        "ExpressionAttributeValues": {
            ":function": {"S": FUNCTION},
            ":reason": {"S": reason},
            ":now": {"N": f"{time.time():.3f}"},
        },
    }
