"""The pages Letters and Explain, in a browser."""

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cutout.console.changes import Changes
from cutout.console.server import serving
from cutout.console.stack import Stack
from cutout.operations import credits as balance
from cutout.operations import intake as stack_intake
from cutout.operations.intake import Intake
from cutout.presentation.advice import ADVICE
from tests.fake_letters import FakeAws

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

LETTERS, MINE = 10_000, 4_812
HALF = MINE // 2
CODE = "service_unavailable"
NOT_A_PICTURE = b"a letter to the editor"
MARKUP = '<img src=x onerror="document.title=1">\'&.jpg'


@pytest.fixture(params=[LETTERS])
def fake(request: pytest.FixtureRequest) -> FakeAws:
    """Has so many letters, of which each second one has the code until there are enough."""
    return FakeAws(
        (f"shop/{number:05}.jpg" for number in range(request.param)),
        lambda key: CODE if int(key[5:10]) < 2 * MINE and int(key[5:10]) % 2 else "malformed_image",
    )


@pytest.fixture
def console_of_letters(fake: FakeAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Its addresses."""
    monkeypatch.setattr(balance, "read", lambda _: 6000.0)
    monkeypatch.setattr(stack_intake, "read", lambda _: Intake("operator"))
    addresses: list[str] = []
    stack = Stack("cutout", lambda: fake.deployed)
    with serving(stack, 0, Changes(tmp_path / "log", "cutout"), addresses.append, read_only=False):
        yield addresses


def enter(context: "BrowserContext", address: str, path: str) -> "Page":
    """Without the first page, which asks for more of AWS than the fake one has."""
    context.request.get(address, max_redirects=0)
    page = context.new_page()
    page.goto(address.partition("/enter")[0] + path)
    return page


def test_letters_are_replayed_cancelled_half_way_and_finished(
    fake: FakeAws, console_of_letters: list[str], open_browser: "Callable[..., BrowserContext]"
) -> None:
    from playwright.sync_api import expect  # noqa: PLC0415  # it may not be installed

    half, go = threading.Event(), threading.Event()

    def stop_at_half(action: str) -> None:
        if action == "send" and fake.sent.total() >= HALF:
            half.set()
            go.wait(60)

    fake.before = stop_at_half
    page = enter(open_browser(), console_of_letters[-1], "/letters")
    expect(page.locator("#state")).to_contain_text("10,000 letters")
    group = page.locator(f"details[data-code={CODE}]")
    expect(group.locator("summary")).to_contain_text("4,812")

    group.locator("summary").click()
    expect(group.locator("input[name=id]")).to_have_count(50)
    group.get_by_role("button", name="Next").click()
    expect(group).to_contain_text("Page 2 of 97")
    group.get_by_role("form", name="All with this code").get_by_role("button", name="Replay…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("To be replayed: 4,812 letters (4,812 service_unavailable).")
    expect(dialog).to_contain_text("That may cost 4,812 credits")
    expect(dialog).to_contain_text("6,000 are left")
    expect(dialog).to_contain_text("The intake is paused")
    assert fake.sent.total() == 0
    dialog.get_by_role("button", name="Replay 4,812 letters").click()
    expect(dialog).to_be_hidden()
    assert half.wait(60)

    page.reload()  # the job is still there
    expect(page.locator("#job")).to_contain_text(re.compile(r"2,\d\d\d of 4,812 letters"))
    page.get_by_role("form", name="All letters").get_by_role("button", name="Discard…").click()
    expect(dialog).to_contain_text("One thing at a time")
    page.keyboard.press("Escape")
    page.locator("#cancel").click()
    expect(page.locator("#job")).to_contain_text("It is cancelled")
    go.set()
    expect(page.locator("#job")).to_contain_text("It was cancelled.")
    sent = fake.sent.total()
    assert HALF <= sent < MINE
    assert len(fake.letters) == LETTERS - sent
    assert not fake.hidden
    job = page.locator("#job")
    expect(job).to_contain_text(f"{sent:,} of 4,812 letters were replayed.")
    expect(job).to_contain_text(f"{MINE - sent:,} letters not replayed yet: they are in the queue.")
    expect(group.locator("summary")).to_contain_text(f"{MINE - sent:,}")

    fake.before = lambda _: None
    page.locator("#finish").click()
    expect(dialog).to_contain_text(f"To be replayed: {MINE - sent:,} letters")
    page.locator("#confirm").click()
    expect(job).to_contain_text(f"{MINE - sent:,} of {MINE - sent:,} letters were replayed.")
    expect(page.locator("#state")).to_contain_text("5,188 letters")
    expect(group).to_have_count(0)
    assert (len(fake.sent), set(fake.sent.values())) == (MINE, {1})
    assert len(fake.letters) == LETTERS - MINE
    assert not set(fake.letters) & set(fake.sent)


@pytest.mark.parametrize("fake", [100], indirect=True)
def test_some_letters_are_chosen_and_discarded_by_keyboard(
    fake: FakeAws, console_of_letters: list[str], open_browser: "Callable[..., BrowserContext]"
) -> None:
    from playwright.sync_api import expect  # noqa: PLC0415

    page = enter(open_browser(), console_of_letters[-1], "/letters")
    group = page.locator(f"details[data-code={CODE}]")
    group.locator("summary").focus()
    page.keyboard.press("Enter")
    boxes = group.locator("input[name=id]")
    for number in (0, 2):
        boxes.nth(number).focus()
        page.keyboard.press("Space")
    expect(group.locator("output")).to_have_text("2 chosen.")
    details = group.get_by_role("button", name="Details of shop/00001.jpg")
    details.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("it is there, as it was")
    expect(dialog.locator("pre")).to_contain_text('"key": "shop/00001.jpg"')
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(details).to_be_focused()

    group.locator("form.letters-chosen").get_by_role("button", name="Discard…").focus()
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text("To be discarded, for good: 2 letters")
    expect(dialog.get_by_role("heading")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#job")).to_contain_text("2 of 2 letters were discarded.")
    expect(group.locator("summary")).to_contain_text("48")
    assert sorted({f"shop/{number:05}.jpg" for number in range(8)} - set(fake.letters)) == [
        "shop/00001.jpg",
        "shop/00005.jpg",
    ]
    assert group.get_attribute("open") is not None  # the renewed list is as open as it was


@pytest.mark.parametrize("fake", [100], indirect=True)
def test_what_is_in_a_dialog_works_as_soon_as_it_is_there(
    fake: FakeAws, console_of_letters: list[str], open_browser: "Callable[..., BrowserContext]"
) -> None:
    from playwright.sync_api import expect  # noqa: PLC0415

    page = enter(open_browser(), console_of_letters[-1], "/letters")
    page.evaluate(
        "document.addEventListener('htmx:afterSwap',"
        " () => setTimeout(() => document.getElementById('confirm')?.click()))"
    )
    page.get_by_role("form", name="All letters").get_by_role("button", name="Discard…", exact=True).click()
    expect(page.locator("#job")).to_contain_text("100 of 100 letters were discarded.")
    assert not fake.letters


def test_what_happened_to_uploads(page: "Page", console: Any, stack: Any, make_picture: Callable[..., bytes]) -> None:  # noqa: ANN401
    from playwright.sync_api import expect  # noqa: PLC0415

    stack.upload("explain/cat.png", make_picture(1))
    stack.upload("explain/text.jpg", NOT_A_PICTURE)
    stack.upload(MARKUP, NOT_A_PICTURE)
    stack.wait_for_cutout("explain/cat.png")
    stack.wait_until(lambda: _letters(stack) == 2, "letters")

    page.get_by_role("link", name="Explain", exact=True).click()
    field = page.get_by_label("Key of an upload")
    expect(field).to_be_focused()
    page.keyboard.type("explain/cat.png")
    page.keyboard.press("Enter")
    expect(page.locator("#answer")).to_contain_text("It became a cutout on")
    expect(page.locator("#answer")).to_contain_text("attempt 1 after")
    for side in ("The upload", "The cutout"):
        picture = page.get_by_role("img", name=side)
        expect(picture).to_be_visible()
        page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=picture.element_handle())

    field.fill(f"s3://{stack.outputs['InputBucketName']}/explain/unknown.png")
    page.keyboard.press("Enter")
    expect(page.locator("#answer")).to_contain_text("Nothing is known of it")
    field.fill("s3://elsewhere/a.png")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").filter(has_text="input bucket is")).to_be_visible()

    page.get_by_role("link", name="Letters").click()
    group = page.locator("details.letters-group").first
    expect(group).to_be_visible()
    group.locator("summary").click()
    code = group.get_attribute("data-code") or ""
    expect(group).to_contain_text(ADVICE[code].meaning)
    group.get_by_role("link", name=MARKUP).click()
    answer = page.locator("#answer")
    expect(answer).to_contain_text(f"It is a letter: {code}")
    expect(answer.get_by_role("heading", name=MARKUP)).to_be_visible()
    expect(answer).to_contain_text("which is not a picture that can be shown")
    assert page.locator("img[src=x]").count() == 0
    answer.get_by_role("link", name="Replay or discard it among the letters").click()
    expect(page.locator(f"details[data-code={code}] table")).to_be_visible()


def _letters(stack: Any) -> int:  # noqa: ANN401
    answer = stack.sqs.get_queue_attributes(
        QueueUrl=stack.outputs["DeadLetterQueueUrl"], AttributeNames=["ApproximateNumberOfMessages"]
    )
    return int(answer["Attributes"]["ApproximateNumberOfMessages"])
