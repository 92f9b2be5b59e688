"""The page Upload, in a browser."""

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

PICTURES = 200
# Enough for 200 uploads on a machine that has other work, too.
MILLISECONDS = 200_000
pytestmark = pytest.mark.timeout(300)
Console = Any


@pytest.fixture(scope="module")
def parameters() -> dict[str, str]:
    """The function is to be no slower than this machine."""
    return {"RequestsPerSecond": "100"}


@pytest.fixture
def console(serve_console: Callable[..., Console], stack: Any) -> Iterator[Console]:  # noqa: ANN401
    """One for each test: it shows what was uploaded before."""
    console = serve_console()
    yield console
    console.aws.allow()


@pytest.fixture
def folder(tmp_path: Path, make_picture: Callable[..., bytes]) -> Path:
    """Pictures, one of which has no foreground; texts, an empty file, and hidden ones."""
    top = tmp_path / "photos"
    (top / "trip").mkdir(parents=True)
    (top / ".cache").mkdir()
    for number in range(PICTURES):
        name = f"{number:03}.png" if number % 2 else f"trip/{number:03}.png"
        (top / name).write_bytes(make_picture(number))
    for number in range(3):
        (top / f"text {number}.jpg").write_text("Not an image.")
    (top / "empty.jpg").write_bytes(b"")
    (top / ".DS_Store").write_bytes(b"hidden")
    (top / ".cache" / "a.png").write_bytes(b"hidden")
    (top / ".cache" / "b.png").write_bytes(b"hidden")
    return top


# Drops files with these names and texts.
DROP = """files => {
    const transfer = new DataTransfer();
    for (const [name, text] of files) transfer.items.add(new File([text], name));
    document.getElementById("upload-drop").dispatchEvent(
        new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: transfer }));
}"""


def plain() -> bytes:
    """A picture in which the stand-in finds no subject."""
    file = io.BytesIO()
    Image.new("RGB", (80, 80), "navy").save(file, "PNG")
    return file.getvalue()


def state(page: Page, text: str) -> None:
    """The button that counts the files of a state."""
    expect(page.locator("#upload-states").get_by_role("button", name=text, exact=True)).to_be_visible(
        timeout=MILLISECONDS
    )


def go(page: Page) -> None:
    page.get_by_role("link", name="Upload").click()
    page.wait_for_url("**/upload")  # and until its script was run


def choose(page: Page, *paths: Path) -> None:
    picker = page.locator("#upload-folder" if paths[0].is_dir() else "#upload-files")
    picker.set_input_files(paths[0] if paths[0].is_dir() else list(paths))


def test_a_pause_is_told_with_its_command(
    console: Console,
    page: Page,
    tmp_path: Path,
    make_picture: Callable[..., bytes],
) -> None:
    page.get_by_label("Reason").fill("new <b>prices</b>")
    page.get_by_role("button", name="Pause…").press("Enter")
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(page.get_by_text("paused by the operator since")).to_be_visible()
    (tmp_path / "waits.png").write_bytes(make_picture(7))
    go(page)
    choose(page, tmp_path / "waits.png")
    page.locator("#upload-offer").get_by_role("button", name="Send 1 file").click()
    pause = page.locator("#upload-pause")
    expect(pause).to_have_text(
        "The intake is paused by the operator (new <b>prices</b>): uploads wait. cutout status says how it goes on."
    )
    expect(pause.locator("code")).to_have_text("cutout status")
    page.get_by_role("link", name="Now").click()
    page.get_by_role("button", name="Resume…").press("Enter")
    page.get_by_role("button", name="Resume", exact=True).click()
    expect(page.get_by_role("button", name="Pause…")).to_be_visible()


def test_each_file_of_a_folder_becomes_what_it_should(console: Console, page: Page, folder: Path, stack: Any) -> None:  # noqa: ANN401
    (folder / "<i>plain.png").write_bytes(plain())
    go(page)
    page.get_by_label("Into the folder of the bucket").fill("2024")
    choose(page, folder)
    offer = page.locator("#upload-offer")
    expect(offer).to_contain_text("4 files can never become cutouts, and are left out:")
    expect(offer).to_contain_text("photos/empty.jpg: The file is empty: upload it again.")
    expect(offer).to_contain_text("Left out of folders: 2 hidden.")
    expect(offer).to_contain_text("To be sent: 201 files")
    expect(offer).to_contain_text("That may cost up to 201 credits")
    offer.get_by_role("button", name="Send 201 files").click()
    state(page, "✓ cutout 200")
    state(page, "✉ letter 1")
    state(page, "– left out 4")  # noqa: RUF001
    expect(page.locator("#upload-tiles > li")).to_have_count(60)
    keys = [
        found["Key"]
        for found in stack.s3.list_objects_v2(Bucket=stack.outputs["InputBucketName"], Prefix="2024/")["Contents"]
    ]
    assert len(keys) == 201
    assert {"2024/001.png", "2024/trip/000.png"} <= set(keys)
    page.get_by_role("button", name=re.compile("letter")).click()
    (letter,) = page.locator("#upload-tiles > li").all()
    expect(letter).to_contain_text("photos/<i>plain.png")
    expect(letter).to_contain_text("unknown_foreground: ")
    letter.get_by_text("What to do").click()
    expect(letter).to_contain_text("Pixelcut found no subject in the image.")
    assert "key=2024%2F%3Ci%3Eplain.png" in (letter.get_by_role("link", name="Explain").get_attribute("href") or "")
    page.get_by_role("button", name=re.compile("cutout")).click()
    picture = page.locator("#upload-tiles img").first
    expect(picture).to_be_visible()
    page.wait_for_function("document.querySelector('#upload-tiles img').naturalWidth > 0")
    assert [(line["action"], line["count"]) for line in console.noted] == [("upload", 201), ("upload ended", 201)]


def test_files_that_are_dropped_are_offered_and_may_be_declined(page: Page) -> None:
    go(page)
    page.evaluate(DROP, [["a.txt", "Not an image."], ["b.png", "\x00"]])
    offer = page.locator("#upload-offer")
    expect(offer).to_contain_text("a.txt: The file is not an image.")
    offer.get_by_role("button", name="Send nothing").click()
    expect(offer).to_be_empty()
    expect(page.locator("#upload-batch")).to_be_hidden()
    page.evaluate(DROP, [["a.txt", "Not an image."]])
    expect(offer).to_contain_text("There is nothing to send")


def test_what_was_interrupted_goes_on_with_the_same_folder(
    console: Console, page: Page, tmp_path: Path, make_picture: Callable[..., bytes]
) -> None:
    folder = tmp_path / "again"
    folder.mkdir()
    for number in range(8):
        (folder / f"{number}.png").write_bytes(make_picture(1000 + number))
    go(page)
    page.get_by_label("Into the folder of the bucket").fill("again")
    choose(page, folder)
    page.route("**/upload/file?*number=7", lambda route: route.abort())
    page.get_by_role("button", name="Send 8 files").click()
    state(page, "✓ cutout 7")
    expect(page.get_by_role("button", name="Send again: 1")).to_be_visible()
    page.reload()
    state(page, "✓ cutout 7")
    expect(page.get_by_text("Not sent: 1 file. The page that sent them was left.")).to_be_visible()
    page.unroute_all()
    choose(page, folder)
    expect(page.locator("#upload-offer")).to_contain_text("7 files of these were sent before")
    before = console.aws.calls["PutObject"]
    page.get_by_role("button", name="Send 1 file").click()
    state(page, "✓ cutout 8")
    assert console.aws.calls["PutObject"] == before + 1


def test_what_aws_refuses_is_sent_again(
    console: Console, page: Page, tmp_path: Path, make_picture: Callable[..., bytes]
) -> None:
    paths = [tmp_path / f"refused-{number}.png" for number in range(30)]
    for number, path in enumerate(paths):
        path.write_bytes(make_picture(2000 + number))
    go(page)
    choose(page, *paths)
    console.aws.refuse("AccessDenied", "PutObject", status=403)
    page.get_by_role("button", name="Send 30 files").click()
    expect(page.get_by_role("alert")).to_contain_text("AWS had failed to take 20 in a row")
    expect(page.locator("#upload-tiles")).to_contain_text("AWS does not allow these credentials to call PutObject.")
    console.aws.allow()
    page.get_by_role("button", name=re.compile("Send the other 30")).click()
    state(page, "✓ cutout 30")
