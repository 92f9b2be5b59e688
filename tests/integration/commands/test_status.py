import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import responses
from botocore.exceptions import EndpointConnectionError

from cutout.commands import status as status_command
from cutout.operations import dead_letters, queues
from cutout.operations.deployment import Deployment
from remove_background.errors import MalformedImage, ServiceUnavailable
from remove_background.intake import ITEM, OPERATOR, IntakeItem
from remove_background.letters import Letters, notification

CREDITS = "https://pixelcut.test/v1/credits"


@pytest.fixture(autouse=True)
def _quick_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cutout.operations.dead_letters.WAIT_SECONDS", 0)


@pytest.fixture
def pixelcut() -> Any:  # noqa: ANN401
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.add_passthru("https://")
        yield mock


def write_letters(deployed: Deployment) -> None:
    letters = Letters(deployed, deployed.dead_letter_queue)
    for error in (MalformedImage("Broken."), MalformedImage("Broken."), ServiceUnavailable("Down.")):
        letters.write(notification([]), error, source="s3://input/a", attempts=1, request_id="r")


def test_a_stack_at_rest(deployed: Deployment, cutout: Callable[..., Any], pixelcut: responses.RequestsMock) -> None:
    pixelcut.get(CREDITS, json={"credits_remaining": "250"})
    assert cutout("status", "--json").json == {
        "stack": "cutout",
        "intake": {"open": True, "paused_by": None, "reason": None, "since": None},
        "queue": {"waiting": 0, "in_work": 0, "delayed": 0},
        "letters": {},
        "letters_hidden": 0,
        "letters_unread": 0,
        "credits": 250.0,
        "credits_unknown_because": None,
        "credit_price": None,
        "caps": None,
        "caps_unknown_because": None,
    }


def test_waiting_and_failed_uploads_are_counted(
    deployed: Deployment, cutout: Callable[..., Any], pixelcut: responses.RequestsMock
) -> None:
    pixelcut.get(CREDITS, json={"credits_remaining": "1250"})
    cutout("pause", "--reason", "new [bold]prices[/]", "--yes")
    deployed.sqs.send_message(QueueUrl=deployed.upload_queue, MessageBody="{}")
    deployed.sqs.send_message(QueueUrl=deployed.upload_queue, MessageBody="{}", DelaySeconds=60)
    write_letters(deployed)
    call = cutout("status")
    assert call.code == 0
    for text in (
        "paused by the operator since",
        "new [bold]prices[/]. `cutout resume` reopens it.",
        "1 wait, 0 in flight, 1 delayed",
        "2 malformed_image",
        "1 service_unavailable",
        "1,250 left",
        "cutout letters list",
    ):
        assert text in call.out
    intake = cutout("status", "--json").json["intake"]
    since = datetime.fromisoformat(intake.pop("since"))
    assert abs(datetime.now(UTC) - since) < timedelta(hours=1)
    assert intake == {"open": False, "paused_by": "operator", "reason": "new [bold]prices[/]"}


def test_counting_the_letters_leaves_them_in_the_queue(
    deployed: Deployment, cutout: Callable[..., Any], pixelcut: responses.RequestsMock
) -> None:
    pixelcut.get(CREDITS, json={"credits_remaining": "1"})
    write_letters(deployed)
    for _ in range(2):
        assert cutout("status", "--json").json["letters"] == {"malformed_image": 2, "service_unavailable": 1}


def test_of_many_letters_some_are_read_and_the_rest_is_said_to_be_approximate(
    deployed: Deployment, cutout: Callable[..., Any], pixelcut: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "THREADS", 1)
    monkeypatch.setattr(status_command, "MOST_LETTERS", 15)
    pixelcut.get(CREDITS, json={"credits_remaining": "1"})
    for _ in range(11):
        write_letters(deployed)
    call = cutout("status", "--json")
    assert (sum(call.json["letters"].values()), call.json["letters_unread"], call.json["letters_hidden"]) == (20, 13, 0)
    told = " ".join(cutout("status").out.split())
    assert "and about 13 that were not read" in told
    assert "`cutout letters list` counts all letters by code" in told
    assert cutout("letters", "list", "--json").json["hidden"] == 0  # none is left hidden


def test_as_many_letters_as_are_read_are_counted_exactly(
    deployed: Deployment, cutout: Callable[..., Any], pixelcut: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "THREADS", 1)
    monkeypatch.setattr(status_command, "MOST_LETTERS", 3)
    pixelcut.get(CREDITS, json={"credits_remaining": "1"})
    write_letters(deployed)
    found = cutout("status", "--json").json
    assert (found["letters"], found["letters_unread"]) == ({"malformed_image": 2, "service_unavailable": 1}, 0)


def test_letters_that_another_command_reads_are_reported(
    deployed: Deployment, cutout: Callable[..., Any], pixelcut: responses.RequestsMock
) -> None:
    pixelcut.get(CREDITS, json={"credits_remaining": "1"})
    write_letters(deployed)
    deployed.sqs.receive_message(QueueUrl=deployed.dead_letter_queue, VisibilityTimeout=900, MaxNumberOfMessages=2)
    found = cutout("status", "--json").json
    assert found["letters"] == {"service_unavailable": 1}
    assert found["letters_hidden"] == 2
    told = " ".join(cutout("status").out.split())
    assert "1 service_unavailable and 2 that another command reads, or did a moment ago" in told
    assert "comes back within 15 minutes" in told


def test_letters_that_another_command_releases_meanwhile_are_counted_once(
    deployed: Deployment,
    cutout: Callable[..., Any],
    pixelcut: responses.RequestsMock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pixelcut.get(CREDITS, json={"credits_remaining": "1"})
    write_letters(deployed)
    queue, count = deployed.dead_letter_queue, queues.count
    held = deployed.sqs.receive_message(QueueUrl=queue, VisibilityTimeout=900, MaxNumberOfMessages=2)["Messages"]

    def count_and_release(sqs: Any, queue_url: str) -> queues.Counts:  # noqa: ANN401
        counts = count(sqs, queue_url)
        for message in held:
            sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
        return counts

    monkeypatch.setattr(queues, "count", lambda sqs, url: (count_and_release if url == queue else count)(sqs, url))
    found = cutout("status", "--json").json
    assert found["letters"] == {"malformed_image": 2, "service_unavailable": 1}
    assert found["letters_hidden"] == 0


def test_hidden_letters_are_not_reported_as_none(
    deployed: Deployment, cutout: Callable[..., Any], pixelcut: responses.RequestsMock
) -> None:
    pixelcut.get(CREDITS, json={"credits_remaining": "1"})
    write_letters(deployed)
    deployed.sqs.receive_message(QueueUrl=deployed.dead_letter_queue, VisibilityTimeout=900, MaxNumberOfMessages=10)
    told = " ".join(cutout("status").out.split())
    assert "Letters 3 that another command reads" in told


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"status": 401}, "does not know the API key"),
        ({"status": 404}, "does not say"),
        ({"status": 503}, "503"),
        ({"body": ConnectionError("https://pixelcut.test?key=a-key")}, "connection"),
    ],
)
def test_unknown_credits_are_reported_with_the_reason(
    deployed: Deployment,
    cutout: Callable[..., Any],
    pixelcut: responses.RequestsMock,
    answer: dict[str, Any],
    said: str,
) -> None:
    if "body" in answer:
        answer = {"body": requests.ConnectionError(str(answer["body"]))}
    pixelcut.get(CREDITS, **answer)
    found = cutout("status", "--json").json
    assert found["credits"] is None
    assert said in found["credits_unknown_because"]
    assert "a-key" not in found["credits_unknown_because"]


def test_a_secret_without_a_value_is_reported(deployed: Deployment, cutout: Callable[..., Any]) -> None:
    deployed.secrets.delete_secret(SecretId="key", ForceDeleteWithoutRecovery=True)
    deployed.secrets.create_secret(Name="key")
    assert "Put the Pixelcut API key into it" in cutout("status", "--json").json["credits_unknown_because"]


@pytest.mark.parametrize(
    "value",
    [
        {"SecretBinary": b"sk-5ec4e7"},
        {"SecretString": "\ufeffsk-5ec4e7"},
        {"SecretString": "sk-5ec4e7\u200b"},
        {"SecretString": "sk-5ec4e7\nsk-5ec4e7"},
        {"SecretString": '{"api_key": "sk-5ec4e7"}'},
    ],
)
def test_a_value_that_cannot_be_a_key_is_reported(
    deployed: Deployment, cutout: Callable[..., Any], value: dict[str, Any]
) -> None:
    deployed.secrets.delete_secret(SecretId="key", ForceDeleteWithoutRecovery=True)
    deployed.secrets.create_secret(Name="key", **value)
    told = cutout("status", "--json").json["credits_unknown_because"]
    assert told == "The secret key must hold the Pixelcut API key as plain text, nothing else."


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Between its looks `--watch` does these, and then gets Ctrl-C."""

    def between(*steps: Callable[[], object]) -> None:
        left = list(steps)

        def sleep(_: float) -> None:
            if not left:
                raise KeyboardInterrupt
            left.pop(0)()

        monkeypatch.setattr(status_command, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))

    return between


def test_watch_refreshes_it_until_ctrl_c(
    deployed: Deployment,
    cutout: Callable[..., Any],
    pixelcut: responses.RequestsMock,
    looks: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pixelcut.get(CREDITS, json={"credits_remaining": "250"})
    read = dead_letters.DeadLetters.work_through
    reads = []

    def count_reads(letters: dead_letters.DeadLetters, *arguments: Any) -> None:  # noqa: ANN401
        reads.append(1)
        read(letters, *arguments)

    monkeypatch.setattr(dead_letters.DeadLetters, "work_through", count_reads)
    looks(lambda: write_letters(deployed), lambda: pause(deployed))
    call = cutout("status", "--watch")
    assert (call.code, call.err) == (0, "")
    first, second, third, rest = call.out.split("Ctrl-C ends it.\n")
    assert "Letters   none" in first
    assert "2 malformed_image" in second
    assert "open" in second
    assert "2 malformed_image" in third
    assert "paused by the operator" in third
    assert rest == ""
    assert len(reads) == 2  # of the letters: their number has changed once
    assert len(pixelcut.calls) == 1


def pause(deployed: Deployment) -> None:
    IntakeItem(deployed.dynamodb, "ledger").pause(OPERATOR, "")


def test_watch_outlasts_an_outage_and_says_so(
    deployed: Deployment,
    cutout: Callable[..., Any],
    pixelcut: responses.RequestsMock,
    looks: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise EndpointConnectionError(endpoint_url="https://sqs")

    pixelcut.get(CREDITS, json={"credits_remaining": "250"})
    count = queues.count
    looks(lambda: monkeypatch.setattr(queues, "count", fail), lambda: monkeypatch.setattr(queues, "count", count))
    call = cutout("status", "--watch")
    _, second, third, _ = call.out.split("Ctrl-C ends it.\n")
    assert "250 left" in second
    assert "As it was: https://sqs does not answer." in second
    assert "As it was" not in third
    monkeypatch.setattr(queues, "count", fail)
    assert cutout("status", "--watch").code == 1


def test_watch_and_json_exclude_each_other(cutout: Callable[..., Any]) -> None:
    assert cutout("status", "--watch", "--json").code == 2


CAPS = {"DAILY_CREDITS": "2000", "CAP_TIME_ZONE": "Europe/Berlin", "CREDIT_PRICE": "0.10 USD"}


def spend(deployed: Deployment, credits_: int) -> None:
    """In a day that ends in five hours."""
    for name in ("day", "month"):
        deployed.dynamodb.update_item(
            TableName="ledger",
            Key=ITEM,
            UpdateExpression=f"SET {name}_ends = :ends, {name}_credits = :credits",
            ExpressionAttributeValues={
                ":ends": {"N": str(round(time.time()) + 5 * 3600)},
                ":credits": {"N": str(credits_)},
            },
        )


def test_what_is_left_of_a_cap_is_shown(
    deployed: Deployment, cutout: Callable[..., Any], pixelcut: responses.RequestsMock, configure: Callable[..., None]
) -> None:
    configure(**CAPS)
    spend(deployed, 1234)
    pixelcut.get(CREDITS, json={"credits_remaining": "1250"})
    told = " ".join(cutout("status").out.split())
    assert "Credits 1,250 left (125.00 USD)" in told
    assert "Today 1,234 (123.40 USD) of 2,000 credits reserved, 766 left (76.60 USD) until " in told
    assert "Europe/Berlin, in 5 h" in told
    assert "This month" not in told
    found = cutout("status", "--json").json
    day = found["caps"].pop("day")
    assert found["caps"] == {"time_zone": "Europe/Berlin", "left": 766, "month": None}
    assert timedelta(hours=4.9) < datetime.fromisoformat(day.pop("ends")) - datetime.now(UTC) < timedelta(hours=5.1)
    assert day == {"cap": 2000, "reserved": 1234, "extra": 0, "reason": None, "left": 766}
    assert found["credit_price"] == {"amount": "0.10", "currency": "USD"}


def test_a_pause_at_the_cap_is_shown_with_its_end(
    deployed: Deployment, cutout: Callable[..., Any], pixelcut: responses.RequestsMock, configure: Callable[..., None]
) -> None:
    configure(**CAPS)
    spend(deployed, 2000)
    IntakeItem(deployed.dynamodb, "ledger").pause_at_cap("daily_cap", "attribute_exists(day_ends)", {})
    pixelcut.get(CREDITS, json={"credits_remaining": "1250"})
    told = " ".join(cutout("status").out.split())
    assert ": the daily cap is reached. It opens by itself soon after " in told
    assert "`cutout cap --today +N --reason ...` or a higher DailyCredits opens it earlier." in told


def test_caps_that_cannot_be_read_are_shown_as_such(
    deployed: Deployment, cutout: Callable[..., Any], pixelcut: responses.RequestsMock, configure: Callable[..., None]
) -> None:
    configure(DAILY_CREDITS="5", CAP_TIME_ZONE="Mars/Olympus")
    pixelcut.get(CREDITS, json={"credits_remaining": "1250"})
    call = cutout("status")
    assert call.code == 0
    assert "Caps The caps of the stack cannot be read." in " ".join(call.out.split())
    found = cutout("status", "--json").json
    assert found["caps"] is None
    assert (
        "CAP_TIME_ZONE must be a time zone, such as Europe/Berlin, not 'Mars/Olympus'" in found["caps_unknown_because"]
    )


def test_watch_refreshes_the_caps(
    deployed: Deployment,
    cutout: Callable[..., Any],
    pixelcut: responses.RequestsMock,
    looks: Callable[..., None],
    configure: Callable[..., None],
) -> None:
    configure(**CAPS)
    pixelcut.get(CREDITS, json={"credits_remaining": "250"})
    looks(lambda: spend(deployed, 7))
    first, second, _ = cutout("status", "--watch").out.split("Ctrl-C ends it.\n")
    assert "0 (0.00 USD) of 2,000 credits reserved" in first
    assert "7 (0.70 USD) of 2,000 credits reserved" in second
