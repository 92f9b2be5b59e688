"""S3: look at an upload, presign it, write a cutout unless another writer was faster."""

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from urllib3.exceptions import HTTPError

from .aws_errors import AwsError, NotRepeatedError, error_code, http_status
from .errors import StorageUnavailable
from .models import Cutout, Result, Source, cutout_metadata
from .preflight import HEAD_BYTES
from .uploads import Outcome, Upload

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CHUNK_BYTES = 65_536
# While a body is read, botocore lets through what it does not translate, such as a broken TLS record.
READ_FAILURES = (*AwsError, HTTPError, OSError)


class Storage:
    """Every method raises StorageUnavailable for any S3 error that it does not handle itself."""

    def __init__(self, s3: "S3Client", output_bucket: str) -> None:
        self._s3 = s3
        self._output_bucket = output_bucket
        self._found_output_bucket = False
        self._finding = threading.Lock()

    def find_cutout(self, key: str) -> Cutout | None:
        try:
            found = self._s3.head_object(Bucket=self._output_bucket, Key=key)
        except AwsError as error:
            if http_status(error) == 404:
                self._find_output_bucket()
                return None
            raise _unavailable("look for the cutout", error) from None
        return Cutout.from_metadata(found["ETag"], found["Metadata"])

    def _find_output_bucket(self) -> None:
        """A missing bucket looks like one without the cutout: uploads would be paid for in vain."""
        with self._finding:
            if self._found_output_bucket:
                return
            try:
                self._s3.head_bucket(Bucket=self._output_bucket)
            except AwsError as error:
                raise _unavailable("find the output bucket", error) from None
            self._found_output_bucket = True

    def look_at(self, upload: Upload) -> Source | Outcome:
        """The first bytes of an upload, or what its owner did to it meanwhile.

        Reads the current object, not the upload's own version: that version would still be there after its owner
        deleted or overwrote the object, and would be paid for.
        """
        try:
            answer = self._s3.get_object(
                Bucket=upload.bucket, Key=upload.key, IfMatch=f'"{upload.etag}"', Range=f"bytes=0-{HEAD_BYTES - 1}"
            )
            head = answer["Body"].read()
        except READ_FAILURES as error:
            match http_status(error):
                case 404:
                    return Outcome.DELETED
                case 412:
                    return Outcome.SUPERSEDED
                case 416:  # an empty object has no first byte
                    return Source(upload, head=b"", size=0)
            raise _unavailable("read the upload", error, of_upload=True) from None
        return Source(
            upload,
            head,
            int(answer["ContentRange"].rpartition("/")[2]),
            # "null" where versioning is suspended: that version can be overwritten, as where there are none.
            None if (version := answer.get("VersionId")) == "null" else version,
            answer["LastModified"].timestamp(),
        )

    def presign(self, source: Source, seconds: int) -> str:
        """A URL with which anyone can read exactly this version for that many seconds."""
        return self._s3.generate_presigned_url("get_object", Params=_address(source), ExpiresIn=seconds)

    def read(self, source: Source) -> Iterator[bytes]:
        try:
            answer = self._s3.get_object(**_address(source), IfMatch=f'"{source.upload.etag}"')
            yield from answer["Body"].iter_chunks(CHUNK_BYTES)
        except READ_FAILURES as error:
            raise _unavailable("read the upload", error, of_upload=True) from None

    def write_cutout(self, key: str, result: Result, upload: Upload, replaces: Cutout | None) -> bool:
        """Write a cutout in place of `replaces`; False if another object is there by now, or may be."""
        condition: dict[str, Any] = {"IfMatch": replaces.etag} if replaces else {"IfNoneMatch": "*"}
        result.file.seek(0)
        try:
            self._s3.put_object(
                Bucket=self._output_bucket,
                Key=key,
                Body=result.file,
                ContentLength=result.size,
                ContentType="image/png",
                ChecksumSHA256=result.sha256,
                Metadata=cutout_metadata(upload),
                **condition,
            )
        except NotRepeatedError:  # it may have been written
            return False
        except AwsError as error:
            # 404: the object to replace is gone, or else the bucket. 409: another client writes at the same moment.
            status = http_status(error)
            if status in (409, 412) or (status == 404 and replaces):
                return False
            raise _unavailable("write the cutout", error) from None
        return True


def _address(source: Source) -> dict[str, Any]:
    """The version that was looked at; without versions, the current object."""
    upload = source.upload
    version = {"VersionId": source.version_id} if source.version_id else {}
    return {"Bucket": upload.bucket, "Key": upload.key, **version}


def _unavailable(task: str, error: Exception, *, of_upload: bool = False) -> StorageUnavailable:
    """`of_upload`: the upload itself could not be read, as one in an archive, or encrypted with its owner's key.

    If S3 answers that with a 4xx, it says nothing about other uploads.
    """
    unavailable = StorageUnavailable(f"S3 did not let the function {task} ({error_code(error)}).")
    unavailable.is_its_own = 400 <= (http_status(error) or 0) < 500
    unavailable.may_be_general = not (of_upload and unavailable.is_its_own)
    return unavailable
