"""S3 notifications, as they arrive in the body of an SQS message, and the uploads that they describe."""

import json
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple
from urllib.parse import quote, unquote_plus

from .errors import BadNotification


class Outcome(StrEnum):
    """What became of an upload that did not fail."""

    CUTOUT = "cutout"
    DUPLICATE = "duplicate"  # its cutout, or its letter, was there already
    SUPERSEDED = "superseded"  # its owner has uploaded another image under its key
    DELETED = "deleted"  # its owner has deleted it


class Upload(NamedTuple):
    """One object that was put into the input bucket.

    `sequencer` orders the events of one key, `version_id` is None in a bucket without versions, `size` is in bytes,
    `time` is when it was put there, in seconds since the epoch.
    See https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
    """

    bucket: str
    key: str
    etag: str
    version_id: str | None = None
    sequencer: str | None = None
    size: int | None = None
    time: float | None = None

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def read_records(body: str) -> list[Mapping[str, Any]]:
    """The records of a notification; none for the test event that S3 sends when a notification is configured.

    What came through EventBridge is one record, in the form that S3's own notifications have.
    Raises BadNotification for a body that is something else.
    """
    try:
        notification = json.loads(body)
    except (ValueError, RecursionError):
        notification = None
    match notification:
        case {"Event": "s3:TestEvent"}:
            return []
        case {"Records": [_, *_] as records} if all(isinstance(record, dict) and "s3" in record for record in records):
            return list(records)
        case {"source": "aws.s3", "detail": {"bucket": dict(bucket), "object": {"key": str(key)} as object_}}:
            return [_record(notification, bucket, key, object_)]
        case _:
            raise BadNotification("The message is not an S3 event notification. Find out who sends it, and discard it.")


def _record(
    event: Mapping[str, Any], bucket: Mapping[str, Any], key: str, object_: Mapping[str, Any]
) -> dict[str, Any]:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html"""
    about = {
        "key": quote(key, safe="/", errors="surrogatepass"),  # not encoded there
        "size": object_.get("size"),
        "eTag": object_.get("etag"),
        "versionId": object_.get("version-id"),
        "sequencer": object_.get("sequencer"),
    }
    return {
        "eventSource": "aws:s3",
        "eventName": str(event.get("detail-type", "")).replace("Object Created", "ObjectCreated:EventBridge"),
        "eventTime": event.get("time"),
        "s3": {
            "bucket": {"name": bucket.get("name")},
            "object": {name: value for name, value in about.items() if isinstance(value, str | int)},
        },
    }


def read_upload(record: Mapping[str, Any]) -> Upload | None:
    """The upload that a record describes; None for a folder and for any event that is not the creation of an object.

    Raises BadNotification for a record without a bucket, a key or an ETag.
    """
    if not str(record.get("eventName", "ObjectCreated:")).removeprefix("s3:").startswith("ObjectCreated:"):
        return None
    try:
        s3, object_ = record["s3"], record["s3"]["object"]
        # Strict: a key that is not UTF-8 would otherwise become another key.
        key = unquote_plus(object_["key"], errors="strict")
        upload = Upload(
            bucket=_text(s3["bucket"]["name"]),
            key=_text(key),
            etag=_text(object_["eTag"]).strip('"'),
            version_id=_optional_text(object_.get("versionId")),
            sequencer=_optional_text(object_.get("sequencer")),
            size=_size(object_.get("size")),
            time=_time(record.get("eventTime")),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise BadNotification(
            "A record of the notification lacks the object's bucket, key or eTag, or holds one that cannot be read."
        ) from None
    # A folder that S3's console makes is an empty object; one with bytes in it is an upload like any other.
    return None if upload.key.endswith("/") and upload.size == 0 else upload


def _time(value: object) -> float | None:
    """Nothing but a metric depends on it."""
    try:
        return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else None
    except ValueError:
        return None


def _size(value: object) -> int | None:
    """Nothing but a folder is told by it."""
    return value if isinstance(value, int) else None


def _text(value: object) -> str:
    """Raises TypeError, or ValueError for a lone surrogate: JSON can hold one, and S3 cannot."""
    if not isinstance(value, str) or not value:
        raise TypeError
    value.encode()
    return value


def _optional_text(value: object) -> str | None:
    """None where it is absent, null or, as in AWS's own sample events, empty."""
    return None if value is None or value == "" else _text(value)
