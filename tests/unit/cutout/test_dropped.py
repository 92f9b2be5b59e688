"""What a browser names gets the keys that `cutout upload` gives to the same files."""

import os
from pathlib import Path

import pytest

from cutout.operations.files import HIDDEN, SameKey, WrongFile, WrongPrefix, as_folder, find, find_dropped
from remove_background.output_key import OutputKey

OUTPUT_KEY = OutputKey("{stem}.png")
TREE = [
    "photos/a.jpg",
    "photos/trip/b c.png",
    "photos/.DS_Store",
    "photos/.git/x",
    "photos/.git/y",
    "photos/t/Thumbs.db",
]


def test_a_dropped_folder_gives_the_keys_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (*TREE, "one.jpg", ".named.jpg"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(os.fsencode(name))
    by_command, left_out = find([Path("one.jpg"), Path(".named.jpg"), Path("photos")], "2024/", OUTPUT_KEY)
    dropped = [(name, len(name)) for name in ("one.jpg", ".named.jpg", *TREE)]
    by_page, left_out_by_page = find_dropped(dropped, "2024/", OUTPUT_KEY)
    assert [file for file in by_page if file] == by_command
    assert [file is None for file in by_page] == [False] * 4 + [True] * 4
    assert left_out_by_page == left_out == {HIDDEN: 3}


def test_two_folders_with_the_same_names_are_refused() -> None:
    with pytest.raises(SameKey) as refused:
        find_dropped([("a/1.jpg", 1), ("b/1.jpg", 1)], "", OUTPUT_KEY)
    assert refused.value.fact == "b/1.jpg and a/1.jpg would both be 1.jpg in the bucket."


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("a" * 1021 + ".jpg", "would have 1,025 bytes; S3 allows 1,024."),
        ("\ud800.jpg", "is not UTF-8: rename it."),
        ("a" * 1022 + ".x", "The cutout's key would be longer than the 1,024 bytes"),
    ],
)
def test_a_name_that_s3_does_not_take_is_refused(path: str, sentence: str) -> None:
    with pytest.raises(WrongFile) as refused:
        find_dropped([(path, 1)], "", OUTPUT_KEY)
    assert sentence in str(refused.value)


def test_a_prefix_is_a_folder_below_that_of_the_stack() -> None:
    assert as_folder("in/2024", "in/") == "in/2024/"
    assert as_folder("", "") == ""
    with pytest.raises(WrongPrefix, match="the stack takes only keys that begin with in/"):
        as_folder("other", "in/")
