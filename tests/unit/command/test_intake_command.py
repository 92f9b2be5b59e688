import time
from collections.abc import Callable
from typing import Any

import pytest

from cutout import intake_command
from cutout.deployment import Deployment
from remove_background.aws import Clients
from remove_background.errors import InsufficientCredits
from remove_background.intake import FUNCTION, ITEM, Intake


def state(deployed: Deployment) -> str:
    (mapping,) = deployed.lambda_.list_event_source_mappings()["EventSourceMappings"]
    return mapping["State"]


def item(deployed: Deployment) -> dict[str, Any]:
    return dict(deployed.dynamodb.get_item(TableName="ledger", Key=ITEM).get("Item", {}))


def pause_by_function(deployed: Deployment) -> None:
    intake = Intake(Clients(threads=1), "ledger", deployed.function, failures_in_a_row=10)
    intake.report_failure(InsufficientCredits("No credits are left."))


def test_an_operators_pause_is_told_as_the_operators(deployed: Deployment, cutout: Callable[..., Any]) -> None:
    before = time.time()
    assert cutout("pause", "--reason", "new prices", "--yes").code == 0
    assert state(deployed) == "Disabled"
    found = intake_command.read(deployed)
    assert (found.paused_by, found.reason) == ("operator", "new prices")
    assert before - 1 <= (found.since or 0) <= time.time() + 1


def test_the_function_leaves_an_operators_pause_alone(deployed: Deployment, cutout: Callable[..., Any]) -> None:
    cutout("pause", "--yes")
    pause_by_function(deployed)
    assert intake_command.read(deployed).paused_by == "operator"


def test_an_operator_takes_over_a_pause_of_the_function(deployed: Deployment, cutout: Callable[..., Any]) -> None:
    pause_by_function(deployed)
    assert intake_command.read(deployed).paused_by == FUNCTION
    cutout("pause", "--yes")
    assert intake_command.read(deployed).paused_by == "operator"


@pytest.mark.parametrize("who", ["operator", "function", "nobody"])
def test_resume_reopens_whoever_paused(deployed: Deployment, cutout: Callable[..., Any], who: str) -> None:
    if who == "operator":
        cutout("pause", "--yes")
    elif who == "function":
        pause_by_function(deployed)
    else:
        (mapping,) = deployed.lambda_.list_event_source_mappings()["EventSourceMappings"]
        deployed.lambda_.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
        assert intake_command.read(deployed).paused_by == "operator"
    assert cutout("resume", "--yes").code == 0
    assert state(deployed) == "Enabled"
    assert "paused_by" not in item(deployed)
    assert "reopened_at" in item(deployed)


def test_resume_says_why_the_function_paused(deployed: Deployment, cutout: Callable[..., Any]) -> None:
    pause_by_function(deployed)
    assert "insufficient_api_credits" in cutout("resume", "--yes").err


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_nothing_is_done_unasked(deployed: Deployment, cutout: Callable[..., Any], command: str) -> None:
    if command == "resume":
        cutout("pause", "--yes")
    before = (state(deployed), item(deployed))
    call = cutout(command)
    assert call.code == 2
    assert "wants --yes" in call.err
    assert (state(deployed), item(deployed)) == before


def test_json_tells_the_state_that_was_reached(deployed: Deployment, cutout: Callable[..., Any]) -> None:
    assert cutout("pause", "--reason", "why", "--yes", "--json").json["reason"] == "why"
    assert cutout("resume", "--yes", "--json").json == {"paused_by": None, "reason": None, "since": None}


def test_a_function_without_a_mapping_is_told(deployed: Deployment, cutout: Callable[..., Any]) -> None:
    (mapping,) = deployed.lambda_.list_event_source_mappings()["EventSourceMappings"]
    deployed.lambda_.delete_event_source_mapping(UUID=mapping["UUID"])
    call = cutout("pause", "--yes")
    assert call.code == 1
    assert "deploy the stack again" in call.err
