"""Messages as S3 sends them wait in the queue; messages in flight cannot be received."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from botocore.exceptions import EndpointConnectionError

from cutout.operations import cancel as cancelling
from cutout.operations import credits as balance
from cutout.operations.deployment import Deployment
from remove_background.uploads import read_records, read_upload

Send = Callable[..., None]


pytestmark = pytest.mark.usefixtures("one_thread", "no_invocations")


@pytest.fixture
def send(deployed: Deployment, make_record: Callable[..., Any]) -> Send:
    """One message with a record for each key."""

    def send(*keys: str, delay: int = 0, more: tuple[Any, ...] = ()) -> None:
        body = json.dumps({"Records": [*map(make_record, keys), *more]})
        deployed.sqs.send_message(QueueUrl=deployed.upload_queue, MessageBody=body, DelaySeconds=delay)

    return send


def receive(deployed: Deployment, number: int = 10, seconds: int = 30) -> list[str]:
    """The keys of as many messages as are visible; they are in flight afterwards."""
    found = deployed.sqs.receive_message(
        QueueUrl=deployed.upload_queue, MaxNumberOfMessages=number, VisibilityTimeout=seconds
    ).get("Messages", [])
    uploads = [read_upload(record) for message in found for record in read_records(message["Body"])]
    return sorted(upload.key for upload in uploads if upload)


def test_every_waiting_upload_is_removed(deployed: Deployment, cutout: Callable[..., Any], send: Send) -> None:
    for key in ("a.jpg", "b c.jpg", "trip/d.jpg"):
        send(key)
    call = cutout("cancel", "--all", "--yes")
    assert (call.code, call.out) == (0, "3 uploads removed.\n")
    assert "To be removed from the queue: 3 uploads:" in call.err
    assert "The images stay in s3://input; `cutout backfill` finds them again." in call.err
    assert "`cutout pause` prevents it." in call.err
    assert receive(deployed) == []


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        (["--prefix", "trip"], ["a b.jpg", "c.jpg", "trip2/e.jpg"]),
        (["--prefix", "trip/"], ["a b.jpg", "c.jpg", "trip2/e.jpg"]),
        (["a b.jpg", "trip/d.jpg"], ["c.jpg", "trip2/e.jpg"]),
    ],
)
def test_other_messages_stay_and_are_visible_at_once(
    deployed: Deployment, cutout: Callable[..., Any], send: Send, arguments: list[str], left: list[str]
) -> None:
    for key in ("a+b.jpg", "c.jpg", "trip/d.jpg", "trip2/e.jpg"):
        send(key)
    assert cutout("cancel", *arguments, "--yes").code == 0
    assert receive(deployed) == left


def test_nothing_is_removed_without_consent(deployed: Deployment, cutout: Callable[..., Any], send: Send) -> None:
    send("a.jpg")
    call = cutout("cancel", "--all")
    assert call.code == 2
    assert "1 upload: a.jpg." in call.err
    assert receive(deployed) == ["a.jpg"]


@pytest.mark.parametrize("arguments", [[], ["--all", "a.jpg"], ["--prefix", "a", "--all"]])
def test_it_needs_keys_a_prefix_or_all(deployed: Deployment, cutout: Callable[..., Any], arguments: list[str]) -> None:
    call = cutout("cancel", *arguments)
    assert call.code == 2
    assert "say which uploads" in call.err


def test_an_empty_queue_is_not_a_failure(deployed: Deployment, cutout: Callable[..., Any]) -> None:
    call = cutout("cancel", "--all", "--yes")
    assert (call.code, call.out, call.err) == (0, "No such uploads wait in the queue.\n", "")


def test_messages_in_flight_or_delayed_stay_and_are_reported(
    deployed: Deployment, cutout: Callable[..., Any], send: Send
) -> None:
    send("a.jpg")
    assert receive(deployed) == ["a.jpg"]
    send("b.jpg", delay=900)
    send("c.jpg")
    call = cutout("cancel", "a.jpg", "b.jpg", "c.jpg", "--yes")
    assert (call.code, call.out) == (1, "1 upload removed.\n")
    assert "SQS counts, approximately, 1 message in flight and 1 delayed until a retry." in call.err
    assert "Not waiting (done, in flight, delayed or never uploaded): a.jpg, b.jpg." in call.err
    call = cutout("cancel", "--all", "--yes", "--json")
    assert (call.code, call.json) == (
        0,
        {
            "removed": [],
            "not_found_again": [],
            "in_messages_with_others": [],
            "not_waiting": [],
            "messages_in_flight": 1,
            "messages_delayed": 1,
        },
    )


def test_a_message_that_holds_other_uploads_too_stays_and_is_reported(
    deployed: Deployment, cutout: Callable[..., Any], send: Send
) -> None:
    send("trip/a.jpg", "b.jpg")
    send("trip/c.jpg", "trip/d.jpg")
    send("trip/e.jpg", more=({"s3": {}},))
    send("trip/f.jpg", "trip/")
    call = cutout("cancel", "--prefix", "trip", "--yes", "--json")
    assert call.code == 1
    assert sorted(call.json["removed"]) == ["trip/", "trip/c.jpg", "trip/d.jpg", "trip/f.jpg"]
    assert sorted(call.json["in_messages_with_others"]) == ["trip/a.jpg", "trip/e.jpg"]
    call = cutout("cancel", "--prefix", "trip", "--yes")
    assert (call.code, call.out) == (1, "")
    assert "2 uploads not removed, as their messages hold others, too:" in call.err


@pytest.mark.parametrize("body", ["hello", '{"Event": "s3:TestEvent"}'])
def test_a_message_without_uploads_stays(deployed: Deployment, cutout: Callable[..., Any], body: str) -> None:
    deployed.sqs.send_message(QueueUrl=deployed.upload_queue, MessageBody=body)
    assert cutout("cancel", "--all", "--yes").out == "No such uploads wait in the queue.\n"
    assert deployed.sqs.receive_message(QueueUrl=deployed.upload_queue)["Messages"][0]["Body"] == body


def test_uploads_that_the_function_takes_meanwhile_are_reported(
    deployed: Deployment, cutout: Callable[..., Any], send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("a.jpg", "b.jpg", "c.jpg"):
        send(key)
    remove = cancelling.remove
    taken: list[str] = []

    def remove_later(*arguments: Any) -> None:  # noqa: ANN401
        taken.extend(receive(deployed, number=1))
        send("new.jpg")
        remove(*arguments)

    monkeypatch.setattr(cancelling, "remove", remove_later)
    call = cutout("cancel", "--all", "--yes")
    assert (call.code, call.out) == (1, "2 uploads removed.\n")
    assert f"1 upload not removed, as the function or another command has taken them: {taken[0]}." in call.err
    assert receive(deployed) == ["new.jpg"]


def test_when_the_network_is_lost_it_says_how_far_it_got(
    deployed: Deployment, cutout: Callable[..., Any], send: Send
) -> None:
    for number in range(12):
        send(f"{number}.jpg")
    deleted = 0

    def lose(**_: object) -> None:
        nonlocal deleted
        deleted += 1
        if deleted > 1:
            raise EndpointConnectionError(endpoint_url="https://sqs.test")

    deployed.sqs.meta.events.register("provide-client-params.sqs.DeleteMessageBatch", lose)
    call = cutout("cancel", "--all", "--yes")
    deployed.sqs.meta.events.unregister("provide-client-params.sqs.DeleteMessageBatch", lose)
    assert call.code == 1
    assert "10 of 12 uploads were removed; the others are in the queue." in call.err
    assert len(receive(deployed)) == 2


def test_a_pause_is_not_advised_while_paused(deployed: Deployment, cutout: Callable[..., Any], send: Send) -> None:
    send("a.jpg")
    cutout("pause", "--yes")
    call = cutout("cancel", "--all", "--yes")
    assert call.code == 0
    assert "The intake is open" not in call.err


ODD_KEYS = ["a b/../c.jpg", "\u202egpj.exe", "e\u0301 \U0001f408.jpg", '"quoted"\n.jpg', "-rf.jpg"]


def test_what_is_set_aside_is_sent_again_and_nothing_else(
    deployed: Deployment,
    cutout: Callable[..., Any],
    make_record: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(balance, "read", lambda _: 100.0)
    for key in [*ODD_KEYS, "later gone.jpg", "never sent.jpg"]:
        deployed.s3.put_object(Bucket="input", Key=key, Body=b"image")
    for key in [*ODD_KEYS, "later gone.jpg"]:
        body = json.dumps({"Records": [make_record(quote_plus(key))]})
        deployed.sqs.send_message(QueueUrl=deployed.upload_queue, MessageBody=body)
    deployed.sqs.send_message(QueueUrl=deployed.dead_letter_queue, MessageBody="a letter of nobody")

    keep = tmp_path / "set aside"
    call = cutout("cancel", "--all", "--yes", "--keep", str(keep))
    assert (call.code, call.out) == (0, "6 uploads removed.\n")
    assert receive(deployed) == []
    again = call.err.splitlines()[-1].partition(": ")[2]

    deployed.s3.delete_object(Bucket="input", Key="later gone.jpg")
    call = cutout(*shlex.split(again)[1:])
    assert call.code == 0
    assert "5 of 5 were enqueued." in call.out
    assert f"Not in the bucket any more: 1 of 6 keys in {keep}." in call.err
    assert receive(deployed) == sorted(ODD_KEYS)


def test_no_file_is_overwritten_that_may_name_what_was_set_aside(
    deployed: Deployment, cutout: Callable[..., Any], send: Send, tmp_path: Path
) -> None:
    send("a.jpg")
    keep = tmp_path / "keys"
    keep.write_text("of another call")
    call = cutout("cancel", "--all", "--yes", "--keep", str(keep))
    assert call.code == 1
    assert "is there already, and may name other uploads: choose another name." in call.err
    assert keep.read_text() == "of another call"
    assert receive(deployed) == ["a.jpg"]


def test_nothing_is_removed_where_the_file_cannot_be_written(
    deployed: Deployment, cutout: Callable[..., Any], send: Send, tmp_path: Path
) -> None:
    send("a.jpg")
    call = cutout("cancel", "--all", "--yes", "--keep", str(tmp_path / "no folder" / "keys"))
    assert call.code == 1
    assert "cannot be written: No such file or directory." in call.err
    assert receive(deployed) == ["a.jpg"]


@pytest.mark.parametrize(
    ("text", "line"), [(b'"a.jpg"\nb.jpg\n', 2), (b'"a.jpg"\n3\n', 2), (b"\xff", 1), (b'["a.jpg"]', 1)]
)
def test_a_file_that_holds_no_keys_is_named(
    deployed: Deployment, cutout: Callable[..., Any], tmp_path: Path, text: bytes, line: int
) -> None:
    keys = tmp_path / "keys"
    keys.write_bytes(text)
    call = cutout("backfill", "--keys", str(keys))
    assert (call.code, call.out) == (1, "")
    assert f"Line {line} of {keys} is not a key as `cutout cancel --keep` writes it" in call.err
