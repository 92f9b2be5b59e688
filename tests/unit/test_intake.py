"""The intake is paused when no upload can succeed, and reopened when that is over; an operator's pause stays."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import responses
from botocore.exceptions import ClientError

from remove_background.aws import Clients
from remove_background.errors import (
    CutoutError,
    InProgress,
    InsufficientCredits,
    IntakePaused,
    InvalidApiKey,
    MalformedImage,
    OutOfTime,
    RateLimitExceeded,
    RequestRefused,
    ServiceUnavailable,
    StorageUnavailable,
    UnexpectedError,
)
from remove_background.intake import FAILURES_ON_PROBATION, ITEM, PROBATION_SECONDS, Intake
from reopen_intake import handler as reopen

FAILURES_IN_A_ROW = 10
CREDITS = "https://api.example.com/v1/credits"


class Mappings:
    """Lambda's control plane, as far as the intake needs it."""

    def __init__(self) -> None:
        self.enabled = True
        self.updates = 0

    def list_event_source_mappings(self, *, FunctionName: str) -> dict[str, Any]:  # noqa: N803  # boto3's names
        assert FunctionName == "remove-background"
        return {"EventSourceMappings": [{"UUID": "uuid-1"}]}

    def get_event_source_mapping(self, *, UUID: str) -> dict[str, Any]:  # noqa: N803
        assert UUID == "uuid-1"
        return {"State": "Enabled" if self.enabled else "Disabled"}

    def update_event_source_mapping(self, *, UUID: str, Enabled: bool) -> None:  # noqa: N803
        assert UUID == "uuid-1"
        self.enabled = Enabled
        self.updates += 1


@pytest.fixture
def mappings(monkeypatch: pytest.MonkeyPatch) -> Mappings:
    mappings = Mappings()
    monkeypatch.setattr(Clients, "functions", property(lambda _: mappings))
    return mappings


@pytest.fixture
def intake(clients: Clients, mappings: Mappings) -> Intake:
    return Intake(clients, "ledger", "remove-background", FAILURES_IN_A_ROW)


@pytest.fixture
def look(clients: Clients, mappings: Mappings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """What the function that reopens the intake finds."""
    clients.secrets.create_secret(Name="pixelcut", SecretString="sk-1")
    for name, value in {
        "LEDGER_TABLE": "ledger",
        "EVENT_SOURCE_MAPPING": "uuid-1",
        "PIXELCUT_API_URL": "https://api.example.com",
        "PIXELCUT_API_KEY_SECRET": "pixelcut",
    }.items():
        monkeypatch.setenv(name, value)
    reopen._watch.cache_clear()
    monkeypatch.setattr(reopen.metrics, "namespace", "Cutout")
    yield lambda: reopen.lambda_handler({}, None)["intake"]  # type: ignore[arg-type]
    reopen._watch.cache_clear()


@pytest.fixture
def service() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


def a_client_error() -> CutoutError:
    error = StorageUnavailable("InvalidObjectState")
    error.is_its_own = True
    return error


def state(clients: Clients) -> dict[str, Any]:
    return clients.dynamodb.get_item(TableName="ledger", Key=ITEM).get("Item", {})


@pytest.mark.parametrize("error", [InvalidApiKey("Wrong key."), InsufficientCredits("Buy some.")])
def test_a_blocked_account_pauses_it_at_once(
    intake: Intake, mappings: Mappings, clients: Clients, error: CutoutError
) -> None:
    assert not intake.report_failure(error)
    assert not mappings.enabled
    assert (state(clients)["paused_by"]["S"], state(clients)["reason"]["S"]) == ("function", error.code)


def test_failures_in_a_row_pause_it(intake: Intake, mappings: Mappings) -> None:
    counted = [intake.report_failure(ServiceUnavailable("500")) for _ in range(FAILURES_IN_A_ROW)]
    assert counted == [True] * (FAILURES_IN_A_ROW - 1) + [False]
    assert not mappings.enabled


@pytest.mark.parametrize("error", [RequestRefused("400", "odd"), UnexpectedError("A bug."), a_client_error()])
def test_what_may_be_the_uploads_own_fault_counts_also_when_it_pauses_the_intake(
    intake: Intake, mappings: Mappings, clients: Clients, error: CutoutError
) -> None:
    assert all(intake.report_failure(error) for _ in range(FAILURES_IN_A_ROW))
    assert not mappings.enabled
    reopened_at = {"N": str(time.time())}
    clients.dynamodb.put_item(TableName="ledger", Item={**ITEM, "reopened_at": reopened_at})
    mappings.enabled = True
    another = Intake(clients, "ledger", "remove-background", FAILURES_IN_A_ROW)
    assert all(another.report_failure(error) for _ in range(FAILURES_ON_PROBATION))
    assert not mappings.enabled


def test_a_success_between_them_keeps_it_open(intake: Intake, mappings: Mappings) -> None:
    for _ in range(5):
        for _ in range(FAILURES_IN_A_ROW - 1):
            assert intake.report_failure(ServiceUnavailable("500"))
        intake.report_success()
    assert mappings.enabled


@pytest.mark.parametrize("error", [InProgress("Later."), OutOfTime("Later."), RateLimitExceeded("Later.")])
def test_what_is_nobodys_fault_neither_counts_nor_pauses(
    intake: Intake, mappings: Mappings, error: CutoutError
) -> None:
    assert not any(intake.report_failure(error) for _ in range(3 * FAILURES_IN_A_ROW))
    assert mappings.enabled


def test_a_rejection_says_nothing_about_the_service(intake: Intake, mappings: Mappings) -> None:
    assert all(intake.report_failure(MalformedImage("No image.")) for _ in range(3 * FAILURES_IN_A_ROW))
    assert mappings.enabled


def test_uploads_that_fail_together_pause_it_once(intake: Intake, mappings: Mappings) -> None:
    for _ in range(10):
        intake.report_failure(InsufficientCredits("Buy some."))
    assert mappings.updates == 1


def test_while_lambda_still_hands_out_messages_of_a_paused_intake_nothing_is_paid(
    intake: Intake, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    intake.begin()
    intake.check()
    intake.report_failure(InsufficientCredits("Buy some."))
    intake.begin()
    with pytest.raises(IntakePaused):
        intake.check()
    monkeypatch.setattr(intake, "_table", "nowhere")  # what cannot be read does not keep uploads waiting
    intake.begin()
    intake.check()


def test_an_environment_that_is_still_warm_pauses_it_again(
    intake: Intake, look: Callable[[], str], mappings: Mappings, service: responses.RequestsMock
) -> None:
    for _ in range(FAILURES_IN_A_ROW):
        intake.report_failure(ServiceUnavailable("500"))
    service.get(CREDITS, status=404)
    assert look() == "reopened"
    intake.begin()
    intake.check()
    assert not intake.report_failure(ServiceUnavailable("500"))
    assert not mappings.enabled


def test_environments_count_together(clients: Clients, mappings: Mappings) -> None:
    fleet = [Intake(clients, "ledger", "remove-background", FAILURES_IN_A_ROW) for _ in range(5)]
    counted = [fleet[number % 5].report_failure(ServiceUnavailable("500")) for number in range(FAILURES_IN_A_ROW)]
    assert counted == [True] * (FAILURES_IN_A_ROW - 1) + [False]
    assert not mappings.enabled
    for intake in fleet:
        assert not intake.report_failure(ServiceUnavailable("500"))
        with pytest.raises(IntakePaused):
            intake.check()


def test_the_success_of_one_environment_that_failed_clears_the_count(clients: Clients, mappings: Mappings) -> None:
    one, other = (Intake(clients, "ledger", "remove-background", FAILURES_IN_A_ROW) for _ in range(2))
    for _ in range(FAILURES_IN_A_ROW - 1):
        one.report_failure(ServiceUnavailable("500"))
    one.report_success()
    assert other.report_failure(ServiceUnavailable("500"))
    assert mappings.enabled


def test_failures_of_long_ago_do_not_count(
    clients: Clients, mappings: Mappings, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = Intake(clients, "ledger", "remove-background", FAILURES_IN_A_ROW)
    for _ in range(FAILURES_IN_A_ROW - 1):
        gone.report_failure(ServiceUnavailable("500"))
    later = time.time() + PROBATION_SECONDS + 1
    monkeypatch.setattr("remove_background.intake.time.time", lambda: later)
    assert Intake(clients, "ledger", "remove-background", FAILURES_IN_A_ROW).report_failure(ServiceUnavailable("500"))
    assert mappings.enabled


def test_an_operators_pause_stays_the_operators(intake: Intake, mappings: Mappings, clients: Clients) -> None:
    clients.dynamodb.put_item(TableName="ledger", Item=ITEM | {"paused_by": {"S": "operator"}})
    intake.report_failure(InsufficientCredits("Buy some."))
    assert state(clients)["paused_by"]["S"] == "operator"
    assert not mappings.enabled


def test_a_table_that_fails_keeps_it_open_and_says_so(
    clients: Clients, mappings: Mappings, caplog: pytest.LogCaptureFixture
) -> None:
    intake = Intake(clients, "nowhere", "remove-background", FAILURES_IN_A_ROW)
    assert not intake.report_failure(InsufficientCredits("Buy some."))
    assert mappings.enabled  # paused without a word about who did it, it would stay paused
    assert "could not be paused (ResourceNotFoundException)" in caplog.text
    for _ in range(FAILURES_IN_A_ROW):
        intake.report_failure(ServiceUnavailable("500"))
    assert "could not be written (ResourceNotFoundException)" in caplog.text


def test_a_mapping_that_cannot_be_changed_is_tried_again(
    intake: Intake, mappings: Mappings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**_: object) -> None:
        raise ClientError({"Error": {"Code": "ResourceInUseException"}}, "UpdateEventSourceMapping")

    with monkeypatch.context() as patch:
        patch.setattr(mappings, "update_event_source_mapping", fail)
        intake.report_failure(InsufficientCredits("Buy some."))
    assert "could not be paused (ResourceInUseException)" in caplog.text
    intake.report_failure(InsufficientCredits("Buy some."))
    assert not mappings.enabled


def test_it_is_left_alone_while_it_is_open(look: Callable[[], str], service: responses.RequestsMock) -> None:
    assert look() == "open"
    assert len(service.calls) == 0


def test_what_an_operator_paused_is_left_alone(
    look: Callable[[], str], mappings: Mappings, clients: Clients, service: responses.RequestsMock
) -> None:
    mappings.enabled = False
    assert look() == "paused by an operator"
    clients.dynamodb.put_item(TableName="ledger", Item=ITEM | {"paused_by": {"S": "operator"}})
    assert look() == "paused by an operator"
    assert (mappings.enabled, len(service.calls)) == (False, 0)


@pytest.mark.parametrize(
    "answer",
    [
        {"json": {"credits_remaining": 42}},
        {"json": {"credits_remaining": "42"}},
        {"json": {}},
        {"body": "<html>"},
        {"status": 404},
    ],
)
@pytest.mark.parametrize("error", [InsufficientCredits("Buy some."), InvalidApiKey("Wrong key.")])
def test_it_is_reopened_when_the_service_is_well(
    intake: Intake,
    look: Callable[[], str],
    mappings: Mappings,
    clients: Clients,
    service: responses.RequestsMock,
    answer: dict[str, Any],
    error: CutoutError,
) -> None:
    intake.report_failure(error)
    service.get(CREDITS, **answer)
    assert look() == "reopened"
    assert mappings.enabled
    assert "paused_by" not in state(clients)
    assert look() == "open"


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        ({"json": {"credits_remaining": 0}}, "insufficient_api_credits"),
        ({"json": {"credits_remaining": "0"}}, "insufficient_api_credits"),
        ({"status": 401}, "invalid_auth_token"),
        ({"status": 403}, "forbidden"),
        ({"status": 429}, "rate_limit_exceeded"),
        ({"status": 500}, "service_unavailable"),
        ({"body": ConnectionError("https://x?X-Amz-Signature=5ec4e7")}, "service_unavailable"),
    ],
)
def test_it_stays_paused_while_the_trouble_lasts(
    intake: Intake,
    look: Callable[[], str],
    mappings: Mappings,
    service: responses.RequestsMock,
    answer: dict[str, Any],
    trouble: str,
) -> None:
    intake.report_failure(InsufficientCredits("Buy some."))
    if "body" in answer:
        answer = {"body": requests.ConnectionError(str(answer["body"]))}
    service.get(CREDITS, **answer)
    assert look() == f"still paused: {trouble}"
    assert not mappings.enabled


def test_a_key_that_was_replaced_is_read_anew(
    intake: Intake, look: Callable[[], str], clients: Clients, service: responses.RequestsMock
) -> None:
    intake.report_failure(InvalidApiKey("Wrong key."))
    service.get(CREDITS, status=401, match=[responses.matchers.header_matcher({"X-API-KEY": "sk-1"})])
    service.get(CREDITS, json={}, match=[responses.matchers.header_matcher({"X-API-KEY": "sk-2"})])
    assert look() == "still paused: invalid_auth_token"
    clients.secrets.put_secret_value(SecretId="pixelcut", SecretString="sk-2")
    assert look() == "reopened"


@pytest.mark.parametrize(
    ("paused_by", "found", "is_open"),
    [({"paused_by": {"S": "operator"}}, "paused by an operator", False), ({}, "reopened", True)],
)
def test_what_an_operator_does_in_the_moment_of_the_reopening_stands(
    paused_by: dict[str, Any],
    found: str,
    is_open: bool,
    intake: Intake,
    look: Callable[[], str],
    mappings: Mappings,
    clients: Clients,
    service: responses.RequestsMock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    intake.report_failure(InsufficientCredits("Buy some."))
    service.get(CREDITS, status=404)
    enable = mappings.update_event_source_mapping

    def enable_after_an_operator(**call: Any) -> None:  # noqa: ANN401
        monkeypatch.setattr(mappings, "update_event_source_mapping", enable)
        clients.dynamodb.put_item(TableName="ledger", Item=ITEM | paused_by)
        enable(**call)

    monkeypatch.setattr(mappings, "update_event_source_mapping", enable_after_an_operator)
    assert look() == found
    assert mappings.enabled is is_open
    assert state(clients) == ITEM | paused_by


def test_a_pause_that_was_cut_off_halfway_is_undone(
    intake: Intake, look: Callable[[], str], mappings: Mappings, clients: Clients
) -> None:
    intake.report_failure(InsufficientCredits("Buy some."))
    mappings.enabled = True  # as if the function had been killed before it disabled the mapping
    assert look() == "reopened"
    assert "paused_by" not in state(clients)


def test_soon_after_it_was_reopened_a_few_failures_pause_it_again_and_none_counts(
    clients: Clients, intake: Intake, look: Callable[[], str], mappings: Mappings, service: responses.RequestsMock
) -> None:
    intake.report_failure(InsufficientCredits("Buy some."))
    service.get(CREDITS, status=404)
    look()
    cold = Intake(clients, "ledger", "remove-background", FAILURES_IN_A_ROW)
    assert [cold.report_failure(ServiceUnavailable("500")) for _ in range(FAILURES_ON_PROBATION)] == [False] * 3
    assert not mappings.enabled


def test_the_first_success_ends_the_probation(
    clients: Clients, intake: Intake, look: Callable[[], str], mappings: Mappings, service: responses.RequestsMock
) -> None:
    intake.report_failure(InsufficientCredits("Buy some."))
    service.get(CREDITS, status=404)
    look()
    cold = Intake(clients, "ledger", "remove-background", FAILURES_IN_A_ROW)
    assert not cold.report_failure(ServiceUnavailable("500"))
    cold.report_success()
    assert all(cold.report_failure(ServiceUnavailable("500")) for _ in range(FAILURES_IN_A_ROW - 1))
    assert mappings.enabled


def test_the_probation_ends(
    clients: Clients,
    intake: Intake,
    look: Callable[[], str],
    service: responses.RequestsMock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    intake.report_failure(InsufficientCredits("Buy some."))
    service.get(CREDITS, status=404)
    look()
    later = time.time() + PROBATION_SECONDS + 1
    monkeypatch.setattr("remove_background.intake.time.time", lambda: later)
    assert Intake(clients, "ledger", "remove-background", FAILURES_IN_A_ROW).report_failure(ServiceUnavailable("500"))


@pytest.mark.parametrize("paused", [True, False])
def test_whether_the_intake_is_paused_can_be_watched(
    mappings: Mappings, look: Callable[[], str], capsys: pytest.CaptureFixture[str], paused: bool
) -> None:
    mappings.enabled = not paused
    capsys.readouterr()
    look()
    (line,) = (json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line)
    assert line["IntakePaused"] == [int(paused)]
