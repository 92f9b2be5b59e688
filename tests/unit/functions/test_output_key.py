import pytest
from hypothesis import given
from hypothesis import strategies as st

from remove_background.errors import OutputKeyTooLong
from remove_background.output_key import OutputKey


@pytest.mark.parametrize(
    ("pattern", "key", "expected"),
    [
        ("{stem}.png", "photo.jpg", "photo.png"),
        ("{stem}.png", "photos/summer/cat.v2.jpeg", "photos/summer/cat.v2.png"),
        ("{stem}.png", "photos.2026/cat", "photos.2026/cat.png"),
        ("{stem}.png", ".hidden", ".hidden.png"),
        ("{stem}.png", "a{b}.jpg", "a{b}.png"),
        ("{key}.png", "photos/cat.jpg", "photos/cat.jpg.png"),
        ("{dir}cutouts/{name}-{ext}.png", "photos/cat.jpg", "photos/cutouts/cat-jpg.png"),
        ("{dir}cutouts/{name}.png", "cat.jpg", "cutouts/cat.png"),
        ("cutouts/{name}.png", "a/b/🐈.jpg", "cutouts/🐈.png"),
    ],
)
def test_a_cutout_is_named_after_its_upload(pattern: str, key: str, expected: str) -> None:
    assert OutputKey(pattern).of(key) == expected


@pytest.mark.parametrize(
    "pattern",
    ["", "cutout.png", "{ext}", "{dir}x.png", "{stem", "{stem}}", "{}", "{0}.png", "{stem.__class__}", "{stem[0]}",
     "{stem!r}.png", "{stem:>10}.png", "{bucket}/{stem}.png"],
)  # fmt: skip
def test_a_pattern_that_cannot_name_cutouts_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="must hold"):
        OutputKey(pattern)


@given(key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200))
def test_stem_is_folder_and_name(key: str) -> None:
    assert OutputKey("{stem}.png").of(key) == OutputKey("{dir}{name}.png").of(key)


def test_a_key_of_a_thousand_bytes_has_room_for_its_ending() -> None:
    assert len(OutputKey("{stem}.png").of("é" * 500)) == 504


def test_a_key_longer_than_s3_allows_is_rejected() -> None:
    assert len(OutputKey("{key}.png").of("k" * 1020)) == 1024
    with pytest.raises(OutputKeyTooLong):
        OutputKey("{key}.png").of("k" * 1021)


@given(
    prefix=st.text("ab/{}", min_size=1, max_size=4), begins=st.text("ab/", max_size=4), key=st.text("ab/.", min_size=1)
)
def test_cutouts_kept_clear_of_a_prefix_never_begin_with_it(prefix: str, begins: str, key: str) -> None:
    output_key = OutputKey(f"{begins}{{key}}.png")
    if output_key.keeps_clear_of(prefix):
        assert not output_key.of(key).startswith(prefix)


@pytest.mark.parametrize(
    ("pattern", "prefix", "clear"),
    [
        ("cutouts/{stem}.png", "uploads/", True),
        ("cutouts/{stem}.png", "cut", False),
        ("c{stem}.png", "cutouts/", False),
        ("{stem}.png", "uploads/", False),
        ("cutouts/{stem}.png", "", False),
    ],
)
def test_a_pattern_is_clear_of_a_prefix_when_its_beginning_differs(pattern: str, prefix: str, clear: bool) -> None:
    assert OutputKey(pattern).keeps_clear_of(prefix) is clear
