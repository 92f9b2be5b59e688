"""The thread that the console's pages share: it goes on only while somebody looks."""

import threading
from collections.abc import Callable, Iterator

import pytest

from cutout.operations import rounds
from cutout.operations.rounds import Rounds

WAIT_SECONDS = 10


class Work:
    """Counts its rounds, and rests as long as it is told to."""

    def __init__(self) -> None:
        self.rest = 0.001
        self.goes_on = True
        self.failing: Exception | None = None
        self.begun = threading.Semaphore(0)
        self.ended = threading.Semaphore(0)
        self.rounds = Rounds("work", self.go_round, goes_on=lambda: self.goes_on, ended=self.ended.release)

    def go_round(self) -> float:
        self.begun.release()
        if self.failing:
            raise self.failing
        return self.rest

    def wait_for_rounds(self, number: int) -> None:
        assert all(self.begun.acquire(timeout=WAIT_SECONDS) for _ in range(number))

    def wait_for_end(self) -> None:
        assert self.ended.acquire(timeout=WAIT_SECONDS)
        assert not self.rounds.is_running


@pytest.fixture
def work() -> Iterator[Work]:
    work = Work()
    yield work
    work.rounds.end()


def test_it_begins_with_the_first_look_and_goes_on(work: Work) -> None:
    assert not work.rounds.is_running

    work.rounds.look()

    work.wait_for_rounds(3)
    assert work.rounds.is_running


def test_it_ends_when_nobody_looks_and_begins_again_with_a_look(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(rounds, "NOBODY_SECONDS", 0)
        work.rounds.look()
        work.wait_for_end()

    work.rounds.look()

    work.wait_for_rounds(1)


def test_it_ends_when_it_has_nothing_to_do(work: Work) -> None:
    work.rounds.look()
    work.wait_for_rounds(1)

    work.goes_on = False

    work.wait_for_end()
    work.rounds.look()
    assert not work.rounds.is_running


def test_a_rest_ends_when_it_is_woken(work: Work) -> None:
    work.rest = WAIT_SECONDS * 10
    work.rounds.look()
    work.wait_for_rounds(1)

    work.rounds.wake()

    work.wait_for_rounds(1)


@pytest.mark.parametrize("end", [Rounds.end, Rounds.stop])
def test_once_it_is_over_no_look_begins_it_again(work: Work, end: Callable[[Rounds], None]) -> None:
    work.rest = WAIT_SECONDS * 10
    work.rounds.look()
    work.wait_for_rounds(1)

    end(work.rounds)

    work.wait_for_end()
    assert work.rounds.is_over
    assert work.rounds.pause(WAIT_SECONDS)
    work.rounds.look()
    assert not work.rounds.is_running


def test_after_a_failure_the_next_look_begins_it_again(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[BaseException | None] = []
    hook = threading.Event()

    def note(args: threading.ExceptHookArgs) -> None:
        told.append(args.exc_value)
        hook.set()

    monkeypatch.setattr(threading, "excepthook", note)
    work.failing = RuntimeError("on purpose")
    work.rounds.look()
    work.wait_for_end()
    assert hook.wait(WAIT_SECONDS)
    assert told == [work.failing]
    work.failing = None

    work.rounds.look()

    work.wait_for_rounds(2)
