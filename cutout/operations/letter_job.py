"""Replays or discards chosen letters while others look on: it can be watched, cancelled, and finished later."""

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum

from cutout.failures import describe, is_told
from cutout.operations import queues, selection
from cutout.operations.dead_letters import Letter
from cutout.operations.deletion import Deletion
from cutout.operations.deployment import Deployment
from cutout.operations.progress import unwatched
from cutout.operations.replay import Kept, Replay
from cutout.operations.selection import Chosen, Done


class Action(StrEnum):
    REPLAY = "replay"
    DISCARD = "discard"
    DELETE = "discard_and_delete"  # the images as well


class State(StrEnum):
    BEGUN = "begun"
    CANCELLING = "cancelling"
    DONE = "done"
    CANCELLED = "cancelled"  # and some letters were not met before
    FAILED = "failed"


class Job:
    """Call `run` in a thread, once. Everything else may be called from other threads, at any time.

    Each chosen letter is done, kept or not met, and never two of these. A letter that was not met is as it was, except
    that an error may have come between a message that was sent and its letter's deletion.
    """

    def __init__(self, action: Action, chosen: Chosen) -> None:
        self.action = action
        self.chosen = chosen
        self.done = Done()
        self.deletion: Deletion | None = None
        self.trouble: str | None = None
        self.began = datetime.now(UTC)
        self.ended: datetime | None = None
        self._replay: Replay | None = None
        self._hidden = 0
        self._is_cancelled = False
        self._end = threading.Event()

    @property
    def state(self) -> State:
        if not self._end.is_set():
            return State.CANCELLING if self._is_cancelled else State.BEGUN
        if self.trouble:
            return State.FAILED
        return State.CANCELLED if self._is_cancelled and self.not_met else State.DONE

    @property
    def is_over(self) -> bool:
        return self._end.is_set()

    @property
    def kept(self) -> Mapping[Kept, Sequence[str]]:
        """The ids of letters that are not replayed, by reason."""
        return self._replay.kept if self._replay else {}

    @property
    def unsure(self) -> int:
        """How many of those that were not met may have been sent, as the answer of AWS was lost."""
        return len(self._replay.unsure - self.done.met) if self._replay else 0

    @property
    def not_met(self) -> int:
        return len(self.chosen.ids) - len(self.done.met)

    @property
    def hidden(self) -> int:
        """How many of those that were not met another command had, or has, at most."""
        return min(self.not_met, self._hidden)

    @property
    def rest(self) -> set[str]:
        """The ids of letters that another job with the same action may do.

        Not those that were replayed and could not be deleted: they would be replayed twice.
        """
        again = set(self.kept.get(Kept.NOT_SENT, ()))
        if self.action is not Action.REPLAY:
            again |= self.done.undeleted
        return (self.chosen.ids - self.done.met) | again

    def cancel(self) -> None:
        """Begins no further call. Those that run are finished, with the deletion of their letters."""
        self._is_cancelled = True

    def wait(self, seconds: float | None = None) -> None:
        self._end.wait(seconds)

    def run(self, find: Callable[[], Deployment]) -> None:
        """What goes wrong is kept in `trouble`, if there is a sentence for it."""
        try:
            if not self._is_cancelled:
                self._work(find())
        except Exception as error:
            self.trouble = describe(error) if is_told(error) else f"An unexpected error: {type(error).__name__}."
            if not is_told(error):
                raise
        finally:
            self.ended = datetime.now(UTC)
            self._end.set()

    def _work(self, deployed: Deployment) -> None:
        act: Callable[[Sequence[Letter]], Sequence[Letter]] = list
        if self.action is Action.REPLAY:
            act = self._replay = Replay(deployed)
        elif self.action is Action.DELETE:
            act = self.deletion = Deletion(deployed)
        self._hidden = queues.count(deployed.sqs, deployed.dead_letter_queue).in_work
        selection.work_off(deployed, self.chosen, act, self.done, unwatched, lambda: self._is_cancelled)
        if self.not_met:  # another command may have begun to read meanwhile
            after = queues.count(deployed.sqs, deployed.dead_letter_queue)
            self._hidden = max(self._hidden, after.in_work)
