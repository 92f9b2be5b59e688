"""The job behind the console's page Letters, on the queues and buckets of moto."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.sqs.models import sqs_backends

from cutout.operations.deployment import Deployment
from cutout.operations.letter_job import Action, Job, State
from cutout.operations.replay import Replay
from cutout.operations.selection import Chosen

pytestmark = pytest.mark.usefixtures("one_thread", "no_invocations")

LETTERS, MINE = 200, 97


@pytest.fixture
def chosen(deployed: Deployment, make_record: Callable[..., Any]) -> Chosen:
    """Those with one of two codes, as they come from the queue in between."""
    etag = deployed.s3.put_object(Bucket="input", Key="a.jpg", Body=b"image")["ETag"].strip('"')
    chosen = Chosen()
    for start in range(0, LETTERS, 10):
        entries: list[Any] = [
            {
                "Id": str(number),
                "MessageBody": json.dumps({"number": number, "Records": [make_record("a.jpg", eTag=etag)]}),
                "MessageAttributes": {"ErrorCode": {"DataType": "String", "StringValue": f"code_{_is_mine(number)}"}},
            }
            for number in range(start, start + 10)
        ]
        answer = deployed.sqs.send_message_batch(QueueUrl=deployed.dead_letter_queue, Entries=entries)
        for sent in answer["Successful"]:
            if _is_mine(int(sent["Id"])):
                chosen.add(sent["MessageId"], "code_True", 1)
    return chosen


def _is_mine(number: int) -> bool:
    return number * MINE % LETTERS < MINE


def numbers(queue: str) -> Counter[int]:
    """Of all messages of the queue, which are visible."""
    messages = sqs_backends[DEFAULT_ACCOUNT_ID]["eu-central-1"].queues[queue]._messages
    assert all(message.visible for message in messages)
    return Counter(json.loads(message.body)["number"] for message in messages)


def test_a_replay_is_cancelled_half_way_and_finished(
    deployed: Deployment, chosen: Chosen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost, and nothing sent twice."""
    assert len(chosen.ids) == MINE
    job = Job(Action.REPLAY, chosen)
    act = Replay.__call__

    def cancel_half_way(replay: Replay, letters: Any) -> Any:  # noqa: ANN401
        if len(replay.sent) >= MINE // 2:
            job.cancel()
        return act(replay, letters)

    monkeypatch.setattr(Replay, "__call__", cancel_half_way)
    job.run(lambda: deployed)
    sent = numbers("uploads")
    assert job.state is State.CANCELLED
    assert MINE // 2 <= sent.total() == len(job.done.done) < MINE
    assert numbers("letters") == Counter(range(LETTERS)) - sent

    rest = Chosen()
    for letter_id in job.rest:
        rest.add(letter_id, "code_True", 1)
    finish = Job(Action.REPLAY, rest)
    monkeypatch.setattr(Replay, "__call__", act)
    finish.run(lambda: deployed)
    assert (finish.state, finish.trouble, finish.not_met) == (State.DONE, None, 0)
    mine = Counter(number for number in range(LETTERS) if _is_mine(number))
    assert numbers("uploads") == mine
    assert numbers("letters") == Counter(range(LETTERS)) - mine
