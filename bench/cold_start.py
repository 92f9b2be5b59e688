"""Cold start: the cost from the start of the function's process until it works, compared with boto3 and one client.

The artefact is what `sam build` makes, but for the Python that runs this. As in Lambda, the process is AWS's own
runtime client, which requests its first event from here.
"""

import itertools
import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from bench.child import ROOT, Context, make_event, make_variables
from bench.report import Goal, Part, Table, as_text, number

HANDLER = "remove_background.handler.lambda_handler"
TIMES = 5  # runs for which CPU is measured; the least is used
GLANCE_SECONDS = 0.1  # how often to check a process that is waited for
REFERENCE = "import boto3; boto3.client('s3')"
WORK = "until the first byte of its first request"
NOWHERE = "http://127.0.0.1:9"


@dataclass(frozen=True, slots=True)
class Cost:
    cpu: float  # seconds
    instructions: int | None  # None where there is no valgrind


class _RuntimeApi(ThreadingHTTPServer):
    """Lambda's Runtime API. `asked` is set when an event is requested and there is none."""

    daemon_threads = True
    block_on_close = False  # the caller waits until its process is ended

    def __init__(self, event: object) -> None:
        super().__init__(("127.0.0.1", 0), _RuntimeApiRequest)
        self.event = event
        self.asked = threading.Event()
        self.closed = threading.Event()


class _RuntimeApiRequest(BaseHTTPRequestHandler):
    wbufsize = -1  # head and body leave in one write
    server: _RuntimeApi

    def do_GET(self) -> None:
        if self.server.event is None:
            self.server.asked.set()
            self.server.closed.wait()
            return
        event = json.dumps(self.server.event).encode()
        self.send_response(200)
        self.send_header("Lambda-Runtime-Aws-Request-Id", Context.aws_request_id)
        self.send_header("Lambda-Runtime-Invoked-Function-Arn", Context.invoked_function_arn)
        self.send_header("Lambda-Runtime-Deadline-Ms", "9999999999999")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(event)))
        self.end_headers()
        self.wfile.write(event)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the name that http.server gives
        """Logs nothing: the costs of the process are measured."""


@contextmanager
def _runtime_api(event: object) -> Iterator[_RuntimeApi]:
    with _RuntimeApi(event) as api:
        thread = threading.Thread(target=api.serve_forever)
        thread.start()
        try:
            yield api
        finally:
            api.closed.set()
            api.shutdown()
            thread.join()


@contextmanager
def _silent_aws() -> Iterator[tuple[str, threading.Event]]:
    """Its URL, and an event that is set when the first byte of a request arrives."""
    arrived = threading.Event()

    def wait() -> None:
        try:
            connection, _ = listener.accept()
        except OSError:  # the listener was closed
            return
        with connection:
            connection.recv(1)
            arrived.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=wait)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", arrived
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


class Python:
    """Runs this Python in a folder whose packages take precedence; `under` is a command to run it with.

    It writes no bytecode, as Lambda cannot either, and reads none of this project's .pth files.
    """

    def __init__(self, folder: Path, under: Sequence[str] = ()) -> None:
        self._folder = folder
        self._under = under

    def run(self, code: str) -> None:
        self._run(["-c", code], NOWHERE, "", None)

    def start_function(self) -> None:
        """Until it asks for the first event."""
        with _runtime_api(None) as api:
            self._run(["-m", "awslambdaric", HANDLER], NOWHERE, f"127.0.0.1:{api.server_port}", api.asked)

    def start_work(self) -> None:
        """Until the first byte of the first request for the first upload."""
        with _runtime_api(make_event(itertools.count(), 1)) as api, _silent_aws() as (url, arrived):
            self._run(["-m", "awslambdaric", HANDLER], url, f"127.0.0.1:{api.server_port}", arrived)

    def _run(self, arguments: Sequence[str], aws: str, runtime_api: str, over: threading.Event | None) -> None:
        """Until it ends by itself, or it is `over`. Raises RuntimeError."""
        with subprocess.Popen(  # noqa: S603 this very Python
            [*self._under, sys.executable, "-S", *arguments],
            cwd=self._folder,
            env=make_variables(aws, str(self._folder))
            | {
                "AWS_LAMBDA_RUNTIME_API": runtime_api,
                "IMAGE_DELIVERY": "url",
                "PYTHONPATH": sysconfig.get_path("platlib"),
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONHASHSEED": "0",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            while over and not over.wait(GLANCE_SECONDS) and process.poll() is None:
                pass
            ended = over is not None and over.is_set()
            if ended:
                process.terminate()
            said, _ = process.communicate()
        if not ended and process.returncode:
            raise RuntimeError(said)


def _measure(runs: Mapping[str, tuple[Path, Callable[[Python], None]]]) -> dict[str, Cost]:
    """In turns, so that other load on the machine affects all of them alike."""
    cpu: dict[str, list[float]] = defaultdict(list)
    for _ in range(TIMES):
        for what, (folder, run) in runs.items():
            before = _cpu_of_children()
            run(Python(folder))
            cpu[what].append(_cpu_of_children() - before)
    return {what: Cost(min(cpu[what]), _count(folder, run)) for what, (folder, run) in runs.items()}


def _count(folder: Path, run: Callable[[Python], None]) -> int | None:
    if not shutil.which("valgrind"):
        return None
    with tempfile.NamedTemporaryFile() as profile:
        run(Python(folder, ["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile.name}"]))
        total = re.search(r"^(?:summary|totals): (\d+)", Path(profile.name).read_text(encoding="utf-8"), re.MULTILINE)
    return int(total[1]) if total else None


def _cpu_of_children() -> float:
    """CPU seconds of the child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _build(folder: Path) -> Path:
    subprocess.run(  # noqa: S603 this project's own Makefile
        ["make", "--silent", "build-RemoveBackground", f"RUNTIME={sys.executable}", "TARGET="],  # noqa: S607
        cwd=ROOT / "functions",
        env=os.environ | {"ARTIFACTS_DIR": str(folder)},
        check=True,
    )
    return folder


def measure() -> Part:
    with tempfile.TemporaryDirectory(prefix="cutout-bench-") as name:
        folder = Path(name)
        artefact = _build(folder / "artefact")
        sources = folder / "sources"
        shutil.copytree(artefact, sources, ignore=shutil.ignore_patterns("__pycache__"))
        costs = _measure(
            {
                "Python alone": (folder, lambda python: python.run("pass")),
                REFERENCE: (folder, lambda python: python.run(REFERENCE)),
                "the function, until it asks for its first event": (artefact, Python.start_function),
                WORK: (artefact, Python.start_work),
                "the same, shipped without bytecode": (sources, Python.start_work),
            }
        )
    reference, ours = costs[REFERENCE], costs[WORK]
    goals, notes = [], []
    if ours.instructions and reference.instructions:
        ratio = ours.instructions / reference.instructions
        goals.append(Goal("Instructions until the first request, over boto3 with one client", ratio, 1.2))
    else:
        notes.append("Instructions are counted by valgrind, which is not installed here.")
    return Part(
        "Cold start",
        [
            Table(
                "From the start of the process, `awslambdaric` included; boto3 with one client = 1:",
                ("", "instructions", "CPU"),
                [(what, *_ratios(cost, reference)) for what, cost in costs.items()],
            )
        ],
        goals,
        [
            "The function makes its three clients, for S3, DynamoDB and Secrets Manager, before it asks for an event.",
            "The first request goes out without TLS: the CA bundle, read once, is in the CPU of the first ten below.",
            f"The reference takes {reference.cpu:.2f} s of CPU. Each was run {TIMES} times for its CPU.",
            *notes,
        ],
    )


def _ratios(cost: Cost, reference: Cost) -> tuple[str, str]:
    counted = cost.instructions and reference.instructions and cost.instructions / reference.instructions
    return number(counted) if counted else "", number(cost.cpu / reference.cpu)


if __name__ == "__main__":
    print(as_text(measure()))
