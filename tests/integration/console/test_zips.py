"""ZIPs of cutouts, made while they are sent."""

import io
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from botocore.response import StreamingBody
from waitress.channel import ClientDisconnected

from cutout.console import zips
from cutout.operations import download
from cutout.operations.deployment import Deployment
from tests.integration.console.conftest import Browser

PutCutout = Callable[..., str]


def unpack(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        assert opened.testzip() is None
        assert all(info.compress_type == zipfile.ZIP_STORED for info in opened.infolist())
        return {info.filename: opened.read(info) for info in opened.infolist()}


def test_all_of_a_prefix_are_in_the_zip(buckets: Deployment, browser: Browser, put_cutout: PutCutout) -> None:
    put_cutout("photos/été/a b.png", b"one"), put_cutout("photos/b.png", bytes(3_000_000)), put_cutout("other.png")
    buckets.s3.put_object(Bucket="output", Key="photos/")  # a folder of S3's console

    answer = browser.get("/cutouts/zip", prefix="photos/")

    assert unpack(answer.data) == {"photos/été/a b.png": b"one", "photos/b.png": bytes(3_000_000)}
    assert answer.headers["Content-Type"] == "application/zip"
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="cutout-photos-')
    assert len(unpack(browser.get("/cutouts/zip").data)) == 3


def test_those_that_were_chosen_are_in_the_zip_once(browser: Browser, put_cutout: PutCutout) -> None:
    put_cutout("a.png"), put_cutout("b.png"), put_cutout("c&d=1.png")

    answer = browser.post("/cutouts/zip/chosen", {"key": ["c&d=1.png", "a.png", "a.png"]})

    assert list(unpack(answer.data)) == ["c&d=1.png", "a.png"]


def test_a_choice_may_be_long(browser: Browser, put_cutout: PutCutout) -> None:
    put_cutout("last.png")

    answer = browser.post(
        "/cutouts/zip/chosen", {"key": [*(f"{'photos' * 40}/{number}.png" for number in range(500)), "last.png"]}
    )

    found = unpack(answer.data)
    assert set(found) == {"last.png", "LEFT OUT.txt"}
    assert found["LEFT OUT.txt"].count(b"deleted meanwhile") == 500


def test_a_console_that_only_reads_sends_zips_too(open_console: Callable[..., Browser], put_cutout: PutCutout) -> None:
    reading = open_console(read_only=True)
    put_cutout("a.png")

    assert set(unpack(reading.post("/cutouts/zip/chosen", {"key": "a.png"}).data)) == {"a.png"}
    assert reading.post("/cutouts/renew").status_code == 303
    assert reading.post("/pause", {"reason": "x"}).status_code == 403
    assert (
        reading.post("/cutouts/zip/chosen", {"key": "a.png"}, headers={"Origin": "http://evil.example"}).status_code
        == 403
    )


def test_what_is_missing_is_named_in_the_zip(buckets: Deployment, browser: Browser, put_cutout: PutCutout) -> None:
    put_cutout("a.png"), put_cutout("../b.png"), put_cutout("LEFT OUT.txt", b"mine")
    buckets.s3.put_object(Bucket="output", Key="notes.txt", Body=b"notes")
    put_cutout("frozen.png")
    buckets.s3.copy_object(
        Bucket="output",
        Key="frozen.png",
        CopySource="output/frozen.png",
        StorageClass="GLACIER",
        MetadataDirective="COPY",
    )

    keys = ["a.png", "gone.png", "../b.png", "notes.txt", "LEFT OUT.txt", "frozen.png"]
    found = unpack(browser.post("/cutouts/zip/chosen", {"key": keys}).data)

    assert set(found) == {"a.png", "LEFT OUT (2).txt", "LEFT OUT.txt"}
    assert found["LEFT OUT (2).txt"] == b"mine"
    assert found["LEFT OUT.txt"].decode().splitlines()[2:5] == [
        "gone.png: it was deleted meanwhile.",
        "../b.png: its key cannot be the name of a file.",
        "notes.txt: it is not a cutout of this stack.",
    ]
    assert "frozen.png: AWS refused GetObject: InvalidObjectState" in found["LEFT OUT.txt"].decode()


def test_markup_and_traversal_in_keys_make_safe_names(browser: Browser, put_cutout: PutCutout) -> None:
    keys = [put_cutout(key) for key in ("<b>\\..\\x.png", "Cat.png", "cat.png", "nul.png")]

    assert list(unpack(browser.post("/cutouts/zip/chosen", {"key": keys}).data)) == [
        "_b__.._x.png",
        "Cat.png",
        "cat (2).png",
        "_nul.png",
    ]


def test_nothing_chosen_is_told(browser: Browser) -> None:
    assert browser.post("/cutouts/zip/chosen", {"key": ""}).status_code == 400
    assert browser.get("/cutouts/zip", prefix="none/").status_code == 404


def break_off(monkeypatch: pytest.MonkeyPatch, *, times: int, after: int = 0) -> None:
    """So many bodies are cut short, after so many whole ones."""
    chunks, read = StreamingBody.iter_chunks, []

    def iterate(body: StreamingBody, size: int) -> Iterator[bytes]:
        read.append(body)
        if after < len(read) <= after + times:
            yield b"p"
            raise ReadTimeoutError(endpoint_url="https://s3")
        yield from chunks(body, size)

    monkeypatch.setattr(StreamingBody, "iter_chunks", iterate)


def test_a_read_that_breaks_off_is_repeated(
    browser: Browser, put_cutout: PutCutout, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_cutout("a.png")
    break_off(monkeypatch, times=download.ATTEMPTS - 1)

    assert unpack(browser.get("/cutouts/zip").data) == {"a.png": b"png"}


def test_a_zip_that_cannot_begin_is_told(
    browser: Browser, put_cutout: PutCutout, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_cutout("a.png")
    break_off(monkeypatch, times=100)

    for _ in range(zips.AT_A_TIME + 1):  # none stays counted as being sent
        answer = browser.get("/cutouts/zip")
        assert (answer.status_code, b"Read timeout" in answer.data or b"does not answer" in answer.data) == (502, True)


def test_a_zip_that_cannot_go_on_is_not_taken_for_whole(
    browser: Browser, put_cutout: PutCutout, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        put_cutout(f"{number:02}.png")
    break_off(monkeypatch, times=100, after=15)

    with pytest.raises(ClientDisconnected):  # the server ends the connection
        _ = browser.get("/cutouts/zip").data


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidAccessKeyId"])
def test_credentials_that_expire_end_the_zip(
    buckets: Deployment, browser: Browser, put_cutout: PutCutout, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    put_cutout("a.png")
    error: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": 400}}

    def refuse(**_: object) -> None:
        raise ClientError(error, "GetObject")

    monkeypatch.setattr(buckets.s3, "get_object", refuse)

    assert b"does not accept the credentials" in browser.get("/cutouts/zip").data


def test_a_browser_that_goes_frees_its_place(
    browser: Browser, put_cutout: PutCutout, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        put_cutout(f"{number:02}.png", bytes(100_000))
    opened = []
    spool = tempfile.SpooledTemporaryFile

    def note(size: int) -> object:
        opened.append(spool(size))
        return opened[-1]

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", note)
    answers = [browser.get("/cutouts/zip") for _ in range(zips.AT_A_TIME)]

    assert browser.get("/cutouts/zip").status_code == 503
    assert browser.head("/cutouts/zip").status_code == 200
    for answer in answers:
        answer.close()

    assert len(opened) < 20 * zips.AT_A_TIME
    assert all(file.closed for file in opened)
    assert len(unpack(browser.get("/cutouts/zip").data)) == 20
