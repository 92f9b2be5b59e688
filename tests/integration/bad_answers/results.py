"""What a result host and its redirects can do wrong, and the outcome of each."""

import gzip
import zlib
from collections.abc import Iterator

from remove_background.errors import (
    ResultGone,
    ResultInvalid,
    ResultUnavailable,
)
from tests.integration.bad_answers.rows import (
    BROKEN,
    CHUNKED,
    DEFLATE_BOMB,
    GOOD,
    GZIP_BOMB,
    HTML,
    PNG,
    SLOW,
    SLOW_SECONDS,
    STATUSES,
    TEXT,
    YES,
    Row,
    chunk,
    chunked,
    compressed,
    make_png,
)
from tests.integration.peers import Step, answer, close, endlessly, hang, head, say, trickle

GONE = ResultGone, "result_gone", YES
INVALID = ResultInvalid, "result_invalid", YES
UNAVAILABLE = ResultUnavailable, "result_unavailable", YES
TRIES = 3
LARGE_SECONDS = 80.0  # for as many bytes as a result may have at most, on a slow machine


def _result_statuses() -> Iterator[Row]:
    for status in STATUSES:
        for name, body in {"nothing": b"", "a page": HTML, "a PNG": PNG}.items():
            gone = status in ("404", "410")
            answers = [[say(answer(f"{status} Whatever", body)), close]]
            yield Row(f"{status} and {name}", answers, *(GONE if gone else UNAVAILABLE), requests=TRIES)
    yield Row("503 and then a PNG", [[say(answer("503 No"))], [say(answer("200 OK", PNG))]], None, requests=2)
    yield Row("cut short and then a PNG", [[say(head("Content-Length: 999") + PNG), close], [say(answer("200 OK", PNG))]], None, requests=2)  # fmt: skip  # noqa: E501
    yield Row("broken and then gone", [[say(answer("200 OK", HTML))], [say(answer("404 No"))]], *GONE, requests=TRIES)


def _result_bodies() -> Iterator[Row]:
    for name, content in {
        "as it should be": answer("200 OK", PNG),
        "without a length": head() + PNG,
        "in chunks": CHUNKED + chunked(PNG[:9], PNG[9:]),
        "as gzip": compressed("gzip", gzip.compress(PNG)),
        "as deflate": compressed("deflate", zlib.compress(PNG)),
        "as text": answer("200 OK", PNG, "Content-Type: text/plain"),
        "after a 103": b"HTTP/1.1 103 Early Hints\r\n\r\n" + answer("200 OK", PNG),
    }.items():
        yield Row(f"a PNG {name}", [[say(content), close]], None)
    more = answer("200 OK", PNG, keep=True) + b"more"  # and the connection stays
    yield Row("a PNG with more after it", [[say(more)]], None)
    for name, body in {
        "nothing": b"",
        "a page": HTML,
        "a JPEG": b"\xff\xd8\xff\xe0" + bytes(999),
        "a JSON document": GOOD,
        "half a PNG": PNG[: len(PNG) // 2],
        "a PNG without its end": PNG[:-12],
        "a PNG with a wrong checksum": PNG[:-14] + bytes([PNG[-14] ^ 1]) + PNG[-13:],
        "a PNG without rows": make_png(rows=b""),
        "a PNG with too many rows": make_png(rows=bytes(999)),
        "a PNG of no width": make_png(0, 2, b"\0\0"),
        "a PNG of two billion columns": make_png(2**31 - 1, 1, b"\0"),
        "a PNG of brotli": b"\x0b\x02\x80" + PNG,
    }.items():
        yield Row(name, [[say(answer("200 OK", body)), close]], *INVALID, requests=TRIES)
    for name, content in {
        "gzip that is not": compressed("gzip", PNG),
        "six encodings": compressed("gzip, gzip, gzip, gzip, gzip, gzip", PNG),
    }.items():
        yield Row(name, [[say(content), close]], *UNAVAILABLE, requests=TRIES)
    for name, steps in {
        "a body without an end": [say(head()), endlessly(bytes(9))],
        "chunks without an end": [say(CHUNKED), endlessly(b"1000\r\n" + bytes(4096) + b"\r\n")],
        "a gzip bomb": [say(compressed("gzip", GZIP_BOMB)), close],
        "a PNG that is a bomb": [say(answer("200 OK", PNG[:33] + chunk(b"IDAT", DEFLATE_BOMB) + PNG[-12:])), close],
        "a PNG whose text is large": [say(answer("200 OK", PNG[:33] + TEXT + PNG[33:-13])), close],
    }.items():  # fmt: skip
        yield Row(name, [steps], *INVALID, requests=TRIES, seconds=LARGE_SECONDS, large=True)


def _redirects() -> Iterator[Row]:
    def to(location: str, status: str = "302 Found", body: bytes = b"") -> list[Step]:
        return [say(answer(status, body, f"Location: {location}")), close]

    good = [say(answer("200 OK", PNG)), close]
    for status in ("301", "302", "303", "307", "308"):
        yield Row(f"{status} to a PNG", [to("b.png", f"{status} There"), good], None, requests=2)
        yield Row(f"{status} to nowhere", [[say(answer(f"{status} There", HTML)), close]], *UNAVAILABLE, requests=TRIES)
        yield Row(f"{status} to what is gone", [to("b", f"{status} There"), [say(answer("404 No")), close]], *GONE, requests=1 + TRIES)  # fmt: skip  # noqa: E501
    for status in ("201", "300", "304", "305", "399"):
        yield Row(f"{status} with a Location", [to("b.png", f"{status} There")], *UNAVAILABLE, requests=TRIES)
    for name, location in {
        "bytes that are not UTF-8": "\xff\xfe.png",
        "bytes that are UTF-8": "\xc3\xa9.png",
        "blanks": "a b.png",
        "brackets": "[a].png",
        "percent signs": "%zz%2.png",
        "dots": "././b.png",
        "a query": "?x=[1]&y=\xe4",
        "a fragment": "#part",
        "20 kB": "x" * 20_000,
    }.items():
        yield Row(f"a redirect to {name}", [to(location), good], None, requests=2)
    yield Row("three redirects", [to("b"), to("c"), to("d"), good], None, requests=4)
    yield Row("four redirects", [to("b")], *UNAVAILABLE, requests=4 * TRIES)
    yield Row("a redirect to no scheme", [to("://assets.example.com")], *UNAVAILABLE, requests=4 * TRIES)
    for name, host in {
        "300 characters": f"{'a.' * 150}invalid",
        "bytes": "\xff\xfe.invalid",
        "what is not IDNA": "xn--\xe9.invalid",
    }.items():
        yield Row(f"a redirect to a host of {name}", [to(f"https://{host}/a.png")], *UNAVAILABLE, requests=TRIES)
    yield Row("a redirect to itself", [to("")], *UNAVAILABLE, requests=4 * TRIES)
    yield Row("a redirect after a failure", [[say(answer("503 No"))], to("b"), good], None, requests=3)
    yield Row(
        "a redirect in two headers",
        [[say(answer("302 Found", b"", "Location: b", "Location: c")), close], good],
        None,
        requests=2,
    )
    for name, location in {
        "another port": "http://127.0.0.1:9/a.png",
        "plain HTTP": "http://assets.example.com/a.png",
        "a file": "file:///etc/passwd",
        "FTP": "ftp://assets.example.com/a.png",
        "data": "data:image/png;base64,AAAA",
        "a script": "javascript:alert(1)",
        "a bracket": "http://[bad",
        "a bracket and https": "https://[bad/a.png",
        "an address that is none": "https://[::g]/a.png",
        "a port that is a word": "https://assets.example.com:port/",
        "a port that is too large": "https://assets.example.com:99999/",
        "a port that is negative": "https://assets.example.com:-1/",
        "no host": "https:///a.png",
        "no host but a port": "https://:443/a.png",
        "a dot": "https://./a.png",
        "an empty label": "https://assets..example.com/a.png",
        "a label of 64 characters": f"https://{'a' * 64}.example.com/a.png",
        "loopback": "https://127.0.0.1/a.png",
        "loopback by name": "https://localhost/a.png",
        "loopback by number": "https://2130706433/a.png",
        "loopback in hexadecimal": "https://0x7f000001/a.png",
        "loopback of IPv6": "https://[::1]/a.png",
        "loopback of IPv4 in IPv6": "https://[::ffff:127.0.0.1]/a.png",
        "nothing": "https://0.0.0.0/a.png",
        "metadata": "https://169.254.169.254/latest/meta-data",
        "a private network": "https://10.0.0.1/a.png",
        "a private network of IPv6": "https://[fd00::1]/a.png",
        "a user": "https://user:5ec4e7@127.0.0.1/a.png",
    }.items():
        yield Row(f"a redirect to {name} ", [to(location)], *INVALID, requests=TRIES)
    for name, body in {"a body without an end": endlessly(b" "), "a body that stops": hang}.items():
        steps = [say(head("Location: b.png", "Content-Length: 400000000", status="302 Found")), body]
        yield Row(f"a redirect with {name}", [steps, good], None, requests=2, large=True)
    packed = answer("302 Found", GZIP_BOMB, "Location: b.png", "Content-Encoding: gzip")
    yield Row("a redirect with a bomb", [[say(packed), close], good], None, requests=2, large=True)
    slow = [say(b"HTTP/1.1 302 Found\r\nLocation: "), trickle(b"x" * 5000)]
    yield Row("a redirect by the byte", [slow], *UNAVAILABLE, seconds=SLOW_SECONDS)
    yield Row("a redirect to what is slow", [to("b"), [hang]], *UNAVAILABLE, requests=2, seconds=SLOW_SECONDS)


def result_rows() -> list[Row]:
    # What a host sends without an end is a body here, or too many headers: no attempt is slow.
    return [
        *_result_statuses(),
        *_result_bodies(),
        *_redirects(),
        *(Row(f"result: {name}", [steps], *UNAVAILABLE, requests=TRIES) for name, steps in BROKEN.items()),
        *(Row(f"result: {name}", [steps], *UNAVAILABLE, seconds=SLOW_SECONDS) for name, steps in SLOW.items()),
    ]
