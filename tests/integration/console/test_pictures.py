"""Pictures of the buckets' objects: what they are, nobody but their bytes says."""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import pillow_heif
import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.response import StreamingBody
from PIL import Image
from waitress.channel import ClientDisconnected

from cutout.console import pictures
from cutout.operations.deployment import Deployment
from remove_background.preflight import Header
from tests.integration.console.conftest import Browser

pillow_heif.register_heif_opener()

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HTML = b"<!doctype html><script>alert(1)</script>"


def image(format_: str = "PNG", size: tuple[int, int] = (640, 480), mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, 1).save(file, format_)
    return file.getvalue()


def png_of(width: int, height: int) -> bytes:
    """Small, and of this size, as its header says."""
    header = b"IHDR" + struct.pack(">LLBBBBB", width, height, 8, 6, 0, 0, 0)
    small = image()
    return small[:12] + header + struct.pack(">L", zlib.crc32(header)) + small[33:]


def put(buckets: Deployment, key: str, body: bytes, **fields: Any) -> str:  # noqa: ANN401
    buckets.s3.put_object(Bucket="input", Key=key, Body=body, **fields)
    return key


def show(browser: Browser, key: str, **query: Any) -> Any:  # noqa: ANN401
    return browser.get("/picture", side="input", key=key, **query)


def size_of(body: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(body)) as opened:
        return opened.size


@pytest.mark.parametrize(
    ("format_", "type_"),
    [
        ("AVIF", "image/avif"),
        ("BMP", "image/bmp"),
        ("GIF", "image/gif"),
        ("JPEG", "image/jpeg"),
        ("PNG", "image/png"),
        ("WEBP", "image/webp"),
    ],
)
def test_a_picture_is_shown_as_what_it_is_whatever_s3_says(
    buckets: Deployment, browser: Browser, format_: str, type_: str
) -> None:
    body = image(format_)
    put(buckets, "a.html", body, ContentType="text/html", ContentDisposition="attachment")

    answer = show(browser, "a.html")

    assert (answer.status_code, answer.data) == (200, body)
    assert answer.headers["Content-Type"] == type_
    assert answer.headers["Content-Length"] == str(len(body))
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert answer.headers["Content-Disposition"].startswith('inline; filename="a.')


@pytest.mark.parametrize("format_", ["HEIF", "TIFF"])
def test_what_browsers_do_not_show_is_shown_as_a_preview(buckets: Deployment, browser: Browser, format_: str) -> None:
    key, body = "phone", image(format_, (3000, 1000))
    put(buckets, key, body)

    answer, small, download = show(browser, key), show(browser, key, small=1), show(browser, key, download=1)

    assert (answer.headers["Content-Type"], size_of(answer.data)) == ("image/webp", (2048, 683))
    assert size_of(small.data) == (320, 107)
    assert (download.data, download.headers["Content-Disposition"][:10]) == (body, "attachment")


def test_a_small_picture_is_turned_as_the_camera_was(buckets: Deployment, browser: Browser) -> None:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (900, 450)).save(file, "JPEG", exif=exif)
    put(buckets, "a.jpg", file.getvalue())

    assert size_of(show(browser, "a.jpg", small=1).data) == (160, 320)


@pytest.mark.parametrize("mode", ["P", "L", "1", "LA", "RGBA"])
def test_a_small_picture_is_made_of_every_kind_of_pixels(buckets: Deployment, browser: Browser, mode: str) -> None:
    put(buckets, "a.png", image("PNG", (640, 320), mode))

    assert size_of(show(browser, "a.png", small=1).data) == (320, 160)


@pytest.mark.parametrize("query", [{}, {"small": 1}, {"download": 1}])
@pytest.mark.parametrize(
    "body",
    [
        SVG,
        HTML,
        b"plain text",
        b"%PDF-1.7 \n%",
        b"",
        b"GIF",
        b"PK\x03\x04zip",
        b"%!PS-Adobe-3.0 EPSF-3.0",
        b"<?xml?>" + SVG,
    ],
)
def test_what_is_not_a_picture_is_not_served(
    buckets: Deployment, browser: Browser, body: bytes, query: dict[str, int]
) -> None:
    put(buckets, "a.png", body, ContentType="image/png")

    answer = show(browser, "a.png", **query)

    assert answer.status_code == 415
    assert b"not a picture of a kind that the console shows" in answer.data
    assert b"alert(1)" not in answer.data


@pytest.mark.parametrize("body", [png_of(60_000, 60_000), png_of(10_000, 9_000)])
def test_a_decompression_bomb_is_not_decoded(buckets: Deployment, browser: Browser, body: bytes) -> None:
    put(buckets, "a.png", body)

    answer = show(browser, "a.png", small=1)

    assert answer.status_code == 415
    assert b"too large to be shown" in answer.data


def test_a_bomb_whose_header_tells_no_size_is_not_decoded(
    buckets: Deployment, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(buckets, "a.tiff", image("TIFF"))
    monkeypatch.setattr("cutout.presentation.preview.MOST_PIXELS", 1000)
    monkeypatch.setattr(pictures, "read_header", lambda head: Header("tiff", None, None))

    assert show(browser, "a.tiff").status_code == 415


def test_a_large_object_is_not_read_for_a_small_picture(
    buckets: Deployment, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(buckets, "a.png", image())
    monkeypatch.setattr(pictures, "MOST_BYTES", 100)

    assert show(browser, "a.png", small=1).status_code == 415
    assert show(browser, "a.png").status_code == 200


def test_a_broken_picture_is_told(buckets: Deployment, browser: Browser) -> None:
    put(buckets, "a.png", image()[:60])

    answer = show(browser, "a.png", small=1)

    assert answer.status_code == 415
    assert b"cannot be read on this machine" in answer.data


@pytest.mark.parametrize("query", [{}, {"small": 1}, {"download": 1}])
def test_a_picture_that_the_browser_has_is_not_sent_again(
    buckets: Deployment, browser: Browser, query: dict[str, int]
) -> None:
    put(buckets, "a.png", image())
    etag = show(browser, "a.png", **query).headers["ETag"]
    address = {"side": "input", "key": "a.png", **query}

    again = browser.get("/picture", headers={"If-None-Match": etag}, **address)
    weak = browser.get("/picture", headers={"If-None-Match": f"W/{etag}"}, **address)
    other = browser.get("/picture", headers={"If-None-Match": '"other"'}, **address)
    put(buckets, "a.png", image(size=(100, 100)))
    replaced = browser.get("/picture", headers={"If-None-Match": etag}, **address)

    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", etag)
    assert again.headers["Cache-Control"] == "private, no-cache"
    assert weak.status_code == 304
    assert (other.status_code, size_of(other.data)[0] > 100) == (200, True)
    assert (replaced.status_code, size_of(replaced.data)) == (200, (100, 100))


def test_a_small_picture_is_encoded_once(
    buckets: Deployment, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(buckets, "a.png", image())
    encoded = show(browser, "a.png", small=1).data
    monkeypatch.setattr("cutout.presentation.preview.encode", lambda *_: None)

    assert show(browser, "a.png", small=1).data == encoded


def test_kept_pictures_are_bounded() -> None:
    kept = pictures.Kept(most_bytes=30)
    for key in "abc":
        kept.put("input", key, 320, pictures.Encoded("1", bytes(10)))
    assert kept.get("input", "a", 320)

    kept.put("input", "b", 320, pictures.Encoded("2", bytes(10)))
    kept.put("input", "d", 320, pictures.Encoded("1", bytes(10)))

    assert [bool(kept.get("input", key, 320)) for key in "abcd"] == [True, True, False, True]
    assert kept.bytes == 30


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("../../etc/passwd.png", "passwd.png"),
        ('photos/"; x="y\r\nSet-Cookie: a.png', "_; x=_y__Set-Cookie_ a.png"),
        ("<script>alert(1)</script>.png", "script_.png"),
        ("été \u202egnp.exe", "ete _gnp.png"),
        ("...", "file.png"),
        ("a" * 300, "a" * 150 + ".png"),
    ],
)
def test_traversal_and_markup_in_keys_are_text(buckets: Deployment, browser: Browser, key: str, name: str) -> None:
    put(buckets, key, image())

    answer = show(browser, key)

    assert answer.status_code == 200
    assert "Set-Cookie" not in answer.headers
    assert f'filename="{name}"' in answer.headers["Content-Disposition"]


@pytest.mark.parametrize(
    "query", [{"side": "input"}, {"key": "a"}, {"side": "../input", "key": "a"}, {"side": "none", "key": "a"}]
)
def test_an_address_without_side_or_key_is_refused(browser: Browser, query: dict[str, Any]) -> None:
    assert browser.get("/picture", **query).status_code == 400


def test_a_missing_object_is_told(buckets: Deployment, browser: Browser) -> None:
    answer = show(browser, "<b>none</b>.png")

    assert answer.status_code == 404
    assert b"Nothing stands under this key" in answer.data


def test_an_archived_object_is_told(buckets: Deployment, browser: Browser) -> None:
    put(buckets, "a.png", image(), StorageClass="GLACIER")

    answer = show(browser, "a.png")

    assert answer.status_code == 409
    assert b"restore it" in answer.data


def test_a_missing_bucket_is_told(buckets: Deployment, browser: Browser) -> None:
    buckets.s3.delete_bucket(Bucket="output")

    answer = browser.get("/picture", side="output", key="a.png")

    assert answer.status_code == 502
    assert b"NoSuchBucket" in answer.data


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[StreamingBody]:
    """The bodies that were closed."""
    bodies: list[StreamingBody] = []
    close = StreamingBody.close

    def note(body: StreamingBody) -> None:
        bodies.append(body)
        close(body)

    monkeypatch.setattr(StreamingBody, "close", note)
    return bodies


def test_the_body_is_closed_when_the_browser_goes(
    buckets: Deployment, browser: Browser, closed: list[StreamingBody]
) -> None:
    put(buckets, "a.bmp", image("BMP"))

    answer = browser._client.get(
        "/picture", base_url="http://127.0.0.1:8765", query_string={"side": "input", "key": "a.bmp"}, buffered=False
    )
    assert next(iter(answer.response))
    assert not closed
    answer.close()

    assert closed


@pytest.mark.parametrize("key", ["a.png", "a.svg"])
def test_the_body_is_closed_where_it_is_not_sent(
    buckets: Deployment, browser: Browser, closed: list[StreamingBody], key: str
) -> None:
    put(buckets, "a.png", image()), put(buckets, "a.svg", SVG)

    assert browser.head("/picture", side="input", key=key).status_code in (200, 415)

    assert closed


def test_a_picture_that_breaks_off_is_not_taken_for_whole(
    buckets: Deployment, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(buckets, "a.bmp", image("BMP"))

    def break_off(body: StreamingBody, size: int) -> Iterator[bytes]:
        yield b"x"
        raise ReadTimeoutError(endpoint_url="https://s3")

    monkeypatch.setattr(StreamingBody, "iter_chunks", break_off)

    with pytest.raises(ClientDisconnected):  # the server ends the connection
        _ = show(browser, "a.bmp").data
    assert show(browser, "a.bmp", small=1).status_code == 502
