"""A cap on credits, as a user meets it: uploads beyond it wait, and go on once more is allowed."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from remove_background.caps import DAY, Caps
from remove_background.intake import IntakeItem

CAP = 2
ZONE = f"Etc/GMT{datetime.now(UTC).hour - 12:+d}"  # where it is noon: the day does not end during the test


@pytest.fixture(scope="module")
def parameters() -> dict[str, str]:
    return {"DailyCredits": str(CAP), "CapTimeZone": ZONE}


def reopen(stack: Any) -> str:  # noqa: ANN401
    functions = stack.cloud.client("lambda")
    names = (function["FunctionName"] for function in functions.list_functions()["Functions"])
    (name,) = (name for name in names if "ReopenIntake" in name)
    found: str = json.load(functions.invoke(FunctionName=name)["Payload"])["intake"]
    return found


def test_uploads_beyond_a_cap_wait_until_more_is_allowed(stack: Any, make_picture: Callable[..., bytes]) -> None:  # noqa: ANN401
    for number in range(CAP):
        stack.upload(f"{number}.png", make_picture(number))
    for number in range(CAP):
        stack.wait_for_cutout(f"{number}.png")
    assert "paused_by" not in stack.intake
    stack.upload("beyond.png", make_picture(CAP))
    stack.wait_until(lambda: "paused_by" in stack.intake, "pause of the intake")
    assert (stack.intake["reason"], stack.intake["day_credits"]) == ({"S": "daily_cap"}, {"N": str(CAP)})
    assert reopen(stack) == "still paused: daily_cap"
    assert stack.mapping_state == "Disabled"

    dynamodb = stack.cloud.client("dynamodb")
    (table,) = dynamodb.list_tables()["TableNames"]
    IntakeItem(dynamodb, table).allow(Caps(CAP, None, ZONE), DAY, 10, "the spring catalogue")
    assert reopen(stack) == "reopened"
    stack.upload("later.png", make_picture(CAP + 1))  # the one that waits is retried after some minutes
    stack.wait_for_cutout("later.png")
    stack.wait_until(lambda: "reopened_at" not in stack.intake, "end of the probation")
    assert stack.intake["day_credits"] == {"N": str(CAP + 1)}
    assert stack.stand_in.state()["credits_charged"] == CAP + 1
