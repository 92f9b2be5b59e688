"""The deployed stack: found by its name, read through its outputs, reached through clients of its account."""

import functools
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from cutout.failures import Failure, NotAws

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sqs import SQSClient

OUTPUTS = ("InputBucketName", "OutputBucketName", "UploadQueueUrl", "DeadLetterQueueUrl", "FunctionName")
_AWS = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")
# Threads that may use a client at the same time.
THREADS = 16
# Names the command in CloudTrail. botocore's own is put together anew for each call, in an eighth of the call's time.
_USER_AGENT = "cutout"
# Every answer of AWS has one of these; S3's has the second.
_REQUEST_IDS = ("x-amzn-requestid", "x-amz-request-id")


@dataclass(frozen=True)
class Deployment:
    """Raises ClientError and BotoCoreError from its clients; `cutout.failures` words them."""

    stack_name: str
    outputs: Mapping[str, str]
    _make_client: Callable[[str], Any]  # of the service's name
    _making: threading.Lock = field(default_factory=threading.Lock)
    _clients: dict[str, Any] = field(default_factory=dict)

    @property
    def input_bucket(self) -> str:
        return self.outputs["InputBucketName"]

    @property
    def output_bucket(self) -> str:
        return self.outputs["OutputBucketName"]

    @property
    def upload_queue(self) -> str:
        """Its URL."""
        return self.outputs["UploadQueueUrl"]

    @property
    def dead_letter_queue(self) -> str:
        """Its URL."""
        return self.outputs["DeadLetterQueueUrl"]

    @property
    def function(self) -> str:
        """The name of the function that turns uploads into cutouts."""
        return self.outputs["FunctionName"]

    @property
    def endpoint_url(self) -> str:
        return self.lambda_.meta.endpoint_url

    @property
    def is_at_aws(self) -> bool:
        """False for another endpoint, such as `cutout local`."""
        return (urlsplit(self.endpoint_url).hostname or "").endswith(_AWS)

    @functools.cached_property
    def settings(self) -> Mapping[str, str]:
        """The function's environment variables, as template.yaml sets them."""
        configuration = self.lambda_.get_function_configuration(FunctionName=self.function)
        return configuration.get("Environment", {}).get("Variables", {})

    @property
    def s3(self) -> "S3Client":
        client: S3Client = self._client("s3")
        return client

    @property
    def sqs(self) -> "SQSClient":
        client: SQSClient = self._client("sqs")
        return client

    @property
    def dynamodb(self) -> "DynamoDBClient":
        client: DynamoDBClient = self._client("dynamodb")
        return client

    @property
    def lambda_(self) -> "LambdaClient":
        client: LambdaClient = self._client("lambda")
        return client

    @property
    def secrets(self) -> "SecretsManagerClient":
        client: SecretsManagerClient = self._client("secretsmanager")
        return client

    @property
    def logs(self) -> Any:  # noqa: ANN401  # CloudWatch Logs, of which there are no stubs here
        return self._client("logs")

    @property
    def cloudwatch(self) -> Any:  # noqa: ANN401  # the same
        return self._client("cloudwatch")

    def _client(self, service: str) -> Any:  # noqa: ANN401  # its type depends on the service
        with self._making:  # clients may be shared between threads, sessions not
            if service not in self._clients:
                self._clients[service] = self._make_client(service)
            return self._clients[service]


def find(stack_name: str, endpoint_url: str | None) -> Deployment:
    """Raises Failure when there is no such stack, one that is not Cutout's, or an endpoint that is not a URL."""
    import boto3  # noqa: PLC0415  # --help can do without

    # boto3 itself reads AWS_PROFILE and AWS_DEFAULT_REGION, but not AWS_REGION.
    session = boto3.Session(region_name=os.environ.get("AWS_REGION") or None)
    cloudformation = _make_client(session, "cloudformation", endpoint_url)
    try:
        (stack,) = cloudformation.describe_stacks(StackName=stack_name)["Stacks"]
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") != "ValidationError":
            raise
        where = endpoint_url or os.environ.get("AWS_ENDPOINT_URL") or session.region_name
        raise Failure(
            f"There is no stack {stack_name} at {where}. Name another with --stack-name, or set AWS_REGION."
        ) from None
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
    if missing := [name for name in OUTPUTS if name not in outputs]:
        raise Failure(
            f"The stack {stack_name} has no output {missing[0]}: it is not one of Cutout's, or its deployment failed "
            f"(its status is {stack['StackStatus']}). Name another with --stack-name, or deploy it again."
        )
    return Deployment(stack_name, outputs, lambda service: _make_client(session, service, endpoint_url))


def _make_client(session: "boto3.Session", service: str, endpoint_url: str | None) -> Any:  # noqa: ANN401
    """Raises Failure when the endpoint is not a URL."""
    from botocore.config import Config  # noqa: PLC0415  # as above

    make: Any = session.client  # has an overload for each of the services' names
    config = Config(
        connect_timeout=5,
        retries={"mode": "standard", "total_max_attempts": 5},
        max_pool_connections=THREADS,
        s3={"addressing_style": "path"} if endpoint_url else None,
        user_agent=_USER_AGENT,
    )
    try:
        client = make(service, endpoint_url=endpoint_url, config=config)
    except BotoCoreError:  # some are ValueErrors, such as that of a wrong region
        raise
    except ValueError as error:
        raise Failure(
            f"The endpoint cannot be used as a URL ({error}): it begins with http:// or https://. "
            "Look at --endpoint-url and AWS_ENDPOINT_URL."
        ) from None
    client.meta.events.register("before-parse", functools.partial(_check_answer, client.meta.endpoint_url))
    client.meta.events.register("after-call", functools.partial(_check_error, client.meta.endpoint_url))
    return client


def _check_answer(endpoint_url: str, operation_model: Any, response_dict: Mapping[str, Any], **_: object) -> None:  # noqa: ANN401
    """Raises NotAws for an answer without the id that AWS gives each request.

    Not for a 5xx: the SDK repeats the call, as a proxy's error may be temporary.
    """
    headers = response_dict["headers"]
    if response_dict["status_code"] < HTTPStatus.INTERNAL_SERVER_ERROR and not any(map(headers.get, _REQUEST_IDS)):
        raise NotAws(
            endpoint_url=endpoint_url,
            operation=operation_model.name,
            status=response_dict["status_code"],
            content_type=headers.get("content-type", "no type"),
        )


def _check_error(endpoint_url: str, http_response: Any, parsed: Mapping[str, Any], model: Any, **_: object) -> None:  # noqa: ANN401
    """Raises NotAws for an error without a code: the endpoint may be another service."""
    if http_response.status_code >= HTTPStatus.MULTIPLE_CHOICES and "Error" not in parsed:
        raise NotAws(
            endpoint_url=endpoint_url,
            operation=model.name,
            status=http_response.status_code,
            content_type=http_response.headers.get("content-type", "no type"),
        )
