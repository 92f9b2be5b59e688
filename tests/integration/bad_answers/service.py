"""What a service can answer instead of a result_url, and the outcome of each answer."""

import gzip
import json
import zlib
from collections.abc import Iterator

from remove_background.errors import (
    Billed,
    CutoutError,
    FileSizeTooLarge,
    Forbidden,
    InsufficientCredits,
    InvalidApiKey,
    MalformedImage,
    RateLimitExceeded,
    RequestRefused,
    ResolutionTooHigh,
    ServiceUnavailable,
    UnexpectedAnswer,
    UnknownForeground,
    UnsupportedImageFormat,
)
from tests.integration.bad_answers.rows import (
    BROKEN,
    CHUNKED,
    DEFLATE_BOMB,
    GOOD,
    GZIP_BOMB,
    HTML,
    MAYBE,
    NO,
    PNG,
    RESULT_URL,
    SLOW,
    SLOW_SECONDS,
    STATUSES,
    YES,
    Row,
    chunked,
    compressed,
)
from tests.integration.peers import Step, answer, close, endlessly, head, say, trickle

ABOUT_THE_REQUEST = ("invalid_request_body", "missing_parameter", "invalid_parameter", "unsupported_content_type")


def _of_status(status: int, code: str = "") -> tuple[type[CutoutError], str, Billed]:
    match status:
        case 400:
            return RequestRefused, code or "request_refused", NO if code in ABOUT_THE_REQUEST else MAYBE
        case 401:
            return InvalidApiKey, "invalid_auth_token", NO
        case 403:
            return Forbidden, "forbidden", NO
        case 429:
            return RateLimitExceeded, "rate_limit_exceeded", NO
    if status < 300:
        return UnexpectedAnswer, "unexpected_answer", YES
    if status >= 500:
        return ServiceUnavailable, "service_unavailable", MAYBE
    return UnexpectedAnswer, "unexpected_answer", MAYBE


def _service_statuses() -> Iterator[Row]:
    said = json.dumps({"error": "No.", "error_code": "of_tomorrow"}).encode()
    for status in STATUSES:
        line, number = f"{status} Whatever", int(status)
        coded = _of_status(number, "of_tomorrow")
        lost = number in (502, 504, 520, 524)  # what a gateway says when no answer came
        yield Row(f"{status} and nothing", [[say(answer(line))]], *_of_status(number), lost=lost)
        yield Row(f"{status} and a page", [[say(answer(line, HTML)), close]], *_of_status(number), lost=lost)
        yield Row(f"{status} and a code", [[say(answer(line, said)), close]], *coded, lost=lost)
        packed = answer(line, gzip.compress(said), "Content-Encoding: gzip")
        yield Row(f"{status} and a compressed code", [[say(packed), close]], *coded, lost=lost)
        cut = [[say(head("Content-Length: 500", status=line) + HTML), close]]
        if number < 300:
            yield Row(f"{status} cut short", cut, ServiceUnavailable, "service_unavailable", MAYBE, lost=True)
        else:
            yield Row(f"{status} cut short", cut, *_of_status(number), lost=lost)


def _service_successes() -> Iterator[Row]:
    for name, content in {
        "as it should be": answer("200 OK", GOOD),
        "of HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\n" + GOOD,
        "without a length": head() + GOOD,
        "without a reason": b"HTTP/1.1 200\r\n\r\n" + GOOD,
        "with bare line feeds": b"HTTP/1.1 200 OK\n\n" + GOOD,
        "in chunks": CHUNKED + chunked(GOOD[:9], GOOD[9:]),
        "in chunks of a byte": CHUNKED + chunked(*(GOOD[index : index + 1] for index in range(len(GOOD)))),
        "in chunks with extensions and trailers": CHUNKED + b"%x;a=b\r\n%b\r\n0\r\nX: y\r\n\r\n" % (len(GOOD), GOOD),
        "in chunks beside a length": head("Transfer-Encoding: chunked", "Content-Length: 3") + chunked(GOOD),
        "as gzip": compressed("gzip", gzip.compress(GOOD)),
        "as x-gzip": compressed("x-gzip", gzip.compress(GOOD)),
        "as deflate": compressed("deflate", zlib.compress(GOOD)),
        "as raw deflate": compressed("deflate", zlib.compress(GOOD)[2:-4]),
        "as gzip of gzip": compressed("gzip, gzip", gzip.compress(gzip.compress(GOOD))),
        "after a 100": b"HTTP/1.1 100 Continue\r\n\r\n" + answer("200 OK", GOOD),
        "after a 103": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + answer("200 OK", GOOD),
        "after a 102 and a 103": b"HTTP/1.1 102 \r\n\r\nHTTP/1.1 103 \r\n\r\n" + answer("200 OK", GOOD),
        "of status 201": answer("201 Created", GOOD),
        "of status 202": answer("202 Accepted", GOOD),
        "with a byte order mark": answer("200 OK", b"\xef\xbb\xbf" + GOOD),
        "in UTF-16": answer("200 OK", GOOD.decode().encode("utf-16")),
        "as text/html": answer("200 OK", GOOD, "Content-Type: text/html; charset=nonsense"),
        "with a Location": answer("200 OK", GOOD, "Location: http://[bad"),
        "with 90 headers": answer("200 OK", GOOD, *(f"X-{number}: x" for number in range(90))),
        "with a header of 60 kB": answer("200 OK", GOOD, "X-Header: " + "x" * 60_000),
        "with folded headers": answer("200 OK", GOOD, "X-Header: a", " b", "\tc"),
        "with a header without a colon": head("nonsense") + GOOD,
        "with bytes in headers": answer("200 OK", GOOD, "X-Header: \xff\xfe\x01"),
        "with cookies": answer("200 OK", GOOD, *(f"Set-Cookie: c{number}={'x' * 900}; Path=/" for number in range(50))),
        "with a cookie of 60 kB": answer("200 OK", GOOD, f"Set-Cookie: a=b; expires={' ' * 60_000}x"),
        "with a length that is a word": head("Content-Length: long") + GOOD,
        "with a negative length": head("Content-Length: -5") + GOOD,
        "with the same length twice": head(*[f"Content-Length: {len(GOOD)}"] * 2) + GOOD,
        "with unknown members": answer("200 OK", json.dumps({"a": [1], "result_url": RESULT_URL, "b": {}}).encode()),
        "as the last of two": answer("200 OK", b'{"result_url": 1, ' + GOOD[1:]),
        "by the few bytes": b"",
    }.items():  # fmt: skip
        steps = [trickle(answer("200 OK", GOOD), 0.001)] if not content else [say(content), close]
        yield Row(f"a result_url {name}", [steps], None)
    more = answer("200 OK", GOOD, keep=True) + b"HTTP/1.1 500 No\r\n\r\n"  # and the connection stays
    yield Row("a result_url with more after it", [[say(more)]], None)
    yield Row("a result_url in 4 kB of blanks", [[say(answer("200 OK", b" " * 4_000 + GOOD)), close]], None)


def _service_answers() -> Iterator[Row]:
    unreadable = UnexpectedAnswer, "unexpected_answer", YES
    for name, body in {
        "nothing": b"",
        "a page": HTML,
        "an empty object": b"{}",
        "a renamed result_url": b'{"resultUrl": "https://a"}',
        "null": b'{"result_url": null}',
        "a number": b'{"result_url": 1}',
        "a list": b'{"result_url": ["https://a"]}',
        "an object": b'{"result_url": {"url": "https://a"}}',
        "an empty text": b'{"result_url": ""}',
        "a lone surrogate": b'{"result_url": "https://a/\\ud800"}',
        "a control character": b'{"result_url": "https://a/\\u0000"}',
        "a line feed": b'{"result_url": "https://a/\\n"}',
        "100 kB of it": b'{"result_url": "https://a/' + b"x" * 100_000 + b'"}',
        "9 kB of it": b'{"result_url": "https://a/' + b"x" * 9_000 + b'"}',
        "a list around it": b"[" + GOOD + b"]",
        "two of them": GOOD + GOOD,
        "half of it": GOOD[:-5],
        "single quotes": GOOD.replace(b'"', b"'"),
        "broken UTF-8": b"\xff\xfe\xfd" + GOOD,
        "depth": b"[" * 60_000,
        "a number of 5,000 digits": b'{"result_url": ' + b"9" * 5_000 + b"}",
        "an error": b'{"error": "No.", "error_code": "malformed_image"}',
        "a PNG": PNG,
    }.items():
        yield Row(f"200 with {name} for a result_url", [[say(answer("200 OK", body)), close]], *unreadable)
    for name, content in {
        "brotli": compressed("br", b"\x0b\x02\x80" + GOOD),
        "an unknown encoding": compressed("rot13", b"{}"),
        "gzip that is not": compressed("gzip", GOOD),
        "deflate that is not": compressed("deflate", b"\xff" * 99),
        "gzip that is cut short": compressed("gzip", gzip.compress(GOOD)[:-12]),
        "gzip with a wrong checksum": compressed("gzip", gzip.compress(GOOD)[:-8] + b"12345678"),
        "six encodings": compressed("gzip, gzip, gzip, gzip, gzip, gzip", GOOD),
    }.items():
        yield Row(f"200 with {name}", [[say(content), close]], *unreadable)
    yield Row("a 204", [[say(head(status="204 No Content")), close]], *unreadable)
    yield Row("a 204 with a body", [[say(answer("204 No Content", GOOD)), close]], *unreadable)
    for name, steps in {
        "a body without an end": [say(head()), endlessly(b" ")],
        "chunks without an end": [say(CHUNKED), endlessly(b"1000\r\n" + b" " * 4096 + b"\r\n")],
        "a gzip bomb": [say(compressed("gzip", GZIP_BOMB)), close],
        "a deflate bomb": [say(compressed("deflate", DEFLATE_BOMB)), close],
        "a bomb in a bomb": [say(compressed("gzip, gzip", gzip.compress(GZIP_BOMB))), close],
    }.items():
        yield Row(f"200 with {name}", [steps], *unreadable, large=True)
    for status in (400, 403, 500):
        for name, steps in {
            "a body without an end": [say(head(status=f"{status} No")), endlessly(b" ")],
            "a gzip bomb": [say(answer(f"{status} No", GZIP_BOMB, "Content-Encoding: gzip")), close],
        }.items():
            yield Row(f"{status} with {name}", [steps], *_of_status(status), large=True)
    yield Row("a 101", [[say(head("Upgrade: x", status="101 Switching Protocols")), close]], UnexpectedAnswer, "unexpected_answer", MAYBE)  # fmt: skip  # noqa: E501


def _service_errors() -> Iterator[Row]:
    def says(status: int, code: object, error: object = "No.") -> list[list[Step]]:
        body = json.dumps({"error": error, "error_code": code}).encode()
        return [[say(answer(f"{status} No", body))]]

    for rejected in (MalformedImage, UnsupportedImageFormat, FileSizeTooLarge, ResolutionTooHigh, UnknownForeground):
        yield Row(f"400 {rejected.code}", says(400, rejected.code), rejected, rejected.code, NO)
    for known in (*ABOUT_THE_REQUEST, "new"):
        yield Row(f"400 {known}", says(400, known), *_of_status(400, known))
    codes: list[object] = [
        "no_reason", "not_delivered", "in_progress", "intake_paused", "out_of_time", "unexpected_error",
        "insufficient_api_credits", "invalid_auth_token", "rate_limit_exceeded", "forbidden", "result_gone",
        "bad_notification", "resolution_too_low", "Upper", "a b", "x" * 65, "", "\ud800", 5, ["x"], None, {},
    ]  # fmt: skip
    for code in codes:
        yield Row(f"400 {str(code)[:20]!a}", says(400, code), RequestRefused, "request_refused", MAYBE)
    texts: list[object] = [
        "\ud800",
        "\x00\x1b[31m",
        "\u202e",
        "x" * 60_000,
        5,
        [],
        None,
        "https://a/5ec4e7?X-Amz-Signature=5ec4e7",
    ]
    for error in texts:
        yield Row(f"400 saying {str(error)[:20]!a}", says(400, "new", error), RequestRefused, "new", MAYBE)
    yield Row(
        "403 of credits", says(403, "insufficient_api_credits"), InsufficientCredits, "insufficient_api_credits", NO
    )
    yield Row("400 malformed, but not an object", [[say(answer("400 No", b'"malformed_image"'))]], *_of_status(400))
    for value, seconds in {
        "7": 7.0, "0": 0.0, " 8 ": 8.0, "86400": 900.0, "9" * 400: 900.0, "9" * 60_000: 900.0, "-1": None, "1.5": None,
        "NaN": None, "inf": None, "soon": None, "": None, "\xb2": None, "Wed, 21 Oct 2026 07:28:00 GMT": None,
        "Thu, 99 Foo 99999 99:99:99": None,
    }.items():  # fmt: skip
        yield Row(
            f"429 after {value[:20]!a} of {len(value)} characters",
            [[say(answer("429 Slow", b"", f"Retry-After: {value}"))]],
            RateLimitExceeded,
            "rate_limit_exceeded",
            NO,
            retry_after=seconds,
        )
    yield Row(
        "429 after two times", [[say(answer("429 Slow", b"", "Retry-After: 7", "Retry-After: 9"))]], *_of_status(429)
    )


def service_rows() -> list[Row]:
    lost = ServiceUnavailable, "service_unavailable", MAYBE
    return [
        *_service_statuses(),
        *_service_successes(),
        *_service_answers(),
        *_service_errors(),
        *(Row(name, [steps], *lost, lost=True) for name, steps in BROKEN.items()),
        *(Row(name, [steps], *lost, lost=True, seconds=SLOW_SECONDS) for name, steps in SLOW.items()),
    ]
