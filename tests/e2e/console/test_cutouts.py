"""The page Cutouts, in a browser."""

import hashlib
import io
import time
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import BrowserContext, Download, Page, expect

from remove_background.models import cutout_metadata
from remove_background.uploads import Upload
from tests.e2e.console.conftest import PHONE, Console

ON_A_PAGE = 60
SEEN_SECONDS = 10  # on a machine that is busy; the report has the usual time


@pytest.fixture(scope="module", autouse=True)  # before the console lists them
def cutouts(deployed: Any, make_picture: Callable[..., bytes]) -> dict[str, bytes]:  # noqa: ANN401
    """Cutouts in the output bucket, by key; those of trip/ with their originals."""
    found: dict[str, bytes] = {}
    s3, names = deployed.cloud.client("s3"), deployed.outputs
    keys = [f"photos/{2020 + number % 4}/cat {number:02}.jpg" for number in range(ON_A_PAGE + 5)]
    for number, key in enumerate([*keys, "trip/a <b>1&2.jpg", "trip/b.jpg", "trip/c.jpg"]):
        original = make_picture(number, 160)
        with Image.open(io.BytesIO(original)) as picture:
            picture.putalpha(Image.linear_gradient("L").resize(picture.size))
            file = io.BytesIO()
            picture.save(file, "PNG")
        output = key.replace(".jpg", ".png")
        found[output] = file.getvalue()
        of = Upload(names["InputBucketName"], key, hashlib.md5(original).hexdigest())
        s3.put_object(Bucket=names["OutputBucketName"], Key=output, Body=found[output], Metadata=cutout_metadata(of))
        if key.startswith("trip/"):
            s3.put_object(Bucket=names["InputBucketName"], Key=key, Body=original)
    return found


@pytest.fixture
def grid(console: Console, cutouts: dict[str, bytes], page: Page) -> Page:
    page.goto(f"{console.url}/cutouts")
    expect(page.locator("#state")).to_contain_text("new cutouts appear by themselves")
    return page


def unpack(download: Download) -> dict[str, bytes]:
    assert download.failure() is None
    with zipfile.ZipFile(download.path()) as opened:
        assert opened.testzip() is None
        return {info.filename: opened.read(info) for info in opened.infolist()}


def shown(page: Page) -> list[str]:
    return page.locator(".tile .key").all_inner_texts()


def are_loaded(page: Page, selector: str) -> None:
    """All these pictures are there, and the browser can show them."""
    page.wait_for_function(
        """selector => [...document.querySelectorAll(selector)].every(picture => {
            picture.loading = "eager";
            return picture.complete && picture.naturalWidth > 0;
        })""",
        arg=selector,
    )


def has_no_barriers(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_the_grid_has_pages(grid: Page, cutouts: dict[str, bytes]) -> None:
    grid.get_by_role("link", name="photos/", exact=True).click()
    expect(grid.locator(".pager")).to_contain_text("Page 1 of 2")
    first = shown(grid)
    assert len(first) == ON_A_PAGE
    are_loaded(grid, ".tile img")
    has_no_barriers(grid)

    grid.get_by_role("link", name="Older").click()
    expect(grid.locator(".pager")).to_contain_text("Page 2 of 2")

    assert {*first, *shown(grid)} == {key for key in cutouts if key.startswith("photos/")}
    grid.get_by_role("link", name="Newer").click()
    expect(grid.locator(".pager")).to_contain_text("Page 1 of 2")


def test_cutouts_are_found_by_their_folder_and_by_a_part_of_the_key(grid: Page) -> None:
    grid.get_by_role("link", name="photos/", exact=True).click()
    grid.get_by_role("link", name="2021/", exact=True).click()
    expect(grid.get_by_role("navigation", name="Prefix")).to_contain_text("2021/")
    grid.get_by_label("Part of the key").fill("CAT 1")
    grid.get_by_label("Part of the key").press("Enter")
    expect(grid.locator(".sum")).to_contain_text("2 cutouts")
    assert sorted(shown(grid)) == ["photos/2021/cat 13.png", "photos/2021/cat 17.png"]

    grid.get_by_role("link", name="All cutouts").click()
    grid.get_by_label("Part of the key").fill("<b>1&")
    grid.get_by_role("button", name="Search").click()
    expect(grid.locator(".tile .key")).to_have_text(["trip/a <b>1&2.png"])

    grid.get_by_label("Part of the key").fill("no such")
    grid.get_by_role("button", name="Search").click()
    expect(grid.locator("#grid")).to_contain_text("There are no such cutouts.")


def test_those_chosen_on_several_pages_are_downloaded(grid: Page, cutouts: dict[str, bytes]) -> None:
    grid.get_by_role("link", name="photos/", exact=True).click()
    newest = shown(grid)[0]
    grid.get_by_label(f"Choose {newest}").check()
    grid.get_by_role("link", name="Older").click()
    expect(grid.locator("#chosen")).to_have_text("1 chosen.")
    grid.get_by_role("button", name="Choose all on this page").click()
    chosen = {newest, *shown(grid)}
    expect(grid.locator("#chosen")).to_have_text(f"{len(chosen)} chosen.")

    with grid.expect_download() as downloading:
        grid.get_by_role("button", name="Download the chosen as ZIP").click()

    assert unpack(downloading.value) == {name: cutouts[name] for name in chosen}
    grid.get_by_role("button", name="Choose none").click()
    expect(grid.get_by_role("button", name="Download the chosen as ZIP")).to_be_disabled()
    grid.get_by_role("link", name="Newer").click()
    expect(grid.get_by_label(f"Choose {newest}")).not_to_be_checked()


def test_all_of_a_folder_are_downloaded(grid: Page, cutouts: dict[str, bytes]) -> None:
    grid.get_by_role("link", name="photos/", exact=True).click()

    with grid.expect_download() as downloading:
        grid.get_by_role("link", name=f"Download all {ON_A_PAGE + 5} as ZIP").click()

    assert unpack(downloading.value) == {key: body for key, body in cutouts.items() if key.startswith("photos/")}


def test_a_cutout_is_compared_with_its_original(grid: Page, cutouts: dict[str, bytes]) -> None:
    grid.get_by_role("link", name="trip/", exact=True).click()
    grid.get_by_role("link", name="trip/b.png").click()
    expect(grid.get_by_role("heading", level=1)).to_have_text("trip/b.png")
    expect(grid.locator(".fits")).to_contain_text("It is current")
    are_loaded(grid, "#compared img")
    has_no_barriers(grid)

    slider = grid.get_by_role("slider")
    slider.focus()
    for key, percent in (("ArrowRight", 51), ("Home", 0), ("End", 100), ("ArrowLeft", 99)):
        slider.press(key)
        grid.wait_for_function(
            "percent => document.querySelector('image-compare').style.getPropertyValue('--exposure') === percent",
            arg=f"{percent}%",
        )

    ground = grid.locator(".ground")
    grid.get_by_label("White").check()
    expect(ground).to_have_css("background-color", "rgb(255, 255, 255)")
    expect(ground).to_have_css("background-image", "none")
    grid.get_by_label("Black").check()
    expect(ground).to_have_css("background-color", "rgb(0, 0, 0)")
    grid.get_by_label("Colour of the background").fill("#ff8800")
    expect(ground).to_have_css("background-color", "rgb(255, 136, 0)")

    grid.get_by_role("link", name="Older").or_(grid.get_by_role("link", name="Newer")).first.click()
    expect(grid.get_by_role("heading", level=1)).not_to_have_text("trip/b.png")
    expect(ground).to_have_css("background-color", "rgb(255, 136, 0)")
    grid.get_by_label("Checkerboard").check()
    expect(ground).not_to_have_css("background-image", "none")

    with grid.expect_download() as downloading:
        grid.get_by_role("link", name="Download the cutout").click()
    assert downloading.value.path().read_bytes() == cutouts[grid.get_by_role("heading", level=1).inner_text()]


def test_a_finished_cutout_appears_by_itself(
    grid: Page,
    stack: Any,  # noqa: ANN401
    make_picture: Callable[..., bytes],
    capsys: pytest.CaptureFixture[str],
) -> None:
    grid.get_by_label(f"Choose {shown(grid)[3]}").check()

    stack.upload("new/fresh.png", make_picture(1000, 200))
    stack.wait_for_cutout("new/fresh.png")
    began = time.monotonic()
    expect(grid.locator(".tile .key").first).to_have_text("new/fresh.png", timeout=SEEN_SECONDS * 1000)

    with capsys.disabled():
        print(f" seen {time.monotonic() - began:.1f} s after it was written")
    expect(grid.locator(".tile :checked")).to_have_count(1)
    are_loaded(grid, ".tile:first-child img")


def test_what_is_not_a_picture_is_not_shown_as_itself(console: Console, stack: Any, page: Page) -> None:  # noqa: ANN401
    bucket = stack.outputs["OutputBucketName"]
    stack.s3.put_object(Bucket=bucket, Key="x/page.png", Body=b"<html><script>alert(1)", ContentType="text/html")
    page.goto(f"{console.url}/cutouts?search=x/page")
    page.get_by_role("button", name="Renew").click()

    expect(page.locator(".tile.without-picture")).to_have_count(1)
    page.locator(".tile a").click()
    expect(page.locator("#broken")).to_contain_text("The cutout cannot be shown")
    expect(page.locator(".note")).to_contain_text("not a cutout of this stack")


def test_trouble_is_told_and_passes(grid: Page, console: Console) -> None:
    console.aws.refuse("ExpiredToken")
    grid.get_by_role("button", name="Renew").click()
    expect(grid.locator("#state .trouble")).to_contain_text("does not accept the credentials")

    console.aws.allow()

    expect(grid.locator("#state")).to_contain_text("new cutouts appear by themselves")
    expect(grid.locator("#state .trouble")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(
    console: Console, cutouts: dict[str, bytes], open_browser: Callable[..., BrowserContext], scheme: str
) -> None:
    page = console.enter(open_browser(PHONE, color_scheme=scheme))
    for path in ("/cutouts?prefix=trip/", "/cutouts/one?key=trip/b.png&prefix=trip/"):
        page.goto(f"{console.url}{path}")
        expect(page.locator(".tile, #compared img").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        has_no_barriers(page)
