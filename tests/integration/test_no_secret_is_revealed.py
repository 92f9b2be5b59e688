"""No log line or letter holds a signed URL, a key or a result URL, whatever goes wrong, at any log level."""

import io
import json
import logging
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from cutout.local.pixelcut.faults import Rule
from cutout.local.pixelcut.server import API_KEY, StandIn
from remove_background import handler, worker


class Context:
    function_name = "remove-background"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:remove-background"
    aws_request_id = "request-1"

    def get_remaining_time_in_millis(self) -> int:
        return 9_000


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def said(
    endpoint: str, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., str]]:
    """Handles an upload on its last attempt, with every logger at DEBUG; returns everything written about it."""
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "INPUT_BUCKET": "input",
        "OUTPUT_BUCKET": "output",
        "OUTPUT_KEY": "{stem}.png",
        "MAX_ATTEMPTS": "1",
        "PIXELCUT_API_URL": stand_in.url,
        "PIXELCUT_API_KEY_SECRET": "pixelcut",
        "IMAGE_DELIVERY": "url",
        "PRESIGNED_URL_SECONDS": "300",
        "REQUESTS_PER_SECOND": "1000",
        "BACKOFF_SECONDS": "30",
        "FAILURES_IN_A_ROW": "10",
        "POWERTOOLS_METRICS_NAMESPACE": "Cutout",
        "POWERTOOLS_SERVICE_NAME": "remove_background",
    }.items():
        monkeypatch.setenv(name, value)
    s3, sqs, secrets = boto3.client("s3"), boto3.client("sqs"), boto3.client("secretsmanager")
    s3.create_bucket(Bucket="input")
    s3.create_bucket(Bucket="output")
    queue = sqs.create_queue(QueueName=f"letters-{uuid.uuid4()}")["QueueUrl"]
    monkeypatch.setenv("UPLOAD_QUEUE_URL", queue)
    monkeypatch.setenv("DEAD_LETTER_QUEUE_URL", queue)
    dynamodb = boto3.client("dynamodb")
    table = f"ledger-{uuid.uuid4()}"
    monkeypatch.setenv("LEDGER_TABLE", table)
    dynamodb.create_table(
        TableName=table,
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    if not secrets.list_secrets()["SecretList"]:
        secrets.create_secret(Name="pixelcut", SecretString=API_KEY)
    handler._worker.cache_clear()
    monkeypatch.setattr(handler.metrics, "namespace", "Cutout")

    def handle(image: bytes, event: Callable[..., dict[str, Any]], record: Callable[..., dict[str, Any]]) -> str:
        s3.delete_object(Bucket="output", Key="photo.png")
        etag = s3.put_object(Bucket="input", Key="photo.jpg", Body=image)["ETag"]
        log = io.StringIO()
        stream = logging.StreamHandler(log)
        stream.addFilter(is_of_the_function)
        monkeypatch.setattr(logging.root, "handlers", [stream])
        logging.root.setLevel(logging.DEBUG)
        monkeypatch.setattr(worker.logger.handlers[0], "stream", log)
        handler.lambda_handler(event({"Records": [record(eTag=etag)]}), Context())  # type: ignore[arg-type]
        letters = sqs.receive_message(QueueUrl=queue, MessageAttributeNames=["All"]).get("Messages", [])
        out, err = capfd.readouterr()
        return log.getvalue() + out + err + json.dumps([letter["MessageAttributes"] for letter in letters])

    level = logging.root.level
    yield handle
    logging.root.setLevel(level)
    handler._worker.cache_clear()


def is_of_the_function(record: logging.LogRecord) -> bool:
    """The servers run in this process too, in threads with other names; their log lines are not the function's."""
    return str(record.threadName).startswith(("MainThread", "ThreadPoolExecutor"))


SECRETS = re.compile(rf"X-Amz-Signature|X-Amz-Credential|{API_KEY}|/public/result/", re.IGNORECASE)

FAULTS = {
    "nothing": [],
    "401": [Rule(on="removal", status=401)],
    "500": [Rule(on="removal", status=500)],
    "dropped": [Rule(on="removal", drop=True)],
    "late": [Rule(on="removal", after=True, delay_seconds=60)],
    "cut answer": [Rule(on="removal", cut=0.5)],
    "says the URL": [Rule(on="removal", status=400, body='{"error": "https://x/?X-Amz-Signature=1 local-api-key"}')],
    "result gone": [Rule(on="download", status=404)],
    "result refused": [Rule(on="download", status=503)],
    "result dropped": [Rule(on="download", drop=True)],
    "result cut": [Rule(on="download", cut=0.5)],
    "result elsewhere": [
        Rule(on="download", status=302, headers={"Location": "https://127.0.0.1:9/public/result/x.png"})
    ],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_no_secret_is_revealed(
    said: Callable[..., str],
    stand_in: StandIn,
    make_event: Callable[..., dict[str, Any]],
    make_record: Callable[..., dict[str, Any]],
    fault: str,
    photo: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if fault == "late":
        monkeypatch.setattr("remove_background.pixelcut.RESERVE", 0.9)  # a short patience
    stand_in.set_faults(*FAULTS[fault])
    told = said(photo, make_event, make_record)
    assert ("error_code" in told) == (fault != "nothing")
    assert "s3://input/photo.jpg" in told
    assert SECRETS.findall(told) == []


def test_no_secret_is_revealed_when_nothing_answers(
    said: Callable[..., str],
    make_event: Callable[..., dict[str, Any]],
    make_record: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    photo: bytes,
) -> None:
    monkeypatch.setenv("PIXELCUT_API_URL", "http://127.0.0.1:9")
    told = said(photo, make_event, make_record)
    assert "service_unavailable" in told
    assert SECRETS.findall(told) == []


def test_the_search_for_secrets_finds_them() -> None:
    assert SECRETS.search(f"GET /a.jpg?x-amz-signature=1 {Path('/')}")
    assert SECRETS.search(f"X-API-KEY: {API_KEY}")
    assert SECRETS.search("http://127.0.0.1:1/public/result/abc.png")
