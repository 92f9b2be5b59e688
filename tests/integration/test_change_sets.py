"""The local cloud's CloudFormation answers as `sam deploy` and `sam delete` expect."""

import io
import json
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, WaiterError

from cutout.local.cloud import LocalCloud

FUNCTIONS = Path(__file__).parent / "functions"
NAME = "deployed"


def wait_for(look: Callable[[], Any], seconds: float = 20) -> Any:  # noqa: ANN401 whatever is found
    ends = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < ends, f"nothing came within {seconds} seconds"
        time.sleep(0.02)
    return found


class Client:
    """Does what `sam deploy` does."""

    def __init__(self, cloud: LocalCloud, log_dir: Path) -> None:
        self.cloudformation, self.s3, self.sqs = (cloud.client(name) for name in ("cloudformation", "s3", "sqs"))
        self.lambda_ = cloud.client("lambda")
        self._log_dir = log_dir
        self._numbers = count(1)
        artefact = io.BytesIO()
        with zipfile.ZipFile(artefact, "w") as archive:
            archive.write(FUNCTIONS / "probe.py", "probe.py")
        self.s3.create_bucket(Bucket="artefacts")
        self.s3.put_object(Bucket="artefacts", Key="probe.zip", Body=artefact.getvalue())
        self.template = (
            (FUNCTIONS / "template.yaml").read_text().replace("CodeUri: .", "CodeUri: s3://artefacts/probe.zip")
        )

    def propose(self, kind: str, template: str | None = None, **parameters: str) -> dict[str, Any]:
        """A change set, as the service describes it; a parameter that is not given keeps its value."""
        given = [{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()]
        kept = [
            {"ParameterKey": name, "UsePreviousValue": True}
            for name in ("Handler", "Marker", "Timeout", "BatchSize", "Window", "MaximumConcurrency")
            if kind == "UPDATE" and name not in parameters
        ]
        made = self.cloudformation.create_change_set(
            StackName=NAME,
            ChangeSetName=f"change-{next(self._numbers)}",
            ChangeSetType=kind,
            TemplateBody=template or self.template,
            Parameters=given + kept,
            Tags=[{"Key": "made-by", "Value": "test"}],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        )
        described: dict[str, Any] = self.cloudformation.describe_change_set(ChangeSetName=made["Id"], StackName=NAME)
        return described

    def execute(self, change_set: dict[str, Any]) -> None:
        self.cloudformation.execute_change_set(ChangeSetName=change_set["ChangeSetId"], StackName=NAME)

    def create(self, **parameters: str) -> dict[str, Any]:
        self.execute(self.propose("CREATE", **parameters))
        return self.describe()

    def describe(self) -> dict[str, Any]:
        (stack,) = self.cloudformation.describe_stacks(StackName=NAME)["Stacks"]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
        return {**stack, "Outputs": outputs}

    def markers(self, function: str) -> list[str]:
        """What the function found in MARKER when it was given the message "hello"."""
        log = self._log_dir / f"{function}.log"
        lines = log.read_text().splitlines() if log.exists() else []
        printed = [json.loads(line) for line in lines if line.startswith("{")]
        return [
            line["environ"]["MARKER"]
            for line in printed
            if any(record["body"] == "hello" for record in line.get("records", []))
        ]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    logs = tmp_path_factory.mktemp("logs")
    with LocalCloud(log_dir=logs) as cloud:
        yield Client(cloud, logs)


@pytest.fixture
def client(running: Client) -> Iterator[Client]:
    yield running
    running.cloudformation.delete_stack(StackName=NAME)


def changes(change_set: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {
        (change["Action"], change["LogicalResourceId"], change["ResourceType"])
        for change in (change["ResourceChange"] for change in change_set["Changes"])
    }


def test_a_change_set_creates_the_stack_of_the_expanded_template(client: Client) -> None:
    change_set = client.propose("CREATE", Marker="made")
    assert (change_set["Status"], change_set["ExecutionStatus"]) == ("CREATE_COMPLETE", "AVAILABLE")
    assert client.describe()["StackStatus"] == "REVIEW_IN_PROGRESS"
    assert {
        ("Add", "Function", "AWS::Lambda::Function"),
        ("Add", "FunctionQueue", "AWS::Lambda::EventSourceMapping"),
        ("Add", "Bucket", "AWS::S3::Bucket"),
    } <= changes(change_set)

    client.execute(change_set)
    client.cloudformation.get_waiter("stack_create_complete").wait(StackName=change_set["StackId"])
    stack = client.describe()
    assert stack["Tags"] == [{"Key": "made-by", "Value": "test"}]
    assert {"ParameterKey": "Window", "ParameterValue": "0"} in stack["Parameters"]
    events = client.cloudformation.describe_stack_events(StackName=NAME)["StackEvents"]
    assert [event["ResourceStatus"] for event in events] == [
        "CREATE_COMPLETE",
        "CREATE_IN_PROGRESS",
        "REVIEW_IN_PROGRESS",
    ]
    original = client.cloudformation.get_template(StackName=NAME, TemplateStage="Original")["TemplateBody"]
    assert original == client.template
    client.sqs.send_message(QueueUrl=stack["Outputs"]["Queue"], MessageBody="hello")
    assert wait_for(lambda: client.markers(stack["Outputs"]["Function"])) == ["made"]


def test_a_changed_parameter_changes_what_refers_to_it(client: Client) -> None:
    made = client.create(Marker="first", Timeout="19")
    change_set = client.propose("UPDATE", Marker="second")
    assert changes(change_set) == {("Modify", "Function", "AWS::Lambda::Function")}

    client.execute(change_set)
    stack = client.describe()
    assert stack["StackStatus"] == "UPDATE_COMPLETE"
    assert stack["Outputs"] == made["Outputs"]
    assert {"ParameterKey": "Timeout", "ParameterValue": "19"} in stack["Parameters"]
    client.sqs.send_message(QueueUrl=stack["Outputs"]["Queue"], MessageBody="hello")
    assert wait_for(lambda: client.markers(stack["Outputs"]["Function"])) == ["second"]


def test_a_resource_that_left_the_template_is_deleted_and_no_longer_polled(client: Client) -> None:
    client.create()
    wait_for(lambda: any(thread.name.startswith("poller") for thread in threading.enumerate()))
    before, after = client.template.index("      Events:"), client.template.index("Outputs:")
    change_set = client.propose("UPDATE", client.template[:before] + client.template[after:])
    assert ("Remove", "FunctionQueue", "AWS::Lambda::EventSourceMapping") in changes(change_set)

    client.execute(change_set)
    assert client.lambda_.list_event_source_mappings()["EventSourceMappings"] == []
    wait_for(lambda: not any(thread.name.startswith("poller") for thread in threading.enumerate()))


def test_a_change_set_without_changes_fails_and_says_so(client: Client) -> None:
    client.create(Marker="same")
    change_set = client.propose("UPDATE")
    assert (change_set["Status"], change_set["ExecutionStatus"]) == ("FAILED", "UNAVAILABLE")
    assert "didn't contain changes" in change_set["StatusReason"]
    assert change_set["Changes"] == []


def test_a_template_that_cannot_be_expanded_is_refused_with_the_reason(client: Client) -> None:
    with pytest.raises(ClientError, match=r"Transform AWS::Serverless-2016-10-31 failed with: .*Nonsense"):
        client.propose("CREATE", client.template.replace("Runtime: python3.13", "Nonsense: 1"))


def test_a_stack_that_cannot_be_created_is_removed_and_its_name_is_free(client: Client) -> None:
    change_set = client.propose("CREATE", client.template.replace("!GetAtt Letters.Arn", "!GetAtt Missing.Arn"))
    with pytest.raises(ClientError, match="Missing"):
        client.execute(change_set)
    with pytest.raises(ClientError, match="does not exist"):
        client.describe()
    assert client.create()["StackStatus"] == "CREATE_COMPLETE"


def test_only_a_stack_in_review_makes_way_for_a_new_change_set(client: Client) -> None:
    client.propose("CREATE", Marker="declined")
    assert client.create(Marker="accepted")["StackStatus"] == "CREATE_COMPLETE"
    with pytest.raises(ClientError, match="already exists"):
        client.propose("CREATE")


def test_a_stack_with_objects_in_its_bucket_is_not_deleted(client: Client) -> None:
    bucket = client.create()["Outputs"]["Bucket"]
    put = client.s3.put_object(Bucket=bucket, Key="photo.jpg", Body=b"image")
    client.cloudformation.delete_stack(StackName=NAME)
    with pytest.raises(WaiterError, match="DELETE_FAILED"):
        client.cloudformation.get_waiter("stack_delete_complete").wait(StackName=NAME)
    assert "not empty" in client.describe()["StackStatusReason"]
    assert client.s3.get_object(Bucket=bucket, Key="photo.jpg")["Body"].read() == b"image"

    client.s3.delete_object(Bucket=bucket, Key="photo.jpg", VersionId=put["VersionId"])
    client.cloudformation.delete_stack(StackName=NAME)
    client.cloudformation.get_waiter("stack_delete_complete").wait(StackName=NAME)
    assert bucket not in {found["Name"] for found in client.s3.list_buckets()["Buckets"]}
