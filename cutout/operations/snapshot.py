"""The stack at one moment: its queue, letters, intake and activity, in few calls of AWS a second."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from cutout.failures import Failure, describe, is_told
from cutout.operations import budget as stack_budget
from cutout.operations import credits as balance
from cutout.operations import intake as stack_intake
from cutout.operations import queues
from cutout.operations.activity import Activity, Today
from cutout.operations.attempts import Attempt
from cutout.operations.budget import Budget, Price
from cutout.operations.deployment import Deployment
from cutout.operations.intake import Intake
from cutout.operations.queues import Age, Counts

RECENT = 20
# Whether the mapping was disabled by hand is asked only this often, unless the intake is paused.
MAPPING_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    taken: datetime
    queue: Counts
    letters: Counts
    intake: Intake
    today: Today
    recent: tuple[Attempt, ...]  # how the last uploads have ended, the newest first
    rate: float | None  # uploads that end per second
    logs_cutouts: bool  # the stack's LogLevel may hide them
    empty: datetime | None  # when the queue was seen to be empty last
    budget: Budget | str | None  # what the caps leave, or why that is not known; None without a cap
    price: Price | None  # of a credit

    @property
    def seconds_left(self) -> float | None:
        """Until all that is in the queue has ended; None while the intake is paused, or nothing ends."""
        if self.intake.paused_by is not None or not self.rate:
            return None
        return self.queue.total / self.rate

    def oldest(self, age: Age | str | None) -> Age | str | None:
        """The age of the oldest upload, unless it was measured before the queue was empty."""
        if isinstance(age, Age) and self.empty and age.measured < self.empty:
            return None
        return age

    def moves_since(self, before: "Snapshot | None") -> bool:
        if before is None or (self.queue.total and self.intake.paused_by is None):
            return True
        return (self.queue, self.letters, self.intake, self.today, self.recent) != (
            before.queue, before.letters, before.intake, before.today, before.recent
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Slow:
    """What changes slowly, or costs more to ask for. A sentence says why it is not known."""

    credits_left: float | str
    age: Age | str | None  # of the oldest upload; None if SQS has not measured it lately


class SnapshotReader:
    """Reads one snapshot after the other, all in one thread. Raises boto3's errors."""

    def __init__(self, activity: Activity) -> None:
        self._activity = activity
        self._last: Snapshot | None = None
        self._reads = 0
        self._mapping_due = 0.0

    def read(self, deployed: Deployment, *, everything: bool) -> Snapshot:
        """Letters and the intake in turns, unless `everything` is wanted."""
        last, self._reads = self._last, self._reads + 1
        queue = queues.count(deployed.sqs, deployed.upload_queue)
        self._activity.look(deployed)
        today = self._activity.today
        letters = last.letters if last and self._reads % 2 and today.letters == last.today.letters else None
        intake = last.intake if last and not self._reads % 2 else None
        if everything or letters is None:
            letters = queues.count(deployed.sqs, deployed.dead_letter_queue)
        if everything or intake is None:
            intake = self._read_intake(deployed)
        now = datetime.now(UTC)
        self._last = Snapshot(
            taken=now,
            queue=queue,
            letters=letters,
            intake=intake,
            today=today,
            recent=tuple(self._activity.recent(RECENT)),
            rate=self._activity.rate(),
            empty=(last.empty if last else None) if queue.total else now,
            logs_cutouts=deployed.settings.get("POWERTOOLS_LOG_LEVEL", "INFO") in ("DEBUG", "INFO"),
            budget=_find_budget(deployed, intake, now.timestamp()),
            price=stack_budget.price(deployed),
        )
        return self._last

    def _read_intake(self, deployed: Deployment) -> Intake:
        now = time.monotonic()
        if self._last and self._last.intake.paused_by is None and now < self._mapping_due:
            return stack_intake.read_item(deployed)
        self._mapping_due = now + MAPPING_SECONDS
        return stack_intake.read(deployed)


def _find_budget(deployed: Deployment, intake: Intake, now: float) -> Budget | str | None:
    try:
        caps = stack_budget.read_settings(deployed)
    except Failure as failure:
        return str(failure)
    return stack_budget.make(caps, intake.counts, now) if caps.are_set else None


def read_slow(deployed: Deployment) -> Slow:
    age: Age | str | None
    try:
        age = queues.age_of_oldest(deployed.cloudwatch, deployed.upload_queue)
    except Exception as error:
        if not is_told(error):
            raise
        age = describe(error)
    return Slow(balance.read(deployed), age)
