"""What the commands of an operator take on a full stack: the local cloud's time, and their own."""

import os
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.sqs.models import Message, sqs_backends

from bench import report
from bench.report import Goal, Part, Table, as_text
from cutout.local.aws.middleware import Environ, FunctionCalls
from remove_background.letters import notification
from testbed.harness import ENABLED, Testbed, deployed

LETTERS, WAITING = 10_000, 100_000
CODES = ("service_unavailable", "storage_unavailable")  # by turns
ACCESS_KEY = "bench"  # tells the calls of the command from those of the local cloud
REPLAYED = LETTERS // len(CODES)
STATUS, LIST, REPLAY = "status", "letters list", f"letters replay, {REPLAYED:,} of them"
PLAIN = "its calls, by boto3 alone"
COMMANDS: Mapping[str, tuple[str, ...]] = {
    STATUS: ("cutout", "status"),
    LIST: ("cutout", "letters", "list"),
    PLAIN: ("bench.plain_list",),
    REPLAY: ("cutout", "letters", "replay", "--code", CODES[0], "--yes"),
}
STATUS_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Before:
    """What a command took on two cores before its calls were halved and moto looked through fewer messages.

    Measured with no uploads waiting: with them, moto counted all of them for each one that was sent.
    """

    calls: int
    cpu: float
    cloud_cpu: float


BEFORE = {STATUS: Before(2_017, 6.57, 59.5), LIST: Before(2_012, 6.40, 65.5), REPLAY: Before(10_526, 26.1, 155)}


@dataclass(frozen=True, slots=True)
class Run:
    """A call of the command: its seconds, those it computed, those the local cloud computed, and its calls to AWS."""

    seconds: float
    cpu: float
    cloud_cpu: float
    calls: Counter[str]


def measure_runs() -> dict[str, Run]:
    with deployed({ENABLED: False}, parameters={}) as testbed:
        fill(testbed)
        queue = {PLAIN: (testbed.outputs["DeadLetterQueueUrl"],)}
        return {name: call(testbed, *arguments, *queue.get(name, ())) for name, arguments in COMMANDS.items()}


def fill(testbed: Testbed) -> None:
    """Puts letters and waiting uploads straight into moto's queues: sent one by one they would take minutes."""
    testbed.sqs.purge_queue(QueueUrl=testbed.outputs["UploadQueueUrl"])  # of the event by which S3 tests a notification
    bucket = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    queues = sqs_backends[DEFAULT_ACCOUNT_ID][testbed.cloud.region].queues
    letters, uploads = (
        queues[testbed.outputs[name].rpartition("/")[2]] for name in ("DeadLetterQueueUrl", "UploadQueueUrl")
    )
    for number in range(LETTERS):
        key = f"photos/{number:06}.jpg"
        upload = bucket.put_object(testbed.input, key, b"an image", disable_notification=True)
        letter = _message(number, testbed.input, key, upload.etag.strip('"'))
        letter.message_attributes = _attributes(CODES[number % len(CODES)], f"s3://{testbed.input}/{key}")
        letters._messages.append(letter)  # noqa: SLF001 moto has no other way
    for number in range(LETTERS, LETTERS + WAITING):
        uploads._messages.append(_message(number, testbed.input, f"photos/{number:06}.jpg", "0123"))  # noqa: SLF001


def _message(number: int, bucket: str, key: str, etag: str) -> Message:
    object_ = {"key": key, "eTag": etag, "size": 8, "sequencer": f"{number:018X}"}
    record = {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put"}
    message = Message(
        f"{number:032x}", notification([record | {"s3": {"bucket": {"name": bucket}, "object": object_}}])
    )
    message.mark_sent()
    return message


def _attributes(code: str, source: str) -> dict[str, Any]:
    texts = {
        "ErrorCode": code,
        "ErrorMessage": "Pixelcut answered 500. It is tried again.",
        "Billed": "maybe",
        "Attempts": "5",
        "Source": source,
        "RequestId": "a request",
    }
    return {name: {"DataType": "String", "StringValue": text} for name, text in texts.items()}


def call(testbed: Testbed, *arguments: str) -> Run:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "AWS_ENDPOINT_URL": testbed.cloud.endpoint_url,
        "AWS_REGION": testbed.cloud.region,
        "AWS_DEFAULT_REGION": testbed.cloud.region,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": ACCESS_KEY,
    }
    with _counted() as calls:
        begun, own, cloud = time.monotonic(), _cpu(resource.RUSAGE_CHILDREN), _cpu(resource.RUSAGE_SELF)
        done = subprocess.run(  # noqa: S603 ours
            [sys.executable, "-m", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - begun
    if done.returncode:
        raise RuntimeError(f"{arguments} failed: {done.stdout}")
    own, cloud = _cpu(resource.RUSAGE_CHILDREN) - own, _cpu(resource.RUSAGE_SELF) - cloud
    return Run(seconds, own, cloud, calls)


@contextmanager
def _counted() -> Iterator[Counter[str]]:
    """The calls of the command, by their name."""
    calls: Counter[str] = Counter()
    answer = FunctionCalls.answer

    def count(self: FunctionCalls, service: Callable[..., Any], environ: Environ, start_response: Any) -> Any:  # noqa: ANN401
        signed = environ.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2].split("/")
        if signed[0] == ACCESS_KEY:
            calls[environ.get("HTTP_X_AMZ_TARGET", f"{signed[3]} {environ['REQUEST_METHOD']}").rpartition(".")[2]] += 1
        return answer(self, service, environ, start_response)

    with mock.patch.object(FunctionCalls, "answer", count):
        yield calls


def _cpu(whose: int) -> float:
    used = resource.getrusage(whose)
    return used.ru_utime + used.ru_stime


def measure() -> Part:
    runs = measure_runs()
    rows = [row for name, run in runs.items() for row in _rows(name, run)]
    head = ("", "seconds", "CPU of the command, s", "CPU of the local cloud, s", "calls to AWS")
    status, listed, plain, replayed = runs[STATUS], runs[LIST], runs[PLAIN], runs[REPLAY]
    return Part(
        "Commands on a full stack",
        [Table(f"{LETTERS:,} letters and {WAITING:,} uploads waiting:", head, rows)],
        goals=[
            Goal(
                "`status`, in seconds",
                status.seconds,
                STATUS_SECONDS,
                stands_in_the_way=f"what else the machine does: the command and the local cloud compute "
                f"{report.number(status.cpu + status.cloud_cpu)} s",
            ),
            Goal("`letters list`: CPU of both, over that before", _both(listed) / _both(BEFORE[LIST]), 0.5),
            Goal(
                "`letters list`: CPU of the command, over that before",
                listed.cpu / BEFORE[LIST].cpu,
                0.5,
                stands_in_the_way="SQS gives and takes back ten letters a call, and boto3 computes two to three ms for "
                "each call",
            ),
            Goal("`letters list`: CPU of the command, over that of boto3 alone", listed.cpu / plain.cpu, 1.25),
            Goal("`letters replay`: CPU of both, over that before", _both(replayed) / _both(BEFORE[REPLAY]), 0.5),
            Goal(
                "`letters replay`: CPU of the command, over that before",
                replayed.cpu / BEFORE[REPLAY].cpu,
                0.5,
                stands_in_the_way="all letters are received twice, to say what a replay costs and to do it",
            ),
            Goal("`letters replay`: calls, over those before", replayed.calls.total() / BEFORE[REPLAY].calls, 0.5),
        ],
        notes=[
            (
                "What bounds the two commands about letters is the local cloud: one process, which computes "
                f"{listed.cloud_cpu / listed.seconds:.0%} and {replayed.cloud_cpu / replayed.seconds:.0%} of their "
                "time. Of that, moto's serializing of its answers is the largest part."
            ),
            f"`letters list` calls {_word(listed.calls)}.",
            f"`letters replay` calls {_word(replayed.calls)}.",
            "`status` reads some of the letters, and says that the rest is SQS's approximate count.",
            (
                "What was before was measured once, on another day: its CPU is that of this kind of machine at that "
                "time. What boto3 alone takes is measured in the same run."
            ),
        ],
    )


def _rows(name: str, run: Run) -> Iterator[tuple[str, ...]]:
    yield (
        name,
        report.number(run.seconds),
        report.number(run.cpu),
        report.number(run.cloud_cpu),
        f"{run.calls.total():,}",
    )
    if before := BEFORE.get(name):
        yield f"{name}, before", "", report.number(before.cpu), report.number(before.cloud_cpu), f"{before.calls:,}"


def _both(run: Run | Before) -> float:
    return run.cpu + run.cloud_cpu


def _word(calls: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,} times" for name, count in calls.most_common(6))


if __name__ == "__main__":
    print(as_text(measure()))
