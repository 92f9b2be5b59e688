"""The uploads of the page are followed in a thread, as long as somebody looks."""

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from botocore.exceptions import EndpointConnectionError

from cutout.console import upload_follower
from cutout.console.stack import Stack
from cutout.console.upload_follower import Follower
from cutout.console.watch import Seen, Watch
from cutout.operations import rounds
from cutout.operations.deployment import Deployment
from cutout.operations.files import Became, File
from cutout.operations.queues import Counts
from remove_background.uploads import Upload

PATIENCE_SECONDS = 10


class Uploads:
    """Ends what it is given when it is told; or fails."""

    def __init__(self) -> None:
        self.is_waiting = self.may_learn = False
        self.rounds: list[dict[str, Any]] = []
        self.looked = threading.Event()
        self.failing: Exception | None = None
        self.ends = False

    def add(self, file: File) -> None:
        self.is_waiting = self.may_learn = True

    def look(self, deployed: Deployment, lines: Iterable[str], **state: bool) -> None:
        if self.failing:
            self.looked.set()
            raise self.failing
        self.rounds.append({"lines": list(lines), **state})
        if self.ends:
            self.is_waiting = self.may_learn = False
        self.looked.set()


class Followed:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.uploads = Uploads()
        self.found = 0
        self.seen = Seen(None, None, None, moves=False)
        monkeypatch.setattr(upload_follower, "UploadWatch", lambda: self.uploads)
        for name in ("ROUND_SECONDS", "REST_SECONDS", "RETRY_SECONDS"):
            monkeypatch.setattr(upload_follower, name, 0.001)
        activity = SimpleNamespace(since=lambda position: (["line"] if position == 0 else [], 1))
        self.hurried = 0
        watch = SimpleNamespace(activity=activity, look=lambda: self.seen, hurry=self._hurry)
        self.follower = Follower(Stack("cutout", self._find), cast("Watch", watch))

    def _hurry(self) -> None:
        self.hurried += 1

    def _find(self) -> Deployment:
        self.found += 1
        return cast("Deployment", None)

    def send(self) -> None:
        self.follower.add(File(Path("a"), 1, "a", "a.png", Became.SENT, upload=Upload("input", "a", "etag")))

    def wait_for_round(self) -> None:
        self.uploads.looked.clear()
        assert self.uploads.looked.wait(PATIENCE_SECONDS)

    def end(self) -> None:
        self.uploads.ends = True
        self.uploads.failing = None
        for thread in threading.enumerate():
            if thread.name == "uploads":
                thread.join(PATIENCE_SECONDS)
                assert not thread.is_alive()


@pytest.fixture
def followed(monkeypatch: pytest.MonkeyPatch) -> Followed:
    return Followed(monkeypatch)


def wait_until(condition: Callable[[], bool], followed: Followed) -> None:
    while not condition():
        followed.wait_for_round()


def test_without_uploads_there_is_no_thread(followed: Followed) -> None:
    followed.follower.look()
    followed.end()
    assert followed.uploads.rounds == []


def test_each_line_of_the_log_is_heard_once_and_the_thread_ends_with_the_last_upload(followed: Followed) -> None:
    snapshot = SimpleNamespace(logs_cutouts=True, queue=Counts(0, 0, 0), letters=Counts(3, 0, 0))
    followed.seen = Seen(cast("Any", snapshot), None, None, moves=False)
    followed.send()
    followed.send()
    assert followed.hurried == 1
    wait_until(lambda: len(followed.uploads.rounds) > 2, followed)
    followed.end()
    first, second, *_ = followed.uploads.rounds
    assert first == {"lines": ["line"], "log_is_read": True, "is_idle": True}
    assert second == {"lines": [], "log_is_read": True, "is_idle": True}
    followed.uploads.ends = False
    followed.send()
    followed.wait_for_round()
    followed.end()


def test_while_the_stack_is_not_seen_the_log_counts_as_hidden(followed: Followed) -> None:
    followed.send()
    followed.wait_for_round()
    followed.end()
    assert followed.uploads.rounds[0] == {"lines": ["line"], "log_is_read": False, "is_idle": False}


def test_an_error_is_told_until_it_has_passed_and_the_lines_are_heard_again(followed: Followed) -> None:
    followed.uploads.failing = EndpointConnectionError(endpoint_url="https://s3.test")
    followed.send()
    followed.wait_for_round()
    followed.wait_for_round()
    assert str(followed.follower.trouble).startswith("https://s3.test does not answer.")
    assert followed.found > 1
    followed.uploads.failing = None
    wait_until(lambda: len(followed.uploads.rounds) > 1, followed)
    followed.end()
    assert followed.uploads.rounds[0]["lines"] == ["line"]
    assert followed.follower.trouble is None


def test_the_thread_ends_when_nobody_looks_and_begins_again_with_a_look(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "NOBODY_SECONDS", 0)
    followed.send()
    for thread in threading.enumerate():
        if thread.name == "uploads":
            thread.join(PATIENCE_SECONDS)
    assert followed.uploads.rounds == []
    monkeypatch.undo()
    monkeypatch.setattr(upload_follower, "ROUND_SECONDS", 0.001)
    followed.follower.look()
    followed.wait_for_round()
    followed.end()
