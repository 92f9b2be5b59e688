import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from cutout.__main__ import app
from cutout.commands import demo
from cutout.local.pixelcut.server import API_KEY, StandIn

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "a cup é.jpg"
    with Image.open(SAMPLES / "coffee.png") as image:
        image.resize((150, 100)).save(path)
    return path


def test_photos_become_cutouts_and_a_bad_one_a_letter(photo: Path, tmp_path: Path) -> None:
    text = tmp_path / "no image.jpg"
    text.write_text("Not a photo.")
    out = tmp_path / "out"

    run = subprocess.run(
        [sys.executable, "-m", "cutout", "demo", photo, SAMPLES / "too-small.jpg", text, "--out", out],
        capture_output=True,
        text=True,
        check=False,
        env={"COLUMNS": "200", "PATH": os.environ["PATH"]},
    )

    assert (run.returncode, run.stderr) == (0, "")
    assert re.search(r"a cup é.jpg +cutout +\d+\.\d", run.stdout)
    assert re.search(r"too-small.jpg +letter +\d+\.\d +resolution_too_low: ", run.stdout)
    assert re.search(r"no image.jpg +letter +\d+\.\d +\w+: ", run.stdout)
    with Image.open(out / "a cup é.png") as cutout:
        assert (cutout.format, cutout.size, cutout.mode) == ("PNG", (150, 100), "RGBA")
        low, high = cutout.getchannel("A").getextrema()
        assert (low, high) == (0, 255)
    assert sorted(path.name for path in out.glob("*.png")) == ["a cup é.png"]
    assert "a%20cup%20%C3%A9.png" in (out / "index.html").read_text(encoding="utf-8")
    log = Path(re.search(r"Log: +(.+)", run.stdout)[1])  # type: ignore[index]
    assert "too-small.jpg" in log.read_text(encoding="utf-8")


@pytest.fixture
def pixelcut(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """What the demo takes for Pixelcut itself."""
    with StandIn(quick=True) as pixelcut:
        monkeypatch.setattr(demo, "_PIXELCUT_URL", pixelcut.url)
        monkeypatch.setenv("PIXELCUT_API_KEY", API_KEY)
        yield pixelcut


def test_with_an_api_key_pixelcut_is_sent_the_image_itself(pixelcut: StandIn, photo: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["demo", "--yes", str(photo), "--out", str(tmp_path / "out")])

    assert result.exit_code == 0, result.output
    assert "Credits to spend: 1 at most" in result.output
    assert (tmp_path / "out" / "a cup é.png").is_file()
    [charge] = pixelcut.state()["charges"]
    assert charge["source"] is None  # no URL of a bucket that Pixelcut could not reach


def test_nothing_is_spent_without_consent(pixelcut: StandIn, photo: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["demo", str(photo), "--out", str(tmp_path / "out")])

    assert result.exit_code == 2
    assert "spending credits wants --yes" in result.stderr
    assert not (tmp_path / "out").exists()
    assert pixelcut.state()["credits_charged"] == 0


def test_a_key_that_pixelcut_does_not_know_is_refused(
    pixelcut: StandIn, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIXELCUT_API_KEY", "unknown-ключ")
    result = CliRunner().invoke(app, ["demo", "--yes", str(photo)])

    assert result.exit_code == 2
    assert "Pixelcut does not know this key." in result.stderr
    assert "ключ" not in result.output


def test_an_api_that_cannot_be_reached_is_named(
    pixelcut: StandIn, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "_PIXELCUT_URL", "http://127.0.0.1:9")
    result = CliRunner().invoke(app, ["demo", "--yes", str(photo)])

    assert result.exit_code == 2
    assert "http://127.0.0.1:9 cannot be reached." in result.stderr


def test_an_upload_that_does_not_end_is_named(
    pixelcut: StandIn, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixelcut.change_settings(credits=0)
    monkeypatch.setattr(demo, "_PATIENCE_SECONDS", 12.0)
    monkeypatch.setenv("COLUMNS", "200")
    result = CliRunner().invoke(app, ["demo", "--yes", str(photo), "--out", str(tmp_path / "out")])

    assert result.exit_code == 1, result.output
    assert re.search(r"a cup é.jpg +unfinished +no cutout and no letter for 12 s; see the log", result.output)
    assert "insufficient_api_credits" in Path(re.search(r"Log: +(.+)", result.output)[1]).read_text(encoding="utf-8")  # type: ignore[index]
