"""The handler: a batch in, the failed messages out; its metrics, and how its parts fit together."""

import gc
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import responses
from aws_lambda_powertools.utilities.typing import LambdaContext

from remove_background import handler, worker
from remove_background.aws import Clients
from remove_background.config import ConfigError
from remove_background.deadline import Deadline
from remove_background.errors import (
    Billed,
    InsufficientCredits,
    IntakePaused,
    MalformedImage,
    RateLimitExceeded,
    ServiceUnavailable,
)
from remove_background.process_upload import BackgroundRemover
from remove_background.rate_limiter import MARGIN
from remove_background.uploads import Outcome, Upload
from remove_background.worker import LETTER_SECONDS, Delivery, Ending, Worker

MakeEvent = Callable[..., dict[str, Any]]
MakeRecord = Callable[..., dict[str, Any]]


@dataclass
class Context:
    function_name: str = "remove-background"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:eu-central-1:123456789012:function:remove-background"
    aws_request_id: str = "request-1"
    milliseconds: int = 60_000

    def get_remaining_time_in_millis(self) -> int:
        return self.milliseconds


@dataclass
class Stack:
    """The function's environment. `fates` says what becomes of a key; by default, a cutout."""

    clients: Clients
    uploads: str
    letters: str
    fates: dict[str, Exception | Outcome] = field(default_factory=dict)
    processed: list[str] = field(default_factory=list)
    log: io.StringIO = field(default_factory=io.StringIO)

    def process(self, upload: Upload) -> Outcome:
        self.processed.append(upload.key)
        fate = self.fates.get(upload.key, Outcome.CUTOUT)
        if isinstance(fate, Exception):
            raise fate
        return fate

    def invoke(self, event: dict[str, Any], context: Context | None = None) -> list[str]:
        """The ids of the messages that come back."""
        as_lambda: LambdaContext = context or Context()  # type: ignore[assignment]
        return [str(item["itemIdentifier"]) for item in handler.lambda_handler(event, as_lambda)["batchItemFailures"]]

    def read_log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.getvalue().splitlines()]

    def read_letters(self) -> list[tuple[str, dict[str, str]]]:
        return self._read(self.letters)

    def read_uploads(self) -> list[str]:
        return [body for body, _ in self._read(self.uploads)]

    def _read(self, url: str) -> list[tuple[str, dict[str, str]]]:
        answer = self.clients.sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"], MaxNumberOfMessages=10)
        return [
            (message["Body"], {k: v["StringValue"] for k, v in message.get("MessageAttributes", {}).items()})
            for message in answer.get("Messages", [])
        ]


@pytest.fixture
def stack(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    uploads, letters = (clients.sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("uploads", "letters"))
    stack = Stack(clients, uploads, letters)
    for name, value in {
        "INPUT_BUCKET": "input",
        "INPUT_PREFIX": "",
        "OUTPUT_BUCKET": "output",
        "OUTPUT_KEY": "{stem}.png",
        "UPLOAD_QUEUE_URL": uploads,
        "DEAD_LETTER_QUEUE_URL": letters,
        "MAX_ATTEMPTS": "5",
        "PIXELCUT_API_URL": "https://api.example.com",
        "PIXELCUT_API_KEY_SECRET": "pixelcut",
        "IMAGE_DELIVERY": "url",
        "PRESIGNED_URL_SECONDS": "300",
        "LEDGER_TABLE": "ledger",
        "REQUESTS_PER_SECOND": "1000",
        "BACKOFF_SECONDS": "0",
        "FAILURES_IN_A_ROW": "10",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(handler.metrics, "namespace", "Cutout")
    monkeypatch.setattr(worker.logger.handlers[0], "stream", stack.log)
    monkeypatch.setattr(handler, "Clients", lambda threads: clients)
    handler._worker.cache_clear()
    yield stack
    handler._worker.cache_clear()


@pytest.fixture
def faked(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """The same, with the processing of an upload replaced by its fate."""
    monkeypatch.setattr(BackgroundRemover, "process", lambda _, upload, sent, deadline: stack.process(upload))
    return stack


def test_garbage_is_collected_once_the_handler_is_imported() -> None:
    assert gc.isenabled()


def test_every_upload_of_a_batch_is_processed(
    faked: Stack, make_event: MakeEvent, make_record: MakeRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    bodies = [{"Records": [make_record(f"{number}.jpg")]} for number in range(10)]
    assert faked.invoke(make_event(*bodies)) == []
    assert sorted(faked.processed) == [f"{number}.jpg" for number in range(10)]
    lines = faked.read_log()
    assert sorted(line["source"] for line in lines) == [f"s3://input/{number}.jpg" for number in range(10)]
    assert {line["message"] for line in lines} == {"cutout"}
    (metrics,) = capsys.readouterr().out.splitlines()
    assert json.loads(metrics)["Cutout"] == [10]


@pytest.mark.parametrize("name", ["OUTPUT_BUCKET", "PIXELCUT_API_URL"])
def test_a_missing_setting_fails_the_invocation_by_name(
    stack: Stack, make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv(name)
    with pytest.raises(ConfigError, match=name):
        stack.invoke(make_event({"Event": "s3:TestEvent"}))


def test_a_wrong_pattern_for_cutouts_fails_the_invocation_by_name(
    stack: Stack, make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTPUT_KEY", "cutout.png")
    with pytest.raises(ConfigError, match=r"OUTPUT_KEY must hold \{key\}"):
        stack.invoke(make_event({"Event": "s3:TestEvent"}))


@pytest.mark.parametrize("delivery", ["url", "upload"])
def test_the_parts_fit_together(  # the real parts, on an AWS in memory and a service that answers at once
    stack: Stack,
    make_event: MakeEvent,
    make_record: MakeRecord,
    make_png: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
    delivery: str,
) -> None:
    monkeypatch.setenv("IMAGE_DELIVERY", delivery)
    s3 = stack.clients.s3
    stack.clients.secrets.create_secret(Name="pixelcut", SecretString="sk-1")
    etag = s3.put_object(Bucket="input", Key="photo.bin", Body=b"\0who knows what this is")["ETag"]
    with responses.RequestsMock() as service:
        service.post("https://api.example.com/v1/remove-background", json={"result_url": "https://cdn.example.com/1"})
        service.get("https://cdn.example.com/1", body=make_png())
        body = {"Records": [make_record("photo.bin", eTag=etag)]}
        assert stack.invoke(make_event(body)) == []
    assert s3.get_object(Bucket="output", Key="photo.png")["Body"].read() == make_png()


def read_metrics(printed: str) -> dict[str, list[float]]:
    (line,) = (json.loads(line) for line in printed.splitlines() if "_aws" in line)
    return {name: value for name, value in line.items() if isinstance(value, list)}


def test_what_became_of_uploads_is_counted(
    faked: Stack, make_event: MakeEvent, make_record: MakeRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    faked.fates = {
        "b.jpg": MalformedImage("No image."),
        "c.jpg": Outcome.DUPLICATE,
        "d.jpg": ServiceUnavailable("Later."),
    }
    put = datetime.now(UTC) - timedelta(seconds=40)
    records = [make_record(key) | {"eventTime": put.isoformat()} for key in ("a.jpg", *faked.fates)]
    handler._worker().credits.extend([Billed.NO, Billed.MAYBE, Billed.YES, Billed.YES])
    capsys.readouterr()
    faked.invoke(make_event(*({"Records": [record]} for record in records)))
    counted = read_metrics(capsys.readouterr().out)
    (seconds,) = counted.pop("SecondsToCutout")
    assert 40 <= seconds < 50
    assert counted.pop("SecondsTried")
    assert counted == {
        "Cutout": [1], "Letter": [1], "Duplicate": [1], "Unavailable": [1],
        "Credits": [4], "CreditsAgain": [2], "CreditsMaybeAgain": [1],
    }  # fmt: skip


def test_a_credit_is_counted_once(
    faked: Stack, make_event: MakeEvent, make_record: MakeRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    handler._worker().credits.append(Billed.NO)
    faked.invoke(make_event({"Records": [make_record("a.jpg")]}))
    capsys.readouterr()
    faked.invoke(make_event({"Records": [make_record("b.jpg")]}))
    assert "Credits" not in read_metrics(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("pattern", "prefix"), [("{stem}.png", "in/"), ("in/cutouts/{name}.png", "in/"), ("out/{name}", "")]
)
def test_cutouts_that_would_be_taken_for_uploads_fail_the_invocation(
    stack: Stack, make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch, pattern: str, prefix: str
) -> None:
    for name, value in {"INPUT_BUCKET": "output", "INPUT_PREFIX": prefix, "OUTPUT_KEY": pattern}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="share a bucket"):
        stack.invoke(make_event())


def test_one_bucket_is_enough_if_a_prefix_keeps_uploads_and_cutouts_apart(
    stack: Stack, make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"INPUT_BUCKET": "output", "INPUT_PREFIX": "in/", "OUTPUT_KEY": "out/{name}.png"}.items():
        monkeypatch.setenv(name, value)
    assert stack.invoke(make_event({"Event": "s3:TestEvent"})) == []


def test_a_batch_in_which_nothing_succeeds_is_not_an_error_of_the_function(
    faked: Stack, make_event: MakeEvent, make_record: MakeRecord
) -> None:
    faked.fates = {"a.jpg": ServiceUnavailable("Later."), "b.jpg": MalformedImage("No image.")}
    assert faked.invoke(make_event(*({"Records": [make_record(key)]} for key in faked.fates))) == []
    assert len(faked.read_uploads()) == len(faked.read_letters()) == 1


def test_only_the_unfinished_message_returns_to_the_queue(
    faked: Stack, make_event: MakeEvent, make_record: MakeRecord
) -> None:
    faked.clients.sqs.delete_queue(QueueUrl=faked.uploads)
    faked.fates = {"b.jpg": ServiceUnavailable("Later.")}
    bodies = [{"Records": [make_record(key)]} for key in ("a.jpg", "b.jpg", "c.jpg")]
    assert faked.invoke(make_event(*bodies)) == ["message-2"]


def test_receives_do_not_count_as_attempts(faked: Stack, make_event: MakeEvent, make_record: MakeRecord) -> None:
    faked.fates = {"a.jpg": ServiceUnavailable("Later.")}
    event = make_event({"Records": [make_record("a.jpg")]}, {"Records": [make_record("a.jpg")]})
    for record, count in zip(event["Records"], ("1", "999"), strict=True):
        record["attributes"]["ApproximateReceiveCount"] = count
    assert faked.invoke(event) == []
    assert faked.read_letters() == []
    assert [attributes["Attempts"] for _, attributes in faked._read(faked.uploads)] == ["1", "1"]


@pytest.mark.parametrize(
    ("received", "numbers", "may_be_billed"),
    [
        ("1", {}, False),
        ("2", {}, True),
        ("1", {"Attempts": "0", "FirstSent": "1"}, False),  # it has only waited
        ("1", {"Attempts": "1", "FirstSent": "1"}, True),
        ("1", {"Attempts": "0", "FirstSent": "1", "MayBeBilled": "1"}, True),
    ],
)
def test_an_earlier_attempt_may_be_billed_unless_it_only_waited(
    stack: Stack,
    make_event: MakeEvent,
    monkeypatch: pytest.MonkeyPatch,
    *,
    received: str,
    numbers: dict[str, str],
    may_be_billed: bool,
) -> None:
    seen = []

    def handle(_: Worker, delivery: Delivery) -> tuple[list[Ending], bool]:
        seen.append(delivery.may_be_billed)
        return [], True

    monkeypatch.setattr(Worker, "handle", handle)
    event = make_event({})
    event["Records"][0]["attributes"]["ApproximateReceiveCount"] = received
    event["Records"][0]["messageAttributes"] = {
        name: {"stringValue": number, "dataType": "Number"} for name, number in numbers.items()
    }
    stack.invoke(event)
    assert seen == [may_be_billed]


def test_a_message_that_was_put_back_keeps_its_attempts(
    faked: Stack, make_event: MakeEvent, make_record: MakeRecord
) -> None:
    faked.fates = {"a.jpg": ServiceUnavailable("Later.")}
    for failures in range(4):
        assert faked.invoke(make_event({"Records": [make_record("a.jpg")]}, failures=failures)) == []
        ((_, attributes),) = faked._read(faked.uploads)
        assert attributes == {"Attempts": str(failures + 1), "FirstSent": "1769860800000"}
    assert faked.invoke(make_event({"Records": [make_record("a.jpg")]}, failures=4)) == []
    ((_, attributes),) = faked.read_letters()
    assert attributes["Attempts"] == "5"
    assert faked.read_uploads() == []


@pytest.mark.parametrize(
    "attribute",
    [
        {"stringValue": "5", "dataType": "String"},  # of a letter that AWS's redrive has moved
        {"stringValue": "-5", "dataType": "Number"},
        {"stringValue": "5.0", "dataType": "Number"},
        {"stringValue": "\u0665", "dataType": "Number"},
        {"stringValue": "", "dataType": "Number"},
        {"binaryValue": "NQ==", "dataType": "Binary"},
    ],
)
def test_attempts_that_the_function_has_not_counted_are_ignored(
    faked: Stack, make_event: MakeEvent, make_record: MakeRecord, attribute: dict[str, str]
) -> None:
    faked.fates = {"a.jpg": ServiceUnavailable("Later.")}
    event = make_event({"Records": [make_record("a.jpg")]})
    event["Records"][0]["messageAttributes"] = {"Attempts": attribute, "FirstSent": attribute}
    assert faked.invoke(event) == []
    assert faked.read_letters() == []
    ((_, attributes),) = faked._read(faked.uploads)
    assert attributes == {"Attempts": "1", "FirstSent": "1769860800000"}


def test_the_time_since_an_upload_was_first_sent_is_a_metric(
    faked: Stack, make_event: MakeEvent, make_record: MakeRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    faked.fates = {"old.jpg": RateLimitExceeded("Later."), "new.jpg": ServiceUnavailable("Later.")}
    event = make_event(*({"Records": [make_record(key)]} for key in (*faked.fates, "older.jpg")))
    now = round(1000 * time.time())
    for record, hours in zip(event["Records"], (1, 0, 5), strict=True):  # the last one becomes a cutout
        record["attributes"]["SentTimestamp"] = str(now)
        record["messageAttributes"] = {"FirstSent": {"stringValue": str(now - hours * 3_600_000), "dataType": "Number"}}
    assert faked.invoke(event) == []
    assert read_metrics(capsys.readouterr().out)["SecondsTried"] == [pytest.approx(3600, abs=60)]
    assert {attributes["FirstSent"] for _, attributes in faked._read(faked.uploads)} == {
        str(now), str(now - 3_600_000)
    }  # fmt: skip


def test_an_upload_may_use_the_invocations_time_except_what_its_letter_needs(
    stack: Stack, make_event: MakeEvent, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = []
    monkeypatch.setattr(
        BackgroundRemover, "process", lambda _, upload, sent, deadline: left.append((sent, deadline.remaining()))
    )
    stack.invoke(make_event({"Records": [make_record("a.jpg")]}))  # with 60 seconds
    assert left == [(1769860800.0, pytest.approx(60 - LETTER_SECONDS, abs=1))]


def test_a_blocked_account_pauses_the_intake_without_a_call_to_lambda(
    stack: Stack, make_event: MakeEvent, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Clients, "functions", None)  # whatever state the mapping is in
    stack.clients.secrets.create_secret(Name="pixelcut", SecretString="sk-1")
    etag = stack.clients.s3.put_object(Bucket="input", Key="a.jpg", Body=b"\0who knows what this is")["ETag"]
    body = {"Records": [make_record("a.jpg", eTag=etag)]}
    with responses.RequestsMock() as service:
        refused = service.post(
            "https://api.example.com/v1/remove-background",
            status=403,
            json={"error_code": "insufficient_api_credits", "error": "No credits"},
        )
        assert stack.invoke(make_event(body)) == []
        handler._worker.cache_clear()  # another environment, which has not seen it
        assert stack.invoke(make_event(body)) == []
        assert refused.call_count == 1
    ((_, first), (_, second)) = stack._read(stack.uploads)
    assert first == second == {"Attempts": "0", "FirstSent": "1769860800000", "MayBeBilled": "1"}  # received before
    codes = [line["error_code"] for line in stack.read_log()]
    assert codes == ["insufficient_api_credits", "insufficient_api_credits", "intake_paused"]


def test_a_pause_during_the_wait_for_a_slot_is_respected(
    stack: Stack, make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker_ = handler._worker()
    service: Any = worker_.remover.service
    monkeypatch.setattr(
        "remove_background.rate_limiter.time.sleep", lambda _: monkeypatch.setattr(worker_.intake, "_paused", True)
    )
    with pytest.raises(IntakePaused), service._slot(Deadline(100)):
        raise AssertionError("it is paused")


def test_a_pause_of_the_intake_is_logged_like_everything_else(stack: Stack) -> None:
    handler._worker().intake.report_failure(InsufficientCredits("Buy some."), None)
    (line,) = stack.read_log()
    assert (line["level"], line["message"]) == ("WARNING", "The intake is paused: insufficient_api_credits.")
    assert line["error_code"] == "insufficient_api_credits"  # what the dashboard's table is filtered by
    assert line["service"]


@pytest.mark.parametrize(("level", "logged"), [("WARNING", True), ("ERROR", False)])
def test_log_lines_of_other_modules_honour_the_log_level(level: str, logged: bool) -> None:
    code = (
        "import logging, remove_background.handler\n"
        "logging.getLogger('remove_background.intake').warning('The intake is paused', extra={'error_code': 'why'})"
    )
    environment = {"POWERTOOLS_LOG_LEVEL": level, "PYTHONPATH": "functions", "AWS_DEFAULT_REGION": "eu-central-1"}
    root = Path(__file__).parents[3]
    ran = subprocess.run(  # the level is read when the handler is imported
        [sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True, check=True
    )
    lines = [json.loads(line) for line in (ran.stdout + ran.stderr).splitlines()]
    assert [line["error_code"] for line in lines] == ["why"] * logged


def test_a_thread_waits_for_the_turns_of_the_others_for_less_than_a_request_may_be_late() -> None:
    assert handler.THREADS * sys.getswitchinterval() < MARGIN - 1
