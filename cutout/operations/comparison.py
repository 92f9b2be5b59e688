"""Compares inputs with their cutouts and letters."""

import functools
import json
import os.path
from collections import Counter, defaultdict
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from enum import StrEnum
from typing import IO, TYPE_CHECKING

from cutout.operations import objects, rejections
from cutout.operations.deployment import Deployment
from cutout.operations.progress import Progress
from cutout.operations.threads import work_through
from remove_background.errors import OutputKeyTooLong
from remove_background.models import Cutout
from remove_background.output_key import OutputKey
from remove_background.uploads import Upload

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ObjectTypeDef

EXAMPLES = 3
# Cannot be read before they are restored:
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/archived-objects.html
ARCHIVES = ("GLACIER", "DEEP_ARCHIVE")


class Finding(StrEnum):
    """The result of comparing an input."""

    CURRENT = "current"
    MISSING = "missing"  # nothing stands under its output key
    STALE = "stale"  # the cutout of an older upload of the same key stands there
    CONFLICT = "conflicts"  # something else stands there
    TOO_LONG = "too_long"  # its output key would be
    ARCHIVED = "archived"  # it has no current cutout, and cannot be read
    LETTER = "letters"  # it has no current cutout, but a letter: enqueued, it would only get another
    REJECTED = "rejected"  # it has neither, but was rejected for good as it is


WANTED = (Finding.MISSING, Finding.STALE)
REASONS = {
    Finding.CONFLICT: "whose output key is taken by another upload's cutout, or by an object that is not a cutout",
    Finding.TOO_LONG: "whose output key would be longer than the 1,024 bytes that S3 allows",
    Finding.ARCHIVED: f"that must be restored first, as their storage class is {' or '.join(ARCHIVES)}",
    Finding.LETTER: "that have a letter (see `cutout letters list`)",
    Finding.REJECTED: "that were rejected for good (--retry-rejected takes them in)",
}


@dataclass
class Comparison:
    """`examples` are the first keys of each kind that is not enqueued."""

    counts: Counter[Finding] = field(default_factory=Counter)
    examples: defaultdict[Finding, list[str]] = field(default_factory=lambda: defaultdict(list))

    @property
    def wanted(self) -> int:
        """How many are to be enqueued."""
        return sum(self.counts[finding] for finding in WANTED)

    def add(self, finding: Finding, key: str) -> None:
        self.counts[finding] += 1
        if finding in REASONS and len(self.examples[finding]) < EXAMPLES:
            self.examples[finding].append(key)


def identity(upload: Upload) -> tuple[str, str]:
    """What an input and a letter have in common: a listing has no versions."""
    return upload.uri, upload.etag


def compare(
    deployed: Deployment,
    prefix: str,
    output_key: OutputKey,
    lettered: Set[tuple[str, str]],
    wanted: IO[str],
    progress: Progress,
    *,
    only: Set[str] | None,
    retry_rejected: bool,
) -> Comparison:
    """Writes the key, ETag and size of each input that is to be enqueued to `wanted`, as a line of JSON.

    Looks at those whose keys begin with `prefix`; where `only` is given, at those keys of them.

    `lettered` are the identities of uploads that have a letter. What was rejected for good is looked up in the ledger,
    and only of what would be enqueued, unless it is to be retried.
    """
    # HEAD of an object answers the same for a missing bucket as for a missing object.
    deployed.s3.head_bucket(Bucket=deployed.output_bucket)
    found = Comparison()
    candidates: list[tuple[Finding, Upload]] = []

    def settle() -> None:
        rejected = set() if retry_rejected else rejections.find(deployed, [upload for _, upload in candidates])
        for finding, upload in candidates:
            if upload.key in rejected:
                found.add(Finding.REJECTED, upload.key)
            else:
                found.add(finding, upload.key)
                wanted.write(f"{json.dumps([upload.key, upload.etag, upload.size])}\n")
        candidates.clear()

    with progress(None) as advance:

        def note(judged: tuple[Finding, Upload]) -> None:
            finding, upload = judged
            if finding in WANTED:
                candidates.append(judged)
            else:
                found.add(finding, upload.key)
            if len(candidates) == rejections.BATCH:
                settle()
            advance(1)

        judge = functools.partial(_judge_listed, deployed, output_key, lettered)
        work_through(_list(deployed, prefix, only), judge, note)
        if candidates:
            settle()
    return found


def _judge_listed(
    deployed: Deployment, output_key: OutputKey, lettered: Set[tuple[str, str]], listed: "ObjectTypeDef"
) -> tuple[Finding, Upload]:
    upload = Upload(deployed.input_bucket, listed["Key"], listed["ETag"].strip('"'), size=listed["Size"])
    try:
        finding = judge(upload, objects.find_cutout(deployed.s3, deployed.output_bucket, output_key.of(upload.key)))
    except OutputKeyTooLong:
        finding = Finding.TOO_LONG
    if finding in WANTED and _is_archived(listed):
        finding = Finding.ARCHIVED
    if finding in WANTED and identity(upload) in lettered:
        finding = Finding.LETTER
    return finding, upload


def _list(deployed: Deployment, prefix: str, only: Set[str] | None) -> "Iterator[ObjectTypeDef]":
    if only is not None:
        prefix = os.path.commonprefix(list(only))  # noqa: RUF071  # S3 compares characters, too
    pages = deployed.s3.get_paginator("list_objects_v2").paginate(
        Bucket=deployed.input_bucket, Prefix=prefix, OptionalObjectAttributes=["RestoreStatus"]
    )
    for page in pages:
        # A folder that S3's console makes is an empty object.
        for listed in page.get("Contents", []):
            is_folder = not listed["Size"] and listed["Key"].endswith("/")
            if not is_folder and (only is None or listed["Key"] in only):
                yield listed


def judge(upload: Upload, cutout: Cutout | None) -> Finding:
    if cutout is None:
        return Finding.MISSING
    if not cutout.is_of_key(upload):
        return Finding.CONFLICT
    return Finding.CURRENT if cutout.is_of(upload) else Finding.STALE


def _is_archived(listed: "ObjectTypeDef") -> bool:
    restored = "RestoreExpiryDate" in listed.get("RestoreStatus", {})
    return listed.get("StorageClass") in ARCHIVES and not restored
