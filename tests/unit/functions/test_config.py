import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from remove_background.config import Config, ConfigError, ReopenConfig, read_caps

ENVIRONMENT = {
    "INPUT_BUCKET": "input",
    "OUTPUT_BUCKET": "output",
    "OUTPUT_KEY": "{stem}.png",
    "UPLOAD_QUEUE_URL": "https://sqs/uploads",
    "DEAD_LETTER_QUEUE_URL": "https://sqs/letters",
    "MAX_ATTEMPTS": "5",
    "PIXELCUT_API_URL": "https://api.example.com",
    "PIXELCUT_API_KEY_SECRET": "pixelcut",
    "IMAGE_DELIVERY": "url",
    "PRESIGNED_URL_SECONDS": "300",
    "LEDGER_TABLE": "ledger",
    "REQUESTS_PER_SECOND": "5",
    "BACKOFF_SECONDS": "30",
    "FAILURES_IN_A_ROW": "10",
}


def test_settings_are_read_from_the_environment() -> None:
    config = Config.from_environment(ENVIRONMENT | {"PATH": "/bin"})
    assert (config.output_bucket, config.max_attempts, config.presigned_url_seconds) == ("output", 5, 300)


@pytest.mark.parametrize("name", ENVIRONMENT)
@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_missing_setting_is_named(name: str, value: str | None) -> None:
    environment: dict[str, Any] = {k: v for k, v in ENVIRONMENT.items() if k != name}
    if value is not None:
        environment[name] = value
    with pytest.raises(ConfigError, match=rf"\b{name}\b.*missing"):
        Config.from_environment(environment)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_ATTEMPTS", "0"),
        ("MAX_ATTEMPTS", "five"),
        ("PRESIGNED_URL_SECONDS", "179"),
        ("PRESIGNED_URL_SECONDS", "3601"),
        ("PRESIGNED_URL_SECONDS", "-300"),
        ("REQUESTS_PER_SECOND", "0"),
        ("REQUESTS_PER_SECOND", "nan"),
        ("REQUESTS_PER_SECOND", "1001"),
        ("REQUESTS_PER_SECOND", "fast"),
        ("BACKOFF_SECONDS", "901"),
        ("IMAGE_DELIVERY", "post"),
        ("PIXELCUT_API_URL", "api.example.com"),
        ("PIXELCUT_API_URL", "ftp://api.example.com"),
        ("PIXELCUT_API_URL", "https://"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"\b{name}\b must be"):
        Config.from_environment(ENVIRONMENT | {name: value})


REOPEN_ENVIRONMENT = {
    "LEDGER_TABLE": "ledger",
    "EVENT_SOURCE_MAPPING": "uuid-1",
    "PIXELCUT_API_URL": "https://api.example.com",
    "PIXELCUT_API_KEY_SECRET": "pixelcut",
    "REOPEN_SECONDS": "300",
}


def test_reopen_intake_reads_its_settings_too() -> None:
    config = ReopenConfig.from_environment(REOPEN_ENVIRONMENT)
    assert (config.event_source_mapping, config.reopen_seconds) == ("uuid-1", 300)
    for seconds in (0, 86_400):  # a test does not want to wait; a day is the most
        assert ReopenConfig.from_environment(REOPEN_ENVIRONMENT | {"REOPEN_SECONDS": str(seconds)})


@pytest.mark.parametrize("name", REOPEN_ENVIRONMENT)
def test_a_missing_setting_of_reopen_intake_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"\b{name}\b.*missing"):
        ReopenConfig.from_environment({k: v for k, v in REOPEN_ENVIRONMENT.items() if k != name})


@pytest.mark.parametrize(
    ("name", "value"),
    [("REOPEN_SECONDS", "-1"), ("REOPEN_SECONDS", "86401"), ("REOPEN_SECONDS", "soon"), ("PIXELCUT_API_URL", "api")],
)
def test_a_wrong_setting_of_reopen_intake_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"\b{name}\b must be"):
        ReopenConfig.from_environment(REOPEN_ENVIRONMENT | {name: value})


def test_caps_are_read_by_both_functions() -> None:
    caps = {"DAILY_CREDITS": "100", "MONTHLY_CREDITS": " 2000 ", "CAP_TIME_ZONE": "Europe/Berlin"}
    for read in (Config.from_environment(ENVIRONMENT | caps), ReopenConfig.from_environment(REOPEN_ENVIRONMENT | caps)):
        assert (read.caps.daily, read.caps.monthly, read.caps.zone) == (100, 2000, "Europe/Berlin")


@pytest.mark.parametrize("value", [None, "", "  "])
def test_caps_need_not_be_set(value: str | None) -> None:
    names = ("DAILY_CREDITS", "MONTHLY_CREDITS", "CAP_TIME_ZONE")
    caps = read_caps({} if value is None else dict.fromkeys(names, value))
    assert (caps.daily, caps.monthly, caps.zone, caps.are_set) == (None, None, "UTC", False)


@pytest.mark.parametrize("name", ["DAILY_CREDITS", "MONTHLY_CREDITS"])
@pytest.mark.parametrize("value", ["0", "-1", "1000000000", "1.5", "many"])
def test_a_wrong_cap_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"\b{name}\b must be a number from 1 to 999999999, not '{value}'"):
        read_caps({name: value})


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "Europe", "../UTC", "/etc/localtime"])
def test_a_wrong_time_zone_is_named(zone: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read_caps({"DAILY_CREDITS": "1", "CAP_TIME_ZONE": zone})
    assert str(raised.value) == (
        f"The environment variable CAP_TIME_ZONE must be a time zone, such as Europe/Berlin, not '{zone}'."
    )


def test_time_zones_are_known_where_the_system_knows_none() -> None:
    code = "from remove_background.config import read_caps; print(read_caps({'CAP_TIME_ZONE': 'Europe/Berlin'}).zone)"
    functions = str(Path(__file__).parents[3] / "functions")
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONTZPATH": "", "PYTHONPATH": functions},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("Europe/Berlin\n", "")
