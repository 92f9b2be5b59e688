"""The upload that a cutout was made of."""

import re
import string
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import unquote

from cutout.operations import comparison, objects
from cutout.operations.comparison import Finding
from cutout.operations.deployment import Deployment
from remove_background.models import Cutout
from remove_background.uploads import Upload

# What each field of an OutputKey may stand for.
_FIELDS = {"key": ".+", "stem": ".+", "ext": "[^/.]*", "dir": "(?:.*/)?", "name": "[^/]+"}
_CANDIDATES = 100


class Standing(StrEnum):
    """How the original stands now."""

    SAME = "same"
    CHANGED = "changed"  # another image stands under its key
    GONE = "gone"
    ELSEWHERE = "elsewhere"  # in another bucket than this stack's
    UNKNOWN = "unknown"  # which it is
    NOT_A_CUTOUT = "not_a_cutout"


class Original(NamedTuple):
    standing: Standing
    bucket: str | None = None
    key: str | None = None
    size: int | None = None


def key_of(cutout: Cutout) -> str | None:
    """The key of its upload; None if nothing names it, or only a hash, as it is very long."""
    if cutout.source_key is None or ":" in cutout.source_key:
        return None
    return unquote(cutout.source_key)


def find(deployed: Deployment, output_key: str, cutout: Cutout) -> Original:
    bucket = cutout.source_bucket
    if cutout.source_key is None or bucket is None:
        return Original(Standing.NOT_A_CUTOUT)
    key = key_of(cutout)
    if bucket != deployed.input_bucket:
        return Original(Standing.ELSEWHERE, bucket, key)
    if key is None:
        key = _find_hashed(deployed, output_key, cutout)
    if key is None:
        return Original(Standing.UNKNOWN, bucket)
    found = objects.head(deployed.s3, bucket, key)
    if found is None:
        return Original(Standing.GONE, bucket, key)
    finding = comparison.judge(Upload(bucket, key, found["ETag"].strip('"')), cutout)
    standing = Standing.SAME if finding is Finding.CURRENT else Standing.CHANGED
    return Original(standing, bucket, key, found["ContentLength"])


def _find_hashed(deployed: Deployment, output_key: str, cutout: Cutout) -> str | None:
    """The key whose hash the cutout has, among those that begin as the output key says it does."""
    match = re.fullmatch(_as_expression(deployed.settings["OUTPUT_KEY"]), output_key, re.DOTALL)
    fields = match.groupdict() if match else {}
    begin = fields.get("key") or fields.get("stem") or (fields.get("dir") or "") + fields.get("name", "")
    listed = deployed.s3.list_objects_v2(Bucket=deployed.input_bucket, Prefix=begin, MaxKeys=_CANDIDATES)
    keys = (one["Key"] for one in listed.get("Contents", []))
    return next((key for key in keys if cutout.is_of_key(Upload(deployed.input_bucket, key, ""))), None)


def _as_expression(pattern: str) -> str:
    parts = []
    seen: set[str] = set()
    for text, field, _, _ in string.Formatter().parse(pattern):
        parts.append(re.escape(text))
        if field:
            parts.append(f"(?P={field})" if field in seen else f"(?P<{field}>{_FIELDS[field]})")
            seen.add(field)
    return "".join(parts)
