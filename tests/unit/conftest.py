"""Unit tests open no socket, and see no credentials but these."""

import functools
from collections.abc import Iterator

import pytest
import pytest_socket
from moto import mock_aws

from remove_background.aws import Clients


@pytest.fixture(autouse=True)
def _no_sockets() -> None:
    pytest_socket.disable_socket(allow_unix_socket=True)  # asyncio wakes its loop through one


@pytest.fixture(autouse=True)
def _aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)


@functools.cache
def _clients() -> Clients:
    """Made once: to make a client takes longer than most tests. What they reach is new for each test."""
    return Clients(threads=1)


@pytest.fixture
def clients() -> Iterator[Clients]:
    """boto3's clients as the function makes them, on an AWS in memory."""
    with mock_aws():
        clients = _clients()
        for bucket in ("input", "output"):
            clients.s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        clients.s3.put_bucket_versioning(Bucket="input", VersioningConfiguration={"Status": "Enabled"})
        clients.dynamodb.create_table(
            TableName="ledger",
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield clients
