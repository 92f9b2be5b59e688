"""What the console knows of a stack, read from AWS as moto answers."""

import json
import time
from datetime import timedelta
from typing import Any

import pytest

from cutout.operations import credits as balance
from cutout.operations import intake as stack_intake
from cutout.operations.activity import Activity, Today
from cutout.operations.deployment import Deployment
from cutout.operations.queues import Age
from cutout.operations.snapshot import SnapshotReader, read_slow
from remove_background.intake import OPERATOR, IntakeItem

pytestmark = pytest.mark.usefixtures("no_invocations")
GROUP = "/aws/lambda/remove-background"
LETTER = {"message": "letter", "source": "s3://input/a.jpg", "error_code": "malformed_image", "billed": "no"}


def log(deployed: Deployment, *lines: dict[str, Any], stream: str = "one") -> None:
    if not deployed.logs.describe_log_groups(logGroupNamePrefix=GROUP)["logGroups"]:
        deployed.logs.create_log_group(logGroupName=GROUP)
    deployed.logs.create_log_stream(logGroupName=GROUP, logStreamName=stream)
    events = [
        {"timestamp": int(time.time() * 1000) + number, "message": json.dumps(line)}
        for number, line in enumerate(lines)
    ]
    deployed.logs.put_log_events(logGroupName=GROUP, logStreamName=stream, logEvents=events)


def test_a_stack_at_rest_is_a_snapshot_of_nothing(deployed: Deployment) -> None:
    found = SnapshotReader(Activity()).read(deployed, everything=False)

    assert (found.queue.total, found.letters.total, found.intake.paused_by, found.recent) == (0, 0, None, ())
    assert (found.rate, found.seconds_left, found.logs_cutouts) == (None, None, True)
    assert found.moves_since(None)
    assert not found.moves_since(found)


def test_what_waits_what_ended_and_who_paused_are_in_the_snapshot(deployed: Deployment) -> None:
    activity = Activity()
    reader = SnapshotReader(activity)
    before = reader.read(deployed, everything=True)
    deployed.sqs.send_message(QueueUrl=deployed.upload_queue, MessageBody="{}")
    deployed.sqs.send_message(QueueUrl=deployed.upload_queue, MessageBody="{}", DelaySeconds=60)
    deployed.sqs.send_message(QueueUrl=deployed.dead_letter_queue, MessageBody="{}")
    metrics = {"_aws": {"Timestamp": 1}, "Cutout": [2.0], "Letter": [1.0], "Credits": [2.0]}
    log(deployed, {"message": "cutout", "source": "s3://input/b.jpg"}, metrics)
    log(deployed, LETTER, stream="two")

    found = reader.read(deployed, everything=False)
    assert (found.queue.waiting, found.queue.delayed, found.letters.waiting) == (1, 1, 1)
    assert found.today._replace(is_complete=True) == Today(2, 1, 2, is_complete=True)
    assert {(ended.source, ended.outcome, ended.code) for ended in found.recent} == {
        ("s3://input/a.jpg", "letter", "malformed_image"),
        ("s3://input/b.jpg", "cutout", None),
    }
    assert found.rate
    assert found.seconds_left == pytest.approx(2 / found.rate)
    assert found.moves_since(before)

    IntakeItem(deployed.dynamodb, "ledger").pause(OPERATOR, "new prices")
    paused = reader.read(deployed, everything=True)
    assert (paused.intake.paused_by, paused.intake.reason, paused.seconds_left) == (OPERATOR, "new prices", None)
    assert paused.intake == stack_intake.read_item(deployed)


def test_the_level_of_the_log_says_whether_cutouts_are_in_it(deployed: Deployment) -> None:
    variables = dict(deployed.settings) | {"POWERTOOLS_LOG_LEVEL": "WARNING"}
    deployed.lambda_.update_function_configuration(FunctionName=deployed.function, Environment={"Variables": variables})
    changed = Deployment("cutout", deployed.outputs, deployed._make_client)

    assert not SnapshotReader(Activity()).read(changed, everything=True).logs_cutouts


def test_credits_and_age_are_read_apart(deployed: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balance, "read", lambda deployed: 250.0)

    assert read_slow(deployed).credits_left == 250


def test_an_age_from_before_the_queue_was_empty_says_nothing(deployed: Deployment) -> None:
    reader = SnapshotReader(Activity())
    empty = reader.read(deployed, everything=True)
    deployed.sqs.send_message(QueueUrl=deployed.upload_queue, MessageBody="{}")
    found = reader.read(deployed, everything=True)

    assert empty.taken == empty.empty == found.empty
    assert found.oldest(Age(90.0, empty.taken - timedelta(seconds=1))) is None
    after = Age(90.0, empty.taken + timedelta(seconds=1))
    assert found.oldest(after) == after
    assert found.oldest("AWS does not say.") == "AWS does not say."
