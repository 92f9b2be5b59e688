"""Whether a PNG is whole: its chunks, its header, and every row of its pixels.

https://www.w3.org/TR/png-3/ is the specification. Where it leaves a choice to decoders, the one of Pillow is taken: a
cutout that Pillow cannot load is worth nothing to many who would use it. Memory stays flat: pixels are inflated piece
by piece, and only the first byte of each row is looked at.
"""

import struct
import zlib
from collections import deque
from collections.abc import Callable
from typing import IO

from .errors import ResultInvalid

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHUNK_BYTES = 65_536
# More than twice the pixels of the largest image that the API takes. Pillow warns of a bomb at 89 million.
MAX_PIXELS = 80_000_000

_GREYSCALE, _TRUECOLOUR, _INDEXED, _GREYSCALE_WITH_ALPHA, _TRUECOLOUR_WITH_ALPHA = 0, 2, 3, 4, 6
_CHANNELS = {_GREYSCALE: 1, _TRUECOLOUR: 3, _INDEXED: 1, _GREYSCALE_WITH_ALPHA: 2, _TRUECOLOUR_WITH_ALPHA: 4}
_DEPTHS = {
    _GREYSCALE: (1, 2, 4, 8, 16),
    _TRUECOLOUR: (8, 16),
    _INDEXED: (1, 2, 4, 8),
    _GREYSCALE_WITH_ALPHA: (8, 16),
    _TRUECOLOUR_WITH_ALPHA: (8, 16),
}
_HEADER = ">IIBBBBB"
# Of each pass of an interlaced image: its first column and row, and how far apart they are.
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_FILTERS = bytes(range(5))
# Bytes that a chunk has at least, where decoders refuse the whole image for want of them.
_LENGTHS = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"pHYs": 9, b"acTL": 8, b"fcTL": 26, b"fdAT": 4}
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")


class _Header:
    def __init__(self, data: bytes) -> None:
        self.width, self.height, self._depth, self.colour, *methods = struct.unpack(_HEADER, data)
        if not (self.width and self.height and self.width * self.height <= MAX_PIXELS):
            raise ResultInvalid("The result is a PNG whose width or height is out of range.")
        compression, filter_, self._interlaced = methods
        if self._depth not in _DEPTHS.get(self.colour, ()) or compression or filter_ or self._interlaced > 1:
            raise ResultInvalid("The result is a PNG whose header is not valid.")

    def passes(self) -> "deque[tuple[int, int]]":
        """Of each pass that has pixels: the bytes of a row with its filter, and how many rows there are."""
        passes = _ADAM7 if self._interlaced else ((0, 0, 1, 1),)
        bits = self._depth * _CHANNELS[self.colour]
        sizes = (
            (-(-(self.width - left) // across), -(-(self.height - top) // down)) for left, top, across, down in passes
        )
        return deque((1 + (columns * bits + 7) // 8, rows) for columns, rows in sizes if columns > 0 and rows > 0)


class _Pixels:
    """Inflates the image data, and compares it with what the header promises."""

    def __init__(self, header: _Header, check_time: Callable[[], object]) -> None:
        self._inflate = zlib.decompressobj()
        self._passes = header.passes()
        self._row = self._position = self._left = 0  # of the pass at hand, in bytes
        self._check_time = check_time

    def add(self, data: bytes) -> None:
        full = True
        while (data or full) and not self._inflate.eof:
            self._check_time()
            try:
                pixels = self._inflate.decompress(data, CHUNK_BYTES)
            except zlib.error:
                raise ResultInvalid("The result is damaged: its pixels cannot be decompressed.") from None
            self._check(pixels)
            data, full = self._inflate.unconsumed_tail, len(pixels) == CHUNK_BYTES

    def end(self) -> None:
        if self._left or self._passes or not self._inflate.eof:
            raise ResultInvalid("The result is a PNG without all of its pixels.")

    def _check(self, pixels: bytes) -> None:
        while pixels:
            if not self._left:
                if not self._passes:
                    raise ResultInvalid("The result is a PNG with more pixels than its header says.")
                self._row, rows = self._passes.popleft()
                self._position, self._left = 0, self._row * rows
            part, pixels = pixels[: self._left], pixels[self._left :]
            if part[-self._position % self._row :: self._row].translate(None, _FILTERS):
                raise ResultInvalid("The result is a PNG with a row whose filter is not valid.")
            self._position += len(part)
            self._left -= len(part)


class _Frames:
    """The order of an animation's chunks: https://www.w3.org/TR/png-3/#4apng"""

    def __init__(self, header: _Header) -> None:
        self._header = header
        self._next = 0

    def add(self, kind: bytes, data: bytes, *, before_pixels: bool) -> None:
        (number,) = struct.unpack_from(">I", data)
        if number != self._next or (kind == b"fdAT" and before_pixels):
            raise ResultInvalid("The result is an animation whose frames are out of order.")
        self._next += 1
        if kind == b"fcTL":
            width, height, left, top = struct.unpack_from(">4I", data, 4)
            whole = (width, height, left, top) == (self._header.width, self._header.height, 0, 0)
            inside = 0 < width <= self._header.width - left and 0 < height <= self._header.height - top
            if not (whole if before_pixels else inside):
                raise ResultInvalid("The result is an animation with a frame of the wrong size.")


class _Image:
    """What the chunks between IHDR and IEND add up to."""

    def __init__(self, header: _Header, check_time: Callable[[], object]) -> None:
        self.pixels = _Pixels(header, check_time)
        self._frames = _Frames(header)
        self._colour = header.colour
        self._transparent = header.colour in (_GREYSCALE_WITH_ALPHA, _TRUECOLOUR_WITH_ALPHA)
        self._colours = 0  # in the palette
        self._previous = b"IHDR"
        self._has_pixels = False

    def add(self, kind: bytes, data: bytes) -> None:
        match kind:
            case b"IHDR":
                raise ResultInvalid("The result is a PNG with two headers.")
            case b"IDAT":
                if self._has_pixels and self._previous != b"IDAT":
                    raise ResultInvalid("The result is a PNG whose pixels are interrupted.")
                if self._colour == _INDEXED and not self._colours:
                    raise ResultInvalid("The result is a PNG without its palette.")
                self._has_pixels = True
            case b"PLTE":
                self._colours = _count_colours(data)
            case b"tRNS":
                # One that comes too late is passed over.
                self._transparent |= self._is_transparency(data) and not self._has_pixels
            case b"fcTL" | b"fdAT":
                self._frames.add(kind, data, before_pixels=not self._has_pixels)
        self._previous = kind

    def end(self) -> None:
        if not self._has_pixels:
            raise ResultInvalid("The result is a PNG without pixels.")
        self.pixels.end()
        if not self._transparent:
            raise ResultInvalid("The result is a PNG without transparency.")

    def _is_transparency(self, data: bytes) -> bool:
        """Whether a tRNS chunk fits the image: it holds one colour, or the alpha of colours in the palette."""
        if self._colour == _INDEXED:
            return 0 < len(data) <= self._colours
        if self._colour not in (_GREYSCALE, _TRUECOLOUR):
            return False
        length = 2 * _CHANNELS[self._colour]
        if len(data) < length:
            raise ResultInvalid("The result is a PNG with a chunk that is too short.")
        return len(data) == length


def verify(file: IO[bytes], check_time: Callable[[], object]) -> None:
    """Raise ResultInvalid unless this is a PNG that is whole and has transparency.

    `check_time` is called for each piece of the pixels, and raises when there is no time left.
    """
    if file.read(len(SIGNATURE)) != SIGNATURE:
        raise ResultInvalid("The result is not a PNG.")
    kind, data = _read_chunk(file, None)
    if kind != b"IHDR" or len(data) != struct.calcsize(_HEADER):
        raise ResultInvalid("The result is a PNG without its header.")
    image = _Image(_Header(data), check_time)
    while kind != b"IEND":
        kind, data = _read_chunk(file, image.pixels)
        image.add(kind, data)
    image.end()


def _read_chunk(file: IO[bytes], pixels: _Pixels | None) -> tuple[bytes, bytes]:
    """Type and first bytes of a chunk whose length and CRC are right; `pixels` gets the data of an IDAT.

    https://www.w3.org/TR/png-3/#5Chunk-layout
    """
    length, kind = struct.unpack(">I4s", _read(file, 8))
    if not kind.isalpha() or (kind[:1].isupper() and kind not in _CRITICAL):
        raise ResultInvalid("The result is a PNG with a chunk that no decoder knows.")
    if length < _LENGTHS.get(kind, 0):
        raise ResultInvalid("The result is a PNG with a chunk that is too short.")
    crc, start, left = zlib.crc32(kind), b"", length
    while left:
        data = _read(file, min(left, CHUNK_BYTES))
        if kind == b"IDAT" and pixels:
            pixels.add(data)
        start = start or data
        crc = zlib.crc32(data, crc)
        left -= len(data)
    if _read(file, 4) != struct.pack(">I", crc):
        raise ResultInvalid("The result is damaged: a checksum in it does not match.")
    _check_compression(kind, start)
    return kind, start


def _read(file: IO[bytes], length: int) -> bytes:
    data = file.read(length)
    if len(data) < length:
        raise ResultInvalid("The result is cut short.")
    return data


def _check_compression(kind: bytes, data: bytes) -> None:
    """A colour profile and a compressed text name their method; only one is defined."""
    if kind in (b"iCCP", b"zTXt"):
        _, _, rest = data.partition(b"\0")
        if rest[:1] not in ((b"\0",) if kind == b"iCCP" else (b"\0", b"")):
            raise ResultInvalid("The result is a PNG with a chunk whose compression is not known.")


def _count_colours(palette: bytes) -> int:
    colours, rest = divmod(len(palette), 3)
    if rest or not 0 < colours <= 256:  # as many as a byte can number
        raise ResultInvalid("The result is a PNG whose palette is not valid.")
    return colours
