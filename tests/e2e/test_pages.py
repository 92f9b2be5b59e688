"""The pages, as a real browser shows them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pillow_heif
import pytest
from PIL import Image

from tests.e2e import browser
from tests.e2e.browser import Page

SAMPLES = Path(__file__).parents[2] / "samples"
ODD = "été 50% #1?&.heic"
PHONE = (320, 700)


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    program = browser.find()
    if program is None:
        pytest.skip(f"no browser is installed, of {', '.join(browser.NAMES)}")
    with browser.page(program, tmp_path / "profile") as page:
        yield page


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A photo, one in a format that browsers do not show, and one that becomes a letter."""
    pillow_heif.register_heif_opener()
    folder = tmp_path / "photos"
    folder.mkdir()
    with Image.open(SAMPLES / "coffee.png") as image:
        image.resize((150, 100)).save(folder / "cup.jpg")
        image.resize((150, 100)).save(folder / ODD)
    Image.new("RGB", (300, 200), "navy").save(folder / "<i>blue.png")
    return folder


def check(page: Page, *texts: str) -> None:
    """The page shows these, and all its pictures, also on a telephone."""
    for text in texts:
        assert text in page.text
    assert page.broken_pictures == []
    assert not page.is_too_wide
    page.resize(*PHONE)
    assert not page.is_too_wide


def test_the_page_of_the_demo_renews_itself_until_the_end(page: Page, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with subprocess.Popen(
        [sys.executable, "-m", "cutout", "demo", photos, "--out", out],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"PATH": os.environ["PATH"]},
    ) as demo:
        assert demo.stdout
        for line in demo.stdout:
            if line.startswith("Page: "):
                break
        page.open((out / "index.html").as_uri())
        check(page, "Working: 0 of 3 uploads done so far.", "in progress")
        demo.communicate(timeout=60)
    page.wait_until("document.body.innerText.includes('2 of 3 uploads became a cutout.')")
    check(page, ODD, "<i>blue.png", "unknown_foreground: ")


def test_the_page_of_an_upload_shows_what_was_uploaded(page: Page, photos: Path, tmp_path: Path, stack: Any) -> None:  # noqa: ANN401
    out = tmp_path / "cutouts"
    run = subprocess.run(
        [sys.executable, "-m", "cutout", "upload", photos, "--prefix", "a b/é", "--out", out, "--yes"],
        capture_output=True,
        text=True,
        check=False,
        env={
            "PATH": os.environ["PATH"],
            "AWS_ENDPOINT_URL": stack.cloud.endpoint_url,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_REGION": stack.cloud.region,
        },
    )
    assert "cutout" in run.stdout, run.stderr
    page.open((out / "index.html").as_uri())
    check(page, "2 of 3 uploads became a cutout.", f"a b/é/{ODD}", "unknown_foreground: ")


def test_the_switches_of_the_stand_in_can_be_pressed(page: Page, stack: Any) -> None:  # noqa: ANN401
    def press(button: str) -> None:
        page.run(f"document.querySelector('button[value={button}]').click()")

    def settings() -> dict[str, Any]:
        found: dict[str, Any] = stack.stand_in.state()["settings"]
        return found

    stack.stand_in.reset()
    before = settings()
    page.open(f"{stack.stand_in.url}/_stand_in/")
    check(page, "What goes wrong\n\nNothing.", "Settings")
    press("unavailable")
    page.wait_until("document.body.innerText.includes('has fired 0 of 2 times')")
    (rule,) = stack.stand_in.state()["faults"]["rules"]
    assert (rule["on"], rule["status"], rule["times"]) == ("removal", 503, 2)
    press("nothing")
    page.wait_until("document.body.innerText.includes('Nothing.')")
    page.run("document.querySelector('[name=credits]').value = '12'")
    press("settings")
    page.wait_until("document.body.innerText.includes('Credits: 12 left')")
    assert settings() == before | {"credits": 12}
    press("reset")
    page.wait_until("!document.body.innerText.includes('Credits: 12 left')")
    assert settings() == before
