"""The letter: what goes to the dead-letter queue when an upload cannot become a cutout."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from .aws_errors import AwsError, error_code
from .errors import CutoutError, StorageUnavailable

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageAttributeValueTypeDef

# What a message attribute may not hold: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


class HasQueues(Protocol):
    @property
    def sqs(self) -> "SQSClient": ...


class Letters:
    def __init__(self, clients: HasQueues, queue_url: str) -> None:
        """The client is asked for when a letter is written: to make one takes a while, and most write none."""
        self._clients = clients
        self._queue_url = queue_url

    def write(self, body: str, error: CutoutError, *, source: str | None, attempts: int, request_id: str) -> None:
        """Send a letter. Its body is what came from the upload queue: sent back there unchanged, it is a replay.

        Raises StorageUnavailable.
        """
        attributes = {
            "ErrorCode": error.code,
            "ErrorMessage": error.message,
            "Billed": error.billed,
            "Attempts": str(attempts),
            "FailedAt": datetime.now(UTC).isoformat(timespec="seconds"),
            "RequestId": request_id,
        }
        if source:
            attributes["Source"] = source
        try:
            self._clients.sqs.send_message(
                QueueUrl=self._queue_url,
                MessageBody=body,
                MessageAttributes={name: _attribute(value) for name, value in attributes.items()},
            )
        except AwsError as failure:
            raise StorageUnavailable(f"SQS did not take the letter ({error_code(failure)}).") from None


def notification(records: Sequence[Mapping[str, Any]]) -> str:
    """The body of an S3 notification that holds just these records."""
    return json.dumps({"Records": records})


def _attribute(text: str) -> "MessageAttributeValueTypeDef":
    return {
        "DataType": "String",
        "StringValue": _FORBIDDEN.sub(lambda match: quote(match[0], errors="surrogatepass"), text),
    }
