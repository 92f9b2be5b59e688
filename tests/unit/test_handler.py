"""The handler: which messages come back, which become letters, and what the log says."""

import gc
import io
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
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
    CutoutError,
    InProgress,
    InsufficientCredits,
    MalformedImage,
    OutOfTime,
    RateLimitExceeded,
    ResultGone,
    ServiceUnavailable,
)
from remove_background.process_upload import BackgroundRemover
from remove_background.uploads import Outcome, Upload

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
    """The function's surroundings. `fates` says what becomes of a key; by default, a cutout."""

    clients: Clients
    uploads: str
    letters: str
    fates: dict[str, Exception | Outcome] = field(default_factory=dict)
    processed: list[str] = field(default_factory=list)
    log: io.StringIO = field(default_factory=io.StringIO)

    def process(self, upload: Upload, deadline: Deadline) -> Outcome:
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
        "AWS_LAMBDA_FUNCTION_NAME": "remove-background",
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
    """The same, with the way of an upload replaced by its fate."""
    monkeypatch.setattr(BackgroundRemover, "process", lambda _, upload, deadline: stack.process(upload, deadline))
    return stack


def test_garbage_is_collected_once_the_handler_is_imported() -> None:
    assert gc.isenabled()


def test_every_upload_of_a_batch_is_worked_on(
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


def test_only_the_message_that_is_unavailable_comes_back(
    faked: Stack, make_event: MakeEvent, make_record: MakeRecord
) -> None:
    faked.fates = {"b.jpg": ServiceUnavailable("Later.")}
    bodies = [{"Records": [make_record(key)]} for key in ("a.jpg", "b.jpg", "c.jpg")]
    assert faked.invoke(make_event(*bodies)) == ["message-2"]
    assert faked.read_letters() == []
    (line,) = [line for line in faked.read_log() if line["message"] == "unavailable"]
    assert (line["error_code"], line["attempt"], line["billed"]) == ("service_unavailable", 1, "no")


def test_a_batch_of_which_nothing_succeeds_is_no_error_of_the_function(
    faked: Stack, make_event: MakeEvent, make_record: MakeRecord
) -> None:
    faked.fates = {"a.jpg": ServiceUnavailable("Later."), "b.jpg": ResultGone("Gone.")}
    bodies = [{"Records": [make_record(key)]} for key in ("a.jpg", "b.jpg")]
    assert sorted(faked.invoke(make_event(*bodies))) == ["message-1", "message-2"]


def test_a_rejected_upload_becomes_a_letter_at_once(
    faked: Stack, make_event: MakeEvent, make_record: MakeRecord
) -> None:
    faked.fates = {"a.jpg": MalformedImage("No image.")}
    assert faked.invoke(make_event({"Records": [make_record("a.jpg")]})) == []
    ((body, attributes),) = faked.read_letters()
    assert json.loads(body) == {"Records": [make_record("a.jpg")]}
    assert (attributes["ErrorCode"], attributes["ErrorMessage"]) == ("malformed_image", "No image.")
    assert (attributes["Source"], attributes["RequestId"]) == ("s3://input/a.jpg", "request-1")


@pytest.mark.parametrize("error", [ServiceUnavailable("Later."), ResultGone("Gone.")])
def test_the_last_attempt_writes_the_letter(
    faked: Stack, make_event: MakeEvent, make_record: MakeRecord, error: CutoutError
) -> None:
    faked.fates = {"a.jpg": error}
    body = {"Records": [make_record("a.jpg")]}
    assert faked.invoke(make_event(body, attempt=4)) == ["message-1"]
    assert faked.read_letters() == []
    assert faked.invoke(make_event(body, attempt=5)) == []
    ((_, attributes),) = faked.read_letters()
    assert (attributes["ErrorCode"], attributes["Attempts"]) == (error.code, "5")


def test_what_is_not_worth_another_credit_becomes_a_letter_at_once(
    faked: Stack, make_event: MakeEvent, make_record: MakeRecord
) -> None:
    error = ResultGone("Gone.")
    error.is_final = True
    faked.fates = {"a.jpg": error}
    assert faked.invoke(make_event({"Records": [make_record("a.jpg")]})) == []
    ((_, attributes),) = faked.read_letters()
    assert (attributes["ErrorCode"], attributes["Billed"]) == ("result_gone", "yes")


def test_a_foreign_body_becomes_a_letter_as_it_came(faked: Stack, make_event: MakeEvent) -> None:
    assert faked.invoke(make_event("Hello?")) == []
    ((body, attributes),) = faked.read_letters()
    assert (body, attributes["ErrorCode"]) == ("Hello?", "bad_notification")
    assert "Source" not in attributes


def test_the_test_event_and_folders_leave_no_trace(
    faked: Stack, make_event: MakeEvent, make_record: MakeRecord
) -> None:
    assert faked.invoke(make_event({"Event": "s3:TestEvent"}, {"Records": [make_record("folder/")]})) == []
    assert (faked.read_letters(), faked.processed) == ([], [])


def test_only_the_records_that_failed_are_in_the_letter_and_in_the_retry(
    faked: Stack, make_event: MakeEvent, make_record: MakeRecord
) -> None:
    keys = ["done.jpg", "rejected.jpg", "later.jpg", "later-too.jpg"]
    faked.fates = {
        "rejected.jpg": MalformedImage("No image."),
        "later.jpg": ServiceUnavailable("Later."),
        "later-too.jpg": ServiceUnavailable("Later."),
    }
    assert faked.invoke(make_event({"Records": [make_record(key) for key in keys]})) == []
    ((letter, _),) = faked.read_letters()
    assert json.loads(letter) == {"Records": [make_record("rejected.jpg")]}
    (retry,) = faked.read_uploads()
    assert json.loads(retry) == {"Records": [make_record("later.jpg"), make_record("later-too.jpg")]}


def test_a_message_of_which_everything_is_left_comes_back_itself(
    faked: Stack, make_event: MakeEvent, make_record: MakeRecord
) -> None:
    faked.fates = {key: ServiceUnavailable("Later.") for key in ("a.jpg", "b.jpg")}
    assert faked.invoke(make_event({"Records": [make_record("a.jpg"), make_record("b.jpg")]})) == ["message-1"]
    assert faked.read_uploads() == []


def test_a_message_that_cannot_be_put_back_comes_back_itself(
    faked: Stack, make_event: MakeEvent, make_record: MakeRecord
) -> None:
    faked.clients.sqs.delete_queue(QueueUrl=faked.uploads)
    faked.fates = {"b.jpg": ServiceUnavailable("Later.")}
    assert faked.invoke(make_event({"Records": [make_record("a.jpg"), make_record("b.jpg")]})) == ["message-1"]


@pytest.mark.parametrize("body", ["Hello?", None])
def test_a_letter_that_cannot_be_written_keeps_the_message(
    faked: Stack, make_event: MakeEvent, make_record: MakeRecord, body: str | None
) -> None:
    faked.clients.sqs.delete_queue(QueueUrl=faked.letters)
    faked.fates = {"a.jpg": MalformedImage("No image.")}
    assert faked.invoke(make_event(body or {"Records": [make_record("a.jpg")]})) == ["message-1"]
    assert "letter not written" in [line["message"] for line in faked.read_log()]


def test_an_unknown_error_is_tried_again_and_then_becomes_a_letter(
    faked: Stack, make_event: MakeEvent, make_record: MakeRecord
) -> None:
    faked.fates = {"a.jpg": ZeroDivisionError("at https://signed?X-Amz-Signature=5ec4e7")}
    body = {"Records": [make_record("a.jpg")]}
    assert faked.invoke(make_event(body)) == ["message-1"]
    assert faked.invoke(make_event(body, attempt=5)) == []
    ((_, attributes),) = faked.read_letters()
    assert (attributes["ErrorCode"], attributes["Billed"]) == ("unexpected_error", Billed.MAYBE)
    assert "ZeroDivisionError" in attributes["ErrorMessage"]
    log = faked.log.getvalue()
    assert "test_handler.py" in log
    assert "5ec4e7" not in log + str(attributes)


def test_a_record_that_cannot_be_read_becomes_a_letter(faked: Stack, make_event: MakeEvent) -> None:
    assert faked.invoke(make_event({"Records": [{"s3": {"bucket": {}}}]})) == []
    ((_, attributes),) = faked.read_letters()
    assert attributes["ErrorCode"] == "bad_notification"


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


def test_a_message_without_its_receive_count_comes_back_and_the_log_says_why(
    faked: Stack, make_event: MakeEvent, make_record: MakeRecord
) -> None:
    event = make_event({"Records": [make_record()]})
    del event["Records"][0]["attributes"]["ApproximateReceiveCount"]
    assert faked.invoke(event) == ["message-1"]
    (line,) = faked.read_log()
    assert (line["message"], line["error"]) == ("unexpected error", "KeyError")


def test_a_failure_that_counts_hides_its_message_for_the_back_off(
    faked: Stack, make_event: MakeEvent, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKOFF_SECONDS", "30")
    monkeypatch.setattr("remove_background.worker.random.uniform", lambda least, most: most)
    faked.clients.sqs.send_message(QueueUrl=faked.uploads, MessageBody=json.dumps({"Records": [make_record("a.jpg")]}))
    hidden = []
    monkeypatch.setattr(
        faked.clients.sqs, "change_message_visibility", lambda **call: hidden.append(call["VisibilityTimeout"])
    )
    monkeypatch.setattr(handler, "Clients", lambda threads: faked.clients)
    faked.fates = {"a.jpg": ServiceUnavailable("Later.")}
    for attempt in range(1, 5):
        assert faked.invoke(make_event({"Records": [make_record("a.jpg")]}, attempt=attempt)) == ["message-1"]
    assert hidden == [30, 60, 120, 240]


@pytest.mark.parametrize(
    "error",
    [
        RateLimitExceeded("Later."),
        InProgress("Later."),
        OutOfTime("Later."),
        InsufficientCredits("Buy some."),
    ],
)
def test_a_failure_that_is_not_the_uploads_fault_uses_up_no_attempt(
    faked: Stack, make_event: MakeEvent, make_record: MakeRecord, error: CutoutError
) -> None:
    faked.fates = {"a.jpg": error}
    body = {"Records": [make_record("a.jpg")]}
    assert faked.invoke(make_event(body, attempt=5)) == []
    assert faked.read_letters() == []
    ((again, attributes),) = faked._read(faked.uploads)
    assert json.loads(again) == body
    assert attributes == {"Attempts": "4", "FirstSent": "1769860800000"}


def test_attempts_are_carried_on_by_a_message_that_was_put_back(
    faked: Stack, make_event: MakeEvent, make_record: MakeRecord
) -> None:
    faked.fates = {"a.jpg": ServiceUnavailable("Later.")}
    event = make_event({"Records": [make_record("a.jpg")]})
    event["Records"][0]["messageAttributes"] = {"Attempts": {"stringValue": "4", "dataType": "Number"}}
    assert faked.invoke(event) == []
    ((_, attributes),) = faked.read_letters()
    assert attributes["Attempts"] == "5"


def test_it_is_told_for_how_long_an_upload_has_been_tried(
    faked: Stack, make_event: MakeEvent, make_record: MakeRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    faked.fates = {"old.jpg": RateLimitExceeded("Later."), "new.jpg": ServiceUnavailable("Later.")}
    event = make_event({"Records": [make_record("old.jpg")]}, {"Records": [make_record("new.jpg")]})
    old, new = event["Records"]
    hour_ago = round(1000 * (time.time() - 3600))
    old["messageAttributes"] = {"FirstSent": {"stringValue": str(hour_ago), "dataType": "Number"}}
    old["attributes"]["SentTimestamp"] = new["attributes"]["SentTimestamp"] = str(round(1000 * time.time()))
    assert faked.invoke(event) == ["message-2"]
    assert read_metrics(capsys.readouterr().out)["SecondsTried"] == [pytest.approx(3600, abs=60)]
    ((_, attributes),) = faked._read(faked.uploads)
    assert attributes["FirstSent"] == str(hour_ago)


def test_what_only_waits_for_its_turn_does_not_wait_long(
    faked: Stack, make_event: MakeEvent, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    monkeypatch.setenv("BACKOFF_SECONDS", "900")
    monkeypatch.setattr("remove_background.worker.random.uniform", lambda least, most: most)
    monkeypatch.setattr(handler, "Clients", lambda threads: faked.clients)
    monkeypatch.setattr(faked.clients.sqs, "send_message", lambda **call: sent.append(call["DelaySeconds"]))
    faked.fates = {"a.jpg": RateLimitExceeded("Later."), "b.jpg": OutOfTime("Later."), "c.jpg": InProgress("Later.")}
    faked.invoke(make_event(*({"Records": [make_record(key)]} for key in faked.fates)))
    assert sorted(sent) == [2, 2, 900]


def test_what_waits_for_another_delivery_does_not_wait_longer_each_time(
    faked: Stack, make_event: MakeEvent, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    monkeypatch.setenv("BACKOFF_SECONDS", "30")
    monkeypatch.setattr("remove_background.worker.random.uniform", lambda least, most: most)
    monkeypatch.setattr(handler, "Clients", lambda threads: faked.clients)
    monkeypatch.setattr(faked.clients.sqs, "send_message", lambda **call: sent.append(call["DelaySeconds"]))
    faked.fates = {"a.jpg": InProgress("Later.")}
    for attempt in (1, 4):
        faked.invoke(make_event({"Records": [make_record("a.jpg")]}, attempt=attempt))
    assert sent == [30, 30]


def test_retry_after_is_the_least_that_is_waited(
    faked: Stack, make_event: MakeEvent, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(handler, "Clients", lambda threads: faked.clients)
    monkeypatch.setattr(faked.clients.sqs, "send_message", lambda **call: sent.append(call))
    faked.fates = {"a.jpg": RateLimitExceeded("Later.", retry_after=77), "b.jpg": RateLimitExceeded("Later.", 7777)}
    faked.invoke(make_event(*({"Records": [make_record(key)]} for key in ("a.jpg", "b.jpg"))))
    assert sorted(call["DelaySeconds"] for call in sent) == [77, 900]


def test_a_letter_says_what_earlier_attempts_have_cost(
    faked: Stack, make_event: MakeEvent, make_record: MakeRecord
) -> None:
    faked.clients.dynamodb.put_item(
        TableName="ledger",
        Item={
            "id": {"S": "cutout:a.png"},
            "source": {"S": "s3://input/a.jpg"},
            "etag": {"S": "0f343b0931126a20f133d67c2b018a3b"},
            "billed": {"S": "maybe"},
        },
    )
    faked.fates = {"a.jpg": ServiceUnavailable("Not reached."), "b.jpg": ServiceUnavailable("Not reached.")}
    faked.invoke(make_event(*({"Records": [make_record(key)]} for key in faked.fates), attempt=5))
    billed = {attributes["Source"]: attributes["Billed"] for _, attributes in faked.read_letters()}
    assert billed == {"s3://input/a.jpg": "maybe", "s3://input/b.jpg": "no"}


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


def test_one_bucket_will_do_where_a_prefix_keeps_the_two_apart(
    stack: Stack, make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"INPUT_BUCKET": "output", "INPUT_PREFIX": "in/", "OUTPUT_KEY": "out/{name}.png"}.items():
        monkeypatch.setenv(name, value)
    assert stack.invoke(make_event({"Event": "s3:TestEvent"})) == []
