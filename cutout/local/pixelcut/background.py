"""Removes the background of an image on the CPU: good on one clear subject that does not fill the frame.

OpenCV's GrabCut runs from several starts on a small copy of the image, because each start is right about other
images; the outcome that looks most like a subject is refined at full size.
"""

import threading

import cv2
import numpy as np

from cutout.local.pixelcut.outline import cut_out
from cutout.local.pixelcut.picture import decode, ellipse, encode, unknown_foreground
from cutout.local.pixelcut.subject import find_subject

# A removal needs up to 0.6 gigabytes, and two cores.
_slots = threading.BoundedSemaphore(2)


def remove_background(image: bytes, *, quick: bool = False) -> bytes:
    """The cutout as a PNG of the same size, upright. `quick` cuts out an ellipse, in milliseconds.

    Raises ImageError.
    """
    picture, opacity = decode(image)
    if cv2.resize(picture, (32, 32), interpolation=cv2.INTER_AREA).std(axis=(0, 1)).max() < 2:
        raise unknown_foreground("The image is of one colour")
    if quick:
        return encode(np.dstack([picture, ellipse(picture.shape, 0.4, 0.4)]), opacity)
    with _slots:
        return encode(cut_out(picture, find_subject(picture)), opacity)
