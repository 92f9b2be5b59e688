"""The local cloud counts the functions' calls, makes them fail on demand, and runs the schedules."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import urllib3

from cutout.local.aws.deploy import DeployError
from cutout.local.aws.middleware import AwsFault
from cutout.local.cloud import LocalCloud

TEMPLATE = Path(__file__).parent / "functions" / "caller.yaml"
SPEED = 120  # so rate(1 minute) means every half second


def wait_for(look: Callable[[], Any], seconds: float = 20) -> Any:  # noqa: ANN401 whatever is found
    ends = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < ends, f"nothing came within {seconds} seconds"
        time.sleep(0.02)
    return found


@dataclass
class Stack:
    """A bucket, a queue, a table, a secret, and a function that calls them as it is told."""

    cloud: LocalCloud
    name: str
    outputs: dict[str, str]
    log: Path

    def invoke(self, service: str, call: str, *, attempts: int = 1, **arguments: object) -> dict[str, Any]:
        event = {"service": service, "call": call, "attempts": attempts, "arguments": arguments}
        answer = self.cloud.client("lambda").invoke(
            FunctionName=self.outputs["Function"], Payload=json.dumps(event).encode()
        )
        outcome: dict[str, Any] = json.loads(answer["Payload"].read())
        return outcome

    def put(self, key: str, *, attempts: int = 1) -> dict[str, Any]:
        return self.invoke("s3", "put_object", Bucket=self.outputs["Bucket"], Key=key, Body="x", attempts=attempts)

    def stored(self) -> list[str]:
        answer = self.cloud.client("s3").list_objects_v2(Bucket=self.outputs["Bucket"])
        return [found["Key"] for found in answer.get("Contents", [])]

    def given(self) -> list[dict[str, Any]]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [json.loads(line) for line in lines if line.startswith("{")]

    def ticks(self) -> list[dict[str, Any]]:
        return [event for event in self.given() if event.get("source") == "aws.events"]

    def is_silent(self) -> bool:
        """Whether no tick comes while three are due."""
        seen = len(self.ticks())
        time.sleep(3 * 60 / SPEED)
        return len(self.ticks()) == seen

    def await_silence(self) -> None:
        """Ticks on their way may still come, but none is sent half a second from now, by the event's whole seconds."""
        last = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 0.5))
        wait_for(self.is_silent)
        assert max(tick["time"] for tick in self.ticks()) <= last


Deploy = Callable[..., Stack]


@pytest.fixture(scope="module")
def log_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="module")
def cloud(log_dir: Path) -> Iterator[LocalCloud]:
    with LocalCloud(log_dir=log_dir, speed=SPEED) as running:
        yield running


@pytest.fixture(scope="module")
def deployed(cloud: LocalCloud, log_dir: Path) -> Stack:
    outputs = cloud.deploy(TEMPLATE, stack_name="calls")
    return Stack(cloud, "calls", outputs, log_dir / f"{outputs['Function']}.log")


@pytest.fixture
def stack(deployed: Stack) -> Iterator[Stack]:
    s3 = deployed.cloud.client("s3")
    for key in deployed.stored():
        s3.delete_object(Bucket=deployed.outputs["Bucket"], Key=key)
    deployed.cloud.clear_calls()
    yield deployed
    deployed.cloud.set_faults()


@pytest.fixture
def deploy(cloud: LocalCloud, log_dir: Path) -> Iterator[Deploy]:
    """Creates or updates the test's own stack."""

    def deploy(**parameters: str) -> Stack:
        outputs = cloud.deploy(TEMPLATE, stack_name="own", parameters=parameters)
        return Stack(cloud, "own", outputs, log_dir / f"{outputs['Function']}.log")

    yield deploy
    cloud.client("cloudformation").delete_stack(StackName="own")


ITEM: dict[str, Any] = {
    "Key": {"id": {"S": "a"}},
    "UpdateExpression": "SET x = :x",
    "ExpressionAttributeValues": {":x": {"N": "1"}},
}


@pytest.mark.parametrize(
    ("action", "resource", "service", "call", "arguments"),
    [
        ("PutObject", "Bucket", "s3", "put_object", {"Bucket": "Bucket", "Key": "a b/ü?.png", "Body": "x"}),
        ("ListObjectsV2", "Bucket", "s3", "list_objects_v2", {"Bucket": "Bucket"}),
        ("SendMessage", "Queue", "sqs", "send_message", {"QueueUrl": "Queue", "MessageBody": "x"}),
        ("UpdateItem", "Table", "dynamodb", "update_item", {"TableName": "Table", **ITEM}),
        ("GetItem", "Table", "dynamodb", "get_item", {"TableName": "Table", "Key": ITEM["Key"]}),
        ("GetSecretValue", "Secret", "secretsmanager", "get_secret_value", {"SecretId": "Secret"}),
        ("ListEventSourceMappings", "", "lambda", "list_event_source_mappings", {"FunctionName": "Function"}),
        ("GetEventSourceMapping", "Mapping", "lambda", "get_event_source_mapping", {"UUID": "Mapping"}),
        ("UpdateEventSourceMapping", "Mapping", "lambda", "update_event_source_mapping", {"UUID": "Mapping"}),
    ],
)
def test_any_call_of_a_function_can_go_wrong(
    stack: Stack, action: str, resource: str, service: str, call: str, arguments: dict[str, Any]
) -> None:
    named = {name: stack.outputs.get(str(value), value) for name, value in arguments.items()}
    stack.cloud.set_faults(AwsFault(action, stack.outputs.get(resource, ""), status=500, code="ToldToFail"))
    assert stack.invoke(service, call, **named)["error"] == "ToldToFail"
    assert stack.invoke(service, call, **named)["error"] is None
    assert stack.cloud.calls() == {action: 2}
    stack.cloud.clear_calls()
    assert stack.cloud.calls() == {}


def test_an_answer_without_a_body_has_only_the_status(stack: Stack) -> None:
    stack.put("a.png")
    stack.cloud.set_faults(AwsFault("HeadObject", status=503))
    assert stack.invoke("s3", "head_object", Bucket=stack.outputs["Bucket"], Key="a.png")["error"] == "503"


def test_a_call_that_goes_wrong_has_no_effect(stack: Stack) -> None:
    stack.cloud.set_faults(AwsFault("PutObject", times=None))
    assert stack.put("a.png")["error"] == stack.put("b.png")["error"] == "ServiceUnavailable"
    assert stack.stored() == []
    stack.cloud.set_faults()
    assert stack.put("c.png")["error"] is None
    assert stack.stored() == ["c.png"]


def test_only_calls_for_the_resource_go_wrong(stack: Stack) -> None:
    stack.cloud.set_faults(AwsFault("PutObject", "b.png", code="First"), AwsFault("PutObject", "b.png", code="Second"))
    assert [stack.put(key)["error"] for key in ("a.png", "b.png", "b.png", "b.png")] == [None, "First", "Second", None]


def test_each_retry_of_the_sdk_counts_as_a_call(stack: Stack) -> None:
    stack.cloud.set_faults(AwsFault("PutObject", times=2))
    assert stack.put("a.png", attempts=3)["error"] is None
    assert stack.cloud.calls() == {"PutObject": 3}


def test_a_call_may_take_effect_and_be_answered_with_an_error(stack: Stack) -> None:
    stack.cloud.set_faults(AwsFault("PutObject", after=True))
    assert stack.put("a.png")["error"] == "ServiceUnavailable"
    assert stack.stored() == ["a.png"]


def test_a_proxy_may_answer_instead_of_the_service(stack: Stack) -> None:
    page = "<html><hr><h1>Bad Gateway</h1></html>"  # which is not XML
    stack.cloud.set_faults(
        AwsFault("UpdateItem", status=502, page=page), AwsFault("ListObjectsV2", status=200, page=page)
    )
    assert stack.invoke("dynamodb", "update_item", TableName=stack.outputs["Table"], **ITEM)["error"] == "502"
    assert stack.invoke("s3", "list_objects_v2", Bucket=stack.outputs["Bucket"])["error"] == "500"


def test_the_seed_decides_which_calls_go_wrong(stack: Stack) -> None:
    def errors(seed: int) -> list[str | None]:
        stack.cloud.set_faults(AwsFault("PutObject", times=None, rate=0.5), seed=seed)
        return [stack.put("a.png")["error"] for _ in range(12)]

    first = errors(1)
    assert set(first) == {None, "ServiceUnavailable"}
    assert stack.cloud.faults_fired() == [12 - first.count(None)]
    assert errors(1) == first != errors(2)


def test_the_sdk_repeats_a_call_whose_answer_is_lost_after_it_took_effect(stack: Stack) -> None:
    create: dict[str, Any] = {"Bucket": stack.outputs["Bucket"], "Body": "x", "IfNoneMatch": "*"}
    stack.cloud.set_faults(AwsFault("PutObject", after=True, drop=True))
    assert stack.invoke("s3", "put_object", attempts=2, Key="a.png", **create)["error"] == "PreconditionFailed"
    assert stack.stored() == ["a.png"]
    assert stack.cloud.calls() == {"PutObject": 2}
    stack.cloud.set_faults(AwsFault("PutObject", after=True, drop=True))
    assert stack.invoke("s3", "put_object", Key="b.png", **create)["error"] == "ConnectionClosedError"


def test_a_repeated_update_meets_its_own_effect_after_a_lost_answer(stack: Stack) -> None:
    key = {"id": {"S": "claimed"}}
    claim: dict[str, Any] = {"TableName": stack.outputs["Table"], "Key": key, "UpdateExpression": "SET x = :x"}
    claim |= {"ConditionExpression": "attribute_not_exists(x)", "ExpressionAttributeValues": {":x": {"S": "mine"}}}
    claim |= {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    stack.cloud.set_faults(AwsFault("UpdateItem", contains=("claimed",), after=True, drop=True))
    answer = stack.invoke("dynamodb", "update_item", attempts=2, **claim)
    assert answer["error"] == "ConditionalCheckFailedException"
    assert answer["item"] == {"id": {"S": "claimed"}, "x": {"S": "mine"}}


@pytest.mark.parametrize(
    ("service", "action", "status", "code"),
    [
        ("s3", "PutObject", 409, "ConditionalRequestConflict"),
        ("dynamodb", "UpdateItem", 400, "ProvisionedThroughputExceededException"),
        ("dynamodb", "UpdateItem", 400, "ThrottlingException"),
    ],
)
def test_a_service_may_answer_with_a_conflict_or_a_throttling_error(
    stack: Stack, service: str, action: str, status: int, code: str
) -> None:
    def call() -> object:
        if service == "s3":
            return stack.put("a.png")["error"]
        return stack.invoke(service, "update_item", TableName=stack.outputs["Table"], **ITEM)["error"]

    stack.cloud.set_faults(AwsFault(action, status=status, code=code))
    assert [call(), call()] == [code, None]


@pytest.mark.parametrize(("after", "keys"), [(False, []), (True, ["a.png"])])
def test_an_answer_that_is_held_back_times_out(stack: Stack, *, after: bool, keys: list[str]) -> None:
    stack.cloud.set_faults(AwsFault("PutObject", after=after, delay_seconds=60))
    assert stack.put("a.png")["error"] == "ReadTimeoutError"
    assert stack.stored() == keys


def test_the_environment_is_killed_once_its_call_has_taken_effect(stack: Stack) -> None:
    pid = stack.put("a.png")["pid"]
    stack.cloud.set_faults(AwsFault("PutObject", after=True, kill=True))
    killed = stack.put("b.png")
    assert killed["errorType"] == "Runtime.ExitError"
    assert "signal: SIGKILL" in killed["errorMessage"]
    assert stack.stored() == ["a.png", "b.png"]
    assert stack.put("c.png")["pid"] != pid


def test_calls_that_are_not_the_functions_succeed(stack: Stack) -> None:
    bucket = stack.outputs["Bucket"]
    stack.put("a.png")
    stack.cloud.clear_calls()
    actions = ["GetObject", "PutObject", "ReceiveMessage", "DeleteMessageBatch", "SendMessage"]
    stack.cloud.set_faults(*(AwsFault(action, times=None) for action in actions))
    stack.cloud.client("s3").put_object(Bucket=bucket, Key="b.png", Body=b"x")
    get = {"Bucket": bucket, "Key": "a.png"}
    url = stack.invoke("s3", "generate_presigned_url", ClientMethod="get_object", Params=get)["answer"]
    assert "environment-" in url  # signed with the function's key, and used by another
    with urllib3.PoolManager() as pool:
        assert pool.request("GET", url).data == b"x"
    stack.cloud.client("sqs").send_message(QueueUrl=stack.outputs["Queue"], MessageBody="delivered")
    wait_for(lambda: "delivered" in stack.log.read_text())
    assert stack.cloud.calls() == {}


def test_a_schedule_invokes_its_function_at_its_rate_while_it_is_enabled(deploy: Deploy) -> None:
    began = time.monotonic()
    stack = deploy(Schedule="rate(1 minute)")  # the first tick may come before it returns
    deployed = time.monotonic()
    events = stack.cloud.client("events")
    wait_for(lambda: len(stack.ticks()) >= 4)
    assert time.monotonic() - began >= 4 * 60 / SPEED
    assert time.monotonic() - deployed < 10
    assert stack.ticks()[0]["detail-type"] == "Scheduled Event"
    assert stack.ticks()[0]["resources"] == [events.describe_rule(Name=stack.outputs["Rule"])["Arn"]]

    events.disable_rule(Name=stack.outputs["Rule"])
    stack.await_silence()
    disabled = len(stack.ticks())
    events.enable_rule(Name=stack.outputs["Rule"])
    wait_for(lambda: len(stack.ticks()) > disabled)

    assert deploy(Schedule="rate(12 hours)").outputs["Function"] == stack.outputs["Function"]
    stack.await_silence()


@pytest.mark.parametrize("schedule", ["cron(0 12 * * ? *)", "rate(5 minute)", "rate(1 hours)", "rate(0 minutes)"])
def test_a_schedule_that_is_not_a_rate_is_refused(cloud: LocalCloud, schedule: str) -> None:
    with pytest.raises(DeployError, match="is not a rate"):
        cloud.deploy(TEMPLATE, stack_name="refused", parameters={"Schedule": schedule})


@pytest.mark.parametrize(
    ("text", "reason"), [("a: [", "is not YAML"), ("- a", "no Resources"), ("Resources: []", "no Resources")]
)
def test_a_file_that_is_not_a_template_is_refused(cloud: LocalCloud, tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "template.yaml").write_text(text)
    with pytest.raises(DeployError, match=reason):
        cloud.deploy(tmp_path / "template.yaml", stack_name="refused")


def test_a_mapping_that_the_function_disabled_stays_disabled_when_the_stack_changes(deploy: Deploy) -> None:
    stack = deploy()
    mapping = stack.outputs["Mapping"]
    assert stack.invoke("lambda", "update_event_source_mapping", UUID=mapping, Enabled=False)["error"] is None
    assert deploy(BatchSize="5").outputs["Mapping"] == mapping
    (found,) = stack.cloud.client("lambda").list_event_source_mappings(FunctionName=stack.outputs["Function"])[
        "EventSourceMappings"
    ]
    assert (found["UUID"], found["State"], found["BatchSize"]) == (mapping, "Disabled", 5)


def test_a_table_expires_its_items_and_stays_when_the_stack_changes(deploy: Deploy) -> None:
    stack = deploy()
    assert deploy(Label="second").outputs == stack.outputs
    answer = stack.cloud.client("dynamodb").describe_time_to_live(TableName=stack.outputs["Table"])
    assert answer["TimeToLiveDescription"] == {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires"}


def test_the_url_of_a_queue_leads_to_the_local_cloud(stack: Stack) -> None:
    assert stack.outputs["Queue"].startswith(f"{stack.cloud.endpoint_url}/")
    queue = stack.outputs["Queue"].rsplit("/", 1)[1]
    assert stack.cloud.client("sqs").get_queue_url(QueueName=queue)["QueueUrl"] == stack.outputs["Queue"]
