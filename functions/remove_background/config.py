"""The function's settings: the only reader of the environment."""

from collections.abc import Mapping
from typing import Literal, NamedTuple, Self, cast
from urllib.parse import urlsplit

from .caps import Caps


class ConfigError(Exception):
    """An environment variable is missing or wrong; the text names it."""


class Config(NamedTuple):
    """`template.yaml` gives each variable its value, and says what its parameter means."""

    input_bucket: str
    input_prefix: str
    output_bucket: str
    output_key: str
    upload_queue_url: str
    dead_letter_queue_url: str
    max_attempts: int
    pixelcut_api_url: str
    pixelcut_api_key_secret: str
    image_delivery: Literal["url", "upload"]
    presigned_url_seconds: int
    ledger_table: str
    requests_per_second: float
    backoff_seconds: int
    failures_in_a_row: int
    caps: Caps

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Raises ConfigError."""
        return cls(
            input_bucket=_text(environment, "INPUT_BUCKET"),
            input_prefix=environment.get("INPUT_PREFIX", ""),
            output_bucket=_text(environment, "OUTPUT_BUCKET"),
            output_key=_text(environment, "OUTPUT_KEY"),
            upload_queue_url=_text(environment, "UPLOAD_QUEUE_URL"),
            dead_letter_queue_url=_text(environment, "DEAD_LETTER_QUEUE_URL"),
            max_attempts=_number(environment, "MAX_ATTEMPTS", 1, 1000),
            pixelcut_api_url=_url(environment, "PIXELCUT_API_URL"),
            pixelcut_api_key_secret=_text(environment, "PIXELCUT_API_KEY_SECRET"),
            image_delivery=cast("Literal['url', 'upload']", _choice(environment, "IMAGE_DELIVERY", ("url", "upload"))),
            presigned_url_seconds=_number(environment, "PRESIGNED_URL_SECONDS", 180, 3600),
            ledger_table=_text(environment, "LEDGER_TABLE"),
            requests_per_second=_decimal(environment, "REQUESTS_PER_SECOND"),
            backoff_seconds=_number(environment, "BACKOFF_SECONDS", 0, 900),
            failures_in_a_row=_number(environment, "FAILURES_IN_A_ROW", 1, 1000),
            caps=read_caps(environment),
        )


class ReopenConfig(NamedTuple):
    """The settings of the function that reopens the intake."""

    ledger_table: str
    event_source_mapping: str
    pixelcut_api_url: str
    pixelcut_api_key_secret: str
    reopen_seconds: int
    caps: Caps

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Raises ConfigError."""
        return cls(
            ledger_table=_text(environment, "LEDGER_TABLE"),
            event_source_mapping=_text(environment, "EVENT_SOURCE_MAPPING"),
            pixelcut_api_url=_url(environment, "PIXELCUT_API_URL"),
            pixelcut_api_key_secret=_text(environment, "PIXELCUT_API_KEY_SECRET"),
            reopen_seconds=_number(environment, "REOPEN_SECONDS", 0, 86_400),
            caps=read_caps(environment),
        )


def read_caps(environment: Mapping[str, str]) -> Caps:
    """Raises ConfigError."""
    daily, monthly = (
        _number(environment, name, 1, 999_999_999) if environment.get(name, "").strip() else None
        for name in ("DAILY_CREDITS", "MONTHLY_CREDITS")
    )
    zone = environment.get("CAP_TIME_ZONE", "").strip() or "UTC"
    try:
        return Caps(daily, monthly, zone)
    except ValueError:
        raise ConfigError(
            f"The environment variable CAP_TIME_ZONE must be a time zone, such as Europe/Berlin, not {zone!r}."
        ) from None


def _text(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "").strip()
    if not value:
        raise ConfigError(f"The environment variable {name} is missing or empty.")
    return value


def _number(environment: Mapping[str, str], name: str, least: int, most: int) -> int:
    value = _text(environment, name)
    if not value.isdecimal() or not least <= int(value) <= most:
        raise ConfigError(f"The environment variable {name} must be a number from {least} to {most}, not {value!r}.")
    return int(value)


def _decimal(environment: Mapping[str, str], name: str) -> float:
    value = _text(environment, name)
    try:
        number = float(value)
    except ValueError:
        number = 0
    if not 0.01 <= number <= 1000:
        raise ConfigError(f"The environment variable {name} must be a number from 0.01 to 1000, not {value!r}.")
    return number


def _choice(environment: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    value = _text(environment, name)
    if value not in choices:
        raise ConfigError(f"The environment variable {name} must be {' or '.join(choices)}, not {value!r}.")
    return value


def _url(environment: Mapping[str, str], name: str) -> str:
    value = _text(environment, name)
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"The environment variable {name} must be an http or https URL.")
    return value
