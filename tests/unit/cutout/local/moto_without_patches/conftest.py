"""AWS on moto 5.2.5 as it is, empty for each test."""

import io
import zipfile
from typing import Any

import pytest
from moto.core.models import MockAWS

from tests.unit.cutout.local.moto_without_patches.plain_moto import QUEUE_ARN, REGION, Make, MakeBucket, make_client


@pytest.fixture
def aws(aws_environment: None, moto: MockAWS) -> Make:
    """Makes clients of plain moto, which is empty."""
    moto.reset()
    return make_client


@pytest.fixture
def queue_url(aws: Make) -> str:
    return str(aws("sqs").create_queue(QueueName="queue")["QueueUrl"])


@pytest.fixture
def make_bucket(aws: Make) -> MakeBucket:
    """Returns the client of S3."""

    def make(notifications: dict[str, Any]) -> Any:  # noqa: ANN401
        s3 = aws("s3")
        s3.create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.put_bucket_notification_configuration(Bucket="bucket", NotificationConfiguration=notifications)
        return s3

    return make


@pytest.fixture
def function(aws: Make) -> str:
    role = aws("iam").create_role(RoleName="role", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    artefact = io.BytesIO()
    zipfile.ZipFile(artefact, "w").close()
    aws("lambda").create_function(
        FunctionName="function",
        Role=role,
        Runtime="python3.13",
        Handler="handler",
        Code={"ZipFile": artefact.getvalue()},
    )
    return "function"


@pytest.fixture
def mapping(aws: Make, function: str, queue_url: str) -> dict[str, Any]:
    made: dict[str, Any] = aws("lambda").create_event_source_mapping(FunctionName=function, EventSourceArn=QUEUE_ARN)
    return made


@pytest.fixture
def stacks(aws: Make) -> Any:  # noqa: ANN401
    return aws("cloudformation")
