import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from cutout.operations import logs
from cutout.operations.deployment import Deployment

GROUP, OTHER = "/aws/lambda/remove-background", "/aws/lambda/reopen-intake"
LETTER = {
    "level": "WARNING",
    "location": "_fail:174",
    "message": "letter",
    "timestamp": "2027-01-15 08:00:00,000+0000",
    "service": "cutout",
    "name": "cutout",
    "source": "s3://input/a b\u202e.jpg",
    "attempt": 1,
    "error_code": "malformed_image",
    "error_message": "The file is empty.",
    "billed": "no",
    "xray_trace_id": "1-6b0b",
}
CUTOUT = {"level": "INFO", "message": "cutout", "service": "cutout", "source": "s3://input/c.jpg", "error_code": None}


@pytest.fixture
def log(deployed: Deployment, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Logs lines, each a second after the one before, the last of them now."""
    monkeypatch.setitem(deployed.outputs, "ReopenIntakeName", "reopen-intake")
    monkeypatch.setattr("cutout.operations.deployment.find", lambda *_: deployed)
    configuration = deployed.lambda_.get_function_configuration
    monkeypatch.setattr(
        deployed.lambda_,
        "get_function_configuration",
        lambda FunctionName: (  # noqa: N803
            {"LoggingConfig": {"LogGroup": OTHER}}
            if FunctionName == "reopen-intake"
            else configuration(FunctionName=FunctionName) | {"LoggingConfig": {"LogGroup": GROUP}}
        ),
    )

    def log(*lines: str | dict[str, Any], group: str = GROUP) -> None:
        found = deployed.logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
        if not found:
            deployed.logs.create_log_group(logGroupName=group)
            deployed.logs.create_log_stream(logGroupName=group, logStreamName="stream")
        now = int(time.time() * 1000)
        events = [
            {
                "timestamp": now - 1000 * (len(lines) - number),
                "message": line if isinstance(line, str) else json.dumps(line),
            }
            for number, line in enumerate(lines)
        ]
        deployed.logs.put_log_events(logGroupName=group, logStreamName="stream", logEvents=events)

    return log


def lines(call: Any) -> list[str]:  # noqa: ANN401
    """Without their times."""
    return [line[len("2027-01-15 08:00:00 ") :] for line in call.out.splitlines()]


def test_a_line_has_the_message_and_the_fields(cutout: Callable[..., Any], log: Callable[..., None]) -> None:
    log(
        "START RequestId: 1 Version: $LATEST",
        LETTER,
        {"_aws": {"Timestamp": 1}, "Letter": [1.0]},
        CUTOUT,
        "END RequestId: 1",
        "REPORT RequestId: 1\tDuration: 21.95 ms",
        "REPORT RequestId: 2\tDuration: 60000 ms\tStatus: timeout\n",
        "[\x1b[31m",
    )
    call = cutout("logs")
    assert (call.code, call.err) == (0, "")
    assert lines(call) == [
        (
            r'WARNING letter source="s3://input/a b\u202e.jpg" attempt=1 error_code=malformed_image '
            'error_message="The file is empty." billed=no'
        ),
        "INFO cutout source=s3://input/c.jpg",
        "REPORT RequestId: 2 Duration: 60000 ms Status: timeout",
        r"[\x1b[31m",
    ]


def test_the_functions_are_read_as_one(cutout: Callable[..., Any], log: Callable[..., None]) -> None:
    log({"message": "first"}, {"message": "third"}, {"message": "last"})
    log({"message": "second"}, {"message": "fourth"}, group=OTHER)
    assert sorted(lines(cutout("logs"))) == ["first", "fourth", "last", "second", "third"]
    assert [line[:19] for line in cutout("logs").out.splitlines()] == sorted(
        line[:19] for line in cutout("logs").out.splitlines()
    )


def test_a_code_selects_lines(cutout: Callable[..., Any], log: Callable[..., None]) -> None:
    log(LETTER, CUTOUT, LETTER | {"error_code": "forbidden"}, "malformed_image")
    assert len(lines(cutout("logs", "--code", "malformed_image"))) == 1
    assert len(lines(cutout("logs", "--code", "malformed_image", "--code", "forbidden"))) == 2


@pytest.mark.parametrize("key", ["c.jpg", "a b\u202e.jpg", 'q"uo\\te*.jpg', "../é 🐈.jpg", "-c.jpg"])
def test_only_lines_about_an_upload(cutout: Callable[..., Any], log: Callable[..., None], key: str) -> None:
    mine = {"message": "mine", "source": f"s3://input/{key}"}
    log(mine, mine | {"error_code": "forbidden"}, {"source": f"s3://input/x{key}"}, {"source": key}, "no upload")
    assert len(lines(cutout("logs", "--key", key))) == 2
    assert len(lines(cutout("logs", "--key", key, "--code", "forbidden"))) == 1


def test_json_is_the_lines_as_they_were_logged(cutout: Callable[..., Any], log: Callable[..., None]) -> None:
    log("START RequestId: 1", LETTER)
    first, second = cutout("logs", "--json").out.splitlines()
    assert (first, json.loads(second)) == ("START RequestId: 1", LETTER)


def test_older_lines_are_left_out(cutout: Callable[..., Any], log: Callable[..., None]) -> None:
    log(LETTER)
    call = cutout("logs", "--hours", "0")
    assert (call.code, call.out, call.err) == (0, "", "There are no such lines.\n")


def test_a_function_that_has_logged_nothing_yet_is_reported(
    cutout: Callable[..., Any], log: Callable[..., None]
) -> None:
    call = cutout("logs")
    assert (call.code, call.out, call.err) == (0, "", "There are no such lines.\n")


def test_the_log_is_followed_until_ctrl_c(
    cutout: Callable[..., Any], log: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [lambda: log({"message": "second"}), lambda: None, lambda: log({"message": "third"}, group=OTHER)]

    def sleep(_: float) -> None:
        if not steps:
            raise KeyboardInterrupt
        steps.pop(0)()

    log({"message": "first"})
    monkeypatch.setattr(logs, "time", SimpleNamespace(sleep=sleep))
    call = cutout("logs", "-f")
    assert (call.code, lines(call)) == (0, ["first", "second", "third"])


@pytest.mark.parametrize("hours", ["1e10", "1e300", "inf", "nan", "-1"])
def test_hours_that_no_log_can_reach_are_refused(cutout: Callable[..., Any], hours: str) -> None:
    call = cutout("logs", "--hours", hours)
    assert call.code == 2
    assert "Invalid value for '--hours'" in call.err
