"""Change sets, which change_sets.py replaces."""

import json

import pytest
from botocore.exceptions import ClientError
from moto.cloudformation.models import cloudformation_backends
from moto.core.models import DEFAULT_ACCOUNT_ID

from tests.unit.cutout.local.moto_without_patches.plain_moto import (
    A_BUCKET,
    A_QUEUE,
    NOT_SUPPORTED,
    REGION,
    SAM_TEMPLATE,
    STACK,
    Make,
    Untyped,
    a_template,
    changes,
    describe,
    propose,
)


def test_change_sets_lack_the_sam_transform(stacks: Untyped) -> None:
    change_set = propose(stacks, json.dumps(SAM_TEMPLATE), "CREATE")
    (change,) = change_set["Changes"]
    assert change["ResourceChange"]["ResourceType"] == "AWS::Serverless::SimpleTable", "ChangeSet._parse_template"


def test_stacks_lack_the_sam_transform(stacks: Untyped) -> None:
    with pytest.warns(UserWarning, match=NOT_SUPPORTED):
        stacks.create_stack(StackName=STACK, TemplateBody=json.dumps(SAM_TEMPLATE))
    backend: Untyped = cloudformation_backends[DEFAULT_ACCOUNT_ID][REGION]
    assert "Transform" in backend.get_stack(STACK).template_dict, "Stack._parse_template"


def test_a_change_set_gives_its_stack_resources_but_nothing_else(stacks: Untyped) -> None:
    template = {
        "Description": "what it is for",
        "Resources": {"Queue": A_QUEUE},
        "Outputs": {"Queue": {"Value": {"Ref": "Queue"}}},
    }
    propose(stacks, json.dumps(template), "CREATE")
    stacks.execute_change_set(ChangeSetName="change", StackName=STACK)
    assert stacks.describe_stack_resources(StackName=STACK)["StackResources"]
    assert "Outputs" not in describe(stacks), "ChangeSet.apply"
    assert "Description" not in describe(stacks), "ChangeSet.apply"


def test_a_change_set_does_not_change_the_tags_of_a_stack(stacks: Untyped) -> None:
    stacks.create_stack(StackName=STACK, TemplateBody=a_template(Queue=A_QUEUE), Tags=[{"Key": "by", "Value": "old"}])
    propose(stacks, a_template(Queue=A_QUEUE, Bucket=A_BUCKET), "UPDATE", Tags=[{"Key": "by", "Value": "new"}])
    stacks.execute_change_set(ChangeSetName="change", StackName=STACK)
    assert describe(stacks)["Tags"] == [{"Key": "by", "Value": "old"}], "ChangeSet.apply"


A_TEMPLATE_WITH_A_PARAMETER = json.dumps(
    {
        "Parameters": {"Name": {"Type": "String", "Default": "first"}},
        "Resources": {"Queue": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": {"Ref": "Name"}}}},
    }
)


def test_a_change_set_does_not_say_what_a_changed_parameter_changes(stacks: Untyped) -> None:
    stacks.create_stack(StackName=STACK, TemplateBody=A_TEMPLATE_WITH_A_PARAMETER)
    parameters = [{"ParameterKey": "Name", "ParameterValue": "second"}]
    change_set = propose(stacks, A_TEMPLATE_WITH_A_PARAMETER, "UPDATE", Parameters=parameters)
    assert change_set["Status"] == "CREATE_COMPLETE"
    assert changes(change_set) == set(), "ChangeSet.diff"


def test_a_parameter_that_is_set_to_its_default_counts_as_a_change(stacks: Untyped) -> None:
    template = json.loads(A_TEMPLATE_WITH_A_PARAMETER)
    template["Parameters"]["Other"] = {"Type": "String", "Default": "other"}
    stacks.create_stack(StackName=STACK, TemplateBody=json.dumps(template))
    parameters = [{"ParameterKey": "Name", "UsePreviousValue": True}]
    change_set = propose(stacks, json.dumps(template), "UPDATE", Parameters=parameters)
    assert change_set["Status"] == "CREATE_COMPLETE", "change_sets._complete: on AWS it has FAILED"


def test_a_resource_without_properties_counts_as_changed(stacks: Untyped) -> None:
    bare = {"Type": "AWS::SQS::Queue"}
    stacks.create_stack(StackName=STACK, TemplateBody=a_template(Bare=bare))
    change_set = propose(stacks, a_template(Bare=bare, Queue=A_QUEUE), "UPDATE")
    assert changes(change_set) == {("Add", "Queue"), ("Modify", "Bare")}, "change_sets._expanded"


def test_a_second_change_set_for_a_new_stack_makes_two_stacks_of_one_name(stacks: Untyped) -> None:
    for _ in range(2):
        propose(stacks, a_template(Queue=A_QUEUE), "CREATE")
    names = [stack["StackName"] for stack in stacks.describe_stacks()["Stacks"]]
    assert names == [STACK, STACK], "forget_what_is_in_review"


def test_a_stack_that_exists_can_be_created_again_by_a_change_set(stacks: Untyped) -> None:
    stacks.create_stack(StackName=STACK, TemplateBody=a_template(Queue=A_QUEUE))
    assert propose(stacks, a_template(Bucket=A_BUCKET), "CREATE")["Status"] == "CREATE_COMPLETE", (
        "forget_what_is_in_review: CloudFormation refuses it"
    )


def test_a_stack_that_a_change_set_could_not_create_is_kept_and_the_error_is_not_cloudformations(
    aws: Make, stacks: Untyped
) -> None:
    fifo = {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "queue", "FifoQueue": True}}
    propose(stacks, a_template(Queue=fifo), "CREATE")
    with pytest.raises(ClientError) as raised:
        stacks.execute_change_set(ChangeSetName="change", StackName=STACK)
    assert raised.value.response["Error"]["Code"] != "ValidationError", "forget_what_failed"
    assert describe(stacks)["StackStatus"] == "REVIEW_IN_PROGRESS", "forget_what_failed"
