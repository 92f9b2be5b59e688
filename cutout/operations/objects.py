"""Objects in S3, looked at without being fetched."""

from http import HTTPStatus
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from remove_background.aws_errors import http_status

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef


def head(s3: "S3Client", bucket: str, key: str) -> "HeadObjectOutputTypeDef | None":
    """None where there is no such object, or no such bucket: their answers are the same."""
    try:
        return s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if http_status(error) == HTTPStatus.NOT_FOUND:
            return None
        raise
