"""Removes the background of an image on the CPU: good on one clear subject that does not fill the frame.

OpenCV's GrabCut runs from several starts on a small copy of the image, because each start is right about other
images; the outcome that looks most like a subject is refined at full size.
"""

import io
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import cv2.data
import numpy as np
import numpy.typing as npt
import pillow_heif
from PIL import Image, ImageOps, UnidentifiedImageError

Array = npt.NDArray[Any]  # OpenCV's stubs know no more either
Box = tuple[float, float, float, float]  # left, top, width, height

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
MIN_SIDE, MAX_SIDE = 64, 6000

_SEARCH_SIDE = 288  # longest side on which the subject is looked for
_OUTLINE_SIDE = 1024  # longest side on which its outline is refined
_TILE = 1024
_MARGIN = 48  # around a tile, for the blurs at its edges

# A removal needs up to 0.6 gigabytes, and two cores.
_slots = threading.BoundedSemaphore(2)
_pool = ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1), thread_name_prefix="grabcut")
_faces = cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / "haarcascade_frontalface_alt2.xml"))
_faces_lock = threading.Lock()  # the cascade is not thread-safe
pillow_heif.register_heif_opener()
cv2.setNumThreads(1)  # the pool is the parallelism


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


def remove_background(image: bytes, *, quick: bool = False) -> bytes:
    """The cutout as a PNG of the same size, upright. `quick` cuts out an ellipse, in milliseconds.

    Raises ImageError.
    """
    picture, opacity = _decode(image)
    if cv2.resize(picture, (32, 32), interpolation=cv2.INTER_AREA).std(axis=(0, 1)).max() < 2:
        raise _unknown_foreground("The image is of one colour")
    if quick:
        return _encode(np.dstack([picture, _ellipse(picture.shape, 0.4, 0.4)]), opacity)
    with _slots:
        return _encode(_cut_out(picture, _find_subject(picture)), opacity)


def _decode(image: bytes) -> tuple[Array, Array | None]:
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


def _encode(cutout: Array, opacity: Array | None) -> bytes:
    """A PNG of RGBA values, no more opaque than the image was."""
    if opacity is not None:
        cutout[..., 3] = np.minimum(cutout[..., 3], opacity)
    pixels = cv2.bitwise_and(cutout, cutout, mask=cutout[..., 3])  # what was removed is gone, not hidden
    pixels = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA, pixels)
    # Half the time of the defaults, for a file as large.
    fast = [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB]
    _, png = cv2.imencode(".png", pixels, fast)
    return png.tobytes()


def _unknown_foreground(message: str) -> ImageError:
    return ImageError("unknown_foreground", message)


# The search for the subject, on a small copy. A mask is 1 on the subject and 0 elsewhere.


@dataclass(frozen=True)
class _Candidate:
    mask: Array
    on_edges: float  # strength of the edges along most of the outline, over the average in the image
    separation: float  # of the colours on both sides, 0 to 1


def _find_subject(picture: Array) -> Array:
    """The mask of the subject, on the small copy; raises ImageError when there is none."""
    small = _shrink(picture, _SEARCH_SIDE)
    # GrabCut takes up to a minute over hard synthetic edges without noise.
    noise = np.random.default_rng(0).normal(0, 2.5, small.shape)
    small = np.clip(small + noise, 0, 255).astype(np.uint8)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float32)
    edges = _edges(lab)
    faces = _find_faces(picture, small.shape[1] / picture.shape[1])

    starts = list(_starts(lab, faces))
    masks = [_clean(mask) for mask in _pool.map(_grab_cut, [small] * len(starts), starts)]
    votes = np.mean(masks, axis=0)
    masks.append(_clean((votes >= 0.5).astype(np.uint8)))
    candidates = [_judge(mask, lab, edges) for mask in masks if 0.003 < mask.mean() < 0.97]
    if not candidates:
        raise _unknown_foreground("Nothing stands out from its background")
    best = max(candidates, key=lambda candidate: _score(candidate, votes, faces))
    agreement = np.mean([_overlap(best.mask, other.mask) for other in candidates])
    if best.separation < 0.25 or best.on_edges < 1 or agreement < 0.2:
        raise _unknown_foreground("No foreground subject could be told from the background")
    return best.mask


def _shrink(picture: Array, side: int) -> Array:
    height, width = picture.shape[:2]
    scale = min(1, side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _edges(lab: Array) -> Array:
    blurred = cv2.GaussianBlur(lab, (0, 0), 1)
    across, down = cv2.Sobel(blurred, cv2.CV_32F, 1, 0), cv2.Sobel(blurred, cv2.CV_32F, 0, 1)
    strength: Array = np.sqrt((across**2 + down**2).sum(axis=2))
    return strength


def _find_faces(picture: Array, scale: float) -> list[Box]:
    """Where faces are on the small copy."""
    copy = _shrink(picture, 640)
    grey = cv2.equalizeHist(cv2.cvtColor(copy, cv2.COLOR_RGB2GRAY))
    least = max(24, min(grey.shape) // 12)
    with _faces_lock:
        boxes = _faces.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=5, minSize=(least, least))
    scale *= picture.shape[1] / copy.shape[1]
    return [(x * scale, y * scale, width * scale, height * scale) for x, y, width, height in boxes]


def _starts(lab: Array, faces: list[Box]) -> Iterator[Array]:
    """GrabCut masks: what is surely or probably background or subject."""
    height, width = lab.shape[:2]
    shape = (height, width)
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    centred = np.exp(-(rows**2 + columns**2) / 0.6)

    likely = np.zeros(shape, np.uint8)
    likely[round(height * 0.04) : round(height * 0.96), round(width * 0.04) : round(width * 0.96)] = 1
    yield _start(likely)
    yield _start(_ellipse(shape, 0.42, 0.46) > 0)
    yield _start(_ellipse(shape, 0.27, 0.34) > 0)
    for with_bottom in (True, False):
        distance = _distance_from_border_colours(lab, with_bottom=with_bottom)
        yield _start(_bright_part(distance), with_bottom=with_bottom)
        yield _start(_bright_part(distance * centred), with_bottom=with_bottom)
    if faces:
        body = _bodies(shape, faces, 1)
        start = _start(body, with_bottom=False)
        start[_bodies(shape, faces, 1.25) == 0] = cv2.GC_BGD
        start[_bodies(shape, faces, 0.5) > 0] = cv2.GC_FGD
        yield start


def _start(likely: Array, *, with_bottom: bool = True) -> Array:
    start = np.where(likely, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    start[:2], start[:, :2], start[:, -2:] = cv2.GC_BGD, cv2.GC_BGD, cv2.GC_BGD
    if with_bottom:
        start[-2:] = cv2.GC_BGD
    return start


def _ellipse(shape: tuple[int, ...], across: float, down: float) -> Array:
    """A centred ellipse; `across` and `down` are its radii as shares of the image's sides."""
    height, width = shape[:2]
    mask = np.zeros((height, width), np.uint8)
    centre, radii = (width // 2, height // 2), (round(width * across), round(height * down))
    return cv2.ellipse(mask, centre, radii, 0, 0, 360, 255, -1)


def _distance_from_border_colours(lab: Array, *, with_bottom: bool) -> Array:
    """How far each pixel's colour is from the nearest of the colours along the image's edges."""
    band = max(3, min(lab.shape[:2]) // 25)
    sides = [lab[:band], lab[:, :band].swapaxes(0, 1), lab[:, -band:].swapaxes(0, 1)]
    if with_bottom:
        sides.append(lab[-band:])
    colours = np.concatenate([side.reshape(-1, 3) for side in sides])
    cv2.setRNGSeed(0)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 10, 1.0)
    labels = np.zeros((len(colours), 1), np.int32)
    _, _, centres = cv2.kmeans(colours, 6, labels, stop, 1, cv2.KMEANS_PP_CENTERS)
    blurred = cv2.GaussianBlur(lab, (0, 0), 1.5)
    nearest: Array = np.linalg.norm(blurred[:, :, None] - centres, axis=3).min(axis=2)
    return nearest


def _bright_part(values: Array) -> Array:
    """1 where the values are high, by Otsu's threshold."""
    scaled: Array = (values / max(values.max(), 1e-6) * 255).astype(np.uint8)
    _, bright = cv2.threshold(scaled, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return bright


def _bodies(shape: tuple[int, int], faces: list[Box], width: float) -> Array:
    """Where the bodies under these faces probably are, drawn slimmer or wider than usual."""
    mask = np.zeros(shape, np.uint8)
    for left, top, across, down in faces:
        x, y, reach = left + across / 2, top + down / 2, across * width
        head = (round(x), round(y - down * 0.1)), (round(reach * 0.75), round(down * 0.95 * width))
        cv2.ellipse(mask, *head, 0, 0, 360, 1, -1)
        shoulders, bottom = y + down * (1.6 - 0.5 * width), shape[0]
        right = [(x + reach * 0.4, y + down * 0.4), (x + reach * 1.4, shoulders), (x + reach * 1.7, bottom)]
        outline = right + [(2 * x - across, down) for across, down in reversed(right)]
        cv2.fillPoly(mask, [np.round(outline).astype(np.int32)], 1)
    return mask


def _grab_cut(small: Array, start: Array) -> Array:
    if not {cv2.GC_FGD, cv2.GC_PR_FGD} & set(np.unique(start)):
        return np.zeros_like(start)
    cv2.setRNGSeed(0)
    mask, background, foreground = start.copy(), np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(small, mask, (0, 0, 0, 0), background, foreground, 2, cv2.GC_INIT_WITH_MASK)
    return np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)


def _clean(mask: Array) -> Array:
    """Without specks, threads and small holes."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, disc)
    mask = _keep_parts(mask, share_of_largest=0.15, least=mask.size * 0.001)
    return 1 - _keep_parts(1 - mask, share_of_largest=0, least=mask.size * 0.008)


def _keep_parts(mask: Array, share_of_largest: float, least: float) -> Array:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    areas = stats[:, cv2.CC_STAT_AREA].astype(float)
    areas[0] = 0
    kept: Array = (areas >= max(least, areas.max() * share_of_largest, 1))[labels]
    return kept.astype(np.uint8)


def _judge(mask: Array, lab: Array, edges: Array) -> _Candidate:
    outline = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8), borderValue=0)
    outline[:2], outline[-2:], outline[:, :2], outline[:, -2:] = 0, 0, 0, 0
    on_edges = float(np.percentile(edges[outline > 0], 30) / (edges.mean() + 1e-3)) if outline.any() else 0.0
    subject, rest = _colours(lab, mask), _colours(lab, 1 - mask)
    return _Candidate(mask, on_edges, cv2.compareHist(subject, rest, cv2.HISTCMP_BHATTACHARYYA))


def _colours(lab: Array, mask: Array) -> Array:
    """A histogram, blurred so that neighbouring colours count as alike."""
    histogram = cv2.calcHist([lab], [0, 1, 2], mask, [10, 14, 14], [0, 256, 64, 192, 64, 192])
    return cv2.GaussianBlur(histogram, (0, 0), 0.8)


def _score(candidate: _Candidate, votes: Array, faces: list[Box]) -> float:
    """How much a mask looks like one subject that was photographed on purpose."""
    mask = candidate.mask
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    solidity = min(1, float(mask.sum()) / sum(cv2.contourArea(cv2.convexHull(contour)) + 1 for contour in contours))
    at_border = np.concatenate([mask[2], mask[:, 2], mask[:, -3]]).mean() + 0.3 * mask[-3].mean()
    area = mask.mean()
    off_size = max(0, 0.03 - area) / 0.03 + max(0, area - 0.65) / 0.35
    rows, columns = np.nonzero(mask)
    off_centre = np.hypot(rows.mean() / mask.shape[0] - 0.52, columns.mean() / mask.shape[1] - 0.5)
    agreement = np.minimum(mask, votes).sum() / np.maximum(mask, votes).sum()
    like_a_person = _overlap(mask, _bodies(mask.shape, faces, 1)) if faces else 0
    return float(
        1.0 * min(candidate.on_edges, 4) / 4
        + 1.3 * candidate.separation
        + 0.6 * solidity
        + 1.3 * agreement
        + 2.5 * like_a_person
        - (0.4 if faces else 1.2) * at_border
        - 0.5 * off_size
        - 0.8 * off_centre
    )


def _overlap(one: Array, other: Array) -> float:
    return float((one & other).sum() / max(1, int((one | other).sum())))


# The outline, at full size.


def _cut_out(picture: Array, mask: Array) -> Array:
    """RGBA: the subject with a soft outline, where its colours lose what shone through from behind."""
    height, width = picture.shape[:2]
    plane = _alpha_plane(_shrink(picture, _OUTLINE_SIDE), mask)
    zoom = width / plane.shape[1], height / plane.shape[0]
    cutout = np.empty((height, width, 4), np.uint8)
    for top in range(0, height, _TILE):  # in tiles, because of the memory
        for left in range(0, width, _TILE):
            y, x = max(0, top - _MARGIN), max(0, left - _MARGIN)
            tile = picture[y : top + _TILE + _MARGIN, x : left + _TILE + _MARGIN].astype(np.float32) / 255
            there = np.array([[1 / zoom[0], 0, (x + 0.5) / zoom[0] - 0.5], [0, 1 / zoom[1], (y + 0.5) / zoom[1] - 0.5]])
            local = cv2.warpAffine(
                plane,
                there,
                (tile.shape[1], tile.shape[0]),
                flags=cv2.INTER_LINEAR + cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )
            alpha = (tile * local[..., :3]).sum(axis=2) + local[..., 3]
            alpha = np.clip((alpha - 0.1) / 0.8, 0, 1)  # a filter's ends are never quite 0 and 1
            colours = _foreground_colours(tile, alpha, round(8 * max(zoom)))
            pixels = np.dstack([colours, alpha]) * 255 + 0.5
            cutout[top : top + _TILE, left : left + _TILE] = pixels[top - y :, left - x :][:_TILE, :_TILE]
    return cutout


def _alpha_plane(copy: Array, mask: Array) -> Array:
    """Four numbers for each pixel of the copy: the factors of red, green and blue, and the rest, that make its alpha.

    Along the outline they come from a guided filter (He, Sun, Tang: Guided Image Filtering, 2013).
    """
    height, width = copy.shape[:2]
    smooth = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    smooth = cv2.GaussianBlur(smooth, (0, 0), max(0.8, max(width, height) / _SEARCH_SIDE * 0.8))
    smooth = (smooth > 0.5).astype(np.float32)
    radius = max(2, max(width, height) // 110)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    band = cv2.dilate(smooth, disc) > cv2.erode(smooth, disc)

    guide = copy.astype(np.float32) / 255

    def mean(values: Array) -> Array:
        return cv2.blur(values, (2 * radius + 1, 2 * radius + 1))

    mean_guide, mean_mask = mean(guide), mean(smooth)
    products = np.dstack([guide[..., i] * guide[..., j] for i in range(3) for j in range(3)])
    # cv2.blur takes four channels at most
    spread = np.dstack([mean(products[..., i : i + 3]) for i in (0, 3, 6)])[band].reshape(-1, 3, 3)
    spread -= mean_guide[band][:, :, None] * mean_guide[band][:, None, :]
    shared = mean(guide * smooth[..., None])[band] - mean_guide[band] * mean_mask[band][:, None]
    factors = np.linalg.solve(spread + 1e-4 * np.eye(3, dtype=np.float32), shared[..., None])[..., 0]

    plane: Array = np.zeros((height, width, 4), np.float32)
    plane[band] = np.column_stack([factors, mean_mask[band] - (factors * mean_guide[band]).sum(axis=1)])
    plane = mean(plane) / np.maximum(mean(band.astype(np.float32)), 1e-6)[..., None]
    plane[~band] = 0
    plane[~band, 3] = smooth[~band]
    return plane


def _foreground_colours(picture: Array, alpha: Array, radius: int) -> Array:
    """The subject's own colours where it is half transparent, from its blurred neighbours on either side.

    After Forte: Approximate Fast Foreground Colour Estimation, 2021.
    """
    if not ((alpha > 0) & (alpha < 1)).any():
        return picture
    front: Array = picture
    for reach in (min(radius, _MARGIN // 2), 2):
        size = (2 * reach + 1, 2 * reach + 1)
        here, there = cv2.blur(alpha, size)[..., None], cv2.blur(1 - alpha, size)[..., None]
        front = cv2.blur(front * alpha[..., None], size) / (here + 1e-5)
        behind = cv2.blur(picture * (1 - alpha[..., None]), size) / (there + 1e-5)
        front = np.clip(
            front + alpha[..., None] * (picture - alpha[..., None] * front - (1 - alpha[..., None]) * behind), 0, 1
        )
    return np.where(alpha[..., None] < 1, front, picture)
