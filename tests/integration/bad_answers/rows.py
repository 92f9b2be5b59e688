"""What the rows of the table share; `service` and `results` have the rows."""

import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from remove_background.errors import Billed, CutoutError, RequestRefused, UnexpectedAnswer
from tests.integration.peers import Step, answer, close, endlessly, hang, head, reset, say, trickle

RESULT_URL = "https://assets.example.com/a.png"
GOOD = json.dumps({"result_url": RESULT_URL}).encode()
HTML = b"<html><h1>Gateway</h1></html>"
SLOW_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Row:
    """`error` is None for a success. `large` rows are the ones whose memory is looked at."""

    name: str
    answers: Sequence[Sequence[Step]]
    error: type[CutoutError] | None
    code: str = ""
    billed: Billed | None = None
    requests: int = 1
    lost: bool = False
    retry_after: float | None = None
    seconds: float = 30.0
    large: bool = False

    @property
    def counts_as_charge(self) -> bool:
        """An answer was lost, or was one that the reference does not describe, or a refusal that may be charged."""
        undescribed = self.error is UnexpectedAnswer or (self.error is RequestRefused and self.billed is Billed.MAYBE)
        return self.lost or undescribed


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def make_png(width: int = 2, height: int = 2, rows: bytes | None = None) -> bytes:
    content = bytes((1 + 4 * width) * height) if rows is None else rows
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(content))
        + chunk(b"IEND", b"")
    )


def bomb(wbits: int) -> bytes:
    """400 MB of zeros, compressed."""
    packer, block = zlib.compressobj(9, wbits=wbits), bytes(1_000_000)
    return b"".join(packer.compress(block) for _ in range(400)) + packer.flush()


def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + end


PNG = make_png()
CHUNKED = head("Transfer-Encoding: chunked")
TEXT = chunk(b"tEXt", bytes(20_000_000))
GZIP_BOMB, DEFLATE_BOMB = bomb(31), bomb(15)


def compressed(encoding: str, body: bytes) -> bytes:
    return answer("200 OK", body, f"Content-Encoding: {encoding}")


# One answer in place of a success, whatever the body was to be.
BROKEN: dict[str, list[Step]] = {
    "nothing": [close],
    "a reset": [reset],
    "an empty line": [say(b"\r\n"), close],
    "a body without a head": [say(GOOD), close],
    "a banner of another protocol": [say(b"SSH-2.0-OpenSSH_9.6\r\n"), close],
    "a TLS alert": [say(b"\x15\x03\x03\0\x02\x02\x28"), close],
    "HTTP/2": [say(b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80\0\x04\0\x01\0\0\0\x05\0\xff\xff\xff"), close],
    "a status that is a word": [say(b"HTTP/1.1 fine\r\n\r\n"), close],
    "a status of two digits": [say(b"HTTP/1.1 99 Low\r\n\r\n"), close],
    "a status of four digits": [say(b"HTTP/1.1 1000 High\r\n\r\n"), close],
    "a negative status": [say(b"HTTP/1.1 -200 OK\r\n\r\n"), close],
    "no status": [say(b"HTTP/1.1\r\n\r\n"), close],
    "a status line of 70 kB": [say(b"HTTP/1.1 200 " + b"x" * 70_000 + b"\r\n\r\n"), close],
    "half a status line": [say(b"HTTP/1.1 2"), close],
    "half a header": [say(b"HTTP/1.1 200 OK\r\nContent-Len"), reset],
    "a header of 70 kB": [say(head("X-Header: " + "x" * 70_000)), close],
    "101 headers": [say(head(*(f"X-{number}: x" for number in range(101)))), close],
    "headers without an end": [say(b"HTTP/1.1 200 OK\r\n"), endlessly(b"X-Header: x\r\n")],
    "two lengths": [say(head("Content-Length: 5", "Content-Length: 6") + b"12345"), close],
    "a body cut short": [say(head("Content-Length: 500") + b"{"), close],
    "a body cut short by a reset": [say(head("Content-Length: 500") + b"{"), reset],
    "chunks cut short": [say(CHUNKED + b"20\r\n{"), close],
    "chunks without an end": [say(CHUNKED + b"2\r\n{}\r\n"), close],
    "a chunk whose length is a word": [say(CHUNKED + b"long\r\n{}\r\n0\r\n\r\n"), close],
    "a chunk whose length is negative": [say(CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n"), close],
    "a chunk whose length is empty": [say(CHUNKED + b"\r\n{}\r\n0\r\n\r\n"), close],
    "a chunk whose length has 70 kB": [say(CHUNKED + b"0" * 70_000 + b"\r\n\r\n"), close],
    "a chunk whose length has no end": [say(CHUNKED), endlessly(b"0")],
    "a trailer of 70 kB": [say(CHUNKED + b"1\r\n \r\n0\r\nX-Header: " + b"x" * 70_000 + b"\r\n\r\n"), close],
}  # fmt: skip

SLOW: dict[str, list[Step]] = {
    "no answer": [hang],
    "a status by the byte": [trickle(b"HTTP/1.1 200 OK" + b" " * 5000)],
    "headers by the byte": [say(b"HTTP/1.1 200 OK\r\n"), trickle(b"X-Header: " + b"x" * 5000)],
    "interim answers by the byte": [trickle(b"HTTP/1.1 100 Continue\r\n\r\n" * 500, 0.005)],
    "late headers and no body": [trickle(head("Content-Length: 500"), 0.02), hang],
    "a body by the byte": [say(head("Content-Length: 5000")), trickle(b" " * 5000)],
    "a body that stops": [say(head("Content-Length: 5000") + b" " * 400), hang],
    "chunks by the byte": [say(CHUNKED), trickle(b"1\r\n \r\n" * 999)],
    "the length of a chunk by the byte": [say(CHUNKED), trickle(b"0" * 5000)],
    "a trailer by the byte": [say(CHUNKED + b"1\r\n \r\n0\r\n"), trickle(b"X-Header: " + b"x" * 5000)],
    "trailers without an end": [say(CHUNKED + b"1\r\n \r\n0\r\n"), endlessly(b"X-Header: x\r\n")],
    "interim answers without an end": [endlessly(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")],
    "a compressed body that holds nothing": [
        say(head("Content-Encoding: gzip") + b"\x1f\x8b\x08\0\0\0\0\0\0\xff"),
        endlessly(b"\0\0\0\xff\xff"),
    ],
}

STATUSES = [
    "201",
    "202",
    "203",
    "205",
    "206",
    "207",
    "226",
    "300",
    "301",
    "302",
    "303",
    "304",
    "305",
    "307",
    "308",
    "400",
    "401",
    "402",
    "403",
    "404",
    "405",
    "406",
    "407",
    "408",
    "409",
    "410",
    "411",
    "412",
    "413",
    "414",
    "415",
    "416",
    "417",
    "418",
    "421",
    "422",
    "425",
    "426",
    "429",
    "431",
    "451",
    "499",
    "500",
    "501",
    "502",
    "503",
    "504",
    "505",
    "507",
    "508",
    "511",
    "520",
    "522",
    "524",
    "529",
    "599",
    "600",
    "999",
]

NO, MAYBE, YES = Billed.NO, Billed.MAYBE, Billed.YES
