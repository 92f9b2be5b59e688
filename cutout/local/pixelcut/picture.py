"""Decodes images to pixels, and encodes pixels as a PNG. An image that the API refuses is refused with its code."""

import io
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
import pillow_heif
from PIL import Image, ImageOps, UnidentifiedImageError

Array = npt.NDArray[Any]  # OpenCV's stubs say no more either

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")

pillow_heif.register_heif_opener()
MIN_SIDE, MAX_SIDE = 64, 6000


class ImageError(Exception):
    """The image cannot become a cutout; `code` is the API's word for the reason."""

    def __init__(
        self,
        code: Literal[
            "malformed_image",
            "unsupported_image_format",
            "resolution_too_high",
            "invalid_parameter",
            "unknown_foreground",
        ],
        message: str,
    ) -> None:
        super().__init__(message)
        self.code = code


def unknown_foreground(message: str) -> ImageError:
    return ImageError("unknown_foreground", message)


def decode(image: bytes) -> tuple[Array, Array | None]:
    """RGB values and, if the image has transparency, its alpha."""
    try:
        with Image.open(io.BytesIO(image), formats=FORMATS) as opened:
            _check_size(*opened.size)
            ImageOps.exif_transpose(opened, in_place=True)
            if opened.has_transparency_data:
                rgba = np.asarray(opened.convert("RGBA"))
                return np.ascontiguousarray(rgba[..., :3]), np.ascontiguousarray(rgba[..., 3])
            if opened.mode.startswith("I;16"):  # which Pillow would clip to 8 bits instead of scaling
                return cv2.cvtColor((np.asarray(opened) >> 8).astype(np.uint8), cv2.COLOR_GRAY2RGB), None
            return np.asarray(opened if opened.mode == "RGB" else opened.convert("RGB")), None
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        if _has_known_signature(image):
            raise ImageError("malformed_image", "The image could not be decoded") from error
        raise ImageError(
            "unsupported_image_format",
            f"the stand-in on this machine reads only {', '.join(FORMATS)}; Pixelcut itself may take it",
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError("resolution_too_high", "The image has too many pixels") from error
    except Exception as error:  # Pillow's decoders raise all kinds of errors for damaged data
        raise ImageError("malformed_image", "The image could not be decoded") from error


def _check_size(width: int, height: int) -> None:
    if max(width, height) > MAX_SIDE:
        raise ImageError("resolution_too_high", f"The image is larger than {MAX_SIDE}x{MAX_SIDE} pixels")
    if min(width, height) < MIN_SIDE:
        raise ImageError("invalid_parameter", f"The image is smaller than {MIN_SIDE}x{MIN_SIDE} pixels")


def _has_known_signature(image: bytes) -> bool:
    accepts = (Image.OPEN[name][1] for name in FORMATS)
    return not image or any(accept is not None and accept(image[:16]) is True for accept in accepts)


def encode(cutout: Array, opacity: Array | None) -> bytes:
    """A PNG of RGBA values, no more opaque than the image was."""
    if opacity is not None:
        cutout[..., 3] = np.minimum(cutout[..., 3], opacity)
    pixels = cv2.bitwise_and(cutout, cutout, mask=cutout[..., 3])  # what was removed is gone, not hidden
    pixels = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA, pixels)
    # Takes half the time of the defaults, for a file of the same size.
    fast = [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB]
    _, png = cv2.imencode(".png", pixels, fast)
    return png.tobytes()


def shrink(picture: Array, side: int) -> Array:
    height, width = picture.shape[:2]
    scale = min(1, side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def ellipse(shape: tuple[int, ...], across: float, down: float) -> Array:
    """A centred ellipse; `across` and `down` are its radii as shares of the image's sides."""
    height, width = shape[:2]
    mask = np.zeros((height, width), np.uint8)
    centre, radii = (width // 2, height // 2), (round(width * across), round(height * down))
    return cv2.ellipse(mask, centre, radii, 0, 0, 360, 255, -1)
