"""Uploads that still wait in the upload queue, found and removed from it.

As in the dead-letter queue, messages are hidden while they are read, and visible again afterwards. Messages that the
function has received, or that are delayed until a retry, cannot be received here.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from cutout.operations import queues
from cutout.operations.dead_letters import DeadLetters, Letter
from cutout.operations.deployment import Deployment
from cutout.operations.progress import Progress
from remove_background.errors import BadNotification
from remove_background.uploads import Upload, read_records, read_upload


@dataclass(slots=True)
class Waiting:
    """The uploads that a command is for, as far as they could be received.

    `messages` holds, by message id, the keys of messages whose uploads are all selected; `partly`, the selected keys of
    messages with other uploads. `in_flight` and `delayed` count all messages that could not be received.
    """

    in_flight: int
    delayed: int
    messages: dict[str, list[str]] = field(default_factory=dict)
    partly: list[str] = field(default_factory=list)
    removed_ids: set[str] = field(default_factory=set)

    @property
    def keys(self) -> list[str]:
        return [key for keys in self.messages.values() for key in keys]

    @property
    def removed(self) -> list[str]:
        """Their keys."""
        return [key for message, keys in self.messages.items() if message in self.removed_ids for key in keys]

    @property
    def not_removed(self) -> list[str]:
        """Their keys, without those of `partly`."""
        return [key for message, keys in self.messages.items() if message not in self.removed_ids for key in keys]


def find(deployed: Deployment, takes: Callable[[Upload], bool], progress: Progress) -> Waiting:
    counted = queues.count(deployed.sqs, deployed.upload_queue)
    waiting = Waiting(counted.in_work, counted.delayed)
    lock = threading.Lock()

    def judge(message: Letter) -> None:
        uploads = _read_uploads(message.body)
        meant = [upload.key for upload in uploads if upload and takes(upload)]
        if meant and len(meant) == len(uploads):
            waiting.messages[message.id] = meant
        else:
            waiting.partly += meant

    with progress(counted.waiting) as advance:

        def handle(messages: Sequence[Letter]) -> list[Letter]:
            with lock:
                for message in messages:
                    judge(message)
            advance(len(messages))
            return []

        DeadLetters(deployed.sqs, deployed.upload_queue).work_through(handle)
    return waiting


def remove(deployed: Deployment, waiting: Waiting, progress: Progress) -> None:
    """Deletes the messages that are still there. The record of what was removed is right even if this raises."""
    queue = DeadLetters(deployed.sqs, deployed.upload_queue)
    waiting.removed_ids = queue.deleted
    with progress(len(waiting.messages)) as advance:

        def handle(messages: Sequence[Letter]) -> list[Letter]:
            # Only those that were agreed to: more may have arrived since.
            mine = [message for message in messages if message.id in waiting.messages]
            advance(len(mine))
            return mine

        queue.work_through(handle)


def _read_uploads(body: str) -> list[Upload | None]:
    """None stands for a record that cannot be read. A folder, or a body that is not a notification, adds nothing."""
    uploads: list[Upload | None] = []
    with suppress(BadNotification):
        for record in read_records(body):
            try:
                upload = read_upload(record)
            except BadNotification:
                uploads.append(None)
            else:
                uploads += [upload] if upload else []
    return uploads
