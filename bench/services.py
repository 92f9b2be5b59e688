"""AWS and Pixelcut as a successful upload meets them: answers over TLS, at once or after a set time.

The local cloud would be the bottleneck: moto answers one call at a time. Here nothing is stored; requests are read and
counted. Calls per image are counted on the local cloud.

Imports nothing from the functions: the naive handler's process imports this, and must not get their changes to
botocore.
"""

import datetime as dt
import ipaddress
import json
import ssl
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

# Seconds in which AWS answers: about what S3 and DynamoDB take within a region.
AWS_SECONDS = 0.01
CHUNK_BYTES = 65_536


def png(size: int) -> bytes:
    """A whole PNG of noise, with transparency, of slightly more than that many bytes."""
    side = round((size / 4) ** 0.5) + 1
    noise = Random(0).randbytes(4 * side)  # noqa: S311 anything that zlib would not shrink
    pixels = zlib.compress((b"\0" + noise) * side, level=0)
    header = struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


class Services(ThreadingHTTPServer):
    """`source` is the input object of any key, `result` the result of any removal."""

    daemon_threads = True
    block_on_close = False  # clients keep their connections open
    request_queue_size = 64

    def __init__(self, certificate: Path, source: bytes, result: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
        # The handshake is left to the connection's thread.
        self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"https://127.0.0.1:{self.server_port}"
        self.certificate = certificate
        self.source = source
        self.result = result
        self.api_seconds = 0.0
        self.calls: Counter[str] = Counter()
        self.lock = threading.Lock()


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes: the second would wait for the first
    server: Services

    def do_HEAD(self) -> None:
        _, _, key = self.path.lstrip("/").partition("/")
        self._aws("HeadObject" if key else "HeadBucket")
        self._answer(404 if key else 200, b"")

    def do_GET(self) -> None:
        if self.path.startswith("/result/"):
            self._count("result")
            self._answer(200, self.server.result, **{"Content-Type": "image/png"})
            return
        self._aws("GetObject")
        source = self.server.source
        said = {
            "ETag": '"0f343b0931126a20f133d67c2b018a3b"',
            "Last-Modified": "Wed, 01 Jan 2025 00:00:00 GMT",
            "x-amz-version-id": "096fKKXTRTtl3on89fVO.nfljtsv6qko",
        }
        if wanted := self.headers["Range"]:
            last = int(wanted.rpartition("-")[2])
            part = source[: last + 1]
            self._answer(206, part, **said, **{"Content-Range": f"bytes 0-{len(part) - 1}/{len(source)}"})
        else:
            self._answer(200, source, **said)

    def do_PUT(self) -> None:
        self._read()
        self._aws("PutObject")
        self._answer(200, b"", ETag='"d41d8cd98f00b204e9800998ecf8427e"')

    def do_POST(self) -> None:
        action = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        if not action:
            self._read()
            self._count("removal")
            time.sleep(self.server.api_seconds)
            self._answer_json({"result_url": f"{self.server.url}/result/5ec4e7.png"})
            return
        call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._aws(action)
        # No other environment wants a slot: the next one is free.
        next_at = {"next_at": call.get("ExpressionAttributeValues", {}).get(":soon")}
        answers = {"GetSecretValue": {"SecretString": "key"}, "UpdateItem": {"Attributes": next_at}}
        self._answer_json(answers.get(action, {}))

    def _aws(self, action: str) -> None:
        self._count(action)
        time.sleep(AWS_SECONDS)

    def _count(self, call: str) -> None:
        with self.server.lock:
            self.server.calls[call] += 1

    def _read(self) -> None:
        """Skips a body, which may be chunked."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            self._skip(int(self.headers["Content-Length"]))
            return
        while length := int(self.rfile.readline(), 16):
            self._skip(length)
            self.rfile.readline()
        while self.rfile.readline().strip():  # trailers, then an empty line
            pass

    def _skip(self, length: int) -> None:
        while length:
            length -= len(self.rfile.read(min(length, CHUNK_BYTES)))

    def _answer_json(self, content: object) -> None:
        self._answer(200, json.dumps(content).encode(), **{"Content-Type": "application/json"})

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the name that http.server gives
        """Nothing: the calls are counted."""


@contextmanager
def serving(folder: Path, *, source: bytes, result: bytes) -> Iterator[Services]:
    """Puts its certificate into `folder`, for the child to trust."""
    with Services(_make_certificate(folder / "certificate.pem"), source, result) as services:
        thread = threading.Thread(target=services.serve_forever, name="services")
        thread.start()
        try:
            yield services
        finally:
            services.shutdown()
            thread.join()


def _make_certificate(path: Path) -> Path:
    """A key and its certificate for 127.0.0.1, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path
