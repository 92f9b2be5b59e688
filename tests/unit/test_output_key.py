import pytest
from hypothesis import given
from hypothesis import strategies as st

from remove_background.cutout import OutputKey
from remove_background.errors import OutputKeyTooLong


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
