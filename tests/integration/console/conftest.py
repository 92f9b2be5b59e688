"""The console over two buckets in memory, and a browser that has entered it."""

import functools
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from flask.testing import FlaskClient
from moto import mock_aws
from werkzeug.test import TestResponse

from cutout.console.app import make_app
from cutout.console.changes import Changes
from cutout.console.safety import Gate
from cutout.console.stack import Stack
from cutout.operations import deployment
from cutout.operations.deployment import OUTPUTS, Deployment
from remove_background.models import cutout_metadata
from remove_background.uploads import Upload

PORT = 8765
URL = f"http://127.0.0.1:{PORT}"


@functools.cache
def _make_client(service: str) -> Any:  # noqa: ANN401
    return deployment._make_client(boto3.Session(), service, None)


@pytest.fixture
def buckets(aws_environment: None) -> Iterator[Deployment]:
    names = {"InputBucketName": "input", "OutputBucketName": "output"}
    found = Deployment("cutout", dict.fromkeys(OUTPUTS, "none") | names, _make_client)
    found.__dict__["settings"] = {"OUTPUT_KEY": "{stem}.png", "INPUT_PREFIX": ""}
    with mock_aws():
        for bucket in names.values():
            found.s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        yield found


@pytest.fixture
def put_cutout(buckets: Deployment) -> Callable[..., str]:
    def put(key: str, body: bytes = b"png", *, source: str | None = None, original: bytes | None = None) -> str:
        """`original` is what it was made of, and is put there, too."""
        source = source or key
        of = Upload("input", source, hashlib.md5(original or b"").hexdigest())
        buckets.s3.put_object(Bucket="output", Key=key, Body=body, Metadata=cutout_metadata(of))
        if original is not None:
            buckets.s3.put_object(Bucket="input", Key=source, Body=original)
        return key

    return put


class Browser:
    def __init__(self, client: FlaskClient) -> None:
        self._client = client

    def get(self, path: str, headers: dict[str, str] | None = None, **query: Any) -> TestResponse:  # noqa: ANN401
        return self._client.get(path, base_url=URL, query_string=query, headers=headers)

    def head(self, path: str, **query: Any) -> TestResponse:  # noqa: ANN401
        return self._client.head(path, base_url=URL, query_string=query)

    def post(self, path: str, fields: object = None, *, headers: dict[str, str] | None = None) -> TestResponse:
        own = {"Origin": URL, "Sec-Fetch-Site": "same-origin"} | (headers or {})
        return self._client.post(path, base_url=URL, data=fields, headers=own)


@pytest.fixture
def open_console(buckets: Deployment, tmp_path: Path) -> Callable[..., Browser]:
    def open_console(*, read_only: bool = False) -> Browser:
        gate = Gate(PORT, lambda _: None, read_only=read_only)
        stack, changes = Stack("cutout", lambda: buckets), Changes(tmp_path / "console.log", "cutout")
        app = make_app(stack, gate, changes, read_only=read_only)
        client = app.test_client()
        assert client.get(gate.address.removeprefix(URL), base_url=URL).status_code == 303
        return Browser(client)

    return open_console


@pytest.fixture
def browser(open_console: Callable[..., Browser]) -> Browser:
    return open_console()
