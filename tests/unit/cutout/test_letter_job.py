"""A replay or a discard in eight threads, cancelled, refused in the middle, finished: none lost, none sent twice."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable

import pytest
from botocore.exceptions import ReadTimeoutError

from cutout.failures import Failure
from cutout.operations import dead_letters
from cutout.operations.deployment import Deployment
from cutout.operations.letter_job import Action, Job, State
from cutout.operations.replay import Kept
from cutout.operations.selection import Chosen
from cutout.presentation.letter_job import WORDS, word_action, word_end
from tests.fake_letters import FakeAws, refusal


def choose(ids: Iterable[str]) -> Chosen:
    chosen = Chosen()
    for letter_id in ids:
        chosen.add(letter_id, "service_unavailable", 1)
    return chosen


def names(number: int) -> list[str]:
    return [f"{n:04}" for n in range(number)]


def run(aws: FakeAws, job: Job) -> Job:
    job.run(lambda: aws.deployed)
    assert not aws.hidden
    assert job.is_over
    kept = {letter_id for ids in job.kept.values() for letter_id in ids}
    assert len(job.done.done) + len(kept) + job.not_met == len(job.chosen.ids)
    assert job.done.done | kept == job.done.met
    return job


def nth(action: str, number: int, do: Callable[[], None]) -> Callable[[str], None]:
    """Calls `do` at this call of the action, and at all later ones."""
    lock = threading.Lock()
    seen = 0

    def called(which: str) -> None:
        nonlocal seen
        if which == action:
            with lock:
                seen += 1
                due = seen >= number
            if due:
                do()

    return called


def raising(error: Exception) -> Callable[[], None]:
    def do() -> None:
        raise error

    return do


def test_the_account_is_exact_when_eight_threads_work() -> None:
    aws = FakeAws(names(1000))
    mine = names(1000)[::2]
    aws.gone, aws.overwritten, aws.refused = set(mine[10:30]), set(mine[50:55]), set(mine[90:93])
    job = run(aws, Job(Action.REPLAY, choose(mine)))

    assert job.state is State.DONE
    assert {why: len(ids) for why, ids in job.kept.items()} == {Kept.GONE: 20, Kept.OVERWRITTEN: 5, Kept.NOT_SENT: 3}
    assert len(job.done.done) == 472
    assert set(aws.sent) == job.done.done
    assert set(aws.sent.values()) == {1}
    assert set(aws.letters) == set(names(1000)) - job.done.done
    assert job.rest == set(mine[90:93])


def test_only_as_many_letters_are_read_as_needed() -> None:
    aws = FakeAws(names(1000))
    run(aws, Job(Action.DISCARD, choose(names(3))))
    assert aws.calls["receive"] <= 2 * dead_letters.THREADS
    assert len(aws.letters) == 997


@pytest.mark.parametrize("action", [Action.REPLAY, Action.DISCARD])
def test_a_cancelled_job_finishes_what_has_begun_and_nothing_else(action: Action) -> None:
    aws = FakeAws(names(1000))
    job = Job(action, choose(names(1000)))
    aws.before = nth("send" if action is Action.REPLAY else "delete", 20, job.cancel)
    run(aws, job)

    assert job.state is State.CANCELLED
    assert 190 <= len(job.done.done) <= 190 + 10 * dead_letters.THREADS
    assert set(aws.letters) == set(names(1000)) - job.done.done  # what was sent is deleted: none can be sent twice
    assert job.done.undeleted == set()
    if action is Action.REPLAY:
        assert set(aws.sent) == job.done.done
    assert job.rest == set(aws.letters)
    told = list(word_end(job))
    assert told[:2] == ["It was cancelled.", f"{len(job.done.done):,} of 1,000 letters were {WORDS[action]}."]
    assert told[2] == f"{job.not_met:,} letters not {WORDS[action]} yet: they are in the queue."

    aws.before = lambda _: None
    finished = run(aws, Job(action, choose(job.rest)))
    assert finished.state is State.DONE
    assert aws.letters == {}
    assert finished.rest == set()
    if action is Action.REPLAY:
        assert aws.sent == Counter(names(1000))


def test_a_job_that_is_cancelled_before_it_begins_does_nothing() -> None:
    aws = FakeAws(names(10))
    job = Job(Action.DISCARD, choose(names(10)))
    job.cancel()
    assert job.state is State.CANCELLING
    run(aws, job)
    assert (job.state, len(aws.letters), aws.calls) == (State.CANCELLED, 10, Counter())


def test_a_cancel_that_comes_too_late_changes_nothing() -> None:
    aws = FakeAws(names(10))
    job = Job(Action.DISCARD, choose(names(10)))
    aws.after = nth("delete", 1, job.cancel)
    assert run(aws, job).state is State.DONE


def test_after_an_error_in_the_middle_the_rest_are_letters_and_can_be_finished() -> None:
    aws = FakeAws(names(1000))
    aws.before = nth("send", 30, raising(refusal("SendMessageBatch")))
    job = run(aws, Job(Action.REPLAY, choose(names(1000))))

    assert job.state is State.FAILED
    assert job.trouble == "AWS does not allow these credentials to call SendMessageBatch. Ask for that permission."
    assert len(job.done.done) == 290
    assert set(aws.letters) == job.rest == set(names(1000)) - job.done.done
    assert list(word_end(job)) == [
        f"An error ended it: {job.trouble}",
        "290 of 1,000 letters were replayed.",
        "710 letters not replayed yet: they are in the queue.",
    ]

    aws.before = lambda _: None
    run(aws, Job(Action.REPLAY, choose(job.rest)))
    assert (aws.letters, aws.sent) == ({}, Counter(names(1000)))


def test_letters_are_not_counted_as_kept_where_the_call_failed() -> None:
    aws = FakeAws(names(10))
    aws.gone = set(names(3))
    aws.before = nth("head", 6, raising(refusal("HeadObject")))
    job = run(aws, Job(Action.REPLAY, choose(names(10))))
    assert (job.state, dict(job.kept), job.not_met) == (State.FAILED, {}, 10)


@pytest.mark.parametrize(("action", "rest"), [(Action.REPLAY, 0), (Action.DISCARD, 10)])
def test_a_lost_answer_leaves_it_open_whether_letters_are_there(action: Action, rest: int) -> None:
    """Replayed once more, they would be sent twice."""
    aws = FakeAws(names(10))
    aws.after = nth("delete", 1, raising(ReadTimeoutError(endpoint_url="https://sqs.test")))
    job = run(aws, Job(action, choose(names(10))))
    assert (job.state, len(job.done.done), len(job.done.undeleted)) == (State.FAILED, 10, 10)
    assert len(job.rest) == rest
    assert f"Of those {WORDS[action]}, 10 letters may be in the queue still." in list(word_end(job))


def test_letters_that_may_have_been_sent_are_told() -> None:
    aws = FakeAws(names(10))
    aws.after = nth("send", 1, raising(ReadTimeoutError(endpoint_url="https://sqs.test")))
    job = run(aws, Job(Action.REPLAY, choose(names(10))))
    assert set(aws.sent) == set(aws.letters) == job.rest
    assert list(word_end(job))[1:] == [
        "0 of 10 letters were replayed.",
        "10 letters not replayed yet: they are in the queue.",
        "Of these, 10 letters may have been sent already: the answer of AWS was lost.",
    ]


def test_letters_that_another_command_has_are_told_from_those_that_are_gone() -> None:
    aws = FakeAws(names(10))
    aws.elsewhere = {"0000", "0001"}
    job = run(aws, Job(Action.DISCARD, choose([*names(10), "gone"])))
    assert (job.state, job.not_met, job.hidden) == (State.DONE, 3, 2)
    assert job.rest == {"0000", "0001", "gone"}
    told = list(word_end(job))
    assert told[0] == "8 of 11 letters were discarded."
    assert told[1].startswith("2 letters not met, that another command reads")
    assert told[2] == "1 letter not met any more: another command has deleted them."


def test_letters_that_another_command_begins_to_read_meanwhile_are_not_said_to_be_gone() -> None:
    """Such as the page Explain, or a second console."""
    aws = FakeAws(names(10))
    aws.before = nth("receive", 1, lambda: aws.elsewhere.update({"0000", "0001"}))
    job = run(aws, Job(Action.DISCARD, choose(names(10))))
    assert (job.state, job.not_met, job.hidden) == (State.DONE, 2, 2)
    assert not any("deleted them" in sentence for sentence in word_end(job))


def test_images_are_deleted_with_their_letters() -> None:
    aws = FakeAws(names(20))
    aws.overwritten = {"0003"}
    job = run(aws, Job(Action.DELETE, choose(names(20))))
    assert len(aws.gone) == 19
    assert "19 images deleted." in list(word_end(job))
    assert any("0003" in sentence for sentence in word_end(job))


def test_a_stack_that_is_not_found_is_told() -> None:
    def find() -> Deployment:
        raise Failure("There is no stack.")

    job = Job(Action.REPLAY, choose(names(2)))
    job.run(find)
    assert (job.state, job.trouble, job.not_met) == (State.FAILED, "There is no stack.", 2)


def test_an_unexpected_error_ends_the_job_as_well() -> None:
    aws = FakeAws(names(2))
    aws.before = nth("send", 1, raising(KeyError("x")))
    job = Job(Action.REPLAY, choose(names(2)))
    with pytest.raises(KeyError):
        job.run(lambda: aws.deployed)
    assert (job.state, job.trouble) == (State.FAILED, "An unexpected error: KeyError.")
    assert not aws.hidden


def test_what_a_button_says() -> None:
    assert word_action(Action.REPLAY, 4812) == "Replay 4,812 letters"
    assert word_action(Action.DISCARD, 1) == "Discard 1 letter"
    assert word_action(Action.DELETE, 1) == "Discard 1 letter and delete its upload"
    assert word_action(Action.DELETE, 2) == "Discard 2 letters and delete their uploads"
