import contextlib
import io
import struct
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remove_background.errors import (
    FileSizeTooLarge,
    MalformedImage,
    Rejected,
    ResolutionTooHigh,
    ResolutionTooLow,
    UnsupportedImageFormat,
)
from remove_background.preflight import Header, check, read_header

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR"


def png(width: int, height: int) -> bytes:
    return PNG + struct.pack(">LL", width, height)


def jpeg(width: int, height: int, before: bytes = b"\xff\xe0\0\x04\0\0") -> bytes:
    return b"\xff\xd8" + before + b"\xff\xc0\0\x0b\x08" + struct.pack(">HH", height, width)


def bmp(width: int, height: int) -> bytes:
    return b"BM" + bytes(12) + struct.pack("<Lll", 40, width, height)


def tiff(*entries: tuple[int, int, int], order: str = "<") -> bytes:
    directory = b"".join(struct.pack(order + "HHLL", tag, kind, 1, value) for tag, kind, value in entries)
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(order + "LH", 8, len(entries)) + directory


def box(kind: bytes, *content: bytes) -> bytes:
    data = b"".join(content)
    return struct.pack(">L4s", 8 + len(data), kind) + data


FTYP = box(b"ftyp", b"heic\0\0\0\0mif1heic")
SIZES = (box(b"ispe", bytes(4), struct.pack(">LL", 40, 30)), box(b"ispe", bytes(4), struct.pack(">LL", 400, 300)))
FIRST_ITEM_IS_SMALL = b"\0\0\0\0" + struct.pack(">LHBBHBB", 2, 1, 1, 0x81, 2, 1, 0x82)
PRIMARY_IS_SECOND = box(b"pitm", b"\0\0\0\0\0\x02")


def heif(*, properties: tuple[bytes, ...] = SIZES, associations: bytes = FIRST_ITEM_IS_SMALL) -> bytes:
    parts = box(b"iprp", box(b"ipco", *properties), box(b"ipma", associations))
    return FTYP + box(b"meta", bytes(4), PRIMARY_IS_SECOND, parts)


@pytest.mark.parametrize(("width", "height"), [(64, 64), (6000, 6000), (64, 6000), (6000, 64)])
def test_sizes_at_the_limits_pass(width: int, height: int) -> None:
    assert check(png(width, height), 1000) == Header("png", width, height)


@pytest.mark.parametrize(("width", "height"), [(6001, 6000), (6000, 6001), (6001, 63), (2**31 - 1, 64)])
def test_more_than_6000_pixels_are_too_many(width: int, height: int) -> None:
    with pytest.raises(ResolutionTooHigh, match=f"{width}x{height}"):
        check(png(width, height), 1000)


@pytest.mark.parametrize(("width", "height"), [(63, 64), (64, 63), (1, 6000)])
def test_fewer_than_64_pixels_are_too_few(width: int, height: int) -> None:
    with pytest.raises(ResolutionTooLow, match=f"{width}x{height}"):
        check(png(width, height), 1000)


@pytest.mark.parametrize("size", [25_000_000, 25_000_001, 26_214_400])
def test_a_size_of_25_mb_by_either_definition_is_left_to_the_api(size: int) -> None:
    assert check(png(100, 100), size) == Header("png", 100, 100)


@pytest.mark.parametrize("head", [png(100, 100), png(6001, 100), b"%PDF-1.7", b"junk"])
def test_more_than_25mb_are_too_large_whatever_the_file_is(head: bytes) -> None:
    with pytest.raises(FileSizeTooLarge, match="26,214,401"):
        check(head, 26_214_401)


def test_an_empty_file_is_malformed() -> None:
    with pytest.raises(MalformedImage, match="empty"):
        check(b"", 0)


def zip_file() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("word/document.xml", "<w:document/>")
    return file.getvalue()


NO_IMAGES = {
    "PDF": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3",
    "ZIP or Office": zip_file(),
    "old Office": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0",
    "gzip": b"\x1f\x8b\x08\0\0",
    "7-Zip": b"7z\xbc\xaf\x27\x1c\0\x04",
    "RAR": b"Rar!\x1a\x07\x01\0",
    "MP4": box(b"ftyp", b"isom\0\0\x02\0isomiso2avc1mp41"),
    "QuickTime": box(b"ftyp", b"qt  \0\0\0\0qt  "),
    "Matroska": b"\x1a\x45\xdf\xa3\x01\0",
    "AVI": b"RIFF\x10\0\0\0AVI LIST",
    "WAVE": b"RIFF\x10\0\0\0WAVEfmt ",
    "MP3": b"ID3\x03\0\0\0",
    "Ogg": b"OggS\0\x02",
    "FLAC": b"fLaC\0\0\0\x22",
    "Linux program": b"\x7fELF\x02\x01",
    "Windows program": b"MZ\x90\0\x03\0",
    "HTML": b"\n<!DOCTYPE html>\n<html><body>404</body></html>",
    "HTML with a stray control character": b"<html lang='en'>\0</html>",
    "JSON": b'{"error": "no such key"}',
    "text": b"BMW and GIF: a list\r\n",
    "text that begins with a byte order mark": b"\xef\xbb\xbf\xc3\xa9t\xc3\xa9",
    "text cut within a character": "größe und gewicht".encode()[:4],
}


@pytest.mark.parametrize("name", NO_IMAGES)
def test_a_file_that_is_certainly_not_an_image_is_unsupported(name: str) -> None:
    with pytest.raises(UnsupportedImageFormat):
        check(NO_IMAGES[name], 10_000)


IN_DOUBT = {
    "SVG": b'<?xml version="1.0"?><svg width="10" height="10"/>',
    "SVG with a byte order mark": b"\xef\xbb\xbf<svg/>",
    "PPM in text": b"P3 10 10 255 0 0 0",
    "XPM": b"/* XPM */ static char *x[] = {",
    "XBM": b"#define x_width 10",
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0",
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n",
    "JPEG XL": b"\0\0\0\x0cJXL \r\n\x87\n",
    "Photoshop": b"8BPS\0\x01",
    "icon": b"\0\0\x01\0\x01\0\x10\x10",
    "camera raw": box(b"ftyp", b"crx \0\0\0\x01crx isom"),
    "Latin-1 text": b"caf\xe9 au lait",
    "blanks": b"\r\n",
    "the start of a JPEG": b"\xff\xd8",
    "bytes": bytes(range(256)),
}


@pytest.mark.parametrize("name", IN_DOUBT)
def test_a_file_that_may_be_an_image_is_left_to_the_api(name: str) -> None:
    data = IN_DOUBT[name]
    assert check(data, len(data)) == check(data, 10_000) == Header(None, None, None)


WHOLE = {
    "jpeg": jpeg(100, 90),
    "png": png(100, 90),
    "gif": b"GIF89a" + struct.pack("<HHBBBBHHHH", 100, 90, 0, 0, 0, 0x2C, 0, 0, 100, 90),
    "webp": b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\x63\0\0\x59\0\0",
    "bmp": bmp(100, 90),
    "tiff": tiff((256, 4, 100), (257, 4, 90)),
    "heif": heif()[:-20],
}


@pytest.mark.parametrize("format_", [name for name in WHOLE if name != "heif"])
def test_the_shortest_header_that_holds_the_size_is_enough(format_: str) -> None:
    head = WHOLE[format_]
    assert check(head, len(head)) == Header(format_, 100, 90)


@pytest.mark.parametrize("format_", WHOLE)
def test_a_file_that_ends_within_its_header_is_malformed(format_: str) -> None:
    head = WHOLE[format_][:-1]
    with pytest.raises(MalformedImage, match=format_):
        check(head, len(head))


@pytest.mark.parametrize("format_", WHOLE)
def test_a_header_longer_than_the_first_bytes_is_left_to_the_api(format_: str) -> None:
    head = WHOLE[format_][:-1]
    assert check(head, len(head) + 1) == Header(format_, None, None)


@pytest.mark.parametrize(
    "head",
    [
        png(2**31, 100),
        png(0, 100),
        jpeg(100, 0),  # the number of lines comes after the first scan
        bmp(-100, 100),
        bmp(100, 0),
        tiff((256, 4, 0), (257, 4, 100)),
    ],
)
def test_a_size_that_the_format_could_not_hold_is_unknown(head: bytes) -> None:
    header = check(head, len(head))
    assert (header.width, header.height) == (None, None)


def test_a_png_that_does_not_begin_with_its_header_is_unknown() -> None:
    apple = b"\x89PNG\r\n\x1a\n\0\0\0\x04CgBI" + bytes(8) + png(10, 10)[8:]
    assert check(apple, len(apple)) == Header("png", None, None)


@pytest.mark.parametrize(
    "before",
    [
        b"",
        b"\xff\xe1\0\x08\xff\xc0\0\x0b\xff\xd8",  # a marker within a segment
        b"\xff\xff\xff\xfe\0\x02",  # fill bytes
        b"\xff\xe0\0\x02\0\0\xff\0\0",  # bytes between segments
        b"\xff\x01\xff\xd0",  # markers without a length
        b"\xff\xc4\0\x04\0\0",  # a table whose marker lies among those of the frame headers
    ],
)
def test_finds_the_frame_header_of_a_jpeg(before: bytes) -> None:
    assert read_header(jpeg(100, 90, before)) == Header("jpeg", 100, 90)


@pytest.mark.parametrize("end", [b"\xff\xd9", b"\xff\xda\0\x02"])
def test_a_jpeg_whose_image_comes_before_its_frame_header_is_unknown(end: bytes) -> None:
    assert read_header(jpeg(100, 90, end)) == Header("jpeg", None, None)


@pytest.mark.parametrize("frame", [(1, 0, 100, 90), (0, 1, 100, 90), (0, 0, 101, 90), (0, 0, 100, 91)])
def test_a_gif_whose_first_frame_leaves_its_screen_is_unknown(frame: tuple[int, int, int, int]) -> None:
    head = b"GIF89a" + struct.pack("<HHBBBBHHHH", 100, 90, 0, 0, 0, 0x2C, *frame)
    assert check(head, len(head)) == Header("gif", None, None)


def test_the_scale_of_a_lossy_webp_is_not_part_of_its_size() -> None:
    head = b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 0x4000 | 100, 0x8000 | 90)
    assert read_header(head) == Header("webp", 100, 90)


def test_a_webp_of_an_unknown_kind_is_unknown() -> None:
    assert check(b"RIFF\0\0\0\0WEBPVP9 ", 16) == Header("webp", None, None)


def test_the_sides_of_an_os2_bitmap_are_short_numbers() -> None:
    assert read_header(b"BM" + bytes(12) + struct.pack("<LHH", 12, 100, 90)) == Header("bmp", 100, 90)


def test_reads_a_big_endian_bigtiff() -> None:
    entries = struct.pack(">HHQQ", 256, 16, 1, 100) + struct.pack(">HHQHHL", 257, 3, 1, 90, 0, 0)
    assert read_header(struct.pack(">2sHHHQQ", b"MM", 43, 8, 0, 16, 2) + entries) == Header("tiff", 100, 90)


@pytest.mark.parametrize(
    "entries",
    [
        (),
        ((256, 4, 10),),
        ((256, 5, 10), (257, 5, 10)),  # fractions
        ((254, 4, 1), (256, 4, 10), (257, 4, 10)),  # a smaller copy of the photo
    ],
)
def test_a_tiff_whose_first_directory_does_not_hold_the_photos_size_is_unknown(
    entries: tuple[tuple[int, int, int], ...],
) -> None:
    head = tiff(*entries)
    assert check(head, len(head)) == Header("tiff", None, None)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_whose_directory_lies_beyond_its_end_is_malformed(order: str) -> None:
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "L", 2**32 - 1)
    with pytest.raises(MalformedImage):
        check(head, len(head))
    big = (b"II+\0" if order == "<" else b"MM\0+") + struct.pack(order + "HHQ", 8, 0, 2**64 - 1)
    with pytest.raises(MalformedImage):
        check(big, len(big))


@pytest.mark.parametrize(
    "associations",
    [
        FIRST_ITEM_IS_SMALL,
        b"\x01\0\0\0" + struct.pack(">LLBBLBB", 2, 1, 1, 1, 2, 1, 2),
        b"\0\0\0\x01" + struct.pack(">LHBHHBH", 2, 1, 1, 0x8001, 2, 1, 0x8002),
        b"\0\0\0\0" + struct.pack(">LHBBBB", 1, 2, 3, 0, 9, 2),  # numbers of no property
    ],
)
def test_the_size_of_a_heif_is_that_of_its_primary_item(associations: bytes) -> None:
    assert read_header(heif(associations=associations)) == Header("heif", 400, 300)


@pytest.mark.parametrize(
    "head",
    [
        FTYP + box(b"moov", bytes(40)),
        heif(associations=b"\0\0\0\0" + struct.pack(">LHBB", 1, 1, 1, 1)),  # the primary item has no properties
        heif(properties=(SIZES[0], box(b"colr"))),
        heif(properties=(SIZES[0], box(b"clap", bytes(32)))),
        FTYP + b"\0\0\0\x03meta",  # a box smaller than its own header
    ],
)
def test_a_heif_that_does_not_hold_its_size_is_unknown(head: bytes) -> None:
    assert check(head, len(head)) == Header("heif", None, None)


def test_a_cropped_heif_is_unknown() -> None:
    cropped = b"\0\0\0\0" + struct.pack(">LHBBB", 1, 2, 2, 1, 2)
    head = heif(properties=(SIZES[1], box(b"clap", bytes(32))), associations=cropped)
    assert check(head, len(head)) == Header("heif", None, None)


def test_a_heif_may_have_boxes_of_any_form() -> None:
    long_box = struct.pack(">L4sQ", 1, b"free", 20) + bytes(4)
    meta = heif()[len(FTYP) :]
    to_the_end = struct.pack(">L", 0) + meta[4:]
    assert read_header(FTYP + long_box + to_the_end) == Header("heif", 400, 300)


@pytest.mark.parametrize(
    ("brands", "format_"),
    [
        (b"avif\0\0\0\0mif1", "avif"),
        (b"mif1\0\0\0\0avif", "avif"),
        (b"mif1\0\0\0\0heic", "heif"),
        (b"isom\0\0\0\0heic", "heif"),
    ],
)
def test_the_brands_tell_avif_from_other_heif(brands: bytes, format_: str) -> None:
    assert read_header(box(b"ftyp", brands)).format == format_


STARTS = [
    b"",
    b"\xff\xd8\xff",
    PNG,
    b"GIF89a",
    b"RIFF\0\0\0\0WEBPVP8",
    b"BM",
    b"II*\0",
    b"MM\0+",
    FTYP,
    FTYP + b"\0\0\0\xffmeta",
]


@given(start=st.sampled_from(STARTS), rest=st.binary(max_size=600))
def test_no_bytes_raise_anything_but_rejected(start: bytes, rest: bytes) -> None:
    head = start + rest
    header = read_header(head)
    assert (header.width is None) == (header.height is None)
    with contextlib.suppress(Rejected):
        assert check(head, len(head)) == header
