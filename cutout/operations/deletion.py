"""Deletes the images of letters from the input bucket."""

import threading
from collections import defaultdict
from collections.abc import Iterable
from enum import StrEnum
from http import HTTPStatus
from typing import Any

from botocore.exceptions import ClientError

from cutout.operations import objects
from cutout.operations.dead_letters import Letter
from cutout.operations.deployment import Deployment
from remove_background.aws_errors import http_status
from remove_background.uploads import Upload


class Left(StrEnum):
    """Why an image is not deleted."""

    OVERWRITTEN = "overwritten"
    ELSEWHERE = "elsewhere"


class Deletion:
    """Deletes what a letter is about, and nothing uploaded since. `left` holds the URIs that stay, by reason."""

    def __init__(self, deployed: Deployment) -> None:
        self._s3 = deployed.s3
        self._bucket = deployed.input_bucket
        self._prefix = deployed.settings["INPUT_PREFIX"]
        self._lock = threading.Lock()
        self.deleted = 0
        self.left: dict[Left, list[str]] = defaultdict(list)

    def __call__(self, letters: Iterable[Letter]) -> list[Letter]:
        """All of them. Only then may the letters be deleted."""
        letters = list(letters)
        for letter in letters:
            for upload in letter.uploads:
                self._delete(upload)
        return letters

    def _delete(self, upload: Upload) -> None:
        # For example a cutout in a bucket shared with the uploads: its notification became a letter as well.
        if upload.bucket != self._bucket or not upload.key.startswith(self._prefix):
            self._leave(Left.ELSEWHERE, upload)
            return
        found = objects.head(self._s3, upload.bucket, upload.key)
        if found is None:
            return
        version = found.get("VersionId", "null")
        if found["ETag"].strip('"') != upload.etag or (upload.version_id or version) != version:
            self._leave(Left.OVERWRITTEN, upload)
            return
        # An object without a version may be overwritten before it is deleted.
        which: Any = {"IfMatch": found["ETag"]} if version == "null" else {"VersionId": version}
        try:
            self._s3.delete_object(Bucket=upload.bucket, Key=upload.key, **which)
        except ClientError as error:
            if http_status(error) != HTTPStatus.PRECONDITION_FAILED:
                raise
            self._leave(Left.OVERWRITTEN, upload)
            return
        with self._lock:
            self.deleted += 1

    def _leave(self, why: Left, upload: Upload) -> None:
        with self._lock:
            self.left[why].append(upload.uri)
