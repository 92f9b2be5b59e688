"""A deployed stack in memory, and the command called as from a shell."""

import functools
import io
import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
import pytest_socket
from moto import mock_aws
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.sqs.models import sqs_backends

from cutout import __main__
from cutout.operations import dead_letters, deployment
from cutout.operations.deployment import Deployment, find

STACK = "cutout"
SETTINGS = {
    "INPUT_PREFIX": "",
    "LEDGER_TABLE": "ledger",
    "OUTPUT_KEY": "{stem}.png",
    "PIXELCUT_API_URL": "https://pixelcut.test",
    "PIXELCUT_API_KEY_SECRET": "key",
}
CONSOLE = "https://eu-central-1.console.aws.amazon.com"
DASHBOARD = f"{CONSOLE}/cloudwatch/home?region=eu-central-1#dashboards/dashboard/cutout"
TEMPLATE = {
    "Resources": {
        "Input": {
            "Type": "AWS::S3::Bucket",
            "Properties": {"BucketName": "input", "VersioningConfiguration": {"Status": "Enabled"}},
        },
        "Output": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "output"}},
        "Uploads": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "uploads"}},
        "Letters": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "letters"}},
    },
    "Outputs": {
        "InputBucketName": {"Value": {"Ref": "Input"}},
        "OutputBucketName": {"Value": {"Ref": "Output"}},
        "UploadQueueUrl": {"Value": {"Ref": "Uploads"}},
        "DeadLetterQueueUrl": {"Value": {"Ref": "Letters"}},
        "FunctionName": {"Value": "remove-background"},
        "DashboardUrl": {"Value": DASHBOARD},
    },
}


@dataclass(frozen=True)
class Call:
    """The result and the output of a call of the command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401
        return json.loads(self.out)


_make_client = deployment._make_client


@functools.cache
def make_client(service: str) -> Any:  # noqa: ANN401
    """Made once: making a client takes longer than most tests. What the clients reach is new for each test."""
    return _make_client(boto3.Session(), service, None)


@pytest.fixture
def deployed(aws_environment: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    """Its intake is open; but nothing is invoked, as no message may be sent then: moto would start a container."""
    monkeypatch.setattr(deployment, "_make_client", lambda session, service, endpoint_url: make_client(service))
    with mock_aws():
        role = make_client("iam").create_role(RoleName="role", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        artefact = io.BytesIO()
        zipfile.ZipFile(artefact, "w").close()
        functions = make_client("lambda")
        functions.create_function(
            FunctionName="remove-background",
            Role=role,
            Runtime="python3.13",
            Handler="handler",
            Code={"ZipFile": artefact.getvalue()},
            Environment={"Variables": SETTINGS},
        )
        make_client("cloudformation").create_stack(StackName=STACK, TemplateBody=json.dumps(TEMPLATE))
        make_client("dynamodb").create_table(
            TableName="ledger",
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
        )
        make_client("secretsmanager").create_secret(Name="key", SecretString="a-key")
        sqs = make_client("sqs")
        queue = sqs.get_queue_attributes(
            QueueUrl=sqs.get_queue_url(QueueName="uploads")["QueueUrl"], AttributeNames=["QueueArn"]
        )["Attributes"]["QueueArn"]
        functions.create_event_source_mapping(FunctionName="remove-background", EventSourceArn=queue)
        yield find(STACK, None)


@pytest.fixture
def configure(deployed: Deployment) -> Callable[..., None]:
    """Gives the stack these settings besides."""

    def configure(**settings: str) -> None:
        variables = {"Variables": SETTINGS | settings}
        make_client("lambda").update_function_configuration(FunctionName="remove-background", Environment=variables)
        vars(deployed).pop("settings", None)  # which it may have read

    return configure


@pytest.fixture(autouse=True)
def _no_sockets(aws_environment: None) -> None:
    pytest_socket.disable_socket(allow_unix_socket=True)


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """moto in memory deletes in a way that several threads undo for each other; and nothing is worth waiting for."""
    monkeypatch.setattr(dead_letters, "THREADS", 1)
    monkeypatch.setattr(dead_letters, "WAIT_SECONDS", 0)


@pytest.fixture
def no_invocations(deployed: Deployment) -> None:
    """Messages may be sent: moto would run the function, in a container."""
    for queue in sqs_backends[DEFAULT_ACCOUNT_ID]["eu-central-1"].queues.values():
        queue.lambda_event_source_mappings.clear()


@pytest.fixture
def cutout(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Call]:
    """Calls the command with these arguments; neither stdin nor stdout is a terminal."""

    def call(*arguments: str) -> Call:
        monkeypatch.setattr(sys, "argv", ["cutout", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            __main__.main()
        out, err = capsys.readouterr()
        return Call(int(ended.value.code or 0), out, err)

    return call
