"""Selects letters of the dead-letter queue by id or code, reads them, and works them off."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

from cutout.failures import Failure
from cutout.operations import queues
from cutout.operations.dead_letters import BATCH, DeadLetters, Letter
from cutout.operations.deployment import Deployment
from cutout.operations.progress import Progress
from cutout.words import count

Look = Callable[[Letter], None]
# How long a letter may wait for others, so that calls are for ten of them.
GATHER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Read:
    """Letters that were not read: `hidden` ones are in flight elsewhere, `missing` ones SQS counted but did not send.

    Letters that were in flight may be released while the others are read: no letter counts as both.
    """

    hidden: int
    missing: int


@dataclass(frozen=True, slots=True)
class Choice:
    """The letters that a command is for: all, if it names neither ids nor codes."""

    ids: Collection[str] = ()  # or their first characters
    codes: Collection[str] = ()

    def takes(self, letter: Letter) -> bool:
        return (not self.codes or letter.code in self.codes) and (
            not self.ids or any(letter.id.startswith(start) for start in self.ids)
        )

    def check(self, found: Collection[str], hidden: int) -> None:
        """Raises Failure unless each given id matches exactly one letter that was found."""
        for start in self.ids:
            matches = sum(letter_id.startswith(start) for letter_id in found)
            if matches > 1:
                raise Failure(f"The ids of {matches} letters begin with {start}: give more of it.")
            if not matches:
                other = f" Another command reads {count(hidden, 'letter')}: try again later." if hidden else ""
                raise Failure(f"No letter has the id {start}: `cutout letters list --all` shows them.{other}")


@dataclass(slots=True)
class Chosen:
    """The letters that were selected; `uploads` is how many uploads they describe.

    `objects` are buckets and keys of these, as far as they are known.
    """

    ids: set[str] = field(default_factory=set)
    codes: Counter[str] = field(default_factory=Counter)
    uploads: int = 0
    objects: set[tuple[str, str]] = field(default_factory=set)

    def add(self, letter_id: str, code: str, uploads: int) -> None:
        self.ids.add(letter_id)
        self.codes[code] += 1
        self.uploads += uploads


@dataclass(slots=True)
class Done:
    """What became of the selected letters, by their ids.

    `met` were still there. `undeleted` are `done`, but may be in the queue still.
    """

    met: set[str] = field(default_factory=set)
    done: set[str] = field(default_factory=set)
    undeleted: set[str] = field(default_factory=set)


def read_all(
    deployed: Deployment, look: Look, progress: Progress, is_stopped: Callable[[], bool] = lambda: False
) -> Read:
    """Calls `look` with every letter, one at a time, unless it is stopped before the end."""
    before = queues.count(deployed.sqs, deployed.dead_letter_queue)
    lock = threading.Lock()
    read = 0
    with progress(before.waiting) as advance:

        def handle(found: Sequence[Letter]) -> list[Letter]:
            nonlocal read
            with lock:
                for letter in found:
                    look(letter)
                read += len(found)
            advance(len(found))
            return []

        DeadLetters(deployed.sqs, deployed.dead_letter_queue).work_through(handle, is_stopped)
    unread = max(before.waiting + before.in_work - read, 0)
    return Read(min(before.in_work, unread), max(before.waiting - read, 0))


def find(choice: Choice, read: Callable[[Look], int]) -> Chosen:
    """`read` calls its argument with every letter, and returns how many were hidden.

    Raises Failure unless each id matches exactly one letter.
    """
    chosen = Chosen()

    def look(letter: Letter) -> None:
        if choice.takes(letter):
            uploads = letter.uploads
            chosen.add(letter.id, letter.code, len(uploads))
            chosen.objects.update((upload.bucket, upload.key) for upload in uploads)

    choice.check(chosen.ids, hidden=read(look))
    return chosen


def work_off(
    deployed: Deployment,
    chosen: Chosen,
    act: Callable[[Sequence[Letter]], Sequence[Letter]],
    done: Done,
    progress: Progress,
    is_stopped: Callable[[], bool] = lambda: False,
) -> None:
    """`act` returns those of its letters, at most ten, that it has handled. `done` is right even if it raises.

    Letters of several receives are handed to it together: the chosen ones may be few of those in the queue.

    Once it is stopped, no further `act` is begun; what running ones return is deleted.
    """
    gathered = _Gathered(len(chosen.ids))
    lock = threading.Lock()
    dead_letters = DeadLetters(deployed.sqs, deployed.dead_letter_queue)
    done.undeleted = dead_letters.undeleted
    with progress(len(chosen.ids)) as advance:

        def handle(found: Sequence[Letter]) -> list[Letter]:
            # Only those that were agreed to: more may have arrived since.
            gathered.add([letter for letter in found if letter.id in chosen.ids])
            return act_on(gathered.take())

        def finish() -> Iterator[list[Letter]]:
            while not is_stopped() and (mine := gathered.take(all_of_them=True)):
                yield act_on(mine)

        def act_on(mine: Sequence[Letter]) -> list[Letter]:
            finished = list(act(mine)) if mine else []
            with lock:
                done.met.update(letter.id for letter in mine)
                done.done.update(letter.id for letter in finished)
            advance(len(mine))
            return finished

        dead_letters.work_through(handle, lambda: is_stopped() or gathered.is_complete, finish)


class _Gathered:
    """Chosen letters that wait for others, so that each call is for ten of them. For several threads."""

    def __init__(self, expected: int) -> None:
        self._lock = threading.Lock()
        self._missing = expected
        self._letters: list[Letter] = []
        self._since = 0.0  # that one waits

    @property
    def is_complete(self) -> bool:
        """Whether all that were expected have come."""
        return self._missing == 0

    def add(self, letters: Sequence[Letter]) -> None:
        with self._lock:
            if letters and not self._letters:
                self._since = time.monotonic()
            self._missing -= len(letters)
            self._letters += letters

    def take(self, *, all_of_them: bool = False) -> list[Letter]:
        """At most ten, once there are so many, or one has waited for long enough."""
        with self._lock:
            is_due = all_of_them or time.monotonic() - self._since > GATHER_SECONDS
            taken = self._letters[:BATCH] if is_due or len(self._letters) >= BATCH else []
            del self._letters[: len(taken)]
            if taken:
                self._since = time.monotonic()
            return taken
