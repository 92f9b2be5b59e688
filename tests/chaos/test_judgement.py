"""The judge of a chaos run excuses a second charge only if the first result could not be known."""

from dataclasses import replace

import pytest

from testbed.witness import Removal
from tests.chaos.judgement import is_in_vain, judge_charges

FIRST = Removal(came=0, answered=1, status=200, input_sha256="i", result_sha256="r", result_url="u")
AGAIN = replace(FIRST, came=30, answered=31, result_url="v")
UNKNOWN: dict[str, float] = {}
NO_KILLS: list[tuple[float, float]] = []


@pytest.mark.parametrize(
    ("first", "checkpoints", "kills", "judged"),
    [
        (FIRST, {"u": 2.0}, NO_KILLS, "known"),
        (FIRST, {"u": 2.0}, [(1.0, 1.5)], "known"),
        (replace(FIRST, slow=True), {"u": 2.0}, NO_KILLS, "known"),
        (FIRST, {"u": 40.0}, NO_KILLS, "at the same time"),
        (FIRST, UNKNOWN, NO_KILLS, "unexplained"),
        (FIRST, UNKNOWN, [(20.0, 20.1)], "unexplained"),
        (FIRST, UNKNOWN, [(1.0, 1.5)], "killed"),
        (replace(FIRST, slow=True), UNKNOWN, NO_KILLS, "answer lost"),
        (replace(FIRST, result_url=None), UNKNOWN, NO_KILLS, "answer lost"),
        (replace(FIRST, answered=17), UNKNOWN, NO_KILLS, "answer lost"),
    ],
)
def test_a_second_charge_is_judged_by_what_could_be_known(
    first: Removal, checkpoints: dict[str, float], kills: list[tuple[float, float]], judged: str
) -> None:
    assert judge_charges([first, AGAIN], checkpoints, kills) == {judged: 1}


@pytest.mark.parametrize(
    ("code", "asked", "in_vain"),
    [
        ("service_unavailable", [replace(FIRST, result_url=None)], True),
        ("service_unavailable", [replace(FIRST, slow=True)], True),
        ("service_unavailable", [replace(FIRST, status=503)] * 5, True),
        ("service_unavailable", [replace(FIRST, status=503)] * 4, False),
        ("service_unavailable", [FIRST], False),
        ("unexpected_error", [FIRST], True),
        ("result_unavailable", [replace(FIRST, slow=True)], False),
    ],
)
def test_a_letter_of_a_good_image_is_explained_by_its_calls(code: str, asked: list[Removal], *, in_vain: bool) -> None:
    assert is_in_vain(code, asked) == in_vain


def test_charges_for_different_images_are_first_charges() -> None:
    assert judge_charges([FIRST, replace(AGAIN, input_sha256="other")], UNKNOWN, NO_KILLS) == {}
