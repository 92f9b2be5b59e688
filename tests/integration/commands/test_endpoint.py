"""What answers where AWS should: another server, a proxy, one service alone. Each command says so in a sentence."""

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import pytest_socket


class Answer(NamedTuple):
    status: int
    content_type: str | None
    body: str
    request_id: str | None = None  # the header that it stands in


HTML = "<!DOCTYPE html><html><head><title>Sign in<br></head><body>Your company's proxy</body></html>"
ANSWERS = {
    "a page": Answer(200, "text/html", HTML),
    "a page that is XML": Answer(200, "text/html", "<html><body>Hello</body></html>"),
    "a proxy that refuses": Answer(403, "text/html", HTML),
    "a proxy that reaches nothing": Answer(502, "text/html", HTML),
    "a JSON error, as of the stand-in": Answer(404, "application/json", '{"error": "not found"}'),
    "a JSON error of a server that fails": Answer(500, "application/json", '{"error": "oh no"}'),
    "JSON": Answer(200, "application/json", '{"hello": "world"}'),
    "nothing": Answer(200, None, ""),
    "DynamoDB alone": Answer(
        400,
        "application/x-amz-json-1.0",
        '{"__type": "com.amazon.coral.service#UnknownOperationException", "message": ""}',
        "x-amzn-RequestId",
    ),
    "S3 alone": Answer(
        405,
        "application/xml",
        "<Error><Code>MethodNotAllowed</Code><Message>Not allowed.</Message></Error>",
        "x-amz-request-id",
    ),
    "SQS alone": Answer(
        400,
        "text/xml",
        "<ErrorResponse><Error><Type>Sender</Type><Code>InvalidAction</Code></Error></ErrorResponse>",
        "x-amzn-RequestId",
    ),
}
OUTPUTS = {
    "InputBucketName": "input",
    "OutputBucketName": "output",
    "UploadQueueUrl": "https://sqs/1/uploads",
    "DeadLetterQueueUrl": "https://sqs/1/letters",
    "FunctionName": "remove-background",
}
MEMBERS = "".join(
    f"<member><OutputKey>{name}</OutputKey><OutputValue>{value}</OutputValue></member>"
    for name, value in OUTPUTS.items()
)
STACK = Answer(
    200,
    "text/xml",
    f"<DescribeStacksResponse><DescribeStacksResult><Stacks><member><StackName>cutout</StackName><Outputs>{MEMBERS}"
    "</Outputs></member></Stacks></DescribeStacksResult></DescribeStacksResponse>",
    "x-amzn-RequestId",
)
COMMANDS = [
    "upload a.jpg --yes",
    "status",
    "logs",
    "download --out out",
    "backfill --yes",
    "pause --yes",
    "resume --yes",
    "letters list",
    "letters show 3f2a91c0",
    "letters replay --all --yes",
    "letters discard --all --yes",
]


@dataclass
class Endpoint:
    """A server on this machine; `answers` are by the service that is called, and `otherwise` that of all others."""

    url: str = ""
    otherwise: Answer = ANSWERS["nothing"]
    answers: dict[str, Answer] = field(default_factory=dict)


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _: None))
    pytest_socket.enable_socket()
    here = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            service = re.search(r"Credential=\w+/\d+/[^/]+/([^/]+)/", self.headers["Authorization"])
            answer = here.answers.get(service[1] if service else "", here.otherwise)
            body = answer.body.encode()
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(body)))
            if answer.content_type:
                self.send_header("Content-Type", answer.content_type)
            if answer.request_id:
                self.send_header(answer.request_id, "1")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_HEAD = answer  # noqa: N815  # as http.server names them

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        here.url = f"http://127.0.0.1:{server.server_port}"
        yield here
        server.shutdown()
        thread.join()


def check(call: Any) -> None:  # noqa: ANN401
    assert (call.code, call.out) == (1, "")
    *before, last = call.err.splitlines()
    assert last.startswith("Error: ")
    assert "AWS_ENDPOINT_URL (--endpoint-url)" in last
    assert before in ([], ["The intake of cutout is to be paused. The queue keeps uploads for 13 days."])
    assert "<" not in last


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_an_endpoint_that_is_not_aws_is_reported_in_a_sentence(
    cutout: Callable[..., Any], endpoint: Endpoint, answer: Answer
) -> None:
    endpoint.otherwise = answer
    check(cutout("status", "--endpoint-url", endpoint.url))


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_when_only_the_stack_is_found_each_command_says_so_in_a_sentence(
    cutout: Callable[..., Any],
    endpoint: Endpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    answer: Answer,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.jpg").write_bytes(b"image")
    endpoint.answers["cloudformation"] = STACK
    endpoint.otherwise = answer
    check(cutout(*command.split(), "--endpoint-url", endpoint.url))


def test_the_endpoint_is_named(cutout: Callable[..., Any], endpoint: Endpoint) -> None:
    endpoint.otherwise = ANSWERS["a page"]
    assert cutout("status", "--endpoint-url", endpoint.url).err == (
        f"Error: {endpoint.url} is not AWS: its answer to DescribeStacks (200, text/html) is not one of AWS's. "
        "Look at AWS_ENDPOINT_URL (--endpoint-url), and at HTTPS_PROXY.\n"
    )
