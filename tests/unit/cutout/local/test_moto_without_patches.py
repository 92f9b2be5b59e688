"""What moto 5.2.5 gets wrong, each a reason for a patch in cutout/local/aws.

When a test here fails, moto does it itself: delete the patch, and the test.
"""

import functools
import io
import json
import zipfile
from collections.abc import Callable
from typing import Any, TypeAlias

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import backends, settings
from moto.awslambda.models import LambdaFunction
from moto.cloudformation.models import cloudformation_backends
from moto.core.common_models import CloudFormationModel
from moto.core.models import DEFAULT_ACCOUNT_ID, MockAWS
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.exceptions import BucketNotEmpty
from moto.s3.models import FakeBucket
from moto.sqs.models import Message, Queue, SQSBackend, sqs_backends
from werkzeug.test import Client

Untyped: TypeAlias = Any  # of moto, which has no types, or of JSON
Make: TypeAlias = Callable[[str], Any]
MakeBucket: TypeAlias = Callable[[dict[str, Any]], Any]
REGION = "eu-central-1"
STACK = "stack"
QUEUE_ARN = f"arn:aws:sqs:{REGION}:{DEFAULT_ACCOUNT_ID}:queue"
A_QUEUE = {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "queue"}}
A_BUCKET = {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "bucket"}}
SAM_TEMPLATE = {
    "Transform": "AWS::Serverless-2016-10-31",
    "Resources": {"Table": {"Type": "AWS::Serverless::SimpleTable", "Properties": {"TableName": "table"}}},
}
NOT_SUPPORTED = "not supported by moto's CloudFormation"


@functools.cache
def make_client(service: str) -> Any:  # noqa: ANN401 its type depends on the service
    """Made once: making a client takes longer than most tests. What the clients reach is new for each test."""
    make: Any = boto3.client  # has an overload for each of the services' names
    return make(service, region_name=REGION)


@pytest.fixture
def aws(aws_environment: None, moto: MockAWS) -> Make:
    """Makes clients of plain moto, which is empty."""
    moto.reset()
    return make_client


@pytest.fixture
def queue_url(aws: Make) -> str:
    return str(aws("sqs").create_queue(QueueName="queue")["QueueUrl"])


@pytest.fixture
def make_bucket(aws: Make) -> MakeBucket:
    """Returns the client of S3."""

    def make(notifications: dict[str, Any]) -> Any:  # noqa: ANN401
        s3 = aws("s3")
        s3.create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.put_bucket_notification_configuration(Bucket="bucket", NotificationConfiguration=notifications)
        return s3

    return make


@pytest.fixture
def function(aws: Make) -> str:
    role = aws("iam").create_role(RoleName="role", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    artefact = io.BytesIO()
    zipfile.ZipFile(artefact, "w").close()
    aws("lambda").create_function(
        FunctionName="function",
        Role=role,
        Runtime="python3.13",
        Handler="handler",
        Code={"ZipFile": artefact.getvalue()},
    )
    return "function"


@pytest.fixture
def mapping(aws: Make, function: str, queue_url: str) -> dict[str, Any]:
    made: dict[str, Any] = aws("lambda").create_event_source_mapping(FunctionName=function, EventSourceArn=QUEUE_ARN)
    return made


@pytest.fixture
def stacks(aws: Make) -> Any:  # noqa: ANN401
    return aws("cloudformation")


def a_template(**resources: dict[str, Any]) -> str:
    return json.dumps({"Resources": resources})


def receive(aws: Make, queue_url: str) -> list[dict[str, Any]]:
    """The bodies of all messages except S3's test event."""
    received = aws("sqs").receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10)
    bodies = [json.loads(message["Body"]) for message in received.get("Messages", [])]
    return [body for body in bodies if body.get("Event") != "s3:TestEvent"]


def propose(stacks: Untyped, template: str, kind: str, **rest: Untyped) -> dict[str, Any]:
    """A change set, as the service describes it."""
    made = stacks.create_change_set(
        StackName=STACK, ChangeSetName="change", ChangeSetType=kind, TemplateBody=template, **rest
    )
    described: dict[str, Any] = stacks.describe_change_set(ChangeSetName=made["Id"], StackName=STACK)
    return described


def changes(change_set: dict[str, Any]) -> set[tuple[str, str]]:
    found = [change["ResourceChange"] for change in change_set.get("Changes", [])]
    return {(change["Action"], change["LogicalResourceId"]) for change in found}


def describe(stacks: Untyped) -> dict[str, Any]:
    (stack,) = stacks.describe_stacks(StackName=STACK)["Stacks"]
    return dict(stack)


# S3's events, which s3_patches.py completes.

TO_QUEUE = {"QueueConfigurations": [{"QueueArn": QUEUE_ARN, "Events": ["s3:ObjectCreated:*"]}]}
TO_EVENT_BRIDGE: dict[str, Any] = {"EventBridgeConfiguration": {}}


def test_a_multipart_upload_sends_two_events(aws: Make, queue_url: str, make_bucket: MakeBucket) -> None:
    s3 = make_bucket(TO_QUEUE)
    upload = {"Bucket": "bucket", "Key": "key"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    etag = s3.upload_part(**upload, PartNumber=1, Body=b"image")["ETag"]
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
    names = {record["eventName"] for event in receive(aws, queue_url) for record in event["Records"]}
    assert names == {"ObjectCreated:Put", "ObjectCreated:CompleteMultipartUpload"}, "_send_event_once"


def test_an_s3_event_has_no_sequencer_and_no_version_and_encodes_slashes(
    aws: Make, queue_url: str, make_bucket: MakeBucket
) -> None:
    s3 = make_bucket(TO_QUEUE)
    s3.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket="bucket", Key="folder/key", Body=b"image")
    (event,) = receive(aws, queue_url)
    about = event["Records"][0]["s3"]["object"]
    assert "sequencer" not in about, "_complete_event"
    assert "versionId" not in about, "_complete_event"
    assert about["key"] == "folder%2Fkey", "_complete_event"


def test_events_for_eventbridge_have_other_names_than_s3s_and_share_one_sequencer(
    aws: Make, queue_url: str, make_bucket: MakeBucket
) -> None:
    aws("events").put_rule(Name="rule", EventPattern=json.dumps({"source": ["aws.s3"]}))
    aws("events").put_targets(Rule="rule", Targets=[{"Id": "1", "Arn": QUEUE_ARN}])
    s3 = make_bucket(TO_EVENT_BRIDGE)
    for body in (b"image", b"newer image"):
        s3.put_object(Bucket="bucket", Key="key", Body=body)
    first, second = (event for event in receive(aws, queue_url) if event["detail-type"] == "Object Created")
    about = first["detail"]["object"]
    assert "etag" not in about, "_send_to_event_bridge"
    assert about["sequencer"] == second["detail"]["object"]["sequencer"], "_send_to_event_bridge"
    assert about["version-id"] == "null", "_send_to_event_bridge: the bucket has no versions"
    assert first["id"] == second["id"], "_send_to_event_bridge"
    assert first["detail"]["reason"] == "ObjectCreated", "_send_to_event_bridge: S3 says PutObject"


def test_a_rule_with_a_schedule_receives_s3s_events(aws: Make, queue_url: str, make_bucket: MakeBucket) -> None:
    aws("events").put_rule(Name="rule", ScheduleExpression="rate(1 minute)")
    aws("events").put_targets(Rule="rule", Targets=[{"Id": "1", "Arn": QUEUE_ARN}])
    make_bucket(TO_EVENT_BRIDGE).put_object(Bucket="bucket", Key="key", Body=b"image")
    assert {event["source"] for event in receive(aws, queue_url)} == {"aws.s3"}, "_send_to_event_bridge"


def test_an_upload_without_tags_sends_eventbridge_an_event_about_tags(
    aws: Make, queue_url: str, make_bucket: MakeBucket
) -> None:
    aws("events").put_rule(Name="rule", EventPattern=json.dumps({"source": ["aws.s3"]}))
    aws("events").put_targets(Rule="rule", Targets=[{"Id": "1", "Arn": QUEUE_ARN}])
    make_bucket(TO_EVENT_BRIDGE).put_object(Bucket="bucket", Key="key", Body=b"image")
    kinds = {event["detail-type"] for event in receive(aws, queue_url)}
    assert kinds == {"Object Created", "Object Tags Added"}, "_send_to_event_bridge"


# Buckets of a template, which s3_patches.py configures.

A_CONFIGURED_BUCKET = {
    "Type": "AWS::S3::Bucket",
    "Properties": {
        "BucketName": "bucket",
        "VersioningConfiguration": {"Status": "Enabled"},
        "NotificationConfiguration": {
            "EventBridgeConfiguration": {"EventBridgeEnabled": True},
            "QueueConfigurations": [{"Event": "s3:ObjectCreated:*", "Queue": QUEUE_ARN}],
        },
    },
}


@pytest.mark.parametrize("patch", ["_create_bucket", "_update_bucket"])
def test_a_bucket_of_a_template_gets_neither_versions_nor_notifications(
    aws: Make, stacks: Untyped, queue_url: str, patch: str
) -> None:
    if patch == "_create_bucket":
        stacks.create_stack(StackName=STACK, TemplateBody=a_template(Bucket=A_CONFIGURED_BUCKET))
    else:
        stacks.create_stack(StackName=STACK, TemplateBody=a_template(Bucket=A_BUCKET))
        stacks.update_stack(StackName=STACK, TemplateBody=a_template(Bucket=A_CONFIGURED_BUCKET))
    assert "Status" not in aws("s3").get_bucket_versioning(Bucket="bucket"), patch
    notifications = aws("s3").get_bucket_notification_configuration(Bucket="bucket")
    assert notifications.keys() == {"ResponseMetadata"}, patch


def test_a_bucket_with_objects_stays_although_its_stack_is_deleted(aws: Make, stacks: Untyped) -> None:
    stacks.create_stack(StackName=STACK, TemplateBody=a_template(Bucket=A_BUCKET))
    aws("s3").put_object(Bucket="bucket", Key="key", Body=b"image")
    stacks.delete_stack(StackName=STACK)
    (stack,) = stacks.list_stacks()["StackSummaries"]
    assert stack["StackStatus"] == "DELETE_COMPLETE", "_refuse_to_delete_objects"
    assert aws("s3").list_objects_v2(Bucket="bucket")["KeyCount"] == 1


# The rest of CloudFormation, which moto_patches.py fixes.


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


# Change sets, which change_sets.py replaces.


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


# Resources of a template that moto_resources.py adds.


@pytest.mark.parametrize(
    "kind",
    [
        "AWS::CloudWatch::Alarm",
        "AWS::S3::BucketPolicy",
        "AWS::SNS::Subscription",
        "AWS::SQS::QueuePolicy",
        "AWS::SecretsManager::Secret",
    ],
)
def test_cloudformation_lacks_a_kind_of_resource(kind: str) -> None:
    known = {
        model.cloudformation_type()
        for model in CloudFormationModel.__subclasses__()
        if model.__module__.startswith("moto.")  # ours are subclasses as well, once something has imported them
    }
    assert "AWS::SQS::Queue" in known
    assert kind not in known, "moto_resources"


# SQS with several callers, which sqs_patches.py makes safe.


def a_queue() -> Untyped:
    return sqs_backends[DEFAULT_ACCOUNT_ID][REGION].get_queue("queue")


def test_a_deletion_replaces_the_messages_of_a_queue_by_a_copy(aws: Make, queue_url: str) -> None:
    aws("sqs").send_message(QueueUrl=queue_url, MessageBody="body")
    (message,) = aws("sqs").receive_message(QueueUrl=queue_url)["Messages"]
    before = a_queue()._messages
    aws("sqs").delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
    assert a_queue()._messages is not before, "_delete_in_place: two deletions at a time lose one"


def test_the_groups_of_a_queue_are_read_from_a_set_that_another_call_may_change(aws: Make, queue_url: str) -> None:
    queue = a_queue()

    class Late(Message):
        """Another message arrives while the group of this one is read."""

        @property
        def group_id(self) -> None:
            queue.pending_messages.add(Message("2", "body"))

        @group_id.setter
        def group_id(self, group_id: str | None) -> None:
            """The queue is none with groups."""

    queue.pending_messages.add(Late("1", "body"))
    with pytest.raises(RuntimeError, match="changed size during iteration"):
        _ = queue.pending_message_groups  # _pending_groups


# EventBridge, IAM and Lambda's Invoke, which moto_patches.py fixes.


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


# Event source mappings, which mappings.py gives states.


def test_a_mapping_changes_at_once(aws: Make, mapping: dict[str, Any]) -> None:
    assert mapping["State"] == "Enabled", "MappingStates._create: AWS says Creating"
    for enabled, state in ((False, "Disabled"), (True, "Enabled")):  # the second while the first would last
        changed = aws("lambda").update_event_source_mapping(UUID=mapping["UUID"], Enabled=enabled)
        assert changed["State"] == state, "MappingStates._update: AWS says Disabling, and then ResourceInUseException"


def test_a_mapping_is_deleted_at_once(aws: Make, mapping: dict[str, Any]) -> None:
    aws("lambda").delete_event_source_mapping(UUID=mapping["UUID"])
    assert aws("lambda").list_event_source_mappings()["EventSourceMappings"] == [], "MappingStates._delete"


@pytest.mark.parametrize("change", ["update", "delete"])
def test_changing_a_mapping_that_does_not_exist_is_not_an_error(aws: Make, change: str) -> None:
    call = getattr(aws("lambda"), f"{change}_event_source_mapping")
    answer = call(UUID="00000000-0000-0000-0000-000000000000")
    assert answer.keys() == {"ResponseMetadata"}, f"MappingStates._{change}"


@pytest.mark.parametrize(
    "setting",
    [
        {"BatchSize": 11},  # without a batching window
        {"ScalingConfig": {"MaximumConcurrency": 1001}},  # boto3 itself would refuse 1
    ],
    ids=["BatchSize", "MaximumConcurrency"],
)
def test_a_mapping_accepts_settings_that_lambda_refuses(
    aws: Make, function: str, queue_url: str, setting: dict[str, Any]
) -> None:
    functions = aws("lambda")
    made = functions.create_event_source_mapping(FunctionName=function, EventSourceArn=QUEUE_ARN, **setting)
    assert setting.items() <= made.items(), "mappings._check"
    changed = functions.update_event_source_mapping(UUID=made["UUID"], **setting)
    assert setting.items() <= changed.items(), "mappings._check"


def test_a_queue_invokes_the_function_of_a_mapping_itself(
    aws: Make, queue_url: str, mapping: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    invoked = []

    def invoke(_: LambdaFunction, event: dict[str, Any]) -> tuple[str, bool, str]:
        invoked.append(event)
        return "{}", False, ""

    monkeypatch.setattr(LambdaFunction, "_invoke_lambda", invoke)
    aws("sqs").send_message(QueueUrl=queue_url, MessageBody="body")
    assert len(invoked) == 1, "MappingStates._create"


# What moto_patches.py makes faster.


def test_the_list_of_motos_modules_is_built_at_each_call() -> None:
    modules: Untyped = backends.list_of_moto_modules
    assert modules() is not modules(), "the first of moto_patches.applied"


def test_each_received_message_makes_moto_count_the_whole_queue(
    aws: Make, queue_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws("sqs").send_message(QueueUrl=queue_url, MessageBody="body")
    asked = []
    messages: Untyped = Queue.messages

    def read(queue: Queue) -> list[Message]:
        asked.append(queue)
        return list(messages.fget(queue))

    monkeypatch.setattr(Queue, "messages", property(read))
    backend: Untyped = sqs_backends[DEFAULT_ACCOUNT_ID][REGION]
    (message,) = a_queue()._messages
    assert SQSBackend.is_message_valid_based_on_retention_period(backend, "queue", message)
    assert asked, "_check_retention"
