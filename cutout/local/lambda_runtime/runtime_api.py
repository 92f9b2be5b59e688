"""Lambda's Runtime API: gives a function's process its events, and takes its answers.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import json
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


@dataclass(frozen=True)
class Function:
    """The current configuration of a function. An environment with another configuration is outdated."""

    name: str
    arn: str
    handler: str
    runtime: str
    timeout: int  # seconds
    memory: int  # MB
    code: Path  # the unpacked artefact
    log_group: str
    variables: Mapping[str, str]


@dataclass(frozen=True)
class Outcome:
    payload: bytes  # JSON: what the handler returned, or the error as Lambda reports it
    failed: bool


class RuntimeApi(HTTPServer):
    """Hands out one invocation and takes its outcome, one request at a time."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _RuntimeApiRequest)
        self.event: bytes = b""
        self.headers: dict[str, str] = {}
        self.seconds = 0
        self.taken_at: float | None = None  # on the monotonic clock
        self.outcome: Outcome | None = None

    def offer(self, function: Function, request_id: str, event: object) -> None:
        self.event = json.dumps(event).encode()
        self.headers = {
            "Lambda-Runtime-Aws-Request-Id": request_id,
            "Lambda-Runtime-Invoked-Function-Arn": function.arn,
            "Lambda-Runtime-Trace-Id": f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]};Sampled=0",
        }
        self.seconds = function.timeout
        self.taken_at = None
        self.outcome = None

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # the process was killed: `Environment._wait` notices
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    def take(self) -> dict[str, str]:
        self.taken_at = time.monotonic()
        return {**self.headers, "Lambda-Runtime-Deadline-Ms": str(int((time.time() + self.seconds) * 1000))}


class _RuntimeApiRequest(BaseHTTPRequestHandler):
    wbufsize = -1  # headers and body leave in one write: two cost 40 ms of delayed acknowledgement
    timeout = 10
    server: RuntimeApi

    def do_GET(self) -> None:
        if self.path.endswith("/runtime/invocation/next"):
            self._answer(200, self.server.event, self.server.take())
        else:
            self._answer(404, b"{}")

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionError("the process was killed while it answered")
        self.server.outcome = Outcome(body, failed=not self.path.endswith("/response"))
        self._answer(202, b"{}")

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the name that http.server gives
        """Logs nothing: the START, END and REPORT lines are enough."""
