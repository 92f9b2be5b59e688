"""ReopenIntake: reopens what the function paused once the cause is gone, and leaves no mapping without an owner."""

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import responses
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from remove_background.aws import Clients
from remove_background.caps import DAY, MONTH, REASONS, Caps
from remove_background.intake import DISABLED_BY_HAND, FUNCTION, ITEM, OPERATOR, IntakeItem, new_token
from reopen_intake import handler as reopen
from tests.unit.fakes import Clock, EventSourceMapping, refusal

CREDITS = "https://api.example.com/v1/credits"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("remove_background.intake.time", clock)
    monkeypatch.setattr("reopen_intake.handler.time", clock)
    return clock


@pytest.fixture
def mapping(monkeypatch: pytest.MonkeyPatch) -> EventSourceMapping:
    mapping = EventSourceMapping()
    monkeypatch.setattr(Clients, "functions", property(lambda _: mapping))
    return mapping


@pytest.fixture
def item(clients: Clients) -> IntakeItem:
    return IntakeItem(clients.dynamodb, "ledger")


@pytest.fixture
def look(
    clients: Clients, mapping: EventSourceMapping, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], str]]:
    """What one run of ReopenIntake finds. It runs every five minutes."""
    clients.secrets.create_secret(Name="pixelcut", SecretString="sk-1")
    for name, value in {
        "LEDGER_TABLE": "ledger",
        "EVENT_SOURCE_MAPPING": "uuid-1",
        "REOPEN_SECONDS": "300",
        "PIXELCUT_API_URL": "https://api.example.com",
        "PIXELCUT_API_KEY_SECRET": "pixelcut",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(reopen, "Clients", lambda threads: clients)
    reopen._watch.cache_clear()
    monkeypatch.setattr(reopen.metrics, "namespace", "Cutout")
    yield lambda: reopen.lambda_handler({}, None)["intake"]  # type: ignore[arg-type]
    reopen._watch.cache_clear()


@pytest.fixture
def read_log(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    log = io.StringIO()
    monkeypatch.setattr(reopen.logger.handlers[0], "stream", log)
    return lambda: [json.loads(line)["message"] for line in log.getvalue().splitlines()]


@pytest.fixture
def read_error_messages(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    log = io.StringIO()
    monkeypatch.setattr(reopen.logger.handlers[0], "stream", log)
    return lambda: [
        line["error_message"] for line in map(json.loads, log.getvalue().splitlines()) if "error_message" in line
    ]


def test_why_the_credits_are_not_known_is_logged(
    look: Callable[[], str],
    mapping: EventSourceMapping,
    item: IntakeItem,
    service: responses.RequestsMock,
    read_error_messages: Callable[[], list[str]],
) -> None:
    pause(item, mapping, "forbidden")
    service.get(CREDITS, status=403)
    assert look() == "reopened"
    assert read_error_messages() == ["Pixelcut forbids the request. Look at the account, or ask Pixelcut's support."]


@pytest.fixture
def service() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


@pytest.fixture
def well(service: responses.RequestsMock) -> responses.RequestsMock:
    """The service answers, without the number of credits."""
    service.get(CREDITS, status=404)
    return service


def close(mapping: EventSourceMapping) -> None:
    mapping.begin("Disabled", "Disabled")


def pause(item: IntakeItem, mapping: EventSourceMapping, reason: str = "service_unavailable") -> None:
    """By the function, and followed by the mapping."""
    assert item.pause(FUNCTION, reason)
    close(mapping)
    assert item.settle(mapping, "uuid-1", new_token(), seconds=0)  # type: ignore[arg-type]


def test_an_open_intake_is_left_alone(
    look: Callable[[], str], mapping: EventSourceMapping, item: IntakeItem, service: responses.RequestsMock
) -> None:
    before = item.read()
    assert look() == "open"
    assert (mapping.updates, item.read(), len(service.calls)) == ([], before, 0)


@pytest.mark.parametrize("state", ["Creating", "Enabling", "Updating", "Disabling"])
def test_a_mapping_that_is_changing_is_not_a_pause(
    look: Callable[[], str], mapping: EventSourceMapping, item: IntakeItem, state: str
) -> None:
    mapping.reads = 3
    mapping.begin(state, "Enabled")
    assert look() == "open"
    assert item.read().paused_by is None
    assert mapping.updates == []


def test_what_an_operator_paused_is_left_alone(
    look: Callable[[], str], mapping: EventSourceMapping, item: IntakeItem, clock: Clock, well: responses.RequestsMock
) -> None:
    item.pause(OPERATOR, "new prices")
    close(mapping)
    before = item.read()
    for _ in range(5):
        assert look() == "paused by an operator"
        clock.sleep(3600)
    assert (item.read(), mapping.updates, len(well.calls)) == (before, [], 0)


def test_a_mapping_disabled_by_hand_becomes_the_operators_pause(
    look: Callable[[], str], mapping: EventSourceMapping, item: IntakeItem, well: responses.RequestsMock
) -> None:
    close(mapping)
    assert look() == "paused by an operator"
    assert (item.read().paused_by, item.read().reason) == (OPERATOR, DISABLED_BY_HAND)
    assert look() == "paused by an operator"
    assert (mapping.state, mapping.updates) == ("Disabled", [])


def test_a_mapping_disabled_by_hand_during_the_functions_pause_becomes_the_operators_pause(
    look: Callable[[], str], mapping: EventSourceMapping, item: IntakeItem, well: responses.RequestsMock
) -> None:
    assert item.pause(FUNCTION, "service_unavailable")
    close(mapping)
    for _ in range(2):
        assert look() == "paused by an operator"
        assert (item.read().paused_by, item.read().reason) == (OPERATOR, DISABLED_BY_HAND)
    assert (mapping.state, mapping.updates) == ("Disabled", [])


@pytest.mark.parametrize("state", ["Enabled", "Enabling", "Updating"])
@pytest.mark.parametrize("by", [FUNCTION, OPERATOR])
def test_the_mapping_of_a_paused_intake_is_disabled(
    look: Callable[[], str],
    mapping: EventSourceMapping,
    item: IntakeItem,
    service: responses.RequestsMock,
    by: str,
    state: str,
) -> None:
    service.get(CREDITS, status=500)
    item.pause(by, "service_unavailable")
    mapping.begin(state, "Enabled")
    assert look() == ("still paused: service_unavailable" if by == FUNCTION else "paused by an operator")
    assert (mapping.state, item.read().paused_by) == ("Disabled", by)
    assert not item.read().switching


@pytest.mark.parametrize(
    "answer",
    [
        {"json": {"credits_remaining": 42}},
        {"json": {"credits_remaining": "42"}},
        {"json": {"credits_remaining": 1}},
        {"json": {}},
        {"body": "<html>"},
        {"status": 404},
    ],
)
@pytest.mark.parametrize("reason", ["insufficient_api_credits", "invalid_auth_token", "service_unavailable"])
def test_it_is_reopened_when_the_service_is_healthy(
    look: Callable[[], str],
    mapping: EventSourceMapping,
    item: IntakeItem,
    clock: Clock,
    service: responses.RequestsMock,
    answer: dict[str, Any],
    reason: str,
) -> None:
    pause(item, mapping, reason)
    service.get(CREDITS, **answer)
    assert look() == "reopened"
    assert mapping.state == "Enabled"
    seen = item.read()
    assert (seen.paused_by, seen.reopened_at is not None, seen.switching) == (None, True, frozenset())
    assert look() == "open"


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        ({"json": {"credits_remaining": 0}}, "insufficient_api_credits"),
        ({"json": {"credits_remaining": "0"}}, "insufficient_api_credits"),
        ({"json": {"credits_remaining": 0.5}}, "insufficient_api_credits"),
        ({"status": 401}, "invalid_auth_token"),
        ({"status": 403, "json": {"error_code": "insufficient_api_credits"}}, "insufficient_api_credits"),
        ({"status": 429}, "rate_limit_exceeded"),
        ({"status": 500}, "service_unavailable"),
        ({"body": requests.ConnectionError("https://x?X-Amz-Signature=5ec4e7")}, "service_unavailable"),
    ],
)
def test_it_stays_paused_while_the_trouble_lasts(
    look: Callable[[], str],
    mapping: EventSourceMapping,
    item: IntakeItem,
    service: responses.RequestsMock,
    answer: dict[str, Any],
    trouble: str,
) -> None:
    pause(item, mapping, "insufficient_api_credits")
    before = item.read()
    service.get(CREDITS, **answer)
    assert look() == f"still paused: {trouble}"
    assert (mapping.state, item.read()) == ("Disabled", before)


def test_it_stays_paused_while_the_key_cannot_be_had(
    look: Callable[[], str],
    item: IntakeItem,
    mapping: EventSourceMapping,
    clients: Clients,
    well: responses.RequestsMock,
) -> None:
    pause(item, mapping, "service_unavailable")
    clients.secrets.put_secret_value(SecretId="pixelcut", SecretString=" ")
    assert look() == "still paused: api_key_missing"
    with Stubber(clients.secrets) as stub:
        stub.add_client_error("get_secret_value", "AccessDeniedException")
        assert look() == "still paused: storage_unavailable"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"status": 403}, "forbidden"),
        ({"status": 400}, "request_refused"),
        ({"status": 400, "json": {"error_code": "malformed_image"}}, "malformed_image"),
        ({"status": 405}, "unexpected_answer"),
        ({"status": 302, "headers": {"Location": "/login"}}, "unexpected_answer"),
    ],
)
@pytest.mark.parametrize("reason", ["insufficient_api_credits", "forbidden"])
def test_an_answer_that_tells_nothing_about_the_account_leaves_it_to_the_probe(
    look: Callable[[], str],
    mapping: EventSourceMapping,
    item: IntakeItem,
    clock: Clock,
    service: responses.RequestsMock,
    read_log: Callable[[], list[str]],
    answer: dict[str, Any],
    code: str,
    reason: str,
) -> None:
    """A firewall may forbid this endpoint for good: the intake would never be reopened."""
    pause(item, mapping, reason)
    service.get(CREDITS, **answer)
    assert look() == "reopened"
    assert item.read().reopened_at is not None
    assert read_log() == [f"the credits left are not known: {code}", "reopened"]
    pause(item, mapping, reason)  # the probe has failed, too
    assert look() == f"still paused: {reason}, for 300 more seconds"


def test_missing_credits_do_not_matter_if_it_was_paused_for_another_reason(
    look: Callable[[], str], mapping: EventSourceMapping, item: IntakeItem, service: responses.RequestsMock
) -> None:
    pause(item, mapping, "service_unavailable")
    service.get(CREDITS, json={"credits_remaining": 0})  # the probe will get that answer, at no cost
    assert look() == "reopened"


def test_a_replaced_key_is_read_again(
    look: Callable[[], str],
    mapping: EventSourceMapping,
    item: IntakeItem,
    clients: Clients,
    service: responses.RequestsMock,
) -> None:
    pause(item, mapping, "invalid_auth_token")
    service.get(CREDITS, status=401, match=[responses.matchers.header_matcher({"X-API-KEY": "sk-1"})])
    service.get(CREDITS, json={}, match=[responses.matchers.header_matcher({"X-API-KEY": "sk-2"})])
    assert look() == "still paused: invalid_auth_token"
    clients.secrets.put_secret_value(SecretId="pixelcut", SecretString="sk-2")
    assert look() == "reopened"


def test_the_first_pause_ends_as_soon_as_its_cause_is_gone(
    look: Callable[[], str],
    mapping: EventSourceMapping,
    item: IntakeItem,
    clock: Clock,
    well: responses.RequestsMock,
    read_log: Callable[[], list[str]],
) -> None:
    pause(item, mapping)
    clock.sleep(1)
    assert look() == "reopened"
    assert read_log() == ["reopened"]


def test_each_reopening_in_vain_doubles_the_wait_up_to_an_hour(
    look: Callable[[], str], mapping: EventSourceMapping, item: IntakeItem, clock: Clock, well: responses.RequestsMock
) -> None:
    pause(item, mapping)
    assert look() == "reopened"
    for seconds in (300, 600, 1200, 2400, 3600, 3600, 3600):
        pause(item, mapping)
        clock.sleep(seconds - 1)
        calls = len(well.calls)
        assert look() == "still paused: service_unavailable, for 1 more seconds"
        assert len(well.calls) == calls  # nor is the service asked
        assert mapping.state == "Disabled"
        clock.sleep(1)
        assert look() == "reopened"


def test_the_wait_can_be_computed_after_any_number_of_reopenings(
    look: Callable[[], str],
    mapping: EventSourceMapping,
    item: IntakeItem,
    clients: Clients,
    clock: Clock,
    well: responses.RequestsMock,
) -> None:
    pause(item, mapping)
    clients.dynamodb.update_item(
        TableName="ledger",
        Key=ITEM,
        UpdateExpression="SET fruitless = :often",
        ExpressionAttributeValues={":often": {"N": "5000"}},
    )
    assert "for 3600 more seconds" in look()
    clock.sleep(3600)
    assert look() == "reopened"


def test_an_operator_who_pauses_while_the_credits_are_asked_for_stays_the_owner(
    look: Callable[[], str], mapping: EventSourceMapping, item: IntakeItem, service: responses.RequestsMock
) -> None:
    pause(item, mapping)

    def pause_meanwhile(_: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        assert item.pause(OPERATOR, "new prices")
        return 200, {}, '{"credits_remaining": 42}'

    service.add_callback(responses.GET, CREDITS, pause_meanwhile)
    assert look() == "paused by an operator"
    assert look() == "paused by an operator"
    assert (mapping.state, mapping.updates, item.read().paused_by) == ("Disabled", [], OPERATOR)


def test_a_resume_and_a_new_pause_while_the_credits_are_asked_for_stand(
    look: Callable[[], str],
    mapping: EventSourceMapping,
    item: IntakeItem,
    clock: Clock,
    service: responses.RequestsMock,
) -> None:
    pause(item, mapping)

    def pause_anew(_: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        item.reopen(item.read(), "1-token")
        clock.sleep(1)
        item.pause(FUNCTION, "insufficient_api_credits")
        return 200, {}, '{"credits_remaining": 42}'

    service.add_callback(responses.GET, CREDITS, pause_anew)
    assert look() == "still paused: it was changed a moment ago"
    assert (item.read().paused_by, item.read().reason) == (FUNCTION, "insufficient_api_credits")
    assert mapping.updates == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_operator_who_pauses_while_the_mapping_is_enabled_stays_the_owner(
    look: Callable[[], str],
    mapping: EventSourceMapping,
    item: IntakeItem,
    monkeypatch: pytest.MonkeyPatch,
    well: responses.RequestsMock,
    when: str,
) -> None:
    pause(item, mapping)
    mapping.reads = 3
    enable = mapping.update_event_source_mapping

    def pause_meanwhile(**call: Any) -> None:  # noqa: ANN401
        monkeypatch.setattr(mapping, "update_event_source_mapping", enable)
        if when == "before":
            item.pause(OPERATOR, "new prices")
        enable(**call)
        if when == "after":
            item.pause(OPERATOR, "new prices")

    monkeypatch.setattr(mapping, "update_event_source_mapping", pause_meanwhile)
    look()
    assert (mapping.state, mapping.updates) == ("Disabled", [True, False])
    assert look() == "paused by an operator"
    assert (mapping.state, item.read().paused_by) == ("Disabled", OPERATOR)


@pytest.mark.parametrize(("state", "ends_as"), [("Disabling", "Disabled"), ("Enabling", "Enabled")])
def test_a_mapping_that_is_still_changing_is_waited_out(
    look: Callable[[], str],
    mapping: EventSourceMapping,
    item: IntakeItem,
    well: responses.RequestsMock,
    state: str,
    ends_as: str,
) -> None:
    item.pause(FUNCTION, "service_unavailable")
    mapping.reads = 5
    mapping.begin(state, ends_as)
    assert look() == "reopened"
    assert (mapping.state, mapping.refused) == ("Enabled", 0)


def test_a_mapping_that_stays_busy_is_left_to_the_next_run(
    look: Callable[[], str],
    mapping: EventSourceMapping,
    item: IntakeItem,
    clock: Clock,
    well: responses.RequestsMock,
    read_log: Callable[[], list[str]],
) -> None:
    pause(item, mapping)
    mapping.reads = 1000
    mapping.begin("Disabling", "Disabled")
    began = clock.now
    assert look() == "reopened"
    assert clock.now - began < 55  # of the function's 60 seconds
    assert item.read().switching
    busy = "The event source mapping is busy. The next run makes it follow the intake."
    assert read_log() == [busy, busy, "reopened"]  # it was to be disabled, and then to be enabled
    mapping.finish()
    assert mapping.state == "Disabled"
    mapping.reads = 2
    assert look() == "open"  # nor is it adopted as an operator's
    assert mapping.state == "Enabled"
    clock.sleep(1000)
    look()
    assert item.read().paused_by is None


def test_a_refusal_for_another_reason_is_an_error_of_the_function(
    look: Callable[[], str], mapping: EventSourceMapping, item: IntakeItem, monkeypatch: pytest.MonkeyPatch
) -> None:
    item.pause(FUNCTION, "service_unavailable")

    def refuse(**_: object) -> None:
        raise refusal("AccessDeniedException")

    monkeypatch.setattr(mapping, "update_event_source_mapping", refuse)
    with pytest.raises(ClientError, match="AccessDenied"):  # its alarm rings
        look()


@pytest.mark.parametrize("paused", [True, False])
def test_a_switch_that_was_killed_is_settled(
    look: Callable[[], str], mapping: EventSourceMapping, item: IntakeItem, clock: Clock, paused: bool
) -> None:
    if paused:
        item.pause(OPERATOR, "new prices", new_token())
    else:
        item.update("ADD switching :tokens", {":tokens": {"SS": [new_token()]}}, None)
        close(mapping)
    assert look() == ("paused by an operator" if paused else "open")
    assert mapping.state == ("Disabled" if paused else "Enabled")
    clock.sleep(1000)
    look()
    assert not item.read().switching
    assert (item.read().paused_by == OPERATOR) is paused


@pytest.mark.parametrize(("by", "paused"), [(None, 0), (FUNCTION, 1), (OPERATOR, 1), ("by hand", 1), ("reopened", 0)])
def test_a_metric_says_whether_the_intake_is_paused(
    look: Callable[[], str],
    mapping: EventSourceMapping,
    item: IntakeItem,
    capsys: pytest.CaptureFixture[str],
    service: responses.RequestsMock,
    by: str | None,
    paused: int,
) -> None:
    service.get(CREDITS, status=404 if by == "reopened" else 500)
    if by == "by hand":
        close(mapping)
    elif by == OPERATOR:
        item.pause(OPERATOR, "new prices")
    elif by:
        pause(item, mapping)
    capsys.readouterr()
    look()
    (line,) = (json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line)
    assert line["IntakePaused"] == [paused]
    assert line["_aws"]["CloudWatchMetrics"][0]["Metrics"] == [{"Name": "IntakePaused", "Unit": "Count"}]


def test_a_kill_between_the_reopening_and_the_mapping_is_settled_by_the_next_run(
    look: Callable[[], str],
    mapping: EventSourceMapping,
    item: IntakeItem,
    well: responses.RequestsMock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def be_killed(*_: object) -> bool:
        raise KeyboardInterrupt

    pause(item, mapping)
    with monkeypatch.context() as killing:
        killing.setattr(IntakeItem, "settle", be_killed)
        with pytest.raises(KeyboardInterrupt):
            look()
    assert (mapping.state, item.read().paused_by) == ("Disabled", None)
    assert look() == "open"  # nor is the mapping taken for one that was disabled by hand
    assert mapping.state == "Enabled"


# The caps. The clock stands at 8 o'clock, UTC, on 15 January 2027.
DAY_ENDS, MONTH_ENDS = 1_800_057_600, 1_801_440_000
CAPS = Caps(10, 200, "UTC")


@pytest.fixture
def capped(look: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Deploys other caps."""

    def deploy(daily: str = "10", monthly: str = "200", zone: str = "UTC") -> None:
        for name, value in {"DAILY_CREDITS": daily, "MONTHLY_CREDITS": monthly, "CAP_TIME_ZONE": zone}.items():
            monkeypatch.setenv(name, value)
        reopen._watch.cache_clear()

    deploy()
    return deploy


@pytest.fixture
def read_metrics(look: Callable[[], str], capsys: pytest.CaptureFixture[str]) -> Callable[[], dict[str, Any]]:
    """What one run says to CloudWatch: values by name."""

    def read() -> dict[str, Any]:
        capsys.readouterr()
        look()
        (line,) = (json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line)
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == "Cutout"
        units = {metric["Name"]: metric["Unit"] for metric in directive["Metrics"]}
        assert {name: unit for name, unit in units.items() if name != "IntakePaused"} == {
            name: "Percent" for name in units if name != "IntakePaused"
        }
        return {name: line[name][0] for name in units}

    return read


def spend(item: IntakeItem, day: int, month: int) -> None:
    values = {":day": day, ":month": month, ":day_ends": DAY_ENDS, ":month_ends": MONTH_ENDS}
    item.update(
        "SET day_credits = :day, month_credits = :month, day_ends = :day_ends, month_ends = :month_ends",
        {name: {"N": str(value)} for name, value in values.items()},
        None,
    )


def pause_at_cap(item: IntakeItem, mapping: EventSourceMapping, period: str = DAY) -> None:
    """By the function at its next call, and followed by the mapping."""
    reason = REASONS[period]
    done, _ = item.pause_at_cap(reason, *CAPS.is_reached(item.read().counts, reason))
    assert done
    close(mapping)
    assert item.settle(mapping, "uuid-1", new_token(), seconds=0)  # type: ignore[arg-type]


def test_metrics_say_how_much_of_each_cap_is_reserved(
    capped: Callable[..., None], item: IntakeItem, clock: Clock, read_metrics: Callable[[], dict[str, Any]]
) -> None:
    assert read_metrics() == {"IntakePaused": 0, "DailyCapUsed": 0, "MonthlyCapUsed": 0}
    spend(item, 4, 50)
    assert read_metrics() == {"IntakePaused": 0, "DailyCapUsed": 40, "MonthlyCapUsed": 25}
    spend(item, 10, 200)
    assert read_metrics() == {"IntakePaused": 0, "DailyCapUsed": 100, "MonthlyCapUsed": 100}


def test_what_is_allowed_beyond_a_cap_counts_to_it_until_its_period_ends(
    capped: Callable[..., None], item: IntakeItem, clock: Clock, read_metrics: Callable[[], dict[str, Any]]
) -> None:
    spend(item, 10, 50)
    item.allow(CAPS, DAY, 30, "the spring catalogue")
    assert read_metrics() == {"IntakePaused": 0, "DailyCapUsed": 25, "MonthlyCapUsed": 25}
    clock.now = DAY_ENDS - 1
    assert read_metrics()["DailyCapUsed"] == 25
    clock.now = DAY_ENDS
    assert read_metrics() == {"IntakePaused": 0, "DailyCapUsed": 0, "MonthlyCapUsed": 25}
    clock.now = MONTH_ENDS
    assert read_metrics() == {"IntakePaused": 0, "DailyCapUsed": 0, "MonthlyCapUsed": 0}


@pytest.mark.parametrize(
    ("daily", "monthly", "names"),
    [("", "", set()), ("10", "", {"DailyCapUsed"}), ("", "200", {"MonthlyCapUsed"})],
)
def test_a_cap_that_is_not_set_has_no_metric(
    capped: Callable[..., None],
    item: IntakeItem,
    clock: Clock,
    read_metrics: Callable[[], dict[str, Any]],
    daily: str,
    monthly: str,
    names: set[str],
) -> None:
    spend(item, 4, 50)  # from when both were set
    capped(daily, monthly)
    assert read_metrics().keys() == {"IntakePaused", *names}


@pytest.mark.parametrize(
    ("period", "day", "month", "ends"),
    [(DAY, 10, 50, DAY_ENDS), (MONTH, 4, 200, MONTH_ENDS), (DAY, 10, 200, MONTH_ENDS)],
)
def test_a_pause_at_a_cap_lasts_until_its_period_ends(
    look: Callable[[], str],
    capped: Callable[..., None],
    mapping: EventSourceMapping,
    item: IntakeItem,
    clock: Clock,
    well: responses.RequestsMock,
    read_metrics: Callable[[], dict[str, Any]],
    period: str,
    day: int,
    month: int,
    ends: int,
) -> None:
    spend(item, day, month)
    pause_at_cap(item, mapping, period)
    before = item.read()
    for now in (clock.now, ends - 300, ends - 1):
        clock.now = now
        last_to_turn = REASONS[MONTH if now >= DAY_ENDS or period == MONTH else DAY]
        assert look() == f"still paused: {last_to_turn}"
        assert read_metrics()["IntakePaused"] == 0  # the alarms of the caps ring
    assert (item.read(), mapping.state, len(well.calls)) == (before, "Disabled", 0)
    clock.now = ends
    assert look() == "reopened"
    seen = item.read()
    assert (seen.paused_by, seen.reopened_at, mapping.state) == (None, ends, "Enabled")  # on probation


def test_a_pause_at_a_cap_ends_once_the_cap_is_raised(
    look: Callable[[], str],
    capped: Callable[..., None],
    mapping: EventSourceMapping,
    item: IntakeItem,
    well: responses.RequestsMock,
) -> None:
    spend(item, 10, 50)
    pause_at_cap(item, mapping)
    capped(daily="9")
    assert look() == "still paused: daily_cap"
    capped(daily="11")
    assert look() == "reopened"


def test_a_pause_at_a_cap_ends_once_no_cap_is_set(
    look: Callable[[], str],
    capped: Callable[..., None],
    mapping: EventSourceMapping,
    item: IntakeItem,
    well: responses.RequestsMock,
) -> None:
    spend(item, 10, 50)
    pause_at_cap(item, mapping)
    capped("", "")
    assert look() == "reopened"


def test_a_pause_at_a_cap_ends_once_more_is_allowed(
    look: Callable[[], str],
    capped: Callable[..., None],
    mapping: EventSourceMapping,
    item: IntakeItem,
    clock: Clock,
    well: responses.RequestsMock,
) -> None:
    spend(item, 10, 200)
    pause_at_cap(item, mapping)
    item.allow(CAPS, DAY, 1, "the spring catalogue")
    assert look() == "still paused: monthly_cap"
    item.allow(CAPS, MONTH, 1, "the spring catalogue")
    assert look() == "reopened"


def test_a_pause_at_a_cap_ends_with_its_cause_however_often_the_intake_was_reopened_in_vain(
    look: Callable[[], str],
    capped: Callable[..., None],
    mapping: EventSourceMapping,
    item: IntakeItem,
    clock: Clock,
    well: responses.RequestsMock,
) -> None:
    for _ in range(3):
        pause(item, mapping)
        clock.sleep(3600)
        assert look() == "reopened"
    spend(item, 10, 50)
    pause_at_cap(item, mapping)
    item.allow(CAPS, DAY, 1, "the spring catalogue")
    assert look() == "reopened"
    pause(item, mapping)  # the next failure waits for as long as it would have without the cap
    assert look() == "still paused: service_unavailable, for 1200 more seconds"


def test_trouble_after_a_pause_at_a_cap_keeps_the_intake_paused_and_its_alarm_rings(
    look: Callable[[], str],
    capped: Callable[..., None],
    mapping: EventSourceMapping,
    item: IntakeItem,
    clock: Clock,
    service: responses.RequestsMock,
    read_metrics: Callable[[], dict[str, Any]],
) -> None:
    spend(item, 10, 50)
    pause_at_cap(item, mapping)
    assert read_metrics()["IntakePaused"] == 0
    clock.now = DAY_ENDS
    service.get(CREDITS, status=401)
    assert look() == "still paused: invalid_auth_token"
    assert read_metrics() == {"IntakePaused": 1, "DailyCapUsed": 0, "MonthlyCapUsed": 25}


def test_the_alarm_of_a_pause_for_trouble_rings_at_a_cap_too(
    look: Callable[[], str],
    capped: Callable[..., None],
    mapping: EventSourceMapping,
    item: IntakeItem,
    clock: Clock,
    read_metrics: Callable[[], dict[str, Any]],
) -> None:
    pause(item, mapping)
    spend(item, 10, 50)
    assert look() == "still paused: daily_cap"
    assert read_metrics()["IntakePaused"] == 1


def test_trouble_that_is_met_at_a_cap_while_the_credits_are_asked_for_is_not_forgotten(
    look: Callable[[], str],
    capped: Callable[..., None],
    mapping: EventSourceMapping,
    item: IntakeItem,
    clock: Clock,
    service: responses.RequestsMock,
) -> None:
    """The day has ended, and a call of the day before is answered now: its mapping was not disabled by hand."""
    spend(item, 10, 50)
    pause_at_cap(item, mapping)
    clock.now = DAY_ENDS

    def refuse_the_key(_: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        item.pause(FUNCTION, "invalid_auth_token")
        return 200, {}, '{"credits_remaining": 42}'

    service.add_callback(responses.GET, CREDITS, refuse_the_key)
    assert look() == "still paused: it was changed a moment ago"
    assert (item.read().paused_by, item.read().reason) == (FUNCTION, "invalid_auth_token")
    assert look() == "reopened"
    assert mapping.state == "Enabled"


@pytest.mark.parametrize("by", [OPERATOR, "by hand"])
def test_an_operators_pause_outlasts_a_cap(
    look: Callable[[], str],
    capped: Callable[..., None],
    mapping: EventSourceMapping,
    item: IntakeItem,
    clock: Clock,
    well: responses.RequestsMock,
    read_metrics: Callable[[], dict[str, Any]],
    by: str,
) -> None:
    spend(item, 10, 50)
    if by == OPERATOR:
        pause_at_cap(item, mapping)
        assert item.pause(OPERATOR, "new prices")
    else:
        close(mapping)
    for now in (clock.now, DAY_ENDS, MONTH_ENDS):
        clock.now = now
        assert look() == "paused by an operator"
        assert read_metrics()["IntakePaused"] == 1
    assert (item.read().paused_by, mapping.state) == (OPERATOR, "Disabled")
