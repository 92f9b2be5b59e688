"""Sends files to the input bucket."""

import functools
import mimetypes
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO

from botocore.exceptions import BotoCoreError, ClientError

from cutout.failures import describe
from cutout.operations.deployment import THREADS, Deployment
from cutout.operations.files import Became, File
from remove_background.uploads import Upload

# This many failures of AWS in a row end the sending.
FAILURES_IN_A_ROW = 20
GIVEN_UP = f"Not tried: AWS had failed to take {FAILURES_IN_A_ROW} in a row."
# A table of our own is the same on every machine; Python 3.11 does not know all of these.
_TYPES = mimetypes.MimeTypes()
for _extension in ("avif", "heic", "heif", "webp"):
    _TYPES.add_type(f"image/{_extension}", f".{_extension}")


class Sender:
    """Sends one file at a time, from any thread; `is_given_up` once AWS has failed FAILURES_IN_A_ROW times."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures = 0  # of AWS, in a row

    @property
    def is_given_up(self) -> bool:
        return self._failures >= FAILURES_IN_A_ROW

    def send(
        self, deployed: Deployment, file: File, open_body: Callable[[], AbstractContextManager[IO[bytes]]]
    ) -> None:
        """Records on the file whether it was sent, or why not."""
        try:
            with open_body() as body:
                file.upload = _put(deployed, file, body)
        except (BotoCoreError, ClientError) as error:  # first: some are OSErrors, such as a timeout
            file.reason = describe(error)
            with self._lock:
                self._failures += 1
        except OSError as error:
            file.reason = f"It cannot be read: {error.strerror}."
        else:
            file.became, file.reason = Became.SENT, None
            with self._lock:
                self._failures = 0


class Sending:
    """Sends many files that are on this machine. Records on each file whether it was sent, or why not."""

    def __init__(self, deployed: Deployment, files: Sequence[File], advance: Callable[[], None]) -> None:
        self._deployed = deployed
        self._waiting = deque(files)
        self._advance = advance
        self._sender = Sender()

    def run(self) -> None:
        with ThreadPoolExecutor(THREADS) as threads:
            try:
                for worker in [threads.submit(self._work) for _ in range(THREADS)]:
                    worker.result()
            finally:
                left = list(self._waiting)
                self._waiting.clear()  # after Ctrl-C: running calls are finished
        for file in left:
            file.reason = GIVEN_UP

    def _work(self) -> None:
        while not self._sender.is_given_up:
            try:
                file = self._waiting.popleft()
            except IndexError:
                return
            self._sender.send(self._deployed, file, functools.partial(_open, file.path))
            self._advance()


def _open(path: Path) -> IO[bytes]:
    return path.open("rb")


def _put(deployed: Deployment, file: File, body: IO[bytes]) -> Upload:
    """Sends in one request, whatever the size: the answer has the ETag, the version, and the time at AWS."""
    bucket = deployed.input_bucket
    answer = deployed.s3.put_object(Bucket=bucket, Key=file.key, Body=body, ContentType=_guess_type(file.path))
    date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return Upload(
        bucket,
        file.key,
        answer["ETag"].strip('"'),
        answer.get("VersionId"),
        time=parsedate_to_datetime(date).timestamp() if date else None,
    )


def _guess_type(path: Path) -> str:
    return _TYPES.guess_type(f"file{path.suffix}")[0] or "application/octet-stream"
