"""A paid result is written only when it is a whole PNG that came from where a result may come from."""

import base64
import hashlib
import http.client
import ssl
import time
import zlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import responses
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from remove_background.connections import Connections
from remove_background.deadline import Deadline
from remove_background.errors import CutoutError, OutOfTime, ResultGone, ResultInvalid, ResultUnavailable
from remove_background.results import FETCH_ATTEMPTS, MAX_REDIRECTS, Results

API = "http://127.0.0.1:8080"
RESULT = "https://assets.example.com/result/5ec4e7.png"

MakePng = Callable[..., bytes]
MakeChunk = Callable[[bytes, bytes], bytes]


@pytest.fixture
def host() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


@pytest.fixture(scope="module")
def results() -> Results:
    return Results(Connections(threads=1), API)


@pytest.fixture
def rests(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that were waited between two attempts."""
    rests: list[float] = []
    monkeypatch.setattr("remove_background.results.time", SimpleNamespace(sleep=rests.append))
    return rests


def fetch(results: Results, url: str = RESULT, seconds: float = 60) -> bytes:
    with results.fetch(url, Deadline(seconds)) as result:
        content = result.file.read()
    assert result.size == len(content)
    assert result.sha256 == base64.b64encode(hashlib.sha256(content).digest()).decode()
    return content


def error_of(results: Results, url: str = RESULT) -> CutoutError:
    with pytest.raises(CutoutError) as caught:
        fetch(results, url)
    error: BaseException | None = caught.value
    while error is not None:
        assert "5ec4e7" not in f"{error!r} {error}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return caught.value


def test_a_result_is_fetched(host: responses.RequestsMock, results: Results, make_png: MakePng) -> None:
    host.get(RESULT, body=make_png())
    assert fetch(results) == make_png()


@pytest.mark.parametrize("status", [404, 410])
def test_a_missing_result_is_requested_again_before_it_counts_as_gone(
    host: responses.RequestsMock, results: Results, rests: list[float], status: int
) -> None:
    """A host may say so of one that it has only just been given."""
    host.get(RESULT, status=status)
    assert type(error_of(results)) is ResultGone
    assert len(host.calls) == FETCH_ATTEMPTS
    assert rests == [1, 2]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"status": 404}, "The result is not there any more. No time was left for another attempt."),
        ({"body": b"<html>"}, "The result is not a PNG. No time was left for another attempt."),
        ({"status": 503}, "The host of the result answered 503. No time was left for another attempt."),
    ],
)
def test_a_result_that_no_time_was_left_to_ask_for_again_is_not_gone(
    host: responses.RequestsMock,
    results: Results,
    rests: list[float],
    monkeypatch: pytest.MonkeyPatch,
    answer: dict[str, Any],
    said: str,
) -> None:
    """Who hears that it is gone or broken pays again."""
    left = 60.0
    monkeypatch.setattr("remove_background.deadline.Deadline.left", lambda *_, **__: left)

    def take_long(request: requests.PreparedRequest) -> tuple[int, dict[str, str], bytes]:
        nonlocal left
        left = 0.0
        return answer.get("status", 200), {}, answer.get("body", b"")

    host.add_callback("GET", RESULT, take_long)
    error = error_of(results)
    assert (type(error), error.message) == (ResultUnavailable, said)
    assert (len(host.calls), rests) == (1, [])


def test_a_missing_result_is_not_waited_for_without_time(
    host: responses.RequestsMock, results: Results, rests: list[float]
) -> None:
    host.get(RESULT, status=404)
    with pytest.raises(ResultUnavailable) as caught, results.fetch(RESULT, Deadline(0.9)):
        pass
    assert type(caught.value) is ResultUnavailable
    assert rests == []


@pytest.mark.parametrize("status", [202, 304, 403, 416, 500, 503])
def test_any_other_status_is_retried_at_once(
    host: responses.RequestsMock, results: Results, make_png: MakePng, rests: list[float], status: int
) -> None:
    host.get(RESULT, status=status)
    host.get(RESULT, status=status)
    host.get(RESULT, body=make_png())
    assert fetch(results) == make_png()
    assert not any(rests)


def test_a_result_that_keeps_failing_is_unavailable(host: responses.RequestsMock, results: Results) -> None:
    host.get(RESULT, status=503)
    assert type(error_of(results)) is ResultUnavailable
    assert len(host.calls) == FETCH_ATTEMPTS


@pytest.mark.parametrize(
    "exception",
    [
        requests.ConnectionError(RESULT),
        requests.ReadTimeout(RESULT),
        requests.exceptions.InvalidHeader(RESULT),
        urllib3.exceptions.ProtocolError(RESULT),
        http.client.LineTooLong(RESULT),
        ssl.SSLError(RESULT),
        ValueError(RESULT),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_connection_that_fails_is_unavailable(
    host: responses.RequestsMock, results: Results, exception: Exception
) -> None:
    host.get(RESULT, body=exception)
    assert type(error_of(results)) is ResultUnavailable


@pytest.mark.parametrize(
    "exception",
    [
        requests.exceptions.InvalidURL(RESULT),
        urllib3.exceptions.LocationParseError(RESULT),
        UnicodeEncodeError("idna", RESULT, 0, 1, RESULT),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_url_that_cannot_be_fetched_is_not_a_result(
    host: responses.RequestsMock, results: Results, exception: Exception
) -> None:
    host.get(RESULT, body=exception)
    assert type(error_of(results)) is ResultInvalid


@pytest.mark.parametrize("seconds", [0, 1, 58])
def test_a_result_is_not_fetched_again_after_its_deadline(
    host: responses.RequestsMock, results: Results, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    now = time.monotonic()
    monkeypatch.setattr("remove_background.deadline.time.monotonic", lambda: now)

    def answer(_: requests.PreparedRequest) -> tuple[int, dict[str, str], bytes]:
        nonlocal now
        now += seconds
        return 503, {}, b""

    host.add_callback("GET", RESULT, answer)
    assert type(error_of(results)) is ResultUnavailable
    assert len(host.calls) == (1 if seconds == 58 else FETCH_ATTEMPTS)


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/b.png", "https://assets.example.com/b.png"),
        ("https://cdn.example.com/\u00e9%20a.png?x=[1]", "https://cdn.example.com/%E9%20a.png?x=[1]"),
        ("https://cdn.example.com/\u00c3\u00a9.png", "https://cdn.example.com/%C3%A9.png"),
        ("https://cdn.example.com/a\\b.png", "https://cdn.example.com/a%5Cb.png"),  # the backslash is after the host
    ],
)
def test_the_bytes_of_a_redirects_location_are_kept(
    host: responses.RequestsMock, results: Results, make_png: MakePng, location: str, target: str
) -> None:
    host.get(RESULT, status=302, headers={"Location": location})
    host.get(target, body=make_png())
    assert fetch(results) == make_png()


def test_a_damaged_download_is_retried(host: responses.RequestsMock, results: Results, make_png: MakePng) -> None:
    host.get(RESULT, body=make_png()[:-3])
    host.get(RESULT, body=make_png(red=7))
    assert fetch(results) == make_png(red=7)


def test_a_result_larger_than_any_can_be_is_refused(
    host: responses.RequestsMock, results: Results, make_png: MakePng, monkeypatch: pytest.MonkeyPatch
) -> None:
    png = make_png()
    host.get(RESULT, body=png)
    monkeypatch.setattr("remove_background.results.MAX_RESULT_BYTES", len(png))
    assert fetch(results) == png
    monkeypatch.setattr("remove_background.results.MAX_RESULT_BYTES", len(png) - 1)
    assert "larger than any" in error_of(results).message


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["https://cdn.example.com/x.png", "//cdn.example.com/x.png"])
def test_a_redirect_to_another_https_host_is_followed(
    host: responses.RequestsMock, results: Results, make_png: MakePng, status: int, location: str
) -> None:
    host.get(RESULT, status=status, headers={"Location": location})
    host.get("https://cdn.example.com/x.png", body=make_png())
    assert fetch(results) == make_png()


@pytest.mark.parametrize(
    "location",
    [
        "http://assets.example.com/5ec4e7.png",
        "ftp://example.com/x",
        "https://example.com:port/x",
        "file:///etc",
        "http://[bad",
    ],
)
def test_a_redirect_to_anything_but_https_is_refused(
    host: responses.RequestsMock, results: Results, location: str
) -> None:
    host.get(RESULT, status=302, headers={"Location": location})
    assert isinstance(error_of(results), ResultInvalid)
    assert {call.request.url for call in host.calls} == {RESULT}


def test_redirects_end(host: responses.RequestsMock, results: Results) -> None:
    host.get(RESULT, status=302, headers={"Location": RESULT})
    assert "redirects too often" in error_of(results).message
    assert len(host.calls) == FETCH_ATTEMPTS * (MAX_REDIRECTS + 1)


@pytest.mark.parametrize(
    "url",
    [
        "http://assets.example.com/a.png",
        "http://127.0.0.1:8081/a.png",
        "http://127.0.0.1:80801/a.png",
        "http://127.0.0.1:8080@evil.example.com/a.png",
        "http://10.0.0.7\\@127.0.0.1:8080/a.png",  # urllib3 connects to the first host
        "http://[::1/a.png",
        "file:///etc/passwd",
        "",
    ],
)
def test_a_url_that_is_neither_https_nor_the_apis_own_is_refused(
    host: responses.RequestsMock, results: Results, url: str
) -> None:
    assert isinstance(error_of(results, url), ResultInvalid)
    assert len(host.calls) == 0


@pytest.mark.parametrize("api", ["http://127.0.0.1:8080", "http://127.0.0.1", "https://127.0.0.1:443"])
def test_the_configured_api_may_serve_results_itself(host: responses.RequestsMock, make_png: MakePng, api: str) -> None:
    url = f"{api.removesuffix(':443')}/results/a.png"
    host.get(url, body=make_png())
    assert fetch(Results(Connections(threads=1), api), url) == make_png()


def test_without_time_nothing_is_fetched(host: responses.RequestsMock, results: Results) -> None:
    with pytest.raises(OutOfTime):
        fetch(results, seconds=0)
    assert len(host.calls) == 0


@pytest.mark.parametrize("colour_type", [4, 6])
def test_an_alpha_channel_is_transparency(
    host: responses.RequestsMock, results: Results, make_png: MakePng, colour_type: int
) -> None:
    host.get(RESULT, body=make_png(colour_type=colour_type))
    assert fetch(results)


@pytest.mark.parametrize("colour_type", [0, 2, 3])
def test_without_an_alpha_channel_a_transparent_colour_is_needed(
    host: responses.RequestsMock, results: Results, make_png: MakePng, make_chunk: MakeChunk, colour_type: int
) -> None:
    palette = make_chunk(b"PLTE", bytes(3)) if colour_type == 3 else b""
    host.get(RESULT, body=make_png(colour_type=colour_type, extra=palette))
    assert "without transparency" in error_of(results).message
    host.reset()
    transparent = {0: bytes(2), 2: bytes(6), 3: bytes(1)}[colour_type]
    host.get(RESULT, body=make_png(colour_type=colour_type, extra=palette + make_chunk(b"tRNS", transparent)))
    assert fetch(results)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda png, chunk: b"", "not a PNG"),
        (lambda png, chunk: b"<html>gone</html>", "not a PNG"),
        (lambda png, chunk: b"\xff\xd8\xff\xe0" + bytes(100), "not a PNG"),
        (lambda png, chunk: png()[:8], "cut short"),
        (lambda png, chunk: png()[:8] + chunk(b"IDAT", b"x"), "without its header"),
        (lambda png, chunk: png()[:8] + chunk(b"IHDR", b"short"), "without its header"),
        (lambda png, chunk: png(extra=png()[8:33]), "two headers"),
        (lambda png, chunk: png(pixels=False), "without pixels"),
        (lambda png, chunk: png()[:-12], "cut short"),
        (lambda png, chunk: png(extra=b"\xff\xff\xff\xffabcd"), "cut short"),
    ],
)
def test_each_defect_of_a_png_has_its_message(
    host: responses.RequestsMock,
    results: Results,
    make_png: MakePng,
    make_chunk: MakeChunk,
    make: Callable[[MakePng, MakeChunk], bytes],
    reason: str,
) -> None:
    host.get(RESULT, body=make(make_png, make_chunk))
    error = error_of(results)
    assert isinstance(error, ResultInvalid)
    assert reason in error.message


PNG = b"\x89PNG\r\n\x1a\n" + b"".join(
    len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)
    for kind, data in [
        (b"IHDR", b"\0\0\0\x02\0\0\0\x02\x08\x06\0\0\0"),
        (b"IDAT", zlib.compress(bytes(18))),
        (b"IEND", b""),
    ]
)


@given(length=st.integers(0, len(PNG) - 1))
def test_no_truncated_png_passes(length: int) -> None:
    with responses.RequestsMock() as host:
        host.get(RESULT, body=PNG[:length])
        with pytest.raises(ResultInvalid):
            fetch(Results(CONNECTIONS, API))


@given(position=st.integers(0, len(PNG) - 1), bit=st.integers(0, 7))
def test_no_png_with_a_flipped_bit_passes(position: int, bit: int) -> None:
    damaged = bytearray(PNG)
    damaged[position] ^= 1 << bit
    with responses.RequestsMock() as host:
        host.get(RESULT, body=bytes(damaged))
        with pytest.raises(ResultInvalid):
            fetch(Results(CONNECTIONS, API))


CONNECTIONS = Connections(threads=1)
