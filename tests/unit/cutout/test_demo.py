from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cutout.__main__ import app
from cutout.commands.demo import name_files
from cutout.presentation import gallery


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PIXELCUT_API_KEY", raising=False)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.mark.parametrize(
    ("image", "sentence"),
    [("missing.jpg", "file 'missing.jpg' does not exist"), ("folder", "file 'folder' is a directory")],
)
def test_an_image_that_is_no_file_is_refused_before_anything_starts(image: str, sentence: str) -> None:
    Path("folder").mkdir()
    result = run("demo", image)

    assert result.exit_code == 2
    assert sentence in result.stderr
    assert not Path("out").exists()


def test_a_folder_for_the_cutouts_that_is_a_file_is_refused() -> None:
    Path("out").write_text("kept")
    result = run("demo")

    assert result.exit_code == 2
    assert "'out' is a file" in result.stderr
    assert Path("out").read_text() == "kept"


def test_a_file_that_no_demo_wrote_is_not_overwritten() -> None:
    Path("photo.jpg").write_bytes(b"photo")
    Path("photo.png").write_bytes(b"somebody's")
    result = run("demo", "photo.jpg", "--out", ".")

    assert result.exit_code == 2
    assert "photo.png would be overwritten: choose another folder." in result.stderr
    assert Path("photo.png").read_bytes() == b"somebody's"
    assert not Path("index.html").exists()


def test_an_image_is_not_overwritten_by_its_own_cutout() -> None:
    Path("index.html").write_text(gallery.render([], ""))
    Path("photo.png").write_bytes(b"photo")
    result = run("demo", "photo.png", "--out", ".")

    assert result.exit_code == 2
    assert "photo.png would be overwritten" in result.stderr
    assert Path("photo.png").read_bytes() == b"photo"


def test_another_api_for_the_local_cloud_needs_a_key() -> None:
    result = run("local", "--pixelcut-url", "http://127.0.0.1:1")

    assert result.exit_code == 2
    assert "set PIXELCUT_API_KEY to the key of that API." in result.stderr


def test_a_template_that_does_not_exist_is_refused() -> None:
    result = run("local", "--template", "missing.yaml")

    assert result.exit_code == 2
    assert "file 'missing.yaml' does not exist" in result.stderr


@pytest.mark.parametrize(
    ("images", "keys", "cutouts"),
    [
        (["a.jpg", "a.png"], ["a.jpg", "a-2.png"], ["a.png", "a-2.png"]),
        (["one/a.jpg", "two/a.jpg", "A.JPG"], ["a.jpg", "a-2.jpg", "A-3.JPG"], ["a.png", "a-2.png", "A-3.png"]),
        (["a.jpg", "a-2.jpg", "a.png"], ["a.jpg", "a-2.jpg", "a-3.png"], ["a.png", "a-2.png", "a-3.png"]),
        (
            ["caf\u00e9.jpg", "cafe\u0301.jpg"],
            ["caf\u00e9.jpg", "cafe\u0301-2.jpg"],
            ["caf\u00e9.png", "cafe\u0301-2.png"],
        ),
        (["line\nbreak.jpg", "byte\udcff"], ["line_break.jpg", "byte_"], ["line_break.png", "byte_.png"]),
        ([".jpg", "archive.tar.gz"], [".jpg", "archive.tar.gz"], [".jpg.png", "archive.tar.png"]),
        (["\u00e9" * 125 + ".jpg"], ["\u00e9" * 100 + ".jpg"], ["\u00e9" * 100 + ".png"]),
    ],
)
def test_each_image_has_a_key_and_a_cutout_of_its_own(images: list[str], keys: list[str], cutouts: list[str]) -> None:
    files = name_files(Path(image) for image in images)

    assert [file.key for file in files] == keys
    assert [file.output_key for file in files] == cutouts
