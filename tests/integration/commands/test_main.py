from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest

from cutout import __main__, extras, project
from cutout.failures import Failure, is_told
from cutout.operations import deployment


@pytest.mark.parametrize("group", [(), ("letters",)])
def test_the_list_of_commands_fits_a_terminal_of_80_columns(
    cutout: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, group: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    listed = cutout(*group, "--help").out.partition("Commands:\n")[2].splitlines()

    assert len(listed) > 3
    for line in listed:
        assert line.endswith("."), line
        assert not line.endswith("..."), line
        assert len(line) <= 80


def test_the_version_is_that_of_the_package(cutout: Callable[..., Any]) -> None:
    assert cutout("--version").out == f"{version('cutout')}\n"


def test_a_bug_in_the_command_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(__main__, "app", fail)
    assert not is_told(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        __main__.main()


@pytest.mark.parametrize("command", ["demo", "local"])
def test_a_missing_extra_is_named(command: str, cutout: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda module: None if module == "cv2" else module)

    call = cutout(command)

    assert (call.code, call.out) == (1, "")
    assert call.err == (
        "Error: This needs the extra `local`, which is not installed: "
        f"pip install 'cutout-{version('cutout')}-py3-none-any.whl[local]'\n"
    )


def test_the_files_of_the_project_are_found() -> None:
    assert project.TEMPLATE.is_file()
    assert project.SAMPLES.is_dir()


def test_what_would_steer_a_terminal_is_escaped_in_an_error(
    cutout: Callable[..., Any], aws_environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise Failure("There is no stack \x1b[31m\u202eb.")

    monkeypatch.setattr(deployment, "find", fail)
    call = cutout("status")
    assert (call.code, call.err) == (1, "Error: There is no stack \\x1b[31m\\u202eb.\n")
