"""The page Letters, asked as a browser asks."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from cutout.console import letter_list
from cutout.console.app import make_app
from cutout.console.changes import Changes
from cutout.console.safety import Gate
from cutout.console.stack import Stack
from cutout.operations import credits as balance
from cutout.operations import dead_letters, rounds
from cutout.operations import intake as stack_intake
from cutout.operations.intake import Intake
from tests.fake_letters import FakeAws, refusal

HOST = "http://127.0.0.1:8000"
ODD = "<b>odd & new</b>"


def code_of(letter_id: str) -> str:
    """Of four, three have one code, and one another."""
    return ODD if int(letter_id) % 4 == 3 else "malformed_image"


class Console:
    def __init__(self, aws: FakeAws, folder: Path, *, read_only: bool = False) -> None:
        self.stack = Stack("cutout", lambda: aws.deployed)
        self.log = folder / "console.log"
        addresses: list[str] = []
        gate = Gate(8000, addresses.append, read_only=read_only)
        app = make_app(self.stack, gate, Changes(self.log, "cutout"), read_only=read_only)
        self.client: FlaskClient = app.test_client()
        self.client.get(gate.address.removeprefix(HOST), base_url=HOST)

    def get(self, path: str, **query: object) -> Any:  # noqa: ANN401
        return self.client.get(path, base_url=HOST, query_string=query or None, headers={"HX-Request": "true"})

    def post(self, path: str, **form: object) -> Any:  # noqa: ANN401
        headers = {"HX-Request": "true", "Sec-Fetch-Site": "same-origin"}
        return self.client.post(path, base_url=HOST, data=form, headers=headers)

    def wait_for(self, text: str, path: str = "/letters/state") -> str:
        deadline = time.monotonic() + 10
        while text not in (shown := self.get(path).text):
            assert time.monotonic() < deadline, shown
            time.sleep(0.01)
        return str(shown)

    def wait_for_changes(self, number: int) -> list[dict[str, Any]]:
        deadline = time.monotonic() + 10
        while len(self.changes) < number:
            assert time.monotonic() < deadline, self.changes
            time.sleep(0.01)
        return self.changes

    def offer(self, **form: object) -> str:
        """The id to confirm it with."""
        answer = self.post("/letters/offer", **form)
        assert answer.status_code == 200, answer.text
        (found,) = re.findall(r'name="offer" value="([^"]+)"', answer.text)
        return str(found)

    @property
    def changes(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture
def aws() -> FakeAws:
    return FakeAws([f"{number:03}" for number in range(240)], code_of)


@pytest.fixture(autouse=True)
def _rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balance, "read", lambda _: 1000.0)
    monkeypatch.setattr(stack_intake, "read", lambda _: Intake(None))
    monkeypatch.setattr(letter_list, "COUNT_SECONDS", 0.01)


@pytest.fixture
def make_console(aws: FakeAws, tmp_path: Path) -> Iterator[Callable[..., Console]]:
    consoles: list[Console] = []

    def make(*, read_only: bool = False) -> Console:
        console = Console(aws, tmp_path, read_only=read_only)
        consoles.append(console)
        return console

    yield make
    for console in consoles:
        console.stack.end()


@pytest.fixture
def console(make_console: Callable[..., Console]) -> Console:
    """Its letters were read."""
    console = make_console()
    console.wait_for("240 letters")
    return console


def hold_receives(aws: FakeAws) -> tuple[threading.Event, threading.Event]:
    """Each receive waits until the first event is set. The second is set once one waits."""
    hold, begun = threading.Event(), threading.Event()

    def wait(action: str) -> None:
        if action == "receive":
            begun.set()
            hold.wait(10)

    aws.before = wait
    return hold, begun


def test_the_letters_are_read_while_the_page_is_there(aws: FakeAws, make_console: Callable[..., Console]) -> None:
    hold, begun = hold_receives(aws)
    console = make_console()
    assert "Reading letters" in console.get("/letters").text
    assert begun.wait(10)
    answer = console.get("/letters/state")
    assert "Reading letters: 0 of about 240" in answer.text
    assert answer.headers["Next-Look-Milliseconds"] == "1000"
    hold.set()
    console.wait_for("240 letters")
    assert not aws.hidden


def test_the_letters_are_grouped_by_code_the_largest_first(console: Console) -> None:
    shown = console.get("/letters").text
    assert re.findall(r'<span class="letters-number">([\d,]+)', shown) == ["180", "60"]
    assert "Billed: 180 maybe" in shown
    assert "The file is empty, cut short or damaged." in shown
    assert "&lt;b&gt;odd &amp; new&lt;/b&gt;" in shown
    assert ODD not in shown


def test_a_group_is_shown_in_pages(console: Console) -> None:
    def keys(**query: object) -> list[str]:
        return re.findall(r'name="id" value="(\d+)"', console.get("/letters/page", **query).text)

    mine = [f"{number:03}" for number in range(240) if number % 4 != 3]
    assert keys(code="malformed_image") == mine[:50]
    assert keys(code="malformed_image", page=4) == keys(code="malformed_image", page=99) == mine[150:]
    assert console.get("/letters/page", code="unknown").status_code == 404
    assert "Page 2 of 4" in console.get("/letters/groups", open="2:malformed_image").text


def test_a_letter_is_shown_whole(console: Console) -> None:
    shown = console.get("/letters/letter", id="003").text
    assert "s3://input/003" in shown
    assert "it is there, as it was" in shown
    assert "&#34;eTag&#34;: &#34;etag&#34;" in shown
    assert console.get("/letters/letter", id="unknown").status_code == 404


def test_what_does_not_change_is_not_sent_again(console: Console) -> None:
    shown = console.get("/letters/state").text
    (path,) = re.findall(r'hx-get="([^"]+)"', shown)
    again = console.get(path.replace("&amp;", "&"))
    assert again.status_code == 204
    assert "HX-Trigger" not in again.headers
    assert again.headers["Next-Look-Milliseconds"] == "4000"


def test_count_and_cost_are_said_first(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_intake, "read", lambda _: Intake("operator"))
    offered = console.post("/letters/offer", action="replay", scope="code", code="malformed_image").text
    assert "To be replayed: 180 letters (180 malformed_image)." in offered
    assert "That may cost 180 credits" in offered
    assert "1,000 are left" in offered
    assert "The intake is paused" in offered
    discarded = console.post("/letters/offer", action="discard_and_delete", scope="ids", id=["000", "003"]).text
    assert "2 letters" in discarded
    assert "To be deleted with them, for good: 2 images in s3://input." in discarded
    assert console.changes == []


def test_the_cost_of_a_replay_is_also_said_in_money(aws: FakeAws, console: Console) -> None:
    aws.settings["CREDIT_PRICE"] = "0.10 USD"
    offered = console.post("/letters/offer", action="replay", scope="code", code="malformed_image").text
    assert "That may cost 180 credits (18.00 USD), less where" in offered


@pytest.mark.parametrize(
    "form",
    [
        {"action": "replay", "scope": "ids"},
        {"action": "replay", "scope": "ids", "id": "unknown"},
        {"action": "replay", "scope": "code", "code": "unknown"},
        {"action": "burn", "scope": "all"},
        {"scope": "rest"},
        {},
    ],
)
def test_what_chooses_nothing_is_refused(console: Console, form: dict[str, str]) -> None:
    answer = console.post("/letters/offer", **form)
    assert answer.status_code == 400
    assert 'role="alert"' in answer.text


def test_all_of_a_code_are_replayed_and_the_list_follows(aws: FakeAws, console: Console) -> None:
    offer = console.offer(action="replay", scope="code", code="malformed_image")
    started = console.post("/letters/start", offer=offer)
    assert (started.status_code, started.headers["HX-Trigger"]) == (200, "begun")
    console.wait_for("180 of 180 letters were replayed.", "/letters/job")
    console.wait_for("60 letters")
    assert len(aws.sent) == 180
    assert set(aws.sent.values()) == {1}
    first, last = console.wait_for_changes(2)
    assert (first["action"], first["letters"], first["codes"]) == ("replay", 180, {"malformed_image": 180})
    assert (last["action"], last["state"], last["done"]) == ("end of replay", "done", 180)


def test_a_confirmation_works_once(aws: FakeAws, console: Console) -> None:
    offer = console.offer(action="discard", scope="ids", id="000")
    console.post("/letters/start", offer=offer)
    console.wait_for("1 of 1 letter was discarded", "/letters/job")
    for wrong in (offer, "guessed", ""):
        answer = console.post("/letters/start", offer=wrong)
        assert answer.status_code == 409
        assert "confirmed before" in answer.text
    assert len(aws.letters) == 239


def test_a_second_job_is_refused_and_the_first_is_cancelled_and_finished(aws: FakeAws, console: Console) -> None:
    go = threading.Event()
    aws.before = lambda action: go.wait(10) if action == "send" and len(aws.sent) >= 60 else None
    first = console.offer(action="replay", scope="all")
    second = console.offer(action="discard", scope="all")
    console.post("/letters/start", offer=first)
    for path, form in (("/letters/start", {"offer": second}), ("/letters/offer", {"action": "replay", "scope": "all"})):
        answer = console.post(path, **form)
        assert answer.status_code == 409
        assert "One thing at a time" in answer.text
    assert 'id="cancel"' in console.get("/letters").text  # also where the page is loaded anew
    cancelled = console.post("/letters/cancel").text
    assert "It is cancelled" in cancelled
    go.set()
    console.wait_for("It was cancelled.", "/letters/job")
    sent = len(aws.sent)
    assert 60 <= sent < 240
    console.wait_for(f"{240 - sent} letters")
    rest = console.offer(scope="rest")
    console.post("/letters/start", offer=rest)
    console.wait_for(f"{240 - sent} of {240 - sent} letters were replayed.", "/letters/job")
    assert (aws.letters, len(aws.sent), set(aws.sent.values())) == ({}, 240, {1})


def test_an_error_in_the_middle_is_told_and_the_rest_can_be_finished(aws: FakeAws, console: Console) -> None:
    def refuse(action: str) -> None:
        if action == "send" and len(aws.sent) >= 100:
            raise refusal("SendMessageBatch")

    aws.before = refuse
    console.post("/letters/start", offer=console.offer(action="replay", scope="all"))
    shown = console.wait_for("An error ended it: AWS does not allow", "/letters/job")
    assert 'id="finish"' in shown
    aws.before = lambda _: None
    console.wait_for(f"{len(aws.letters)} letters")
    console.post("/letters/start", offer=console.offer(scope="rest"))
    console.wait_for("letters were replayed.", "/letters/job")
    console.wait_for("There are no letters")
    assert (aws.letters, set(aws.sent.values())) == ({}, {1})


def test_aws_that_refuses_is_told_beside_what_was_known_and_it_recovers(aws: FakeAws, console: Console) -> None:
    def refuse(action: str) -> None:
        if action == "count":
            raise refusal("GetQueueAttributes")

    aws.before = refuse
    shown = console.wait_for("AWS does not allow these credentials")
    assert "240 letters" in shown
    aws.before = lambda _: None
    aws.letters.pop("000")
    aws._visible.pop("000")
    console.get("/letters/state", renew=1)
    while 'role="alert"' in console.wait_for("239 letters"):
        time.sleep(0.01)


def test_letters_that_arrive_are_read_once_a_minute(
    aws: FakeAws, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws.letters.pop("000")
    aws._visible.pop("000")
    received = aws.calls["receive"]
    counted = aws.calls["count"]
    while aws.calls["count"] < counted + 5:
        time.sleep(0.01)
    assert aws.calls["receive"] == received
    monkeypatch.setattr(letter_list, "REREAD_SECONDS", 0.0)
    console.wait_for("239 letters")


def test_nothing_is_asked_of_aws_when_nobody_looks(
    aws: FakeAws, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "NOBODY_SECONDS", 0.0)
    thread = next(thread for thread in threading.enumerate() if thread.name == "letters")
    thread.join(10)
    assert not thread.is_alive()
    monkeypatch.undo()
    monkeypatch.setattr(letter_list, "COUNT_SECONDS", 0.01)
    counted = aws.calls["count"]
    console.get("/letters")
    while aws.calls["count"] == counted:
        time.sleep(0.01)


def test_the_end_of_the_console_gives_back_what_is_hidden(aws: FakeAws, console: Console) -> None:
    begun = threading.Event()
    aws.before = lambda action: begun.set() if action == "send" else None
    console.post("/letters/start", offer=console.offer(action="replay", scope="all"))
    assert begun.wait(10)
    console.stack.end()
    assert not aws.hidden
    assert len(aws.sent) + len(aws.letters) == 240


def test_the_end_of_the_console_does_not_wait_until_all_letters_are_read(aws: FakeAws, console: Console) -> None:
    offer = console.offer(action="replay", scope="all")
    hold, begun = hold_receives(aws)
    received = aws.calls["receive"]
    console.get("/letters/state", renew=1)
    assert begun.wait(10)
    console.post("/letters/start", offer=offer)  # it begins when the letters are read
    end = threading.Thread(target=console.stack.end)
    end.start()
    console.wait_for("It is cancelled", "/letters/job")
    hold.set()
    end.join(10)
    assert aws.calls["receive"] <= received + dead_letters.THREADS
    assert (len(aws.letters), aws.hidden) == (240, set())


def test_who_only_reads_has_no_buttons_that_change_something(make_console: Callable[..., Console]) -> None:
    console = make_console(read_only=True)
    console.wait_for("240 letters")
    shown = console.get("/letters/groups", open="1:malformed_image").text
    assert "Details" in shown
    assert "hx-post" not in shown
    assert "checkbox" not in shown
    assert console.post("/letters/offer", action="replay", scope="all").status_code == 403
