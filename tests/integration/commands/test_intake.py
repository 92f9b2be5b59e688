"""`cutout pause` and `cutout resume`: what they write, what they wait for, and what they say."""

from collections.abc import Callable
from typing import Any

import pytest

from cutout.operations import deployment
from cutout.operations import intake as stack_intake
from cutout.operations.deployment import Deployment
from remove_background.errors import InsufficientCredits
from remove_background.intake import DISABLED_BY_HAND, FUNCTION, ITEM, OPERATOR, Intake, IntakeItem, new_token
from tests.unit.fakes import Clock, EventSourceMapping, refusal

Cutout = Callable[..., Any]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("remove_background.intake.time", clock)
    return clock


class Functions(EventSourceMapping):
    """Lambda: the one mapping with its states, all else as moto has it."""

    def __init__(self, moto: Any) -> None:  # noqa: ANN401
        super().__init__()
        self._moto = moto

    def get_function_configuration(self, **call: Any) -> Any:  # noqa: ANN401
        return self._moto.get_function_configuration(**call)


@pytest.fixture
def mapping(deployed: Deployment, monkeypatch: pytest.MonkeyPatch) -> Functions:
    functions = Functions(deployed.lambda_)
    make = deployment._make_client
    monkeypatch.setattr(deployment, "_make_client", lambda *given: functions if given[1] == "lambda" else make(*given))
    deployed._clients["lambda"] = functions
    return functions


@pytest.fixture
def item(deployed: Deployment) -> IntakeItem:
    return IntakeItem(deployed.dynamodb, "ledger")


def stored(deployed: Deployment) -> dict[str, Any]:
    return dict(deployed.dynamodb.get_item(TableName="ledger", Key=ITEM).get("Item", {}))


def pause_by_function(deployed: Deployment) -> None:
    """Its mapping is not disabled: that is for ReopenIntake."""
    intake = Intake(deployed.dynamodb, "ledger", failures_in_a_row=10)
    intake.report_failure(InsufficientCredits("No credits are left."), None)


def test_an_operators_pause_is_reported_as_the_operators(
    deployed: Deployment, cutout: Cutout, mapping: Functions, clock: Clock
) -> None:
    began = clock.now
    call = cutout("pause", "--reason", "new prices", "--yes")
    assert (call.code, call.out) == (0, "The intake is paused. `cutout resume` reopens it.\n")
    assert mapping.state == "Disabled"
    assert stack_intake.read(deployed) == stack_intake.Intake(OPERATOR, "new prices", began)
    assert "switching" not in stored(deployed)


def test_the_function_leaves_an_operators_pause_alone(deployed: Deployment, cutout: Cutout, mapping: Functions) -> None:
    cutout("pause", "--yes")
    before = stored(deployed)
    pause_by_function(deployed)
    assert stored(deployed) == before


def test_an_operator_takes_over_a_pause_of_the_function(
    deployed: Deployment, cutout: Cutout, mapping: Functions, clock: Clock
) -> None:
    pause_by_function(deployed)
    assert stack_intake.read(deployed).paused_by == FUNCTION
    clock.sleep(60)
    assert "The intake is paused." in cutout("pause", "--reason", "mine", "--yes").out
    found = stack_intake.read(deployed)
    assert (found.paused_by, found.reason) == (OPERATOR, "mine")
    assert mapping.state == "Disabled"


def test_a_second_pause_keeps_the_first_ones_reason_and_time_and_says_so(
    deployed: Deployment, cutout: Cutout, mapping: Functions, clock: Clock
) -> None:
    cutout("pause", "--reason", "new prices", "--yes")
    before = stored(deployed)
    clock.sleep(3600)
    call = cutout("pause", "--reason", "another", "--yes")
    assert (call.code, call.out) == (0, 'Already paused since 2027-01-15 08:00 UTC ("new prices").\n')
    assert stored(deployed) == before
    assert cutout("pause", "--reason", "another", "--yes", "--json").json["reason"] == "new prices"


def test_a_second_pause_closes_what_the_first_one_left_open(
    deployed: Deployment, cutout: Cutout, mapping: Functions, item: IntakeItem
) -> None:
    item.pause(OPERATOR, "", new_token())  # and it was killed
    assert cutout("pause", "--yes").out == "Already paused since 2027-01-15 08:00 UTC.\n"
    assert mapping.state == "Disabled"


@pytest.mark.parametrize("who", [OPERATOR, FUNCTION, "by hand"])
def test_resume_reopens_whoever_paused(
    deployed: Deployment, cutout: Cutout, mapping: Functions, item: IntakeItem, who: str
) -> None:
    if who == OPERATOR:
        cutout("pause", "--yes")
    elif who == FUNCTION:
        pause_by_function(deployed)
    if who != OPERATOR:
        mapping.begin("Disabled", "Disabled")
    call = cutout("resume", "--yes")
    assert (call.code, call.out) == (0, "The intake is open.\n")
    assert mapping.state == "Enabled"
    seen = item.read()
    assert (seen.paused_by, seen.switching) == (None, frozenset())
    assert (seen.reopened_at is not None) == (who != "by hand")  # on probation


def test_resume_reopens_a_pause_that_was_made_by_hand(cutout: Cutout, mapping: Functions, item: IntakeItem) -> None:
    mapping.begin("Disabled", "Disabled")
    item.adopt(item.read())
    assert cutout("resume", "--yes").out == "The intake is open.\n"
    assert mapping.state == "Enabled"


def test_resume_says_why_the_function_paused(deployed: Deployment, cutout: Cutout, mapping: Functions) -> None:
    pause_by_function(deployed)
    assert "paused the intake (insufficient_api_credits); it does so again" in cutout("resume", "--yes").err


def test_a_pause_that_came_while_it_was_resumed_is_reported(
    deployed: Deployment, cutout: Cutout, mapping: Functions, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    cutout("pause", "--yes")
    enable = mapping.update_event_source_mapping

    def pause_meanwhile(**call: Any) -> None:  # noqa: ANN401
        enable(**call)
        monkeypatch.setattr(mapping, "update_event_source_mapping", enable)
        pause_by_function(deployed)

    monkeypatch.setattr(mapping, "update_event_source_mapping", pause_meanwhile)
    assert "The intake is paused by the function" in cutout("resume", "--yes").out
    assert mapping.state == "Disabled"


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_nothing_is_done_without_consent(
    deployed: Deployment, cutout: Cutout, mapping: Functions, command: str
) -> None:
    if command == "resume":
        cutout("pause", "--yes")
    before = (mapping.state, stored(deployed), list(mapping.updates))
    call = cutout(command)
    assert call.code == 2
    assert call.err.endswith("\nNothing was done: no terminal to ask on. Add --yes.\n")
    assert "Usage:" not in call.err
    assert (mapping.state, stored(deployed), mapping.updates) == before


def test_json_reports_the_state_that_was_reached(cutout: Cutout, mapping: Functions) -> None:
    since = "2027-01-15T08:00:00+00:00"
    assert cutout("pause", "--yes", "--json").json == {"paused_by": OPERATOR, "reason": None, "since": since}
    cutout("resume", "--yes")
    assert cutout("pause", "--reason", "why", "--yes", "--json").json["reason"] == "why"
    assert cutout("resume", "--yes", "--json").json == {"paused_by": None, "reason": None, "since": None}


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_without_a_mapping_nothing_is_written(
    deployed: Deployment, cutout: Cutout, mapping: Functions, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(mapping, "list_event_source_mappings", lambda **_: {"EventSourceMappings": []})
    call = cutout(command, "--yes")
    assert call.code == 1
    assert "deploy the stack again" in call.err
    assert stored(deployed) == {}


@pytest.mark.parametrize("state", ["Creating", "Enabling", "Enabled", "Updating"])
def test_a_mapping_that_nobody_disabled_is_open(deployed: Deployment, mapping: Functions, state: str) -> None:
    mapping.begin(state, "Enabled")
    assert stack_intake.read(deployed).paused_by is None


@pytest.mark.parametrize("state", ["Disabling", "Disabled"])
def test_a_mapping_disabled_by_hand_counts_as_an_operators_pause(
    deployed: Deployment, mapping: Functions, item: IntakeItem, state: str
) -> None:
    mapping.begin(state, "Disabled")
    assert stack_intake.read(deployed) == stack_intake.Intake(OPERATOR, DISABLED_BY_HAND)
    item.update("ADD switching :tokens", {":tokens": {"SS": [new_token()]}}, None)
    assert stack_intake.read(deployed).paused_by is None  # it is being switched


@pytest.mark.parametrize("command", ["pause", "resume"])
@pytest.mark.parametrize("state", ["Enabling", "Disabling", "Updating"])
def test_a_mapping_that_is_changing_is_waited_for(cutout: Cutout, mapping: Functions, command: str, state: str) -> None:
    if command == "resume":
        cutout("pause", "--yes")
    mapping.reads = 20
    mapping.begin(state, {"Enabling": "Enabled", "Disabling": "Disabled"}.get(state, mapping.state))
    call = cutout(command, "--yes")
    assert (call.code, "not switched yet" in call.err) == (0, False)
    assert mapping.state == ("Enabled" if command == "resume" else "Disabled")


@pytest.mark.parametrize("command", ["pause", "resume"])
@pytest.mark.parametrize("trouble", ["AccessDeniedException", "it is busy"])
def test_the_item_counts_even_if_the_mapping_cannot_be_switched(
    deployed: Deployment,
    cutout: Cutout,
    mapping: Functions,
    item: IntakeItem,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    trouble: str,
) -> None:
    if command == "resume":
        cutout("pause", "--yes")
    before, began = mapping.state, clock.now

    def refuse(**_: object) -> None:
        raise refusal("ResourceInUseException" if trouble == "it is busy" else trouble)

    monkeypatch.setattr(mapping, "update_event_source_mapping", refuse)
    call = cutout(command, "--yes")
    assert call.code == 0
    assert f"not switched yet ({trouble}): ReopenIntake goes on with it." in call.err
    assert mapping.state == before
    seen = item.read()
    assert (seen.paused_by is None) == (command == "resume")
    assert seen.switching  # so that ReopenIntake does
    assert 60 <= clock.now - began <= 62 if trouble == "it is busy" else clock.now == began


@pytest.mark.parametrize("command", ["pause", "resume"])
@pytest.mark.parametrize("made", [True, False])
def test_ctrl_c_while_the_mapping_is_switched_leaves_the_item_as_written(
    cutout: Cutout, mapping: Functions, item: IntakeItem, monkeypatch: pytest.MonkeyPatch, command: str, made: bool
) -> None:
    if command == "resume":
        cutout("pause", "--yes")
    update = mapping.update_event_source_mapping

    def interrupt(**call: Any) -> None:  # noqa: ANN401
        if made:
            update(**call)
        raise KeyboardInterrupt

    monkeypatch.setattr(mapping, "update_event_source_mapping", interrupt)
    assert cutout(command, "--yes").code == 130
    seen = item.read()
    assert (seen.paused_by is None) == (command == "resume")
    assert len(seen.switching) == 1


def test_a_change_that_dynamodb_refuses_switches_nothing(
    deployed: Deployment, cutout: Cutout, mapping: Functions
) -> None:
    deployed.dynamodb.delete_table(TableName="ledger")
    assert cutout("pause", "--yes").code == 1
    assert (mapping.state, mapping.updates) == ("Enabled", [])
