"""The page Cutouts, and the listing behind it."""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cutout.console import watch
from cutout.operations import listing, output_keys, rounds
from cutout.operations.attempts import Attempt
from cutout.operations.deployment import Deployment
from cutout.operations.listing import Listing
from remove_background.models import cutout_metadata
from remove_background.uploads import Outcome, Upload
from tests.integration.console.conftest import Browser

PutCutout = Callable[..., str]
LONG = "photos/" + "ü" * 400


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else uses what is asked; and no watcher asks for more than the buckets."""
    monkeypatch.setattr(listing, "CALL_SECONDS", 0.0)
    monkeypatch.setattr(listing, "ROUND_SECONDS", 0.01)
    monkeypatch.setattr(rounds, "NOBODY_SECONDS", 0.5)
    monkeypatch.setattr(listing, "REST_SECONDS", (0.01,))
    monkeypatch.setattr(watch.Watch, "look", lambda self, **_: watch.Seen(None, None, None, moves=False))


@dataclass
class Feed:
    attempts: list[Attempt] = field(default_factory=list)
    forgotten: int = 0

    @property
    def position(self) -> int:
        return self.forgotten + len(self.attempts)

    def since(self, position: int) -> tuple[list[Attempt], int]:
        return self.attempts[max(0, position - self.forgotten) :], self.position

    def add(self, source: str, outcome: str = Outcome.CUTOUT) -> None:
        self.attempts.append(Attempt(datetime.now(UTC), source, outcome, 1, 1, None, None, None, counts=None))


@pytest.fixture
def feed() -> Feed:
    return Feed()


@pytest.fixture
def forgotten() -> list[None]:
    """How often the stack was."""
    return []


@pytest.fixture
def listed(buckets: Deployment, feed: Feed, forgotten: list[None]) -> Iterator[Listing]:
    found = Listing(lambda: buckets, lambda: forgotten.append(None), feed)
    yield found
    wait_until(lambda: not found._rounds.is_running)


def wait_until(condition: Callable[[], Any]) -> None:
    ends = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.005)


def read(found: Listing) -> None:
    wait_until(lambda: not found.look().is_reading)


def test_the_bucket_is_read_in_pages(listed: Listing, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[float] = []

    def list_pages(*_: object) -> Iterator[list[dict[str, Any]]]:
        for page in range(3):
            calls.append(time.monotonic())
            yield [
                {"Key": f"{page}/{number}.png", "LastModified": datetime.now(UTC), "Size": 1} for number in range(1000)
            ]

    monkeypatch.setattr(listing, "list_pages", list_pages)
    monkeypatch.setattr(listing, "CALL_SECONDS", 0.05)

    read(listed)

    assert (len(listed.entries), listed.look().read, listed.look().is_partial) == (3000, 3000, False)
    assert calls[2] - calls[0] >= 0.1


def test_no_more_than_the_bound_is_read(
    listed: Listing, put_cutout: PutCutout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MOST", 1)
    put_cutout("a.png")

    read(listed)

    assert listed.look().is_partial


def test_a_cutout_comes_as_soon_as_the_function_has_logged_it(
    buckets: Deployment, listed: Listing, feed: Feed, put_cutout: PutCutout
) -> None:
    feed.add("s3://input/before.jpg")
    read(listed)
    put_cutout("photos/a b.png", b"12345")
    for source in (
        "s3://other/b.jpg",
        f"s3://input/{LONG * 2}.jpg",
        "s3://input/gone.jpg",
        "s3://input/photos/a b.jpg",
    ):
        feed.add(source)
    feed.add("s3://input/failed.jpg", "letter")

    wait_until(lambda: listed.look() and listed.entries.find())

    assert listed.entries.find() == ["photos/a b.png"]
    entry = listed.entries.get("photos/a b.png")
    assert entry
    assert entry.size == 5


def test_of_many_at_once_only_some_are_looked_at(
    buckets: Deployment, listed: Listing, feed: Feed, monkeypatch: pytest.MonkeyPatch, put_cutout: PutCutout
) -> None:
    read(listed)
    for number in range(20):
        put_cutout(f"{number}.png")
    feed.attempts += [
        Attempt(datetime.now(UTC), f"s3://input/{number}.jpg", Outcome.CUTOUT, 1, 1, None, None, None, counts=None)
        for number in range(20)
    ]

    wait_until(lambda: listed.look() and len(listed.entries) == 20)

    assert listed.entries.size_of(listed.entries.find()) == listing.HEADS * len(b"png")


def test_the_bucket_is_read_anew_where_the_feed_has_forgotten(
    listed: Listing, feed: Feed, put_cutout: PutCutout
) -> None:
    read(listed)
    put_cutout("a.png")
    feed.forgotten = 10

    wait_until(lambda: listed.look() and listed.entries.find() == ["a.png"])


def test_renewed_it_knows_what_was_deleted(buckets: Deployment, listed: Listing, put_cutout: PutCutout) -> None:
    put_cutout("a.png"), put_cutout("b.png")
    read(listed)
    version = listed.version
    buckets.s3.delete_object(Bucket="output", Key="a.png")

    listed.renew()
    read(listed)

    assert listed.entries.find() == ["b.png"]
    assert listed.version > version


def test_it_goes_on_after_trouble(
    buckets: Deployment,
    listed: Listing,
    put_cutout: PutCutout,
    forgotten: list[None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put_cutout("a.png")
    error: Any = {"Error": {"Code": "ExpiredToken"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    with monkeypatch.context() as patch:

        def refuse(*_: object) -> None:
            raise ClientError(error, "ListObjectsV2")

        patch.setattr(listing, "list_pages", refuse)
        wait_until(lambda: "does not accept the credentials" in (listed.look().trouble or ""))
        wait_until(lambda: forgotten)

    read(listed)

    assert listed.look().trouble is None
    assert listed.entries.find() == ["a.png"]


def show(browser: Browser, path: str = "/cutouts", **query: Any) -> str:  # noqa: ANN401
    """Once the bucket is read."""
    wait_until(lambda: "new cutouts appear by themselves" in browser.get("/cutouts").text)
    return browser.get(path, **query).text


def test_the_page_shows_sixty_at_a_time(browser: Browser, put_cutout: PutCutout) -> None:
    for number in range(61):
        put_cutout(f"photos/{number:02}.png")

    first, second = show(browser), browser.get("/cutouts", page=2).text

    assert (first.count('class="tile"'), second.count('class="tile"')) == (60, 1)
    assert "Page 1 of 2" in first
    assert browser.get("/cutouts", page=99).text.count("Page 2 of 2") == 1
    assert browser.get("/cutouts", page="-1").status_code == browser.get("/cutouts", page="x").status_code == 200
    assert "61 cutouts" in first
    assert 'href="/cutouts?prefix=photos/"' in first


def test_keys_are_text_everywhere(browser: Browser, put_cutout: PutCutout) -> None:
    key = put_cutout('<img src=x onerror="alert(1)">/{{ 7*7 }}&amp;.png', original=b"x")

    for page in (show(browser), show(browser, "/cutouts/one", key=key), show(browser, search=key, prefix=key[:9])):
        assert "<img src=x" not in page
        assert "&lt;img src=x onerror=&#34;alert(1)&#34;&gt;" in page
        assert "{{ 7*7 }}" in page


def test_a_look_is_answered_only_with_what_is_new(browser: Browser, put_cutout: PutCutout) -> None:
    put_cutout("a.png")
    page = show(browser)
    version = page.partition("/cutouts/grid?version=")[2].partition('"')[0]
    digest = page.partition("/cutouts/state?digest=")[2].partition('"')[0]

    assert browser.get("/cutouts/grid", version=version).status_code == 204
    assert browser.get("/cutouts/grid", version=version).headers["Next-Look-Milliseconds"] == "2000"
    assert browser.get("/cutouts/grid", version="0").status_code == 200
    assert browser.get("/cutouts/state", digest=digest).status_code == 204
    assert browser.get("/cutouts/state", digest="x").status_code == 200


@pytest.mark.parametrize("key", ["a.jpg", "photos/été 50% #1?&.jpg", f"{LONG}.jpg", "sha256:x.jpg"])
def test_a_cutout_is_shown_beside_its_original(browser: Browser, put_cutout: PutCutout, key: str) -> None:
    cutout = put_cutout(key.replace(".jpg", ".png"), source=key, original=b"jpg")

    page = show(browser, "/cutouts/one", key=cutout)

    assert "It is current" in page
    assert "<image-compare" in page
    assert "Download the original" in page


def test_what_is_not_its_original_is_told(buckets: Deployment, browser: Browser, put_cutout: PutCutout) -> None:
    put_cutout("changed.png", source="changed.jpg", original=b"1")
    buckets.s3.put_object(Bucket="input", Key="changed.jpg", Body=b"2")
    put_cutout("gone.png", source="gone.jpg")
    put_cutout("moved.png", source=f"{LONG}.jpg")
    buckets.s3.put_object(Bucket="output", Key="notes.txt", Body=b"notes")
    elsewhere = cutout_metadata(Upload("other", "a.jpg", hashlib.md5(b"").hexdigest()))
    buckets.s3.put_object(Bucket="output", Key="elsewhere.png", Body=b"png", Metadata=elsewhere)

    for key, sentence, compares in (
        ("changed.png", "another image stands under the original", True),
        ("gone.png", "Its original is gone", False),
        ("moved.png", "names it only by a hash", False),
        ("notes.txt", "not a cutout of this stack", False),
        ("elsewhere.png", "in another bucket than this stack", False),
    ):
        page = browser.get("/cutouts/one", key=key).text
        assert sentence in page
        assert ("<image-compare" in page) == compares


@pytest.mark.parametrize("pattern", ["{stem}.png", "cut/{key}.png", "{dir}cut/{name}.png", "{dir}{name}-{ext}.png"])
def test_the_original_of_a_long_key_is_found_by_any_pattern(
    buckets: Deployment, browser: Browser, put_cutout: PutCutout, pattern: str
) -> None:
    buckets.settings["OUTPUT_KEY"] = pattern  # type: ignore[index]  # in the tests, it is a dict
    source = "photos/" + "\u4e2d" * 120 + ".jpg"
    key = put_cutout(output_keys.output_key(buckets).of(source), source=source, original=b"jpg")

    assert "It is current" in browser.get("/cutouts/one", key=key).text


def test_one_leads_to_its_neighbours(browser: Browser, put_cutout: PutCutout) -> None:
    for number, key in enumerate(("x/a.png", "x/b.png", "other.png", "x/c.png")):
        put_cutout(key, bytes(number + 1))  # of the same second, the largest counts as the newest
    show(browser)

    page = browser.get("/cutouts/one", key="x/b.png", prefix="x/").text

    assert "2 of 3" in page
    assert 'rel="prev" href="/cutouts/one?key=x/c.png&amp;prefix=x/"' in page
    assert 'rel="next" href="/cutouts/one?key=x/a.png&amp;prefix=x/"' in page


def test_one_that_is_gone_is_told_and_leaves_the_listing(
    buckets: Deployment, browser: Browser, put_cutout: PutCutout
) -> None:
    put_cutout("a.png")
    assert "1 cutout<" in show(browser)
    buckets.s3.delete_object(Bucket="output", Key="a.png")

    answer = browser.get("/cutouts/one", key="a.png")

    assert (answer.status_code, "Nothing stands under a.png" in answer.text) == (404, True)
    assert "There are no cutouts yet" in browser.get("/cutouts").text
    assert browser.get("/cutouts/one").status_code == 400
