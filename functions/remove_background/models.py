"""What the parts hand to each other on an upload's way: its source, the result that was paid for, the cutout."""

import hashlib
from collections.abc import Mapping
from typing import IO, NamedTuple, Self
from urllib.parse import quote

from .uploads import Upload

# S3 allows 2 KB for all of an object's metadata.
MAX_SOURCE_KEY_LENGTH = 1_024


class Source(NamedTuple):
    """The object of an upload as it is now: `head` its first bytes, `size` in bytes.

    `modified` is when it was put there, in whole seconds since the epoch; it tells two uploads of the same bytes apart
    where there are no versions.
    """

    upload: Upload
    head: bytes
    size: int
    version_id: str | None = None
    modified: float = 0.0


class Paid(NamedTuple):
    """A paid result. Where `modified` is not 0, it is of the upload only if its object was put there at that time."""

    result_url: str
    modified: float = 0.0


class Result(NamedTuple):
    """A whole PNG: `size` in bytes, `sha256` in base64, as S3 wants it."""

    file: IO[bytes]
    size: int
    sha256: str


class Cutout(NamedTuple):
    """What stands under an output key; all but `etag` is None where this stack has not written it."""

    etag: str
    source_bucket: str | None
    source_key: str | None
    source_etag: str | None
    source_sequencer: str | None

    @classmethod
    def from_metadata(cls, etag: str, metadata: Mapping[str, str]) -> Self:
        return cls(etag, *(metadata.get(f"source-{name}") for name in ("bucket", "key", "etag", "sequencer")))

    def is_of_key(self, upload: Upload) -> bool:
        return (self.source_bucket, self.source_key) == (upload.bucket, _as_metadata(upload.key))

    def is_of(self, upload: Upload) -> bool:
        """Whether this is the cutout of just these bytes under this key."""
        return self.is_of_key(upload) and self.source_etag == upload.etag

    def is_of_just(self, upload: Upload) -> bool:
        """Whether this is the cutout of just this upload, not of an earlier or later one of the same bytes."""
        return self.is_of(upload) and self.source_sequencer == upload.sequencer is not None


def cutout_metadata(upload: Upload) -> dict[str, str]:
    """The metadata that tells what a cutout was made of."""
    metadata = {
        "source-bucket": upload.bucket,
        "source-key": _as_metadata(upload.key),
        "source-etag": upload.etag,
        "source-version": upload.version_id,
        "source-sequencer": upload.sequencer,
    }
    return {name: value for name, value in metadata.items() if value is not None}


def _as_metadata(key: str) -> str:
    """A key as metadata can hold it: of characters that a header may have, and short."""
    quoted = quote(key)
    return quoted if len(quoted) <= MAX_SOURCE_KEY_LENGTH else f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"
