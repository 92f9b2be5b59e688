"""Event source mappings, which mappings.py gives states."""

from typing import Any

import pytest
from moto.awslambda.models import LambdaFunction

from tests.unit.cutout.local.moto_without_patches.plain_moto import QUEUE_ARN, Make


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
