"""All pages in their main states: without a barrier, worked by keyboard alone, with nothing from elsewhere."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, expect

from tests.e2e.console.conftest import DESKTOP, PHONE, Console

CAT, MARKUP = "zoo/cat.png", "zoo/<b>x</b>&\"'.jpg"
CODE = "unsupported_image_format"
# Each size and each scheme of colours.
LOOKS = ((DESKTOP, "light"), (PHONE, "dark"), (PHONE, "light"), (DESKTOP, "dark"))
DROP = """() => {
    const transfer = new DataTransfer();
    for (const name of ["a.txt", "b.png"]) transfer.items.add(new File([name === "b.png" ? "\\x00" : "text"], name));
    document.getElementById("upload-drop").dispatchEvent(
        new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: transfer }));
}"""
TELL_VIOLATIONS = """addEventListener("securitypolicyviolation", event =>
    console.error(`forbidden: ${event.violatedDirective} ${event.blockedURI}`));"""
# Marks what is to be reached by the Tab key.
MARK = """() => {
    const wanted = [...document.querySelectorAll("a[href], button:enabled, input:enabled:not([type=hidden]), summary")]
        .filter(one => one.checkVisibility() && !(one.type === "radio" && !one.checked));
    for (const one of wanted) one.dataset.wanted = "";
    return wanted.length;
}"""
# What has the focus is marked no more. Returns what is wrong with it.
REACH = """() => {
    const one = document.activeElement;
    delete one.dataset.wanted;
    const ring = one.closest("label.button") ?? one;
    const style = getComputedStyle(ring);
    const seen = style.outlineStyle !== "none" || one === document.body || one.tagName === "IMAGE-COMPARE";
    return seen ? null : one.outerHTML;
}"""


@pytest.fixture(scope="module")
def parameters() -> dict[str, str]:
    """With caps, and a price."""
    caps = {"DailyCredits": "1000", "MonthlyCredits": "30000", "CapTimeZone": "Europe/Berlin"}
    return caps | {"CreditPrice": "0.10 USD"}


@pytest.fixture(scope="module")
def zoo(deployed: Any, make_picture: Callable[..., bytes]) -> None:  # noqa: ANN401
    """A cutout and two letters."""
    deployed.upload(CAT, make_picture(1, 160))
    deployed.upload(MARKUP, b"a letter to the editor")
    deployed.upload("zoo/text.jpg", b"a letter to the editor")
    deployed.wait_for_cutout(CAT)


@pytest.fixture
def page(console: Console, zoo: None, open_browser: Callable[..., BrowserContext]) -> Page:
    return console.enter(open_browser())


def find_barriers(page: Page, state: str) -> list[str]:
    """Also what is wider than the window."""
    found = []
    if not page.evaluate("'axe' in window"):
        page.evaluate(Axe().axe_script)
    for (width, height), scheme in LOOKS:
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        name = f"{state}, {width} pixels, {scheme}"
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            found.append(f"{name}: wider than the window")
        # The other two of these differ from the first two in nothing but colours.
        rules = (
            {} if (width, scheme) in ((DESKTOP[0], "light"), (PHONE[0], "dark")) else {"runOnly": ["color-contrast"]}
        )
        violations = page.evaluate("async options => (await axe.run(options)).violations", rules)
        found += [f"{name}: {one['id']} {[node['html'] for node in one['nodes']]}" for one in violations]
    page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
    return found


def test_no_state_of_a_page_has_a_barrier_and_nothing_comes_from_elsewhere(
    console: Console,
    zoo: None,
    open_browser: Callable[..., BrowserContext],
    stack: Any,  # noqa: ANN401
    make_picture: Callable[..., bytes],
) -> None:
    context = open_browser(reduced_motion="reduce")
    requests: list[str] = []
    complaints: list[str] = []
    barriers: list[str] = []
    context.on("request", lambda request: requests.append(request.url))
    context.on(
        "console",
        lambda line: complaints.append(f"{line.text} {line.location['url']}") if line.type == "error" else None,
    )
    context.add_init_script(TELL_VIOLATIONS)

    stranger = open_browser().new_page()
    stranger.goto(f"{console.url}/letters")
    barriers += find_barriers(stranger, "not let in")
    assert "cutout" not in stranger.title()
    expect(stranger.get_by_role("navigation")).to_have_count(0)

    page = console.enter(context)
    expect(page.get_by_role("row", name="zoo/cat.png")).to_be_visible()
    expect(page.locator("#now-caps")).to_contain_text("1 (0.10 USD) of 1,000 credits (100.00 USD) reserved")
    expect(page.locator("#now-caps")).to_contain_text("999 (99.90 USD) left until 00:00 Europe/Berlin")
    barriers += find_barriers(page, "Now")
    page.get_by_role("button", name="Pause…").click()
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    barriers += find_barriers(page, "Now, asking")
    console.aws.refuse("ExpiredToken")
    expect(page.locator("#now-trouble .trouble")).to_be_visible()
    barriers += find_barriers(page, "Now, in trouble")
    console.aws.allow()

    page.get_by_role("link", name="Upload").click()
    page.wait_for_url("**/upload")
    page.evaluate(DROP)
    page.get_by_role("heading", name="Send 1 file?").wait_for()
    barriers += find_barriers(page, "Upload, asking")
    page.get_by_role("button", name="Send 1 file").click()
    expect(page.locator("#upload-tiles > [data-state=letter]")).to_be_visible()
    page.locator("#upload-tiles [data-state=letter] summary").click()
    barriers += find_barriers(page, "Upload, sent")

    page.get_by_role("link", name="Cutouts").click()
    page.get_by_label(re.compile("Choose zoo/cat.png")).check()
    barriers += find_barriers(page, "Cutouts")
    page.get_by_role("link", name="zoo/cat.png").click()
    page.get_by_role("slider").wait_for()
    barriers += find_barriers(page, "One cutout")

    page.get_by_role("link", name="Explain what happened to it").click()
    page.get_by_role("link", name="Look at it closely").wait_for()
    barriers += find_barriers(page, "Explain, a cutout")

    page.get_by_role("link", name="Letters", exact=True).click()
    group = page.locator(f"details[data-code={CODE}]")
    group.locator("summary").click()
    expect(group.locator("input[name=id]").first).to_be_visible()
    barriers += find_barriers(page, "Letters")
    group.get_by_role("button", name=f"Details of {MARKUP}").click()
    page.get_by_role("heading", name="Its body").wait_for()
    barriers += find_barriers(page, "Letters, one")
    page.get_by_role("button", name="Close").click()
    group.get_by_label(re.compile("Choose zoo/text.jpg")).check()
    group.get_by_role("form", name="Letters with").get_by_role("button", name="Discard…").click()
    page.locator("#confirm").wait_for()
    barriers += find_barriers(page, "Letters, asking")
    page.locator("#confirm").click()
    expect(page.locator("#job")).to_contain_text("1 of 1 letter was discarded.")
    barriers += find_barriers(page, "Letters, done")
    group.get_by_role("link", name=MARKUP).click()
    page.get_by_role("heading", name="Its letter").wait_for()
    barriers += find_barriers(page, "Explain, a letter")

    stack.spend("day", 1000)
    stack.upload("zoo/waits.png", make_picture(2))
    page.get_by_role("link", name="Now").click()
    expect(page.locator("#now-caps")).to_contain_text("The cap is reached until")
    expect(page.locator("#now-intake")).to_contain_text("the daily cap is reached. Uploads wait")
    barriers += find_barriers(page, "Now, at the cap")

    assert barriers == []
    elsewhere = {
        url for url in requests if not url.startswith(("blob:", "data:")) and urlsplit(url).netloc not in console.url
    }
    assert elsewhere == set()
    # A letter whose upload is not a picture: the console does not show it, which a browser logs.
    not_a_picture = [one for one in complaints if "status of 415" in one and "/picture?" in one]
    assert [one for one in complaints if one not in not_a_picture] == []


@pytest.mark.parametrize(
    "path", ["/", "/upload", "/cutouts", "/letters?code=" + CODE, "/explain", "/cutouts/one?key=" + CAT]
)
def test_the_tab_key_reaches_everything_and_shows_where_it_is(page: Page, console: Console, path: str) -> None:
    if path != "/":
        page.goto(console.url + path)
    if "letters" in path:
        expect(page.locator("input[name=id]").first).to_be_visible()
    if path == "/":
        expect(page.get_by_role("row", name="zoo/cat.png")).to_be_visible()
    page.evaluate("document.activeElement.blur()")
    for _ in range(page.evaluate(MARK) + 3):
        page.keyboard.press("Tab")
        assert page.evaluate(REACH) is None
    left = page.evaluate("[...document.querySelectorAll('[data-wanted]')].map(one => one.outerHTML)")
    assert left == []


def test_the_skip_link_the_pages_and_the_slider_are_worked_by_keyboard(page: Page, console: Console) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()

    for name in ("Upload", "Cutouts", "Letters", "Explain", "Now"):
        page.get_by_role("navigation", name="Pages").get_by_role("link", name=name).focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text(name)

    page.goto(f"{console.url}/cutouts/one?{urlencode({'key': CAT})}")
    page.get_by_role("radio", name="Checkerboard").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator(".ground")).to_have_css("background-color", "rgb(255, 255, 255)")
    slider = page.get_by_role("slider")
    slider.focus()
    before = float(slider.input_value())
    page.keyboard.press("ArrowLeft")
    assert float(slider.input_value()) < before
