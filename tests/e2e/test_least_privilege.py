"""Every permission that the template grants is used.

All end-to-end tests show that every needed permission is granted: the local cloud refuses a function's call unless the
policies of its role allow it.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest
from moto.iam.access_control import IAMPolicyStatement, PermissionResult

from cutout.local.aws.permissions import Use
from cutout.local.pixelcut.faults import Rule

# Permissions that Lambda itself uses, under the function's role.
# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
# https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs.html
USED_BY_LAMBDA_ITSELF = {
    "logs:CreateLogStream", "logs:PutLogEvents",
    "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes",
}  # fmt: skip


@pytest.fixture(scope="module")
def uses(deployed: Any, make_picture: Callable[..., bytes]) -> set[Use]:  # noqa: ANN401
    """What the functions do while everything that can happen to uploads happens."""
    stack, functions = deployed, deployed.cloud.client("lambda")
    bucket, queue = stack.outputs["InputBucketName"], stack.outputs["UploadQueueUrl"]
    (reopen,) = (f["FunctionName"] for f in functions.list_functions()["Functions"] if "Reopen" in f["FunctionName"])
    stack.stand_in.set_faults(
        Rule(on="removal", source="/throttled.", status=429, times=1),
        Rule(on="removal", source="/failing.", status=500),
    )
    stack.switch_mapping(enabled=False)
    # One that is at its last attempt; the bucket's own message would be at its first.
    stack.upload("failing.png", make_picture(7))
    stack.sqs.purge_queue(QueueUrl=queue)
    etag = stack.s3.head_object(Bucket=bucket, Key="failing.png")["ETag"].strip('"')
    about = {"bucket": {"name": bucket}, "object": {"key": "failing.png", "eTag": etag}}
    stack.sqs.send_message(
        QueueUrl=queue,
        MessageBody=json.dumps({"Records": [{"eventName": "ObjectCreated:Put", "s3": about}]}),
        MessageAttributes={"Attempts": {"DataType": "Number", "StringValue": "4"}},
    )
    for number, name in enumerate(("twice", "throttled", "deleted")):
        stack.upload(f"{name}.png", make_picture(number))
    stack.s3.delete_object(Bucket=bucket, Key="deleted.png")
    stack.switch_mapping(enabled=True)
    stack.wait_for_cutout("twice.png")
    stack.wait_for_cutout("throttled.png")
    stack.wait_for_letter("failing.png")
    stack.upload("twice.png", make_picture(20))
    stack.wait_until(lambda: stack.cloud.calls()["PutObject"] >= 3, "new cutout of twice.png")
    stack.stand_in.set_faults(Rule(on="removal", source="/forbidden.", status=403, times=1))
    stack.upload("forbidden.png", make_picture(8))
    stack.wait_until(lambda: "paused_by" in stack.intake, "pause of the intake")
    functions.invoke(FunctionName=reopen)
    assert "paused_by" not in stack.intake
    stack.wait_for_cutout("forbidden.png")
    stack.wait_until(lambda: "reopened_at" not in stack.intake, "end of the probation")
    found: set[Use] = stack.cloud.uses()
    return found


def test_each_permission_is_used(deployed: Any, uses: set[Use]) -> None:  # noqa: ANN401
    iam, functions = deployed.cloud.client("iam"), deployed.cloud.client("lambda")
    unused = set()
    for function in functions.list_functions()["Functions"]:
        name, role = function["FunctionName"], function["Role"].rsplit("/", 1)[1]
        assert iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []
        for policy in iam.list_role_policies(RoleName=role)["PolicyNames"]:
            document = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
            for statement in document["Statement"]:
                assert isinstance(statement["Action"], str), "one action a statement"
                assert isinstance(statement["Resource"], str), "one resource a statement"
                used = any(
                    IAMPolicyStatement(statement).is_action_permitted(use.action, use.resource)
                    is PermissionResult.PERMITTED
                    for use in uses
                    if use.function == name
                )
                if not used and statement["Action"] not in USED_BY_LAMBDA_ITSELF:
                    unused.add((name, statement["Sid"]))
    assert unused == set()


def test_no_permission_is_for_all_actions_or_needlessly_for_all_resources(uses: set[Use]) -> None:
    assert not any("*" in use.action for use in uses)
    assert not any(use.resource == "*" for use in uses)
