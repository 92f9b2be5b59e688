"""Compares preflight with Pillow, on every kind of file that a format's writers are known to produce."""

import contextlib
import functools
import io
import struct
import zlib
from collections.abc import Callable, Iterator

import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from remove_background.errors import Rejected
from remove_background.preflight import check, read_header

HEAD_BYTES = 65_536
SIZES = ((64, 64), (65, 97), (97, 65), (200, 121), (64, 6000), (6000, 64))
MODES_OF_PNG = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # colour type: bit depths
ADAM7 = ((0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2), (0, 1, 1, 2))

Samples = Iterator[tuple[str, bytes]]


def image(mode: str = "RGB", size: tuple[int, int] = (97, 65)) -> Image.Image:
    return Image.linear_gradient("L").resize(size).convert(mode)


def save(picture: Image.Image, format_: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, format_, **options)
    return file.getvalue()


def save_heif(first: Image.Image, *others: Image.Image, **options: object) -> bytes:
    heif = pillow_heif.from_pillow(first)
    for picture in others:
        heif.add_from_pillow(picture)
    file = io.BytesIO()
    heif.save(file, quality=50, **options)
    return file.getvalue()


def exif(orientation: int = 1, thumbnail: bytes = b"", padding: int = 0) -> bytes:
    block = Image.Exif()
    block[0x0112] = orientation
    block[0x927C] = thumbnail + bytes(padding)  # MakerNote: any bytes
    return block.tobytes()


def jpeg_samples() -> Samples:
    for size in SIZES:
        yield f"baseline {size}", save(image(size=size), "JPEG")
        yield f"progressive {size}", save(image(size=size), "JPEG", progressive=True)
    yield "largest", save(Image.new("L", (6000, 6000)), "JPEG")
    for mode in ("1", "L", "CMYK", "YCbCr"):
        yield mode, save(image(mode), "JPEG")
    for subsampling in ("4:4:4", "4:2:2", "4:2:0"):
        yield f"subsampled {subsampling}", save(image(), "JPEG", subsampling=subsampling)
    yield "restart markers", save(image(), "JPEG", restart_marker_blocks=1)
    yield "comment", save(image(), "JPEG", comment=b"\xff\xd8\xff\xc0" * 9000)
    thumbnail = save(image(size=(40, 30)), "JPEG")
    yield "Exif with a thumbnail", save(image(), "JPEG", exif=exif(6, thumbnail))
    yield "Exif of 60 kB", save(image(), "JPEG", exif=exif(1, thumbnail, 60_000))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    yield "ICC profile", save(image(), "JPEG", icc_profile=profile)
    yield "ICC profile of 60 kB", save(image(), "JPEG", icc_profile=bytes(60_000))
    yield "ICC profile of 100 kB", save(image(), "JPEG", icc_profile=bytes(100_000))
    yield (
        "Exif and ICC profile of 50 kB each",
        save(image(), "JPEG", exif=exif(padding=50_000), icc_profile=bytes(50_000)),
    )
    plain = save(image(), "JPEG")
    frame = plain.index(b"\xff\xc0")
    yield "fill bytes", plain[:frame] + b"\xff" * 5 + plain[frame:]
    yield "arithmetic", plain.replace(b"\xff\xc0", b"\xff\xc9", 1)
    yield "several pictures", save(image(), "MPO", save_all=True, append_images=[image(size=(80, 70))])


def png(width: int, height: int, depth: int, colour: int, interlaced: bool) -> bytes:
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    passes = ADAM7 if interlaced else ((0, 1, 0, 1),)
    raw = b"".join(
        bytes(1 + (len(range(left, width, right)) * bits + 7) // 8) * len(range(top, height, down))
        for left, right, top, down in passes
    )
    header = struct.pack(">LLBBBBB", width, height, depth, colour, 0, 0, interlaced)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    if colour == 3:
        chunks.insert(1, (b"PLTE", bytes(6)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data)) for kind, data in chunks
    )


def png_samples() -> Samples:
    for size in SIZES:
        yield f"plain {size}", save(image(size=size), "PNG")
    for colour, depths in MODES_OF_PNG.items():
        for depth in depths:
            yield f"colour type {colour}, {depth} bits", png(97, 65, depth, colour, interlaced=False)
            yield f"colour type {colour}, {depth} bits, interlaced", png(65, 97, depth, colour, interlaced=True)
    yield "largest", png(6000, 6000, 1, 0, interlaced=False)
    yield "Exif and ICC profile", save(image(), "PNG", exif=exif(6, padding=90_000), icc_profile=bytes(90_000))
    yield "animated", save(image("RGBA"), "PNG", save_all=True, append_images=[image("RGBA").rotate(90)])


def webp_samples() -> Samples:
    for size in SIZES:
        for lossless in (False, True):
            for mode in ("RGB", "RGBA"):
                yield (
                    f"lossless {lossless}, {mode} {size}",
                    save(image(mode, size), "WEBP", lossless=lossless, method=0),
                )
    yield "Exif", save(image(), "WEBP", exif=exif(6, padding=90_000))
    yield "ICC profile", save(image(), "WEBP", icc_profile=bytes(90_000))
    yield "XMP", save(image(), "WEBP", xmp=b"<x:xmpmeta/>")
    yield "animated", save(image(), "WEBP", save_all=True, append_images=[image().rotate(90)], duration=100)


def gif_with_frame(screen: tuple[int, int], left: int, top: int, frame: tuple[int, int]) -> bytes:
    blocks = [struct.pack("<HHBBB", *screen, 0x80, 0, 0), bytes(6)]
    blocks.append(struct.pack("<BHHHHB", 0x2C, left, top, *frame, 0))
    return b"GIF89a" + b"".join(blocks) + b"\x02\x02\x4c\x01\x00;"


def gif_samples() -> Samples:
    for size in SIZES:
        yield f"plain {size}", save(image("P", size), "GIF")
        yield f"interlaced {size}", save(image("L", size), "GIF", interlace=1)
    yield "89a", save(image("P"), "GIF", transparency=0, comment=b"!," * 400)
    yield "long comment", save(image("P"), "GIF", comment=b"!," * 40_000)
    yield "animated", save(image("P"), "GIF", save_all=True, append_images=[image("P").rotate(90)], loop=0)
    yield "frame smaller than the screen", gif_with_frame((97, 65), 3, 4, (20, 10))
    yield "frame larger than the screen", gif_with_frame((16, 16), 0, 0, (80, 70))
    no_palette = struct.pack("<HHBBB", 97, 65, 0, 0, 0)
    yield "no palette", b"GIF87a" + no_palette + struct.pack("<BHHHHB", 0x2C, 0, 0, 97, 65, 0) + b"\x02\0;"


def bmp(header_size: int, width: int, height: int, bits: int = 24, compression: int = 0) -> bytes:
    if header_size == 12:
        header = struct.pack("<LHHHH", 12, width, height, 1, bits)
    else:
        pixels = struct.pack("<LllHHLLLLLL", header_size, width, height, 1, bits, compression, 0, 0, 0, 0, 0)
        header = pixels[:header_size].ljust(header_size, b"\0")
    data = bytes(((width * bits + 31) // 32 * 4) * abs(height))
    start = 14 + len(header)
    return b"BM" + struct.pack("<LHHL", start + len(data), 0, 0, start) + header + data


def bmp_samples() -> Samples:
    for size in SIZES:
        yield f"plain {size}", save(image(size=size), "BMP")
    for mode in ("1", "L", "P", "RGBA"):
        yield mode, save(image(mode), "BMP")
    for header_size in (12, 40, 52, 56, 64, 108, 124):
        yield f"header of {header_size} bytes", bmp(header_size, 97, 65)
    yield "top-down", bmp(40, 97, -65)
    yield "run-length", bmp(40, 97, 65, bits=8, compression=1)
    yield "largest", bmp(40, 6000, 6000)[:100_000]
    yield "largest of OS/2", bmp(12, 6000, 6000)[:100_000]


def tiff(
    order: str, big: bool = False, at_end: bool = False, kind: int = 4, entries: dict[int, int] | None = None
) -> bytes:
    """A grey image of 97x65 pixels, its directory before or after its pixels, its numbers of a kind (3: short)."""
    number, count, length = ("Q", "Q", 20) if big else ("L", "H", 12)
    start = 16 if big else 8
    tags = {256: 97, 257: 65, 258: 8, 259: 1, 262: 1, 273: 0, 277: 1, 278: 65, 279: 97 * 65} | (entries or {})
    directory_size = struct.calcsize("=" + count) + length * len(tags) + struct.calcsize("=" + number)
    pixels = bytes(97 * 65)
    tags[273] = start if at_end else start + directory_size
    directory = struct.pack(order + count, len(tags))
    for tag, value in sorted(tags.items()):
        field = struct.pack(order + {3: "H", 4: "L"}[kind], value).ljust(8 if big else 4, b"\0")
        directory += struct.pack(order + "HH" + number, tag, kind, 1) + field
    directory += bytes(struct.calcsize("=" + number))
    magic = b"II" if order == "<" else b"MM"
    magic += struct.pack(order + "HHH", 43, 8, 0) if big else struct.pack(order + "H", 42)
    magic += struct.pack(order + number, start + len(pixels) if at_end else start)
    return magic + (pixels + directory if at_end else directory + pixels)


def tiff_samples() -> Samples:
    for size in SIZES:
        yield f"plain {size}", save(image(size=size), "TIFF")
    for mode in ("1", "L", "P", "RGBA", "CMYK", "I;16", "I;16B", "F"):
        yield mode, save(Image.new(mode, (97, 65)), "TIFF")
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        yield compression, save(image(size=(200, 121)), "TIFF", compression=compression)
    yield "directory beyond the head", save(Image.effect_noise((300, 300), 90), "TIFF", compression="tiff_lzw")
    yield "several pages", save(image(), "TIFF", save_all=True, append_images=[image(size=(20, 10))])
    yield "BigTIFF", save(image(), "TIFF", big_tiff=True)
    yield "Exif and ICC profile", save(image(), "TIFF", exif=exif(6, padding=90_000), icc_profile=bytes(90_000))
    for order in "<>":
        for at_end in (False, True):
            for kind in (3, 4):
                for big in (False, True) if order == "<" else (False,):  # Pillow reads no big-endian BigTIFF
                    name = f"{order} big {big}, directory at the end {at_end}, numbers of kind {kind}"
                    yield name, tiff(order, big, at_end, kind)
    yield "smaller copy first", tiff("<", entries={254: 1})


def avif_samples() -> Samples:
    for size in SIZES[:4]:
        for orientation in (1, 2, 5, 6, 8):
            yield f"orientation {orientation} {size}", save(image(size=size), "AVIF", speed=10, exif=exif(orientation))
    for mode in ("L", "RGBA"):
        yield mode, save(image(mode), "AVIF", speed=10)
    yield "Exif of 90 kB", save(image(), "AVIF", speed=10, exif=exif(padding=90_000))
    yield "ICC profile of 90 kB", save(image(), "AVIF", speed=10, icc_profile=bytes(90_000))
    yield "animated", save(image(), "AVIF", speed=10, save_all=True, append_images=[image().rotate(90)])


def heif_samples() -> Samples:
    for size in ((64, 64), (96, 66), (66, 96), (300, 200), (65, 97)):
        for orientation in (1, 2, 5, 6, 8):
            picture = image(size=size)
            picture.info["exif"] = exif(orientation)
            yield f"orientation {orientation} {size}", save_heif(picture)
    for mode in ("L", "RGBA"):
        yield mode, save_heif(image(mode, (96, 66)))
    yield "Exif of 90 kB", save_heif(image(size=(96, 66)), exif=exif(padding=90_000))
    yield "several pictures", save_heif(image(size=(96, 66)), image(size=(70, 80)), primary_index=1)


WRITERS: dict[str, Callable[[], Samples]] = {
    "jpeg": jpeg_samples,
    "png": png_samples,
    "webp": webp_samples,
    "gif": gif_samples,
    "bmp": bmp_samples,
    "tiff": tiff_samples,
    "avif": avif_samples,
    "heif": heif_samples,
}


@functools.cache
def samples(format_: str) -> dict[str, bytes]:
    return dict(WRITERS[format_]())


def truth(data: bytes) -> tuple[str, int, int]:
    if pillow_heif.is_supported(data) and data[8:11] != b"avi":
        return ("heif", *pillow_heif.open_heif(data).size)
    with Image.open(io.BytesIO(data)) as picture:
        name = (picture.format or "").lower()
        return ("jpeg" if name == "mpo" else name, *picture.size)  # a JPEG with more JPEGs behind it


# Images whose size is not in their first 64 KiB, and why.
UNTOLD = {
    "jpeg": {"ICC profile of 100 kB", "Exif and ICC profile of 50 kB each"},  # the frame header comes after them
    "gif": {
        "long comment",  # the first frame comes after it
        "frame larger than the screen",  # decoders differ
    },
    "tiff": {
        "directory beyond the head",
        "smaller copy first",  # the photo's own directory may be anywhere
    },
    "avif": {"ICC profile of 90 kB"},  # the profile comes before the size
    # The encoder pads odd sides and asks for a crop, which not every decoder honours.
    "heif": {f"orientation {orientation} (65, 97)" for orientation in (1, 2, 5, 6, 8)},
}


@pytest.mark.parametrize("format_", WRITERS)
def test_agrees_with_pillow_or_says_that_it_cannot_tell(format_: str) -> None:
    untold = set()
    for name, data in samples(format_).items():
        header = read_header(data[:HEAD_BYTES])
        true_format, *true_size = truth(data)
        assert header.format == true_format == format_, name
        if header.width is None:
            untold.add(name)
        else:  # Pillow reports HEIF turned upright, TIFF too, and AVIF as it is stored
            assert [header.width, header.height] in (true_size, true_size[::-1]), name
            assert "orientation" in name or "Exif" in name or [header.width, header.height] == true_size, name
    assert untold == UNTOLD.get(format_, set())


@pytest.mark.parametrize("format_", WRITERS)
def test_rejects_no_valid_image_within_the_limits(format_: str) -> None:
    for data in samples(format_).values():
        check(data[:HEAD_BYTES], len(data))
        check(data, len(data))


@pytest.mark.parametrize("format_", WRITERS)
@settings(max_examples=50)  # of each format
@given(data=st.data())
def test_a_shorter_head_reveals_the_same_or_less(format_: str, data: st.DataObject) -> None:
    image_ = data.draw(st.sampled_from(list(samples(format_).values())), label="image")
    whole, head = read_header(image_), image_[: data.draw(st.integers(32, 1500), label="bytes of the head")]
    header = check(head, len(head) + 1)  # a file is not malformed while more of it follows
    assert header.format == whole.format
    assert (header.width, header.height) in ((whole.width, whole.height), (None, None))


@pytest.mark.parametrize("format_", WRITERS)
@settings(max_examples=50)  # of each format
@given(data=st.data())
def test_damaged_files_raise_nothing_but_rejected(format_: str, data: st.DataObject) -> None:
    head = bytearray(data.draw(st.sampled_from(list(samples(format_).values())), label="image")[:HEAD_BYTES])
    del head[data.draw(st.integers(0, 1500), label="cut at") :]
    for at, byte in data.draw(
        st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=8), label="damage"
    ):
        if at < len(head):
            head[at] = byte
    with contextlib.suppress(Rejected):
        header = check(bytes(head), len(head))
        assert (header.width is None) == (header.height is None)
