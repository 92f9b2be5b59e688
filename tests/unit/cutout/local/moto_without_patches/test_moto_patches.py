"""CloudFormation, EventBridge, IAM and Lambda's Invoke, which moto_patches.py fixes."""

from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto import backends, settings
from moto.awslambda.models import LambdaFunction
from moto.cloudformation.models import cloudformation_backends
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.exceptions import BucketNotEmpty
from moto.s3.models import FakeBucket
from werkzeug.test import Client

from tests.unit.cutout.local.moto_without_patches.plain_moto import (
    A_BUCKET,
    A_QUEUE,
    REGION,
    STACK,
    Make,
    Untyped,
    a_template,
)


def test_a_stack_that_cannot_be_deleted_is_forgotten(stacks: Untyped, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise BucketNotEmpty(bucket_name="bucket")

    stacks.create_stack(StackName=STACK, TemplateBody=a_template(Bucket=A_BUCKET))
    monkeypatch.setattr(FakeBucket, "delete_from_cloudformation_json", refuse)
    with pytest.raises(ClientError, match="not empty"):  # CloudFormation answers, and fails later
        stacks.delete_stack(StackName=STACK)
    assert stacks.list_stacks()["StackSummaries"] == [], "_keep_stack_that_holds_objects"


def test_a_stack_that_could_not_be_created_is_kept(stacks: Untyped) -> None:
    broken = {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": {"Fn::GetAtt": ["Missing", "Arn"]}}}
    with pytest.raises(ClientError, match="Missing"):
        stacks.create_stack(StackName=STACK, TemplateBody=a_template(Queue=broken))
    assert [stack["StackName"] for stack in stacks.list_stacks()["StackSummaries"]] == [STACK], "_forget_failed_stack"


def test_a_resource_that_moto_cannot_change_is_forgotten(stacks: Untyped) -> None:
    def table(billing: str) -> dict[str, Any]:
        return {
            "Type": "AWS::DynamoDB::Table",
            "Properties": {
                "TableName": "table",
                "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
                "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
                "ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1},
                "BillingMode": billing,
            },
        }

    stacks.create_stack(StackName=STACK, TemplateBody=a_template(Table=table("PROVISIONED")))
    stacks.update_stack(StackName=STACK, TemplateBody=a_template(Table=table("PAY_PER_REQUEST")))
    backend: Untyped = cloudformation_backends[DEFAULT_ACCOUNT_ID][REGION]
    assert backend.get_stack(STACK).resource_map["Table"] is None, "_keep_what_cannot_change"


def test_a_table_of_a_template_gets_no_time_to_live(aws: Make, stacks: Untyped) -> None:
    table = {
        "Type": "AWS::DynamoDB::Table",
        "Properties": {
            "TableName": "table",
            "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
            "BillingMode": "PAY_PER_REQUEST",
            "TimeToLiveSpecification": {"AttributeName": "expires", "Enabled": True},
        },
    }
    stacks.create_stack(StackName=STACK, TemplateBody=a_template(Table=table))
    described = aws("dynamodb").describe_time_to_live(TableName="table")["TimeToLiveDescription"]
    assert described["TimeToLiveStatus"] == "DISABLED", "_create_table"


def test_the_url_of_a_queue_in_a_template_leads_to_aws_and_not_to_the_server(aws: Make) -> None:
    server = Client(DomainDispatcherApplication(create_backend_app))

    def call(service: str, **parameters: str) -> str:
        credential = f"AWS4-HMAC-SHA256 Credential=testing/20260101/{REGION}/{service}/aws4_request"
        answer = server.post(
            "/", data=parameters, headers={"Authorization": credential}, base_url="http://localhost:5000"
        )
        return answer.text

    call("cloudformation", Action="CreateStack", StackName=STACK, TemplateBody=a_template(Queue=A_QUEUE))
    path = f"/{DEFAULT_ACCOUNT_ID}/queue"
    assert f"http://localhost:5000{path}<" in call("sqs", Action="GetQueueUrl", QueueName="queue")
    described = call("cloudformation", Action="DescribeStackResources", StackName=STACK)
    assert f"https://sqs.{REGION}.amazonaws.com{path}<" in described, "_queue_url"


@pytest.mark.parametrize("schedule", ["rate(0 minutes)", "rate(1 minutes)", "rate( minutes)"])
def test_eventbridge_accepts_a_schedule_that_is_not_valid(aws: Make, schedule: str) -> None:
    assert aws("events").put_rule(Name="rule", ScheduleExpression=schedule)["RuleArn"], "_check_schedule"


def test_a_policy_of_a_role_in_a_template_is_returned_in_pythons_notation(aws: Make, stacks: Untyped) -> None:
    document = {"Version": "2012-10-17", "Statement": []}
    role = {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "RoleName": "role",
            "AssumeRolePolicyDocument": document,
            "Policies": [{"PolicyName": "policy", "PolicyDocument": document}],
        },
    }
    stacks.create_stack(StackName=STACK, TemplateBody=a_template(Role=role), Capabilities=["CAPABILITY_NAMED_IAM"])
    kept = aws("iam").get_role_policy(RoleName="role", PolicyName="policy")["PolicyDocument"]
    assert kept == str(document), "_keep_policy_as_json"


def test_lambda_does_not_report_the_log_group_of_a_function(aws: Make, function: str) -> None:
    configuration = aws("lambda").get_function_configuration(FunctionName=function)
    assert "LoggingConfig" not in configuration, "_tell_logging"


def test_the_log_group_that_a_template_names_for_a_function_is_ignored(aws: Make, stacks: Untyped) -> None:
    role = aws("iam").create_role(RoleName="role", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    function = {
        "Type": "AWS::Lambda::Function",
        "Properties": {
            "Code": {"ZipFile": "code"},
            "Handler": "index.handler",
            "Role": role,
            "Runtime": "python3.13",
            "LoggingConfig": {"LogGroup": "group"},
        },
    }
    stacks.create_stack(StackName=STACK, TemplateBody=a_template(Function=function))
    (made,) = aws("lambda").list_functions()["Functions"]
    assert "LoggingConfig" not in made, "_keep_logging"


def test_an_invocation_starts_a_container(aws: Make, function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Asked(Exception):
        pass

    def docker_client(_: object) -> None:
        raise Asked

    monkeypatch.setattr(settings, "moto_server_host", lambda: "host")  # which moto asks Docker for
    monkeypatch.setattr(LambdaFunction, "docker_client", property(docker_client))
    with pytest.raises(Asked):  # _invoke_in_environment
        aws("lambda").invoke(FunctionName=function)


def test_the_zeros_at_the_end_of_a_number_are_kept(aws: Make) -> None:
    dynamodb = aws("dynamodb")
    dynamodb.create_table(
        TableName="table",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    dynamodb.put_item(TableName="table", Item={"id": {"S": "item"}, "number": {"N": "1800000000.500"}})
    item = dynamodb.get_item(TableName="table", Key={"id": {"S": "item"}})["Item"]
    assert item["number"] == {"N": "1800000000.500"}, "_trim_number"


def test_the_list_of_motos_modules_is_built_at_each_call() -> None:
    modules: Untyped = backends.list_of_moto_modules
    assert modules() is not modules(), "the first of moto_patches.applied"
