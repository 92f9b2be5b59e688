"""A function in its own process: invoked again and again, it reports what each invocation took.

Started by `run`, with a `Task` as JSON in its argument; answers with a `Log` as JSON.
"""

import dataclasses
import itertools
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from bench import prices
from bench.services import Services

Handler = Literal["ours", "one after another", "naive"]
TIMEOUT_SECONDS = 120  # of the function, as in the template
ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "samples" / "coffee.png"  # every image is a copy of this file


@dataclass(frozen=True, slots=True)
class Task:
    handler: Handler
    images: int  # in all: ten per invocation, or one for the naive handler
    batches: int
    certificate: str  # trusted in addition to the usual ones


@dataclass(frozen=True, slots=True)
class Batch:
    """What ten images took: wall-clock and CPU seconds, and bytes logged."""

    wall: float
    cpu: float
    log_bytes: int


@dataclass(frozen=True, slots=True)
class Log:
    start_cpu: float  # seconds of CPU from the start of the process until the handler is imported
    batches: list[Batch]
    peak_mb: float  # resident memory
    calls: dict[str, int] = field(default_factory=dict)  # all that it made, by name

    @property
    def first(self) -> Batch:
        return self.batches[0]

    @property
    def wall(self) -> float:
        """The least of the warm batches."""
        return min(batch.wall for batch in self.batches[1:])

    @property
    def cpu(self) -> float:
        return min(batch.cpu for batch in self.batches[1:])

    @property
    def log_bytes(self) -> int:
        return self.batches[-1].log_bytes

    @classmethod
    def read(cls, text: str, calls: Mapping[str, int]) -> Self:
        content = json.loads(text)
        return cls(**content | {"batches": [Batch(**batch) for batch in content["batches"]], "calls": dict(calls)})


class Context:
    """The context that Lambda passes to a handler."""

    aws_request_id = "5c2b0c9e-4f5c-4b6e-9d1a-000000000000"
    function_name = "cutout-RemoveBackground"
    memory_limit_in_mb = prices.LAMBDA_MB
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:cutout-RemoveBackground"

    def get_remaining_time_in_millis(self) -> int:
        return TIMEOUT_SECONDS * 1000


def run(
    services: Services,
    handler: Handler,
    *,
    images: int = 10,
    batches: int,
    delivery: Literal["url", "upload"] = "url",
) -> Log:
    """Each batch has this many images. Raises RuntimeError unless each image becomes a cutout."""
    services.calls.clear()
    with tempfile.TemporaryDirectory(prefix="cutout-bench-") as folder:
        task = Task(handler, images, batches, str(services.certificate))
        done = subprocess.run(  # noqa: S603 this very file
            [sys.executable, "-m", "bench.child", json.dumps(dataclasses.asdict(task))],
            cwd=ROOT,
            env=make_variables(services.url, folder) | {"IMAGE_DELIVERY": delivery},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    if services.calls["PutObject"] != images * batches:
        raise RuntimeError(f"{handler}: {images * batches} images became {services.calls['PutObject']} cutouts")
    return Log.read(done.stdout, services.calls)


def make_variables(url: str, folder: str) -> dict[str, str]:
    """The template's settings for the function, with a request rate so high that no image waits."""
    return {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "functions")]),
        "PATH": os.environ["PATH"],
        "HOME": folder,
        "TMPDIR": folder,
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": url,
        "AWS_LAMBDA_FUNCTION_NAME": Context.function_name,
        "POWERTOOLS_SERVICE_NAME": "cutout",
        "POWERTOOLS_METRICS_NAMESPACE": "Cutout",
        "POWERTOOLS_LOG_LEVEL": "INFO",
        "INPUT_BUCKET": "input",
        "INPUT_PREFIX": "",
        "OUTPUT_BUCKET": "output",
        "OUTPUT_KEY": "{stem}.png",
        "UPLOAD_QUEUE_URL": f"{url}/123456789012/uploads",
        "DEAD_LETTER_QUEUE_URL": f"{url}/123456789012/letters",
        "MAX_ATTEMPTS": "5",
        "PIXELCUT_API_URL": url,
        "PIXELCUT_API_KEY_SECRET": "key",
        "PRESIGNED_URL_SECONDS": "300",
        "LEDGER_TABLE": "ledger",
        "REQUESTS_PER_SECOND": "1000",
        "FAILURES_IN_A_ROW": "10",
        "BACKOFF_SECONDS": "30",
    }


def make_event(numbers: "itertools.count[int]", messages: int) -> dict[str, Any]:
    return {"Records": [_message(next(numbers)) for _ in range(messages)]}


def _message(number: int) -> dict[str, Any]:
    record = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "us-east-1",
        "eventTime": "2025-01-01T00:00:00.000Z",
        "eventName": "ObjectCreated:Put",
        "s3": {
            "bucket": {"name": "input", "arn": "arn:aws:s3:::input"},
            "object": {
                "key": f"photos/{number:06}.png",
                "size": 466706,
                "eTag": "0f343b0931126a20f133d67c2b018a3b",
                "versionId": "096fKKXTRTtl3on89fVO.nfljtsv6qko",
                "sequencer": f"{number:016X}",
            },
        },
    }
    return {
        "messageId": f"message-{number}",
        "receiptHandle": "receipt",
        "body": json.dumps({"Records": [record]}),
        "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1769860800000"},
        "messageAttributes": {},
        "md5OfBody": "",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:uploads",
        "awsRegion": "us-east-1",
    }


def _load(handler: Handler) -> Callable[[dict[str, Any], Any], Mapping[str, Any] | None]:
    if handler == "naive":
        from bench import naive  # noqa: PLC0415 what it costs to import is measured

        return naive.lambda_handler
    from remove_background import handler as ours  # noqa: PLC0415

    if handler == "one after another":
        ours.THREADS = 1
        ours._worker.cache_clear()  # noqa: SLF001 it was made with all of them
    return ours.lambda_handler


def _trust(certificate: str) -> None:
    """Makes every TLS context load this certificate too."""
    load = ssl.SSLContext.load_verify_locations

    def load_with_ours(context: ssl.SSLContext, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 passed on
        load(context, *args, **kwargs)
        load(context, certificate)

    ssl.SSLContext.load_verify_locations = load_with_ours  # type: ignore[assignment]


def main() -> None:
    task = Task(**json.loads(sys.argv[1]))
    answer = os.fdopen(os.dup(1), "w")
    # Log to a file, so that the bytes can be counted.
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 1)
        _trust(task.certificate)
        handle = _load(task.handler)
        start_cpu = time.process_time()
        numbers = itertools.count()
        at_once = 1 if task.handler == "naive" else task.images
        batches = []
        for _ in range(task.batches):
            logged, wall, cpu = os.fstat(1).st_size, time.monotonic(), time.process_time()
            for _ in range(task.images // at_once):
                handle(make_event(numbers, at_once), Context())
            sys.stdout.flush()
            batches.append(
                Batch(time.monotonic() - wall, time.process_time() - cpu, os.fstat(1).st_size - logged),
            )
    with answer:
        json.dump(dataclasses.asdict(Log(start_cpu, batches, _peak_mb())), answer)


def _peak_mb() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (kilobytes,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    return kilobytes / 1024


if __name__ == "__main__":
    main()
