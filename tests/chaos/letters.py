"""Ten thousand letters, and a replay that is killed in the middle: is any lost, and what does it take?"""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.sqs.models import Queue, sqs_backends

from cutout.local.cloud import ACCESS_KEY
from cutout.operations.dead_letters import BATCH, THREADS
from testbed.harness import ENABLED, Testbed, deployed
from testbed.report import Figure, parser, report

CODES = ("service_unavailable", "invalid_parameter", "storage_unavailable")
# The last receive of the killed process may hide ten more letters a moment later, until the next replay.
MOST_REPLAYS = 2
# An extra process in between: peak memory counts for child processes too, until they run another program.
MEASURE = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_maxrss, used.ru_utime + used.ru_stime, file=sys.stderr)
sys.exit(code)
"""


@dataclass(frozen=True, slots=True)
class Run:
    """A call of the command: what it printed, in how many seconds, those it computed, and its peak memory in MB."""

    code: int
    found: Any
    seconds: float
    cpu_seconds: float
    megabytes: float


class Letters:
    """Calls the command from outside, and reads the queues from inside."""

    def __init__(self, testbed: Testbed) -> None:
        self._bed = testbed
        self._queues = sqs_backends[DEFAULT_ACCOUNT_ID][testbed.cloud.region].queues
        self.environment = {
            "PATH": "/usr/bin:/bin",
            "AWS_ENDPOINT_URL": testbed.cloud.endpoint_url,
            "AWS_REGION": testbed.cloud.region,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": ACCESS_KEY,
        }

    @staticmethod
    def command(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "cutout", "letters", *arguments]

    def call(self, *arguments: str) -> Run:
        begun = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, *self.command(*arguments, "--json")],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - begun
        *said, used = done.stderr.splitlines()
        assert done.stdout, said
        memory, cpu_seconds = map(float, used.split())
        unit = 1024**2 if sys.platform == "darwin" else 1024
        return Run(done.returncode, json.loads(done.stdout), seconds, cpu_seconds, memory / unit)

    def queue(self, output: str) -> Queue:
        return self._queues[self._bed.outputs[output].rpartition("/")[2]]

    def bodies(self, output: str) -> Counter[str]:
        return Counter(message.body for message in self.queue(output)._messages)

    def hidden(self, output: str) -> int:
        return sum(not message.visible for message in self.queue(output)._messages)

    def show_hidden(self, output: str) -> None:
        """Ends their visibility timeout."""
        for message in self.queue(output)._messages:
            message.change_visibility(0)

    def write(self, name: str, count: int) -> set[str]:
        """Makes letters, each about its own upload in the bucket; returns their bodies."""
        buckets = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
        bodies = []
        for number in range(count):
            # Without its event: the upload has failed already.
            upload = buckets.put_object(self._bed.input, f"{name}/{number}.jpg", b"an image", disable_notification=True)
            object_ = {"key": upload.name, "eTag": upload.etag.strip('"'), "size": 8, "sequencer": f"{number:018X}"}
            bucket = {"name": self._bed.input}
            record = {"eventName": "ObjectCreated:Put", "s3": {"bucket": bucket, "object": object_}}
            bodies.append(json.dumps({"Records": [record]}))
        batches = [range(start, min(start + BATCH, count)) for start in range(0, count, BATCH)]
        with ThreadPoolExecutor(4) as writers:
            list(writers.map(lambda numbers: self._write_batch(numbers, bodies), batches))
        return set(bodies)

    def _write_batch(self, numbers: Iterable[int], bodies: list[str]) -> None:
        self._bed.sqs.send_message_batch(
            QueueUrl=self._bed.outputs["DeadLetterQueueUrl"],
            Entries=[
                {"Id": str(number), "MessageBody": bodies[number], "MessageAttributes": _attributes(number)}
                for number in numbers
            ],
        )


def _attributes(number: int) -> Mapping[str, Any]:
    texts = {
        "ErrorCode": CODES[number % len(CODES)],
        "ErrorMessage": "Pixelcut answered 500. It is tried again.",
        "Billed": "maybe",
        "Attempts": "5",
        "FailedAt": datetime.now(UTC).isoformat(timespec="seconds"),
        "RequestId": "a request",
    }
    return {name: {"DataType": "String", "StringValue": text} for name, text in texts.items()}


def main() -> int:
    options = parser(__doc__ or "", uploads=10_000).parse_args()
    count = options.uploads
    dead, uploads = "DeadLetterQueueUrl", "UploadQueueUrl"

    with deployed({ENABLED: False}, parameters={}) as testbed:
        letters = Letters(testbed)
        testbed.sqs.purge_queue(QueueUrl=testbed.outputs[uploads])  # S3 sent its test event when the bucket was created
        written = letters.write("replayed", count)
        before = letters.bodies(dead)
        listed = letters.call("list")
        paged = letters.call("list", "--all", "--page", "2")
        hidden_after_list = letters.hidden(dead)
        unchanged = letters.bodies(dead) == before

        killed = subprocess.Popen(
            letters.command("replay", "--all", "--yes"), env=letters.environment, stderr=subprocess.DEVNULL
        )
        while letters.bodies(uploads).total() < count // 2 and killed.poll() is None:
            time.sleep(0.02)  # often: two hundred letters take less than a second
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        sent_when_killed, left_when_killed = letters.bodies(uploads).total(), letters.bodies(dead).total()
        hidden_when_killed = letters.hidden(dead)
        replays: list[Run] = []
        while not replays or (letters.bodies(dead) and len(replays) < MOST_REPLAYS):
            letters.show_hidden(dead)
            replays.append(letters.call("replay", "--all", "--yes"))
        replayed = replays[0]
        sent, left = letters.bodies(uploads), letters.bodies(dead).total()

        letters.write("discarded", count)
        discarded = letters.call("discard", "--all", "--yes")

        figures = [
            Figure("letters", count),
            Figure("letters listed", sum(group["letters"] for group in listed.found["codes"]), most=count, least=count),
            Figure("queue changed by listing it", int(not unchanged) + hidden_after_list, most=0),
            Figure("killed in the middle", int(killed.returncode == -signal.SIGKILL), least=1),
            Figure("sent when it was killed", sent_when_killed),
            Figure("letters left when it was killed", left_when_killed, least=count - sent_when_killed),
            Figure("of these hidden", hidden_when_killed),
            Figure("letters lost", len(written - sent.keys()), most=0),
            Figure("sent twice", sent.total() - len(sent), most=THREADS * BATCH),
            Figure("strangers sent", len(sent.keys() - written), most=0),
            Figure("replays afterwards", len(replays), most=MOST_REPLAYS),
            Figure("letters left after them", left, most=0),
            Figure("letters left after discarding them", letters.bodies(dead).total(), most=0),
            Figure("calls that failed", sum(bool(run.code) for run in (listed, paged, *replays, discarded)), most=0),
        ]
        for name, run in (
            ("list", listed),
            ("list --all --page 2", paged),
            ("replay --all, of what was left", replayed),
            ("discard --all", discarded),
        ):
            figures += [
                Figure(f"{name}: seconds", round(run.seconds, 1)),
                Figure(f"{name}: seconds of CPU", round(run.cpu_seconds, 1)),
                Figure(f"{name}: MB", round(run.megabytes), most=200),
            ]
        notes = [
            "What the killed replay had hidden was shown at once, instead of after 15 minutes.",
            "The uploads' queue is not worked on, so that what is sent can be counted.",
        ]
        return report(f"Letters: {count:,}", figures, testbed, notes, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
