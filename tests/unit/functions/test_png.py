"""A PNG passes if a decoder can load it, whole and with transparency. Pillow decides."""

import io
import itertools
import random
import struct
import tracemalloc
import warnings
import zlib
from collections.abc import Iterator, Sequence

import pytest
from PIL import Image, PngImagePlugin

from remove_background import png
from remove_background.errors import ResultInvalid

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
TRANSPARENT = {0: b"\0\0", 2: bytes(6), 3: b"\0"}

Chunk = tuple[bytes, bytes]


def write(chunks: Sequence[Chunk]) -> bytes:
    return png.SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def split(content: bytes) -> list[Chunk]:
    chunks, at = [], len(png.SIGNATURE)
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    return chunks


def header(width: int = 5, height: int = 3, depth: int = 8, colour: int = 6, *end: int) -> Chunk:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, *(end or (0, 0, 0)))


def rows(width: int, height: int, depth: int, colour: int, *, interlaced: bool = False, filter_: int = 1) -> bytes:
    content = b""
    for left, top, across, down in ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns = len(range(left, width, across))
        if columns:
            row = bytes(
                [filter_, *itertools.islice(itertools.cycle(b"\1\0\2"), (columns * depth * CHANNELS[colour] + 7) // 8)]
            )
            content += row * len(range(top, height, down))
    return content


def make(
    width: int = 5,
    height: int = 3,
    depth: int = 8,
    colour: int = 6,
    *,
    interlaced: bool = False,
    before: Sequence[Chunk] = (),
    pixels: bytes | None = None,
) -> list[Chunk]:
    palette = [(b"PLTE", bytes(3 << depth))] if colour == 3 else []
    transparent = [(b"tRNS", TRANSPARENT[colour])] if colour in TRANSPARENT else []
    content = rows(width, height, depth, colour, interlaced=interlaced) if pixels is None else pixels
    return [
        header(width, height, depth, colour, 0, 0, int(interlaced)),
        *before,
        *palette,
        *transparent,
        (b"IDAT", zlib.compress(content)),
        (b"IEND", b""),
    ]


def passes(content: bytes) -> bool:
    try:
        png.verify(io.BytesIO(content), lambda: None)
    except ResultInvalid:
        return False
    return True


def loads(content: bytes) -> bool:
    with warnings.catch_warnings(action="ignore"):
        try:
            with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
                image.load()
        except Exception:  # noqa: BLE001  # Pillow raises SyntaxError, ValueError, OSError, IndexError, ...
            return False
    return True


def saved(mode: str, **options: object) -> bytes:
    image = Image.effect_noise((23, 17), 80).convert("RGBA").convert(mode)
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def with_text() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "x")
    info.add_text("Comment", "y" * 50, zip=True)
    info.add_itxt("Author", "ä", zip=True)
    return info


def animated() -> bytes:
    file = io.BytesIO()
    frames = [Image.new("RGBA", (9, 7), (red, 0, 0, 99)) for red in (0, 90, 200)]
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    return file.getvalue()


GOOD: dict[str, bytes] = {
    **{
        f"{colour}-{depth}-{'interlaced' if interlaced else 'straight'}-{width}x{height}": write(
            make(width, height, depth, colour, interlaced=interlaced)
        )
        for colour in CHANNELS
        for depth in DEPTHS[colour]
        for interlaced in (False, True)
        for width, height in ((1, 1), (5, 3), (9, 8))
    },
    "saved RGBA": saved("RGBA", pnginfo=with_text(), dpi=(72, 72)),
    "saved LA with a profile": saved("LA", icc_profile=b"profile" * 9),
    "saved palette": saved("P", transparency=3),
    "animation": animated(),
    "pixels in many pieces": write(
        [
            header(),
            *((b"IDAT", bytes([byte])) for byte in zlib.compress(rows(5, 3, 8, 6))),
            (b"IDAT", b""),
            (b"IEND", b""),
        ]
    ),
    "more after its end": write(make()) + b"more",
    "gamma and more": write(
        make(before=[(b"gAMA", bytes(4)), (b"cHRM", bytes(32)), (b"sRGB", b"\0"), (b"pHYs", bytes(9)), (b"prVt", b"")])
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_an_image_that_loads_passes(name: str) -> None:
    assert loads(GOOD[name])
    png.verify(io.BytesIO(GOOD[name]), lambda: None)


def changed(index: int, value: int) -> bytes:
    kind, data = header()
    return write([(kind, data[:index] + bytes([value]) + data[index + 1 :]), *make()[1:]])


RAW = rows(5, 3, 8, 6)
PACKED = zlib.compress(RAW)
HALF = len(PACKED) // 2
END: Chunk = (b"IEND", b"")
FRAME = struct.pack(">5I2H2B", 0, 5, 3, 0, 0, 1, 1, 0, 0)

BROKEN: dict[str, tuple[bytes, str]] = {
    "width 0": (changed(3, 0), "out of range"),
    "height 0": (changed(7, 0), "out of range"),
    "width of 2 billion": (changed(0, 0x7F), "out of range"),
    "depth 3": (changed(8, 3), "not valid"),
    "depth 1 with alpha": (changed(8, 1), "not valid"),
    "colour type 5": (changed(9, 5), "not valid"),
    "compression 1": (changed(10, 1), "not valid"),
    "filter method 1": (changed(11, 1), "not valid"),
    "interlace 2": (changed(12, 2), "not valid"),
    "two headers": (write([header(), *make()]), "two headers"),
    "garbage": (write([header(), (b"IDAT", b"garbage"), END]), "cannot be decompressed"),
    "half the rows": (write(make(pixels=RAW[: len(RAW) // 2])), "without all"),
    "a byte too few": (write(make(pixels=RAW[:-1])), "without all"),
    "no row at all": (write(make(pixels=b"")), "without all"),
    "a byte too many": (write(make(pixels=RAW + b"\0")), "more pixels"),
    "rows of another image": (write(make(pixels=RAW * 9)), "more pixels"),
    "a stream cut short": (write([header(), (b"IDAT", PACKED[:-4]), END]), "without all"),
    "a wrong Adler-32": (write([header(), (b"IDAT", PACKED[:-1] + bytes([PACKED[-1] ^ 1])), END]), "decompressed"),
    "filter 5 of the first row": (write(make(pixels=b"\5" + RAW[1:])), "filter"),
    "filter 255 of the last row": (write(make(pixels=RAW[:-21] + b"\xff" + RAW[-20:])), "filter"),
    "a missing IDAT": (write([header(), (b"IDAT", PACKED[:5]), (b"IDAT", PACKED[9:]), END]), "decompressed"),
    "an interrupted IDAT": (
        write([header(), (b"IDAT", PACKED[:HALF]), (b"tIME", bytes(7)), (b"IDAT", PACKED[HALF:]), END]),
        "interrupted",
    ),
    "no IDAT": (write([header(), END]), "without pixels"),
    "no palette": (write([header(5, 3, 8, 3), (b"tRNS", b"\0"), (b"IDAT", b""), END]), "without its palette"),
    "a palette of two bytes": (write(make(before=[(b"PLTE", b"\0\0")])), "palette is not valid"),
    "a palette of 257 colours": (write(make(before=[(b"PLTE", bytes(771))])), "palette is not valid"),
    "a short gamma": (write(make(before=[(b"gAMA", b"\0")])), "too short"),
    "a profile of unknown compression": (write(make(before=[(b"iCCP", b"name\0\1x")])), "compression"),
    "an unknown critical chunk": (write(make(before=[(b"CgBI", b"")])), "no decoder"),
    "a chunk without a name": (write(make(before=[(b"a\0bc", b"")])), "no decoder"),
    "a transparent colour that is cut short": (
        write([header(5, 3, 8, 2), (b"tRNS", b"\0"), (b"IDAT", zlib.compress(rows(5, 3, 8, 2))), END]),
        "too short",
    ),
    "a transparent colour after the pixels": (
        write([header(5, 3, 8, 2), (b"IDAT", zlib.compress(rows(5, 3, 8, 2))), (b"tRNS", bytes(6)), END]),
        "without transparency",
    ),
    "more transparent colours than colours": (
        write([header(1, 1, 8, 3), (b"PLTE", bytes(3)), (b"tRNS", b"\0\0"), (b"IDAT", zlib.compress(b"\0\0")), END]),
        "without transparency",
    ),
    "a frame out of order": (write(make(before=[(b"fcTL", b"\0\0\0\1" + FRAME[4:])])), "out of order"),
    "a first frame that is not whole": (write(make(before=[(b"fcTL", FRAME[:7] + b"\4" + FRAME[8:])])), "wrong size"),
    "a frame before the pixels": (write(make(before=[(b"fcTL", FRAME), (b"fdAT", b"\0\0\0\1")])), "out of order"),
    "a frame beyond the image": (
        write([*make()[:-1], (b"fcTL", FRAME[:15] + b"\1" + FRAME[16:]), END]),
        "wrong size",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_image_is_refused_with_its_reason(name: str) -> None:
    content, reason = BROKEN[name]
    with pytest.raises(ResultInvalid, match=reason):
        png.verify(io.BytesIO(content), lambda: None)


def mutate(chunks: list[Chunk], chance: random.Random) -> list[Chunk]:
    """Damages a PNG in a way that no checksum shows: each chunk's CRC is right."""
    chunks = list(chunks)
    at = chance.randrange(len(chunks))
    kind, data = chunks[at]
    match chance.randrange(10):
        case 0:  # another value in the header, but not an image too large to load here
            index = chance.choice((2, 3, 6, 7, 8, 9, 10, 11, 12))
            value = chance.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 16, chance.randrange(256)))
            chunks[0] = (b"IHDR", chunks[0][1][:index] + bytes([value]) + chunks[0][1][index + 1 :])
        case 1:
            del chunks[at]
        case 2:
            chunks.insert(chance.randrange(len(chunks)), chunks[at])
        case 3:
            other = chance.randrange(len(chunks))
            chunks[at], chunks[other] = chunks[other], chunks[at]
        case 4:
            chunks[at] = (kind, data[: chance.randrange(len(data) + 1)])
        case 5:
            chunks[at] = (kind, data + chance.randbytes(chance.randrange(1, 9)))
        case 6 if data:
            index = chance.randrange(len(data))
            chunks[at] = (kind, data[:index] + chance.randbytes(1) + data[index + 1 :])
        case 7:  # other rows, well packed
            raw = bytearray(zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT")))
            start = chance.randrange(len(raw))
            raw[start : start + chance.randrange(60)] = chance.randbytes(chance.randrange(60))
            first = next(index for index, (kind, _) in enumerate(chunks) if kind == b"IDAT")
            chunks = [chunk for chunk in chunks if chunk[0] != b"IDAT"]
            chunks.insert(first, (b"IDAT", zlib.compress(bytes(raw))))
        case 8 if len(data) > 1:  # in two, with something in between
            middle = chance.randrange(len(data))
            between = [(chance.choice((b"tEXt", b"prVt", b"tRNS", b"PLTE", b"gAMA")), chance.randbytes(5))]
            chunks[at : at + 1] = [(kind, data[:middle]), *between, (kind, data[middle:])]
        case _:
            name = bytes(chance.choice(b"ABCIDATRNSPLTEcdefx\0 _9") for _ in range(4))
            chunks.insert(chance.randrange(len(chunks)), (name, chance.randbytes(chance.randrange(12))))
    return chunks


def mutants(seed: int, number: int) -> Iterator[bytes]:
    chance = random.Random(seed)
    originals = [split(content) for name, content in GOOD.items() if name != "more after its end"]
    for _ in range(number):
        content = write(mutate(chance.choice(originals), chance))
        yield content[: chance.randrange(len(content))] if chance.random() < 0.05 else content


def test_an_image_that_pillow_cannot_load_is_refused() -> None:
    broken = [content for content in mutants(seed=1, number=4_000) if not loads(content)]
    assert len(broken) > 1_000
    assert [content.hex() for content in broken if passes(content)] == []


def test_a_bomb_is_refused_before_it_is_inflated() -> None:
    bomb = zlib.compress(bytes(100_000_000), 9)
    content = write([header(), (b"IDAT", bomb), END])
    tracemalloc.start()
    try:
        assert not passes(content)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_memory_is_flat_however_large_the_image() -> None:
    content = write(make(3000, 2000, pixels=(b"\0" + bytes(12_000)) * 2000))
    file = io.BytesIO(content)
    tracemalloc.start()
    try:
        png.verify(file, lambda: None)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_the_deadline_is_checked_while_pixels_are_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    content = write(make(3000, 2000, pixels=(b"\0" + bytes(12_000)) * 2000))
    pieces = 0

    def check_time() -> None:
        nonlocal pieces
        pieces += 1
        if pieces > 10:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        png.verify(io.BytesIO(content), check_time)
