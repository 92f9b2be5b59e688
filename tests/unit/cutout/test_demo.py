from pathlib import Path

import pillow_heif
import pytest
from PIL import Image
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
    [
        ("missing.jpg", "missing.jpg is neither a file nor a folder."),
        ("folder", "folder holds no files, hidden ones aside."),
    ],
)
def test_an_image_that_is_not_there_is_refused_before_anything_starts(image: str, sentence: str) -> None:
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
    Path("photo.png").write_bytes(b"foreign")
    result = run("demo", "photo.jpg", "--out", ".")

    assert result.exit_code == 2
    assert "photo.png would be overwritten: choose another folder." in result.stderr
    assert Path("photo.png").read_bytes() == b"foreign"
    assert not Path("index.html").exists()


def test_a_file_beside_those_of_an_earlier_demo_is_not_overwritten() -> None:
    Path("photo.jpg").write_bytes(b"photo")
    Path("out").mkdir()
    Path("out/index.html").write_text(gallery.render([], ""))
    Path("out/photo.png").write_bytes(b"foreign")
    result = run("demo", "photo.jpg")

    assert result.exit_code == 2
    assert "photo.png would be overwritten: choose another folder." in result.stderr
    assert Path("out/photo.png").read_bytes() == b"foreign"


def page_of_an_earlier_demo(*names: str) -> None:
    """In out/, with the files that it names, and a foreign one."""
    for name in names:
        Path("out", name).parent.mkdir(parents=True, exist_ok=True)
        Path("out", name).write_bytes(b"earlier")
    entries = [gallery.Entry(name, name, "letter") for name in names]
    Path("out/index.html").write_text(gallery.render(entries, ""))
    Path("out/mine.png").write_bytes(b"foreign")


def no_cloud(*_: object, **__: object) -> None:
    raise OSError("no local cloud in a unit test")


def test_what_an_earlier_demo_wrote_is_removed_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    page_of_an_earlier_demo("originals/old.jpg", "old.png", "kept.png", "../outside.png")
    Path("outside.png").write_bytes(b"outside")
    monkeypatch.setattr("cutout.local.stack.local_stack", no_cloud)
    result = run("demo", "out/kept.png", "outside.png", "--out", "out")
    assert result.exit_code == 2  # the cutout would lie where the image does

    result = run("demo", "outside.png", "--out", "out")

    assert isinstance(result.exception, OSError), result.output
    files = {path.relative_to("out").as_posix() for path in Path("out").rglob("*") if path.is_file()}
    assert files == {"index.html", "originals/outside.png", "mine.png"}
    assert Path("outside.png").read_bytes() == b"outside"


def test_an_original_of_an_earlier_demo_that_is_used_again_stays() -> None:
    page_of_an_earlier_demo("originals/old.jpg", "old.png")
    result = run("demo", "out/originals/old.jpg")

    assert result.exit_code == 2  # it would be copied onto itself
    assert Path("out/originals/old.jpg").read_bytes() == b"earlier"


def test_a_demo_that_stops_leaves_a_page_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cutout.local.stack.local_stack", no_cloud)
    run("demo")
    page = Path("out/index.html").read_text()

    assert "0 of 5 uploads became a cutout." in page
    assert "The demo was stopped." in page
    assert "refresh" not in page


def test_a_folder_stands_for_the_images_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cutout.local.stack.local_stack", no_cloud)
    for name in ("photos/a.jpg", "photos/trip/a.jpg", "photos/.hidden", "my photo.jpg"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"photo")

    result = run("demo", "my photo.jpg", "photos")

    assert "Left out of folders: 1 hidden." in result.output
    assert sorted(path.name for path in Path("out/originals").iterdir()) == ["a-2.jpg", "a.jpg", "my photo.jpg"]


def test_what_browsers_do_not_show_has_a_preview(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cutout.local.stack.local_stack", no_cloud)
    picture = Image.new("RGB", (2000, 1000), "red")
    pillow_heif.register_heif_opener()
    for name in ("shown.jpg", "scan.tiff", "alpha.jp2", "phone.heic"):
        (picture.convert("RGBA") if "alpha" in name else picture).save(name)
    Path("broken.heic").write_bytes(b"\0\0\0\x18ftypheic")

    run("demo", "shown.jpg", "scan.tiff", "alpha.jp2", "phone.heic", "broken.heic")

    page = Path("out/index.html").read_text()
    assert 'src="originals/shown.jpg"' in page
    assert 'href="originals/scan.tiff"><img src="previews/scan.webp"' in page
    assert 'href="originals/phone.heic"><img src="previews/phone.webp"' in page
    assert page.count("There is no preview of this file on this machine.") == 1
    for name in ("scan", "phone"):
        with Image.open(f"out/previews/{name}.webp") as preview:
            assert (preview.format, preview.size) == ("WEBP", (1024, 512))
    assert not Path("out/previews/shown.webp").exists()


def test_an_image_is_not_overwritten_by_its_own_cutout() -> None:
    Path("index.html").write_text(gallery.render([gallery.Entry("", "photo.png", "letter")], ""))
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
def test_each_image_has_its_own_key_and_cutout(images: list[str], keys: list[str], cutouts: list[str]) -> None:
    files = name_files(Path(image) for image in images)

    assert [file.key for file in files] == keys
    assert [file.output_key for file in files] == cutouts
