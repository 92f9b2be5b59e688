"""Replay: sends the bodies of letters back to the upload queue, unchanged, if that can lead to a cutout."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from cutout.operations import objects
from cutout.operations.dead_letters import Letter
from cutout.operations.deployment import Deployment
from remove_background.aws_errors import error_code, http_status
from remove_background.uploads import Upload

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Total bytes of the messages that SQS accepts at a time:
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html
BATCH_BYTES = 1_048_576
# How long it counts that an upload was listed as it was; later it is asked for.
LISTED_SECONDS = 60.0


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


_NOT_LISTED = ("AccessDenied", "NoSuchBucket")


def look_at(s3: "S3Client", upload: Upload) -> State:
    """Judges as the function does: it silently drops an upload that was deleted or overwritten."""
    found = objects.head(s3, upload.bucket, upload.key)
    if found is None:
        return State.GONE
    return State.THERE if found["ETag"].strip('"') == upload.etag else State.OVERWRITTEN


class Replay:
    """`sent` holds the uploads of the letters that were sent, `kept` the ids of the others, by reason.

    `unsure` are the ids of letters that may have been sent, as a call that raised may have come after that.
    """

    def __init__(self, deployed: Deployment) -> None:
        self._s3 = deployed.s3
        self._sqs = deployed.sqs
        self._queue_url = deployed.upload_queue
        self._lock = threading.Lock()
        self.sent: list[Upload] = []
        self.kept: dict[Kept, list[str]] = defaultdict(list)
        self.unsure: set[str] = set()
        self._listed: dict[tuple[str, str], str] = {}  # ETags by bucket and key
        self._listed_at = 0.0

    def look_ahead(self, uploads: Iterable[tuple[str, str]]) -> None:
        """Lists the uploads of many letters, by bucket and key, as to ask for each takes half of the calls of a replay.

        Only those that are there as they were count, and for LISTED_SECONDS: the others are asked for.
        """
        keys: dict[str, set[str]] = defaultdict(set)
        for bucket, key in uploads:
            keys[bucket].add(key)
        self._listed_at = time.monotonic()
        for bucket, wanted in keys.items():
            try:
                found = objects.list_etags(self._s3, bucket, wanted)
            except ClientError as error:
                # To ask for an upload needs no permission to list, and a bucket may be gone.
                if error_code(error) not in _NOT_LISTED:
                    raise
                continue
            self._listed |= {(bucket, key): etag for key, etag in found.items()}

    def _is_listed(self, upload: Upload) -> bool:
        is_new = time.monotonic() - self._listed_at < LISTED_SECONDS
        return is_new and self._listed.get((upload.bucket, upload.key)) == upload.etag

    def __call__(self, letters: Sequence[Letter]) -> list[Letter]:
        """Those that were sent, at most ten. Only then may they be deleted."""
        kept: dict[str, Kept] = {}
        due = []
        for letter in letters:
            why = self._judge(letter)
            if why is None:
                due.append(letter)
            else:
                kept[letter.id] = why
        sent: list[Letter] = []
        for batch in _batches(due):
            try:
                refused = self._send(batch)
            except Exception as error:
                self._note_unsure(sent if _is_refusal(error) else sent + batch)
                raise
            kept |= dict.fromkeys(refused, Kept.NOT_SENT)
            sent += [letter for letter in batch if letter.id not in refused]
        with self._lock:  # at once: a call that raises leaves all of its letters as they were
            for letter_id, why in kept.items():
                self.kept[why].append(letter_id)
            self.sent += [upload for letter in sent for upload in letter.uploads]
        return sent

    def _note_unsure(self, letters: Sequence[Letter]) -> None:
        with self._lock:
            self.unsure.update(letter.id for letter in letters)

    def _judge(self, letter: Letter) -> Kept | None:
        """Why it is not to be sent, if it is not."""
        uploads = letter.uploads
        if any(map(self._is_listed, uploads)):
            return None
        states = {look_at(self._s3, upload) for upload in uploads}
        if State.THERE in states:
            return None
        if State.OVERWRITTEN in states:
            return Kept.OVERWRITTEN
        return Kept.GONE if states else Kept.NO_UPLOAD

    def _send(self, letters: Sequence[Letter]) -> set[str]:
        """The ids of those that SQS refused."""
        answer = self._sqs.send_message_batch(
            QueueUrl=self._queue_url,
            Entries=[{"Id": str(number), "MessageBody": letter.body} for number, letter in enumerate(letters)],
        )
        return {letters[int(failure["Id"])].id for failure in answer.get("Failed", [])}


def _is_refusal(error: Exception) -> bool:
    """Whether AWS has said that it did not take them: its answer may also have been lost."""
    return isinstance(error, ClientError) and (http_status(error) or 0) < HTTPStatus.INTERNAL_SERVER_ERROR


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
