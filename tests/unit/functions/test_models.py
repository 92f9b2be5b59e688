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
    ("mine", "theirs", "same"),
    [
        ("0055", "0055", True),
        ("0055", "0056", False),
        (None, "0055", False),
        ("0055", None, False),
        (None, None, False),
    ],
)
def test_a_cutout_belongs_only_to_the_upload_that_it_names(
    make_upload: Callable[..., Upload], mine: str | None, theirs: str | None, same: bool
) -> None:
    cutout = cutout_of(make_upload(sequencer=theirs))
    assert cutout.is_of_just(make_upload(sequencer=mine)) is same
    assert cutout.is_of(make_upload(sequencer=mine))
    for other in (make_upload(sequencer=mine, etag="other"), make_upload("other.jpg", sequencer=mine)):
        assert not cutout.is_of_just(other)


def test_an_object_without_metadata_belongs_to_no_upload(make_upload: Callable[..., Upload]) -> None:
    assert not Cutout.from_metadata('"etag"', {}).is_of_key(make_upload())
