"""An event source mapping takes time to change, delivers what it received, and delivers at least once."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cutout.local.cloud import LocalCloud
from cutout.local.lambda_runtime.delivery_faults import DeliveryFault, DeliveryFaults

TEMPLATE = Path(__file__).parent / "functions" / "template.yaml"
QUICK, SLOW = 0.1, 1.5  # seconds of a transition


def wait_for(look: Callable[[], Any], seconds: float = 20) -> Any:  # noqa: ANN401 whatever is found
    ends = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < ends, f"nothing came within {seconds} seconds"
        time.sleep(0.02)
    return found


@dataclass
class Stack:
    """A queue that the function of functions/probe.py is mapped to."""

    cloud: LocalCloud
    outputs: dict[str, str]
    log: Path

    def __post_init__(self) -> None:
        self.functions, self.sqs = self.cloud.client("lambda"), self.cloud.client("sqs")
        (mapping,) = self.functions.list_event_source_mappings(FunctionName=self.outputs["Function"])[
            "EventSourceMappings"
        ]
        self.mapping: str = mapping["UUID"]

    def update(self, **changes: object) -> str:
        answer: str = self.functions.update_event_source_mapping(UUID=self.mapping, **changes)["State"]
        return answer

    def refusal(self, **changes: object) -> tuple[int, str, str]:
        with pytest.raises(ClientError) as refused:
            self.update(**changes)
        error = refused.value.response
        return error["ResponseMetadata"]["HTTPStatusCode"], error["Error"]["Code"], error["Error"]["Message"]

    @property
    def state(self) -> str:
        state: str = self.functions.get_event_source_mapping(UUID=self.mapping)["State"]
        return state

    @property
    def listed_state(self) -> str:
        (found,) = self.functions.list_event_source_mappings(FunctionName=self.outputs["Function"])[
            "EventSourceMappings"
        ]
        return str(found["State"])

    def send(self, *bodies: str) -> None:
        entries = [{"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies)]
        self.sqs.send_message_batch(QueueUrl=self.outputs["Queue"], Entries=entries)

    def deliveries(self, body: str) -> list[int]:
        """The receive count of each delivery of a message."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        given = [json.loads(line) for line in lines if line.startswith("{")]
        records = [record for line in given for record in line.get("records", [])]
        return [int(r["attributes"]["ApproximateReceiveCount"]) for r in records if r["body"] == body]

    @property
    def is_empty(self) -> bool:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.sqs.get_queue_attributes(QueueUrl=self.outputs["Queue"], AttributeNames=names)
        return set(answer["Attributes"].values()) == {"0"}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    with LocalCloud(log_dir=tmp_path_factory.mktemp("logs"), mapping_seconds=QUICK) as running:
        yield running


@pytest.fixture
def stack(cloud: LocalCloud) -> Iterator[Stack]:
    parameters = {"VisibilityTimeout": "1", "MaximumConcurrency": "2"}
    outputs = cloud.deploy(TEMPLATE, stack_name="mapped", parameters=parameters)
    stack = Stack(cloud, outputs, cloud.log_dir / f"{outputs['Function']}.log")
    wait_for(lambda: stack.is_empty)  # S3's test of the notification
    yield stack
    cloud.set_delivery_faults()
    cloud.mapping_seconds = QUICK
    cloud.client("cloudformation").delete_stack(StackName="mapped")


@pytest.mark.parametrize(
    ("first", "changes", "between", "after"),
    [
        (None, {"Enabled": False}, "Disabling", "Disabled"),
        ({"Enabled": False}, {"Enabled": True}, "Enabling", "Enabled"),
        (None, {"Enabled": True}, "Updating", "Enabled"),
        (None, {"BatchSize": 5}, "Updating", "Enabled"),
        ({"Enabled": False}, {"BatchSize": 5}, "Updating", "Disabled"),
    ],
)
def test_a_change_takes_time_and_another_one_is_refused_meanwhile(
    stack: Stack, first: dict[str, Any] | None, changes: dict[str, Any], between: str, after: str
) -> None:
    if first:
        stack.update(**first)
        wait_for(lambda: stack.state == "Disabled")
    stack.cloud.mapping_seconds = SLOW
    begun = time.monotonic()
    assert stack.update(**changes) == between
    assert (stack.state, stack.listed_state) == (between, between)
    message = "Cannot update the event source mapping because it is in use."
    for refused in ({"Enabled": True}, {"Enabled": False}, {"BatchSize": 3}):
        assert stack.refusal(**refused) == (400, "ResourceInUseException", message)
    wait_for(lambda: stack.state == after)
    assert time.monotonic() - begun >= SLOW
    stack.update(Enabled=True)


def test_creating_and_deleting_a_mapping_takes_time_too(stack: Stack) -> None:
    stack.cloud.mapping_seconds = SLOW
    assert stack.functions.delete_event_source_mapping(UUID=stack.mapping)["State"] == "Deleting"
    assert stack.state == "Deleting"
    with pytest.raises(stack.functions.exceptions.ResourceInUseException):
        stack.functions.delete_event_source_mapping(UUID=stack.mapping)
    wait_for(lambda: stack.functions.list_event_source_mappings()["EventSourceMappings"] == [])
    with pytest.raises(stack.functions.exceptions.ResourceNotFoundException):
        stack.functions.get_event_source_mapping(UUID=stack.mapping)
    with pytest.raises(stack.functions.exceptions.ResourceNotFoundException):
        stack.update(Enabled=True)

    source = stack.sqs.get_queue_attributes(QueueUrl=stack.outputs["Queue"], AttributeNames=["QueueArn"])
    made = stack.functions.create_event_source_mapping(
        FunctionName=stack.outputs["Function"], EventSourceArn=source["Attributes"]["QueueArn"]
    )
    assert made["State"] == "Creating"
    stack.send("early")
    stack.mapping = made["UUID"]
    assert stack.state == "Creating"
    assert stack.deliveries("early") == []
    wait_for(lambda: stack.state == "Enabled")
    wait_for(lambda: stack.deliveries("early"))
    stack.cloud.mapping_seconds = QUICK
    stack.functions.delete_event_source_mapping(UUID=made["UUID"])


def test_cloudformation_waits_for_a_mapping_that_it_changes(stack: Stack) -> None:
    stack.cloud.mapping_seconds = SLOW
    stack.update(Enabled=False)
    stack.cloud.deploy(TEMPLATE, stack_name="mapped", parameters={"BatchSize": "7"})
    assert stack.state == "Disabled"
    found = stack.functions.get_event_source_mapping(UUID=stack.mapping)
    assert found["BatchSize"] == 7


@pytest.mark.parametrize(
    "settings",
    [
        {"BatchSize": 11, "MaximumBatchingWindowInSeconds": 0},
        {"ScalingConfig": {"MaximumConcurrency": 1001}},
    ],
)
def test_settings_that_lambda_refuses_are_refused(stack: Stack, settings: dict[str, Any]) -> None:
    message = stack.refusal(**settings)
    assert message[:2] == (400, "InvalidParameterValueException")
    assert stack.state == "Enabled"


def test_messages_are_received_until_the_mapping_is_disabled(stack: Stack) -> None:
    stack.cloud.mapping_seconds = SLOW
    stack.update(Enabled=False)
    stack.send("while it is disabling")
    wait_for(lambda: stack.deliveries("while it is disabling"))
    assert stack.state == "Disabling"
    wait_for(lambda: stack.state == "Disabled")
    time.sleep(1.5)  # there is no sign that the last poll has ended
    stack.update(Enabled=True)
    stack.send("while it is enabling")
    while stack.state == "Enabling":
        assert stack.deliveries("while it is enabling") == []
        time.sleep(0.05)
    wait_for(lambda: stack.deliveries("while it is enabling"))


def test_a_disabled_mapping_delivers_what_it_has_received_and_one_more_poll(stack: Stack) -> None:
    stack.cloud.deploy(TEMPLATE, stack_name="mapped", parameters={"BatchSize": "1", "VisibilityTimeout": "30"})
    time.sleep(1.5)  # there is no sign that the poller with the old settings has ended
    bodies = [f"sleep 3.{number}" for number in range(6)]
    stack.send(*bodies)

    def taken() -> int:
        return sum(len(stack.deliveries(body)) for body in bodies)

    wait_for(lambda: taken() == 2)  # as many as may run at once
    stack.update(Enabled=False)
    wait_for(lambda: stack.state == "Disabled")
    assert taken() == 2
    wait_for(lambda: taken() == 3)
    time.sleep(1)
    assert taken() == 3
    assert not stack.is_empty


def test_polling_resumes_when_a_mapping_is_enabled_before_its_last_batch_has_ended(stack: Stack) -> None:
    stack.send("sleep 4")
    wait_for(lambda: stack.deliveries("sleep 4"))
    stack.update(Enabled=False)
    wait_for(lambda: stack.state == "Disabled")
    time.sleep(0.5)  # the poller has seen it
    stack.update(Enabled=True)
    wait_for(lambda: stack.state == "Enabled")
    time.sleep(4)
    stack.send("later")
    wait_for(lambda: stack.deliveries("later"), seconds=5)


def test_a_throttled_batch_counts_as_received_and_returns_to_the_queue(stack: Stack) -> None:
    stack.cloud.set_delivery_faults(DeliveryFault("throttled", contains="throttled", times=1))
    begun = time.monotonic()
    stack.send("throttled")
    wait_for(lambda: stack.deliveries("throttled"))
    assert time.monotonic() - begun >= 1  # the queue's visibility timeout
    assert stack.deliveries("throttled") == [2]
    assert stack.cloud.delivery_faults_fired() == [1]


def test_throttled_receives_count_until_sqs_moves_the_message(stack: Stack) -> None:
    stack.cloud.set_delivery_faults(DeliveryFault("throttled", contains="never handed over"))
    stack.send("never handed over")
    url = stack.outputs["Letters"]
    (letter,) = wait_for(lambda: stack.sqs.receive_message(QueueUrl=url).get("Messages"))
    assert letter["Body"] == "never handed over"
    assert stack.deliveries("never handed over") == []


def test_a_deleted_message_may_be_delivered_again(stack: Stack) -> None:
    stack.cloud.set_delivery_faults(DeliveryFault("repeated", contains="twice", times=1))
    stack.send("twice", "once")
    wait_for(lambda: len(stack.deliveries("twice")) == 2)
    wait_for(lambda: stack.is_empty)
    assert stack.deliveries("once") == [1]


def test_a_message_that_is_gone_from_the_queue_is_not_delivered_again(stack: Stack) -> None:
    stack.cloud.set_delivery_faults(DeliveryFault("repeated", contains="sleep 0.7", times=1))
    stack.send("sleep 0.7")
    wait_for(lambda: stack.deliveries("sleep 0.7"))
    stack.sqs.purge_queue(QueueUrl=stack.outputs["Queue"])
    wait_for(lambda: stack.cloud.delivery_faults_fired() == [1])
    stack.send("next", "and next")
    wait_for(lambda: stack.deliveries("next") and stack.deliveries("and next"))
    assert stack.deliveries("sleep 0.7") == [1]


def test_the_seed_decides_which_messages_are_disturbed() -> None:
    def draw(seed: int) -> list[bool]:
        faults = DeliveryFaults(DeliveryFault("throttled", rate=0.3), DeliveryFault("repeated", rate=0.3), seed=seed)
        return [
            found for _ in range(50) for found in (faults.throttles("q", ["a"]), bool(faults.repeats_after("q", "a")))
        ]

    assert draw(1) == draw(1) != draw(2)
    assert 10 < sum(draw(1)) < 50
