"""The local cloud's S3 accepts a presigned URL for the request that it was signed for, until it is too old."""

import time
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config

from cutout.local.aws.presigned import EXPIRED, FORGED, refusal

KEY = "environment-1"
SECONDS = 300


@pytest.fixture
def environ() -> dict[str, str]:
    """Of a request with a URL that the function's S3 client would sign."""
    client = boto3.client(
        "s3",
        region_name="us-east-1",
        aws_access_key_id=KEY,
        aws_secret_access_key=KEY,
        endpoint_url="http://127.0.0.1:4566",
        config=Config(signature_version="s3v4"),
    )
    address = {"Bucket": "input", "Key": "a folder/ü+%.png", "VersionId": "v=1"}
    url = urlsplit(client.generate_presigned_url("get_object", Params=address, ExpiresIn=SECONDS))
    return {
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": f"{url.path}?{url.query}",
        "QUERY_STRING": url.query,
        "HTTP_HOST": url.netloc,
    }


def test_the_request_that_was_signed_is_accepted(environ: dict[str, str]) -> None:
    assert refusal(environ, KEY) is None


def test_an_old_url_is_refused(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + SECONDS - 2)
    assert refusal(environ, KEY) is None
    monkeypatch.setattr(time, "time", lambda: now + SECONDS + 2)
    assert refusal(environ, KEY) == EXPIRED


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("REQUEST_METHOD", "GET", "PUT"),
        ("REQUEST_URI", "/input/", "/output/"),
        ("REQUEST_URI", "v%3D1", "v%3D2"),
        ("HTTP_HOST", "4566", "4567"),
        ("QUERY_STRING", "Signature=", "Signature=0"),
    ],
)
def test_another_request_is_refused(environ: dict[str, str], name: str, old: str, new: str) -> None:
    changed = environ | {name: environ[name].replace(old, new)}
    assert changed != environ
    assert refusal(changed, KEY) == FORGED


def test_the_key_of_another_is_refused(environ: dict[str, str]) -> None:
    assert refusal(environ, "environment-2") == FORGED
