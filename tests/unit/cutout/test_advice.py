"""There is advice for every error code."""

import re
from collections.abc import Iterator
from pathlib import Path

from samtranslator.yaml_helper import yaml_parse

from cutout.operations.dead_letters import NO_REASON, NOT_DELIVERED
from cutout.presentation.advice import ADVICE, OTHER, advise
from remove_background.errors import CutoutError

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "cutout" / "local" / "pixelcut" / "openapi.yaml"


def classes(of: type[CutoutError]) -> Iterator[type[CutoutError]]:
    for kind in of.__subclasses__():
        yield kind
        yield from classes(kind)


def codes_of_the_function() -> set[str]:
    return {kind.code for kind in classes(CutoutError) if "code" in vars(kind)}


def codes_of_pixelcut() -> set[str]:
    """The codes that the reference lists."""
    reference = yaml_parse(REFERENCE.read_text(encoding="utf-8"))
    content = reference["paths"]["/v1/remove-background"]["post"]["responses"]["400"]["content"]
    return set(content["application/json"]["schema"]["properties"]["error_code"]["enum"])


def test_there_is_advice_for_each_code_and_for_no_other() -> None:
    assert set(ADVICE) == codes_of_the_function() | codes_of_pixelcut() | {NO_REASON, NOT_DELIVERED}


def test_an_unknown_code_has_advice_too() -> None:
    assert advise("brand_new") is OTHER


def test_each_command_that_is_advised_is_for_that_code() -> None:
    for code, advice in ADVICE.items():
        assert set(re.findall(r"--code (\w+)", advice.remedy)) <= {code}
