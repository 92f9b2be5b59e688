"""Sends files to the input bucket."""

import mimetypes
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from cutout.failures import describe
from cutout.operations.deployment import THREADS, Deployment
from cutout.operations.files import Became, File
from remove_background.uploads import Upload

# This many failures of AWS in a row end the sending.
FAILURES_IN_A_ROW = 20
# A table of our own is the same on every machine; Python 3.11 does not know all of these.
_TYPES = mimetypes.MimeTypes()
for _extension in ("avif", "heic", "heif", "webp"):
    _TYPES.add_type(f"image/{_extension}", f".{_extension}")


class Sending:
    """Records on each file whether it was sent, or why not."""

    def __init__(self, deployed: Deployment, files: Sequence[File], advance: Callable[[], None]) -> None:
        self._deployed = deployed
        self._waiting = deque(files)
        self._advance = advance
        self._lock = threading.Lock()
        self._failures = 0  # of AWS, in a row

    def run(self) -> None:
        with ThreadPoolExecutor(THREADS) as threads:
            try:
                for worker in [threads.submit(self._work) for _ in range(THREADS)]:
                    worker.result()
            finally:
                left = list(self._waiting)
                self._waiting.clear()  # after Ctrl-C: running calls are finished
        for file in left:
            file.reason = f"Not tried: AWS had failed to take {FAILURES_IN_A_ROW} in a row."

    def _work(self) -> None:
        while self._failures < FAILURES_IN_A_ROW:
            try:
                file = self._waiting.popleft()
            except IndexError:
                return
            try:
                self._put(file)
            except (BotoCoreError, ClientError) as error:  # first: some are OSErrors, such as a timeout
                file.reason = describe(error)
                with self._lock:
                    self._failures += 1
            except OSError as error:
                file.reason = f"It cannot be read: {error.strerror}."
            else:
                with self._lock:
                    self._failures = 0
            self._advance()

    def _put(self, file: File) -> None:
        """Sends in one request, whatever the size: the answer has the ETag, the version, and the time at AWS."""
        bucket = self._deployed.input_bucket
        with file.path.open("rb") as body:
            answer = self._deployed.s3.put_object(
                Bucket=bucket, Key=file.key, Body=body, ContentType=_guess_type(file.path)
            )
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        file.upload = Upload(
            bucket,
            file.key,
            answer["ETag"].strip('"'),
            answer.get("VersionId"),
            time=parsedate_to_datetime(date).timestamp() if date else None,
        )
        file.became = Became.SENT


def _guess_type(path: Path) -> str:
    return _TYPES.guess_type(f"file{path.suffix}")[0] or "application/octet-stream"
