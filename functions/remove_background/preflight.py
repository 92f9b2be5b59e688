"""Judge an image from its first bytes, so that what the documented limits rule out never reaches the paid API.

The limits are those of Pixelcut's reference: 25MB, at least 64x64 and at most 6000x6000 pixels. Whatever the header
leaves in doubt is for the API to judge: an image that it refuses is not billed. Nothing here decodes an image.
"""

import codecs
import re
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from .errors import (
    FileSizeTooLarge,
    MalformedImage,
    ResolutionTooHigh,
    ResolutionTooLow,
    UnsupportedImageFormat,
)

MAX_BYTES = 26_214_400  # "25MB" may mean 25,000,000 bytes, too: between the two the API judges
MIN_PIXELS = 64
MAX_PIXELS = 6000

# Enough for the size in the header of nearly every image; the API judges the rest.
HEAD_BYTES = 65_536
LARGEST_SIDE = 2**31 - 1  # of a PNG or a BMP; in any format, a larger number is a broken one

Size = tuple[int, int]


class Header(NamedTuple):
    """What the first bytes tell; None where they do not.

    Width and height are in pixels, before any rotation that the image asks for: the limits are the same both ways.
    """

    format: str | None  # Pillow's name in lower case
    width: int | None
    height: int | None


def read_header(head: bytes) -> Header:
    return _read(head)[0]


def check(head: bytes, size: int) -> Header:
    """Return the header of an image whose `size` is in bytes, or raise the Rejected that says what rules it out.

    `head` is the image's first 64 KiB, or all of it when it is smaller. The more of it, the less is left in doubt.
    """
    if size == 0:
        raise MalformedImage("The file is empty: upload it again.")
    if size > MAX_BYTES:
        raise FileSizeTooLarge(f"The file has {size:,} bytes; at most {MAX_BYTES:,} are allowed.")
    header, cut_off = _read(head)
    if cut_off and len(head) >= size:
        raise MalformedImage(f"The {header.format} file ends within its header: upload it again, whole.")
    if header.format is None and _is_no_image(head):
        raise UnsupportedImageFormat("The file is not an image.")
    if header.width is not None and header.height is not None:
        pixels = f"The image has {header.width}x{header.height} pixels"
        if max(header.width, header.height) > MAX_PIXELS:
            raise ResolutionTooHigh(f"{pixels}; at most {MAX_PIXELS}x{MAX_PIXELS} are allowed.")
        if min(header.width, header.height) < MIN_PIXELS:
            raise ResolutionTooLow(f"{pixels}; at least {MIN_PIXELS}x{MIN_PIXELS} are needed.")
    return header


def _read(head: bytes) -> tuple[Header, bool]:
    """Return the header, and whether the bytes ended before it told the size."""
    format_ = _recognise(head)
    if format_ is None:
        return Header(None, None, None), False
    try:
        size = _READERS[format_](head)
    except (EOFError, IndexError, OverflowError, struct.error):  # each the answer to an offset beyond the end
        return Header(format_, None, None), True
    if size is None or not all(0 < side <= LARGEST_SIDE for side in size):
        return Header(format_, None, None), False
    return Header(format_, *size), False


# A marker may have fill bytes (FF) before it; FF 00 is none. ITU-T T.81, annex B.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff]")
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_LONE = frozenset(range(0xD0, 0xD9)) | {0x01}  # markers without a length
_JPEG_ENDS = frozenset({0xD9, 0xDA})  # end of image, start of scan: the frame header comes before them


def _read_jpeg(head: bytes) -> Size | None:
    at = 2
    while marker := _JPEG_MARKER.search(head, at):
        at, code = marker.end(), head[marker.end() - 1]
        if code in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", head, at + 3)
            return width, height
        if code in _JPEG_ENDS:
            return None
        if code not in _JPEG_LONE:
            at += struct.unpack_from(">H", head, at)[0]
    raise EOFError


def _read_png(head: bytes) -> Size | None:
    chunk, width, height = struct.unpack_from(">4sLL", head, 12)
    return (width, height) if chunk == b"IHDR" else None


def _read_gif(head: bytes) -> Size | None:
    width, height, flags = struct.unpack_from("<HHB", head, 6)
    at = 13 + (2 << (flags & 7)) * 3 * (flags >> 7)  # past the palette
    while head[at] == 0x21:  # an extension: its label, then blocks up to an empty one
        at += 2
        while head[at]:
            at += 1 + head[at]
        at += 1
    left, top, frame_width, frame_height = struct.unpack_from("<HHHH", head, at + 1)
    # Some decoders enlarge the screen so that it holds its first frame, others clip the frame.
    return (width, height) if left + frame_width <= width and top + frame_height <= height else None


def _read_webp(head: bytes) -> Size | None:
    chunk = head[12:16]
    if chunk == b"VP8 ":
        width, height = struct.unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF  # the two high bits are a scale
    if chunk == b"VP8L":
        bits = struct.unpack_from("<L", head, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8X":
        low_width, high_width, low_height, high_height = struct.unpack_from("<HBHB", head, 24)
        return (high_width << 16 | low_width) + 1, (high_height << 16 | low_height) + 1
    return None


def _read_bmp(head: bytes) -> Size:
    if head[14] == 12:  # OS/2
        width, height = struct.unpack_from("<HH", head, 18)
    else:
        width, height = struct.unpack_from("<ll", head, 18)
    return width, abs(height)  # below zero: the rows run from the top


_TIFF_NUMBERS = {1: "B", 3: "H", 4: "L", 16: "Q"}
_TIFF_SUBFILE, _TIFF_WIDTH, _TIFF_HEIGHT = 254, 256, 257


def _read_tiff(head: bytes) -> Size | None:
    order = "<" if head[:2] == b"II" else ">"
    big = b"+" in head[2:4]
    at = struct.unpack_from(order + ("Q" if big else "L"), head, 8 if big else 4)[0]
    count = struct.unpack_from(order + ("Q" if big else "H"), head, at)[0]
    first, length = (at + 8, 20) if big else (at + 2, 12)
    found = {}
    for entry in range(first, first + count * length, length):
        tag, kind = struct.unpack_from(order + "HH", head, entry)
        if tag in {_TIFF_SUBFILE, _TIFF_WIDTH, _TIFF_HEIGHT} and kind in _TIFF_NUMBERS:
            found[tag] = struct.unpack_from(order + _TIFF_NUMBERS[kind], head, entry + (12 if big else 8))[0]
        if _TIFF_WIDTH in found and _TIFF_HEIGHT in found:
            smaller_copy = found.get(_TIFF_SUBFILE, 0) & 1  # as cameras put before the photo
            return None if smaller_copy else (found[_TIFF_WIDTH], found[_TIFF_HEIGHT])
    return None


def _read_heif(head: bytes) -> Size | None:
    """Return the size of the primary item, before rotation. ISO/IEC 23008-12."""
    meta = next((box for box in _boxes(head, 0, len(head)) if box[0] == b"meta"), None)
    if meta is None:
        return None
    primary = -1
    properties: list[tuple[bytes, int]] = []
    associations: dict[int, list[int]] = {}
    for kind, start, end in _boxes(head, meta[1] + 4, meta[2]):
        if kind == b"pitm":
            primary = struct.unpack_from(">L" if head[start] else ">H", head, start + 4)[0]
        elif kind == b"iprp":
            for part, part_start, part_end in _boxes(head, start, end):
                if part == b"ipco":
                    properties = [(name, at) for name, at, _ in _boxes(head, part_start, part_end)]
                elif part == b"ipma":
                    associations |= _read_associations(head[part_start:part_end])
    own = dict(properties[index - 1] for index in associations.get(primary, ()) if 0 < index <= len(properties))
    if b"ispe" not in own or b"clap" in own:  # clap: cropped, which some decoders ignore
        return None
    width, height = struct.unpack_from(">LL", head, own[b"ispe"] + 4)
    return width, height


def _read_associations(ipma: bytes) -> dict[int, list[int]]:
    """Return the numbers, from one, of each item's properties."""
    version, wide = ipma[0], ipma[3] & 1
    count = struct.unpack_from(">L", ipma, 4)[0]
    associations = {}
    at = 8
    for _ in range(count):
        item, length = struct.unpack_from(">LB" if version else ">HB", ipma, at)
        at += 5 if version else 3
        indexes = struct.unpack_from(f">{length}{'H' if wide else 'B'}", ipma, at)
        at += length * (2 if wide else 1)
        associations[item] = [index & (0x7FFF if wide else 0x7F) for index in indexes]
    return associations


def _boxes(head: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name of each box from `at` to `end`, and where its content starts and ends. ISO/IEC 14496-12."""
    while at + 8 <= end:
        size, kind = struct.unpack_from(">L4s", head, at)
        start = at + 8
        if size == 1:
            size = struct.unpack_from(">Q", head, start)[0]
            start += 8
        at = at + size if size else end
        if at < start:
            return
        yield kind, start, at


_READERS: dict[str, Callable[[bytes], Size | None]] = {
    "jpeg": _read_jpeg,
    "png": _read_png,
    "gif": _read_gif,
    "webp": _read_webp,
    "bmp": _read_bmp,
    "tiff": _read_tiff,
    "avif": _read_heif,
    "heif": _read_heif,
}

_SIGNATURES = re.compile(
    rb"""(?sx)
    (?P<jpeg> \xff\xd8\xff )
    | (?P<png> \x89PNG\r\n\x1a\n )
    | (?P<gif> GIF8[79]a )
    | (?P<webp> RIFF....WEBP )
    | (?P<bmp> BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0 )  # the sizes that its second header can have
    | (?P<tiff> II[*+]\0 | MM\0[*+] )
    """
)
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"})


def _recognise(head: bytes) -> str | None:
    if head[4:8] == b"ftyp":
        end = min(int.from_bytes(head[:4]), len(head))
        brands = {head[8:12], *(head[at : at + 4] for at in range(16, end, 4))}
        return "avif" if brands & _AVIF_BRANDS else "heif" if brands & _HEIF_BRANDS else None
    signature = _SIGNATURES.match(head)
    return signature.lastgroup if signature else None


# Documents, archives, programs, sound and films.
_OTHER_SIGNATURES = re.compile(
    rb"""(?sx)
    %PDF- | PK(\x03\x04|\x05\x06) | \xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 | \x1f\x8b\x08 | 7z\xbc\xaf\x27\x1c | Rar!\x1a\x07
    | \x7fELF | MZ | ID3 | OggS | fLaC | \x1a\x45\xdf\xa3 | RIFF....(WAVE|AVI\x20)
    | ....ftyp(isom|iso[2-9]|mp4[12]|avc1|dash|MSNV|qt\x20\x20|M4[AV]\x20|3g[p2].)
    """
)
_HTML = re.compile(rb"(?i)<!doctype html|<html\b")
_TEXT_THAT_MAY_BE_AN_IMAGE = re.compile(rb"<|P[1-3]\s|/\*|#define|#\?|! XPM|%!PS")  # SVG, PPM, XPM, XBM, HDR, EPS
_CONTROL_CHARACTER = re.compile(rb"[\x00-\x08\x0b\x0e-\x1f\x7f]")


def _is_no_image(head: bytes) -> bool:
    """Only what is certain: the head of a file of no known image format."""
    if _OTHER_SIGNATURES.match(head):
        return True
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if _HTML.match(text):
        return True
    if not text or _TEXT_THAT_MAY_BE_AN_IMAGE.match(text) or _CONTROL_CHARACTER.search(text):
        return False
    try:
        codecs.utf_8_decode(text, "strict", False)  # not final: the last character may be cut
    except UnicodeDecodeError:
        return False
    return True
