"""The cutouts of the output bucket: a listing that is read once, and those that have come since."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from cutout.failures import describe, is_told
from cutout.operations import objects, output_keys
from cutout.operations.attempts import Attempt
from cutout.operations.deployment import Deployment
from cutout.operations.download import list_pages
from cutout.operations.entries import MOST, Entries, Entry
from cutout.operations.rounds import Rounds
from remove_background.errors import OutputKeyTooLong
from remove_background.uploads import Outcome

CALL_SECONDS = 1 / 3  # between two pages of the listing
ROUND_SECONDS = 0.5
# Cutouts that are looked at in a round. Of more the size stays unknown.
HEADS = 3
REST_SECONDS = (2.0, 5.0, 15.0, 30.0)  # after failures in a row


class Feed(Protocol):
    """How attempts end: `cutout.operations.activity.Activity`."""

    @property
    def position(self) -> int: ...

    def since(self, position: int) -> tuple[list[Attempt], int]: ...


class State(NamedTuple):
    """`listed` is when the listing was read last; None until it was. `trouble` says why it is not read on."""

    is_reading: bool
    read: int
    listed: datetime | None
    is_partial: bool
    trouble: str | None


class Listing:
    """Read in rounds, while somebody looks.

    `version` changes with what `entries` hold, but not with each page that is read.
    """

    def __init__(self, find: Callable[[], Deployment], forget: Callable[[], None], feed: Feed) -> None:
        """`find` and `forget`: as those of `cutout.console.stack.Stack`."""
        self._find = find
        self._forget = forget
        self._feed = feed
        self._position = 0
        self.entries = Entries()
        self.version = 0
        self._rounds = Rounds("listing", self._round)
        self._due = True  # to be read anew
        self._failures = 0
        self._begun = threading.Event()  # there is something to show
        self._came: set[str] = set()  # while the listing is read
        self._state = State(is_reading=True, read=0, listed=None, is_partial=False, trouble=None)

    def look(self, *, patience: float = 0) -> State:
        """Call for each who looks. With patience, in seconds, it waits for something to show."""
        self._rounds.look()
        if patience:
            self._begun.wait(patience)
        return self._state

    def renew(self) -> None:
        """Read it anew."""
        self._due = True
        self._set(is_reading=True, read=0)
        self.look()

    def drop(self, key: str) -> None:
        """Call when a cutout is seen to be gone."""
        if self.entries.drop(key):
            self.version += 1

    def end(self) -> None:
        """Begins no further call, and waits a moment for the one that runs."""
        self._rounds.end()

    def _round(self) -> float:
        """For how long to rest afterwards."""
        try:
            deployed = self._find()
            if self._due:
                self._read(deployed)
            self._follow(deployed)
        except Exception as error:
            if not is_told(error):
                raise
            self._forget()
            self._set(trouble=describe(error))
            self._begun.set()
            self._failures += 1
            return REST_SECONDS[min(self._failures, len(REST_SECONDS)) - 1]
        self._failures = 0
        if self._state.trouble:
            self._set(trouble=None)
        return ROUND_SECONDS

    def _read(self, deployed: Deployment) -> None:
        self._due = False
        try:
            self._read_pages(deployed)
        except BaseException:
            self._due = True
            raise

    def _read_pages(self, deployed: Deployment) -> None:
        seen: set[str] = set()
        self._came.clear()
        self._position = self._feed.position  # what came before is in the listing
        self._set(is_reading=True, read=0)
        is_partial = False
        for page in list_pages(deployed, ""):
            next_call = time.monotonic() + CALL_SECONDS
            self.entries.put((listed["Key"], listed["LastModified"], listed["Size"]) for listed in page)
            seen.update(listed["Key"] for listed in page)
            self._set(read=len(seen), trouble=None)
            if len(seen) == len(page):
                self.version += 1
                self._begun.set()
            if len(seen) >= MOST:
                is_partial = True
                break
            self._follow(deployed)
            if self._rounds.pause(next_call - time.monotonic()):
                return
        if not is_partial:
            self.entries.keep(seen | self._came)
        self._set(is_reading=False, listed=datetime.now(UTC), is_partial=is_partial or self.entries.is_full)
        self.version += 1

    def _follow(self, deployed: Deployment) -> None:
        attempts, position = self._feed.since(self._position)
        if position - self._position > len(attempts):
            self._due = True  # some were forgotten
        ended = [attempt for attempt in attempts if attempt.outcome == Outcome.CUTOUT and attempt.source]
        new = []
        for number, attempt in enumerate(reversed(ended)):
            entry = _find_entry(deployed, attempt, look=number < HEADS)
            if entry:
                new.append(entry)
                self._came.add(entry.key)
        if new:
            self.entries.put(new)
            self.version += 1
        self._position = position

    def _set(self, **changes: object) -> None:
        self._state = self._state._replace(**changes)  # type: ignore[arg-type]  # of the fields' types


def _find_entry(deployed: Deployment, attempt: Attempt, *, look: bool) -> Entry | None:
    """None if it is gone, or was written for another stack."""
    bucket, _, key = (attempt.source or "").removeprefix("s3://").partition("/")
    if bucket != deployed.input_bucket:
        return None
    try:
        output_key = output_keys.output_key(deployed).of(key)
    except OutputKeyTooLong:
        return None
    if not look:
        return Entry(output_key, attempt.time, 0)
    found = objects.head(deployed.s3, deployed.output_bucket, output_key)
    return Entry(output_key, found["LastModified"], found["ContentLength"]) if found else None
