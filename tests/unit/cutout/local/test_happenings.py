import json

import pytest

from cutout.local.happenings import Happenings


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"level": "INFO", "message": "cutout", "source": "s3://input/trip/a b.jpg"}, "trip/a b.jpg: cutout"),
        (
            {
                "level": "WARNING",
                "message": "letter",
                "source": "s3://input/a",
                "error_code": "c",
                "error_message": "M.",
            },
            "a: letter, c: M.",
        ),
        ({"level": "WARNING", "message": "The intake is paused."}, "The intake is paused."),
        ({"level": "INFO", "message": "open"}, None),
        ({"_aws": {}}, None),
        (["message"], None),
        ("START RequestId: 1 Version: $LATEST", None),
    ],
)
def test_a_log_entry_about_an_upload_becomes_a_line(line: object, said: str | None) -> None:
    told: list[str] = []
    Happenings(told.append).printed(line if isinstance(line, str) else json.dumps(line))

    assert [text[10:] for text in told] == ([said] if said else [])


def test_an_upload_becomes_a_line() -> None:
    told: list[str] = []
    Happenings(told.append).uploaded("a b.jpg", 1_500_000)

    assert [text[10:] for text in told] == ["a b.jpg: uploaded, 1.5 MB"]
