"""Fixes for what moto 5.2.5 leaves out, gets wrong or does slowly: in force while `applied` lasts.

Beside each patch stands what is wrong. tests/unit/cutout/local/moto_without_patches/ shows it on moto as it is: a test
there fails when a newer moto does it right. Some patches are for speed only: `list_of_moto_modules`,
`is_message_valid_based_on_retention_period` and `attributes`, and, without such a test, the others that sqs_patches.py
and dynamodb_patches.py name so.
"""

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

from moto import backends
from moto.awslambda.models import LambdaFunction
from moto.cloudformation import models, parsing
from moto.cloudformation.models import CloudFormationBackend
from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.dynamo_type import DDBType, DynamoType
from moto.dynamodb.models.table import Table
from moto.events.exceptions import ValidationException
from moto.events.models import EventsBackend
from moto.iam.models import Role
from moto.s3.exceptions import BucketNotEmpty

from cutout.local.aws import change_sets, dynamodb_patches, s3_patches, sqs_patches
from cutout.local.aws.event_faults import EventFault
from cutout.local.aws.mappings import MappingStates
from cutout.local.lambda_runtime.runtime_api import Outcome
from cutout.local.lambda_runtime.schedules import period

Untyped: TypeAlias = Any  # of moto, which has no types, or of JSON


@contextmanager
def applied(
    invoke: Callable[[str, object], Outcome],
    endpoint_url: str,
    *,
    mapping_seconds: Callable[[], float],
    event_faults: Callable[[], Sequence[EventFault]],
    uploaded: Callable[[str, int], None],
    suffix: str | None = None,
) -> Iterator[None]:
    """`invoke` takes the ARN of a function and the event, `uploaded` the key and the size in each event of S3.

    With `suffix`, names that CloudFormation gives end with it, instead of random characters.

    `mapping_seconds`: see `MappingStates`.
    """
    replacements = [
        # Speed: moto lists its modules at each call.
        (backends, "list_of_moto_modules", lambda original: functools.cache(lambda: tuple(original()))),
        *dynamodb_patches.replacements(),
        *sqs_patches.replacements(endpoint_url),
        *s3_patches.replacements(event_faults, uploaded),
        # DynamoDB keeps the zeros at the end of a number.
        (DynamoType, "__init__", _trim_number),
        # CloudFormation gives tables no time to live, stacks no changes to look at,
        (Table, "create_from_cloudformation_json", _create_table),
        (models, "Stack", lambda _: change_sets.Stack),
        (models, "ChangeSet", lambda _: change_sets.ChangeSet),
        # keeps stacks that failed, forgets those that hold objects,
        (CloudFormationBackend, "create_stack", _forget_failed_stack),
        (CloudFormationBackend, "delete_stack", _keep_stack_that_holds_objects),
        (CloudFormationBackend, "create_change_set", change_sets.forget_what_is_in_review),
        (CloudFormationBackend, "execute_change_set", change_sets.forget_what_failed),
        # and forgets a resource of a kind that it cannot update.
        (parsing, "parse_and_update_resource", _keep_what_cannot_change),
        (parsing, "random_suffix", lambda original: (lambda: suffix) if suffix else original),
        # EventBridge takes schedules that are none, IAM keeps a policy as Python's notation.
        (EventsBackend, "put_rule", _check_schedule),
        (Role, "put_policy", _keep_policy_as_json),
        # Lambda switches a mapping at once, has its queues invoke the function, runs it in a container, and knows no
        # log groups.
        *MappingStates(mapping_seconds).replacements(),
        (LambdaFunction, "_invoke_lambda", lambda original: _invoke_in_environment(original, invoke)),
        (LambdaFunction, "create_from_cloudformation_json", _keep_logging),
        (LambdaFunction, "get_configuration", _tell_logging),
    ]
    with ExitStack() as stack:
        for owner, name, replacement in replacements:
            stack.enter_context(_replaced(owner, name, replacement))
        yield


@contextmanager
def _replaced(owner: object, name: str, replacement: Callable[[Any], object]) -> Iterator[None]:
    saved = vars(owner)[name]
    setattr(owner, name, replacement(getattr(owner, name)))
    try:
        yield
    finally:
        setattr(owner, name, saved)


def _keep_stack_that_holds_objects(original: Untyped) -> Untyped:
    """Sets DELETE_FAILED with the reason; moto would forget the stack, and fail the call."""

    def delete_stack(backend: CloudFormationBackend, name_or_stack_id: str) -> None:
        stack: Untyped = backend.stacks.get(name_or_stack_id)  # None for a name: moto calls this again with the ID
        try:
            original(backend, name_or_stack_id)
        except BucketNotEmpty as error:
            backend.stacks[stack.stack_id] = stack
            stack.status, stack.status_reason = "DELETE_FAILED", str(error)
            stack._add_stack_event("DELETE_FAILED", resource_status_reason=str(error))  # noqa: SLF001 as moto does

    return delete_stack


def _trim_number(original: Untyped) -> Untyped:
    """https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html"""

    def init(value: DynamoType, content: Untyped) -> None:
        original(value, content)
        if value.type == DDBType.NUMBER and "." in value.value:
            value.value = value.value.rstrip("0").rstrip(".")

    return init


def _create_table(original: Untyped) -> Untyped:
    """Sets the time to live that the template names; moto would ignore it."""

    def create_from_cloudformation_json(
        resource_name: str, cloudformation_json: Untyped, account_id: str, region_name: str, **rest: Untyped
    ) -> Untyped:
        table = original(resource_name, cloudformation_json, account_id, region_name, **rest)
        if time_to_live := cloudformation_json["Properties"].get("TimeToLiveSpecification"):
            dynamodb_backends[account_id][region_name].update_time_to_live(table.name, time_to_live)
        return table

    return create_from_cloudformation_json


def _forget_failed_stack(original: Untyped) -> Untyped:
    """Removes a stack that could not be created: moto would keep it, and then fail to describe any stack."""

    def create_stack(backend: CloudFormationBackend, *args: Untyped, **properties: Untyped) -> Untyped:
        known = set(backend.stacks)
        try:
            return original(backend, *args, **properties)
        except Exception:
            for stack_id in backend.stacks.keys() - known:
                del backend.stacks[stack_id]
            raise

    return create_stack


def _keep_what_cannot_change(original: Untyped) -> Untyped:
    """Keeps a changed resource of a kind that moto cannot update; moto would forget it.

    https://github.com/getmoto/moto/issues/793
    """

    def parse_and_update_resource(logical_id: str, resource_json: Untyped, stack: Untyped, **rest: Untyped) -> Untyped:
        return original(logical_id, resource_json, stack, **rest) or stack[logical_id]

    return parse_and_update_resource


def _keep_policy_as_json(original: Untyped) -> Untyped:
    """Keeps a policy of a template as JSON; moto would keep it in Python's notation."""

    def put_policy(role: Role, name: str, document: Untyped) -> None:
        original(role, name, document if isinstance(document, str) else json.dumps(document))

    return put_policy


def _check_schedule(original: Untyped) -> Untyped:
    """Refuses invalid schedules that moto accepts, such as rate(0 minutes), and those that schedules.py cannot run."""

    def put_rule(backend: EventsBackend, *args: Untyped, **properties: Untyped) -> Untyped:
        if expression := properties["scheduled_expression"]:
            try:
                period(expression)
            except ValueError as error:
                raise ValidationException(str(error)) from error
        return original(backend, *args, **properties)

    return put_rule


def _invoke_in_environment(_original: Untyped, invoke: Callable[[str, object], Outcome]) -> Untyped:
    """Lambda's Invoke: moto would start a container."""

    def invoke_lambda(function: LambdaFunction, event: object = None) -> tuple[str, bool, str]:
        outcome = invoke(function.function_arn, event)
        return outcome.payload.decode(), outcome.failed, ""

    return invoke_lambda


def _keep_logging(original: Untyped) -> Untyped:
    """Keeps the log group that the template names; moto would ignore it."""

    def create_from_cloudformation_json(
        resource_name: str, cloudformation_json: Untyped, account_id: str, region_name: str, **rest: Untyped
    ) -> Untyped:
        function = original(resource_name, cloudformation_json, account_id, region_name, **rest)
        function.logging_config = cloudformation_json["Properties"].get("LoggingConfig", {})
        return function

    return create_from_cloudformation_json


def _tell_logging(original: Untyped) -> Untyped:
    """Adds the log group, which is named after the function by default."""

    def get_configuration(function: Untyped, on_create: bool = False) -> Untyped:
        default = {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{function.function_name}"}
        logging = default | getattr(function, "logging_config", {})
        return original(function, on_create) | {"LoggingConfig": logging}

    return get_configuration
