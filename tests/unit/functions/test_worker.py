"""One message: what is put back, what becomes a letter, what counts as an attempt, and the backoff."""

import io
import json
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from remove_background import worker as worker_module
from remove_background.aws import Clients
from remove_background.caps import Part
from remove_background.deadline import Deadline
from remove_background.errors import (
    Billed,
    CutoutError,
    Forbidden,
    InProgress,
    InsufficientCredits,
    IntakePaused,
    MalformedImage,
    OutOfTime,
    OutputKeyConflict,
    OutputKeyTooLong,
    RateLimitExceeded,
    ResultGone,
    ServiceUnavailable,
    UnexpectedError,
)
from remove_background.intake import FUNCTION, ITEM, Intake, IntakeItem, new_token
from remove_background.ledger import Ledger
from remove_background.ledger import _letter_of as letter_of
from remove_background.letters import Letters
from remove_background.output_key import OutputKey
from remove_background.rejections import Rejections, item_id
from remove_background.uploads import Outcome, Upload, read_upload
from remove_background.worker import Delivery, Ending, Worker
from tests.unit.fakes import Clock, refusal

MakeRecord = Callable[..., dict[str, Any]]
FIRST_SENT = 1_769_860_800_000


@dataclass
class Remover:
    """What becomes of a key; by default, a cutout."""

    fates: dict[str, Exception | Outcome] = field(default_factory=dict)
    processed: list[tuple[str, float]] = field(default_factory=list)
    meanwhile: Callable[[Upload], object] = lambda _: None
    output_key: OutputKey = field(default_factory=lambda: OutputKey("{stem}.png"))

    def process(self, upload: Upload, sent: float, deadline: Deadline) -> Outcome:
        assert deadline.remaining() > 50
        self.processed.append((upload.key, sent))
        self.meanwhile(upload)
        fate = self.fates.get(upload.key, Outcome.CUTOUT)
        if isinstance(fate, Exception):
            raise fate
        return fate


@dataclass
class Shop:
    """A worker, and everything around it."""

    clients: Clients
    uploads: str
    letters: str
    remover: Remover
    log: io.StringIO
    worker: Worker

    def handle(self, body: object, attempt: int = 1) -> tuple[list[Ending], bool]:
        text = body if isinstance(body, str) else json.dumps(body)
        return self.worker.handle(Delivery(text, attempt, attempt > 1, FIRST_SENT, "request-1", Deadline(60)))

    def read_log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.getvalue().splitlines()]

    def read(self, url: str) -> list[tuple[str, dict[str, str]]]:
        answer = self.clients.sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"], MaxNumberOfMessages=10)
        return [
            (message["Body"], {k: v["StringValue"] for k, v in message.get("MessageAttributes", {}).items()})
            for message in answer.get("Messages", [])
        ]


@pytest.fixture
def shop(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> Shop:
    uploads, letters = (clients.sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("uploads", "letters"))
    remover, log = Remover(), io.StringIO()
    config = SimpleNamespace(
        input_bucket="input", input_prefix="", upload_queue_url=uploads, max_attempts=5, backoff_seconds=0
    )
    nothing: Any = None
    worker = Worker(
        config=config,  # type: ignore[arg-type]
        clients=clients,
        connections=nothing,
        remover=remover,  # type: ignore[arg-type]
        ledger=Ledger(clients.dynamodb, "ledger", lambda _: None, lambda _: None),
        letters=Letters(clients, letters),
        rejections=Rejections(clients.dynamodb, "ledger"),
        intake=Intake(clients.dynamodb, "ledger", failures_in_a_row=10),
        threads=ThreadPoolExecutor(1),
        credits=deque(),
    )
    monkeypatch.setattr(worker_module.logger.handlers[0], "stream", log)
    return Shop(clients, uploads, letters, remover, log, worker)


@pytest.fixture
def delays(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seconds after which each message that is put back is delivered, with the longest backoff there may be."""
    delays: list[int] = []
    shop.worker.config.backoff_seconds = 30  # type: ignore[misc]
    monkeypatch.setattr("remove_background.worker.random.uniform", lambda least, most: most)
    monkeypatch.setattr(shop.clients.sqs, "send_message", lambda **call: delays.append(call["DelaySeconds"]))
    return delays


def final(error: CutoutError) -> CutoutError:
    error.is_final = True
    return error


def waiting() -> CutoutError:
    """On probation another upload is tried first."""
    error = IntakePaused("Later.")
    error.is_paused = False
    return error


def test_a_cutout_is_logged(shop: Shop, make_record: MakeRecord) -> None:
    endings, done = shop.handle({"Records": [make_record("a.jpg") | {"eventTime": "2026-01-31T12:00:00Z"}]})
    assert (endings[0].outcome, done) == ("cutout", True)
    assert (endings[0].age or 0) > 0
    assert shop.remover.processed == [("a.jpg", FIRST_SENT / 1000)]
    (line,) = shop.read_log()
    assert (line["message"], line["source"], line["attempt"]) == ("cutout", "s3://input/a.jpg", 1)


def test_a_cutout_is_logged_with_the_time_that_it_took(
    shop: Shop, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("remove_background.worker.time", clock)
    shop.remover.meanwhile = lambda _: clock.sleep(1.5)
    shop.handle({"Records": [make_record("a.jpg")]})
    (line,) = shop.read_log()
    assert line["milliseconds"] == 1500


def test_no_cutout_is_made_before_its_upload_whatever_clocks_say(shop: Shop, make_record: MakeRecord) -> None:
    endings, _ = shop.handle({"Records": [make_record("a.jpg") | {"eventTime": "2999-01-31T12:00:00Z"}]})
    assert endings[0].age == 0


@pytest.mark.parametrize("outcome", [Outcome.DUPLICATE, Outcome.SUPERSEDED, Outcome.DELETED])
def test_other_outcomes_say_nothing_about_the_service(shop: Shop, make_record: MakeRecord, outcome: Outcome) -> None:
    shop.remover.fates = {"bad.jpg": ServiceUnavailable("Later."), "a.jpg": outcome}
    shop.handle({"Records": [make_record("bad.jpg")]})
    endings, done = shop.handle({"Records": [make_record("a.jpg") | {"eventTime": "2026-01-31T12:00:00Z"}]})
    assert (endings, done) == ([Ending(outcome.value)], True)
    item = IntakeItem(shop.clients.dynamodb, "ledger")
    assert len(item.read().failing) == 1
    shop.handle({"Records": [make_record("good.jpg")]})
    assert len(item.read().failing) == 0


def test_a_failed_message_is_put_back_with_one_more_attempt(shop: Shop, make_record: MakeRecord) -> None:
    shop.remover.fates = {"a.jpg": ServiceUnavailable("Later.")}
    body = {"Records": [make_record("a.jpg")]}
    endings, done = shop.handle(body, attempt=3)
    assert ([ending.outcome for ending in endings], done) == (["unavailable"], True)
    ((again, attributes),) = shop.read(shop.uploads)
    assert (json.loads(again), attributes) == (body, {"Attempts": "3", "FirstSent": str(FIRST_SENT)})
    assert shop.read(shop.letters) == []
    (line,) = shop.read_log()
    assert {name: line[name] for name in ("message", "source", "attempt", "error_code", "error_message", "billed")} == {
        "message": "unavailable",
        "source": "s3://input/a.jpg",
        "attempt": 3,
        "error_code": "service_unavailable",
        "error_message": "Later.",
        "billed": "no",
    }
    assert line["counts"] is True


@pytest.mark.parametrize(
    "error",
    [
        RateLimitExceeded("Later."),
        InProgress("Later."),
        OutOfTime("Later."),
        IntakePaused("Later."),
        waiting(),
        InsufficientCredits("Buy some."),
    ],
)
def test_a_failure_that_is_not_the_uploads_fault_uses_no_attempt(
    shop: Shop, make_record: MakeRecord, error: CutoutError
) -> None:
    shop.remover.fates = {"a.jpg": error}
    body = {"Records": [make_record("a.jpg")]}
    assert shop.handle(body, attempt=5)[1]
    assert shop.read(shop.letters) == []
    ((again, attributes),) = shop.read(shop.uploads)
    assert (json.loads(again), attributes) == (body, {"Attempts": "4", "FirstSent": str(FIRST_SENT)})


@pytest.mark.parametrize("error", [ServiceUnavailable("Later."), ResultGone("Gone."), Forbidden("403")])
@pytest.mark.parametrize("on_probation", [True, False])
def test_an_upload_that_fails_alone_gets_its_letter_within_five_attempts(
    shop: Shop, make_record: MakeRecord, error: CutoutError, on_probation: bool
) -> None:
    shop.remover.fates = {"a.jpg": error}
    item = IntakeItem(shop.clients.dynamodb, "ledger")
    if on_probation:
        item.pause(FUNCTION, "service_unavailable")
        item.reopen(item.read(), new_token())
    body: object = {"Records": [make_record("a.jpg")]}
    for attempt in range(1, 5):
        shop.handle(body, attempt)
        ((_, attributes),) = shop.read(shop.uploads)
        assert attributes["Attempts"] == str(attempt)
        assert shop.read(shop.letters) == []
    shop.handle(body, 5)
    ((letter, attributes),) = shop.read(shop.letters)
    assert json.loads(letter) == body
    assert (attributes["ErrorCode"], attributes["Attempts"]) == (error.code, "5")
    assert shop.read(shop.uploads) == []
    assert item.read().paused_by is None


def test_ten_uploads_that_fail_pause_the_intake(shop: Shop, make_record: MakeRecord) -> None:
    item = IntakeItem(shop.clients.dynamodb, "ledger")
    for number in range(10):
        assert item.read().paused_by is None
        shop.remover.fates = {f"{number}.jpg": ServiceUnavailable("Later.")}
        shop.handle({"Records": [make_record(f"{number}.jpg")]})
    assert item.read().paused_by == FUNCTION


def test_a_rejected_upload_becomes_a_letter_at_once(shop: Shop, make_record: MakeRecord) -> None:
    shop.remover.fates = {"a.jpg": MalformedImage("No image.")}
    endings, done = shop.handle({"Records": [make_record("a.jpg")]})
    assert (endings, done) == ([Ending("letter")], True)
    ((body, attributes),) = shop.read(shop.letters)
    assert json.loads(body) == {"Records": [make_record("a.jpg")]}
    assert (attributes["ErrorCode"], attributes["ErrorMessage"]) == ("malformed_image", "No image.")
    assert (attributes["Source"], attributes["RequestId"]) == ("s3://input/a.jpg", "request-1")
    assert shop.read(shop.uploads) == []


def read_rejection(shop: Shop, key: str) -> dict[str, Any] | None:
    item = shop.clients.dynamodb.get_item(TableName="ledger", Key={"id": {"S": item_id(f"s3://input/{key}")}})
    return item.get("Item")


def test_an_image_that_is_rejected_for_good_is_recorded_forever(shop: Shop, make_record: MakeRecord) -> None:
    shop.remover.fates = {"a b.jpg": MalformedImage("No image.")}
    shop.handle({"Records": [make_record("a+b.jpg", eTag="the-etag")]})
    assert read_rejection(shop, "a b.jpg") == {
        "id": {"S": "rejected:s3://input/a b.jpg"},
        "etag": {"S": "the-etag"},
        "code": {"S": "malformed_image"},
    }


@pytest.mark.parametrize(
    "error", [OutputKeyConflict("Taken."), OutputKeyTooLong("Too long."), final(ResultGone("Gone."))], ids=str
)
def test_a_rejection_that_says_nothing_about_the_image_is_not_recorded(
    shop: Shop, make_record: MakeRecord, error: CutoutError
) -> None:
    shop.remover.fates = {"a.jpg": error}
    assert shop.handle({"Records": [make_record("a.jpg")]}) == ([Ending("letter")], True)
    assert read_rejection(shop, "a.jpg") is None


def test_nothing_is_recorded_before_the_letter_is_written(
    shop: Shop, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.remover.fates = {"a.jpg": MalformedImage("No image.")}
    monkeypatch.setattr(shop.worker.letters, "_queue_url", "https://sqs.eu-central-1.amazonaws.com/123456789012/none")
    assert not shop.handle({"Records": [make_record("a.jpg")]})[1]
    assert read_rejection(shop, "a.jpg") is None


def test_a_rejection_that_cannot_be_recorded_is_logged(
    shop: Shop, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**_: object) -> None:
        raise refusal("InternalServerError", "UpdateItem")

    shop.remover.fates = {"a.jpg": MalformedImage("No image.")}
    monkeypatch.setattr(shop.worker.rejections, "_dynamodb", SimpleNamespace(update_item=fail))
    assert shop.handle({"Records": [make_record("a.jpg")]}) == ([Ending("letter")], True)
    assert "could not be noted (InternalServerError)" in caplog.text


def test_an_upload_that_is_not_worth_another_credit_becomes_a_letter_at_once(
    shop: Shop, make_record: MakeRecord
) -> None:
    shop.remover.fates = {"a.jpg": final(ResultGone("Gone."))}
    shop.handle({"Records": [make_record("a.jpg")]})
    ((_, attributes),) = shop.read(shop.letters)
    assert (attributes["ErrorCode"], attributes["Billed"]) == ("result_gone", "yes")


@pytest.mark.parametrize("body", ["Hello?", '{"Records": [{"s3": {"bucket": {}}}]}'])
def test_a_message_that_is_not_an_upload_becomes_a_letter(shop: Shop, body: str) -> None:
    assert shop.handle(body) == ([Ending("letter")], True)
    ((letter, attributes),) = shop.read(shop.letters)
    assert (letter, attributes["ErrorCode"]) == (body, "bad_notification")
    assert "Source" not in attributes


def test_the_test_event_and_folders_leave_no_trace(shop: Shop, make_record: MakeRecord) -> None:
    assert shop.handle({"Event": "s3:TestEvent"}) == ([], True)
    assert shop.handle({"Records": [make_record("folder/", size=0)]}) == ([Ending("ignored")], True)
    assert (shop.read(shop.letters), shop.remover.processed, shop.read_log()) == ([], [], [])


def test_only_the_records_that_failed_are_in_the_letter_and_in_the_retry(shop: Shop, make_record: MakeRecord) -> None:
    shop.remover.fates = {
        "rejected.jpg": MalformedImage("No image."),
        "later.jpg": ServiceUnavailable("Later."),
        "wait.jpg": InProgress("Later."),
    }
    keys = ["done.jpg", "rejected.jpg", "later.jpg", "wait.jpg"]
    assert shop.handle({"Records": [make_record(key) for key in keys]})[1]
    ((letter, _),) = shop.read(shop.letters)
    assert json.loads(letter) == {"Records": [make_record("rejected.jpg")]}
    ((retry, attributes),) = shop.read(shop.uploads)
    assert json.loads(retry) == {"Records": [make_record("later.jpg"), make_record("wait.jpg")]}
    assert attributes["Attempts"] == "1"


@pytest.mark.parametrize(
    ("billed", "before", "says"),
    [(Billed.NO, False, False), (Billed.MAYBE, False, True), (Billed.YES, False, True), (Billed.NO, True, True)],
)
def test_a_message_whose_attempt_does_not_count_says_whether_it_may_be_billed(
    shop: Shop, make_record: MakeRecord, *, billed: Billed, before: bool, says: bool
) -> None:
    error = RateLimitExceeded("Later.")
    error.billed = billed
    shop.remover.fates = {"a.jpg": error}
    body = json.dumps({"Records": [make_record("a.jpg")]})
    shop.worker.handle(Delivery(body, 1, before, FIRST_SENT, "request-1", Deadline(60)))
    ((_, attributes),) = shop.read(shop.uploads)
    assert attributes.get("MayBeBilled") == ("1" if says else None)


def test_a_message_that_cannot_be_put_back_stays_in_the_queue(shop: Shop, make_record: MakeRecord) -> None:
    shop.clients.sqs.delete_queue(QueueUrl=shop.uploads)
    shop.remover.fates = {"b.jpg": ServiceUnavailable("Later.")}
    assert not shop.handle({"Records": [make_record("a.jpg"), make_record("b.jpg")]})[1]
    line = shop.read_log()[-1]
    assert (line["message"], line["error_code"]) == (
        "message not put back",
        "AWS.SimpleQueueService.NonExistentQueue",
    )


@pytest.mark.parametrize("body", ["Hello?", None])
def test_a_letter_that_cannot_be_written_keeps_the_message(
    shop: Shop, make_record: MakeRecord, body: str | None
) -> None:
    shop.clients.sqs.delete_queue(QueueUrl=shop.letters)
    shop.remover.fates = {"a.jpg": MalformedImage("No image."), "b.jpg": ServiceUnavailable("Later.")}
    endings, done = shop.handle(body or {"Records": [make_record("a.jpg"), make_record("b.jpg")]})
    assert (endings[0], done) == (Ending("unavailable", comes_back=True, stays=True), False)
    (line,) = (line for line in shop.read_log() if line["message"] == "letter not written")
    assert line["letter_error"] == "SQS did not take the letter (AWS.SimpleQueueService.NonExistentQueue)."
    assert shop.read(shop.uploads) == []  # nor is a part of it put back: it would be there twice


def test_an_unknown_error_is_retried_and_then_becomes_a_letter(shop: Shop, make_record: MakeRecord) -> None:
    shop.remover.fates = {"a.jpg": ZeroDivisionError("at https://signed?X-Amz-Signature=5ec4e7")}
    body = {"Records": [make_record("a.jpg")]}
    shop.handle(body, attempt=4)
    assert shop.read(shop.letters) == []
    shop.handle(body, attempt=5)
    ((letter, attributes),) = shop.read(shop.letters)
    assert (json.loads(letter), attributes["Source"]) == (body, "s3://input/a.jpg")
    assert (attributes["ErrorCode"], attributes["Billed"]) == (UnexpectedError.code, Billed.MAYBE)
    assert attributes["ErrorMessage"] == "The function failed (ZeroDivisionError). Its log says where."
    line = shop.read_log()[0]
    assert (line["message"], line["error"]) == ("unexpected error", "ZeroDivisionError")
    assert line["error_message"] == "at [redacted]"
    assert "test_worker.py:" in line["at"][-1]
    assert "5ec4e7" not in shop.log.getvalue() + str(attributes)


def test_while_the_intake_is_known_to_be_paused_no_upload_is_processed(shop: Shop, make_record: MakeRecord) -> None:
    shop.worker.intake.report_failure(InsufficientCredits("Buy some."), None)
    body = {"Records": [make_record("a.jpg")]}
    assert shop.handle(body, attempt=2)[1]
    assert shop.remover.processed == []
    ((again, attributes),) = shop.read(shop.uploads)
    assert (json.loads(again), attributes["Attempts"]) == (body, "1")


@pytest.mark.parametrize(
    ("fate", "probation"),
    [
        (Outcome.CUTOUT, False),
        (Outcome.DUPLICATE, True),
        (ServiceUnavailable("Later."), True),
        (ZeroDivisionError(), True),
    ],
)
def test_the_probe_is_held_until_the_upload_has_ended(
    shop: Shop, make_record: MakeRecord, fate: Exception | Outcome, probation: bool
) -> None:
    item = IntakeItem(shop.clients.dynamodb, "ledger")
    item.pause(FUNCTION, "service_unavailable")
    item.reopen(item.read(), new_token())

    def stored() -> dict[str, Any]:
        return shop.clients.dynamodb.get_item(TableName="ledger", Key=ITEM)["Item"]

    held = []

    def pay(_: Upload) -> None:
        shop.worker.intake.admit(stored(), 4e9, Part())
        held.append("probe" in stored())

    shop.remover.meanwhile, shop.remover.fates = pay, {"a.jpg": fate}
    shop.handle({"Records": [make_record("a.jpg")]})
    assert held == [True]
    assert "probe" not in stored()
    assert ("reopened_at" in stored()) is probation


def test_each_attempt_doubles_the_backoff(shop: Shop, make_record: MakeRecord, delays: list[int]) -> None:
    shop.remover.fates = {"a.jpg": ServiceUnavailable("Later.")}
    for attempt in range(1, 5):
        shop.handle({"Records": [make_record("a.jpg")]}, attempt)
    assert delays == [30, 60, 120, 240]


def test_the_backoff_has_full_jitter(
    shop: Shop, make_record: MakeRecord, delays: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("remove_background.worker.random.uniform", lambda least, most: least)
    shop.remover.fates = {"a.jpg": ServiceUnavailable("Later.")}
    shop.handle({"Records": [make_record("a.jpg")]}, 4)
    assert delays == [0]


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (RateLimitExceeded("Later."), 2),
        (OutOfTime("Later."), 2),
        (InProgress("Later."), 30),
        (waiting(), 30),
        (IntakePaused("Later."), 300),
        (RateLimitExceeded("Later.", retry_after=77), 79),
        (RateLimitExceeded("Later.", retry_after=7777), 900),
    ],
)
def test_an_upload_that_only_waits_does_not_wait_longer_each_time(
    shop: Shop, make_record: MakeRecord, delays: list[int], error: CutoutError, seconds: int
) -> None:
    shop.remover.fates = {"a.jpg": error}
    for attempt in (1, 5):
        shop.handle({"Records": [make_record("a.jpg")]}, attempt)
    assert delays == [seconds, seconds]


def test_a_paused_intake_is_not_asked_again_at_once(
    shop: Shop, make_record: MakeRecord, delays: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("remove_background.worker.random.uniform", lambda least, most: least)
    shop.remover.fates = {"a.jpg": IntakePaused("Later.")}
    shop.handle({"Records": [make_record("a.jpg")]})
    assert delays == [150]


def test_a_message_of_several_records_waits_for_the_slowest(
    shop: Shop, make_record: MakeRecord, delays: list[int]
) -> None:
    shop.remover.fates = {"a.jpg": RateLimitExceeded("Later."), "b.jpg": InProgress("Later.")}
    shop.handle({"Records": [make_record("b.jpg"), make_record("a.jpg")]})
    assert delays == [30]


def test_a_letter_says_what_earlier_attempts_have_cost(shop: Shop, make_record: MakeRecord) -> None:
    shop.clients.dynamodb.put_item(
        TableName="ledger",
        Item={
            "id": {"S": "cutout:a.png"},
            "source": {"S": "s3://input/a.jpg"},
            "etag": {"S": "0f343b0931126a20f133d67c2b018a3b"},
            "holder": {"S": "holder"},
            "billed": {"S": "maybe"},
        },
    )
    for key in ("a.jpg", "b.jpg"):
        shop.remover.fates = {key: ServiceUnavailable("Not reached.")}
        shop.handle({"Records": [make_record(key)]}, 5)
    billed = {attributes["Source"]: attributes["Billed"] for _, attributes in shop.read(shop.letters)}
    assert billed == {"s3://input/a.jpg": "maybe", "s3://input/b.jpg": "no"}
    assert [(line["message"], line["source"], line["billed"]) for line in shop.read_log()] == [
        ("letter", "s3://input/a.jpg", "maybe"),
        ("letter", "s3://input/b.jpg", "no"),
    ]
    item = shop.clients.dynamodb.get_item(TableName="ledger", Key={"id": {"S": "cutout:a.png"}})["Item"]
    # So that another delivery of it does not pay:
    assert float(item["ended_at"]["N"]) == pytest.approx(time.time(), abs=60)
    assert item["ended_as"] == {"S": "service_unavailable"}


@pytest.mark.parametrize(("may_be_billed", "billed"), [(False, "no"), (True, "maybe")])
def test_billed_is_maybe_for_a_retry_that_finds_another_uploads_item(
    shop: Shop, make_record: MakeRecord, *, may_be_billed: bool, billed: str
) -> None:
    shop.clients.dynamodb.put_item(
        TableName="ledger", Item={"id": {"S": "cutout:a.png"}, "source": {"S": "s3://input/a.gif"}}
    )
    shop.remover.fates = {"a.jpg": MalformedImage("No image.")}
    body = json.dumps({"Records": [make_record("a.jpg")]})
    shop.worker.handle(Delivery(body, 1, may_be_billed, FIRST_SENT, "request-1", Deadline(60)))
    ((_, attributes),) = shop.read(shop.letters)
    assert attributes["Billed"] == billed


def test_the_letter_of_an_upload_that_cost_nothing_ends_it_too(shop: Shop, make_record: MakeRecord) -> None:
    shop.clients.dynamodb.put_item(
        TableName="ledger",
        Item={
            "id": {"S": "cutout:a.png"},
            "source": {"S": "s3://input/a.jpg"},
            "etag": {"S": "0f343b0931126a20f133d67c2b018a3b"},
            "holder": {"S": "holder"},
            "billed": {"S": "no"},
        },
    )
    shop.remover.fates = {"a.jpg": ServiceUnavailable("Later.")}
    shop.handle({"Records": [make_record("a.jpg")]}, 5)
    item = shop.clients.dynamodb.get_item(TableName="ledger", Key={"id": {"S": "cutout:a.png"}})["Item"]
    assert item["ended_as"] == {"S": "service_unavailable"}


@pytest.mark.parametrize("seconds", [-1, 1])
def test_a_letter_ends_its_upload_anew_if_that_was_sent_after_the_letter_before(
    shop: Shop, make_record: MakeRecord, seconds: int
) -> None:
    """Else that one may have been sent back since."""
    upload = read_upload(make_record("a.jpg"))
    assert upload
    name, before = letter_of(upload), FIRST_SENT / 1000 + seconds
    shop.clients.dynamodb.put_item(
        TableName="ledger",
        Item={
            "id": {"S": "cutout:a.png"},
            "source": {"S": upload.uri},
            "etag": {"S": upload.etag},
            "holder": {"S": "holder"},
            name: {"N": str(before)},
        },
    )
    shop.remover.fates = {"a.jpg": ServiceUnavailable("Later.")}
    shop.handle({"Records": [make_record("a.jpg")]}, 5)
    item = shop.clients.dynamodb.get_item(TableName="ledger", Key={"id": {"S": "cutout:a.png"}})["Item"]
    after = float(item[name]["N"])
    assert after == (before if seconds > 0 else pytest.approx(time.time(), abs=60))


def test_an_upload_whose_output_key_is_too_long_becomes_a_letter(shop: Shop, make_record: MakeRecord) -> None:
    key = "k" * 1024
    shop.remover.fates = {key: OutputKeyTooLong("Too long.")}
    assert shop.handle({"Records": [make_record(key)]}) == ([Ending("letter")], True)
    ((_, attributes),) = shop.read(shop.letters)
    assert (attributes["ErrorCode"], attributes["Billed"]) == ("output_key_too_long", "no")


def test_an_unknown_error_can_be_logged(shop: Shop) -> None:
    worker_module.log_unexpected(None)
    (line,) = shop.read_log()
    assert (line["message"], line["error"], line["at"]) == ("unexpected error", "NoneType", [])


@pytest.mark.parametrize(("bucket", "key"), [("output", "uploads/a.jpg"), ("input", "cutouts/a.jpg")])
def test_an_object_outside_the_input_bucket_or_its_prefix_is_not_processed(
    shop: Shop, make_record: MakeRecord, bucket: str, key: str
) -> None:
    """Each cutout would become an upload again, without an end."""
    shop.worker.config.input_prefix = "uploads/"  # type: ignore[misc]
    record = make_record(key)
    record["s3"]["bucket"]["name"] = bucket
    assert shop.handle({"Records": [record]}) == ([Ending("letter")], True)
    ((_, attributes),) = shop.read(shop.letters)
    assert (attributes["ErrorCode"], attributes["ErrorMessage"]) == (
        "bad_notification",
        "The notification is about an object outside the input bucket, or InputPrefix.",
    )
    assert shop.remover.processed == []
    shop.handle({"Records": [make_record("uploads/a.jpg")]})
    assert len(shop.remover.processed) == 1
