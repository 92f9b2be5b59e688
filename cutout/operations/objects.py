"""Objects in S3, and the files that they are fetched to or sent from."""

import hashlib
import os
import uuid
from bisect import bisect_right
from collections.abc import Collection
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from remove_background.aws_errors import http_status
from remove_background.models import Cutout

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

CHUNK_BYTES = 1_048_576
# A page of a listing costs as much as 12 requests for one object, and takes longer than any: it must bring so many.
WORTH_A_PAGE = 50


def head(s3: "S3Client", bucket: str, key: str) -> "HeadObjectOutputTypeDef | None":
    """None if the object or the bucket does not exist: S3 answers both the same way."""
    try:
        return s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if http_status(error) == HTTPStatus.NOT_FOUND:
            return None
        raise


def list_etags(s3: "S3Client", bucket: str, keys: Collection[str]) -> dict[str, str]:
    """The ETags of those of these objects that a listing finds in few calls, by key; of the others nothing is known.

    It lists from key to key, as long as the pages hold enough of them.
    """
    wanted, found, pages, place = sorted(keys), dict[str, str](), 0, 0  # in the order of S3, that of UTF-8
    while len(wanted) - place >= WORTH_A_PAGE and len(found) >= WORTH_A_PAGE * pages:
        # The page begins after this key, which stays unknown.
        page = s3.list_objects_v2(Bucket=bucket, StartAfter=wanted[place])
        pages += 1
        listed = {entry["Key"]: entry["ETag"].strip('"') for entry in page.get("Contents", [])}
        if not listed:
            break
        end = bisect_right(wanted, max(listed))
        found |= {key: listed[key] for key in wanted[place:end] if key in listed}
        place = end
    return found


def find_cutout(s3: "S3Client", bucket: str, key: str) -> Cutout | None:
    found = head(s3, bucket, key)
    return None if found is None else Cutout.from_metadata(found["ETag"], found["Metadata"])


def write(body: "StreamingBody", destination: Path) -> None:
    """Writes under another name first, so a file with the final name is whole. Raises OSError."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    part = destination.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with part.open("xb") as file:
            for chunk in body.iter_chunks(CHUNK_BYTES):
                file.write(chunk)
        part.replace(destination)
    finally:
        part.unlink(missing_ok=True)


def resolve(path: Path) -> Path:
    """As Path.resolve, which before Python 3.13 raises RuntimeError for links that lead back to themselves."""
    return Path(os.path.realpath(path))


def etag_of(path: Path) -> str:
    """The ETag of the file as an S3 object that is sent in one part, without SSE-KMS. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
