"""Fixtures for all tests: uploads, notifications and PNGs that differ only in what a test is about."""

import functools
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from moto import mock_aws
from moto.core.models import DEFAULT_ACCOUNT_ID, MockAWS
from moto.s3.models import s3_backends

from remove_background.aws import Clients
from remove_background.uploads import Upload

SLOWEST_FIRST = (
    "chaos/",
    "e2e/test_fault_matrix.py",
    "e2e/test_local",
    "e2e/console/",
    "e2e/",
    "integration/test_intake_owner.py",
    "integration/test_bad_answers.py",
    "integration/test_locks.py",
    "simulation/",
    "integration/",
    "unit/",
)

# A test's time says how busy the machine is, not whether the code is right.
hypothesis.settings.register_profile("cutout", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("cutout")


@pytest.hookimpl(trylast=True)  # once they are in a random order
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what is slow, so that no process has such a file left when the others have ended."""
    root = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        path = item.path.relative_to(root).as_posix()
        return next(at for at, start in enumerate(SLOWEST_FIRST) if path.startswith(start))

    items.sort(key=place)


@pytest.fixture
def aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
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
    """Made once: making a client takes longer than most tests. What the clients reach is new for each test."""
    return Clients(threads=1)


@pytest.fixture
def moto() -> Iterator[MockAWS]:
    with mock_aws() as mock:
        yield mock


@pytest.fixture
def clients(aws_environment: None, moto: MockAWS) -> Clients:
    """boto3's clients as the function makes them, on an AWS in memory."""
    moto.reset()
    clients = _clients()
    s3 = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]  # three calls of the client would take longer than most tests
    for bucket in ("input", "output"):
        s3.create_bucket(bucket, "eu-central-1")
    s3.put_bucket_versioning("input", "Enabled")
    clients.dynamodb.create_table(
        TableName="ledger",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return clients


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.fixture
def make_png() -> Callable[..., bytes]:
    """A small PNG of one colour type: 6 has an alpha channel, 2 has none."""

    def make(*, colour_type: int = 6, extra: bytes = b"", pixels: bool = True, red: int = 0) -> bytes:
        channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour_type]
        rows = b"".join(b"\0" + bytes([red] * 2 * channels) for _ in range(2))
        header = _chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, colour_type, 0, 0, 0))
        body = _chunk(b"IDAT", zlib.compress(rows)) if pixels else b""
        return b"\x89PNG\r\n\x1a\n" + header + extra + body + _chunk(b"IEND", b"")

    return make


@pytest.fixture
def make_chunk() -> Callable[[bytes, bytes], bytes]:
    return _chunk


@pytest.fixture
def make_upload() -> Callable[..., Upload]:
    def make(key: str = "photo.jpg", **changes: object) -> Upload:
        defaults: dict[str, Any] = {
            "bucket": "input",
            "etag": "0f343b0931126a20f133d67c2b018a3b",
            "version_id": "v1",
            "sequencer": "0055AED6DCD90281E5",
            "size": 1000,
        }
        return Upload(key=key, **(defaults | changes))

    return make


@pytest.fixture
def make_record() -> Callable[..., dict[str, Any]]:
    """A record of an S3 notification; the key is given as S3 sends it, encoded."""

    def make(key: str = "photo.jpg", *, event: str = "ObjectCreated:Put", **object_: object) -> dict[str, Any]:
        defaults = {"eTag": "0f343b0931126a20f133d67c2b018a3b", "size": 1000, "sequencer": "0055AED6DCD90281E5"}
        return {
            "eventSource": "aws:s3",
            "eventName": event,
            "s3": {"bucket": {"name": "input"}, "object": {"key": key} | defaults | object_},
        }

    return make


@pytest.fixture
def make_event() -> Callable[..., dict[str, Any]]:
    """What Lambda gets from SQS for messages with these bodies, after this many `failures`."""

    def make(*bodies: str | dict[str, Any], failures: int = 0) -> dict[str, Any]:
        attempts = {"Attempts": {"stringValue": str(failures), "dataType": "Number"}} if failures else {}
        return {
            "Records": [
                {
                    "messageId": f"message-{number}",
                    "receiptHandle": "receipt",
                    "body": body if isinstance(body, str) else json.dumps(body),
                    "attributes": {"ApproximateReceiveCount": "999", "SentTimestamp": "1769860800000"},
                    "messageAttributes": dict(attempts),
                    "eventSource": "aws:sqs",
                    "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:uploads",
                    "awsRegion": "us-east-1",
                }
                for number, body in enumerate(bodies, start=1)
            ]
        }

    return make
