"""Pauses and reopens the intake beside the requests: the event source mapping takes a while to follow."""

import threading
import time
from dataclasses import dataclass
from typing import Literal, NamedTuple

from cutout.console.changes import Changes
from cutout.console.stack import Stack
from cutout.console.watch import Watch
from cutout.failures import describe, is_told
from cutout.operations import intake as stack_intake
from cutout.presentation.intake import word_intake, word_not_switched, word_paused_already

# A change is over when the page has seen it, or after so long.
SEEN_SECONDS = 5.0
# For how long the end of a change is told.
TOLD_SECONDS = 30.0

Action = Literal["pause", "resume"]


@dataclass(frozen=True, slots=True)
class Plan:
    action: Action
    reason: str = ""


class Told(NamedTuple):
    """How a change has ended. `failed`: it was not made, or not as far as is known."""

    sentence: str
    failed: bool = False
    more: bool = True  # than the state of the intake says


class Switch:
    """One change at a time."""

    def __init__(self, stack: Stack, changes: Changes, watch: Watch) -> None:
        self._stack = stack
        self._changes = changes
        self._watch = watch
        self._lock = threading.Lock()
        self._plan: Plan | None = None
        self._told: tuple[float, Told] | None = None

    @property
    def current(self) -> Plan | None:
        """The change that is being made."""
        return self._plan

    @property
    def told(self) -> Told | None:
        """What there is to say about the last change beside the state of the intake, for a while."""
        told = self._told
        return told[1] if told and told[1].more and time.monotonic() - told[0] < TOLD_SECONDS else None

    def begin(self, plan: Plan) -> bool:
        """False while another change is being made. Raises OSError if it cannot be noted."""
        with self._lock:
            if self._plan is not None:
                return False
            self._plan = plan
        try:
            self._changes.note(plan.action, **({"reason": plan.reason} if plan.reason else {}))
        except OSError:
            self._plan = None
            raise
        threading.Thread(target=self._work, args=(plan,), name="switch", daemon=True).start()
        return True

    def _work(self, plan: Plan) -> None:
        told = Told("The console has failed: the terminal that it runs in says where.", failed=True)
        try:
            told = self._change(plan)
            self._changes.note(plan.action, failed=told.failed, result=told.sentence)
        finally:
            self._watch.hurry(patience=SEEN_SECONDS)
            self._told = time.monotonic(), told
            self._plan = None

    def _change(self, plan: Plan) -> Told:
        try:
            deployed = self._stack.deployed
            if plan.action == "pause":
                change = stack_intake.pause(deployed, plan.reason)
                told = word_paused_already(change.found) if change.found else "The intake is paused."
            else:
                change = stack_intake.resume(deployed)
                told = f"The intake is {word_intake(stack_intake.read(deployed))}."
        except Exception as error:
            if not is_told(error):
                raise
            self._stack.forget()
            return Told(describe(error), failed=True)
        if change.trouble:
            told = f"{told} {word_not_switched(change.trouble)}"
        return Told(told, more=bool(change.trouble) or told.startswith("Already"))
