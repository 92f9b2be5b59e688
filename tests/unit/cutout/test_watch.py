"""The watcher of the console: how often it asks AWS, and what it says when AWS does not answer."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from cutout.console import stack as stack_module
from cutout.console import watch as watch_module
from cutout.console.stack import Stack
from cutout.console.watch import Seen, Watch
from cutout.failures import Failure
from cutout.operations import rounds
from cutout.operations import snapshot as snapshot_module
from tests.unit.cutout.fake_stack import FakeStack
from tests.unit.fakes import refusal

FASTER = 50  # than a real one
WAIT_SECONDS = 10


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "ROUND_SECONDS", "SLOW_ROUND_SECONDS", "REST_SECONDS", "SLOW_SECONDS", "FRESH_SECONDS",
        "LATE_SECONDS", "MOST_RETRY_SECONDS",
    ):  # fmt: skip
        monkeypatch.setattr(watch_module, name, getattr(watch_module, name) / FASTER)
    monkeypatch.setattr(stack_module, "KEPT_SECONDS", 0.0)
    monkeypatch.setattr(rounds, "NOBODY_SECONDS", rounds.NOBODY_SECONDS / FASTER)
    monkeypatch.setattr(snapshot_module, "MAPPING_SECONDS", snapshot_module.MAPPING_SECONDS / FASTER)


@pytest.fixture
def stack() -> FakeStack:
    return FakeStack()


@pytest.fixture
def found() -> list[str]:
    """A line for each time that the stack was looked for."""
    return []


@pytest.fixture
def watch(stack: FakeStack, found: list[str]) -> Iterator[Watch]:
    def find() -> Any:  # noqa: ANN401
        found.append("found")
        if "find" in stack.failing:
            raise stack.failing["find"]
        return stack.deployed

    watch = Watch(Stack("cutout", find))
    yield watch
    wait(lambda: not watch._rounds.is_running)  # it ends by itself


def wait(condition: Callable[[], object]) -> None:
    ends = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.002)


def look_until(watch: Watch, condition: Callable[[Seen], object]) -> Seen:
    seen = watch.look()

    def look() -> bool:
        nonlocal seen
        seen = watch.look()
        return bool(condition(seen))

    wait(look)
    return seen


def look_for(watch: Watch, seconds: float) -> Seen:
    """`seconds` are those of a real watcher."""
    ends = time.monotonic() + seconds / FASTER
    return look_until(watch, lambda _: time.monotonic() > ends)


def test_a_window_that_is_opened_waits_for_the_first_snapshot(watch: Watch, stack: FakeStack) -> None:
    stack.uploads, stack.letters = 7, 2

    seen = watch.look(patience=WAIT_SECONDS)

    assert seen.snapshot
    assert (seen.snapshot.queue.waiting, seen.snapshot.letters.waiting) == (7, 2)
    assert seen.trouble is None


def test_five_windows_cost_no_more_calls_than_one(watch: Watch, stack: FakeStack) -> None:
    stack.uploads = 100  # it moves
    look_for(watch, 20)  # the earlier hours of the day are read
    stack.calls.clear()
    began = time.monotonic()
    windows = [threading.Thread(target=look_for, args=(watch, 60)) for _ in range(5)]
    for window in windows:
        window.start()
    for window in windows:
        window.join()
    seconds = (time.monotonic() - began) * FASTER

    assert stack.calls.total() <= 3.5 * seconds
    assert stack.calls["get_queue_attributes"] >= 10


def test_a_rest_is_looked_at_more_rarely_and_everything_at_once(watch: Watch, stack: FakeStack) -> None:
    look_until(watch, lambda seen: seen.snapshot and not seen.moves)
    stack.calls.clear()
    began = time.monotonic()
    look_for(watch, 60)
    seconds = (time.monotonic() - began) * FASTER

    assert stack.calls["filter_log_events"] <= seconds / 2 + 1
    assert stack.calls["get_queue_attributes"] == pytest.approx(2 * stack.calls["filter_log_events"], abs=2)

    stack.uploads = 5
    assert look_until(watch, lambda seen: seen.moves).snapshot


def test_uploads_that_wait_while_the_intake_is_paused_do_not_move(watch: Watch, stack: FakeStack) -> None:
    stack.uploads, stack.paused_by = 5, "operator"

    seen = look_until(watch, lambda seen: seen.snapshot and not seen.moves)

    assert seen.snapshot
    assert seen.snapshot.seconds_left is None


def test_it_stops_when_nobody_looks_and_goes_on_when_somebody_does(watch: Watch, stack: FakeStack) -> None:
    watch.look(patience=WAIT_SECONDS)
    wait(lambda: not watch._rounds.is_running)
    stack.calls.clear()
    stack.uploads = 3
    time.sleep(10 / FASTER)
    assert stack.calls.total() == 0

    seen = watch.look(patience=WAIT_SECONDS)

    assert seen.snapshot
    assert seen.snapshot.queue.waiting == 3


def test_it_ends_with_the_console(watch: Watch) -> None:
    watch.look(patience=WAIT_SECONDS)

    watch._stack.end()

    assert not watch._rounds.is_running


def test_what_the_operator_has_changed_is_seen_at_once(watch: Watch, stack: FakeStack) -> None:
    look_until(watch, lambda seen: seen.snapshot and not seen.moves)
    stack.paused_by = "operator"

    watch.hurry(patience=WAIT_SECONDS)

    seen = watch.look()
    assert seen.snapshot
    assert (seen.snapshot.intake.paused_by, seen.moves) == ("operator", True)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (refusal("ExpiredToken", "GetQueueAttributes"), "Log in again"),
        (refusal("ThrottlingException", "GetQueueAttributes"), "AWS throttles GetQueueAttributes"),
        (EndpointConnectionError(endpoint_url="https://sqs.test"), "https://sqs.test does not answer"),
    ],
)
def test_an_error_is_told_beside_the_last_snapshot_until_it_is_gone(
    watch: Watch, stack: FakeStack, found: list[str], error: Exception, sentence: str
) -> None:
    stack.uploads = 7
    watch.look(patience=WAIT_SECONDS)
    stack.failing["get_queue_attributes"] = error

    seen = look_until(watch, lambda seen: seen.trouble)

    assert sentence in str(seen.trouble)
    assert seen.snapshot
    assert seen.snapshot.queue.waiting == 7
    stack.failing.clear()
    look_until(watch, lambda seen: not seen.trouble)
    assert len(found) >= 2  # with new credentials


def test_a_stack_that_is_gone_is_told_from_the_first_look_on(watch: Watch, stack: FakeStack, found: list[str]) -> None:
    stack.failing["find"] = Failure("There is no stack cutout.")

    seen = watch.look(patience=WAIT_SECONDS)

    assert (seen.snapshot, seen.trouble) == (None, "There is no stack cutout.")
    look_for(watch, 60)
    assert len(found) < 15  # more and more rarely
    stack.failing.clear()
    assert look_until(watch, lambda seen: not seen.trouble).snapshot


def test_aws_that_does_not_answer_is_told_before_it_does(
    watch: Watch, stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch.look(patience=WAIT_SECONDS)
    answers = threading.Event()
    count = stack.get_queue_attributes

    def hang(**call: Any) -> Any:  # noqa: ANN401
        answers.wait(WAIT_SECONDS)
        return count(**call)

    monkeypatch.setattr(stack, "get_queue_attributes", hang)
    assert "AWS does not answer" in str(look_until(watch, lambda seen: seen.trouble).trouble)
    answers.set()
    look_until(watch, lambda seen: not seen.trouble)


def test_a_mapping_that_was_disabled_by_hand_is_seen(watch: Watch, stack: FakeStack) -> None:
    stack.uploads = 1
    watch.look(patience=WAIT_SECONDS)
    stack.mapping = "Disabled"

    look_until(watch, lambda seen: seen.snapshot and seen.snapshot.intake.paused_by == "operator")
    stack.mapping = "Enabled"
    look_until(watch, lambda seen: seen.snapshot and seen.snapshot.intake.paused_by is None)


def test_what_changes_slowly_is_asked_for_once_a_minute(watch: Watch, stack: FakeStack) -> None:
    look_until(watch, lambda seen: seen.slow)
    look_for(watch, 90)

    assert stack.calls["get_secret_value"] in (2, 3)
    assert "has no value" in str(watch.look().slow)
    stack.failing["get_metric_statistics"] = refusal("AccessDenied", "GetMetricStatistics")
    seen = look_until(watch, lambda seen: seen.slow and isinstance(seen.slow.age, str))
    assert "Ask for that permission" in str(seen.slow)
    assert seen.trouble is None


def test_a_fault_of_the_console_itself_is_told_and_tried_again(
    watch: Watch, stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: list[object] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    stack.failing["get_queue_attributes"] = ZeroDivisionError()
    seen = watch.look(patience=WAIT_SECONDS)
    assert "The console has failed" in str(seen.trouble)
    assert raised
    stack.failing.clear()
    assert look_until(watch, lambda seen: not seen.trouble).snapshot
