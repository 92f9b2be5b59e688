from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remove_background.models import Cutout, cutout_metadata
from remove_background.uploads import Upload

KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda key: len(key.encode()) <= 1024)


def cutout_of(upload: Upload) -> Cutout:
    return Cutout.from_metadata('"etag"', cutout_metadata(upload))


@given(key=KEYS, other=KEYS)
def test_a_cutout_knows_its_source_whatever_its_key(key: str, other: str) -> None:
    cutout = cutout_of(Upload("input", key, etag="e"))
    assert cutout.is_of(Upload("input", key, etag="e"))
    assert not cutout.is_of(Upload("input", key, etag="f"))
    assert cutout.is_of_key(Upload("input", other, etag="e")) == (key == other)
    assert not cutout.is_of_key(Upload("another-stacks-input", key, etag="e"))


@given(key=KEYS)
def test_metadata_fits_into_an_http_header_and_into_s3s_two_kilobytes(key: str) -> None:
    metadata = cutout_metadata(Upload("b" * 63, key, etag="e" * 40, version_id="v" * 40, sequencer="s" * 40))
    assert sum(len(name) + len(value) for name, value in metadata.items()) <= 2048
    assert all(value.isascii() and value.isprintable() and value == value.strip() for value in metadata.values())


@pytest.mark.parametrize(
    ("mine", "theirs", "newer"),
    [
        ("0055AED6DCD90281E5", "0055AED6DCD90281E6", True),
        ("0055AED6DCD90281E6", "0055AED6DCD90281E5", False),
        ("0055AED6DCD90281E5", "0055AED6DCD90281E5", False),
        ("0055AED6DCD90281E5", "0055aed6dcd90281e6", True),
        ("0055", "00550001", True),
        ("0055", "005500", False),
        ("00550001", "0055", False),
        ("9", "10", False),
        (None, "0055", False),
        ("0055", None, False),
    ],
)
def test_sequencers_compare_padded_on_the_right(
    make_upload: Callable[..., Upload], mine: str | None, theirs: str | None, newer: bool
) -> None:
    cutout = cutout_of(make_upload(sequencer=theirs, etag="other"))
    assert cutout.is_newer_than(make_upload(sequencer=mine)) is newer


def test_an_object_without_metadata_is_nobodys_cutout(make_upload: Callable[..., Upload]) -> None:
    assert not Cutout.from_metadata('"etag"', {}).is_of_key(make_upload())


HEXADECIMAL = st.text("0123456789ABCDEF", min_size=1, max_size=20)


@given(mine=HEXADECIMAL, theirs=HEXADECIMAL)
def test_sequencers_compare_as_numbers_once_they_are_of_one_length(mine: str, theirs: str) -> None:
    length = max(len(mine), len(theirs))
    newer = int(theirs.ljust(length, "0"), 16) > int(mine.ljust(length, "0"), 16)
    cutout = cutout_of(Upload("input", "k", etag="other", sequencer=theirs))
    assert cutout.is_newer_than(Upload("input", "k", etag="e", sequencer=mine)) is newer
