import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError, EndpointConnectionError

from cutout import intake_command
from cutout.deployment import Deployment
from remove_background.aws import Clients
from remove_background.errors import InsufficientCredits
from remove_background.intake import FUNCTION, ITEM, Intake, pausing


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


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes the first calls that would switch the mapping fail: where they were `made`, only their answer is lost."""

    def refuse_with(
        error: BaseException, times: int = 1000, meanwhile: Callable[[], object] = lambda: None, *, made: bool = False
    ) -> None:
        left = [error] * times

        def call_or_refuse(client: BaseClient, operation: str, given: dict[str, Any]) -> Any:  # noqa: ANN401
            if operation == "UpdateEventSourceMapping" and left:
                meanwhile()
                if made:
                    call(client, operation, given)
                raise left.pop()
            return call(client, operation, given)

        monkeypatch.setattr(BaseClient, "_make_api_call", call_or_refuse)

    call = BaseClient._make_api_call  # type: ignore[attr-defined]  # the one place that all calls pass
    monkeypatch.setattr(intake_command, "BUSY_REST_SECONDS", 0)
    return refuse_with


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code}}, "UpdateEventSourceMapping")


@pytest.mark.parametrize(
    ("error", "code"),
    [(refusal("AccessDeniedException"), 1), (refusal("ResourceInUseException"), 1), (KeyboardInterrupt(), 130)],
)
@pytest.mark.parametrize("before", ["open", "failing", "paused by the function"])
def test_a_pause_that_fails_leaves_the_intake_to_the_function(
    deployed: Deployment,
    cutout: Callable[..., Any],
    refuse: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    before: str,
    error: BaseException,
    code: int,
) -> None:
    if before == "failing":
        deployed.dynamodb.put_item(TableName="ledger", Item=ITEM | {"failures": {"N": "2"}, "failed_at": {"N": "1.5"}})
    elif before != "open":
        pause_by_function(deployed)
        (mapping,) = deployed.lambda_.list_event_source_mappings()["EventSourceMappings"]
        deployed.lambda_.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)  # reopened, not said so yet
    found = item(deployed) or ITEM
    monkeypatch.setattr(intake_command, "BUSY_SECONDS", 0)
    refuse(error)
    assert cutout("pause", "--yes").code == code
    assert (state(deployed), item(deployed)) == ("Enabled", found)


@pytest.mark.parametrize("who", ["operator", "function"])
@pytest.mark.parametrize(("error", "code"), [(refusal("AccessDeniedException"), 1), (KeyboardInterrupt(), 130)])
def test_a_resume_that_fails_leaves_the_pause_to_whoever_made_it(
    deployed: Deployment,
    cutout: Callable[..., Any],
    refuse: Callable[..., None],
    who: str,
    error: BaseException,
    code: int,
) -> None:
    if who == "operator":
        cutout("pause", "--reason", "new prices", "--yes")
    else:
        pause_by_function(deployed)
    found = item(deployed)
    refuse(error)
    assert cutout("resume", "--yes").code == code
    assert (state(deployed), item(deployed)) == ("Disabled", found)


@pytest.mark.parametrize("command", ["pause", "resume"])
@pytest.mark.parametrize("code", ["ResourceInUseException", "ResourceConflictException"])
def test_a_mapping_that_is_changing_is_waited_for(
    deployed: Deployment, cutout: Callable[..., Any], refuse: Callable[..., None], command: str, code: str
) -> None:
    if command == "resume":
        cutout("pause", "--yes")
    refuse(refusal(code), times=3)
    assert cutout(command, "--yes").code == 0
    assert state(deployed) == ("Enabled" if command == "resume" else "Disabled")


def test_what_the_function_writes_meanwhile_is_not_undone(
    deployed: Deployment, cutout: Callable[..., Any], refuse: Callable[..., None]
) -> None:
    cutout("pause", "--yes")
    clients = Clients(threads=1)
    refuse(
        refusal("AccessDeniedException"),
        meanwhile=lambda: clients.dynamodb.update_item(**pausing("ledger", "forbidden")),
    )
    assert cutout("resume", "--yes").code == 1
    assert item(deployed)["paused_by"]["S"] == FUNCTION


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_a_switch_that_was_made_though_its_answer_was_lost_stays_said(
    deployed: Deployment, cutout: Callable[..., Any], refuse: Callable[..., None], command: str
) -> None:
    if command == "resume":
        cutout("pause", "--yes")
    refuse(KeyboardInterrupt(), made=True)
    assert cutout(command, "--yes").code == 130
    assert state(deployed) == ("Enabled" if command == "resume" else "Disabled")
    assert ("paused_by" in item(deployed)) == (command == "pause")


def test_what_cannot_be_taken_back_is_told(
    deployed: Deployment, cutout: Callable[..., Any], refuse: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_the_network(_: object) -> None:
        raise EndpointConnectionError(endpoint_url="https://lambda")

    refuse(KeyboardInterrupt(), meanwhile=lambda: monkeypatch.setattr(intake_command, "_mapping", lose_the_network))
    call = cutout("pause", "--yes")
    assert (call.code, "call the command again" in call.err) == (130, True)
