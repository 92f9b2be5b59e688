"""Pictures that every browser shows, of images that it may not show itself."""

import io
from pathlib import Path
from typing import IO, Any

from remove_background.preflight import HEAD_BYTES, read_header

# What every browser shows as it is, by `read_header`'s name, with its media type.
SHOWN = {
    "avif": "image/avif",
    "bmp": "image/bmp",
    "gif": "image/gif",
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
}
# More may be a decompression bomb. This is Pillow's limit, too, which it only warns of.
MOST_PIXELS = 89_478_485
_SIDE = 1024  # pixels, at most


def show(image: Path, page: Path, name: str, *, may_write: bool = True) -> dict[str, Any]:
    """How `gallery.Entry` is to show the image: as it is; by a preview, of that name beside the page; or not at all."""
    if _is_shown(image):
        return {}
    if may_write and _write(image, page.parent / name):
        return {"preview": name}
    return {"no_preview": "There is no preview of this file on this machine."}


def _is_shown(image: Path) -> bool:
    try:
        with image.open("rb") as opened:
            return read_header(opened.read(HEAD_BYTES)).format in SHOWN
    except OSError:
        return False


def _write(image: Path, preview: Path) -> bool:
    """False when nothing here can read the image, or the preview cannot be written."""
    encoded = encode(image, _SIDE)
    if encoded is None:
        return False
    try:
        preview.parent.mkdir(parents=True, exist_ok=True)
        preview.write_bytes(encoded)
    except OSError:
        return False
    return True


def encode(image: Path | IO[bytes], side: int, formats: tuple[str, ...] | None = None) -> bytes | None:
    """The image as a WebP of at most `side` pixels a side; None when nothing here can read it.

    `formats` are those that it may have, by Pillow's names.
    """
    try:  # of the extras `console` and `local`
        import pillow_heif  # noqa: PLC0415
        from PIL import Image, ImageOps  # noqa: PLC0415
    except ImportError:
        return None
    pillow_heif.register_heif_opener()
    try:
        with Image.open(image, formats=formats) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                return None
            # The pixels of a palette cannot be averaged.
            picture = opened.convert("RGBA") if opened.mode == "P" else opened
            picture.thumbnail((side, side))  # first, since a JPEG is then decoded at a fraction of its size
            ImageOps.exif_transpose(picture, in_place=True)
            encoded = io.BytesIO()
            picture.convert("RGBA" if picture.has_transparency_data else "RGB").save(encoded, "WEBP")
    except Exception:  # noqa: BLE001  # Pillow raises all kinds of errors for what is not an image
        return None
    return encoded.getvalue()
