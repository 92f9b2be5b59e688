"""Uploads that were rejected for good, in the ledger's table: `cutout backfill` leaves them out.

One item per upload, `rejected:` and the URI of its key, without an end: it counts for as long as an object with its
`etag` stands there. Only a rejection writes one, and nothing in the functions reads it.
"""

import logging
from typing import TYPE_CHECKING

from .aws_errors import AwsError, error_code
from .errors import Rejected
from .uploads import Upload

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

log = logging.getLogger(__name__)


def item_id(uri: str) -> str:
    return f"rejected:{uri}"


class Rejections:
    def __init__(self, dynamodb: "DynamoDBClient", table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def note(self, upload: Upload, error: Rejected) -> None:
        """Call when the letter is written. What is not noted because DynamoDB fails gets another letter."""
        try:
            self._dynamodb.update_item(
                TableName=self._table,
                Key={"id": {"S": item_id(upload.uri)}},
                UpdateExpression="SET etag = :etag, code = :code",
                ExpressionAttributeValues={":etag": {"S": upload.etag}, ":code": {"S": error.code}},
            )
        except AwsError as failure:
            log.error("A rejection could not be noted (%s): a backfill will retry it.", error_code(failure))
