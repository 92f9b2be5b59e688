"""boto3: one session for all clients."""

import functools
import logging
import threading
from typing import TYPE_CHECKING

import boto3
from botocore import httpsession
from botocore.config import Config

from . import tls
from .aws_errors import NotRepeatedError

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sqs import SQSClient

# Below WARNING, botocore logs signatures and the value of the secret.
logging.getLogger("botocore").setLevel(logging.WARNING)

# botocore makes a context for each client with this, and offers no other way to hand it one.
httpsession.create_urllib3_context = lambda *_, **__: tls.CONTEXT

_TIMEOUTS = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 3})
_ONCE = Config(retries={"mode": "standard", "total_max_attempts": 1})
# By default boto3 presigns for the global host, and in older regions with the signature that S3 has retired.
_S3 = Config(signature_version="s3v4", s3={"addressing_style": "virtual", "us_east_1_regional_endpoint": "regional"})


class Clients:
    """`threads` is how many of them use the clients at the same time."""

    def __init__(self, *, threads: int) -> None:
        self._session = session = boto3.Session()
        self._config = config = _TIMEOUTS.merge(Config(max_pool_connections=threads))
        self._making = threading.Lock()  # a session makes one client at a time
        self.s3: S3Client = session.client("s3", config=config.merge(_S3))
        # A conditional write compares bytes only. One that was applied, and is repeated when its answer was lost, could
        # replace what others have written since: the same bytes again.
        self.s3.meta.events.register("before-send.s3.PutObject", _send_once)
        self.dynamodb: DynamoDBClient = session.client("dynamodb", config=config)
        self.secrets: SecretsManagerClient = session.client("secretsmanager", config=config)

    # To make a client takes a while: those that a success does not want are made when they are wanted.

    @functools.cached_property
    def dynamodb_once(self) -> "DynamoDBClient":
        """Repeats no call."""
        with self._making:
            return self._session.client("dynamodb", config=self._config.merge(_ONCE))

    @functools.cached_property
    def sqs(self) -> "SQSClient":
        with self._making:
            return self._session.client("sqs", config=self._config)

    @functools.cached_property
    def functions(self) -> "LambdaClient":
        with self._making:
            return self._session.client("lambda", config=self._config)


def _send_once(request: "AWSPreparedRequest", **_: object) -> None:
    """The SDK says in a header which attempt it makes: https://docs.aws.amazon.com/sdkref/latest/guide/"""
    attempt = request.headers.get("amz-sdk-request", "")
    if "attempt=1" not in (attempt.decode() if isinstance(attempt, bytes) else attempt):
        raise NotRepeatedError
