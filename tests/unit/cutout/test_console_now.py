"""The page Now, asked as a browser asks: what it says of the caps on credits, and of money."""

import html
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cutout.console.app import make_app
from cutout.console.changes import Changes
from cutout.console.safety import Gate
from cutout.console.stack import Stack
from cutout.operations import credits as balance
from tests.unit.cutout.fake_stack import FakeStack

HOST = "http://127.0.0.1:8000"


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> FakeStack:
    monkeypatch.setattr(balance, "read", lambda _: 123.0)
    stack = FakeStack()
    stack.settings |= {"DAILY_CREDITS": "2000", "MONTHLY_CREDITS": "30000", "CAP_TIME_ZONE": "Europe/Berlin"}
    return stack


@pytest.fixture
def show(stack: FakeStack, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """The page as text, without its tags."""
    consoles: list[Stack] = []

    def show() -> str:
        found = Stack("cutout", lambda: stack.deployed)
        consoles.append(found)
        gate = Gate(8000, lambda _: None, read_only=False)
        app = make_app(found, gate, Changes(tmp_path / "console.log", "cutout"), read_only=False)
        client = app.test_client()
        client.get(gate.address.removeprefix(HOST), base_url=HOST)
        return client.get("/", base_url=HOST).text

    yield show
    for console in consoles:
        console.end()


def as_text(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", page.replace("</dt>", " "))).split())


def count(name: str, ends: float, credits_: int, **more: int | str) -> dict[str, dict[str, str]]:
    """The attributes of the intake's item."""
    numbers = {"ends": round(ends), "credits": credits_} | more
    return {f"{name}_{of}": {"S" if isinstance(value, str) else "N": str(value)} for of, value in numbers.items()}


def test_without_a_cap_there_is_no_card(stack: FakeStack, show: Callable[[], str]) -> None:
    stack.settings = {"LEDGER_TABLE": "ledger", "PIXELCUT_API_KEY_SECRET": "key"}
    page = show()
    assert "The intake is open" in as_text(page)
    assert "cap" not in as_text(page).lower()
    assert "<meter" not in page


def test_what_is_reserved_and_left_of_each_cap_is_shown_until_it_turns(
    stack: FakeStack, show: Callable[[], str]
) -> None:
    ends = time.time() + 60
    stack.item = count("day", ends, 1250, extra=500, reason="a <b>rush</b>") | count("month", ends, 4000)
    page = show()
    text = as_text(page)
    assert "Today (Europe/Berlin) 1,250 of 2,500 credits reserved 1,250 left until " in text
    assert "The cap is 2,000; an operator allowed 500 more: a <b>rush</b>" in text
    assert "This month (Europe/Berlin) 4,000 of 30,000 credits reserved 26,000 left until " in text
    assert re.findall(r'<meter aria-labelledby="([\w -]+)" max="(\d+)" value="(\d+)"', page) == [
        ("now-cap-day now-reserved-day", "2500", "1250"),
        ("now-cap-month now-reserved-month", "30000", "4000"),
    ]
    assert 'id="now-reserved-day"' in page
    assert stack.calls["get_item"] == 1  # the one that says whether the intake is paused


def test_only_the_cap_that_is_set_is_shown(stack: FakeStack, show: Callable[[], str]) -> None:
    stack.settings["MONTHLY_CREDITS"] = ""
    text = as_text(show())
    assert "0 of 2,000 credits reserved 2,000 left until 00:00 Europe/Berlin, in " in text
    assert "This month" not in text


def test_a_pause_at_the_cap_says_how_it_ends(stack: FakeStack, show: Callable[[], str]) -> None:
    stack.paused_by = "function"
    stack.item = {"reason": {"S": "daily_cap"}} | count("day", time.time() + 60, 2003)
    page = show()
    text = as_text(page)
    assert "2,003 of 2,000 credits reserved The cap is reached until " in text
    assert 'max="2000" value="2000"' in page
    assert (
        "The intake is paused by the function: the daily cap is reached. Uploads wait until credits are left." in text
    )
    assert "The intake is paused at a cap. It opens by itself soon after " in text
    assert "<code>cutout cap --today +N --reason ...</code> or a higher DailyCredits opens it earlier." in page


@pytest.mark.parametrize(("by", "reason"), [("operator", "daily_cap"), ("function", "insufficient_api_credits")])
def test_another_pause_is_not_the_caps(stack: FakeStack, show: Callable[[], str], by: str, reason: str) -> None:
    stack.paused_by = by
    stack.item = {"reason": {"S": reason}} | count("day", time.time() + 60, 2000)
    assert "by itself" not in as_text(show())


def test_a_cap_that_this_machine_cannot_reckon_is_said_so(stack: FakeStack, show: Callable[[], str]) -> None:
    stack.settings["CAP_TIME_ZONE"] = "Mars/Olympus"
    text = as_text(show())
    assert "The caps of the stack cannot be read. The environment variable CAP_TIME_ZONE must be a time zone" in text
    assert "The intake is open" in text


def test_credits_are_also_said_in_money_where_the_price_is_set(stack: FakeStack, show: Callable[[], str]) -> None:
    stack.settings["CREDIT_PRICE"] = "0.10 USD"
    stack.end(time.time() - 1)
    text = as_text(show())
    assert "Credits charged 1 (0.10 USD)" in text
    assert "0 (0.00 USD) of 2,000 credits (200.00 USD) reserved 2,000 (200.00 USD) left until" in text
