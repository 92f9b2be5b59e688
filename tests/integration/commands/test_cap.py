"""`cutout cap`: what it shows, what it records, and which pause it ends."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from cutout.operations import budget
from cutout.operations import intake as stack_intake
from cutout.operations.deployment import Deployment
from remove_background.caps import Caps
from remove_background.intake import FUNCTION, ITEM, OPERATOR, IntakeItem
from tests.unit.fakes import Clock, refusal

Cutout = Callable[..., Any]

ZONE = "Europe/Berlin"
CAPS = {"DAILY_CREDITS": "2000", "MONTHLY_CREDITS": "30000", "CAP_TIME_ZONE": ZONE}
PRICE = {"CREDIT_PRICE": "0.10 USD"}
NOW = datetime(2026, 11, 29, 19, 0, tzinfo=ZoneInfo(ZONE)).timestamp()
MIDNIGHT = "2026-11-30T00:00:00+01:00"
ALLOW = ("cap", "--today", "+500", "--reason", "Christmas")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(NOW)
    for module in ("remove_background.intake", "cutout.operations.budget", "cutout.operations.intake"):
        monkeypatch.setattr(f"{module}.time", clock)
    return clock


@pytest.fixture
def item(deployed: Deployment) -> IntakeItem:
    return IntakeItem(deployed.dynamodb, "ledger")


def reserve(deployed: Deployment, day: int, month: int, **strings: str) -> None:
    caps = Caps(None, None, ZONE)
    numbers = {
        "day_ends": round(caps.end_of("day", NOW)),
        "month_ends": round(caps.end_of("month", NOW)),
        "day_credits": day,
        "month_credits": month,
    }
    deployed.dynamodb.put_item(
        TableName="ledger",
        Item=ITEM
        | {name: {"N": str(number)} for name, number in numbers.items()}
        | {name: {"S": text} for name, text in strings.items()},
    )


def stored(deployed: Deployment) -> dict[str, Any]:
    return dict(deployed.dynamodb.get_item(TableName="ledger", Key=ITEM).get("Item", {}))


def pause_at_cap(item: IntakeItem, reason: str = "daily_cap") -> None:
    item.pause_at_cap(reason, "attribute_exists(day_ends)", {})
    assert item.read().paused_by == FUNCTION


@pytest.fixture
def at_cap(deployed: Deployment, item: IntakeItem, configure: Callable[..., None]) -> None:
    """The function has paused the intake at the cap of the day."""
    configure(**CAPS)
    reserve(deployed, 2000, 5000)
    pause_at_cap(item)


def flat(text: str) -> str:
    return " ".join(text.split())


def test_both_periods_are_shown(deployed: Deployment, cutout: Cutout, configure: Callable[..., None]) -> None:
    configure(**CAPS)
    reserve(deployed, 1234, 5000)
    call = cutout("cap")
    told = flat(call.out)
    assert (call.code, call.err) == (0, "")
    assert "Today 1,234 of 2,000 credits reserved, 766 left until 00:00 Europe/Berlin, in 5 h" in told
    assert "This month 5,000 of 30,000 credits reserved, 25,000 left until 2026-12-01 00:00 Europe/Berlin, in 29 h" in (
        told
    )
    assert told.endswith("The caps leave 766 credits now. Reserved: charged, on their way, or not known to be either.")
    assert "USD" not in told
    assert "paused" not in told


def test_with_a_price_credits_are_said_in_money(
    deployed: Deployment, cutout: Cutout, configure: Callable[..., None]
) -> None:
    configure(**CAPS, **PRICE)
    reserve(deployed, 1234, 5000)
    told = flat(cutout("cap").out)
    assert "1,234 (123.40 USD) of 2,000 credits reserved, 766 left (76.60 USD)" in told
    assert "The caps leave 766 credits (76.60 USD) now." in told


def test_what_was_allowed_is_shown_with_its_reason(
    deployed: Deployment, cutout: Cutout, configure: Callable[..., None]
) -> None:
    configure(**CAPS)
    reserve(deployed, 1234, 5000)
    cutout("cap", "--today", "+500", "--reason", "a \x1b[1mrush", "--yes")
    told = flat(cutout("cap").out)
    assert "1,234 of 2,000 + 500 credits reserved, 1,266 left until" in told
    assert r"500 of them allowed beyond the cap: a \x1b[1mrush" in told


def test_only_a_period_with_a_cap_is_shown(
    deployed: Deployment, cutout: Cutout, configure: Callable[..., None]
) -> None:
    configure(MONTHLY_CREDITS="100")
    told = flat(cutout("cap").out)
    assert "Today" not in told
    assert "This month 0 of 100 credits reserved, 100 left until 2026-12-01 00:00 UTC, in 30 h" in told
    assert cutout("cap", "--json").json["caps"] == {
        "time_zone": "UTC",
        "left": 100,
        "day": None,
        "month": {
            "cap": 100, "reserved": 0, "extra": 0, "reason": None, "left": 100, "ends": "2026-12-01T00:00:00+00:00",
        },
    }  # fmt: skip


def test_json_has_all_of_it(deployed: Deployment, cutout: Cutout, configure: Callable[..., None]) -> None:
    configure(**CAPS, **PRICE)
    reserve(deployed, 1234, 5000)
    assert cutout("cap", "--json").json == {
        "stack": "cutout",
        "caps": {
            "time_zone": ZONE,
            "left": 766,
            "day": {"cap": 2000, "reserved": 1234, "extra": 0, "reason": None, "left": 766, "ends": MIDNIGHT},
            "month": {
                "cap": 30000, "reserved": 5000, "extra": 0, "reason": None, "left": 25000,
                "ends": "2026-12-01T00:00:00+01:00",
            },
        },
        "credit_price": {"amount": "0.10", "currency": "USD"},
        "intake": {"open": True, "paused_by": None, "reason": None, "since": None},
    }  # fmt: skip


def test_without_a_cap_there_is_none_to_show(deployed: Deployment, cutout: Cutout) -> None:
    call = cutout("cap")
    assert (call.code, call.out) == (
        0,
        "The stack has no cap: its parameters DailyCredits and MonthlyCredits set them.\n",
    )
    found = cutout("cap", "--json").json
    assert (found["caps"], found["credit_price"]) == (None, None)


@pytest.mark.parametrize(
    ("settings", "option", "told"),
    [
        ({}, "--today", "The stack has no daily cap: DailyCredits sets one."),
        ({"DAILY_CREDITS": "5"}, "--month", "The stack has no monthly cap: MonthlyCredits sets one."),
        ({"MONTHLY_CREDITS": "5"}, "--today", "The stack has no daily cap: DailyCredits sets one."),
    ],
)
def test_nothing_is_allowed_beyond_a_cap_that_is_not_set(
    deployed: Deployment,
    cutout: Cutout,
    settings: dict[str, str],
    option: str,
    told: str,
    configure: Callable[..., None],
) -> None:
    configure(**settings)
    call = cutout("cap", option, "+5", "--reason", "why", "--yes")
    assert (call.code, call.err) == (1, f"Error: {told} Nothing was done.\n")
    assert stored(deployed) == {}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--today", "+500"), "say why"),
        (("--today", "+500", "--reason", "  "), "say why"),
        (("--month", "+500", "--reason", "x" * 201), "at most 200 characters"),
        (("--reason", "why"), "goes with --today or --month"),
        (("--today", "5", "--month", "5", "--reason", "why"), "either --today or --month"),
        *(
            (("--today", number, "--reason", "why"), "must be a whole number from 1 to 999999999")
            for number in (
                "0",
                "+0",
                "-5",
                "1.5",
                "1,000",
                "many",
                "",
                "+",
                "++5",
                "1000000000",
                "9" * 5000,
                f"{10**12:040}",
                "٣",
            )
        ),
    ],
)
def test_wrong_usage_allows_nothing(
    deployed: Deployment, cutout: Cutout, arguments: tuple[str, ...], told: str, configure: Callable[..., None]
) -> None:
    configure(**CAPS)
    call = cutout("cap", *arguments, "--yes")
    assert call.code == 2
    assert told in flat(call.err.replace("│", " "))
    assert stored(deployed) == {}


def test_nothing_is_allowed_without_consent(
    deployed: Deployment, cutout: Cutout, item: IntakeItem, configure: Callable[..., None]
) -> None:
    configure(**CAPS, **PRICE)
    reserve(deployed, 2000, 5000)
    pause_at_cap(item)
    before = stored(deployed)
    call = cutout(*ALLOW)
    assert (call.code, call.out) == (2, "")
    assert call.err == (
        "To be allowed beyond the daily cap of 2,000: 500 more, until 00:00 Europe/Berlin, in 5 h.\n"
        "That may cost up to 500 credits (50.00 USD).\n"
        "The intake is paused at a cap. It is reopened once credits are left: what waits is paid.\n"
        "Nothing was done: no terminal to ask on. Add --yes.\n"
    )
    assert stored(deployed) == before


@pytest.mark.parametrize(("option", "name", "left"), [("--today", "day", 1266), ("--month", "month", 766)])
def test_what_is_allowed_is_recorded_with_its_reason(
    deployed: Deployment,
    cutout: Cutout,
    item: IntakeItem,
    option: str,
    name: str,
    left: int,
    configure: Callable[..., None],
) -> None:
    configure(**CAPS, **PRICE)
    reserve(deployed, 1234, 5000)
    call = cutout("cap", option, "+500", "--reason", " Christmas ", "--yes")
    when = "today" if name == "day" else "this month"
    assert call.code == 0
    assert call.out == (
        f"500 credits (50.00 USD) more are allowed {when}.\n"
        f"The caps leave {left:,} credits ({left / 10:.2f} USD) now.\n"
    )  # fmt: skip
    period = getattr(item.read().counts, name)
    assert (period.extra, period.reason) == (500, "Christmas")


def test_json_says_what_was_allowed(deployed: Deployment, cutout: Cutout, configure: Callable[..., None]) -> None:
    configure(**CAPS)
    found = cutout("cap", "--today", "500", "--reason", "Christmas", "--yes", "--json").json
    assert (found["allowed"], found["reopened"], found["caps"]["left"]) == (500, False, 2500)
    assert found["caps"]["day"] == {
        "cap": 2000, "reserved": 0, "extra": 500, "reason": "Christmas", "left": 2500, "ends": MIDNIGHT,
    }  # fmt: skip


def test_what_was_allowed_before_is_added_to_and_said(
    deployed: Deployment, cutout: Cutout, item: IntakeItem, configure: Callable[..., None]
) -> None:
    configure(**CAPS)
    cutout(*ALLOW, "--yes")
    call = cutout("cap", "--today", "1", "--reason", "more", "--yes")
    assert "beyond the daily cap of 2,000, beside the 500 allowed before: 1 more, until" in call.err
    assert call.out.startswith("1 credit more is allowed today.\nThe caps leave 2,501 credits now.")
    assert item.read().counts.day.extra == 501


def test_the_other_cap_is_named_where_it_leaves_less(
    deployed: Deployment, cutout: Cutout, configure: Callable[..., None]
) -> None:
    configure(**CAPS)
    reserve(deployed, 2000, 29_900)
    call = cutout(*ALLOW, "--yes")
    assert "The monthly cap leaves only 100." in call.err
    assert "The caps leave 100 credits now." in call.out


@pytest.mark.parametrize("reason", ["daily_cap", "monthly_cap"])
def test_a_pause_at_the_cap_ends_at_once(
    deployed: Deployment, cutout: Cutout, item: IntakeItem, reason: str, configure: Callable[..., None]
) -> None:
    configure(**CAPS)
    is_day = reason == "daily_cap"
    reserve(deployed, 2000 if is_day else 0, 5000 if is_day else 30_000)
    pause_at_cap(item, reason)
    deployed.lambda_.update_event_source_mapping(UUID=stack_intake._mapping(deployed)["UUID"], Enabled=False)
    call = cutout("cap", "--today" if is_day else "--month", "+500", "--reason", "why", "--yes")
    assert call.code == 0
    assert call.out.endswith("The caps leave 500 credits now.\nThe intake was paused at the cap, and is open again.\n")
    state = item.read()
    assert (state.paused_by, state.reopened_at, state.switching) == (None, NOW, frozenset())
    assert stack_intake._mapping(deployed)["State"] == "Enabled"


def test_json_says_that_the_intake_was_reopened(
    deployed: Deployment, cutout: Cutout, item: IntakeItem, at_cap: None
) -> None:
    found = cutout(*ALLOW, "--yes", "--json").json
    assert (found["reopened"], found["intake"]["open"]) == (True, True)


def test_the_intake_stays_paused_while_the_other_cap_is_reached(
    deployed: Deployment, cutout: Cutout, item: IntakeItem, configure: Callable[..., None]
) -> None:
    configure(**CAPS)
    reserve(deployed, 2000, 30_000)
    pause_at_cap(item)
    call = cutout(*ALLOW, "--yes")
    assert call.code == 0
    assert "The monthly cap leaves only 0." in call.err
    assert "The caps leave 0 credits now.\nThe intake is paused: the monthly cap is reached. Uploads wait." in call.out
    assert item.read().paused_by == FUNCTION


def test_too_few_credits_are_allowed_but_said_not_to_be_enough(
    deployed: Deployment, cutout: Cutout, item: IntakeItem, configure: Callable[..., None]
) -> None:
    configure(**CAPS | {"DAILY_CREDITS": "100"})  # it was lowered
    reserve(deployed, 1000, 1000)
    pause_at_cap(item)
    call = cutout(*ALLOW, "--yes")
    assert "It is not enough: 1,000 are reserved already. More than 900 open the intake." in call.err
    assert "The intake is paused: the daily cap is reached." in call.out
    assert (item.read().paused_by, item.read().counts.day.extra) == (FUNCTION, 500)


@pytest.mark.parametrize(
    "pause",
    [
        lambda item: item.pause(OPERATOR, "daily_cap"),
        lambda item: item.pause(FUNCTION, "insufficient_api_credits"),
    ],
)
def test_any_other_pause_stays(
    deployed: Deployment,
    cutout: Cutout,
    item: IntakeItem,
    pause: Callable[[IntakeItem], bool],
    configure: Callable[..., None],
) -> None:
    configure(**CAPS)
    reserve(deployed, 2000, 5000)
    pause(item)
    before = item.read()
    call = cutout(*ALLOW, "--yes")
    assert call.code == 0
    assert "It stays paused." in call.err
    assert f"The intake is paused by the {before.paused_by} ({before.reason})" in call.out
    after = item.read()
    assert (after.paused_by, after.reason, after.since) == (before.paused_by, before.reason, before.since)
    assert after.counts.day.extra == 500


@pytest.mark.parametrize("other", ["pauses", "resumes", "finds trouble"])
def test_what_another_does_meanwhile_is_not_undone(
    deployed: Deployment,
    cutout: Cutout,
    item: IntakeItem,
    monkeypatch: pytest.MonkeyPatch,
    other: str,
    at_cap: None,
) -> None:
    change = stack_intake.change

    def act(deployed: Deployment, write: Any) -> stack_intake.Change:  # noqa: ANN401
        monkeypatch.setattr(stack_intake, "change", change)
        match other:
            case "pauses":
                stack_intake.pause(deployed, "mine")
            case "resumes":
                stack_intake.resume(deployed)
            case _:
                assert item.pause(FUNCTION, "invalid_auth_token")
        return change(deployed, write)

    monkeypatch.setattr(stack_intake, "change", act)
    call = cutout(*ALLOW, "--yes")
    assert call.code == 0
    assert "is open again" not in call.out
    assert ("The intake is paused by the operator (mine)" in call.out) == (other == "pauses")
    assert item.read().paused_by == {"pauses": OPERATOR, "resumes": None, "finds trouble": FUNCTION}[other]


def test_what_another_allows_at_the_same_moment_is_told(
    deployed: Deployment,
    cutout: Cutout,
    item: IntakeItem,
    monkeypatch: pytest.MonkeyPatch,
    at_cap: None,
) -> None:
    update = IntakeItem.update

    def allow_first(self: IntakeItem, *call: Any) -> Any:  # noqa: ANN401
        monkeypatch.setattr(IntakeItem, "update", update)
        budget.allow(deployed, "day", 100, "theirs")
        return update(self, *call)

    monkeypatch.setattr(IntakeItem, "update", allow_first)
    call = cutout(*ALLOW, "--yes")
    assert "somebody else has allowed more" in call.err
    assert item.read().counts.day[2:4] == (100, "theirs")


def test_consent_to_a_day_is_none_to_the_next(
    deployed: Deployment, cutout: Cutout, clock: Clock, monkeypatch: pytest.MonkeyPatch, configure: Callable[..., None]
) -> None:
    configure(**CAPS)
    monkeypatch.setattr("cutout.commands.cap.agree", lambda **_: clock.sleep(5 * 3600))
    call = cutout(*ALLOW)
    assert (call.code, call.out) == (1, "")
    assert "The day has ended meanwhile: nothing was done." in call.err
    assert stored(deployed) == {}


@pytest.mark.parametrize("error", [refusal("ThrottlingException"), EndpointConnectionError(endpoint_url="https://aws")])
def test_an_answer_that_was_lost_is_said_to_be_looked_for(
    deployed: Deployment,
    cutout: Cutout,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    configure: Callable[..., None],
) -> None:
    def fail(*_: object) -> None:
        raise error

    configure(**CAPS)
    monkeypatch.setattr(IntakeItem, "allow", fail)
    call = cutout(*ALLOW, "--yes")
    assert (call.code, call.out) == (1, "")
    assert "\n`cutout cap` shows whether it was recorded.\nError: " in call.err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ClientError({"Error": {"Code": "AccessDenied"}}, "GetItem")])
def test_what_ends_it_after_it_was_recorded_does_not_hide_that(
    deployed: Deployment,
    cutout: Cutout,
    item: IntakeItem,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    at_cap: None,
) -> None:
    def fail(_: Deployment) -> None:
        raise error

    monkeypatch.setattr(stack_intake, "reopen_from_cap", fail)
    call = cutout(*ALLOW, "--yes")
    assert call.code == (130 if isinstance(error, KeyboardInterrupt) else 1)
    assert "500 credits more are allowed today. A pause at the cap ends within five minutes.\n" in call.err
    assert item.read().counts.day.extra == 500


def test_a_mapping_that_is_not_switched_yet_is_said(
    deployed: Deployment,
    cutout: Cutout,
    item: IntakeItem,
    monkeypatch: pytest.MonkeyPatch,
    at_cap: None,
) -> None:
    monkeypatch.setattr(IntakeItem, "settle", lambda *_: False)
    call = cutout(*ALLOW, "--yes")
    assert call.code == 0
    assert "not switched yet (it is busy): ReopenIntake goes on with it." in call.err
    assert item.read().paused_by is None


def test_a_zone_that_is_not_known_is_named(
    deployed: Deployment, cutout: Cutout, configure: Callable[..., None]
) -> None:
    configure(DAILY_CREDITS="5", CAP_TIME_ZONE="Mars/Olympus")
    call = cutout("cap")
    assert call.code == 1
    assert "Error: The caps of the stack cannot be read." in call.err
    assert "CAP_TIME_ZONE must be a time zone, such as Europe/Berlin, not 'Mars/Olympus'" in call.err


def test_resume_says_how_a_pause_at_the_cap_ends(
    deployed: Deployment, cutout: Cutout, item: IntakeItem, at_cap: None
) -> None:
    call = cutout("resume")
    assert (
        "The function paused the intake: the daily cap is reached. While nothing is left, it does so again. It opens "
        "by itself soon after 00:00 Europe/Berlin, in 5 h. `cutout cap --today +N --reason ...` or a higher "
        "DailyCredits opens it earlier.\n"
    ) in call.err
