"""Uploads that were rejected for good, as the ledger records them: a retry would be in vain, and may cost."""

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from cutout.failures import Failure
from cutout.operations.deployment import Deployment
from remove_background.rejections import item_id
from remove_background.uploads import Upload

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

BATCH = 100  # the most that DynamoDB accepts at a time
# For keys that DynamoDB leaves unprocessed; seconds after the first attempt, doubled after each.
ATTEMPTS = 8
PAUSE_SECONDS = 0.1


def find(deployed: Deployment, uploads: Sequence[Upload]) -> set[str]:
    """The keys among these, at most BATCH, whose current ETag was rejected."""
    items = _read(deployed, [item_id(upload.uri) for upload in uploads])
    rejected = {item["id"]["S"]: item["etag"]["S"] for item in items}
    return {upload.key for upload in uploads if rejected.get(item_id(upload.uri)) == upload.etag}


def _read(deployed: Deployment, ids: Iterable[str]) -> "list[dict[str, AttributeValueTypeDef]]":
    table = deployed.settings["LEDGER_TABLE"]
    left: Any = {table: {"Keys": [{"id": {"S": item}} for item in ids], "ProjectionExpression": "id, etag"}}
    items: list[dict[str, AttributeValueTypeDef]] = []
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
        answer = deployed.dynamodb.batch_get_item(RequestItems=left)
        items += answer["Responses"].get(table, [])
        left = answer.get("UnprocessedKeys")
        if not left:
            return items
    raise Failure(
        "DynamoDB does not say which uploads were rejected for good: it is too busy. Call the command again, or with "
        "--retry-rejected."
    )
