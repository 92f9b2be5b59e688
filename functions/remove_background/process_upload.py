"""What happens to one upload, in order, until it is a cutout."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from . import preflight
from .deadline import Deadline
from .errors import (
    Billed,
    CutoutError,
    OutputKeyConflict,
    ResultGone,
    ResultInvalid,
    StorageUnavailable,
)
from .models import Cutout, Paid, Result, Source
from .output_key import OutputKey
from .uploads import Outcome, Upload

WRITE_ATTEMPTS = 3
# S3 tells in whole seconds when an object was put there: once it is as old as this, whatever replaces it has another
# time. One second would do if all clocks agreed.
YOUNG_SECONDS = 2.0


class Storage(Protocol):
    def find_cutout(self, key: str) -> Cutout | None: ...
    def look_at(self, upload: Upload) -> Source | Outcome: ...
    def presign(self, source: Source, seconds: int) -> str: ...
    def read(self, source: Source) -> Iterator[bytes]: ...
    def write_cutout(self, key: str, result: Result, upload: Upload, replaces: Cutout | None) -> bool: ...


class Service(Protocol):
    def remove_background_of_url(self, image_url: str, deadline: Deadline) -> str: ...
    def remove_background_of_image(self, image: Iterable[bytes], format_: str | None, deadline: Deadline) -> str: ...


class Results(Protocol):
    def fetch(self, result_url: str, deadline: Deadline) -> AbstractContextManager[Result]: ...


class Ledger(Protocol):
    def pay_once(
        self,
        output_key: str,
        upload: Upload,
        *,
        sent: float,
        modified: float,
        pay: Callable[[], str],
        confirm: Callable[[], object],
        deadline: Deadline,
        standing: Cutout | None,
    ) -> Paid | Outcome: ...
    def note_unreplaced(self, output_key: str, paid: Paid) -> None: ...
    def forget(self, output_key: str, upload: Upload, result_url: str, code: str) -> bool: ...
    def check_nothing_in_flight(self, output_key: str) -> None: ...


@dataclass(frozen=True, slots=True)
class BackgroundRemover:
    """Makes the cutout of an upload. `presigned_url_seconds` is None if the image itself is sent."""

    storage: Storage
    service: Service
    results: Results
    ledger: Ledger
    output_key: OutputKey
    presigned_url_seconds: int | None

    def process(self, upload: Upload, sent: float, deadline: Deadline) -> Outcome:
        """What became of an upload that was sent to the queue at `sent`, in seconds since the epoch.

        Raises a CutoutError if there is no cutout, or if another upload's cutout is there already.
        """
        key = self.output_key.of(upload.key)
        present = self.storage.find_cutout(key)
        if self._is_done(upload, key, present):
            return Outcome.DUPLICATE
        source = self.storage.look_at(upload)
        if isinstance(source, Outcome):
            return source
        header = preflight.check(source.head, source.size)
        paid = self.ledger.pay_once(
            key,
            upload,
            sent=sent,
            modified=source.modified if self._is_given_the_key(source) else 0.0,
            pay=lambda: self._pay(source, header.format, deadline),
            confirm=lambda: self.storage.look_at(upload),
            standing=present,
            deadline=deadline,
        )
        if isinstance(paid, Outcome):
            return paid
        with self._fetch(key, upload, paid, deadline) as result:
            for _ in range(WRITE_ATTEMPTS):
                # The cutout of other bytes is there. Whether they are older or newer, and whether they are under
                # the key again, only the source itself can tell.
                if present and isinstance(ended := self.storage.look_at(upload), Outcome):
                    return ended
                if self.storage.write_cutout(key, result, upload, replaces=present):
                    return Outcome.CUTOUT
                present = self.storage.find_cutout(key)
                if self._is_done(upload, key, present):
                    # If it is of exactly this upload, it was written here, although S3's answer was lost.
                    return Outcome.CUTOUT if present and present.is_of_just(upload) else Outcome.DUPLICATE
            raise StorageUnavailable("The cutout could not be written: S3 failed, or others wrote under its key.")

    def _is_done(self, upload: Upload, key: str, present: Cutout | None) -> bool:
        """Whether the object under the output key is the upload's cutout.

        Raises OutputKeyConflict if it is not a cutout of the same upload's key.
        """
        if present is None:
            return False
        if not present.is_of_key(upload):
            raise OutputKeyConflict(
                f"The output key {key} is taken by "
                + ("the cutout of another upload" if present.source_key else "an object that is not a cutout")
                + ". Upload under another name, or choose an OutputKey pattern that keeps the two apart."
            )
        if not present.is_of(upload):
            return False
        if not present.is_of_just(upload):  # the same bytes, uploaded again
            self.ledger.check_nothing_in_flight(key)
        return True

    def _pay(self, source: Source, format_: str | None, deadline: Deadline) -> str:
        """The one call that costs a credit; returns its `result_url`."""
        if self.presigned_url_seconds is None:
            return self.service.remove_background_of_image(self.storage.read(source), format_, deadline)
        if self._is_given_the_key(source):
            young = source.modified + YOUNG_SECONDS - time.time()
            time.sleep(max(0.0, min(young, YOUNG_SECONDS, deadline.remaining())))
        image_url = self.storage.presign(source, self.presigned_url_seconds)
        return self.service.remove_background_of_url(image_url, deadline)

    def _is_given_the_key(self, source: Source) -> bool:
        """Without versions, a URL gives Pixelcut whatever stands under the key at that moment."""
        return self.presigned_url_seconds is not None and source.version_id is None

    @contextmanager
    def _fetch(self, output_key: str, upload: Upload, paid: Paid, deadline: Deadline) -> Iterator[Result]:
        """Only a result that is gone or broken is forgotten; one that cannot be fetched now stays paid for."""
        try:
            if paid.modified:
                self._check_unreplaced(upload, paid)
                self.ledger.note_unreplaced(output_key, paid)
            with self.results.fetch(paid.result_url, deadline) as result:
                yield result
        except CutoutError as error:
            error.billed = Billed.YES
            if isinstance(error, ResultGone | ResultInvalid):
                error.is_final = self.ledger.forget(output_key, upload, paid.result_url, error.code)
            raise

    def _check_unreplaced(self, upload: Upload, paid: Paid) -> None:
        """Raises ResultInvalid when Pixelcut may have been given another upload, even if the same bytes stand there."""
        now = self.storage.look_at(upload)
        if isinstance(now, Outcome) or now.modified != paid.modified:
            raise ResultInvalid("The upload was replaced after Pixelcut was asked for its cutout.")
