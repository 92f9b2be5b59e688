"""The boto3 clients that the code gets; the scheduler answers their calls."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError, ReadTimeoutError

from remove_background.aws_errors import NotRepeatedError

from .aws import UPDATE_ONCE, decimal_text
from .expressions import Value
from .processes import Answer, call
from .state import FrozenItem
from .wiring import repeats_put

Caller = Callable[..., Answer]
LOST, FAILED = "lost", "failed"  # answers that the scheduler makes up


class ConditionalCheckFailedException(ClientError):
    pass


def _raise(answer: Answer, operation: str) -> None:
    code = answer.error
    if code is None:
        return
    if code == LOST:
        raise ReadTimeoutError(endpoint_url="https://aws.test")
    status = answer.value if isinstance(answer.value, int) else 400
    if code == FAILED:
        code, status = "InternalError", 500
    response: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    if code == "ConditionalCheckFailedException":
        if answer.value is not None:
            response["Item"] = thaw(answer.value)
        raise ConditionalCheckFailedException(response, operation)
    raise ClientError(response, operation)


def thaw(item: FrozenItem) -> dict[str, Any]:
    return {name: {kind: _out(kind, value)} for name, (kind, value) in item}


def _out(kind: str, value: Any) -> Any:
    return decimal_text(value) if kind == "N" else sorted(value) if kind == "SS" else value


def typed(value: Mapping[str, Any]) -> Value:
    ((kind, content),) = value.items()
    return kind, Decimal(content).normalize() if kind == "N" else frozenset(content) if kind == "SS" else content


class S3:
    def __init__(self, call: Caller) -> None:
        self._call = call

    def head_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        answer = self._call("s3", "head_object", Bucket, Key)
        _raise(answer, "HeadObject")
        return {"ETag": answer.value[0], "Metadata": dict(answer.value[1])}

    def head_bucket(self, *, Bucket: str) -> dict[str, Any]:
        _raise(self._call("s3", "head_bucket", Bucket), "HeadBucket")
        return {}

    def get_object(
        self,
        *,
        Bucket: str,
        Key: str,
        IfMatch: str | None = None,
        Range: str | None = None,
        VersionId: str | None = None,
    ) -> dict[str, Any]:
        answer = self._call("s3", "get_object", Bucket, Key, IfMatch, Range is not None, VersionId)
        _raise(answer, "GetObject")
        content, etag, version_id, metadata = answer.value
        found = {"Body": BytesIO(content), "ETag": etag, "Metadata": dict(metadata)}
        if version_id.startswith("v"):
            found["VersionId"] = version_id
        if version_id:  # of an upload; it is the later the higher
            found["LastModified"] = datetime.fromtimestamp(int(version_id.strip("v")), UTC)
        if Range:
            found["ContentRange"] = f"bytes 0-{len(content) - 1}/{len(content)}"
        return found

    def put_object(
        self,
        *,
        Bucket: str,
        Key: str,
        Body: Any,
        Metadata: Mapping[str, str] | None = None,
        IfMatch: str | None = None,
        IfNoneMatch: str | None = None,
        **_: object,
    ) -> dict[str, Any]:
        content = Body if isinstance(Body, bytes) else Body.read()
        metadata = tuple(sorted((Metadata or {}).items()))
        answer = self._call("s3", "put_object", Bucket, Key, content, metadata, IfMatch, IfNoneMatch)
        if answer.error in (FAILED, LOST) and not repeats_put():
            raise NotRepeatedError
        _raise(answer, "PutObject")
        return {"ETag": answer.value[0]}

    def generate_presigned_url(self, operation: str, *, Params: Mapping[str, str], ExpiresIn: int) -> str:
        return f"https://{Params['Bucket']}/{Params['Key']}?{Params.get('VersionId', '')}"


class DynamoDB:
    exceptions = SimpleNamespace(ConditionalCheckFailedException=ConditionalCheckFailedException)

    def __init__(self, call: Caller, update: str = "update_item") -> None:
        self._call = call
        self._update = update

    def get_item(self, *, TableName: str, Key: Mapping[str, Any], ConsistentRead: bool = False) -> dict[str, Any]:
        answer = self._call("dynamodb", "get_item", Key["id"]["S"])
        _raise(answer, "GetItem")
        return {} if answer.value is None else {"Item": thaw(answer.value)}

    def update_item(
        self,
        *,
        TableName: str,
        Key: Mapping[str, Any],
        UpdateExpression: str,
        ConditionExpression: str | None = None,
        ExpressionAttributeNames: Mapping[str, str] | None = None,
        ExpressionAttributeValues: Mapping[str, Any] | None = None,
        ReturnValues: str = "NONE",
        ReturnValuesOnConditionCheckFailure: str = "NONE",
    ) -> dict[str, Any]:
        answer = self._call(
            "dynamodb",
            self._update,
            Key["id"]["S"],
            UpdateExpression,
            ConditionExpression,
            tuple((ExpressionAttributeNames or {}).items()),
            tuple((name, typed(value)) for name, value in (ExpressionAttributeValues or {}).items()),
            ReturnValues,
            ReturnValuesOnConditionCheckFailure,
        )
        _raise(answer, "UpdateItem")
        return {} if answer.value is None else {"Attributes": thaw(answer.value)}


class SQS:
    """A receipt is the number of the environment that holds the message, and its body."""

    def __init__(self, call: Caller) -> None:
        self._call = call

    def send_message(
        self,
        *,
        QueueUrl: str,
        MessageBody: str,
        DelaySeconds: int = 0,
        MessageAttributes: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        attributes = [
            (name, value["DataType"], str(value["StringValue"])) for name, value in (MessageAttributes or {}).items()
        ]
        _raise(
            self._call("sqs", "send_message", QueueUrl, MessageBody, DelaySeconds, tuple(sorted(attributes))),
            "SendMessage",
        )
        return {}

    def change_message_visibility(self, *, QueueUrl: str, ReceiptHandle: str, VisibilityTimeout: int) -> None:
        holder, _, body = ReceiptHandle.partition(":")
        answer = self._call("sqs", "change_visibility", QueueUrl, holder, body, VisibilityTimeout)
        _raise(answer, "ChangeMessageVisibility")


class Lambda:
    def __init__(self, call: Caller) -> None:
        self._call = call

    def get_event_source_mapping(self, *, UUID: str) -> dict[str, Any]:
        answer = self._call("lambda", "get_mapping")
        _raise(answer, "GetEventSourceMapping")
        return {"UUID": "mapping", "State": answer.value}

    def list_event_source_mappings(self, *, FunctionName: str, **_: object) -> dict[str, Any]:
        return {"EventSourceMappings": [self.get_event_source_mapping(UUID="mapping")]}

    def update_event_source_mapping(self, *, UUID: str, Enabled: bool) -> dict[str, Any]:
        answer = self._call("lambda", "update_mapping", Enabled)
        _raise(answer, "UpdateEventSourceMapping")
        return {"UUID": "mapping", "State": answer.value}


class Clients:
    """In place of `remove_background.aws.Clients`."""

    def __init__(self, call: Caller = call) -> None:
        self.s3, self.dynamodb, self.sqs, self.functions = S3(call), DynamoDB(call), SQS(call), Lambda(call)
        self.dynamodb_once = DynamoDB(call, UPDATE_ONCE)
