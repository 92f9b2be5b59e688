"""Fetches cutouts into a folder, each under its key, except those that are there already."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from cutout.operations import objects
from cutout.operations.deployment import Deployment
from cutout.operations.progress import Progress
from cutout.operations.threads import work_through
from remove_background.aws_errors import http_status
from remove_background.models import Cutout

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3.type_defs import ObjectTypeDef

ATTEMPTS = 3  # for an answer that is cut short


class Fetched(StrEnum):
    """What has become of an object of the output bucket."""

    FETCHED = "fetched"
    THERE = "already_there"
    NOT_A_CUTOUT = "not_cutouts"  # an object that is not a cutout
    GONE = "gone"  # since it was listed
    OUTSIDE = "outside_the_folder"  # where it would be written
    NOT_WRITTEN = "not_written"


@dataclass(frozen=True, slots=True)
class Wanted:
    """An object to fetch; `replaces` says whether a different file is there."""

    key: str
    size: int
    destination: Path
    replaces: bool


@dataclass(slots=True)
class Plan:
    wanted: list[Wanted] = field(default_factory=list)
    there: int = 0
    outside: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        return sum(wanted.size for wanted in self.wanted)

    @property
    def replaced(self) -> int:
        return sum(wanted.replaces for wanted in self.wanted)


def plan(deployed: Deployment, prefix: str, out: Path, progress: Progress) -> Plan:
    """What to fetch. A file that is there already is recognised by its size and its MD5, which is S3's ETag.

    Not in a bucket that encrypts with SSE-KMS: from there everything is fetched again.
    """
    top = objects.resolve(out)
    found = Plan()

    def look(listed: tuple[str, int, str]) -> Wanted | str | None:
        key, size, etag = listed
        destination = _find_destination(top, key)
        if destination is None:
            return key
        if _is_there(destination, size, etag):
            return None
        return Wanted(key, size, destination, replaces=_is_file(destination))

    with progress(None) as advance:

        def note(looked: Wanted | str | None) -> None:
            match looked:
                case Wanted():
                    found.wanted.append(looked)
                case str():
                    found.outside.append(looked)
                case None:
                    found.there += 1
            advance(1)

        work_through(_list(deployed, prefix), look, note)
    return found


def _list(deployed: Deployment, prefix: str) -> Iterator[tuple[str, int, str]]:
    """The key, size and ETag of each object."""
    for page in list_pages(deployed, prefix):
        for listed in page:
            yield listed["Key"], listed["Size"], listed["ETag"].strip('"')


def list_pages(deployed: Deployment, prefix: str) -> "Iterator[list[ObjectTypeDef]]":
    """The objects of the output bucket, except folders, and uploads in the same bucket. Each page is a call."""
    uploads = deployed.settings["INPUT_PREFIX"] if deployed.input_bucket == deployed.output_bucket else None
    pages = deployed.s3.get_paginator("list_objects_v2").paginate(Bucket=deployed.output_bucket, Prefix=prefix)
    for page in pages:
        yield [
            listed
            for listed in page.get("Contents", [])
            if not (listed["Key"].endswith("/") or (uploads is not None and listed["Key"].startswith(uploads)))
        ]


def split(key: str) -> list[str] | None:
    """The path that a key stands for; None if it would lead out of the folder: a key may be anything."""
    parts = key.split("/")
    return None if "\0" in key or any(part in ("", ".", "..") for part in parts) else parts


def _find_destination(top: Path, key: str) -> Path | None:
    """None if the path would be outside the folder."""
    parts = split(key)
    if parts is None:
        return None
    destination = top.joinpath(*parts)
    return destination if top in objects.resolve(destination).parents else None


def _is_file(destination: Path) -> bool:
    try:
        return destination.is_file()
    except OSError:  # such as a name that is too long; told when it is to be written
        return False


def _is_there(destination: Path, size: int, etag: str) -> bool:
    try:
        return destination.is_file() and destination.stat().st_size == size and objects.etag_of(destination) == etag
    except OSError:
        return False


class Downloads:
    """`ends` holds the keys by outcome, `reasons` why some could not be written."""

    def __init__(self, deployed: Deployment) -> None:
        self._deployed = deployed
        self.ends: dict[Fetched, list[str]] = {end: [] for end in Fetched}
        self.reasons: dict[str, str] = {}

    def run(self, wanted: Sequence[Wanted], progress: Progress) -> None:
        """Its record is right even if it is interrupted. Raises ClientError and BotoCoreError."""
        with progress(len(wanted)) as advance:

            def note(ended: tuple[str, Fetched, str | None]) -> None:
                key, end, reason = ended
                self.ends[end].append(key)
                if reason:
                    self.reasons[key] = reason
                advance(1)

            work_through(wanted, self._fetch, note)

    def _fetch(self, wanted: Wanted) -> tuple[str, Fetched, str | None]:
        try:
            end = fetch(self._deployed, wanted.key, lambda body: objects.write(body, wanted.destination))
        except BotoCoreError:  # some are OSErrors, such as a timeout
            raise
        except OSError as error:
            return wanted.key, Fetched.NOT_WRITTEN, f"{wanted.destination}: {error.strerror}."
        return wanted.key, end, None


def fetch(deployed: Deployment, key: str, save: "Callable[[StreamingBody], None]") -> Fetched:
    """Gives the body to `save`, and again if it was cut short. Raises what `save` does, and boto3's errors."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _try(deployed, key, save)
        except BotoCoreError:
            if attempt == ATTEMPTS:
                raise
    raise AssertionError


def _try(deployed: Deployment, key: str, save: "Callable[[StreamingBody], None]") -> Fetched:
    try:
        answer = deployed.s3.get_object(Bucket=deployed.output_bucket, Key=key)
    except ClientError as error:
        if http_status(error) == HTTPStatus.NOT_FOUND:
            return Fetched.GONE
        raise
    with answer["Body"]:
        if Cutout.from_metadata(answer["ETag"], answer["Metadata"]).source_key is None:
            return Fetched.NOT_A_CUTOUT
        save(answer["Body"])
    return Fetched.FETCHED
