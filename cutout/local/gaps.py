"""What moto leaves out and the local cloud needs, supplied in this process while `filled` lasts."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias
from urllib.parse import quote

from moto.awslambda.models import LambdaBackend, LambdaFunction
from moto.s3 import notifications
from moto.s3.models import FakeBucket, s3_backends
from moto.sqs.models import sqs_backends

from cutout.local.runtime import Outcome

Untyped: TypeAlias = Any  # of moto, which has no types, or of JSON
PARTITION = "aws"


@contextmanager
def filled(invoke: Callable[[str, object], Outcome]) -> Iterator[None]:
    """`invoke` is given the ARN of a function and the event."""
    replacements = [
        (notifications, "send_event", _send_event_once),
        (notifications, "_get_s3_event", _complete_event),
        (FakeBucket, "create_from_cloudformation_json", _create_bucket),
        (FakeBucket, "update_from_cloudformation_json", _update_bucket),
        (LambdaBackend, "create_event_source_mapping", _keep_queue_from_invoking),
        (LambdaFunction, "_invoke_lambda", lambda original: _invoke_in_environment(original, invoke)),
    ]
    with ExitStack() as stack:
        for owner, name, replacement in replacements:
            stack.enter_context(_replaced(owner, name, replacement))
        yield


@contextmanager
def _replaced(owner: object, name: str, replacement: Callable[[Any], object]) -> Iterator[None]:
    saved = vars(owner)[name]
    setattr(owner, name, replacement(getattr(owner, name)))
    try:
        yield
    finally:
        setattr(owner, name, saved)


def _send_event_once(original: Untyped) -> Untyped:
    """A multipart upload is one event; moto sends a Put as well, before the object has its metadata."""

    def send_event(account_id: str, event_name: str, bucket: Untyped, key: Untyped) -> None:
        if event_name != notifications.S3NotificationEvent.OBJECT_CREATED_PUT_EVENT or key.multipart is None:
            original(account_id, event_name, bucket, key)

    return send_event


def _complete_event(original: Untyped) -> Untyped:
    """Adds `sequencer` and, in a versioned bucket, `versionId`; leaves the slashes of a key as they are.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
    """
    sequence = itertools.count(time.time_ns())

    def get_s3_event(event_name: str, bucket: Untyped, key: Untyped, notification_id: str) -> Untyped:
        event = original(event_name, bucket, key, notification_id)
        about = event["Records"][0]["s3"]["object"]
        about["key"] = quote(key.name, safe="/ ").replace(" ", "+")
        # Sequencers compare after padding with zeros on the right: some are shorter than others.
        about["sequencer"] = f"{next(sequence):018X}".rstrip("0")
        if bucket.is_versioned:
            about["versionId"] = key.version_id
        return event

    return get_s3_event


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
    """Versioning and notifications to queues, which moto's CloudFormation ignores."""
    if versioning := properties.get("VersioningConfiguration"):
        bucket.versioning_status = versioning["Status"]
    if configuration := properties.get("NotificationConfiguration"):
        queues = [
            {"Event": [queue["Event"]], "Queue": queue["Queue"], **_filter_of(queue)}
            for queue in configuration.get("QueueConfigurations", [])
        ]
        s3_backends[account_id][PARTITION].put_bucket_notification_configuration(
            bucket.name, {"QueueConfiguration": queues}
        )


def _filter_of(queue: Mapping[str, Any]) -> dict[str, Any]:
    rules = queue.get("Filter", {}).get("S3Key", {}).get("Rules")
    return {"Filter": {"S3Key": {"FilterRule": rules}}} if rules else {}


def _keep_queue_from_invoking(original: Untyped) -> Untyped:
    """The queues of moto invoke the function themselves, message by message: that is the event source mapping's job."""

    def create_event_source_mapping(backend: LambdaBackend, spec: dict[str, Any]) -> Untyped:
        mapping = original(backend, spec)
        for queue in sqs_backends[backend.account_id][backend.region_name].queues.values():
            queue.lambda_event_source_mappings.clear()
        return mapping

    return create_event_source_mapping


def _invoke_in_environment(_original: Untyped, invoke: Callable[[str, object], Outcome]) -> Untyped:
    """Lambda's Invoke: moto would start a container."""

    def invoke_lambda(function: LambdaFunction, event: object = None) -> tuple[str, bool, str]:
        outcome = invoke(function.function_arn, event)
        return outcome.payload.decode(), outcome.failed, ""

    return invoke_lambda
