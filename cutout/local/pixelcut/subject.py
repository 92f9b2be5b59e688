"""Finds the subject of an image, on a small copy of it. A mask is 1 on the subject and 0 elsewhere."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import cv2.data
import numpy as np

from cutout.local.pixelcut.picture import Array, ellipse, shrink, unknown_foreground

Box = tuple[float, float, float, float]  # left, top, width, height

SEARCH_SIDE = 288  # longest side on which the subject is looked for

_pool = ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1), thread_name_prefix="grabcut")
_faces = cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / "haarcascade_frontalface_alt2.xml"))
_faces_lock = threading.Lock()  # the cascade is not thread-safe
cv2.setNumThreads(1)  # the pool is the parallelism


@dataclass(frozen=True)
class _Candidate:
    mask: Array
    on_edges: float  # strength of the edges along most of the outline, over the average in the image
    separation: float  # of the colours on both sides, 0 to 1


def find_subject(picture: Array) -> Array:
    """The mask of the subject, on the small copy; raises ImageError when there is none."""
    small = shrink(picture, SEARCH_SIDE)
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
        raise unknown_foreground("Nothing stands out from its background")
    best = max(candidates, key=lambda candidate: _score(candidate, votes, faces))
    agreement = np.mean([_overlap(best.mask, other.mask) for other in candidates])
    if best.separation < 0.25 or best.on_edges < 1 or agreement < 0.2:
        raise unknown_foreground("No foreground subject stands out from the background")
    return best.mask


def _edges(lab: Array) -> Array:
    blurred = cv2.GaussianBlur(lab, (0, 0), 1)
    across, down = cv2.Sobel(blurred, cv2.CV_32F, 1, 0), cv2.Sobel(blurred, cv2.CV_32F, 0, 1)
    strength: Array = np.sqrt((across**2 + down**2).sum(axis=2))
    return strength


def _find_faces(picture: Array, scale: float) -> list[Box]:
    """Where faces are on the small copy."""
    copy = shrink(picture, 640)
    grey = cv2.equalizeHist(cv2.cvtColor(copy, cv2.COLOR_RGB2GRAY))
    least = max(24, min(grey.shape) // 12)
    with _faces_lock:
        boxes = _faces.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=5, minSize=(least, least))
    scale *= picture.shape[1] / copy.shape[1]
    return [(x * scale, y * scale, width * scale, height * scale) for x, y, width, height in boxes]


def _starts(lab: Array, faces: list[Box]) -> Iterator[Array]:
    """Start masks for GrabCut: what is certainly or probably background or subject."""
    height, width = lab.shape[:2]
    shape = (height, width)
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    centred = np.exp(-(rows**2 + columns**2) / 0.6)

    likely = np.zeros(shape, np.uint8)
    likely[round(height * 0.04) : round(height * 0.96), round(width * 0.04) : round(width * 0.96)] = 1
    yield _start(likely)
    yield _start(ellipse(shape, 0.42, 0.46) > 0)
    yield _start(ellipse(shape, 0.27, 0.34) > 0)
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
