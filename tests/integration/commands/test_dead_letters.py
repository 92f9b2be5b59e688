import itertools
import json
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from botocore.stub import Stubber

from cutout.operations import dead_letters
from cutout.operations.dead_letters import NO_REASON, NOT_DELIVERED, DeadLetters, Letter
from cutout.operations.deployment import Deployment
from remove_background.errors import MalformedImage
from remove_background.letters import Letters

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def dead(deployed: Deployment) -> DeadLetters:
    return DeadLetters(deployed.sqs, deployed.dead_letter_queue)


def fill(deployed: Deployment, *bodies: str) -> None:
    for body in bodies:
        deployed.sqs.send_message(QueueUrl=deployed.dead_letter_queue, MessageBody=body)


def visible(deployed: Deployment) -> list[str]:
    """The bodies of all visible messages, which are hidden afterwards."""
    found = []
    while messages := deployed.sqs.receive_message(
        QueueUrl=deployed.dead_letter_queue, MaxNumberOfMessages=10, WaitTimeSeconds=0
    ).get("Messages"):
        found += [message["Body"] for message in messages]
    return sorted(found)


def read(dead: DeadLetters) -> list[Letter]:
    found: list[Letter] = []

    def handle(letters: Sequence[Letter]) -> list[Letter]:
        found.extend(letters)
        return []

    dead.work_through(handle)
    return found


def test_each_letter_is_handed_over_once_ten_at_a_time(deployed: Deployment, dead: DeadLetters) -> None:
    bodies = [f"{number:02}" for number in range(25)]
    fill(deployed, *bodies)
    batches: list[list[str]] = []

    def handle(letters: Sequence[Letter]) -> list[Letter]:
        batches.append([letter.body for letter in letters])
        return []

    dead.work_through(handle)
    assert sorted(itertools.chain(*batches)) == bodies
    assert max(map(len, batches)) <= 10
    assert visible(deployed) == bodies


def test_handled_letters_are_deleted_and_the_rest_released(deployed: Deployment, dead: DeadLetters) -> None:
    fill(deployed, "done", "left", "done")
    dead.work_through(lambda letters: [letter for letter in letters if letter.body == "done"])
    assert visible(deployed) == ["left"]
    assert dead.undeleted == set()


def test_letters_are_released_when_handling_fails(deployed: Deployment, dead: DeadLetters) -> None:
    fill(deployed, *"abc")

    def handle(letters: Sequence[Letter]) -> list[Letter]:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        dead.work_through(handle)
    assert visible(deployed) == ["a", "b", "c"]


def test_ctrl_c_finishes_what_runs_and_releases_the_rest(
    deployed: Deployment, dead: DeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(deployed, *(f"{number:02}" for number in range(30)))
    begun, work = threading.Event(), dead._work
    stops: list[Callable[[], bool]] = []

    def note_stop(handle: Any, begun: datetime, is_stopped: Callable[[], bool]) -> None:  # noqa: ANN401
        stops.append(is_stopped)
        work(handle, begun, is_stopped)

    def handle(letters: Sequence[Letter]) -> Sequence[Letter]:
        begun.set()
        while not stops[0]():
            time.sleep(0.01)
        return letters

    def interrupt(*_: object, **__: object) -> None:
        assert begun.wait(10)
        raise KeyboardInterrupt

    monkeypatch.setattr(dead, "_work", note_stop)
    monkeypatch.setattr(dead_letters, "wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        dead.work_through(handle)
    assert len(visible(deployed)) == 20


def test_a_letter_that_sqs_does_not_delete_is_counted_and_released(
    deployed: Deployment, dead: DeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(deployed, *"abc")
    delete = deployed.sqs.delete_message_batch

    def refuse_one(QueueUrl: str, Entries: Sequence[Any]) -> Any:  # noqa: ANN401, N803
        answer = delete(QueueUrl=QueueUrl, Entries=Entries[1:])
        return answer | {"Failed": [{"Id": Entries[0]["Id"], "Code": "InternalError", "SenderFault": False}]}

    monkeypatch.setattr(deployed.sqs, "delete_message_batch", refuse_one)
    dead.work_through(lambda letters: letters)
    assert len(dead.undeleted) == 1
    assert len(visible(deployed)) == 1


def test_letters_that_arrive_meanwhile_are_left_alone(
    deployed: Deployment, dead: DeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(deployed, *(f"{number:02}" for number in range(15)))
    now = dead._now()
    monkeypatch.setattr(dead, "_now", lambda: now - timedelta(hours=1))
    handed: list[Letter] = []

    def handle(letters: Sequence[Letter]) -> Sequence[Letter]:
        handed.extend(letters)
        return letters

    dead.work_through(handle)
    assert handed == []
    assert len(visible(deployed)) == 15


def test_an_endless_stream_of_letters_is_not_waited_for(
    deployed: Deployment, dead: DeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = dead._now()
    monkeypatch.setattr(dead, "_now", lambda: now - timedelta(hours=1))
    receive = dead._receive

    def refill_and_receive() -> list[Letter]:
        fill(deployed, "new")
        return receive()

    monkeypatch.setattr(dead, "_receive", refill_and_receive)
    dead.work_through(lambda letters: letters)
    assert visible(deployed) == ["new"] * dead_letters.VAIN_RECEIVES


def test_a_letter_that_was_written_this_second_is_read(deployed: Deployment, dead: DeadLetters) -> None:
    fill(deployed, "just now")
    assert [letter.body for letter in read(dead)] == ["just now"]


def test_a_letter_that_sqs_delivers_twice_is_handed_over_once(
    deployed: Deployment, dead: DeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(deployed, "twice", "once")
    receive = dead._receive
    first: list[Letter] = []

    def receive_again() -> list[Letter]:
        found = receive()
        first.extend(found)
        return found or ([first.pop(0)] if first else [])

    monkeypatch.setattr(dead, "_receive", receive_again)
    assert sorted(letter.body for letter in read(dead)) == ["once", "twice"]


def test_it_long_polls_for_all_attributes(deployed: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "WAIT_SECONDS", 1)
    with Stubber(deployed.sqs) as sqs:
        sqs.add_response(
            "receive_message",
            {},
            {
                "QueueUrl": deployed.dead_letter_queue,
                "MaxNumberOfMessages": 10,
                "VisibilityTimeout": 900,
                "WaitTimeSeconds": 1,
                "MessageAttributeNames": ["All"],
                "MessageSystemAttributeNames": ["SentTimestamp"],
            },
        )
        dead = DeadLetters(deployed.sqs, deployed.dead_letter_queue)
        assert dead._receive() == []


def test_a_letter_is_read_as_the_function_writes_it(
    deployed: Deployment, dead: DeadLetters, make_record: Callable[..., Any]
) -> None:
    body = json.dumps({"Records": [make_record("a+b%5Bred%5D.jpg")]})
    error = MalformedImage("The file is empty.")
    writer = Letters(deployed, deployed.dead_letter_queue)
    writer.write(body, error, source="s3://input/a b[red].jpg", attempts=3, request_id="r")
    (letter,) = read(dead)
    assert (letter.code, letter.billed, letter.body) == ("malformed_image", "no", body)
    assert letter.sources == ["s3://input/a b[red].jpg"]
    assert letter.attributes["Attempts"] == "3"


def test_a_letter_that_sqs_moved_itself_has_no_reason(
    deployed: Deployment, dead: DeadLetters, make_record: Callable[..., Any]
) -> None:
    fill(deployed, json.dumps({"Records": [make_record()]}))
    (letter,) = read(dead)
    assert (letter.code, letter.billed, letter.sources) == (NO_REASON, "maybe", ["s3://input/photo.jpg"])


def test_an_event_that_eventbridge_could_not_deliver_is_reported_as_such(
    deployed: Deployment, dead: DeadLetters
) -> None:
    deployed.sqs.send_message(
        QueueUrl=deployed.dead_letter_queue,
        MessageBody="{}",
        MessageAttributes={
            "RULE_ARN": {"DataType": "String", "StringValue": "arn:aws:events:eu-central-1:123456789012:rule/watch"},
            "ERROR_CODE": {"DataType": "String", "StringValue": "NO_PERMISSIONS"},
        },
    )
    (letter,) = read(dead)
    assert (letter.code, letter.billed) == (NOT_DELIVERED, "no")


@pytest.mark.parametrize("body", ["hello", '{"Event": "s3:TestEvent"}', "[]", '{"Records": [{"s3": {}}]}'])
def test_a_body_without_uploads_has_none(deployed: Deployment, dead: DeadLetters, body: str) -> None:
    fill(deployed, body)
    assert read(dead)[0].uploads == []


def test_a_record_that_cannot_be_read_does_not_hide_the_others(
    deployed: Deployment, dead: DeadLetters, make_record: Callable[..., Any]
) -> None:
    fill(deployed, json.dumps({"Records": [{"s3": {}}, make_record("good.jpg")]}))
    assert read(dead)[0].sources == ["s3://input/good.jpg"]
