"""Least privilege: calls that the policies of a function's role do not allow are refused, as on AWS.

moto's own access control would also require policies for the tests, and does not recognise a bucket in a path. Only its
matcher of policies is used.
"""

import functools
import re
import threading
from dataclasses import dataclass
from typing import Any, TypeAlias

from moto.awslambda.models import lambda_backends
from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.iam.models import iam_backends
from moto.s3.exceptions import MissingBucket
from moto.s3.models import s3_backends
from moto.secretsmanager.models import secretsmanager_backends

from cutout.local.aws.middleware import Call

Json: TypeAlias = Any

_PARTITION, _ACCOUNT = "aws", "123456789012"  # moto's


@dataclass(frozen=True, slots=True)
class Use:
    """Something that a function did: an IAM action on the resource with this ARN."""

    function: str
    action: str
    resource: str


class Permissions:
    def __init__(self, region: str) -> None:
        self._region = region
        self._uses: set[Use] = set()
        self._lock = threading.Lock()

    def allow(self, function: str, call: Call) -> bool:
        """Whether the role of the function allows the call; what is allowed is remembered as used."""
        action, resource = self._needed(call)
        if not self._allows(function, action, resource):
            return False
        if call.service == "s3" and call.action in ("GetObject", "HeadObject"):
            bucket, _, key = call.path.lstrip("/").partition("/")
            # Without permission to list the bucket, S3 answers 403, not 404, for an object that does not exist.
            if not _exists(bucket, key):
                return self._allows(function, "s3:ListBucket", f"arn:{_PARTITION}:s3:::{bucket}")
        return True

    def uses(self) -> set[Use]:
        with self._lock:
            return self._uses.copy()

    def _allows(self, function: str, action: str, resource: str) -> bool:
        results = {policy.is_action_permitted(action, resource) for policy in self._policies(function)}
        allowed = PermissionResult.PERMITTED in results and PermissionResult.DENIED not in results
        if allowed:
            with self._lock:
                self._uses.add(Use(function, action, resource))
        return allowed

    def _needed(self, call: Call) -> tuple[str, str]:
        """The IAM action of a call, and the ARN of its resource.

        https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
        """
        match call.service:
            case "s3":
                action = {"HeadObject": "GetObject", "HeadBucket": "ListBucket", "ListObjectsV2": "ListBucket"}.get(
                    call.action, call.action
                )
                version = "Version" if action == "GetObject" and "versionId=" in call.environ["QUERY_STRING"] else ""
                return f"s3:{action}{version}", f"arn:{_PARTITION}:s3:::{call.path.lstrip('/')}"
            case "sqs":
                resource = self._arn("sqs", call.resource.rsplit("/", 1)[1])
            case "dynamodb":
                resource = self._arn("dynamodb", f"table/{call.resource}")
            case "secretsmanager":
                secret = secretsmanager_backends[_ACCOUNT][self._region].secrets.get(call.resource)
                resource = str(secret.arn) if secret else call.resource
            case "lambda" if found := re.search("/event-source-mappings/([^/]+)", call.path):
                resource = self._arn("lambda", f"event-source-mapping:{found[1]}")
            case _:
                resource = "*"
        return f"{call.service}:{call.action}", resource

    def _arn(self, service: str, resource: str) -> str:
        return f"arn:{_PARTITION}:{service}:{self._region}:{_ACCOUNT}:{resource}"

    def _policies(self, function: str) -> list[IAMPolicy]:
        role_arn = lambda_backends[_ACCOUNT][self._region].get_function(function).role
        role = iam_backends[_ACCOUNT][_PARTITION].get_role_by_arn(role_arn)
        managed = [IAMPolicy(policy) for policy in role.managed_policies.values()]
        return [*map(_policy, role.policies.values()), *managed]


def _exists(bucket: str, key: str) -> bool:
    try:
        return s3_backends[_ACCOUNT][_PARTITION].get_object(bucket, key) is not None
    except MissingBucket:
        return False


@functools.cache
def _policy(document: str) -> IAMPolicy:
    return IAMPolicy(document.replace("?", "."))  # the matcher knows only `*`, and reads regular expressions
