"""What has been paid for, in DynamoDB: nothing is paid twice while its result can be had.

One item for an output key, about the upload that is to become its cutout, or last was: `source` is its key's URI and
`etag` its bytes. `lease` is the time until which an invocation may be paying for it, `result_url` what it got,
`valid_until` when that ends, `billed` the worst that the calls for it have cost, `forgotten` how many of its results
were gone or broken. Times are in seconds since the epoch. By the output key, since two uploads may have the same: while
one is on its way the other waits, and is then told so before it is paid.

Powertools' idempotency is not used: it deletes its record when the call fails, keeps results for one fixed time, and
has no way to forget one that turned out to be gone.
"""

import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from .aws_errors import AwsError, error_code
from .deadline import Deadline
from .errors import Billed, CutoutError, InProgress, StorageUnavailable
from .uploads import Upload

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# A result_url is valid for an hour. Its last minutes may not do for the download.
RESULT_SECONDS = 3600 - 300
# Seconds that an item is kept: a letter may be replayed for as long.
KEPT_SECONDS = 14 * 24 * 3600
# Seconds by which a lease outlives the invocation that holds it.
LEASE_MARGIN = 5.0

log = logging.getLogger(__name__)


class Ledger:
    def __init__(self, dynamodb: "DynamoDBClient", table: str, note_credit: Callable[[Billed], object]) -> None:
        """`note_credit` is called for each credit charged, with what earlier calls for its upload have cost."""
        self._dynamodb = dynamodb
        self._table = table
        self._note_credit = note_credit

    def pay_once(self, output_key: str, upload: Upload, pay: Callable[[], str], deadline: Deadline) -> str:
        """The `result_url` of an upload: the one that was paid for while it is valid, else that of a new `pay()`.

        Raises InProgress while another invocation pays for it, or for another upload of the same output key;
        StorageUnavailable before anything is paid; and what `pay` raises: its `billed` then counts what earlier calls
        have cost, too.
        """
        asked = time.time()
        found = self._claim(output_key, upload, asked, deadline)
        if not isinstance(found, Billed):
            return found
        try:
            result_url = pay()
        except CutoutError as error:
            error.billed = found.or_worse(error.billed)
            self._update(output_key, "SET billed = :billed REMOVE lease", {":billed": error.billed})
            raise
        self._note_credit(found)
        self._update(
            output_key,
            "SET result_url = :url, valid_until = :until, billed = :billed REMOVE lease",
            {":url": result_url, ":until": asked + RESULT_SECONDS, ":billed": Billed.YES},
        )
        return result_url

    def forget(self, output_key: str, result_url: str) -> int:
        """A paid result is gone or broken: the next attempt pays again. How many of its results were, where known."""
        item = self._update(
            output_key,
            "REMOVE result_url, valid_until ADD forgotten :one",
            {":url": result_url, ":one": 1},
            condition="result_url = :url",
        )
        return int(item["forgotten"]["N"]) if "forgotten" in item else 0

    def read_billed(self, output_key: str, upload: Upload) -> Billed:
        """The worst that the calls for an upload have cost. Raises nothing: where it cannot be known, it is `maybe`."""
        try:
            answer = self._dynamodb.get_item(TableName=self._table, Key=_key(output_key), ConsistentRead=True)
        except AwsError as error:
            log.error("The ledger could not be read (%s).", error_code(error))
            return Billed.MAYBE
        item = answer.get("Item", {})
        return _billed(item) if _is_about(item, upload) or not item else Billed.MAYBE

    def _claim(self, output_key: str, upload: Upload, now: float, deadline: Deadline) -> str | Billed:
        """Either a result that is still valid, or the right to pay, and what has been billed before."""
        try:
            answer = self._dynamodb.update_item(
                TableName=self._table,
                Key=_key(output_key),
                UpdateExpression="SET lease = :lease, #source = :source, etag = :etag, expires = :expires"
                " REMOVE result_url, valid_until",
                # A paid result is about to become the cutout; but not that of an upload which was overwritten since.
                ConditionExpression="(attribute_not_exists(lease) OR lease < :now)"
                " AND (attribute_not_exists(valid_until) OR valid_until < :now"
                " OR (#source = :source AND etag <> :etag))",
                ExpressionAttributeNames={"#source": "source"},
                ExpressionAttributeValues=_values(
                    {
                        ":now": now,
                        ":source": upload.uri,
                        ":etag": upload.etag,
                        ":lease": now + deadline.remaining() + LEASE_MARGIN,
                        ":expires": int(now + KEPT_SECONDS),
                    }
                ),
                ReturnValues="ALL_OLD",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except AwsError as error:
            if error_code(error) != _CONDITION_FAILED or not isinstance(error, ClientError):
                raise StorageUnavailable(
                    f"DynamoDB did not let the function look into the ledger ({error_code(error)}). It is tried again."
                ) from None
            item: dict[str, Any] = error.response.get("Item", {})  # type: ignore[assignment]  # not in the stubs
            if _is_about(item, upload) and "valid_until" in item and float(item["valid_until"]["N"]) >= now:
                return str(item["result_url"]["S"])
            raise InProgress(
                "Another upload or delivery for this output key is worked on. It is tried again."
            ) from None
        before = answer.get("Attributes", {})
        if _is_about(before, upload):
            return _billed(before)
        if "forgotten" in before:  # results of the other upload
            self._update(output_key, "REMOVE forgotten", {})
        return Billed.NO

    def _update(
        self, output_key: str, expression: str, values: dict[str, str | float], condition: str | None = None
    ) -> dict[str, Any]:
        """The item after the update; empty when it failed: the result at hand, or the error, matters more.

        A lease that is left over ends by itself.
        """
        try:
            answer = self._dynamodb.update_item(
                TableName=self._table,
                Key=_key(output_key),
                UpdateExpression=expression,
                ReturnValues="ALL_NEW",
                **({"ExpressionAttributeValues": _values(values)} if values else {}),  # type: ignore[arg-type]
                **({"ConditionExpression": condition} if condition else {}),  # type: ignore[arg-type]
            )
        except AwsError as error:
            if error_code(error) != _CONDITION_FAILED:
                log.error("The ledger could not be written (%s).", error_code(error))
            return {}
        return answer.get("Attributes", {})


_CONDITION_FAILED = "ConditionalCheckFailedException"


def _billed(item: Mapping[str, Any]) -> Billed:
    billed = Billed(item["billed"]["S"]) if "billed" in item else Billed.NO
    # Whoever holds the lease pays, or was killed while it did.
    return billed.or_worse(Billed.MAYBE) if "lease" in item else billed


def _is_about(item: Mapping[str, Any], upload: Upload) -> bool:
    return item.get("source") == {"S": upload.uri} and item.get("etag") == {"S": upload.etag}


def _key(output_key: str) -> dict[str, Any]:
    return {"id": {"S": f"cutout:{output_key}"}}


def _values(values: dict[str, str | float]) -> dict[str, Any]:
    return {name: {"S": str(value)} if isinstance(value, str) else {"N": str(value)} for name, value in values.items()}
