"""The letters as they were last read: in memory without their bodies, and whole in a file."""

import json
import tempfile
import threading
import time
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from cutout.console.stack import Stack
from cutout.failures import Failure, describe, is_told
from cutout.operations import queues, selection
from cutout.operations.dead_letters import Letter
from cutout.operations.deployment import Deployment
from cutout.operations.rounds import Rounds
from cutout.operations.selection import Chosen, Read
from cutout.presentation.letter import Line, to_line
from remove_background.errors import Billed

COUNT_SECONDS = 5.0  # between two looks at SQS's count
REREAD_SECONDS = 60.0  # reading hides letters from others for a moment
MOST_WAIT_SECONDS = 60.0  # after errors in a row


class Bodies:
    """The letters whole, in a file that has no name and ends with this object."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # it is open as long as this
        weakref.finalize(self, self._file.close)
        self._lock = threading.Lock()
        self._places: dict[str, int] = {}

    def add(self, letter: Letter) -> None:
        """Raises Failure."""
        whole = [letter.id, letter.receipt, letter.body, letter.sent.timestamp(), dict(letter.attributes)]
        try:
            with self._lock:
                self._places[letter.id] = self._file.seek(0, 2)
                self._file.write(json.dumps(whole).encode() + b"\n")
        except OSError as error:
            raise Failure(f"The letters cannot be kept in {tempfile.gettempdir()}: {error.strerror}.") from error

    def find(self, letter_id: str) -> Letter | None:
        with self._lock:
            if letter_id not in self._places:
                return None
            self._file.seek(self._places[letter_id])
            letter_id, receipt, body, sent, attributes = json.loads(self._file.readline())
        return Letter(letter_id, receipt, body, datetime.fromtimestamp(sent, UTC), attributes)


@dataclass(frozen=True, slots=True)
class Group:
    """The letters of a code, the oldest first."""

    code: str
    lines: Sequence[Line]
    billed: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Letters:
    """Those of one reading. `version` is another one for each; 0 is that of none."""

    version: int = 0
    taken: datetime | None = None
    bucket: str = ""  # of the uploads
    groups: Mapping[str, Group] = field(default_factory=dict)  # by code, the largest first
    read: Read = field(default_factory=lambda: Read(0, 0))
    bodies: Bodies | None = None

    @property
    def count(self) -> int:
        return sum(len(group.lines) for group in self.groups.values())

    @property
    def lines(self) -> Iterator[Line]:
        return (line for group in self.groups.values() for line in group.lines)

    def choose(self, *, code: str | None = None, ids: Set[str] | None = None) -> Chosen:
        """Those with the code and the ids, as far as they are given."""
        chosen = Chosen()
        for line in self.lines:
            if code in (None, line.code) and (ids is None or line.id in ids):
                chosen.add(line.id, line.code, len(line.sources))
        return chosen

    def find(self, letter_id: str) -> Letter | None:
        return self.bodies.find(letter_id) if self.bodies else None


def _group(lines: Sequence[Line]) -> dict[str, Group]:
    by_code: dict[str, list[Line]] = defaultdict(list)
    for line in sorted(lines):
        by_code[line.code].append(line)
    largest_first = sorted(by_code.items(), key=lambda found: (-len(found[1]), found[0]))
    return {code: Group(code, tuple(of), _count_billed(of)) for code, of in largest_first}


def _count_billed(lines: Sequence[Line]) -> dict[str, int]:
    counts = Counter(line.billed for line in lines)
    return {str(word): counts[word] for word in (*Billed, *counts) if counts[word]}


@dataclass(frozen=True, slots=True)
class Reading:
    """How many letters were read, of about how many."""

    done: int
    about: int


class LetterList:
    """Reads the letters in a thread: at the first look, when asked to, and when SQS counts others than before.

    The thread ends when nobody looks any more. While `queue` is held by something else, nothing is read: both would
    hide letters from each other.
    """

    def __init__(self, stack: Stack, queue: threading.Lock) -> None:
        self.letters = Letters()
        self.reading: Reading | None = None
        self.trouble: str | None = None
        self._stack = stack
        self._queue = queue
        self._lock = threading.Lock()
        self._rounds = Rounds("letters", self._go_round)
        self._wait = COUNT_SECONDS
        self._is_wanted = True
        self._read_at = 0.0
        self._counted = 0

    def look(self) -> None:
        """Call when somebody looks at the letters."""
        self._rounds.look()

    def renew(self) -> None:
        """Reads them now; or, while they are read, leaves it at that."""
        if self.reading is None:
            self._is_wanted = True
            self._rounds.wake()
        self.look()

    def drop(self, ids: Set[str]) -> None:
        """Call for letters that were deleted."""
        if not ids:
            return
        with self._lock:
            now = self.letters
            self._counted -= len(ids)
            left = [line for line in now.lines if line.id not in ids]
            self.letters = replace(now, version=now.version + 1, groups=_group(left))

    def stop(self) -> None:
        """Reads no further."""
        self._rounds.stop()

    def end(self) -> None:
        """Gives back letters that are hidden, which needs the threads that a program that ends has no more."""
        self._rounds.end(None)

    def _go_round(self) -> float:
        try:
            with self._queue:
                self._renew(self._stack.deployed)
            self._wait, self.trouble = COUNT_SECONDS, None
        except Exception as error:
            if not is_told(error):
                self.trouble = f"An unexpected error: {type(error).__name__}."
                raise
            self._stack.forget()
            self._wait, self.trouble = min(2 * self._wait, MOST_WAIT_SECONDS), describe(error)
        return self._wait

    def _renew(self, deployed: Deployment) -> None:
        counts = queues.count(deployed.sqs, deployed.dead_letter_queue)
        counted = counts.waiting + counts.in_work
        is_due = counted != self._counted and time.monotonic() - self._read_at >= REREAD_SECONDS
        if not (self._is_wanted or is_due):
            return
        lines: list[Line] = []
        bodies = Bodies()
        texts: dict[str, str] = {}  # each is kept once: many letters have the same

        def look(letter: Letter) -> None:
            bodies.add(letter)
            line = to_line(letter)
            code, billed, message = (texts.setdefault(text, text) for text in (line.code, line.billed, line.message))
            lines.append(replace(line, code=code, billed=billed, message=message))

        try:
            read = selection.read_all(deployed, look, self._progress, lambda: self._rounds.is_over)
        finally:
            self.reading = None
        if self._rounds.is_over:  # perhaps before the end
            return
        with self._lock:
            self._is_wanted, self._read_at, self._counted = False, time.monotonic(), counted
            self.letters = Letters(
                self.letters.version + 1, datetime.now(UTC), deployed.input_bucket, _group(lines), read, bodies
            )

    @contextmanager
    def _progress(self, about: int | None) -> Iterator[Callable[[int], None]]:
        done = 0
        lock = threading.Lock()

        def advance(number: int) -> None:
            nonlocal done
            with lock:
                done += number
                self.reading = Reading(done, about or 0)

        advance(0)
        yield advance
