"""S3's events, which s3_patches.py completes, and buckets of a template, which it configures."""

import json
from typing import Any

import pytest

from tests.unit.cutout.local.moto_without_patches.plain_moto import (
    A_BUCKET,
    QUEUE_ARN,
    STACK,
    Make,
    MakeBucket,
    Untyped,
    a_template,
    receive,
)

TO_QUEUE = {"QueueConfigurations": [{"QueueArn": QUEUE_ARN, "Events": ["s3:ObjectCreated:*"]}]}
TO_EVENT_BRIDGE: dict[str, Any] = {"EventBridgeConfiguration": {}}


def test_a_multipart_upload_sends_two_events(aws: Make, queue_url: str, make_bucket: MakeBucket) -> None:
    s3 = make_bucket(TO_QUEUE)
    upload = {"Bucket": "bucket", "Key": "key"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    etag = s3.upload_part(**upload, PartNumber=1, Body=b"image")["ETag"]
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
    names = {record["eventName"] for event in receive(aws, queue_url) for record in event["Records"]}
    assert names == {"ObjectCreated:Put", "ObjectCreated:CompleteMultipartUpload"}, "_send_event_once"


def test_an_s3_event_has_no_sequencer_and_no_version_and_encodes_slashes(
    aws: Make, queue_url: str, make_bucket: MakeBucket
) -> None:
    s3 = make_bucket(TO_QUEUE)
    s3.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket="bucket", Key="folder/key", Body=b"image")
    (event,) = receive(aws, queue_url)
    about = event["Records"][0]["s3"]["object"]
    assert "sequencer" not in about, "_complete_event"
    assert "versionId" not in about, "_complete_event"
    assert about["key"] == "folder%2Fkey", "_complete_event"


def test_events_for_eventbridge_have_other_names_than_s3s_and_share_one_sequencer(
    aws: Make, queue_url: str, make_bucket: MakeBucket
) -> None:
    aws("events").put_rule(Name="rule", EventPattern=json.dumps({"source": ["aws.s3"]}))
    aws("events").put_targets(Rule="rule", Targets=[{"Id": "1", "Arn": QUEUE_ARN}])
    s3 = make_bucket(TO_EVENT_BRIDGE)
    for body in (b"image", b"newer image"):
        s3.put_object(Bucket="bucket", Key="key", Body=body)
    first, second = (event for event in receive(aws, queue_url) if event["detail-type"] == "Object Created")
    about = first["detail"]["object"]
    assert "etag" not in about, "_send_to_event_bridge"
    assert about["sequencer"] == second["detail"]["object"]["sequencer"], "_send_to_event_bridge"
    assert about["version-id"] == "null", "_send_to_event_bridge: the bucket has no versions"
    assert first["id"] == second["id"], "_send_to_event_bridge"
    assert first["detail"]["reason"] == "ObjectCreated", "_send_to_event_bridge: S3 says PutObject"


def test_a_rule_with_a_schedule_receives_s3s_events(aws: Make, queue_url: str, make_bucket: MakeBucket) -> None:
    aws("events").put_rule(Name="rule", ScheduleExpression="rate(1 minute)")
    aws("events").put_targets(Rule="rule", Targets=[{"Id": "1", "Arn": QUEUE_ARN}])
    make_bucket(TO_EVENT_BRIDGE).put_object(Bucket="bucket", Key="key", Body=b"image")
    assert {event["source"] for event in receive(aws, queue_url)} == {"aws.s3"}, "_send_to_event_bridge"


def test_an_upload_without_tags_sends_eventbridge_an_event_about_tags(
    aws: Make, queue_url: str, make_bucket: MakeBucket
) -> None:
    aws("events").put_rule(Name="rule", EventPattern=json.dumps({"source": ["aws.s3"]}))
    aws("events").put_targets(Rule="rule", Targets=[{"Id": "1", "Arn": QUEUE_ARN}])
    make_bucket(TO_EVENT_BRIDGE).put_object(Bucket="bucket", Key="key", Body=b"image")
    kinds = {event["detail-type"] for event in receive(aws, queue_url)}
    assert kinds == {"Object Created", "Object Tags Added"}, "_send_to_event_bridge"


A_CONFIGURED_BUCKET = {
    "Type": "AWS::S3::Bucket",
    "Properties": {
        "BucketName": "bucket",
        "VersioningConfiguration": {"Status": "Enabled"},
        "NotificationConfiguration": {
            "EventBridgeConfiguration": {"EventBridgeEnabled": True},
            "QueueConfigurations": [{"Event": "s3:ObjectCreated:*", "Queue": QUEUE_ARN}],
        },
    },
}


@pytest.mark.parametrize("patch", ["_create_bucket", "_update_bucket"])
def test_a_bucket_of_a_template_gets_neither_versions_nor_notifications(
    aws: Make, stacks: Untyped, queue_url: str, patch: str
) -> None:
    if patch == "_create_bucket":
        stacks.create_stack(StackName=STACK, TemplateBody=a_template(Bucket=A_CONFIGURED_BUCKET))
    else:
        stacks.create_stack(StackName=STACK, TemplateBody=a_template(Bucket=A_BUCKET))
        stacks.update_stack(StackName=STACK, TemplateBody=a_template(Bucket=A_CONFIGURED_BUCKET))
    assert "Status" not in aws("s3").get_bucket_versioning(Bucket="bucket"), patch
    notifications = aws("s3").get_bucket_notification_configuration(Bucket="bucket")
    assert notifications.keys() == {"ResponseMetadata"}, patch


def test_a_bucket_with_objects_stays_although_its_stack_is_deleted(aws: Make, stacks: Untyped) -> None:
    stacks.create_stack(StackName=STACK, TemplateBody=a_template(Bucket=A_BUCKET))
    aws("s3").put_object(Bucket="bucket", Key="key", Body=b"image")
    stacks.delete_stack(StackName=STACK)
    (stack,) = stacks.list_stacks()["StackSummaries"]
    assert stack["StackStatus"] == "DELETE_COMPLETE", "_refuse_to_delete_objects"
    assert aws("s3").list_objects_v2(Bucket="bucket")["KeyCount"] == 1
