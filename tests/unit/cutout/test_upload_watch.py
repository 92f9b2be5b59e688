"""Uploads are watched by the log first, and by turns."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from cutout.operations import dead_letters, endings, upload_watch
from cutout.operations.attempts import LETTER, UNAVAILABLE, Attempt
from cutout.operations.dead_letters import Letter
from cutout.operations.deployment import Deployment
from cutout.operations.endings import IDLE_SECONDS, End, Written
from cutout.operations.files import Became, File
from cutout.operations.upload_watch import TURN_SECONDS, TURNS, UploadWatch
from remove_background.errors import Billed
from remove_background.letters import notification
from remove_background.models import Cutout
from remove_background.uploads import Outcome, Upload

START = 1_800_000_000.0
DEPLOYED = cast("Deployment", SimpleNamespace(sqs=None, dead_letter_queue="letters"))


class Cloud:
    """What S3 and the dead-letter queue hold, and how often they were asked."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.cutouts: set[str] = set()
        self.lost: dict[str, End] = {}  # by key or ETag
        self.letters: list[Letter] = []
        self.calls: Counter[str] = Counter()

    def monotonic(self) -> float:
        return self.now

    def find_cutout(self, deployed: Deployment, file: File, upload: Upload) -> Written | None:
        self.calls["cutout"] += 1
        written = Written(Cutout("etag", "input", upload.key, upload.etag, None), Billed.YES, 0.0)
        return written if file.key in self.cutouts else None

    def find_loss(self, deployed: Deployment, upload: Upload) -> End | None:
        self.calls["loss"] += 1
        return self.lost.get(upload.key) or self.lost.get(upload.etag)

    def work_through(self, handle: Callable[[list[Letter]], object]) -> None:
        self.calls["letters"] += 1
        handle(self.letters)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Cloud:
    cloud = Cloud()
    monkeypatch.setattr(upload_watch, "time", cloud)
    monkeypatch.setattr(endings, "find_cutout", cloud.find_cutout)
    monkeypatch.setattr(endings, "find_loss", cloud.find_loss)
    monkeypatch.setattr(dead_letters.DeadLetters, "work_through", cloud.work_through)
    return cloud


def sent(watch: UploadWatch, key: str, etag: str | None = None) -> File:
    upload = Upload("input", key, etag or f"etag of {key}", "version", time=START)
    file = File(Path(key), 1, key, f"{key}.png", Became.SENT, upload=upload)
    watch.add(file)
    return file


def line(key: str, outcome: str, seconds: float = 1.0, code: str | None = None) -> Attempt:
    time = datetime.fromtimestamp(START, UTC) + timedelta(seconds=seconds)
    return Attempt(time, f"s3://input/{key}", outcome, 1, 10, code, code and "It is so.", code and "no", None)


def look(watch: UploadWatch, *lines: Attempt, log_is_read: bool = True, is_idle: bool = False) -> None:
    watch.look(DEPLOYED, lines, log_is_read=log_is_read, is_idle=is_idle)


def test_a_line_of_the_log_is_confirmed_by_one_look(cloud: Cloud) -> None:
    watch = UploadWatch()
    file = sent(watch, "a.jpg")
    look(watch)
    assert cloud.calls == {}
    cloud.cutouts.add("a.jpg")
    look(watch, line("a.jpg", Outcome.CUTOUT), line("of another program.jpg", Outcome.CUTOUT))
    assert (file.became, file.billed) == (Became.CUTOUT, Billed.YES)
    assert cloud.calls == {"cutout": 1}
    assert not watch.may_learn


def test_a_letter_is_told_by_the_log_alone_and_may_become_a_cutout_by_a_replay(cloud: Cloud) -> None:
    watch = UploadWatch()
    file = sent(watch, "a.jpg")
    look(watch, line("a.jpg", UNAVAILABLE, code="service_unavailable"))
    assert file.became is Became.SENT
    look(watch, line("a.jpg", LETTER, code="malformed_image"))
    assert (file.became, file.code, file.reason, file.billed) == (
        Became.LETTER, "malformed_image", "It is so.", Billed.NO
    )  # fmt: skip
    assert cloud.calls == {}
    assert not watch.is_waiting
    assert watch.may_learn
    cloud.cutouts.add("a.jpg")
    look(watch, line("a.jpg", Outcome.CUTOUT, seconds=60))
    assert (file.became, file.code) == (Became.CUTOUT, None)


def test_a_line_about_an_earlier_upload_of_the_key_ends_nothing(cloud: Cloud) -> None:
    watch = UploadWatch()
    file = sent(watch, "a.jpg")
    look(watch, line("a.jpg", LETTER, seconds=-6, code="malformed_image"), line("a.jpg", Outcome.SUPERSEDED))
    assert file.became is Became.SENT
    assert watch.is_waiting


@pytest.mark.parametrize("became", [Became.DELETED, Became.SUPERSEDED])
def test_what_its_owner_took_away_is_confirmed(cloud: Cloud, became: Became) -> None:
    watch = UploadWatch()
    file = sent(watch, "a.jpg")
    cloud.lost["a.jpg"] = End(became, reason="Somebody did.")
    look(watch, line("a.jpg", became.value))
    assert (file.became, file.reason) == (became, "Somebody did.")
    assert not watch.may_learn


def test_without_lines_uploads_are_looked_at_by_turns_a_few_a_second(cloud: Cloud) -> None:
    watch = UploadWatch()
    files = [sent(watch, f"{number}.jpg") for number in range(3 * TURNS)]
    cloud.cutouts.update(file.key for file in files)
    cloud.now += TURN_SECONDS
    for rounds in range(1, 4):
        look(watch)
        look(watch)  # within the same second
        assert [file.became for file in files].count(Became.CUTOUT) == rounds * TURNS
        cloud.now += 1
    assert not watch.is_waiting


def test_an_upload_that_is_long_without_a_cutout_is_checked_for_its_loss(cloud: Cloud) -> None:
    watch = UploadWatch()
    file = sent(watch, "a.jpg")
    cloud.lost["a.jpg"] = End(Became.DELETED)
    for _ in range(70):
        cloud.now += 1
        look(watch)
    assert file.became is Became.DELETED
    assert cloud.calls["loss"] == 1


def test_while_the_log_is_hidden_letters_are_read_but_rarely(cloud: Cloud) -> None:
    watch = UploadWatch()
    files = [sent(watch, f"{number}.jpg") for number in range(2)]
    upload = files[0].upload
    assert upload
    record = {
        "s3": {"bucket": {"name": "input"}, "object": {"key": upload.key, "eTag": upload.etag, "versionId": "version"}}
    }
    moment = datetime.fromtimestamp(START + 1, UTC)
    attributes = {"ErrorCode": "malformed_image", "ErrorMessage": "It is broken.", "Billed": "no"}
    cloud.letters = [Letter("id", "receipt", notification([record]), moment, attributes)]
    for _ in range(30):
        look(watch, log_is_read=False)
        cloud.now += 1
    assert [file.became for file in files] == [Became.LETTER, Became.SENT]
    assert cloud.calls["letters"] == 1


def test_what_neither_ends_nor_waits_is_given_up(cloud: Cloud) -> None:
    watch = UploadWatch()
    file = sent(watch, "a.jpg")
    for _ in range(round(IDLE_SECONDS) - 10):
        cloud.now += 1
        look(watch, is_idle=True)
    look(watch, is_idle=False)
    for _ in range(round(IDLE_SECONDS)):
        cloud.now += 1
        look(watch, is_idle=True)
    assert file.became is Became.SENT
    cloud.now += 5
    look(watch, is_idle=True)
    assert file.became.value == "unfinished"
    cloud.cutouts.add("a.jpg")
    look(watch, line("a.jpg", Outcome.CUTOUT, seconds=900))
    assert file.became.value == "cutout"


def test_of_two_uploads_of_a_key_the_log_is_about_the_newer(cloud: Cloud) -> None:
    watch = UploadWatch()
    older, newer = sent(watch, "a.jpg"), sent(watch, "a.jpg")
    cloud.cutouts.add("a.jpg")
    look(watch, line("a.jpg", Outcome.CUTOUT))
    assert (older.became, newer.became) == (Became.SENT, Became.CUTOUT)
    cloud.now += TURN_SECONDS
    look(watch)
    assert older.became.value == "cutout"


@pytest.mark.parametrize("outcome", [LETTER, Outcome.SUPERSEDED])
def test_the_end_of_an_upload_that_was_overwritten_meanwhile_is_not_that_of_the_newer(
    cloud: Cloud, outcome: str
) -> None:
    watch = UploadWatch()
    older, newer = sent(watch, "a.jpg", "etag of other bytes"), sent(watch, "a.jpg")
    cloud.lost["etag of other bytes"] = End(Became.SUPERSEDED)
    look(watch, line("a.jpg", outcome, code="malformed_image"))
    assert (older.became, newer.became) == (Became.SUPERSEDED, Became.SENT)
    look(watch, line("a.jpg", LETTER, code="resolution_too_low"))
    assert (newer.became.value, newer.code) == ("letter", "resolution_too_low")


def test_an_upload_that_ended_before_its_sender_knew_is_not_missed(cloud: Cloud) -> None:
    watch = UploadWatch()
    cloud.cutouts.add("a.jpg")
    look(watch, line("a.jpg", UNAVAILABLE), line("a.jpg", Outcome.CUTOUT))
    file = sent(watch, "a.jpg")
    look(watch)
    assert file.became is Became.CUTOUT


def test_only_the_last_lines_about_other_uploads_are_kept(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_watch, "EARLY", 2)
    watch = UploadWatch()
    look(watch, *(line(key, LETTER, code="malformed_image") for key in "abc"))
    assert [sent(watch, key).became for key in "abc"] == [Became.SENT, Became.LETTER, Became.LETTER]
