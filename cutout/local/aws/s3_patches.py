"""What moto 5.2.5 gets wrong about S3's events and about buckets in a template.

A test in tests/unit/cutout/local/moto_without_patches/ fails when a newer moto does it right.
"""

import itertools
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import quote

from moto.events.models import events_backends
from moto.s3 import notifications
from moto.s3.exceptions import BucketNotEmpty
from moto.s3.models import FakeBucket, s3_backends

from cutout.local.aws.event_faults import EventFault

Untyped: TypeAlias = Any  # of moto, which has no types, or of JSON
PARTITION = "aws"


def replacements(
    event_faults: Callable[[], Sequence[EventFault]], uploaded: Callable[[str, int], None]
) -> list[tuple[object, str, Callable[[Untyped], object]]]:
    return [
        # moto sends one event too many for a multipart upload, no sequencer, no version, and EventBridge other names.
        (notifications, "send_event", _send_event_once),
        (notifications, "_get_s3_event", lambda original: _complete_event(original, event_faults, uploaded)),
        (notifications, "_send_event_bridge_message", _send_to_event_bridge),
        # CloudFormation ignores versioning and notifications, and does not fail to delete a bucket with objects.
        (FakeBucket, "create_from_cloudformation_json", _create_bucket),
        (FakeBucket, "update_from_cloudformation_json", _update_bucket),
        (FakeBucket, "delete_from_cloudformation_json", _refuse_to_delete_objects),
    ]


def _send_event_once(original: Untyped) -> Untyped:
    """A multipart upload is one event; moto sends a Put as well, before the object has its metadata.

    Since https://github.com/getmoto/moto/pull/7435
    """

    def send_event(account_id: str, event_name: str, bucket: Untyped, key: Untyped) -> None:
        if event_name != notifications.S3NotificationEvent.OBJECT_CREATED_PUT_EVENT or key.multipart is None:
            original(account_id, event_name, bucket, key)

    return send_event


def _complete_event(
    original: Untyped, faults: Callable[[], Sequence[EventFault]], uploaded: Callable[[str, int], None]
) -> Untyped:
    """Adds `sequencer` and, in a versioned bucket, `versionId`, which moto's events lack.

    Leaves the slashes of a key as they are; moto encodes them since https://github.com/getmoto/moto/issues/9054
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
    """

    def get_s3_event(event_name: str, bucket: Untyped, key: Untyped, notification_id: str) -> Untyped:
        event = original(event_name, bucket, key, notification_id)
        about = event["Records"][0]["s3"]["object"]
        about["key"] = quote(key.name, safe="/ ").replace(" ", "+")
        about["sequencer"] = _next_sequencer()
        if bucket.is_versioned:
            about["versionId"] = key.version_id
        if fault := next((fault for fault in faults() if fault.key in key.name), None):
            fault.apply(about)
        uploaded(key.name, key.size)
        return event

    return get_s3_event


_SEQUENCE = itertools.count(time.time_ns())


def _next_sequencer() -> str:
    """Sequencers compare after padding with zeros on the right: some are shorter than others."""
    return f"{next(_SEQUENCE):018X}".rstrip("0")


def _send_to_event_bridge(_original: Untyped) -> Untyped:
    """Sends events about created objects only; moto adds an event about tags to each.

    In moto's event the ETag has another name than S3's, the reason and a missing version have other values,
    and all have one sequencer and one id.

    https://github.com/getmoto/moto/issues/7363
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
    """

    def send_event_bridge_message(account_id: str, bucket: Untyped, event_name: str, key: Untyped) -> None:
        kind, _, reason = event_name.removeprefix("s3:").partition(":")
        if kind != "ObjectCreated":
            return
        version = {"version-id": key.version_id} if bucket.is_versioned else {}
        event: Untyped = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": "Object Created",
            "source": "aws.s3",
            "account": account_id,
            "time": time.time(),
            "region": bucket.region_name,
            "resources": [bucket.arn],
            "detail": {
                "version": "0",
                "bucket": {"name": bucket.name},
                "object": {
                    "key": key.name,
                    "size": key.size,
                    "etag": key.etag.strip('"'),
                    "sequencer": _next_sequencer(),
                    **version,
                },
                "reason": {"Put": "PutObject", "Copy": "CopyObject"}.get(reason, reason),
            },
        }
        for bus in events_backends[account_id][bucket.region_name].event_buses.values():
            for rule in bus.rules.values():
                if not rule.scheduled_expression:  # to moto, a schedule is a rule that every event matches
                    rule.send_to_targets(event, transform_input=False)

    return send_event_bridge_message


def _create_bucket(original: Untyped) -> Untyped:
    def create_from_cloudformation_json(
        resource_name: str, cloudformation_json: Untyped, account_id: str, region_name: str, **rest: Untyped
    ) -> Untyped:
        bucket = original(resource_name, cloudformation_json, account_id, region_name, **rest)
        _configure_bucket(bucket, cloudformation_json.get("Properties", {}), account_id)
        return bucket

    return create_from_cloudformation_json


def _update_bucket(original: Untyped) -> Untyped:
    def update_from_cloudformation_json(
        original_resource: Untyped,
        new_resource_name: str,
        cloudformation_json: Untyped,
        account_id: str,
        region_name: str,
    ) -> Untyped:
        bucket = original(original_resource, new_resource_name, cloudformation_json, account_id, region_name)
        _configure_bucket(bucket, cloudformation_json.get("Properties", {}), account_id)
        return bucket

    return update_from_cloudformation_json


def _configure_bucket(bucket: Untyped, properties: Mapping[str, Any], account_id: str) -> None:
    """Versioning and notifications to queues and EventBridge, which moto's CloudFormation ignores."""
    if versioning := properties.get("VersioningConfiguration"):
        bucket.versioning_status = versioning["Status"]
    if configuration := properties.get("NotificationConfiguration"):
        queues = [
            {"Event": [queue["Event"]], "Queue": queue["Queue"], **_filter_of(queue)}
            for queue in configuration.get("QueueConfigurations", [])
        ]
        event_bridge: dict[str, Any] = (
            {"EventBridgeConfiguration": {}} if "EventBridgeConfiguration" in configuration else {}
        )
        s3_backends[account_id][PARTITION].put_bucket_notification_configuration(
            bucket.name, {"QueueConfiguration": queues, **event_bridge}
        )


def _filter_of(queue: Mapping[str, Any]) -> dict[str, Any]:
    rules = queue.get("Filter", {}).get("S3Key", {}).get("Rules")
    return {"Filter": {"S3Key": {"FilterRule": rules}}} if rules else {}


def _refuse_to_delete_objects(original: Untyped) -> Untyped:
    """Fails the deletion of a stack whose bucket is not empty; moto would keep the bucket silently."""

    def delete_from_cloudformation_json(
        resource_name: str, cloudformation_json: Untyped, account_id: str, region_name: str
    ) -> None:
        original(resource_name, cloudformation_json, account_id, region_name)
        if resource_name in s3_backends[account_id][PARTITION].buckets:
            raise BucketNotEmpty(bucket_name=resource_name)

    return delete_from_cloudformation_json
