import json
import shlex
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cutout.__main__ import app
from cutout.commands import letters as letters_command
from cutout.commands import options
from cutout.failures import Failure
from cutout.operations import credits as balance
from cutout.operations import dead_letters, deployment, follow, objects, queues, replay, selection
from cutout.operations.dead_letters import Letter
from cutout.operations.deployment import Deployment
from cutout.operations.replay import BATCH_BYTES, Replay
from cutout.presentation.advice import ADVICE
from remove_background.errors import BadNotification, Billed, CutoutError, MalformedImage, ServiceUnavailable
from remove_background.intake import IntakeItem
from remove_background.letters import Letters
from remove_background.models import cutout_metadata
from remove_background.uploads import Upload

pytestmark = pytest.mark.usefixtures("one_thread", "no_invocations")


@pytest.fixture(autouse=True)
def _credits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balance, "read", lambda _: 1000.0)


Write = Callable[..., str]


@pytest.fixture
def write(deployed: Deployment, make_record: Callable[..., Any]) -> Write:
    """Writes a letter as the function does, of an upload that is in the bucket unless `there` says otherwise.

    Returns its body.
    """

    def write(key: str, error: CutoutError | None = None, *, there: bool = True) -> str:
        etag = "0123"
        if there:
            etag = deployed.s3.put_object(Bucket="input", Key=key, Body=b"image")["ETag"].strip('"')
        body = json.dumps({"Records": [make_record(key, eTag=etag)]})
        Letters(deployed, deployed.dead_letter_queue).write(
            body, error or broken(), source=f"s3://input/{key}", attempts=5, request_id="request"
        )
        return body

    return write


def broken() -> MalformedImage:
    return MalformedImage("The file is empty.")


def down() -> ServiceUnavailable:
    error = ServiceUnavailable("Pixelcut answered 500.")
    error.billed = Billed.MAYBE
    return error


def bodies(deployed: Deployment, queue_url: str) -> list[str]:
    """All visible messages, which are hidden afterwards."""
    found = []
    while messages := deployed.sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10).get("Messages"):
        found += [message["Body"] for message in messages]
    return sorted(found)


def ids(cutout: Callable[..., Any], *options: str) -> list[str]:
    listed = cutout("letters", "list", "--json", *(options or ["--all"])).json
    return [letter["id"] for letter in listed["letters"]]


def test_list_counts_by_code(deployed: Deployment, cutout: Callable[..., Any], write: Write) -> None:
    write("a.jpg"), write("b.jpg"), write("c.jpg", down())
    call = cutout("letters", "list", "--json")
    assert call.code == 0
    first, second = call.json["codes"]
    assert (first["code"], first["letters"]) == ("malformed_image", 2)
    assert first["billed"] == {"no": 2, "maybe": 0, "yes": 0}
    assert second["billed"] == {"no": 0, "maybe": 1, "yes": 0}
    assert second["meaning"] == ADVICE["service_unavailable"].meaning
    assert call.json["hidden"] == 0
    shown = cutout("letters", "list").out
    assert ADVICE["malformed_image"].meaning in shown
    assert "letters replay" in shown


def test_reading_leaves_the_queue_as_it_was(deployed: Deployment, cutout: Callable[..., Any], write: Write) -> None:
    written = sorted([write("a.jpg"), write("b.jpg")])
    cutout("letters", "list")
    cutout("letters", "list", "--all")
    cutout("letters", "show", *ids(cutout))
    assert bodies(deployed, deployed.dead_letter_queue) == written


def test_an_empty_queue_is_reported(deployed: Deployment, cutout: Callable[..., Any]) -> None:
    assert "no letters" in cutout("letters", "list").out
    assert "no such letters" in cutout("letters", "list", "--all").out
    for command in ("replay", "discard"):
        for choice in (["--all"], ["--code", "malformed_image"]):
            call = cutout("letters", command, *choice)
            assert (call.code, call.out, call.err) == (0, "There are no such letters.\n", "")


def test_letters_are_listed_oldest_first_in_pages(
    deployed: Deployment, cutout: Callable[..., Any], write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(23):
        write(f"{number:02}.jpg", down() if number % 2 else None)
    receive = dead_letters._receive
    monkeypatch.setattr(dead_letters, "_receive", lambda *how: receive(*how)[::-1])  # in whatever order they come
    keys = []
    for page in range(1, 5):
        call = cutout("letters", "list", "--code", "malformed_image", "--limit", "5", f"--page={page}", "--json")
        assert call.json["count"] == 12
        keys += [upload for letter in call.json["letters"] for upload in letter["uploads"]]
    assert keys == [f"s3://input/{number:02}.jpg" for number in range(0, 23, 2)]
    assert "Page 2 of 5; 23 letters" in cutout("letters", "list", "--all", "--limit", "5", "--page", "2").out
    assert (
        cutout("letters", "list", "--all", "--limit", "5", "--page", "6").out
        == "There is no page 6: the last one is 5.\n"
    )


def test_a_listed_letter_says_what_and_why(deployed: Deployment, cutout: Callable[..., Any], write: Write) -> None:
    write("folder/a.jpg")
    (line,) = [line for line in cutout("letters", "list", "--all").out.splitlines() if "folder/a.jpg" in line]
    assert "s3://" not in line
    (letter,) = cutout("letters", "list", "--all", "--json").json["letters"]
    assert letter["uploads"] == ["s3://input/folder/a.jpg"]
    assert (letter["attempts"], letter["billed"], letter["message"]) == (5, "no", "The file is empty.")


def test_a_key_is_printed_without_markup_and_control_characters(
    deployed: Deployment, cutout: Callable[..., Any], write: Write
) -> None:
    write("%5Bred%5D%1B%5B31m%0A%E2%80%AE.jpg", there=False)
    shown = cutout("letters", "list", "--all").out + cutout("letters", "show", *ids(cutout)).out
    assert r"[red]\x1b[31m\n\u202e.jpg" in shown
    assert "\x1b" not in shown
    assert "\u202e" not in shown


def test_hidden_letters_are_reported(deployed: Deployment, cutout: Callable[..., Any], write: Write) -> None:
    write("a.jpg"), write("b.jpg")
    deployed.sqs.receive_message(QueueUrl=deployed.dead_letter_queue, MaxNumberOfMessages=1, VisibilityTimeout=60)
    call = cutout("letters", "list", "--json")
    assert call.json["hidden"] == 1
    assert "Not among these: 1 letter that another command reads" in call.err
    assert "another command" in cutout("letters", "show", "no-such-id").err


def test_letters_that_sqs_counts_but_does_not_deliver_are_reported(
    deployed: Deployment, cutout: Callable[..., Any], write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a.jpg")
    monkeypatch.setattr(queues, "count", lambda *_: queues.Counts(waiting=3, in_work=0, delayed=0))
    assert "SQS counted 2 letters more than it gave" in cutout("letters", "list").err


def test_show_prints_everything_about_a_letter(deployed: Deployment, cutout: Callable[..., Any], write: Write) -> None:
    body = write("a.jpg")
    (full,) = ids(cutout)
    (letter,) = cutout("letters", "show", full[:8], "--json").json
    assert datetime.fromisoformat(letter["since"]).tzinfo == datetime.fromisoformat(letter["failed_at"]).tzinfo == UTC
    assert letter["uploads"] == [{"source": "s3://input/a.jpg", "state": "there"}]
    assert (letter["id"], letter["code"], letter["request_id"]) == (full, "malformed_image", "request")
    assert (letter["meaning"], letter["remedy"]) == (
        ADVICE["malformed_image"].meaning,
        ADVICE["malformed_image"].remedy,
    )
    assert letter["body"] == body
    assert letter["log"] == "cutout logs --key a.jpg --hours 25"
    call = cutout("letters", "show", full)
    assert call.code == 0
    for text in ("cutout letters discard --code malformed_image", "it is there"):
        assert text in call.out
    assert "eventName" not in call.out
    with_body = cutout("letters", "show", full, "--body").out
    assert with_body.startswith(call.out)
    assert '      "eventName": "Object' in with_body


def test_show_says_what_became_of_the_upload(deployed: Deployment, cutout: Callable[..., Any], write: Write) -> None:
    write("gone.jpg", there=False), write("new.jpg")
    deployed.s3.put_object(Bucket="input", Key="new.jpg", Body=b"another image")
    shown = cutout("letters", "show", *ids(cutout), "--json").json
    assert {letter["uploads"][0]["state"] for letter in shown} == {"gone", "overwritten"}


def test_a_letter_without_a_reason_says_where_to_look(
    deployed: Deployment, cutout: Callable[..., Any], make_record: Callable[..., Any]
) -> None:
    deployed.sqs.send_message(
        QueueUrl=deployed.dead_letter_queue,
        MessageBody=json.dumps({"Records": [make_record()]}),
        MessageAttributes={"Attempts": {"DataType": "Number", "StringValue": "2"}},  # of a message put back
    )
    (letter,) = cutout("letters", "show", *ids(cutout), "--json").json
    assert (letter["code"], letter["attempts"], letter["billed"]) == ("no_reason", None, "maybe")
    assert (letter["failed_at"], letter["request_id"]) == (None, None)
    assert "killed" in letter["message"]
    assert letter["log"] == "cutout logs --hours 25"
    assert "Task timed out" in letter["remedy"]


def test_the_log_of_a_letter_about_no_upload_is_found_by_its_code(
    deployed: Deployment, cutout: Callable[..., Any], make_record: Callable[..., Any]
) -> None:
    for body in ("hello", json.dumps({"Records": [make_record() | {"s3": {"bucket": {"name": "another"}}}]})):
        Letters(deployed, deployed.dead_letter_queue).write(
            body, BadNotification("It is not one."), source=None, attempts=1, request_id="request"
        )
    for letter in cutout("letters", "show", *ids(cutout), "--json").json:
        assert letter["log"] == "cutout logs --code bad_notification --hours 25"


def test_an_event_that_was_not_delivered_says_what_eventbridge_says(
    deployed: Deployment, cutout: Callable[..., Any]
) -> None:
    # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html
    attributes = {
        "RULE_ARN": "arn:aws:events:eu-central-1:123456789012:rule/cutout-WatchUploads",
        "TARGET_ARN": "arn:aws:sqs:eu-central-1:123456789012:uploads",
        "ERROR_CODE": "NO_PERMISSIONS",
        "ERROR_MESSAGE": "The queue's policy does not allow it.",
    }
    event = {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "detail": {"bucket": {"name": "input"}, "object": {"key": "a b.jpg", "etag": "0123"}},
    }
    deployed.sqs.send_message(
        QueueUrl=deployed.dead_letter_queue,
        MessageBody=json.dumps(event),
        MessageAttributes={name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()},
    )
    (letter,) = cutout("letters", "show", *ids(cutout), "--json").json
    assert (letter["code"], letter["attempts"], letter["billed"]) == ("not_delivered", None, "no")
    assert letter["message"] == "NO_PERMISSIONS: The queue's policy does not allow it."
    assert letter["uploads"] == [{"source": "s3://input/a b.jpg", "state": "gone"}]
    assert letter["log"] is None  # the function never ran
    assert "Log" not in cutout("letters", "show", *ids(cutout)).out


def test_a_body_that_is_not_json_is_shown_unchanged(deployed: Deployment, cutout: Callable[..., Any]) -> None:
    deployed.sqs.send_message(QueueUrl=deployed.dead_letter_queue, MessageBody="hello\tyou")
    call = cutout("letters", "show", "--body", *ids(cutout))
    assert r"hello\tyou" in call.out
    assert "none that can be read" in call.out


@pytest.mark.parametrize("command", ["show", "replay", "discard"])
def test_an_unknown_id_is_reported(
    deployed: Deployment, cutout: Callable[..., Any], write: Write, command: str
) -> None:
    body = write("a.jpg")
    call = cutout("letters", command, *ids(cutout), "nobody")
    assert call.code == 1
    assert "No letter has the id nobody" in call.err
    assert bodies(deployed, deployed.dead_letter_queue) == [body]


def test_an_id_that_is_too_short_is_reported(deployed: Deployment, cutout: Callable[..., Any], write: Write) -> None:
    for number in range(17):  # of sixteen digits
        write(f"{number}.jpg")
    starts = [letter_id[0] for letter_id in ids(cutout)]
    twice = max(starts, key=starts.count)
    call = cutout("letters", "discard", twice, "--yes")
    assert call.code == 1
    assert f"{starts.count(twice)} letters begin with {twice}" in call.err
    assert len(bodies(deployed, deployed.dead_letter_queue)) == 17


@pytest.mark.parametrize("command", ["replay", "discard"])
@pytest.mark.parametrize("options", [[], ["--all", "--code", "x"], ["an-id", "--all"], ["an-id", "--code", "x"]])
def test_it_needs_ids_a_code_or_all(
    deployed: Deployment, cutout: Callable[..., Any], command: str, options: list[str]
) -> None:
    call = cutout("letters", command, *options, "--yes")
    assert call.code == 2
    assert "say which letters" in call.err


@pytest.mark.parametrize("command", ["replay", "discard"])
def test_nothing_is_done_without_consent(
    deployed: Deployment, cutout: Callable[..., Any], write: Write, command: str
) -> None:
    body = write("a.jpg")
    call = cutout("letters", command, "--all")
    assert call.code == 2
    assert "1 letter (1 malformed_image)" in call.err
    assert call.err.endswith("\nNothing was done: no terminal to ask on. Add --yes.\n")
    assert bodies(deployed, deployed.dead_letter_queue) == [body]
    assert bodies(deployed, deployed.upload_queue) == []


def test_replay_sends_the_bodies_unchanged_and_deletes_the_letters(
    deployed: Deployment, cutout: Callable[..., Any], write: Write
) -> None:
    written = sorted(write(f"{number}.jpg", down()) for number in range(12))
    call = cutout("letters", "replay", "--all", "--yes")
    assert (call.code, call.out) == (0, "12 letters replayed.\n")
    assert "12 letters (12 service_unavailable)" in call.err
    assert "may cost 12 credits, less where a paid result can be used again; 1,000 are left" in call.err
    assert bodies(deployed, deployed.upload_queue) == written
    assert bodies(deployed, deployed.dead_letter_queue) == []


def test_replay_follows_each_to_its_end(
    deployed: Deployment, cutout: Callable[..., Any], write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a.jpg", down()), write("b.jpg", down()), write("b.jpg", down())
    write("gone.jpg", there=False)

    def rest(_: float) -> None:
        upload = look(deployed, "a.jpg")
        deployed.s3.put_object(Bucket="output", Key="a.png", Body=b"png", Metadata=cutout_metadata(upload))
        write("b.jpg")

    monkeypatch.setattr(follow, "time", SimpleNamespace(sleep=rest, monotonic=time.monotonic))
    call = cutout("letters", "replay", "--code", "service_unavailable", "--wait", "--yes", "--json")
    assert call.code == 1
    assert (call.json["replayed"], call.json["became"]) == (3, {"cutout": 1, "letter": 1})
    assert call.json["became_letters"] == {"malformed_image": 1}


def test_ctrl_c_while_it_follows_says_what_has_ended(
    deployed: Deployment, cutout: Callable[..., Any], write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    write("a.jpg", down())
    monkeypatch.setattr(follow, "time", SimpleNamespace(sleep=interrupt, monotonic=time.monotonic))
    call = cutout("letters", "replay", "--all", "--wait", "--yes")
    assert (call.code, call.out) == (130, "")
    assert "Stopped. Of 1 upload: 1 on their way. These go on without this command." in call.err


def look(deployed: Deployment, key: str) -> Upload:
    return Upload("input", key, deployed.s3.head_object(Bucket="input", Key=key)["ETag"].strip('"'))


def test_unknown_credits_are_reported(
    deployed: Deployment, cutout: Callable[..., Any], write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a.jpg")
    monkeypatch.setattr(balance, "read", lambda _: "Pixelcut does not say.")
    assert "how many are left is not known: Pixelcut does not say." in cutout("letters", "replay", "--all").err


def test_replay_says_that_the_intake_is_paused(deployed: Deployment, cutout: Callable[..., Any], write: Write) -> None:
    write("a.jpg")
    cutout("pause", "--yes")
    assert "The intake is paused" in cutout("letters", "replay", "--all").err


def test_only_the_letters_of_a_code_are_replayed(
    deployed: Deployment, cutout: Callable[..., Any], write: Write
) -> None:
    left, sent = write("a.jpg"), write("b.jpg", down())
    assert cutout("letters", "replay", "--code", "service_unavailable", "--yes").code == 0
    assert bodies(deployed, deployed.upload_queue) == [sent]
    assert bodies(deployed, deployed.dead_letter_queue) == [left]


def test_letters_are_replayed_by_id(deployed: Deployment, cutout: Callable[..., Any], write: Write) -> None:
    sent, left = write("a.jpg"), write("b.jpg", down())
    (first,) = ids(cutout, "--code", "malformed_image")
    assert cutout("letters", "replay", first[:8], first, "--yes").code == 0
    assert bodies(deployed, deployed.upload_queue) == [sent]
    assert bodies(deployed, deployed.dead_letter_queue) == [left]


def test_letters_that_cannot_become_cutouts_are_not_replayed(
    deployed: Deployment, cutout: Callable[..., Any], write: Write
) -> None:
    write("gone.jpg", there=False), write("new.jpg")
    deployed.s3.put_object(Bucket="input", Key="new.jpg", Body=b"another image")
    sent = write("there.jpg")
    deployed.sqs.send_message(QueueUrl=deployed.dead_letter_queue, MessageBody="hello")
    call = cutout("letters", "replay", "--all", "--yes", "--json")
    assert call.code == 1
    assert call.json["chosen"] == 4
    assert call.json["replayed"] == 1
    assert {name: len(call.json[name]) for name in ("gone", "overwritten", "no_upload", "not_sent")} == {
        "gone": 1,
        "overwritten": 1,
        "no_upload": 1,
        "not_sent": 0,
    }
    assert f"cutout letters discard {call.json['gone'][0][:8]}" in call.err
    assert bodies(deployed, deployed.upload_queue) == [sent]
    assert len(bodies(deployed, deployed.dead_letter_queue)) == 3


@pytest.fixture
def asked(deployed: Deployment, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the uploads that were asked for, where a page of a listing is worth two requests."""
    keys: list[str] = []
    head = objects.head

    def note(s3: Any, bucket: str, key: str) -> Any:  # noqa: ANN401
        keys.append(key)
        return head(s3, bucket, key)

    monkeypatch.setattr(objects, "head", note)
    monkeypatch.setattr(objects, "WORTH_A_PAGE", 2)
    return keys


def test_the_uploads_of_many_letters_are_listed_and_those_that_changed_are_asked_for(
    deployed: Deployment, cutout: Callable[..., Any], write: Write, asked: list[str]
) -> None:
    sent = sorted(write(f"{number}.jpg") for number in range(6))
    write("gone.jpg", there=False), write("new.jpg")
    deployed.s3.put_object(Bucket="input", Key="new.jpg", Body=b"another image")
    call = cutout("letters", "replay", "--all", "--yes", "--json")
    assert (call.json["replayed"], len(call.json["gone"]), len(call.json["overwritten"])) == (6, 1, 1)
    assert sorted(asked) == ["0.jpg", "gone.jpg", "new.jpg"]  # the first page begins after the first
    assert bodies(deployed, deployed.upload_queue) == sent


def test_uploads_are_asked_for_when_they_were_listed_long_ago(
    cutout: Callable[..., Any], write: Write, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        write(f"{number}.jpg")
    monkeypatch.setattr(replay, "LISTED_SECONDS", 0)
    assert cutout("letters", "replay", "--all", "--yes").code == 0
    assert len(asked) == 3


def test_uploads_are_asked_for_where_they_may_not_be_listed(
    deployed: Deployment, cutout: Callable[..., Any], write: Write, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(code: str) -> None:
        def list_objects_v2(**_: object) -> None:
            raise ClientError({"Error": {"Code": code}}, "ListObjectsV2")

        monkeypatch.setattr(deployed.s3, "list_objects_v2", list_objects_v2)

    written = sorted([write("a.jpg"), write("b.jpg")])
    refuse("SlowDown")
    assert cutout("letters", "replay", "--all", "--yes").code == 1
    assert bodies(deployed, deployed.upload_queue) == []
    refuse("AccessDenied")
    assert cutout("letters", "replay", "--all", "--yes").code == 0
    assert sorted(asked) == ["a.jpg", "b.jpg"]
    assert bodies(deployed, deployed.upload_queue) == written


def test_a_listing_ends_where_its_pages_hold_few_of_the_uploads(
    deployed: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"{number:02}.jpg" for number in range(12)]
    for key in keys:
        deployed.s3.put_object(Bucket="input", Key=key, Body=b"image")
    pages = []
    list_page = deployed.s3.list_objects_v2

    def list_two(**call: Any) -> Any:  # noqa: ANN401
        pages.append(call["StartAfter"])
        return list_page(**call, MaxKeys=2)

    monkeypatch.setattr(deployed.s3, "list_objects_v2", list_two)
    monkeypatch.setattr(objects, "WORTH_A_PAGE", 2)
    assert sorted(objects.list_etags(deployed.s3, "input", keys)) == [key for key in keys if int(key[:2]) % 3]
    assert pages == keys[::3]
    pages.clear()
    assert list(objects.list_etags(deployed.s3, "input", keys[::2])) == ["02.jpg"]
    assert pages == ["00.jpg"]


def test_the_chosen_letters_of_several_receives_are_sent_together(
    deployed: Deployment, cutout: Callable[..., Any], write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(60):
        write(f"{number:02}.jpg", down() if number % 3 == 0 else None)
    sent: list[str] = []
    sizes = []
    send = Replay._send

    def note(replay: Replay, letters: Sequence[Letter]) -> set[str]:
        sizes.append(len(letters))
        sent.extend(letter.body for letter in letters)
        return send(replay, letters)

    monkeypatch.setattr(Replay, "_send", note)
    call = cutout("letters", "replay", "--code", "service_unavailable", "--yes")
    assert (call.code, call.out) == (0, "20 letters replayed.\n")
    assert sizes == [10, 10]
    assert bodies(deployed, deployed.upload_queue) == sorted(sent)
    assert len(bodies(deployed, deployed.dead_letter_queue)) == 40


def test_a_letter_does_not_wait_long_for_others(
    cutout: Callable[..., Any], write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        write(f"{number:02}.jpg", down() if number % 10 == 0 else None)
    sizes = []
    send = Replay._send

    def note(replay: Replay, letters: Sequence[Letter]) -> set[str]:
        sizes.append(len(letters))
        return send(replay, letters)

    monkeypatch.setattr(Replay, "_send", note)
    monkeypatch.setattr(selection, "GATHER_SECONDS", -1)
    assert cutout("letters", "replay", "--code", "service_unavailable", "--yes").code == 0
    assert sizes == [1, 1]


def test_a_message_is_replayed_if_one_of_its_uploads_is_there(
    deployed: Deployment, cutout: Callable[..., Any], make_record: Callable[..., Any]
) -> None:
    etag = deployed.s3.put_object(Bucket="input", Key="there.jpg", Body=b"image")["ETag"].strip('"')
    body = json.dumps({"Records": [make_record("gone.jpg"), make_record("there.jpg", eTag=etag)]})
    deployed.sqs.send_message(QueueUrl=deployed.dead_letter_queue, MessageBody=body)
    call = cutout("letters", "replay", "--all", "--yes")
    assert call.code == 0
    assert "may cost 2 credits" in call.err
    assert bodies(deployed, deployed.upload_queue) == [body]


def test_letters_that_sqs_refuses_stay(
    deployed: Deployment, cutout: Callable[..., Any], write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = sorted([write("a.jpg"), write("b.jpg"), write("c.jpg")])
    send = Replay._send

    def refuse_one(replay: Replay, letters: Sequence[Letter]) -> set[str]:
        take = replay._sqs.send_message_batch

        def send_message_batch(QueueUrl: str, Entries: Sequence[Any]) -> Any:  # noqa: ANN401, N803
            answer = take(QueueUrl=QueueUrl, Entries=Entries[1:])
            return answer | {"Failed": [{"Id": Entries[0]["Id"], "Code": "InternalError", "SenderFault": False}]}

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(replay._sqs, "send_message_batch", send_message_batch)
            return send(replay, letters)

    monkeypatch.setattr(Replay, "_send", refuse_one)
    call = cutout("letters", "replay", "--all", "--yes")
    assert (call.code, call.out) == (1, "2 letters replayed.\n")
    assert "SQS did not take it" in call.err
    assert "cutout letters replay " in call.err
    sent, left = bodies(deployed, deployed.upload_queue), bodies(deployed, deployed.dead_letter_queue)
    assert (len(sent), len(left)) == (2, 1)
    assert sorted(sent + left) == written


def test_large_bodies_are_sent_in_batches_that_sqs_accepts(
    deployed: Deployment, cutout: Callable[..., Any], make_record: Callable[..., Any]
) -> None:
    etag = deployed.s3.put_object(Bucket="input", Key="a.jpg", Body=b"image")["ETag"].strip('"')
    written = []
    for number in range(6):
        record = make_record("a.jpg", eTag=etag, sequencer=str(number)) | {"padding": "x" * (BATCH_BYTES // 4)}
        written.append(json.dumps({"Records": [record]}))
        deployed.sqs.send_message(QueueUrl=deployed.dead_letter_queue, MessageBody=written[-1])
    assert cutout("letters", "replay", "--all", "--yes").code == 0
    assert bodies(deployed, deployed.upload_queue) == sorted(written)


def test_letters_that_arrive_after_the_consent_are_left_alone(
    deployed: Deployment, cutout: Callable[..., Any], write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a.jpg")
    monkeypatch.setattr(letters_command, "agree", lambda *, yes: write("late.jpg"))
    call = cutout("letters", "discard", "--all", "--yes", "--json")
    assert (call.code, call.json["chosen"], call.json["discarded"]) == (0, 1, 1)
    (body,) = bodies(deployed, deployed.dead_letter_queue)
    assert "late.jpg" in body


def test_letters_that_disappear_meanwhile_are_reported(
    deployed: Deployment, cutout: Callable[..., Any], write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a.jpg")
    queue = deployed.dead_letter_queue
    monkeypatch.setattr(letters_command, "agree", lambda *, yes: deployed.sqs.purge_queue(QueueUrl=queue))
    call = cutout("letters", "discard", "--all", "--yes")
    assert (call.code, call.out) == (1, "0 letters discarded.\n")
    assert "1 letter not found again" in call.err


def test_discard_deletes_for_good(deployed: Deployment, cutout: Callable[..., Any], write: Write) -> None:
    left = write("a.jpg", down())
    write("b.jpg"), write("c.jpg", there=False)
    call = cutout("letters", "discard", "--code", "malformed_image", "--yes", "--json")
    assert call.code == 0
    assert call.json == {
        "chosen": 2,
        "codes": {"malformed_image": 2},
        "discarded": 2,
        "not_deleted": 0,
        "not_found_again": 0,
    }
    assert bodies(deployed, deployed.dead_letter_queue) == [left]
    assert bodies(deployed, deployed.upload_queue) == []


@pytest.fixture
def _versioned(deployed: Deployment) -> None:
    """moto does not do it for the template."""
    deployed.s3.put_bucket_versioning(Bucket="input", VersioningConfiguration={"Status": "Enabled"})


def versions(deployed: Deployment) -> dict[str, list[bytes]]:
    """What stands in the input bucket under each key, the current version first; nothing of one with a marker."""
    found: dict[str, list[bytes]] = {}
    listed = deployed.s3.list_object_versions(Bucket="input")
    assert "DeleteMarkers" not in listed
    for version in listed.get("Versions", []):
        got = deployed.s3.get_object(Bucket="input", Key=version["Key"], VersionId=version["VersionId"])
        found.setdefault(version["Key"], []).append(got["Body"].read())
    return found


@pytest.mark.usefixtures("_versioned")
def test_discard_also_deletes_the_images_that_match_their_letters(
    deployed: Deployment, cutout: Callable[..., Any], write: Write
) -> None:
    deployed.s3.put_object(Bucket="input", Key="a b.jpg", Body=b"older")
    write("a b.jpg"), write("new.jpg"), write("gone.jpg", there=False)
    deployed.s3.put_object(Bucket="input", Key="new.jpg", Body=b"newer")
    call = cutout("letters", "discard", "--all", "--delete-upload")
    assert call.code == 2
    assert "To be deleted with them, for good: 3 images in s3://input." in call.err
    assert len(versions(deployed)["a b.jpg"]) == 2
    call = cutout("letters", "discard", "--all", "--delete-upload", "--yes", "--json")
    assert call.code == 0
    assert (call.json["discarded"], call.json["images_deleted"]) == (3, 1)
    assert call.json["images_left"] == {"overwritten": ["s3://input/new.jpg"], "elsewhere": []}
    assert "1 image deleted.\n1 image left, overwritten since by an upload with an event of its own: s3" in call.err
    assert versions(deployed) == {"a b.jpg": [b"older"], "new.jpg": [b"newer", b"image"]}
    assert bodies(deployed, deployed.dead_letter_queue) == []


def send_letter(deployed: Deployment, record: Any) -> None:  # noqa: ANN401
    deployed.sqs.send_message(QueueUrl=deployed.dead_letter_queue, MessageBody=json.dumps({"Records": [record]}))


@pytest.mark.usefixtures("_versioned")
def test_the_same_bytes_put_again_are_another_upload(
    deployed: Deployment, cutout: Callable[..., Any], make_record: Callable[..., Any]
) -> None:
    first, _ = (deployed.s3.put_object(Bucket="input", Key="a.jpg", Body=b"image") for _ in range(2))
    etag, version = first["ETag"].strip('"'), first["VersionId"]
    send_letter(deployed, make_record("a.jpg", eTag=etag, versionId=version))
    left = cutout("letters", "discard", "--all", "--delete-upload", "--yes", "--json").json["images_left"]
    assert left["overwritten"] == ["s3://input/a.jpg"]
    assert versions(deployed) == {"a.jpg": [b"image", b"image"]}


def test_without_versions_an_image_is_deleted_only_if_it_is_unchanged(
    deployed: Deployment, cutout: Callable[..., Any], write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a.jpg"), write("b.jpg")
    calls = []

    def delete_object(**call: Any) -> None:  # noqa: ANN401  # moto takes no condition
        calls.append(call)
        if call["Key"] == "b.jpg":
            status: Any = {"ResponseMetadata": {"HTTPStatusCode": 412}}
            raise ClientError(status, "DeleteObject")

    monkeypatch.setattr(deployed.s3, "delete_object", delete_object)
    call = cutout("letters", "discard", "--all", "--delete-upload", "--yes", "--json")
    assert (call.code, call.json["images_deleted"]) == (0, 1)
    assert call.json["images_left"]["overwritten"] == ["s3://input/b.jpg"]
    assert all(call["IfMatch"] and "VersionId" not in call for call in calls)


@pytest.mark.parametrize(("bucket", "prefix"), [("output", ""), ("input", "uploads/")])
def test_an_object_that_is_not_an_input_is_left_alone(
    deployed: Deployment,
    cutout: Callable[..., Any],
    make_record: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    bucket: str,
    prefix: str,
) -> None:
    monkeypatch.setattr(Deployment, "settings", {**deployed.settings, "INPUT_PREFIX": prefix})
    etag = deployed.s3.put_object(Bucket=bucket, Key="a.jpg", Body=b"image")["ETag"].strip('"')
    record = make_record("a.jpg", eTag=etag)
    record["s3"]["bucket"]["name"] = bucket
    send_letter(deployed, record)
    call = cutout("letters", "discard", "--all", "--delete-upload", "--yes")
    assert (call.code, call.out) == (0, "1 letter discarded.\n")
    assert f"1 image left, not among the stack's inputs: s3://{bucket}/a.jpg" in call.err
    assert deployed.s3.head_object(Bucket=bucket, Key="a.jpg")


def test_letters_stay_if_their_images_may_not_be_deleted(
    deployed: Deployment, cutout: Callable[..., Any], write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied"}}, "DeleteObject")

    body = write("a.jpg")
    monkeypatch.setattr(deployed.s3, "delete_object", refuse)
    call = cutout("letters", "discard", "--all", "--delete-upload", "--yes")
    assert (call.code, call.out) == (1, "")
    assert "0 of 1 letter was discarded" in call.err
    assert "to call DeleteObject" in call.err
    assert bodies(deployed, deployed.dead_letter_queue) == [body]


@pytest.mark.parametrize("command", ["replay", "discard"])
def test_ctrl_c_says_how_many_were_done(
    deployed: Deployment, cutout: Callable[..., Any], write: Write, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    written = sorted([write("a.jpg"), write("b.jpg")])

    def agree(*, yes: bool) -> None:
        def interrupt(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(dead_letters, "wait", interrupt)
        monkeypatch.setattr(dead_letters.DeadLetters, "_work", lambda *_: None)

    monkeypatch.setattr(letters_command, "agree", agree)
    call = cutout("letters", command, "--all", "--yes")
    assert call.code == 130
    assert f"0 of 2 letters were {command}ed" in call.err
    assert bodies(deployed, deployed.dead_letter_queue) == written


@pytest.fixture
def complete(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """What a shell is answered after these words, of which the last is not finished."""

    def complete(*words: str, shell: str = "bash") -> Any:  # noqa: ANN401
        line = shlex.join(["cutout", *words[:-1]]) + f" {words[-1]}"
        capsys.readouterr()
        with monkeypatch.context() as asked:  # what is called later is no completion
            asked.setenv("_CUTOUT_COMPLETE", f"complete_{shell}")
            asked.setenv("COMP_WORDS", line)
            asked.setenv("COMP_CWORD", str(len(words)))
            asked.setenv("_TYPER_COMPLETE_ARGS", line)
            asked.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
            with pytest.raises(SystemExit):
                app(prog_name="cutout")
        out, err = capsys.readouterr()
        assert err == ""
        return out.split() if shell == "bash" else out

    return complete


@pytest.mark.parametrize("command", ["show", "replay", "discard"])
def test_the_shell_can_complete_an_id(
    cutout: Callable[..., Any], write: Write, complete: Callable[..., Any], command: str
) -> None:
    for number in range(12):
        write(f"{number}.jpg")
    ids = {letter["id"] for letter in cutout("letters", "list", "--all", "--json").json["letters"]}
    assert sorted(complete("letters", command, "")) == sorted(letter[:8] for letter in ids)
    some = min(ids)
    assert some[:8] in complete("letters", command, some[:3])
    assert complete("letters", command, some[:9]) == [some]
    assert complete("letters", command, "x") == []
    shown = cutout("letters", "list", "--json").json
    assert (shown["codes"][0]["letters"], shown["hidden"]) == (12, 0)  # none is left hidden


def test_no_shell_is_given_what_an_uploader_has_chosen(
    deployed: Deployment, write: Write, complete: Callable[..., Any]
) -> None:
    write("\\$(touch stolen)`id`;'\".jpg")
    deployed.sqs.send_message(
        QueueUrl=deployed.dead_letter_queue,
        MessageBody="{}",
        MessageAttributes={"ErrorCode": {"DataType": "String", "StringValue": "\\$(touch stolen)"}},
    )
    for shell in ("zsh", "fish", "pwsh"):
        answer = complete("letters", "show", "", shell=shell)
        assert "stolen" not in answer
        assert "malformed_image, since" in answer
        assert "another code, since" in answer


def test_an_id_is_not_completed_where_the_stack_does_not_answer(
    complete: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise Failure("There is no stack.")

    monkeypatch.setattr(deployment, "find", fail)
    assert complete("letters", "show", "") == []

    answered = threading.Event()
    monkeypatch.setattr(deployment, "find", lambda *_: answered.wait())
    monkeypatch.setattr(options, "COMPLETION_SECONDS", 0.01)
    assert complete("letters", "show", "") == []
    answered.set()


def test_an_id_is_looked_for_in_the_stack_that_is_named(
    complete: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[tuple[object, ...]] = []
    monkeypatch.setattr(deployment, "find", lambda *where: looked.append(where))
    complete("letters", "show", "--stack-name", "another", "--endpoint-url", "http://localhost:1", "")
    monkeypatch.setenv("CUTOUT_STACK_NAME", "by variable")
    complete("letters", "show", "")
    assert looked == [("another", "http://localhost:1"), ("by variable", None)]


@pytest.mark.parametrize("command", ["show", "replay", "discard"])
def test_an_id_that_is_empty_is_that_of_no_letter(cutout: Callable[..., Any], write: Write, command: str) -> None:
    write("a.jpg")
    (only,) = ids(cutout)
    yes = [] if command == "show" else ["--yes"]
    for given in ([""], [only, ""]):
        call = cutout("letters", command, *given, *yes)
        assert call.code == 2
        assert "an id is empty" in call.err
    assert ids(cutout) == [only]


def test_replay_says_what_it_may_cost_in_money(
    deployed: Deployment, cutout: Callable[..., Any], write: Write, configure: Callable[..., None]
) -> None:
    configure(CREDIT_PRICE="0.10 USD")
    write("a.jpg")
    assert "may cost 1 credit (0.10 USD), less where a paid result can be used again; 1,000 (100.00 USD) are left." in (
        cutout("letters", "replay", "--all").err
    )


def test_replay_says_what_a_cap_lets_through(
    deployed: Deployment, cutout: Callable[..., Any], write: Write, configure: Callable[..., None]
) -> None:
    configure(DAILY_CREDITS="1", CAP_TIME_ZONE="Europe/Berlin")
    write("a.jpg")
    write("b.jpg")
    assert "The cap will be reached: 1 today, 1 from tomorrow 00:00 Europe/Berlin, if nothing else spends" in (
        cutout("letters", "replay", "--all").err
    )


def test_replay_says_when_a_pause_at_the_cap_ends(
    deployed: Deployment, cutout: Callable[..., Any], write: Write, configure: Callable[..., None]
) -> None:
    configure(DAILY_CREDITS="2")
    IntakeItem(deployed.dynamodb, "ledger").pause_at_cap("daily_cap", "attribute_not_exists(day_ends)", {})
    write("a.jpg")
    told = cutout("letters", "replay", "--all").err
    assert "The intake is paused: what is replayed waits in the queue until it is reopened.\nCredits are left" in told
