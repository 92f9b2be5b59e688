"""Half of the inputs have their cutout: is exactly the other half enqueued, once, with constant memory?

The inputs and cutouts are put into moto's store directly: 100,000 requests would take longer than the measurement.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import unquote_plus

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.sqs.models import SQSBackend, sqs_backends

from cutout.local.cloud import ACCESS_KEY
from remove_background.models import cutout_metadata
from remove_background.uploads import Upload
from testbed.harness import ENABLED, Testbed, deployed
from testbed.report import Figure, parser, report

ROOT = Path(__file__).parents[2]
INTERRUPTED = 130
# In the half without a current cutout, one in this many has the cutout of an older upload.
STALE = 100
SLOW_SECONDS = 0.3
LEAST_TO_INTERRUPT = 1000  # fewer are sent in less time than a signal takes
# How much more memory the largest run may take than a run of a tenth of its size.
MEGABYTES_MORE = 16

# Starts the command from a small process: its peak memory would otherwise count what was copied from this large one.
# A shell may start background processes with SIGINT ignored. The command must receive it; this process must not.
LAUNCH = """
import resource, signal, subprocess, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
process = subprocess.Popen(sys.argv[1:])
signal.signal(signal.SIGINT, signal.SIG_IGN)
code = process.wait()
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


@dataclass(frozen=True, slots=True)
class Run:
    code: int
    told: dict[str, int]
    seconds: float
    megabytes: float  # the peak of the command's process
    queued: Counter[str]  # by key


class Inputs:
    """Inputs under their own prefix; `wanted` holds the keys without a current cutout."""

    def __init__(self, testbed: Testbed, prefix: str, count: int) -> None:
        self._bed = testbed
        self._store: Any = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
        self.prefix = prefix
        self.wanted: set[str] = set()
        for number in range(count):
            key = f"{prefix}{number}.jpg"
            etag = self._store.put_object(testbed.input, key, str(number).encode(), disable_notification=True).etag
            if number % 2:
                self.wanted.add(key)
                if number % STALE == 1:
                    self._put_cutout(key, "of an older upload")
            else:
                self._put_cutout(key, etag.strip('"'))

    def finish(self, keys: Iterable[str]) -> None:
        """What the function would do with them."""
        for key in keys:
            self._put_cutout(key, self._store.head_object(self._bed.input, key).etag.strip('"'))
            self.wanted.remove(key)

    def _put_cutout(self, key: str, etag: str) -> None:
        stem = key.removesuffix(".jpg")
        cutout = self._store.put_object(self._bed.output, f"{stem}.png", b"", disable_notification=True)
        metadata = cutout_metadata(Upload(self._bed.input, key, etag))
        cutout.set_metadata({f"x-amz-meta-{name}": value for name, value in metadata.items()})


def run(testbed: Testbed, inputs: Inputs, interrupt: Callable[[int], bool] = lambda _: False) -> Run:
    """`interrupt` is called with the number of messages in the queue. The queue is empty afterwards."""
    environment = {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": ACCESS_KEY,
        "AWS_REGION": testbed.cloud.region,
        "AWS_ENDPOINT_URL": testbed.cloud.endpoint_url,
    }
    command = [sys.executable, "-m", "cutout", "backfill", "--prefix", inputs.prefix, "--yes", "--json"]
    begun, pause = time.monotonic(), threading.Event()
    with subprocess.Popen(
        [sys.executable, "-c", LAUNCH, *command],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        while process.poll() is None:
            if interrupt(len(_messages(testbed))):
                os.killpg(process.pid, signal.SIGINT)
                break
            pause.wait(0.02)
        out, err = process.communicate()
    seconds = time.monotonic() - begun
    if process.returncode not in (0, INTERRUPTED):
        raise RuntimeError(err)
    keys = [json.loads(message.body)["Records"][0]["s3"]["object"]["key"] for message in _messages(testbed)]
    _messages(testbed).clear()
    return Run(
        code=process.returncode,
        told=json.loads(out),
        seconds=seconds,
        megabytes=int(err.split()[-1]) / (1024 if sys.platform == "linux" else 1024**2),
        queued=Counter(map(unquote_plus, keys)),
    )


@contextmanager
def _slow_sending() -> Iterator[None]:
    """Makes an interruption hit the middle, even if few are sent and the machine is busy."""
    send = SQSBackend.send_message_batch

    def send_slowly(*args: Any, **options: Any) -> Any:  # noqa: ANN401  # as they come
        time.sleep(SLOW_SECONDS)
        return send(*args, **options)

    with mock.patch.object(SQSBackend, "send_message_batch", send_slowly):
        yield


def _messages(testbed: Testbed) -> list[Any]:
    queues: Any = sqs_backends[DEFAULT_ACCOUNT_ID][testbed.cloud.region].queues
    messages: list[Any] = queues[testbed.outputs["UploadQueueUrl"].rpartition("/")[2]]._messages
    return messages


def _differ(ended: Run) -> int:
    return abs(ended.told["enqueued"] - ended.queued.total())


def main() -> int:
    options = parser(__doc__ or "", uploads=100_000).parse_args()
    count = options.uploads
    with deployed({ENABLED: False}, parameters={}) as testbed:
        _messages(testbed).clear()  # of the event by which S3 tests a notification
        small = run(testbed, Inputs(testbed, "few/", count // 10))

        stopped = Inputs(testbed, "stopped/", max(count // 10, LEAST_TO_INTERRUPT))
        all_wanted = len(stopped.wanted)
        with _slow_sending():
            interrupted = run(testbed, stopped, lambda enqueued: enqueued >= all_wanted / 4)
        stopped.finish(list(interrupted.queued)[::2])
        again = run(testbed, stopped)

        many = Inputs(testbed, "many/", count)
        large = run(testbed, many)
        wanted = Counter(many.wanted)
        figures = [
            Figure("inputs", large.told["inputs"], least=count, most=count),
            Figure("with a current cutout", large.told["current"]),
            Figure("with an older one", large.told["stale"]),
            Figure("enqueued", large.queued.total(), least=len(many.wanted), most=len(many.wanted)),
            Figure("enqueued otherwise than reported", _differ(large), most=0),
            Figure("enqueued, though done or twice", (large.queued - wanted).total(), most=0),
            Figure("not enqueued, though not done", (wanted - large.queued).total(), most=0),
            Figure("seconds", round(large.seconds, 1)),
            Figure("inputs per second", round(count / large.seconds)),
            Figure("peak memory, in MB", round(large.megabytes, 1), most=round(small.megabytes + MEGABYTES_MORE, 1)),
            Figure(f"peak memory with {count // 10} inputs", round(small.megabytes, 1)),
            Figure("interrupted: exit code", interrupted.code, least=INTERRUPTED, most=INTERRUPTED),
            Figure("interrupted: enqueued", interrupted.queued.total(), least=all_wanted / 4, most=all_wanted - 1),
            Figure("interrupted: enqueued otherwise than reported", _differ(interrupted), most=0),
            Figure("again: enqueued", again.queued.total(), least=len(stopped.wanted)),
            Figure("again: enqueued, though done or twice", (again.queued - Counter(stopped.wanted)).total(), most=0),
        ]
        notes = [
            "Interrupted in the middle of sending; every other upload that was enqueued by then was finished.",
            "moto answers one call of S3 at a time, which bounds the inputs per second.",
        ]
        return report(f"Backfill: {count} inputs", figures, testbed, notes, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
