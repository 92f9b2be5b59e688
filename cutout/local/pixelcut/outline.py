"""Cuts the subject out of the image at full size, with a soft outline."""

import cv2
import numpy as np

from cutout.local.pixelcut.picture import Array, shrink
from cutout.local.pixelcut.subject import SEARCH_SIDE

_OUTLINE_SIDE = 1024  # longest side on which its outline is refined
_TILE = 1024
_MARGIN = 48  # around a tile, for the blurs at its edges


def cut_out(picture: Array, mask: Array) -> Array:
    """RGBA: the subject with a soft outline, whose colours are freed of the background behind it."""
    height, width = picture.shape[:2]
    plane = _alpha_plane(shrink(picture, _OUTLINE_SIDE), mask)
    zoom = width / plane.shape[1], height / plane.shape[0]
    cutout = np.empty((height, width, 4), np.uint8)
    for top in range(0, height, _TILE):  # in tiles, to save memory
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
    """Four numbers for each pixel of the copy: alpha is red, green and blue times the first three, plus the fourth.

    Along the outline they come from a guided filter (He, Sun, Tang: Guided Image Filtering, 2013).
    """
    height, width = copy.shape[:2]
    smooth = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    smooth = cv2.GaussianBlur(smooth, (0, 0), max(0.8, max(width, height) / SEARCH_SIDE * 0.8))
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
