"""Pictures that every browser shows, of images that it may not show itself."""

from pathlib import Path
from typing import Any

from remove_background.preflight import read_header
from remove_background.storage import HEAD_BYTES

# What every browser shows as it is.
_SHOWN = {"avif", "bmp", "gif", "jpeg", "png", "webp"}
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
            return read_header(opened.read(HEAD_BYTES)).format in _SHOWN
    except OSError:
        return False


def _write(image: Path, preview: Path) -> bool:
    """Writes a smaller WebP of it; False when nothing here can read it, or it cannot be written."""
    try:  # of the extra `local`
        import pillow_heif  # noqa: PLC0415
        from PIL import Image, ImageOps  # noqa: PLC0415
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    try:
        with Image.open(image) as opened:
            ImageOps.exif_transpose(opened, in_place=True)
            opened.thumbnail((_SIDE, _SIDE))
            picture = opened.convert("RGBA" if opened.has_transparency_data else "RGB")
        preview.parent.mkdir(parents=True, exist_ok=True)
        picture.save(preview, "WEBP")
    except Exception:  # noqa: BLE001  # Pillow raises all kinds of errors for what is not an image
        return False
    return True
