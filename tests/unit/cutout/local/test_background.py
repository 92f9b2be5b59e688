"""The stand-in's background remover: what it accepts, what it refuses, and that it finds a subject."""

import io
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, features

from cutout.local.pixelcut.background import remove_background
from cutout.local.pixelcut.picture import FORMATS, ImageError

PHOTO = Path("samples/astronaut.jpg")


def save(picture: Image.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, image_format, **options)
    return buffer.getvalue()


def load(png: bytes) -> Image.Image:
    cutout = Image.open(io.BytesIO(png))
    cutout.load()
    assert (cutout.format, cutout.mode) == ("PNG", "RGBA")
    return cutout


@pytest.fixture
def picture() -> Image.Image:
    """An orange ball on grass-green noise, off the centre: at (90, 70) with a radius of 40 in 200x160 pixels."""
    noise = np.random.default_rng(7).integers(-12, 12, (160, 200, 3))
    pixels = np.clip(np.array([60, 120, 50]) + noise, 0, 255).astype(np.uint8)
    cv2.circle(pixels, (90, 70), 40, (230, 120, 20), -1, cv2.LINE_AA)
    return Image.fromarray(pixels)


def test_the_subject_stays_and_the_background_goes(picture: Image.Image) -> None:
    alpha = np.asarray(load(remove_background(save(picture, "PNG"))))[..., 3]
    ball = np.zeros((160, 200), np.uint8)
    cv2.circle(ball, (90, 70), 40, 1, -1)
    overlap = ((alpha > 127) & (ball > 0)).sum() / ((alpha > 127) | (ball > 0)).sum()
    assert overlap > 0.95


def test_no_background_colour_is_left(picture: Image.Image) -> None:
    pixels = np.asarray(load(remove_background(save(picture, "PNG"))))
    assert (pixels[pixels[..., 3] == 0] == 0).all()
    edge = pixels[(pixels[..., 3] > 60) & (pixels[..., 3] < 250)].astype(int)
    assert len(edge) > 0
    assert (edge[:, 0] > edge[:, 1]).mean() > 0.9, "the rim of the orange ball is green"


@pytest.mark.parametrize("quick", [False, True])
def test_the_same_image_gives_the_same_cutout(picture: Image.Image, quick: bool) -> None:
    image = save(picture, "PNG")
    assert remove_background(image, quick=quick) == remove_background(image, quick=quick)


def test_quick_cutouts_of_different_images_differ(picture: Image.Image) -> None:
    turned = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    first, second = (remove_background(save(one, "PNG"), quick=True) for one in (picture, turned))
    assert first != second
    alpha = np.asarray(load(first))[..., 3]
    assert (alpha[0, 0], alpha[80, 100]) == (0, 255)


@pytest.mark.parametrize("image_format", FORMATS)
def test_accepts_each_of_its_formats(picture: Image.Image, image_format: str) -> None:
    if image_format == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    assert load(remove_background(save(picture, image_format), quick=True)).size == (200, 160)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK"])
def test_accepts_each_kind_of_pixel(picture: Image.Image, mode: str) -> None:
    cutout = np.asarray(load(remove_background(save(picture.convert(mode), "TIFF"), quick=True)))
    expected = np.asarray(picture.convert(mode).convert("RGB"))
    assert (cutout[60:80, 80:100, :3] == expected[60:80, 80:100]).all()


def test_sixteen_bits_are_scaled_to_eight(picture: Image.Image) -> None:
    grey = np.asarray(picture.convert("L"))
    image = save(Image.fromarray(grey.astype(np.uint16) * 257), "PNG")
    cutout = np.asarray(load(remove_background(image, quick=True)))
    assert (cutout[60:80, 80:100, 0] == grey[60:80, 80:100]).all()


def test_what_was_transparent_stays_transparent(picture: Image.Image) -> None:
    picture.putalpha(Image.new("L", picture.size, 100))
    assert np.asarray(load(remove_background(save(picture, "PNG"), quick=True)))[..., 3].max() == 100


def test_a_sideways_photo_is_turned_upright(picture: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    cutout = load(remove_background(save(picture, "JPEG", exif=exif), quick=True))
    assert cutout.size == (160, 200)


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda photo: photo[: len(photo) // 2], "malformed_image"),
        (lambda photo: photo[:20], "malformed_image"),
        (lambda photo: b"\x89PNG\r\n\x1a\n" + photo, "malformed_image"),
        (lambda photo: b"", "malformed_image"),
        (lambda photo: b"<html>no image</html>", "unsupported_image_format"),
        (lambda photo: b"%PDF-1.7\n" + photo, "unsupported_image_format"),
    ],
    ids=["half", "header only", "other signature", "empty", "HTML", "PDF"],
)
@pytest.mark.parametrize("quick", [False, True])
def test_says_why_a_file_is_not_an_image(spoil: Callable[[bytes], bytes], code: str, quick: bool) -> None:
    with pytest.raises(ImageError) as caught:
        remove_background(spoil(PHOTO.read_bytes()), quick=quick)
    assert caught.value.code == code


def test_a_format_that_only_the_stand_in_cannot_read_is_told_as_such() -> None:
    with pytest.raises(ImageError, match=r"the stand-in on this machine reads only JPEG, .*HEIF; Pixelcut"):
        remove_background(b"\0\0\0\x0cJXL \r\n\x87\n")


@pytest.mark.parametrize(
    ("size", "code"),
    [
        ((64, 64), None),
        ((6000, 64), None),
        ((63, 64), "invalid_parameter"),
        ((64, 63), "invalid_parameter"),
        ((6001, 64), "resolution_too_high"),
        ((64, 6001), "resolution_too_high"),
        ((20_000, 20_000), "resolution_too_high"),
    ],
)
def test_enforces_the_documented_resolutions(size: tuple[int, int], code: str | None) -> None:
    image = save(Image.linear_gradient("L").resize(size), "PNG") if max(size) < 10_000 else bomb(size)
    if code is None:
        assert load(remove_background(image, quick=True)).size == size
    else:
        with pytest.raises(ImageError) as caught:
            remove_background(image, quick=True)
        assert caught.value.code == code


def bomb(size: tuple[int, int]) -> bytes:
    """A PNG that promises more pixels than it holds."""
    small = bytearray(save(Image.new("1", (64, 64)), "PNG"))
    small[16:24] = size[0].to_bytes(4, "big") + size[1].to_bytes(4, "big")
    small[29:33] = zlib.crc32(small[12:29]).to_bytes(4, "big")
    return bytes(small)


@pytest.mark.parametrize("quick", [False, True])
def test_an_image_of_one_colour_has_no_foreground(quick: bool) -> None:
    with pytest.raises(ImageError) as caught:
        remove_background(save(Image.new("RGB", (200, 160), "teal"), "PNG"), quick=quick)
    assert caught.value.code == "unknown_foreground"


def test_noise_has_no_foreground() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (160, 200, 3), np.uint8)
    with pytest.raises(ImageError) as caught:
        remove_background(save(Image.fromarray(noise), "PNG"))
    assert caught.value.code == "unknown_foreground"
