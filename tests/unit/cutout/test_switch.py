"""The switch of the console: a change that was described is made once, beside the requests, and noted."""

import json
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cutout.console import confirmations, switch
from cutout.console.changes import Changes
from cutout.console.confirmations import Confirmations
from cutout.console.stack import Stack
from cutout.console.switch import Plan, Switch
from cutout.operations import intake as stack_intake
from cutout.operations.intake import Change, Intake
from remove_background.intake import FUNCTION, OPERATOR, State
from tests.unit.fakes import refusal


@pytest.fixture
def changes(tmp_path: Path) -> Changes:
    return Changes(tmp_path / "console.log", "cutout")


@pytest.fixture
def made(changes: Changes) -> Switch:
    def find() -> Any:  # noqa: ANN401
        return "deployed"

    watch: Any = SimpleNamespace(hurry=lambda **_: None)
    return Switch(Stack("cutout", find), changes, watch)


def finish(made: Switch) -> None:
    ends = time.monotonic() + 10
    while made.current:
        assert time.monotonic() < ends
        time.sleep(0.001)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (Change(None, None), None),  # the state of the intake says it
        (Change(State(paused_by=OPERATOR, reason="mine"), None), 'Already paused ("mine").'),
        (
            Change(None, "busy"),
            "The intake is paused. The event source mapping is not switched yet (busy): ReopenIntake goes on with it.",
        ),
    ],
)
def test_a_pause_is_noted_before_and_after_it(
    made: Switch, changes: Changes, monkeypatch: pytest.MonkeyPatch, change: Change, told: str | None
) -> None:
    monkeypatch.setattr(stack_intake, "pause", lambda deployed, reason: change)

    assert made.begin(Plan("pause", "new prices"))
    finish(made)

    assert (made.told.sentence if made.told else None) == told
    before, after = map(json.loads, changes.path.read_text().splitlines())
    assert (before["action"], before["reason"], after["action"], after["failed"]) == (
        "pause",
        "new prices",
        "pause",
        False,
    )


def test_a_resume_after_which_the_function_pauses_again_is_noted_so(
    made: Switch, changes: Changes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack_intake, "resume", lambda deployed: Change(None, None))
    monkeypatch.setattr(stack_intake, "read", lambda deployed: Intake(FUNCTION, "insufficient_api_credits"))

    made.begin(Plan("resume"))
    finish(made)

    assert "paused by the function: insufficient_api_credits." in changes.path.read_text()


def test_what_aws_refuses_is_told(made: Switch, changes: Changes, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(deployed: object) -> Change:
        raise refusal("AccessDeniedException", "UpdateItem")

    monkeypatch.setattr(stack_intake, "resume", refuse)
    made.begin(Plan("resume"))
    finish(made)

    assert made.told
    assert made.told.failed
    assert "Ask for that permission" in made.told.sentence
    assert json.loads(changes.path.read_text().splitlines()[-1])["failed"] is True
    monkeypatch.setattr(switch, "TOLD_SECONDS", 0.0)
    assert made.told is None  # after a while


def test_one_change_is_made_at_a_time(made: Switch, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on = threading.Event()

    def pause(deployed: object, reason: str) -> Change:
        goes_on.wait(10)
        return Change(None, None)

    monkeypatch.setattr(stack_intake, "pause", pause)
    assert made.begin(Plan("pause"))
    assert not made.begin(Plan("resume"))
    goes_on.set()
    finish(made)


def test_what_cannot_be_noted_is_not_done(made: Switch, changes: Changes, monkeypatch: pytest.MonkeyPatch) -> None:
    changes.path.unlink()
    changes.path.mkdir()

    with pytest.raises(OSError, match="Is a directory"):
        made.begin(Plan("pause"))
    assert made.current is None


def test_a_plan_is_confirmed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirmations, "MOST", 2)
    plans: Confirmations[str] = Confirmations()
    forgotten, first, second = plans.remember("forgotten"), plans.remember("first"), plans.remember("second")

    assert plans.take("guessed") is None
    assert plans.take(forgotten) is None
    assert (plans.take(first), plans.take(first), plans.take(second)) == ("first", None, "second")
