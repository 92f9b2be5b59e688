"""The listing of cutouts, and the names that they get in a ZIP."""

from datetime import UTC, datetime, timedelta

import pytest

from cutout.operations.entries import Entries, folders
from cutout.operations.zipped import Names

START = datetime(2026, 11, 29, 12, tzinfo=UTC)


def fill(entries: Entries, *keys: str) -> None:
    """Each is written a second after the one before."""
    entries.put((key, START + timedelta(seconds=number), 10 + number) for number, key in enumerate(keys))


def test_the_newest_come_first() -> None:
    entries = Entries()
    fill(entries, "b.png", "a.png", "c.png")

    assert entries.find() == ["c.png", "a.png", "b.png"]

    entries.put([("b.png", START + timedelta(hours=1), 7)])
    assert entries.find() == ["b.png", "c.png", "a.png"]
    assert entries.get("b.png") == ("b.png", START + timedelta(hours=1), 7)
    assert entries.size_of(["b.png", "c.png", "none"]) == 7 + 12


def test_keys_are_found_by_prefix_and_by_any_part_in_whatever_case() -> None:
    entries = Entries()
    fill(entries, "photos/Straße.png", "photos/dog.png", "DOG.png", "x%_*.png")

    assert entries.find("photos/") == ["photos/dog.png", "photos/Straße.png"]
    assert entries.find(text="dog") == ["DOG.png", "photos/dog.png"]
    assert entries.find("photos/", "STRASSE") == ["photos/Straße.png"]
    assert entries.find(text="%_*") == ["x%_*.png"]
    assert entries.find(text="[") == []


def test_folders_are_those_right_below_the_prefix() -> None:
    keys = ["a.png", "x/1.png", "x/y/2.png", "x/y/3.png", "/4.png"]

    assert folders(keys, "") == {"x/": 3, "/": 1}
    assert folders(keys[1:4], "x/") == {"x/y/": 2}


def test_the_oldest_are_forgotten_when_there_are_too_many() -> None:
    entries = Entries(most=200)
    fill(entries, *(f"{number:03}.png" for number in range(200)))
    assert not entries.is_full

    entries.put([("new.png", START + timedelta(hours=1), 1)])

    assert entries.is_full
    assert len(entries) == 198
    assert entries.get("000.png") is None
    assert entries.find()[0] == "new.png"


def test_what_is_gone_is_dropped() -> None:
    entries = Entries()
    fill(entries, "a.png", "b.png", "c.png")

    assert entries.drop("a.png")
    assert not entries.drop("a.png")
    entries.keep({"c.png", "unknown.png"})

    assert entries.find() == ["c.png"]


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("photos/été/b c.png", "photos/été/b c.png"),
        ("../a.png", None),
        ("a/../../b.png", None),
        ("/etc/passwd", None),
        ("a//b.png", None),
        ("./a.png", None),
        ("a\0.png", None),
        ("..\\..\\a.png", ".._.._a.png"),
        ("C:\\a.png", "C__a.png"),
        ("C:/a.png", "C_/a.png"),
        ('<b>"?*|.png', "_b_____.png"),
        ("a\r\n\x1b[31m.png", "a___[31m.png"),
        ("\u202egnp.exe", "_gnp.exe"),
        ("con/NUL.png", "_con/_NUL.png"),
        ("com1", "_com1"),
        ("console.png", "console.png"),
        ("a. /b..", "a._/b._"),
        ("...", ".._"),
    ],
)
def test_a_name_in_a_zip_is_safe_everywhere(key: str, name: str | None) -> None:
    assert Names().of(key) == name


def test_no_name_in_a_zip_comes_twice() -> None:
    names = Names("LEFT OUT.txt")

    assert [names.of(key) for key in ("a.png", "A.png", "a:.png", "a_.png", "e\u0301.png", "\xe9.png")] == [
        "a.png",
        "A (2).png",
        "a_.png",
        "a_ (2).png",
        "e\u0301.png",
        "\xe9 (2).png",
    ]
    assert names.of("left out.TXT") == "left out (2).TXT"
    assert [names.of("a.png/b.png"), names.of("a.png/c.png")] == ["a.png (2)/b.png", "a.png (2)/c.png"]
    assert names.of("a.png (2)") == "a (2).png (2)"
