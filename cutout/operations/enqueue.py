"""Sends uploads to the queue as S3 would have sent them."""

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from urllib.parse import quote_plus

from cutout.operations.deployment import Deployment
from cutout.operations.progress import Progress
from cutout.operations.threads import work_through
from remove_background.letters import notification
from remove_background.uploads import Upload

BATCH = 10  # the most that SQS accepts at a time
# For messages that SQS refuses out of a batch; seconds after the first attempt, doubled after each.
ATTEMPTS = 5
PAUSE_SECONDS = 0.1


class Enqueuer:
    """Sends uploads to the queue. `enqueued` is right even if it is interrupted; `refused` counts by SQS's code.

    The function itself checks by the ETags whether the uploads are still there: it needs no version.
    """

    def __init__(self, deployed: Deployment) -> None:
        self._deployed = deployed
        self._lock = threading.Lock()
        self.enqueued = 0
        self.refused: Counter[str] = Counter()

    def send(self, lines: Iterable[str], total: int, progress: Progress) -> None:
        """`lines` are in the format that `comparison.compare` writes."""
        with progress(total) as advance:
            work_through(_in_batches(lines), self._send, advance)

    def _send(self, lines: list[str]) -> int:
        left = {str(number): self._message(line) for number, line in enumerate(lines)}
        failed: dict[str, str] = {}  # SQS's code, by the message's number
        for attempt in range(ATTEMPTS):
            if failed:
                time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
            answer = self._deployed.sqs.send_message_batch(
                QueueUrl=self._deployed.upload_queue,
                Entries=[{"Id": number, "MessageBody": body} for number, body in left.items()],
            )
            failed = {failure["Id"]: failure["Code"] for failure in answer.get("Failed", [])}
            with self._lock:
                self.enqueued += len(left) - len(failed)
            if not failed:
                break
            left = {number: left[number] for number in failed}
        with self._lock:
            self.refused.update(failed.values())
        return len(lines)

    def _message(self, line: str) -> str:
        """The event as S3 would have sent it, without version and sequencer, which a listing does not have."""
        key, etag, size = json.loads(line)
        about = {"key": quote_plus(key, safe="/"), "eTag": etag, "size": size}
        bucket = {"name": self._deployed.input_bucket}
        return notification(
            [
                {
                    "eventSource": "aws:s3",
                    "eventName": "ObjectCreated:Backfill",
                    "s3": {"bucket": bucket, "object": about},
                }
            ]
        )


def read_uploads(bucket: str, lines: Iterable[str]) -> Iterator[Upload]:
    """The uploads in these lines."""
    for line in lines:
        key, etag, size = json.loads(line)
        yield Upload(bucket, key, etag, size=size)


def _in_batches(lines: Iterable[str]) -> Iterator[list[str]]:
    lines = iter(lines)
    while batch := list(itertools.islice(lines, BATCH)):
        yield batch
