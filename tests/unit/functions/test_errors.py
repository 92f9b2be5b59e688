"""Errors carry only their own words, and text that every letter and log can hold."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remove_background import errors
from remove_background.errors import CutoutError, Forbidden, RequestRefused, Unavailable, redact


def every_error(error: type[CutoutError] = CutoutError) -> Iterator[type[CutoutError]]:
    yield error
    for kind in error.__subclasses__():
        yield from every_error(kind)


OUR_CODES = {error.code for error in every_error() if "code" in vars(error)} | {"no_reason", "not_delivered"}


def test_the_modules_tree_lists_every_error_under_its_own_code() -> None:
    assert errors.__doc__
    tree = dict(line.split("─ ")[1].split(maxsplit=1) for line in errors.__doc__.splitlines() if "─ " in line)
    concrete = {error.__name__: error.code for error in every_error() if "code" in vars(error)}
    concrete["RequestRefused"] = "the API's own code (invalid_parameter, ...)"
    concrete["ChargedInVain"] = "the code of an earlier failure"
    assert {name: text for name, text in tree.items() if name in concrete} == concrete


@pytest.mark.parametrize("code", sorted(OUR_CODES))
def test_the_api_cannot_give_a_letter_one_of_our_codes(code: str) -> None:
    assert RequestRefused("Refused.", code).code == "request_refused"


@pytest.mark.parametrize("code", ["invalid_parameter", "a_code_of_tomorrow"])
def test_a_refusal_keeps_the_code_of_the_api(code: str) -> None:
    assert RequestRefused("Refused.", code).code == code


def test_a_403_about_one_image_does_not_block_the_account() -> None:
    assert issubclass(Forbidden, Unavailable)
    assert Forbidden.is_its_own


@given(text=st.text(st.characters(), max_size=300))
def test_redacted_text_can_be_printed_and_written(text: str) -> None:
    redacted = redact(text)
    assert redacted.isprintable()
    redacted.encode()
    assert len(redacted) <= 200


@pytest.mark.parametrize("text", ["a\ud800b", "a\x00b", "a\u202eb", "a\x9bb", "a\uffffb"])
def test_characters_that_cannot_be_printed_are_dropped(text: str) -> None:
    assert redact(text) == "ab"


@pytest.mark.parametrize("split", ["\ud800", "\u200b", "\x00"])
def test_dropped_characters_do_not_hide_a_secret(split: str) -> None:
    assert "5ec4e7" not in redact(f"see https:{split}//example.com/5ec4e7")
