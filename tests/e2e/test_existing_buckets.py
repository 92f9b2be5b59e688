"""A stack attached to buckets that existed before it."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cutout.local.cloud import LocalCloud
from cutout.local.pixelcut.server import API_KEY, StandIn

TEMPLATE = Path(__file__).parents[2] / "template.yaml"


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[LocalCloud]:
    with LocalCloud(log_dir=tmp_path) as cloud:
        yield cloud


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with StandIn(quick=True) as stand_in:
        yield stand_in


def keys(cloud: LocalCloud, bucket: str) -> set[str]:
    return {found["Key"] for found in cloud.client("s3").list_objects_v2(Bucket=bucket).get("Contents", [])}


def test_one_bucket_for_uploads_and_cutouts_kept_apart_by_a_prefix(
    cloud: LocalCloud, stand_in: StandIn, make_picture: Callable[..., bytes]
) -> None:
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="mine")
    s3.put_bucket_notification_configuration(Bucket="mine", NotificationConfiguration={"EventBridgeConfiguration": {}})
    outputs = cloud.deploy(
        TEMPLATE,
        parameters={
            "ExistingInputBucket": "mine",
            "ExistingOutputBucket": "mine",
            "InputPrefix": "uploads/",
            "OutputKey": "cutouts/{name}.png",
            "PixelcutApiUrl": stand_in.url,
        },
    )
    assert outputs["InputBucketName"] == outputs["OutputBucketName"] == "mine"
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"] if bucket["Name"].startswith("cutout")] == []
    cloud.client("secretsmanager").put_secret_value(SecretId=outputs["ApiKeySecretName"], SecretString=API_KEY)
    for key in ("elsewhere/photo.jpg", 'uploads/Été à la mer "1" 100%+.jpg'):
        s3.put_object(Bucket="mine", Key=key, Body=make_picture(1))
    deadline = time.monotonic() + 30
    while not keys(cloud, "mine") >= {'cutouts/Été à la mer "1" 100%+.png'}:
        assert time.monotonic() < deadline, keys(cloud, "mine")
        time.sleep(0.1)
    assert len(stand_in.state()["charges"]) == 1
    assert len(keys(cloud, "mine")) == 3
    # Neither the cutout nor objects elsewhere came through the queue.
    assert cloud.calls()["PutObject"] == 1


def test_the_cutouts_of_an_existing_bucket_go_to_the_stacks_own(
    cloud: LocalCloud, stand_in: StandIn, make_picture: Callable[..., bytes]
) -> None:
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="mine")
    s3.put_bucket_versioning(Bucket="mine", VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_notification_configuration(Bucket="mine", NotificationConfiguration={"EventBridgeConfiguration": {}})
    outputs = cloud.deploy(TEMPLATE, parameters={"ExistingInputBucket": "mine", "PixelcutApiUrl": stand_in.url})
    cloud.client("secretsmanager").put_secret_value(SecretId=outputs["ApiKeySecretName"], SecretString=API_KEY)
    version = s3.put_object(Bucket="mine", Key="a.png", Body=make_picture(1))["VersionId"]
    deadline = time.monotonic() + 30
    while not keys(cloud, outputs["OutputBucketName"]):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    metadata = s3.head_object(Bucket=outputs["OutputBucketName"], Key="a.png")["Metadata"]
    assert metadata["source-version"] == version
    assert metadata["source-sequencer"]
