"""What moto gets wrong, each a reason for a patch in cutout/local/aws: what the tests of this folder share.

When a test here fails, moto does it right itself: delete the patch, and the test.
"""

import functools
import json
from collections.abc import Callable
from typing import Any, TypeAlias

import boto3
from moto.core.models import DEFAULT_ACCOUNT_ID

Untyped: TypeAlias = Any  # of moto, which has no types, or of JSON
Make: TypeAlias = Callable[[str], Any]
MakeBucket: TypeAlias = Callable[[dict[str, Any]], Any]
REGION = "eu-central-1"
STACK = "stack"
QUEUE_ARN = f"arn:aws:sqs:{REGION}:{DEFAULT_ACCOUNT_ID}:queue"
A_QUEUE = {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "queue"}}
A_BUCKET = {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "bucket"}}
SAM_TEMPLATE = {
    "Transform": "AWS::Serverless-2016-10-31",
    "Resources": {"Table": {"Type": "AWS::Serverless::SimpleTable", "Properties": {"TableName": "table"}}},
}
NOT_SUPPORTED = "not supported by moto's CloudFormation"


@functools.cache
def make_client(service: str) -> Any:  # noqa: ANN401 its type depends on the service
    """Made once: making a client takes longer than most tests. What the clients reach is new for each test."""
    make: Any = boto3.client  # has an overload for each of the services' names
    return make(service, region_name=REGION)


def a_template(**resources: dict[str, Any]) -> str:
    return json.dumps({"Resources": resources})


def receive(aws: Make, queue_url: str) -> list[dict[str, Any]]:
    """The bodies of all messages except S3's test event."""
    received = aws("sqs").receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10)
    bodies = [json.loads(message["Body"]) for message in received.get("Messages", [])]
    return [body for body in bodies if body.get("Event") != "s3:TestEvent"]


def propose(stacks: Untyped, template: str, kind: str, **rest: Untyped) -> dict[str, Any]:
    """A change set, as the service describes it."""
    made = stacks.create_change_set(
        StackName=STACK, ChangeSetName="change", ChangeSetType=kind, TemplateBody=template, **rest
    )
    described: dict[str, Any] = stacks.describe_change_set(ChangeSetName=made["Id"], StackName=STACK)
    return described


def changes(change_set: dict[str, Any]) -> set[tuple[str, str]]:
    found = [change["ResourceChange"] for change in change_set.get("Changes", [])]
    return {(change["Action"], change["LogicalResourceId"]) for change in found}


def describe(stacks: Untyped) -> dict[str, Any]:
    (stack,) = stacks.describe_stacks(StackName=STACK)["Stacks"]
    return dict(stack)
