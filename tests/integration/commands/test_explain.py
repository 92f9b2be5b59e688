import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from urllib.parse import quote_plus

import pytest
from botocore.exceptions import ClientError
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from cutout.operations import credits as balance
from cutout.operations import explanation, logs, queues
from cutout.operations import intake as stack_intake
from cutout.operations.deployment import Deployment
from cutout.operations.explanation import Part
from cutout.presentation.advice import ADVICE
from cutout.presentation.answer import word_billed
from remove_background.deadline import Deadline
from remove_background.errors import (
    Billed,
    CutoutError,
    OutputKeyConflict,
    Rejected,
    ResolutionTooLow,
    ServiceUnavailable,
    UnexpectedAnswer,
)
from remove_background.intake import IntakeItem
from remove_background.ledger import Ledger
from remove_background.letters import Letters
from remove_background.models import cutout_metadata
from remove_background.rejections import Rejections
from remove_background.uploads import Upload

pytestmark = pytest.mark.usefixtures("one_thread", "no_invocations")

GROUP = "/aws/lambda/remove-background"
RESULT_URL = "https://results.test/secret-path.png?signature=secret"
TOO_SMALL = ResolutionTooLow("The image has 40x40 pixels; at least 64x64 are needed.")


class World:
    """What the function, its users and AWS would have done, until the command is called."""

    def __init__(self, deployed: Deployment, make_record: Callable[..., Any]) -> None:
        self.aws = deployed
        self._make_record = make_record
        self._lines = 0
        self.version()

    def version(self, status: Literal["Enabled", "Suspended"] = "Enabled") -> None:
        self.aws.s3.put_bucket_versioning(Bucket="input", VersioningConfiguration={"Status": status})

    def upload(self, key: str = "a.jpg", body: bytes = b"image") -> Upload:
        answer = self.aws.s3.put_object(Bucket="input", Key=key, Body=body)
        return Upload("input", key, answer["ETag"].strip('"'), answer.get("VersionId"))

    def age(self, key: str, age: timedelta) -> None:
        """As if the upload were so old."""
        s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets["input"].keys[key].last_modified -= age

    def log(self, upload: Upload, outcome: str, attempt: int = 1, error: CutoutError | None = None) -> None:
        if not self.aws.logs.describe_log_groups(logGroupNamePrefix=GROUP)["logGroups"]:
            self.aws.logs.create_log_group(logGroupName=GROUP)
            self.aws.logs.create_log_stream(logGroupName=GROUP, logStreamName="stream")
        failed = {"error_code": error.code, "error_message": error.message, "billed": error.billed} if error else {}
        line = {"message": outcome, "source": upload.uri, "attempt": attempt, "milliseconds": 1203} | failed
        self._lines += 1
        event = {"timestamp": int(time.time() * 1000) + self._lines, "message": json.dumps(line)}
        self.aws.logs.put_log_events(logGroupName=GROUP, logStreamName="stream", logEvents=[event])

    def pay(self, upload: Upload, error: CutoutError | None = None) -> None:
        def pay() -> str:
            if error:
                raise error
            return RESULT_URL

        def confirm() -> None: ...

        ledger = Ledger(self.aws.dynamodb, "ledger", lambda _: None, lambda _: None)
        try:
            ledger.pay_once(
                "a.png", upload, sent=time.time(), modified=0.0, pay=pay, confirm=confirm, deadline=Deadline(10)
            )
        except CutoutError as raised:
            assert raised is error  # noqa: PT017

    def write_cutout(self, upload: Upload, key: str = "a.png") -> None:
        self.aws.s3.put_object(Bucket="output", Key=key, Body=b"png", Metadata=cutout_metadata(upload))

    def write_letter(self, upload: Upload, error: CutoutError) -> None:
        record = self._make_record(quote_plus(upload.key), eTag=upload.etag, versionId=upload.version_id)
        Letters(self.aws, self.aws.dead_letter_queue).write(
            json.dumps({"Records": [record]}), error, source=upload.uri, attempts=1, request_id="request"
        )

    def reject(self, upload: Upload, error: Rejected = TOO_SMALL) -> None:
        """As the worker does."""
        self.write_letter(upload, error)
        Rejections(self.aws.dynamodb, "ledger").note(upload, error)
        self.log(upload, "letter", error=error)

    def delete_letters(self) -> None:
        self.aws.sqs.purge_queue(QueueUrl=self.aws.dead_letter_queue)

    def enqueue(self) -> None:
        self.aws.sqs.send_message(QueueUrl=self.aws.upload_queue, MessageBody="{}")


@pytest.fixture
def world(deployed: Deployment, make_record: Callable[..., Any]) -> World:
    return World(deployed, make_record)


Cutout = Callable[..., Any]


def answer(call: Any) -> str:  # noqa: ANN401
    first: str = call.out.splitlines()[0]
    return first


def today() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d}"


def test_a_key_that_nobody_uploaded(world: World, cutout: Cutout) -> None:
    world.upload("A.jpg")
    call = cutout("explain", "a.jpg")
    assert call.code == 1
    assert answer(call).startswith("Nothing is known of it")
    assert "upper and lower case differ" in call.out
    found = cutout("explain", "a.jpg", "--json")
    assert found.code == 1
    assert (found.json["happened"], found.json["input"], found.json["versions"]) == ("never_uploaded", None, [])


def test_a_cutout_at_the_second_attempt(world: World, cutout: Cutout) -> None:
    upload = world.upload()
    world.log(upload, "unavailable", error=ServiceUnavailable("Pixelcut answered 503."))
    world.pay(upload)
    world.write_cutout(upload)
    world.log(upload, "cutout", attempt=2)
    call = cutout("explain", "a.jpg")
    assert (call.code, call.err) == (0, "")
    assert answer(call).startswith(f"It became a cutout on {today()}")
    assert answer(call).endswith(" UTC, at the second attempt; one credit was charged.")
    assert "its cutout, 3 bytes" in call.out
    assert "attempt 1 after 1,203 ms: failed, and went back to the queue: service_unavailable" in call.out
    assert "the paid result is held until" in call.out
    assert "Queue" not in call.out

    found = cutout("explain", "a.jpg", "--json").json
    assert found["happened"] == "cutout"
    assert found["input"]["version"] == upload.version_id
    assert (found["output"]["state"], found["output"]["source"]) == ("current", "s3://input/a.jpg")
    assert [(attempt["outcome"], attempt["attempt"]) for attempt in found["attempts"]] == [
        ("unavailable", 1),
        ("cutout", 2),
    ]
    assert (found["ledger"]["billed"], found["ledger"]["charges"]) == ("yes", 1)
    assert found["ledger"]["result_held_until"]
    assert found["unknown"] == {}


def test_no_url_of_a_result_is_told(world: World, cutout: Cutout) -> None:
    world.pay(world.upload())
    for call in (cutout("explain", "a.jpg"), cutout("explain", "a.jpg", "--json")):
        assert "secret" not in call.out + call.err
        assert "held" in call.out


def test_the_same_bytes_uploaded_again_cost_nothing(world: World, cutout: Cutout) -> None:
    world.write_cutout(world.upload())
    s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets["output"].keys["a.png"].last_modified -= timedelta(hours=1)
    world.upload()
    assert answer(cutout("explain", "a.jpg")).endswith("nothing was charged again.")


def test_a_letter_is_told_with_its_remedy(world: World, cutout: Cutout) -> None:
    world.reject(world.upload())
    call = cutout("explain", "a.jpg")
    assert call.code == 0
    lines = call.out.splitlines()
    assert lines[0] == "It is a letter: resolution_too_low; nothing was charged."
    assert lines[1] == f"Next: {ADVICE['resolution_too_low'].remedy}"
    assert TOO_SMALL.message in call.out
    assert "failed, and became a letter" in call.out
    found = cutout("explain", "a.jpg", "--json").json
    (letter,) = found["letters"]
    assert (letter["code"], letter["current"]) == ("resolution_too_low", True)
    assert found["rejected"] == {"code": "resolution_too_low", "current": True}


def test_what_a_letter_has_cost_is_told(world: World, cutout: Cutout) -> None:
    upload = world.upload()
    world.pay(upload, UnexpectedAnswer("Pixelcut answered 302."))
    world.write_letter(upload, UnexpectedAnswer("Pixelcut answered 302."))
    call = cutout("explain", "a.jpg")
    assert answer(call) == "It is a letter: unexpected_answer; one credit may have been charged."
    assert "the last charged call brought no cutout: unexpected_answer" in call.out


def test_a_letter_that_was_replayed(world: World, cutout: Cutout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balance, "read", lambda _: 1000.0)
    upload = world.upload()
    down = ServiceUnavailable("Pixelcut answered 503.")
    world.write_letter(upload, down)
    world.log(upload, "letter", attempt=5, error=down)
    cutout("pause", "--yes")
    assert cutout("letters", "replay", "--all", "--yes").code == 0
    call = cutout("explain", "a.jpg")
    assert "It became a letter on" in answer(call)
    assert "replayed and waits in the queue" in answer(call)
    assert "The intake is paused" in call.out
    assert "1 wait, 0 in flight, 0 delayed" in call.out

    world.write_cutout(upload)
    world.log(upload, "cutout")
    assert ", after its letter was replayed" in answer(cutout("explain", "a.jpg"))


def test_a_letter_that_outlives_its_cutout(world: World, cutout: Cutout) -> None:
    upload = world.upload()
    world.reject(upload)
    world.write_cutout(upload)
    assert "Its old letter is still there: `cutout letters discard" in cutout("explain", "a.jpg").out


def test_a_rejected_upload_whose_letter_was_discarded(world: World, cutout: Cutout) -> None:
    world.reject(world.upload())
    world.delete_letters()
    call = cutout("explain", "a.jpg")
    assert answer(call).startswith("It was rejected for good: resolution_too_low; nothing was charged.")
    assert ADVICE["resolution_too_low"].remedy in call.out


def test_a_deleted_upload(world: World, cutout: Cutout) -> None:
    world.write_cutout(world.upload())
    world.aws.s3.delete_object(Bucket="input", Key="a.jpg")
    call = cutout("explain", "a.jpg")
    assert call.code == 0
    assert answer(call).startswith(f"It was deleted on {today()}")
    assert answer(call).endswith("is still there.")
    assert "not there" in call.out
    assert [version["deleted"] for version in cutout("explain", "a.jpg", "--json").json["versions"]] == [True, False]

    world.aws.s3.delete_object(Bucket="output", Key="a.png")
    assert answer(cutout("explain", "a.jpg")).endswith("; no cutout of it is there.")


def test_an_upload_of_which_only_the_log_is_left(world: World, cutout: Cutout) -> None:
    world.log(Upload("input", "a.jpg", "0123"), "deleted")
    call = cutout("explain", "a.jpg")
    assert (call.code, answer(call)) == (0, "It was uploaded once, and is gone; no cutout of it is there.")


def test_newer_bytes_are_told_from_older_ones(world: World, cutout: Cutout) -> None:
    older = world.upload(body=b"older")
    world.pay(older)
    world.write_cutout(older)
    world.write_letter(older, TOO_SMALL)
    world.upload(body=b"newer")
    world.enqueue()
    call = cutout("explain", "a.jpg")
    assert answer(call) == "It has neither a cutout nor a letter yet: most likely it waits in the queue."
    assert "the cutout of other bytes of the key" in call.out
    assert "about an earlier upload" in call.out
    assert "one credit was charged for other bytes of the key" in call.out
    assert call.out.count("uploaded, 5 bytes") == 2
    found = cutout("explain", "a.jpg", "--json").json
    assert (found["output"]["state"], found["ledger"]["current"]) == ("stale", False)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (Upload("input", "b c.jpg", "0123"), "the cutout of another upload, s3://input/b c.jpg"),
        (Upload("input", "é" * 500, "0123"), "the cutout of another upload, of a very long key"),
        (None, "not a cutout"),
    ],
)
def test_an_output_key_conflict(world: World, cutout: Cutout, source: Upload | None, words: str) -> None:
    upload = world.upload()
    world.aws.s3.put_object(
        Bucket="output", Key="a.png", Body=b"png", Metadata=cutout_metadata(source) if source else {}
    )
    call = cutout("explain", "a.jpg")
    assert answer(call).startswith("It has no cutout: its output key is taken")
    assert words in call.out
    assert ADVICE["output_key_conflict"].remedy in call.out

    world.write_letter(upload, OutputKeyConflict("The output key a.png is taken."))
    assert answer(cutout("explain", "a.jpg")) == "It is a letter: output_key_conflict; nothing was charged."


def test_the_ledger_is_about_another_upload_of_the_output_key(world: World, cutout: Cutout) -> None:
    world.upload()
    world.pay(Upload("input", "a.gif", "0123"))
    assert "another upload of the same output key, s3://input/a.gif" in cutout("explain", "a.jpg").out


def test_a_key_whose_output_key_would_be_too_long(world: World, cutout: Cutout) -> None:
    key = "k" * 1024
    world.upload(key)
    call = cutout("explain", key)
    assert call.code == 0
    assert "would be longer than the 1,024 bytes" in call.out


def test_an_upload_in_flight(world: World, cutout: Cutout, monkeypatch: pytest.MonkeyPatch) -> None:
    def die() -> str:
        raise KeyboardInterrupt

    upload = world.upload()
    ledger = Ledger(world.aws.dynamodb, "ledger", lambda _: None, lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        ledger.pay_once(
            "a.png", upload, sent=time.time(), modified=0.0, pay=die, confirm=lambda: None, deadline=Deadline(10)
        )
    call = cutout("explain", "a.jpg")
    assert answer(call).startswith("It is in flight")
    assert "an attempt may be paying until" in call.out

    monkeypatch.setattr(explanation, "datetime", Later)
    assert "the function was stopped during the paid call" in cutout("explain", "a.jpg").out


class Later(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> Any:  # noqa: ANN401
        return datetime.now(tz) + timedelta(hours=2)


def test_an_upload_that_is_retried(world: World, cutout: Cutout) -> None:
    upload = world.upload()
    world.log(upload, "unavailable", attempt=12, error=ServiceUnavailable("Pixelcut answered 503."))
    world.enqueue()
    call = cutout("explain", "a.jpg")
    assert answer(call).startswith(
        "It waits in the queue to be retried (attempt 12 failed with service_unavailable on "
    )


def test_an_upload_that_was_lost_or_taken_back(world: World, cutout: Cutout) -> None:
    world.upload()
    call = cutout("explain", "a.jpg")
    assert call.code == 0
    assert answer(call) == "It has neither a cutout nor a letter, and the queue is empty."
    assert "`cutout backfill`" in call.out


def test_folders_and_keys_outside_the_prefix_are_not_taken(
    world: World, cutout: Cutout, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.upload("folder/", b"")
    assert answer(cutout("explain", "folder/")).startswith("It does not become a cutout")
    settings = dict(world.aws.settings)
    world.upload()
    monkeypatch.setattr(Deployment, "settings", settings | {"INPUT_PREFIX": "photos/"})
    assert answer(cutout("explain", "a.jpg")).startswith("It does not become a cutout")


def test_a_bucket_without_versions(world: World, cutout: Cutout) -> None:
    world.version("Suspended")
    world.reject(world.upload())
    call = cutout("explain", "a.jpg")
    assert answer(call) == "It is a letter: resolution_too_low; nothing was charged."
    assert "version" not in call.out


def test_a_log_that_is_kept_for_less_than_the_age_of_the_upload(world: World, cutout: Cutout) -> None:
    upload = world.upload()
    world.log(upload, "duplicate")
    world.aws.logs.put_retention_policy(logGroupName=GROUP, retentionInDays=30)
    assert "may be missing" not in cutout("explain", "a.jpg").out
    world.age("a.jpg", timedelta(days=40))
    call = cutout("explain", "a.jpg")
    assert "kept for 30 days, read since" in call.out
    assert "the upload is older, and earlier attempts may be missing here" in call.out
    assert cutout("explain", "a.jpg", "--json").json["log"]["may_miss_attempts"] is True


def test_hours_limit_the_log(world: World, cutout: Cutout) -> None:
    upload = world.upload()
    world.age("a.jpg", timedelta(hours=2))
    world.log(upload, "duplicate")
    assert len(cutout("explain", "a.jpg", "--json", "--hours", "1").json["attempts"]) == 1
    found = cutout("explain", "a.jpg", "--json", "--hours", "0").json
    assert (found["attempts"], found["log"]["may_miss_attempts"]) == ([], True)
    assert cutout("explain", "a.jpg", "--hours", "-1").code == 2


REFUSED = ClientError({"Error": {"Code": "AccessDeniedException"}}, "Anything")
READERS = {
    Part.INPUT: (explanation, "_look_at"),
    Part.VERSIONS: (explanation, "_list_puts"),
    Part.OUTPUT: (explanation, "_find_standing"),
    Part.LOG: (logs, "read"),
    Part.RETENTION: (logs, "read_retention"),
    Part.LEDGER: (explanation, "_read_ledger"),
    Part.REJECTION: (explanation, "_read_rejection"),
    Part.LETTERS: (explanation, "_read_letters"),
    Part.QUEUE: (queues, "count"),
    Part.INTAKE: (stack_intake, "read"),
}


@pytest.mark.parametrize("part", Part)
def test_what_cannot_be_read_is_named_and_the_rest_is_told(
    world: World, cutout: Cutout, part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = world.upload()
    world.pay(upload)
    world.write_cutout(upload)
    world.log(upload, "cutout")

    def refuse(*_: object) -> None:
        raise REFUSED

    monkeypatch.setattr(*READERS[part], refuse)
    call = cutout("explain", "a.jpg")
    assert "could not be read: AWS does not allow these credentials to call Anything." in call.out
    found = cutout("explain", "a.jpg", "--json")
    assert part.value in found.json["unknown"]
    known = part not in (Part.INPUT, Part.OUTPUT)
    assert (found.code, found.json["happened"]) == ((0, "cutout") if known else (1, "unknown"))


def test_letters_that_cannot_be_read_leave_it_open_what_happened(
    world: World, cutout: Cutout, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = world.upload()
    monkeypatch.setattr(explanation, "RECEIVES", 1)
    for number in range(12):
        world.write_letter(Upload("input", f"{number}.jpg", "0123"), TOO_SMALL)
    call = cutout("explain", "a.jpg")
    assert call.code == 1
    assert answer(call).endswith("it may wait in the queue, or be one of the 2 other letters.")
    assert "2 letters of the queue not looked at" in call.out

    world.log(upload, "letter", error=TOO_SMALL)
    call = cutout("explain", "a.jpg")
    assert call.code == 0
    assert answer(call).endswith("The letter was not among those that were read.")


def test_nothing_is_changed(world: World, cutout: Cutout) -> None:
    world.reject(world.upload())
    called: set[str] = set()
    clients = [getattr(world.aws, name) for name in ("s3", "sqs", "dynamodb", "lambda_", "logs")]

    def note(model: Any, **_: object) -> None:  # noqa: ANN401
        called.add(model.name)

    for client in clients:
        client.meta.events.register("before-call", note, unique_id="test")
    try:
        cutout("explain", "a.jpg")
    finally:
        for client in clients:
            client.meta.events.unregister("before-call", unique_id="test")
    assert "ReceiveMessage" in called
    changing = {
        name for name in called if not name.startswith(("Get", "Head", "List", "Describe", "Filter", "Receive"))
    }
    assert changing == {"ChangeMessageVisibilityBatch"}
    letters = world.aws.sqs.receive_message(QueueUrl=world.aws.dead_letter_queue)["Messages"]
    assert len(letters) == 1


@pytest.mark.parametrize("key", ["a b/é 🐈.jpg", "صورة.jpg", 'q"uo\\te*.jpg', "a\u202eb.jpg", "s3.jpg", "[b].jpg"])
def test_keys_of_every_kind(world: World, cutout: Cutout, key: str) -> None:
    upload = world.upload(key)
    world.log(upload, "unavailable", error=ServiceUnavailable("Pixelcut answered 503."))
    world.write_letter(upload, TOO_SMALL)
    for given in (key, f"s3://input/{key}"):
        call = cutout("explain", given)
        assert answer(call) == "It is a letter: resolution_too_low; nothing was charged."
        assert "\u202e" not in call.out
        found = cutout("explain", given, "--json").json
        assert (found["key"], len(found["attempts"]), len(found["letters"])) == (key, 1, 1)


@pytest.mark.parametrize("key", ["", "s3://input/", "s3://output/a.png", "s3://other/a.jpg", "k" * 1025, "\udce9.jpg"])
def test_what_is_not_the_key_of_an_upload_is_refused(world: World, cutout: Cutout, key: str) -> None:
    call = cutout("explain", key)
    assert (call.code, call.out) == (2, "")
    assert "Invalid value for KEY" in call.err


@pytest.mark.parametrize(
    ("billed", "charges", "words"),
    [
        (Billed.NO, 0, "nothing was charged"),
        (Billed.MAYBE, 1, "one credit may have been charged"),
        (Billed.MAYBE, 2, "up to 2 credits may have been charged"),
        (Billed.YES, 2, "up to 2 credits were charged"),
    ],
)
def test_the_cost_in_words(billed: Billed, charges: int, words: str) -> None:
    assert word_billed(billed, charges) == words


def test_an_upload_that_waits_at_a_cap_says_when_it_goes_on(
    world: World, deployed: Deployment, cutout: Cutout, configure: Callable[..., None]
) -> None:
    configure(DAILY_CREDITS="2")
    world.upload()
    IntakeItem(deployed.dynamodb, "ledger").pause_at_cap("daily_cap", "attribute_not_exists(day_ends)", {})
    deployed.sqs.send_message(QueueUrl=deployed.upload_queue, MessageBody="{}", DelaySeconds=60)
    call = cutout("explain", "a.jpg")
    assert "most likely it waits in the queue" in answer(call)
    told = "The intake is paused: the daily cap was reached. Uploads wait. Credits are left again: it opens by itself"
    assert told in " ".join(call.out.split())
