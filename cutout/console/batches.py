"""What was dropped onto the page, and what has become of it. It outlives the page, so that a reload shows it again."""

import secrets
import threading
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from cutout.operations.files import Became, File
from cutout.operations.send import Sender

# The oldest batches are forgotten.
MOST = 20


class Dropped(NamedTuple):
    """A file as the browser names it; `modified` is in milliseconds since the epoch, `size` in bytes."""

    path: str
    size: int
    modified: int


@dataclass(eq=False)
class Batch:
    """`files` are what is to be sent and what never can be; `unread` are the numbers of those still to be checked."""

    files: list[File]
    modified: Sequence[int]
    left_out: Counter[str]
    prefix: str
    began: datetime
    continues: "Batch | None" = None
    id: str = field(default_factory=secrets.token_urlsafe)
    unread: set[int] = field(default_factory=set)
    is_agreed: bool = False
    is_noted: bool = True  # that its sending ended
    sender: Sender = field(default_factory=Sender)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._sending: set[int] = set()
        self._left = len(self.files)
        self._position = 0
        self._states = [_state(file) for file in self.files]
        self._changed = [0] * len(self.files)

    @property
    def promising(self) -> list[File]:
        return [file for file in self.files if not _is_hopeless(file)]

    @property
    def unsent(self) -> list[int]:
        """The numbers of those that may be sent, and were not."""
        return [n for n, file in enumerate(self.files) if file.upload is None and not _is_hopeless(file)]

    def begin(self) -> None:
        self.is_agreed, self.is_noted, self._left = True, False, len(self.unsent)

    def begin_to_send(self, number: int) -> bool:
        """False if it was sent, or is just being sent."""
        with self._lock:
            file = self.files[number]
            if number in self._sending or file.upload is not None or _is_hopeless(file):
                return False
            self._sending.add(number)
            return True

    def renew_sender(self) -> None:
        """Send again after AWS has failed too often in a row."""
        with self._lock:
            self.sender = Sender()
            self.is_noted = False

    def note_once(self) -> bool:
        """Whether the end of this sending is still to be noted."""
        with self._lock:
            self.is_noted, was_noted = True, self.is_noted
            return not was_noted

    def end_to_send(self, number: int) -> None:
        with self._lock:
            self._sending.discard(number)
            self._left -= self.files[number].upload is not None

    @property
    def is_sent(self) -> bool:
        """Whether no file is left to be sent; to count them after each would take long."""
        return self._left == 0

    def changes(self, position: int) -> tuple[list[int], int]:
        """The numbers of the files that have changed since this position, and the position now. Begin with -1."""
        with self._lock:
            for number, file in enumerate(self.files):
                if (state := _state(file)) != self._states[number]:
                    self._position += 1
                    self._states[number], self._changed[number] = state, self._position
            return [n for n, changed in enumerate(self._changed) if changed > position], self._position


class Batches:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._batches: OrderedDict[str, Batch] = OrderedDict()

    def add(self, batch: Batch) -> None:
        with self._lock:
            if len(self._batches) == MOST:
                first_offer = next((one.id for one in self._batches.values() if not one.is_agreed), None)
                self._batches.pop(first_offer or next(iter(self._batches)))
            self._batches[batch.id] = batch

    def get(self, identifier: str) -> Batch | None:
        return self._batches.get(identifier)

    def agree(self, batch: Batch) -> bool:
        """Once. What it continues is shown as part of it from now on."""
        with self._lock:
            if batch.is_agreed or batch.unread:
                return False
            batch.begin()
            if batch.continues:
                self._batches.pop(batch.continues.id, None)
            return True

    @property
    def agreed(self) -> list[Batch]:
        """The newest first."""
        with self._lock:
            return [batch for batch in reversed(self._batches.values()) if batch.is_agreed]

    def find_interrupted(self, files: Sequence[File], modified: Sequence[int]) -> Batch | None:
        """The newest batch of which some of these files were sent, and others not."""
        wanted = {_what(file, time) for file, time in zip(files, modified, strict=True)}
        return next((batch for batch in self.agreed if batch.unsent and not wanted.isdisjoint(sent_of(batch))), None)


def sent_of(batch: Batch) -> dict[tuple[str, int, int], File]:
    """The files that were sent and are still there or have ended, by what tells that they are the same."""
    kept = (Became.SENT, Became.CUTOUT, Became.LETTER)
    return {
        _what(file, modified): file
        for file, modified in zip(batch.files, batch.modified, strict=True)
        if file.upload is not None and file.became in kept
    }


def adopt(files: list[File], modified: Sequence[int], earlier: Batch) -> None:
    """Put in place of files that were sent already those that say what has become of them."""
    sent = sent_of(earlier)
    files[:] = [sent.get(_what(file, time), file) for file, time in zip(files, modified, strict=True)]


def _what(file: File, modified: int) -> tuple[str, int, int]:
    return file.key, file.size, modified


def _is_hopeless(file: File) -> bool:
    return file.became is Became.NOT_SENT and file.code is not None


def _state(file: File) -> tuple[Became, str | None, str | None]:
    return file.became, file.code, file.reason
