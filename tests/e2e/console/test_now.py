"""The page Now, in a browser: it follows the stack, switches its intake, and says what is wrong with AWS."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import APIResponse, BrowserContext, Page, Route, expect

from tests.e2e.console.conftest import PHONE, Console

MakePicture = Callable[..., bytes]
Open = Callable[..., BrowserContext]


def number(page: Page, name: str) -> Any:  # noqa: ANN401  # a locator
    label = page.locator("dt", has_text=re.compile(rf"^(■ )?{name}$"))
    return page.locator("dl > div", has=label).locator(".now-number")


def read_number(page: Page, name: str) -> int:
    expect(page.get_by_text("still being counted")).to_have_count(0)
    return int(number(page, name).inner_text())


def test_the_numbers_follow_uploads_until_they_are_cutouts_and_letters(
    page: Page,
    stack: Any,  # noqa: ANN401
    make_picture: MakePicture,
) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text("Now")
    rises = {"Cutouts": 5, "Credits charged": 5, "Became letters": 1, "Letters waiting": 1}
    before = {name: read_number(page, name) for name in rises}
    for seed in range(5):
        stack.upload(f"shop/<b>{seed}</b>&.png", make_picture(seed))
    stack.upload("shop/notes.txt", b"not an image")

    for name, rise in rises.items():
        expect(number(page, name)).to_have_text(str(before[name] + rise))
    row = page.get_by_role("row", name="shop/notes.txt")
    expect(row).to_contain_text("letter unsupported_image_format")
    expect(row.get_by_role("link")).to_have_attribute("href", re.compile(r"/explain\?key=shop/notes\.txt$"))
    expect(page.get_by_role("row", name="shop/<b>3</b>&.png")).to_contain_text("cutout")


def test_a_list_that_changes_keeps_the_focus(
    page: Page,
    stack: Any,  # noqa: ANN401
    make_picture: MakePicture,
) -> None:
    stack.upload("focus/first.png", make_picture(71))
    link = page.get_by_role("link", name="focus/first.png")
    link.focus()
    stack.upload("focus/second.png", make_picture(72))
    expect(page.get_by_role("link", name="focus/second.png")).to_be_visible()

    expect(link).to_be_focused()


def test_the_intake_is_paused_and_resumed_in_all_windows(
    console: Console,
    page: Page,
    open_browser: Open,
    stack: Any,  # noqa: ANN401
    make_picture: MakePicture,
) -> None:
    other = console.enter(open_browser(PHONE))
    page.get_by_label("Reason").fill("new <b>prices</b>")
    page.get_by_role("button", name="Pause…").click()
    expect(page.get_by_text("The queue keeps uploads for 13 days.")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("button", name="Pause…")).to_be_enabled()
    assert stack.mapping_state == "Enabled"

    page.get_by_label("Reason").fill("new <b>prices</b>")
    page.get_by_role("button", name="Pause…").press("Enter")
    expect(page.get_by_role("button", name="Pause", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    for window in (page, other):
        expect(window.get_by_text("paused by the operator since")).to_contain_text("new <b>prices</b>")
    assert stack.mapping_state == "Disabled"

    stack.upload("paused/one.png", make_picture(81))
    expect(number(page, "Waiting")).to_have_text("1")
    expect(number(page, "Time left").locator("..")).to_contain_text("the intake is paused")

    other.get_by_role("button", name="Resume…").click()
    expect(other.get_by_text("1 upload in the queue may cost 1 credit.")).to_be_visible()
    other.get_by_role("button", name="Resume", exact=True).click()
    for window in (page, other):
        expect(window.locator("#now-intake")).to_contain_text("The intake is open")
    expect(page.get_by_role("row", name="paused/one.png")).to_contain_text("cutout")
    assert [(line["action"], line.get("reason"), line.get("failed")) for line in console.noted] == [
        ("pause", "new <b>prices</b>", None),
        ("pause", None, False),
        ("resume", None, None),
        ("resume", None, False),
    ]


def test_a_look_that_is_answered_late_does_not_take_a_question_away(page: Page) -> None:
    held: list[tuple[Route, APIResponse]] = []

    def hold_the_first(route: Route) -> None:
        if held:
            route.continue_()
            return
        # Of a page that shows another state of the intake than the stack has.
        held.append((route, route.fetch(url=re.sub("intake=[^&]*", "intake=other", route.request.url))))

    with page.expect_request("**/now?*"):
        page.route("**/now?*", hold_the_first)
    page.get_by_role("button", name="Pause…").press("Enter")
    question = page.get_by_role("heading", name="Pause the intake?")
    expect(question).to_be_visible()
    with page.expect_response("**/now?*"):
        ((route, answer),) = held
        assert "Pause…" in answer.text()
        route.fulfill(response=answer)
    with page.expect_response("**/now?*"):
        pass
    expect(question).to_be_visible()


def test_what_was_confirmed_once_is_not_done_again(page: Page, console: Console) -> None:
    page.get_by_role("button", name="Pause…").click()
    confirm = page.get_by_role("button", name="Pause", exact=True)
    confirm.wait_for()
    page.evaluate("document.querySelector('#now-intake [name=id]').value = 'guessed'")
    confirm.click()

    expect(page.locator("#now-answer")).to_contain_text("Nothing was changed")
    assert console.noted == []


def test_a_console_that_only_reads_has_no_switch(serve_console: Callable[..., Console], open_browser: Open) -> None:
    page = serve_console(read_only=True).enter(open_browser())

    expect(page.locator("#now-intake")).to_contain_text("The intake is open")
    expect(page.get_by_role("button")).to_have_count(0)


@pytest.mark.parametrize(
    ("code", "operations", "sentence"),
    [
        ("ExpiredToken", (), "Log in again, or set another AWS_PROFILE."),
        ("ThrottlingException", (), "Wait a minute, and let fewer programs call it at a time."),
        ("AccessDeniedException", ("FilterLogEvents",), "Ask for that permission."),
        ("ValidationError", ("DescribeStacks",), "There is no stack cutout at "),
    ],
)
def test_trouble_with_aws_is_told_with_its_remedy_and_passes(
    page: Page, console: Console, code: str, operations: tuple[str, ...], sentence: str
) -> None:
    """A stack that vanished is missed by the first call that is refused, and then not found."""
    expect(number(page, "Waiting")).to_have_text("0")
    if "DescribeStacks" in operations:
        operations = (*operations, "GetQueueAttributes")
    console.aws.refuse(code, *operations)
    trouble = page.locator("#now-trouble .trouble")

    expect(trouble).to_contain_text(sentence)
    expect(trouble).to_contain_text("What follows is as it was at")
    expect(number(page, "Waiting")).to_have_text("0")
    console.aws.allow()
    expect(trouble).to_have_count(0)


def test_a_pause_that_aws_refuses_is_told(page: Page, console: Console) -> None:
    page.get_by_role("button", name="Pause…").click()
    confirm = page.get_by_role("button", name="Pause", exact=True)
    confirm.wait_for()
    console.aws.refuse("AccessDeniedException", "UpdateItem")
    confirm.click()

    expect(page.locator("#now-intake .trouble")).to_contain_text("UpdateItem. Ask for that permission.")
    expect(page.locator("#now-intake")).to_contain_text("The intake is open")


def test_the_page_fits_a_phone(console: Console, open_browser: Open) -> None:
    page = console.enter(open_browser(PHONE))
    expect(number(page, "Waiting")).to_be_visible()

    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
