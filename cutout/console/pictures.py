"""Pictures of the buckets' objects.

They come through the console, never by a signed URL, which would open them to whoever gets hold of it. Only their bytes
say what they are: S3 gives an object the type that its uploader named.
"""

import posixpath
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterable
from http import HTTPStatus
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import ClientError
from flask import Blueprint, Response, abort, request

from cutout.console.stack import Stack
from cutout.console.streams import CHUNK_BYTES, disposition, stream
from cutout.operations.deployment import Deployment
from cutout.presentation import preview
from remove_background.aws_errors import error_code, http_status
from remove_background.preflight import HEAD_BYTES, Header, read_header

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

SMALL, LARGE = 320, 2048  # pixels a side, at most, of what is encoded here
MOST_BYTES = 150_000_000  # of an object that is encoded here; the function writes no larger cutout
_DECODED_AT_A_TIME = 2
_KEPT_BYTES = 64_000_000
_SPOOL_BYTES = 1_048_576
# By which Pillow may read an object.
_FORMATS = ("AVIF", "BMP", "GIF", "HEIF", "JPEG", "PNG", "TIFF", "WEBP")
_TYPES = preview.SHOWN | {"heif": "image/heic", "tiff": "image/tiff"}
_EXTENSIONS = {"heif": "heic", "jpeg": "jpg"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, no-cache",  # kept, and asked for again by its ETag
}


class Encoded(NamedTuple):
    etag: str
    webp: bytes


class Kept:
    """The pictures that were encoded and looked at last, up to so many bytes."""

    def __init__(self, most_bytes: int = _KEPT_BYTES) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._pictures: OrderedDict[tuple[str, str, int], Encoded] = OrderedDict()
        self.bytes = 0

    def get(self, bucket: str, key: str, side: int) -> Encoded | None:
        with self._lock:
            found = self._pictures.get((bucket, key, side))
            if found:
                self._pictures.move_to_end((bucket, key, side))
            return found

    def put(self, bucket: str, key: str, side: int, encoded: Encoded) -> None:
        with self._lock:
            before = self._pictures.pop((bucket, key, side), None)
            self.bytes += len(encoded.webp) - (len(before.webp) if before else 0)
            self._pictures[bucket, key, side] = encoded
            while self.bytes > self._most_bytes:
                _, oldest = self._pictures.popitem(last=False)
                self.bytes -= len(oldest.webp)


def make(stack: Stack) -> Blueprint:
    page = Blueprint("pictures", __name__)
    pictures = _Pictures()

    @page.get("/picture")
    def show() -> Response:
        """Fields: side=input|output, key; small=1 for a small one, download=1 for the file as it is."""
        deployed = stack.deployed
        buckets = {"input": deployed.input_bucket, "output": deployed.output_bucket}
        bucket, key = buckets.get(request.args.get("side", "")), request.args.get("key")
        if bucket is None or not key:
            abort(HTTPStatus.BAD_REQUEST, "The address of a picture has a side, input or output, and a key.")
        side = SMALL if "small" in request.args else LARGE
        return pictures.show(deployed, bucket, key, side, download="download" in request.args)

    return page


class _Pictures:
    def __init__(self) -> None:
        self._kept = Kept()
        self._decoding = threading.BoundedSemaphore(_DECODED_AT_A_TIME)

    def show(self, deployed: Deployment, bucket: str, key: str, side: int, *, download: bool) -> Response:
        """As it is where browsers show it, unless a small one is wanted; else encoded as WebP."""
        kept = None if download else self._kept.get(bucket, key, side)
        theirs = request.if_none_match
        etag = kept.etag if kept else next(iter(theirs.as_set(include_weak=True)), None)
        answer = _get(deployed, bucket, key, etag)
        if answer is None:
            if kept and not theirs.contains_weak(kept.etag):
                return _send(key, kept)
            return Response(status=HTTPStatus.NOT_MODIFIED, headers=_HEADERS | {"ETag": f'"{etag}"'})
        head, header = _read_head(answer)
        if download or (side == LARGE and header.format in preview.SHOWN):
            kind = "attachment" if download else "inline"
            return stream(answer["Body"], head, _headers(answer, key, kind, str(header.format)))
        with answer["Body"]:
            encoded = Encoded(answer["ETag"].strip('"'), self._encode(answer, head, header, side))
        self._kept.put(bucket, key, side, encoded)
        return _send(key, encoded)

    def _encode(self, answer: "GetObjectOutputTypeDef", head: bytes, header: Header, side: int) -> bytes:
        if answer["ContentLength"] > MOST_BYTES or (header.width or 0) * (header.height or 0) > preview.MOST_PIXELS:
            abort(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The picture is too large to be shown here. Download it.")
        with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as file:
            _fill(file, head, answer["Body"].iter_chunks(CHUNK_BYTES))
            with self._decoding:
                encoded = preview.encode(file, side, _FORMATS)
        if encoded is None:
            abort(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The picture cannot be read on this machine. Download it.")
        return encoded


def _get(deployed: Deployment, bucket: str, key: str, etag: str | None) -> "GetObjectOutputTypeDef | None":
    """None if what stands there still has this ETag."""
    condition: dict[str, Any] = {"IfNoneMatch": f'"{etag}"'} if etag else {}
    try:
        return deployed.s3.get_object(Bucket=bucket, Key=key, **condition)
    except ClientError as error:
        if etag and http_status(error) == HTTPStatus.NOT_MODIFIED:
            return None
        match error_code(error):
            case "NoSuchKey":
                abort(HTTPStatus.NOT_FOUND, "Nothing stands under this key: it was deleted, or never there.")
            case "InvalidObjectState":
                abort(HTTPStatus.CONFLICT, "The object is in an archive of S3: restore it before it is looked at.")
        raise


def _read_head(answer: "GetObjectOutputTypeDef") -> tuple[bytes, Header]:
    """Closes the body, and answers with 415, where it is not a picture."""
    head = answer["Body"].read(HEAD_BYTES)
    header = read_header(head)
    if header.format is None:
        answer["Body"].close()
        abort(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The object is not a picture of a kind that the console shows.")
    return head, header


def _fill(file: IO[bytes], head: bytes, rest: Iterable[bytes]) -> None:
    file.write(head)
    for chunk in rest:
        file.write(chunk)
    file.seek(0)


def _headers(answer: "GetObjectOutputTypeDef", key: str, kind: str, format_: str) -> dict[str, str]:
    return _HEADERS | {
        "Content-Type": _TYPES[format_],
        "Content-Length": str(answer["ContentLength"]),
        "Content-Disposition": disposition(kind, _stem(key), _EXTENSIONS.get(format_, format_)),
        "ETag": answer["ETag"],
    }


def _send(key: str, encoded: Encoded) -> Response:
    named = {"Content-Disposition": disposition("inline", _stem(key), "webp"), "ETag": f'"{encoded.etag}"'}
    return Response(encoded.webp, content_type="image/webp", headers=_HEADERS | named)


def _stem(key: str) -> str:
    return posixpath.splitext(posixpath.basename(key))[0]
