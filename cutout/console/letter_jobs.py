"""What is done with letters: offered with its count and cost, confirmed once, and then done in a thread."""

import threading
from dataclasses import dataclass
from http import HTTPStatus

from flask import abort

from cutout.console.changes import Changes
from cutout.console.confirmations import Confirmations
from cutout.console.letter_list import LetterList
from cutout.console.stack import Stack
from cutout.operations.letter_job import Action, Job
from cutout.operations.selection import Chosen
from cutout.presentation.letter_job import word_action


@dataclass(frozen=True, slots=True)
class Offer:
    action: Action
    chosen: Chosen


class Jobs:
    """One at a time. `job` is the last one, until the next begins."""

    def __init__(self, stack: Stack, changes: Changes, letters: LetterList, queue: threading.Lock) -> None:
        self.job: Job | None = None
        self._stack = stack
        self._changes = changes
        self._letters = letters
        self._queue = queue
        self._lock = threading.Lock()
        self._offers: Confirmations[Offer] = Confirmations()
        self._thread: threading.Thread | None = None

    def offer(self, action: Action, chosen: Chosen) -> str:
        """The id to confirm it with, which works once."""
        return self._offers.remember(Offer(action, chosen))

    def refuse_second(self) -> None:
        """Aborts the request while a job runs."""
        if self.job and not self.job.is_over:
            title = word_action(self.job.action, len(self.job.chosen.ids))
            abort(HTTPStatus.CONFLICT, f"One thing at a time: wait for the end of this, or cancel it: {title}.")

    def start(self, offer_id: str) -> None:
        """Aborts the request if the offer was confirmed before, or a job runs. Raises OSError."""
        with self._lock:
            self.refuse_second()
            offer = self._offers.take(offer_id)
            if offer is None:
                abort(HTTPStatus.CONFLICT, "This was confirmed before, or too long ago. Choose the letters again.")
            chosen = offer.chosen
            self._changes.note(
                offer.action, letters=len(chosen.ids), codes=dict(chosen.codes.most_common()), uploads=chosen.uploads
            )
            job = self.job = Job(offer.action, chosen)
            self._thread = threading.Thread(target=self._run, args=[job], name="job", daemon=True)
            self._thread.start()

    def cancel(self) -> None:
        if self.job and not self.job.is_over:
            self.job.cancel()
            self._changes.note(f"cancel {self.job.action}")

    def end(self) -> None:
        """Cancels what runs, and waits for its end, which gives back the letters that are hidden."""
        if self.job:
            self.job.cancel()
        if self._thread:
            self._thread.join()

    def _run(self, job: Job) -> None:
        try:
            with self._queue:
                job.run(lambda: self._stack.deployed)
        finally:
            if job.trouble:
                self._stack.forget()
            self._letters.drop(job.done.done - job.done.undeleted)
            self._changes.note(
                f"end of {job.action}",
                state=job.state,
                done=len(job.done.done),
                not_deleted=len(job.done.undeleted),
                kept={why: len(ids) for why, ids in job.kept.items()},
                not_met=job.not_met,
                images_deleted=job.deletion.deleted if job.deletion else None,
                trouble=job.trouble,
            )
