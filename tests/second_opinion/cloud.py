"""A second cloud: ministack's services.

With the faults of the local cloud it also has its execution environments, and the middleware that makes their calls go
wrong. S3 and its events, SQS, DynamoDB, Secrets Manager, CloudFormation, and the polling of an event source mapping are
ministack's in any case.
"""

import http.client
import json
import os
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3
import botocore.session
from botocore.config import Config

from cutout.local.aws import deploy as stack
from cutout.local.aws.event_faults import EventFault
from cutout.local.aws.middleware import AwsFault, Environ, FunctionCalls
from cutout.local.aws.server import serving_application
from cutout.local.lambda_runtime.delivery_faults import DeliveryFault, DeliveryFaults
from cutout.local.lambda_runtime.environments import Environments
from cutout.local.lambda_runtime.runtime_api import Outcome
from tests.deploy.check import ROOT, Failed

PYTHON = ROOT / ".venv-second" / "bin" / "python"
SHIM = Path(__file__).with_name("ministack_shim.py")
REGION = "us-east-1"
ACCESS_KEY = "test"  # ministack's own, and its secret
START_SECONDS = 30
CALL_SECONDS = 60  # more than any call takes; a receipt of messages waits for 20
PER_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "date", "server"}  # headers that are not passed on


class SecondCloud:
    """A context manager. Starts empty; `log_dir` gets ministack's log, and one of each function that we run."""

    mapping_seconds = 0.0  # ministack switches an event source mapping at once

    def __init__(self, log_dir: Path, *, runs_functions: bool = False) -> None:
        """`runs_functions`: ministack does, under their roles' policies, and no fault applies."""
        self.log_dir = log_dir
        self._runs_functions = runs_functions
        self._exit = ExitStack()
        settings = {"profile": (None, None, None, None), "config_file": (None, None, os.devnull, None)}
        self._session = boto3.Session(
            ACCESS_KEY, ACCESS_KEY, region_name=REGION, botocore_session=botocore.session.Session(settings)
        )
        self._clients: dict[str, Any] = {}
        self._making_client = threading.Lock()
        self._calls = FunctionCalls(self._kill_environment, lambda _call: True)
        self._delivery_faults = DeliveryFaults()
        self._event_faults: tuple[EventFault, ...] = ()

    def __enter__(self) -> Self:
        with ExitStack() as exiting:
            self.log_dir.mkdir(parents=True, exist_ok=True)
            folder = Path(exiting.enter_context(tempfile.TemporaryDirectory(prefix="cutout-second-")))
            log = self.log_dir / "ministack.log"
            if self._runs_functions:
                self._port = exiting.enter_context(ministack(None, folder, log))
                self._exit = exiting.pop_all()
                return self
            invocations = exiting.enter_context(self._invocations())
            self._port = exiting.enter_context(ministack(invocations, folder, log))
            proxy = exiting.enter_context(serving_application(0, self._pass_on_call))
            exiting.callback(self._calls.set_faults)  # the server ends when no answer is held back
            self._environments = Environments(
                self.client("lambda"),
                self._read_code,
                {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy}", "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION},
                folder / "artefacts",
                self.log_dir,
                lambda _group, _stream, _line: None,
            )
            exiting.callback(self._environments.close)
            self._exit = exiting.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._exit.close()

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def client(self, service: str) -> Any:  # noqa: ANN401  # its type depends on the service
        with self._making_client:
            if service not in self._clients:
                make: Any = self._session.client
                config = Config(proxies={}, max_pool_connections=50)
                self._clients[service] = make(service, endpoint_url=self.endpoint_url, config=config)
            return self._clients[service]

    def deploy(self, template: Path, *, stack_name: str, parameters: Mapping[str, str]) -> dict[str, str]:
        """Creates a stack; ministack expands its transform. Returns its Outputs. Raises Failed."""
        body = stack._read(template)
        stack._package(body, template.parent, self.client("s3"))
        cloudformation = self.client("cloudformation")
        cloudformation.create_stack(
            StackName=stack_name,
            TemplateBody=json.dumps(body),
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        )
        while True:
            (made,) = cloudformation.describe_stacks(StackName=stack_name)["Stacks"]
            if made["StackStatus"] != "CREATE_IN_PROGRESS":
                break
            time.sleep(0.1)
        if made["StackStatus"] != "CREATE_COMPLETE":
            raise Failed(f"the stack {stack_name} is {made['StackStatus']}: {made.get('StackStatusReason')}")
        return {output["OutputKey"]: output["OutputValue"] for output in made["Outputs"]}

    def set_faults(self, *faults: AwsFault) -> None:
        self._calls.set_faults(*faults)

    def set_delivery_faults(self, *faults: DeliveryFault) -> None:
        self._delivery_faults = DeliveryFaults(*faults)

    def set_event_faults(self, *faults: EventFault) -> None:
        self._event_faults = faults

    def _kill_environment(self, access_key: str) -> None:
        self._environments.kill(access_key)

    def _read_code(self, arn: str) -> bytes:
        url = self.client("lambda").get_function(FunctionName=arn)["Code"]["Location"]
        with urllib.request.urlopen(url, timeout=CALL_SECONDS) as answer:
            return bytes(answer.read())

    def _pass_on_call(self, environ: Environ, start_response: Any) -> Iterable[bytes]:  # noqa: ANN401
        """A function's call: it goes wrong, or on to ministack."""
        return self._calls.answer(self._pass_on, environ, start_response)

    def _pass_on(self, environ: Environ, start_response: Any) -> Iterable[bytes]:  # noqa: ANN401
        headers = {
            name[5:].replace("_", "-"): value
            for name, value in environ.items()
            if name.startswith("HTTP_") and name not in ("HTTP_EXPECT", "HTTP_CONNECTION")
        }
        if content_type := environ.get("CONTENT_TYPE"):
            headers["Content-Type"] = content_type
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=CALL_SECONDS)
        try:
            body = environ["wsgi.input"].read()
            connection.request(environ["REQUEST_METHOD"], environ["REQUEST_URI"], body, headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in PER_CONNECTION]
        start_response(f"{answer.status} {answer.reason or 'Answer'}", kept)
        return [content]

    @contextmanager
    def _invocations(self) -> Iterator[str]:
        """A server that ministack sends invocations to; yields its URL."""
        cloud = self

        class Invocation(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outcome = cloud._invoke(self.headers["X-Amzn-Lambda-Function-Arn"], event)
                with suppress(ConnectionError):  # ministack gives up when the function's timeout is over
                    self.send_response(500 if outcome.failed else 200)
                    self.send_header("Content-Length", str(len(outcome.payload)))
                    self.end_headers()
                    self.wfile.write(outcome.payload)

            def log_message(self, *_arguments: object) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Invocation)
        thread = threading.Thread(target=server.serve_forever, name="invocations")
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def _invoke(self, arn: str, event: dict[str, Any]) -> Outcome:
        records = event.get("Records", [])
        faults = self._delivery_faults
        if records:
            queue = records[0]["eventSourceARN"]
            if faults.throttles(queue, [record["body"] for record in records]):
                return Outcome(b'{"errorType": "TooManyRequestsException"}', failed=True)
            for record in records:
                record["body"] = self._with_event_faults(record["body"])
        outcome = self._environments.invoke(arn, event)
        repeated = [record for record in records if self._repeats(record, faults)] if not outcome.failed else []
        if not repeated:
            return outcome
        answer = json.loads(outcome.payload)
        failed = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        failed |= {record["messageId"] for record in repeated}
        answer["batchItemFailures"] = [{"itemIdentifier": id_} for id_ in sorted(failed)]
        return Outcome(json.dumps(answer).encode(), failed=False)

    def _with_event_faults(self, body: str) -> str:
        content = json.loads(body)
        for record in content.get("Records", []):
            about = record["s3"]["object"]
            for fault in self._event_faults:
                if fault.key in about["key"]:
                    fault.apply(about)
                    break
        return json.dumps(content)

    def _repeats(self, record: dict[str, Any], faults: DeliveryFaults) -> bool:
        """Whether the deletion of a message is lost: it is delivered again."""
        seconds = faults.repeats_after(record["eventSourceARN"], record["body"])
        if seconds is None:
            return False
        sqs = self.client("sqs")
        url = sqs.get_queue_url(QueueName=record["eventSourceARN"].rsplit(":", 1)[1])["QueueUrl"]
        sqs.change_message_visibility(
            QueueUrl=url, ReceiptHandle=record["receiptHandle"], VisibilityTimeout=round(seconds)
        )
        return True


@contextmanager
def ministack(invoke_url: str | None, folder: Path, log: Path) -> Iterator[int]:
    """ministack on a free port of 127.0.0.1, which it yields. Functions are invoked at `invoke_url`.

    Without that, ministack runs them itself, and enforces policies.
    """
    if not PYTHON.exists():
        raise Failed(".venv-second is missing: call `make .venv-second/ready`")
    with socket.socket() as bound, log.open("ab") as output:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "AWS_DEFAULT_REGION": REGION,
            "MINISTACK_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),  # for the URLs that it hands out
            # Of MQTT and SFTP, which listen on all interfaces.
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "AUTH": "false" if invoke_url else "true",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": ACCESS_KEY,
        }
        arguments = [str(bound.fileno()), *([invoke_url] if invoke_url else [])]
        with subprocess.Popen(
            [PYTHON, SHIM, *arguments],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[bound.fileno()],
        ) as process:
            try:
                _await_start(process, port, log)
                yield port
            finally:
                process.terminate()


def _await_start(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/_ministack/health", timeout=5):
            return
        time.sleep(0.1)
    raise Failed(f"ministack did not start:\n{log.read_text()}")
