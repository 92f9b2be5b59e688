"""What the template lets through, the function accepts; and the README tells of it."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samtranslator.yaml_helper import yaml_parse

from remove_background.config import Config
from remove_background.cutout import OutputKey
from remove_background.handler import THREADS

ROOT = Path(__file__).parents[2]
TEMPLATE: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text())
RESOURCES = TEMPLATE["Resources"]
FUNCTION = RESOURCES["RemoveBackground"]["Properties"]
ALLOWED = re.compile(TEMPLATE["Parameters"]["OutputKey"]["AllowedPattern"])


@given(pattern=st.from_regex(ALLOWED, fullmatch=True))
def test_every_output_key_that_can_be_deployed_works(pattern: str) -> None:
    assert OutputKey(pattern).of("photos/cat.jpg")


@pytest.mark.parametrize("pattern", ["", "cutout.png", "{ext}", "{stem", "{}", "{0}.png", "{stem!r}.png", "{bucket}"])
def test_a_bad_output_key_is_refused_at_deployment_and_at_start(pattern: str) -> None:
    assert not ALLOWED.fullmatch(pattern)
    with pytest.raises(ValueError, match="must hold"):
        OutputKey(pattern)


def test_the_function_gets_every_setting_that_it_reads() -> None:
    values = {name: str(value) for name, value in FUNCTION["Environment"]["Variables"].items() if value}
    by_reference = {"IMAGE_DELIVERY": "url", "PRESIGNED_URL_SECONDS": "300", "REQUESTS_PER_SECOND": "5"}
    api = {"PIXELCUT_API_URL": TEMPLATE["Parameters"]["PixelcutApiUrl"]["Default"], "AWS_LAMBDA_FUNCTION_NAME": "f"}
    assert Config.from_environment(values | by_reference | api).max_attempts == 5


def test_numbers_that_depend_on_each_other_do() -> None:
    queue, letters = RESOURCES["UploadQueue"]["Properties"], RESOURCES["DeadLetterQueue"]["Properties"]
    variables, source = FUNCTION["Environment"]["Variables"], FUNCTION["Events"]["Uploads"]["Properties"]
    assert queue["VisibilityTimeout"] == 6 * FUNCTION["Timeout"]
    assert queue["RedrivePolicy"]["maxReceiveCount"] > variables["MAX_ATTEMPTS"]
    assert queue["MessageRetentionPeriod"] < letters["MessageRetentionPeriod"]
    assert source["BatchSize"] == THREADS
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


@pytest.mark.parametrize("name", TEMPLATE["Parameters"])
def test_the_readme_tells_of_each_parameter_and_its_default(name: str) -> None:
    default = TEMPLATE["Parameters"][name]["Default"]
    (line,) = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith(f"| `{name}` |")]
    assert line.split("|")[2].strip().strip("`") == str(default)
