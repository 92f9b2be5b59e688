"""Pictures that every browser shows, of images that it may not show itself. Needs Pillow, of the extra `local`."""

from pathlib import Path

from PIL import Image, ImageOps

# What every browser shows as it is.
_SHOWN = {"AVIF", "BMP", "GIF", "JPEG", "MPO", "PNG", "WEBP"}
_SIDE = 1024  # pixels, at most


def is_shown(image: Path) -> bool:
    """Whether browsers show the file as it is."""
    try:
        with Image.open(image) as opened:
            return opened.format in _SHOWN
    except Exception:  # noqa: BLE001  # Pillow raises all kinds of errors for what is not an image
        return False


def write(image: Path, preview: Path) -> bool:
    """Writes a smaller WebP of it; False when it cannot be read."""
    try:
        with Image.open(image) as opened:
            ImageOps.exif_transpose(opened, in_place=True)
            opened.thumbnail((_SIDE, _SIDE))
            picture = opened.convert("RGBA" if opened.has_transparency_data else "RGB")
    except Exception:  # noqa: BLE001  # as above
        return False
    preview.parent.mkdir(parents=True, exist_ok=True)
    picture.save(preview, "WEBP")
    return True
