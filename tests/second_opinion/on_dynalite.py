"""A plugin of pytest: every call to DynamoDB goes to dynalite instead of moto.

    pytest -p tests.second_opinion.on_dynalite tests/unit/functions/test_ledger.py

dynalite listens at a Unix socket, since unit tests open no other.
"""

import http.client
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, cast

import botocore.handlers
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders

SCRIPT = Path(__file__).with_name("dynalite.js")
PACKAGES = Path(__file__).parents[2] / ".venv-second" / "node_modules"
CALL_SECONDS = 20
GLANCE_SECONDS = 0.001
CONSISTENT = {"ConsistentRead": True}
HEADERS = {
    "Content-Type": "application/x-amz-json-1.0",
    "X-Amz-Date": "20260101T000000Z",
    "Authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/r/dynamodb/aws4_request, SignedHeaders=host, Signature=a",
}
REFUSED = "ConditionalCheckFailedException"


class Dynalite:
    def __init__(self, path: str) -> None:
        self._path = path

    def send(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        """Answers a call of boto3 in place of whoever else would."""
        action = _text(request.headers["X-Amz-Target"]).rpartition(".")[2]
        body = json.loads(cast("bytes", request.body))
        headers = {name: _text(value) for name, value in request.headers.items()}
        status, answer = self._post(action, body, headers)
        if action == "CreateTable":
            self._await_table(body["TableName"])
        # It ignores ReturnValuesOnConditionCheckFailure. The item is read after the refusal: not in one step with it.
        if _is_refused(answer) and body.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD":
            answer |= self._post("GetItem", {"TableName": body["TableName"], "Key": body["Key"]} | CONSISTENT)[1]
        kind = HTTPHeaders.from_dict({"Content-Type": "application/x-amz-json-1.0"})
        return AWSResponse(request.url, status, kind, _Raw(json.dumps(answer).encode()))

    def clear(self) -> None:
        for name in self._tables():
            self._post("DeleteTable", {"TableName": name})
        while self._tables():
            time.sleep(GLANCE_SECONDS)

    def _tables(self) -> list[str]:
        names: list[str] = self._post("ListTables", {})[1]["TableNames"]
        return names

    def _await_table(self, name: str) -> None:
        while self._post("DescribeTable", {"TableName": name})[1]["Table"]["TableStatus"] != "ACTIVE":
            time.sleep(GLANCE_SECONDS)

    def _post(self, action: str, body: dict[str, Any], headers: Mapping[str, str] = HEADERS) -> tuple[int, Any]:
        connection = _UnixConnection(self._path)
        content = json.dumps(body).encode()
        target = {"X-Amz-Target": f"DynamoDB_20120810.{action}", "Content-Length": str(len(content))}
        try:
            connection.request("POST", "/", content, {**headers, **target})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=CALL_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(CALL_SECONDS)
        self.sock.connect(self._path)


class _Raw:
    """A body as botocore reads it."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: object) -> Iterator[bytes]:
        yield self._content


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _is_refused(answer: dict[str, Any]) -> bool:
    return str(answer.get("__type", "")).endswith(REFUSED)


def pytest_configure(config: pytest.Config) -> None:
    folder = tempfile.TemporaryDirectory(prefix="cutout-dynalite-")
    path = str(Path(folder.name) / "socket")
    process = subprocess.Popen(
        ["node", SCRIPT, path],
        env=os.environ | {"NODE_PATH": str(PACKAGES)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    output = cast("IO[str]", process.stdout)
    if output.readline() != "Ready\n":
        raise pytest.UsageError("dynalite did not start: call `make .venv-second/dynalite`")

    def end() -> None:
        process.terminate()
        process.wait()
        output.close()
        folder.cleanup()

    config.add_cleanup(end)
    config.pluginmanager.register(_EachTest(Dynalite(path)))


class _EachTest:
    def __init__(self, dynalite: Dynalite) -> None:
        self._dynalite = dynalite
        botocore.handlers.BUILTIN_HANDLERS.insert(0, ("before-send.dynamodb", dynalite.send))

    def pytest_runtest_setup(self) -> None:
        self._dynalite.clear()
