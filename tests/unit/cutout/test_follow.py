"""A run of 2,000 uploads on a simulated clock: the estimate of its end, and the lines on the screen."""

import io
import random
import threading
from collections import Counter
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from cutout.operations import follow, intake, objects, queues
from cutout.operations.deployment import Deployment
from cutout.operations.estimate import Estimate
from cutout.operations.files import Became, File
from cutout.operations.follow import Following
from cutout.operations.intake import Intake
from cutout.presentation.following import render, shown, word_end
from remove_background.errors import Billed
from remove_background.models import cutout_metadata
from remove_background.uploads import Upload

TOTAL = 2000
RATE = 4.9
TRUTH = TOTAL / RATE


def at(seconds: float) -> datetime:
    """As AWS tells a moment: its own clock is another, and has whole seconds."""
    return datetime.fromtimestamp(1_800_000_000 + int(seconds), UTC)


class Cloud:
    """Time passes during looks and rests; cutouts arrive at a constant rate, in this order of their numbers."""

    def __init__(self, order: list[int], seconds_a_look: float) -> None:
        self.now = 0.0
        self._seconds_a_look = seconds_a_look
        self._rank = {f"{number}.png": rank for rank, number in enumerate(order)}
        self._lock = threading.Lock()
        self.at_rest: list[tuple[float, float | None]] = []
        self.following: Following | None = None

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        for _ in range(10):
            self.now += seconds / 10
            assert self.following
            self.at_rest.append((self.now, self.following.estimate.seconds_left(self.now)))

    def head(self, s3: object, bucket: str, key: str) -> dict[str, Any] | None:
        with self._lock:
            self.now += self._seconds_a_look
        if bucket == "input":
            return {"ETag": "etag"}
        ended = (self._rank[key] + 1) / RATE
        if self.now < ended:
            return None
        upload = Upload("input", key.replace(".png", ".jpg"), "etag")
        metadata = cutout_metadata(upload)
        answered = {"HTTPHeaders": {"date": format_datetime(at(self.now), usegmt=True)}}
        return {"ETag": "cutout", "Metadata": metadata, "LastModified": at(ended), "ResponseMetadata": answered}


@pytest.mark.parametrize("order", ["as sent", "any"])
@pytest.mark.parametrize("seconds_a_look", [0.005, 0.007])
def test_the_end_of_two_thousand_is_estimated_from_a_tenth_of_the_way_on(
    monkeypatch: pytest.MonkeyPatch, order: str, seconds_a_look: float
) -> None:
    numbers = list(range(TOTAL))
    if order == "any":
        random.Random(3).shuffle(numbers)
    cloud = Cloud(numbers, seconds_a_look)
    deployed = SimpleNamespace(
        settings={"REQUESTS_PER_SECOND": "5"},
        output_bucket="output", upload_queue="uploads", dead_letter_queue="letters", s3=None, sqs=None,
    )  # fmt: skip
    monkeypatch.setattr(follow, "time", cloud)
    monkeypatch.setattr(objects, "head", cloud.head)
    monkeypatch.setattr(queues, "count", lambda _, url: queues.Counts(0, int(url == "uploads"), 0))
    monkeypatch.setattr(intake, "read", lambda _: Intake(None))
    files = [
        File(Path(f"{number}.jpg"), 1, f"{number}.jpg", f"{number}.png", Became.SENT,
             upload=Upload("input", f"{number}.jpg", "etag", time=0.0))
        for number in range(TOTAL)
    ]  # fmt: skip
    cloud.following = Following(
        cast("Deployment", deployed), Intake(None), None, lambda _: None, lambda _: None, lambda _: None
    )
    cloud.following.follow(files)
    assert cloud.following.became == {Became.CUTOUT: TOTAL}
    assert {file.billed for file in files} == {Billed.YES}
    estimates = [(now, left) for now, left in cloud.at_rest if TRUTH / 10 <= now <= TRUTH]
    assert len(estimates) > 400
    for now, left in estimates:
        assert left is not None, now
        assert left == pytest.approx(TRUTH - now, rel=0.2, abs=5), now


def drawn(became: Counter[Became], ahead: int | None, estimate: Estimate, now: float) -> list[str]:
    screen = Console(file=io.StringIO(), width=80)
    following = SimpleNamespace(became=became, ahead=ahead, estimate=estimate, total=2000)
    screen.print(render(cast("Following", following), now))
    file = cast("io.StringIO", screen.file)
    return file.getvalue().splitlines()


def test_the_lines_say_what_has_ended_and_what_is_ahead() -> None:
    estimate = Estimate(2000, 5.0)
    estimate.note(10, 21)
    estimate.note(70, 321)
    first, second = drawn(Counter({Became.CUTOUT: 312, Became.LETTER: 9}), 834, estimate, 70)
    assert first.startswith("Becoming cutouts")
    assert first.rstrip().endswith("321/2,000 5.0/s 5m36s left")
    assert second.rstrip() == "312 cutouts, 9 letters, 834 ahead in the queue"


def test_unknown_figures_are_left_out() -> None:
    first, second = drawn(Counter(), None, Estimate(2000), 1)
    assert first.rstrip().endswith("0/2,000")
    assert second.rstrip() == "0 cutouts"


@pytest.mark.parametrize("terminal", [True, False])
def test_the_lines_are_for_terminals(terminal: bool) -> None:
    following = SimpleNamespace(became=Counter({Became.CUTOUT: 3}), ahead=7, estimate=Estimate(9), total=9)
    screen = Console(file=io.StringIO(), force_terminal=terminal, width=80)
    with shown(cast("Following", following), screen):
        pass
    assert ("3 cutouts, 7 ahead in the queue" in cast("io.StringIO", screen.file).getvalue()) is terminal


def ended(became: Became, billed: Billed | None) -> File:
    return File(Path("a"), 1, "a", "a.png", became, billed=billed)


@pytest.mark.parametrize(
    ("files", "seconds", "line"),
    [
        ([ended(Became.CUTOUT, Billed.YES)] * 2000, 413, "2,000 in 6m53s, 2,000 credits, 4.8/s"),
        ([ended(Became.CUTOUT, Billed.YES)], 0.3, "1 in 0s, 1 credit, 1.0/s"),
        ([ended(Became.CUTOUT, Billed.NO)] * 9 + [ended(Became.CUTOUT, Billed.YES)], 5, "10 in 5s, 1 credit, 2.0/s"),
        (
            [ended(Became.CUTOUT, Billed.YES), ended(Became.LETTER, Billed.MAYBE), ended(Became.DELETED, None)],
            7500,
            "3 in 2h05m, at least 1 credit, 0.0/s",
        ),
    ],
)
def test_the_last_line_gives_the_number_the_time_and_the_known_cost(
    files: list[File], seconds: float, line: str
) -> None:
    assert word_end(files, seconds) == line
