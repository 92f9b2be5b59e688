"""Replay: sends the bodies of letters back to the upload queue, unchanged, if that can lead to a cutout."""

import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

from cutout.operations import objects
from cutout.operations.dead_letters import Letter
from cutout.operations.deployment import Deployment
from remove_background.uploads import Upload

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Total bytes of the messages that SQS accepts at a time:
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html
BATCH_BYTES = 1_048_576


class State(StrEnum):
    """What has become of the object that an upload put into the bucket."""

    THERE = "there"
    OVERWRITTEN = "overwritten"
    GONE = "gone"


class Kept(StrEnum):
    """Why a letter is not replayed."""

    GONE = "gone"
    OVERWRITTEN = "overwritten"
    NO_UPLOAD = "no_upload"
    NOT_SENT = "not_sent"


def look_at(s3: "S3Client", upload: Upload) -> State:
    """Judges as the function does: it silently drops an upload that was deleted or overwritten."""
    found = objects.head(s3, upload.bucket, upload.key)
    if found is None:
        return State.GONE
    return State.THERE if found["ETag"].strip('"') == upload.etag else State.OVERWRITTEN


class Replay:
    """`sent` holds the uploads of the letters that were sent, `kept` the ids of the others, by reason."""

    def __init__(self, deployed: Deployment) -> None:
        self._s3 = deployed.s3
        self._sqs = deployed.sqs
        self._queue_url = deployed.upload_queue
        self._lock = threading.Lock()
        self.sent: list[Upload] = []
        self.kept: dict[Kept, list[str]] = defaultdict(list)

    def __call__(self, letters: Sequence[Letter]) -> list[Letter]:
        """Those that were sent, at most ten. Only then may they be deleted."""
        due = [letter for letter in letters if self._is_due(letter)]
        return [letter for batch in _batches(due) for letter in self._send(batch)]

    def _is_due(self, letter: Letter) -> bool:
        states = {look_at(self._s3, upload) for upload in letter.uploads}
        if State.THERE in states:
            return True
        if State.OVERWRITTEN in states:
            self._keep(Kept.OVERWRITTEN, letter)
        else:
            self._keep(Kept.GONE if states else Kept.NO_UPLOAD, letter)
        return False

    def _send(self, letters: Sequence[Letter]) -> list[Letter]:
        answer = self._sqs.send_message_batch(
            QueueUrl=self._queue_url,
            Entries=[{"Id": str(number), "MessageBody": letter.body} for number, letter in enumerate(letters)],
        )
        refused = {int(failure["Id"]) for failure in answer.get("Failed", [])}
        for number in refused:
            self._keep(Kept.NOT_SENT, letters[number])
        sent = [letter for number, letter in enumerate(letters) if number not in refused]
        with self._lock:
            self.sent += [upload for letter in sent for upload in letter.uploads]
        return sent

    def _keep(self, why: Kept, letter: Letter) -> None:
        with self._lock:
            self.kept[why].append(letter.id)


def _batches(letters: Sequence[Letter]) -> Iterator[list[Letter]]:
    """Batches as large as SQS accepts."""
    batch: list[Letter] = []
    size = 0
    for letter in letters:
        length = len(letter.body.encode())
        if batch and size + length > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(letter)
        size += length
    if batch:
        yield batch
